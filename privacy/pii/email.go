package pii

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// emailAddress is addresses of mail: RFC 5321, without quoted local parts.
var emailAddress = Recognizer{
	Name: "email", Type: "EMAIL_ADDRESS",
	Doc: "addresses of mail (RFC 5321), those beyond ASCII too (RFC 6531); not the ids of messages, which look the same",
	on:  onAt,
	find: func(v *view, at int) {
		text := v.text
		start := at
		for start > 0 && at-start < 64 && localBytes[text[start-1]] {
			start--
		}
		for start < at && strings.IndexByte(".'-%&", text[start]) >= 0 {
			start++
		}
		end := at + 1
		for end < len(text) && end-at <= 255 && domainBytes[text[end]] {
			end++
		}
		for end > at+1 && (text[end-1] == '.' || text[end-1] == '-') {
			end--
		}
		v.steps += end - start
		if !utf8.Valid(text[start:end]) {
			return // bytes of something else
		}
		if start == at || text[at-1] == '.' || !domain(text[at+1:end]) {
			return
		}
		score, why := 0.95, "has a local part and a domain"
		if messageID(text, start, at) {
			score, why = 0.3, "looks like the id of a message"
		}
		v.found(start, end, score, why)
	},
}

// byteSet is the letters and digits, what is beyond ASCII if high is set, and marks.
func byteSet(marks string, high bool) (set [256]bool) {
	for b := range set {
		set[b] = isAlnum(byte(b)) || high && b >= 0x80 || strings.IndexByte(marks, byte(b)) >= 0
	}
	return
}

var localBytes, domainBytes = byteSet("._%+-'&", true), byteSet(".-", true)

// domain reports whether a name has two labels or more, the last of letters, and is
// no name of a file.
func domain(name []byte) bool {
	dot := bytes.LastIndexByte(name, '.')
	if dot <= 0 || len(name)-dot < 3 || len(name)-dot > 25 || name[0] == '-' || bytes.Contains(name, []byte("..")) {
		return false
	}
	last := name[dot+1:]
	if !isLetter(last[0]) && last[0] < 0x80 {
		return false
	}
	for _, b := range last {
		if !isLetter(b) && b < 0x80 && !bytes.HasPrefix(last, []byte("xn--")) {
			return false
		}
	}
	var buf [12]byte
	lowered := buf[:0]
	for _, b := range last[:min(len(last), len(buf))] {
		lowered = append(lowered, lowerByte(b))
	}
	return !notDomains[string(lowered)]
}

// notDomains are endings of files, and of names within a network.
var notDomains = map[string]bool{"png": true, "jpg": true, "jpeg": true, "gif": true, "svg": true, "webp": true, "css": true, "js": true, "html": true, "php": true,
	"exe": true, "dll": true, "local": true, "localdomain": true, "internal": true}

// messageID reports whether the local part from start to at is one that programs
// make: within angle brackets, in a header of its own or with many digits.
func messageID(text []byte, start, at int) bool {
	if start == 0 || text[start-1] != '<' {
		return false
	}
	n := 0
	for _, b := range text[start:at] {
		if isDigit(b) {
			n++
		}
	}
	if at-start >= 12 && n*2 >= at-start || n >= 8 {
		return true
	}
	// The field's name begins the line, or one before it that this one goes on.
	low := max(0, start-300)
	for i := start - 1; i >= low; i-- {
		if i > low && text[i-1] != '\n' || i == low && low > 0 {
			continue
		}
		if text[i] == ' ' || text[i] == '\t' {
			continue
		}
		name, _, _ := bytes.Cut(text[i:start], []byte(":"))
		switch string(bytes.ToLower(name[:min(len(name), 40)])) {
		case "message-id", "in-reply-to", "references", "content-id", "resent-message-id", "x-message-id", "original-message-id":
			return true
		}
		return false
	}
	return false
}
