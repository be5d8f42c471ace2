package document

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// Mail is messages (RFC 5322) with what MIME puts into them, one or many as an mbox
// has them. Its parts are the headers by their names, decoded, and the bodies
// ("body", or "part 2.1" of a message in parts). Attached documents are read as what
// they are, and messages within messages as messages.
//
// Mail that breaks the rules is read as programs for mail read it: a line that is no
// header is a part of its own, and what claims to be encoded and is not is read as it
// stands.
var Mail = Format{Name: "mail", Extensions: []string{".eml", ".mbox", ".mbx"}, magic: isMail, walk: readMail}

func isMail(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte{'\n'})
	if bytes.HasPrefix(line, []byte("From ")) {
		return bytes.IndexByte(line, '@') > 0 && bytes.Count(line, []byte{':'}) >= 2
	}
	name, _, ok := bytes.Cut(line, []byte{':'})
	switch strings.ToLower(string(name)) {
	case "return-path", "received", "delivered-to", "message-id", "mime-version", "dkim-signature":
		return ok
	}
	return false
}

// readMail parts an mbox into its messages: they begin with "From " behind an empty
// line.
func readMail(j *job, r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var message []byte
	n, empty := 0, true
	for {
		line, err := b.ReadSlice('\n')
		first := empty && bytes.HasPrefix(line, []byte("From "))
		if first && len(message) > 0 || err == io.EOF && len(line) == 0 {
			if n++; len(message) > 0 {
				if err := j.message(message, ""); err != nil {
					return err
				}
			}
			message = message[:0]
		}
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return err
		}
		empty = len(bytes.TrimRight(line, "\r\n")) == 0
		if !first {
			message = append(message, line...)
		} else if _, err := j.part(Part{Name: "envelope", Text: bytes.TrimRight(line, "\r\n")}); err != nil {
			return err
		}
		if int64(len(message)) > j.limits.Message {
			return fmt.Errorf("%smessage %d of more than %d bytes: %w", j.prefix, n+1, j.limits.Message, ErrLimit)
		}
	}
}

// The fields of a header are what a message, or a part of one, says about itself.
type fields map[string]string

// message reads headers and body. The number is that of a part within its message.
func (j *job) message(text []byte, number string) error {
	h, body, err := j.headers(text, number == "")
	if err != nil {
		return err
	}
	kind, param, err := mime.ParseMediaType(h["content-type"])
	if kind == "" || err != nil && err != mime.ErrInvalidMediaParameter {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && param["boundary"] != "" {
		return j.multipart(body, param["boundary"], number)
	}
	body = decoded(body, h["content-transfer-encoding"])
	name := "body"
	if number != "" {
		name = "part " + number
	}
	_, disposition, _ := mime.ParseMediaType(h["content-disposition"])
	file := disposition["filename"]
	if file == "" {
		file = param["name"]
	}
	switch {
	case kind == "message/rfc822":
		in, err := j.inside(name)
		if err != nil {
			return err
		}
		return in.message(body, "")
	case kind == "text/html":
		in, err := j.inside(name)
		if err != nil {
			return err
		}
		return in.run(HTML, bytes.NewReader(utf(body, param["charset"])))
	case file != "":
		return j.nested(name+" "+words(file), bytes.NewReader(utf(body, param["charset"])))
	case strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "message/"):
		return j.stream(name, bytes.NewReader(utf(body, param["charset"])))
	}
	return j.nested(name, bytes.NewReader(body))
}

// headers reads up to the empty line and hands over every field.
func (j *job) headers(text []byte, every bool) (h fields, body []byte, err error) {
	h = fields{}
	for len(text) > 0 {
		field, rest := unfolded(text)
		text = rest
		if len(field) == 0 {
			return h, text, nil
		}
		name, value, ok := strings.Cut(field, ":")
		if !ok || strings.ContainsAny(name, " \t") {
			name, value = "header", field
		}
		value = strings.TrimSpace(value)
		if key := strings.ToLower(name); h[key] == "" {
			h[key] = value
		}
		if every || name == "header" {
			if _, err := j.part(Part{Name: name, Text: []byte(words(value))}); err != nil {
				return nil, nil, err
			}
		}
	}
	return h, nil, nil
}

