package document

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// JSON is one value of JSON (RFC 8259). Its parts are the strings and numbers,
// named by their paths ("$.users[3].email"), and the names of members, which end
// with "(key)".
var JSON = Format{Name: "json", Extensions: []string{".json", ".ipynb", ".geojson"}, writes: true,
	walk: func(j *job, r io.Reader) error { return readJSON(j, r, false) }}

// JSONLines is values of JSON one after another, one a line as a rule. Their
// names begin with the number of the value: "line 3, $.email".
var JSONLines = Format{Name: "jsonl", Extensions: []string{".jsonl", ".ndjson"}, writes: true,
	walk: func(j *job, r io.Reader) error { return readJSON(j, r, true) }}

// maxNesting is how deep values may nest: Go's own decoder allows 10,000.
const maxNesting = 1000

// A jsonReader reads tokens itself, because what it leaves alone has to stay as it
// was: white space, order, doubled names, the way a number or a letter is written.
type jsonReader struct {
	*job
	r    *bufio.Reader
	out  *bufio.Writer
	line int // from 1
	col  int // in bytes, from 1: of the next byte
	path []byte
	// member is the name of the innermost member that the value at hand is in.
	member string
	raw    []byte // the literal at hand
	text   []byte // what it says
}

func readJSON(j *job, r io.Reader, many bool) error {
	w := j.w
	if w == nil {
		w = io.Discard
	}
	p := &jsonReader{job: j, r: bufio.NewReaderSize(r, 64<<10), out: bufio.NewWriterSize(w, 64<<10), line: 1, col: 1}
	for n := 1; ; n++ {
		b, err := p.space()
		if err == io.EOF && (many || n > 1) {
			return p.out.Flush()
		}
		if err == nil && n > 1 && !many {
			err = errors.New("more after the end of the value; for one value a line, say the format is jsonl")
		}
		if err == nil {
			p.path = p.path[:0]
			if many {
				p.path = fmt.Appendf(p.path, "line %d, ", n)
			}
			p.path = append(p.path, '$')
			err = p.value(b, 0)
		}
		if err != nil {
			return p.failed(err)
		}
	}
}

// A passed error comes from the reader of parts, or from what is written to: it
// is not about the JSON.
type passed struct{ error }

func (p *jsonReader) failed(err error) error {
	if e, ok := err.(passed); ok {
		return e.error
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%sread JSON at line %d, column %d: %w", p.prefix, p.line, max(1, p.col-1), err)
}

// byte takes the next byte and leaves writing it to the caller.
func (p *jsonReader) byte() (byte, error) {
	b, err := p.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if b == '\n' {
		p.line, p.col = p.line+1, 0
	}
	p.col++
	return b, nil
}

// space copies white space, and takes the byte after it.
func (p *jsonReader) space() (byte, error) {
	for {
		b, err := p.byte()
		if err != nil || b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b, err
		}
		if err := p.out.WriteByte(b); err != nil {
			return 0, passed{err}
		}
	}
}

func (p *jsonReader) write(b ...byte) error {
	if _, err := p.out.Write(b); err != nil {
		return passed{err}
	}
	return nil
}

// value reads the value that begins with b.
func (p *jsonReader) value(b byte, depth int) error {
	switch {
	case depth > maxNesting:
		return fmt.Errorf("nested more than %d deep: %w", maxNesting, ErrLimit)
	case b == '{':
		return p.object(depth)
	case b == '[':
		return p.array(depth)
	case b == '"':
		return p.string("")
	case b == '-' || b >= '0' && b <= '9':
		return p.number(b)
	case b == 't' || b == 'f' || b == 'n':
		return p.word(b)
	}
	return fmt.Errorf("%q begins no value", b)
}

func (p *jsonReader) object(depth int) error {
	if err := p.write('{'); err != nil {
		return err
	}
	here := len(p.path)
	for first := true; ; first = false {
		b, err := p.space()
		if err != nil {
			return err
		}
		if b == '}' && first {
			return p.write('}')
		}
		if b != '"' {
			return fmt.Errorf("%q where a member's name should begin", b)
		}
		p.path = append(p.path, '.')
		if err := p.string(" (key)"); err != nil {
			return err
		}
		key := p.text[:min(len(p.text), 200)]
		p.path = append(p.path, key...)
		outer := p.member
		p.member = string(key)
		if b, err = p.space(); err != nil {
			return err
		}
		if b != ':' {
			return fmt.Errorf("%q where a colon should be", b)
		}
		if err := p.write(':'); err != nil {
			return err
		}
		if b, err = p.space(); err != nil {
			return err
		}
		if err := p.value(b, depth+1); err != nil {
			return err
		}
		p.path, p.member = p.path[:here], outer
		if b, err = p.space(); err != nil {
			return err
		}
		if b != ',' && b != '}' {
			return fmt.Errorf("%q where a comma or the end of the object should be", b)
		}
		if err := p.write(b); err != nil || b == '}' {
			return err
		}
	}
}

