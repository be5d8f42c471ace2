package pii

import "strings"

// webAddress is addresses of things on the network: RFC 3986.
var webAddress = Recognizer{
	Name: "url", Type: "URL", Doc: "addresses with a scheme and an authority (RFC 3986)",
	on: onScheme,
	find: func(v *view, at int) {
		text, start := v.text, at
		for start > 0 && at-start < 16 && (isAlnum(text[start-1]) || text[start-1] == '+') {
			start--
		}
		for start < at && !isLetter(text[start]) {
			start++
		}
		if start < v.linked {
			return // within an address that was read already
		}
		end := v.urlEnd(start, at+3)
		host := text[min(at+3, end):end]
		if i := indexAny(host, "/?#"); i >= 0 {
			host = host[:i]
		}
		if at-start < 2 || len(host) == 0 {
			return
		}
		score, why := 0.4, "has a scheme"
		if indexAny(host, ".:") > 0 || string(host) == "localhost" {
			score, why = 0.9, "has a scheme and a host"
		}
		v.found(start, end, score, why)
	},
}

// wwwAddress is addresses as people write them.
var wwwAddress = Recognizer{
	Name: "www", Type: "URL", Doc: "addresses that begin with www instead of a scheme",
	on: onWords, words: []string{"www"},
	find: func(v *view, at int) {
		start := int(v.words[at].start)
		if start < v.linked || start > 0 && strings.IndexByte("/@.-_", v.text[start-1]) >= 0 {
			return
		}
		end := v.urlEnd(start, start)
		host := v.text[start:end]
		if i := indexAny(host, ":/?#"); i >= 0 {
			host = host[:i]
		}
		if len(host) > 4 && host[3] == '.' && domain(host[4:]) {
			v.found(start, end, 0.85, "begins with www and has a domain")
		}
	},
}

// bareDomain is names of sites without anything before them. Mail is full of the names
// of machines, so that alone they are not sure enough.
var bareDomain = Recognizer{
	Name: "domain", Type: "URL", Doc: "names of sites that end in a common domain; told by context",
	on: onWords, words: strings.Fields("com org net edu gov io co info biz eu uk de fr es it nl be ch at se no dk fi pl cz pt ie us ca au nz jp cn in br ru za mx kr tr gr hu ro"),
	find: func(v *view, at int) {
		w := v.words[at]
		start := int(w.start)
		if start < 2 || v.text[start-1] != '.' {
			return
		}
		for start > 0 && int(w.start)-start < 255 && domainBytes[v.text[start-1]] {
			start--
		}
		v.steps += int(w.start) - start
		if start < v.linked || start > 0 && strings.IndexByte("@/_", v.text[start-1]) >= 0 || !isAlnum(v.text[start]) && v.text[start] < 0x80 || v.text[w.start-2] == '.' {
			return
		}
		end := int(w.end)
		if end < len(v.text) && v.text[end] == '/' {
			end = v.urlEnd(start, end)
		} else if end < len(v.text) && (v.text[end] == '@' || v.text[end] == '-' || v.text[end] == '.' && end+1 < len(v.text) && isAlnum(v.text[end+1])) {
			return
		}
		v.linked = end
		v.found(start, end, 0.4, "ends in a common domain")
	},
	Context: []string{"website", "site", "visit", "url", "web", "homepage", "webpage", "link", "domain", "page"},
}

// indexAny is bytes.IndexAny for short sets of ASCII.
func indexAny(text []byte, set string) int {
	for i, b := range text {
		if strings.IndexByte(set, b) >= 0 {
			return i
		}
	}
	return -1
}

const maxURL = 2048

// urlBytes are what goes on with an address and needs no second look.
var urlBytes = byteSet("-._~:/?#[]@!$&'*+,;=%", false)

// urlEnd is where an address ends that goes on from i: before what cannot be in one,
// and before punctuation that belongs to the sentence.
func (v *view) urlEnd(start, i int) int {
	text := v.text
	end, open := min(i, len(text)), 0
scan:
	for end < len(text) && end-start < maxURL {
		b := text[end]
		switch {
		case urlBytes[b]:
		case b >= 0x80:
			n, is := letter(text[end:])
			if !is {
				break scan
			}
			end += n
			continue
		case b == '(':
			open++
		case b == ')':
			if open--; open < 0 {
				break scan
			}
		default:
			break scan
		}
		end++
	}
	for end > i && strings.IndexByte(".,;:!?'*]", text[end-1]) >= 0 {
		end--
	}
	v.steps += end - start
	v.linked = end
	return end
}