// unfolded takes one field, with the lines that continue it.
func unfolded(text []byte) (field string, rest []byte) {
	end := 0
	for {
		i := bytes.IndexByte(text[end:], '\n')
		if i < 0 {
			end = len(text)
			break
		}
		end += i + 1
		if end >= len(text) || text[end] != ' ' && text[end] != '\t' || len(bytes.TrimSpace(text[:end])) == 0 {
			break
		}
	}
	return strings.TrimRight(onOneLine.Replace(string(text[:end])), " "), text[end:]
}

var onOneLine = strings.NewReplacer("\r", "", "\n", " ")

// words decodes the encoded words of RFC 2047. What is none stays as it is.
func words(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	d := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		e, err := htmlindex.Get(charset)
		if err != nil {
			return nil, err
		}
		return e.NewDecoder().Reader(r), nil
	}}
	if out, err := d.DecodeHeader(s); err == nil {
		return out
	}
	return s
}

// multipart parts a body at the lines of its boundary. What stands before the first
// and behind the last is text too.
func (j *job) multipart(body []byte, boundary, number string) error {
	in := *j
	in.depth++
	if in.depth > j.limits.Depth {
		return fmt.Errorf("%spart %s: nested more than %d deep: %w", j.prefix, number, j.limits.Depth, ErrLimit)
	}
	if number != "" {
		number += "."
	}
	mark := []byte("--" + boundary)
	start, n, within := 0, 0, false
	hand := func(text []byte) error {
		if !within {
			if len(bytes.TrimSpace(text)) == 0 {
				return nil
			}
			_, err := j.part(Part{Name: "beside the parts", Text: text})
			return err
		}
		if n++; n > j.limits.Members {
			return fmt.Errorf("%smessage of more than %d parts: %w", j.prefix, j.limits.Members, ErrLimit)
		}
		return in.message(text, fmt.Sprint(number, n))
	}
	for at := 0; at < len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if line := body[at:end]; bytes.HasPrefix(line, mark) {
			rest := bytes.TrimRight(line[len(mark):], " \t\r\n")
			if len(rest) == 0 || string(rest) == "--" {
				if err := hand(body[start:at]); err != nil {
					return err
				}
				start, within = end, len(rest) == 0
			}
		}
		at = end
	}
	return hand(body[start:])
}

// decoded undoes a transfer encoding.
func decoded(body []byte, encoding string) []byte {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		packed := bytes.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '+' || r == '/' {
				return r
			}
			return -1
		}, body)
		if len(packed)%4 == 1 {
			packed = packed[:len(packed)-1] // cut off: less than a byte
		}
		out := make([]byte, base64.RawStdEncoding.DecodedLen(len(packed)))
		if n, err := base64.RawStdEncoding.Decode(out, packed); err == nil {
			return out[:n]
		}
	case "quoted-printable":
		return unquoted(body)
	}
	return body
}

// unquoted decodes quoted-printable; an equals sign that begins no code is itself.
func unquoted(body []byte) []byte {
	out := make([]byte, 0, len(body))
	hex := func(b byte) int { return strings.IndexByte("0123456789ABCDEF", b&^(b>>1&0x20)) }
	for i := 0; i < len(body); i++ {
		if body[i] != '=' {
			out = append(out, body[i])
			continue
		}
		rest := body[i+1:]
		soft := len(rest) - len(bytes.TrimLeft(rest, " \t\r"))
		switch {
		case soft < len(rest) && rest[soft] == '\n':
			i += soft + 1
		case len(rest) >= 2 && hex(rest[0]) >= 0 && hex(rest[1]) >= 0:
			out = append(out, byte(hex(rest[0])<<4|hex(rest[1])))
			i += 2
		default:
			out = append(out, '=')
		}
	}
	return out
}

// utf is a text in UTF-8, where its character set is known.
func utf(text []byte, charset string) []byte {
	charset = strings.ToLower(charset)
	if charset == "" || charset == "utf-8" || charset == "us-ascii" {
		return text
	}
	if e, err := htmlindex.Get(charset); err == nil {
		if out, err := e.NewDecoder().Bytes(text); err == nil {
			return out
		}
	}
	return text
}