func (p *jsonReader) array(depth int) error {
	if err := p.write('['); err != nil {
		return err
	}
	here := len(p.path)
	for i := 0; ; i++ {
		b, err := p.space()
		if err != nil {
			return err
		}
		if b == ']' && i == 0 {
			return p.write(']')
		}
		p.path = append(strconv.AppendInt(append(p.path, '['), int64(i), 10), ']')
		if err := p.value(b, depth+1); err != nil {
			return err
		}
		p.path = p.path[:here]
		if b, err = p.space(); err != nil {
			return err
		}
		if b != ',' && b != ']' {
			return fmt.Errorf("%q where a comma or the end of the array should be", b)
		}
		if err := p.write(b); err != nil || b == ']' {
			return err
		}
	}
}

// string reads the literal whose opening quote has been taken, and hands over
// what it says.
func (p *jsonReader) string(suffix string) error {
	p.raw = append(p.raw[:0], '"')
	for escaped := false; ; {
		b, err := p.byte()
		if err != nil {
			return err
		}
		if b < ' ' {
			return fmt.Errorf("control character %#x in a string", b)
		}
		if len(p.raw) > p.limits.String {
			return fmt.Errorf("string of more than %d bytes: %w", p.limits.String, ErrLimit)
		}
		p.raw = append(p.raw, b)
		if b == '"' && !escaped {
			break
		}
		escaped = b == '\\' && !escaped
	}
	var err error
	if p.text, err = unquote(p.text[:0], p.raw); err != nil {
		return err
	}
	column, bare := p.member, false
	if suffix != "" {
		column = ""
	}
	out, err := p.part(Part{Name: string(p.path) + suffix, Column: column, Text: p.text, Bare: &bare})
	switch {
	case err != nil:
		return passed{err}
	case bare && suffix == "" && isNumber(out):
		return p.write(out...)
	case bytes.Equal(out, p.text):
		return p.write(p.raw...)
	}
	return p.write(quote(out)...)
}

// unquote appends what a literal says. Bytes that are no UTF-8 stay what they
// are; half a surrogate pair becomes U+FFFD.
func unquote(dst, raw []byte) ([]byte, error) {
	raw = raw[1 : len(raw)-1]
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), nil
		}
		dst, raw = append(dst, raw[:i]...), raw[i:]
		// Runs of escapes belong together: surrogate pairs are two of them.
		n := 0
		for n < len(raw) && raw[n] == '\\' {
			n += 2
			if n <= len(raw) && raw[n-1] == 'u' {
				n += 4
			}
		}
		var s string
		lit := append(append([]byte{'"'}, raw[:min(n, len(raw))]...), '"')
		if err := json.Unmarshal(lit, &s); err != nil || n > len(raw) {
			return dst, fmt.Errorf("bad escape in %.40q", raw[:min(n, len(raw))])
		}
		dst, raw = append(dst, s...), raw[n:]
	}
	return dst, nil
}

// quote writes a literal, with as few escapes as JSON allows. Bytes that are no
// UTF-8 stay what they are.
func quote(text []byte) []byte {
	out := append(make([]byte, 0, len(text)+2), '"')
	for len(text) > 0 {
		_, n := utf8.DecodeRune(text)
		switch b := text[0]; {
		case n == 1 && (b == '"' || b == '\\'):
			out = append(out, '\\', b)
		case b < ' ':
			out = fmt.Appendf(out, `\u%04x`, b)
		default:
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	return append(out, '"')
}

// bare reads the rest of a literal without quotes.
func (p *jsonReader) bare(b byte) error {
	p.raw = append(p.raw[:0], b)
	for {
		next, err := p.r.Peek(1)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c := next[0]
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '-' || c == '.') {
			return nil
		}
		if len(p.raw) > 1000 {
			return fmt.Errorf("number of more than 1000 digits: %w", ErrLimit)
		}
		p.raw = append(p.raw, c)
		p.byte() // cannot fail: it was peeked at
	}
}

func (p *jsonReader) number(b byte) error {
	if err := p.bare(b); err != nil {
		return err
	}
	if !json.Valid(p.raw) {
		return fmt.Errorf("%.40q is no number", p.raw)
	}
	p.text = append(p.text[:0], p.raw...)
	out, err := p.part(Part{Name: string(p.path), Column: p.member, Text: p.text, Number: true})
	switch {
	case err != nil:
		return passed{err}
	case isNumber(out):
		return p.write(out...)
	}
	return p.write(quote(out)...)
}

func isNumber(text []byte) bool {
	return len(text) > 0 && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid(text)
}

// word reads true, false or null, which are nobody's data.
func (p *jsonReader) word(b byte) error {
	if err := p.bare(b); err != nil {
		return err
	}
	if s := string(p.raw); s != "true" && s != "false" && s != "null" {
		return fmt.Errorf("%.40q is no value", p.raw)
	}
	return p.write(p.raw...)
}
