package document

import (
	"bufio"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// A charset is that of one text without a mark: UTF-8, or, where its first bytes
// beyond ASCII are not that, Windows' code page 1252. That is what spreadsheets
// of Western Europe and the Americas write, and it holds Latin-1; names in it
// would go unseen as broken UTF-8. Its bytes and the code points that they stand
// for are one to one, so that what is not replaced is written as it was.
type charset struct {
	known, legacy bool
}

// decoded has r read and j.w written in the charset that r turns out to have. UTF-16,
// which a byte order mark tells, is not written.
func (j *job) decoded(r io.Reader, what string) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 4096)
	if head, _ := b.Peek(2); utf16Mark(head) {
		if j.w != nil {
			return nil, fmt.Errorf("%s in UTF-16: %w", what, ErrReadOnly)
		}
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(b), nil
	}
	c := &charset{}
	if j.w != nil {
		j.w = &encoder{w: j.w, charset: c}
	}
	return &decoder{r: b, charset: c, raw: make([]byte, 64<<10)}, nil
}

// settle judges a text by what is beyond ASCII in it, if that is enough to tell:
// a few bytes that are broken do not make UTF-8 something else.
func (c *charset) settle(text []byte, last bool) {
	good, bad := 0, 0
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		if !last && !utf8.FullRune(text[i:]) {
			break
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			bad++
		} else {
			good++
		}
		i += n
	}
	c.known, c.legacy = good+bad > 0, bad > good
}

// A decoder reads a text as UTF-8, as soon as it is there.
type decoder struct {
	*charset
	r    io.Reader
	raw  []byte
	text []byte // not handed over yet
	err  error
}

func (d *decoder) Read(p []byte) (int, error) {
	for len(d.text) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.fill()
	}
	n := copy(p, d.text)
	d.text = d.text[n:]
	return n, nil
}

// fill reads on, until what is beyond ASCII tells the charset.
func (d *decoder) fill() {
	n := 0
	for {
		var m int
		m, d.err = d.r.Read(d.raw[n:])
		n += m
		if !d.known {
			d.settle(d.raw[:n], d.err != nil)
		}
		if d.known || d.err != nil || n == len(d.raw) || n > 0 && d.raw[n-1] < utf8.RuneSelf {
			break
		}
	}
	if !d.legacy {
		d.text = d.raw[:n]
		return
	}
	d.text = make([]byte, 0, n+n/8)
	for _, b := range d.raw[:n] {
		r := charmap.Windows1252.DecodeByte(b)
		if r == utf8.RuneError {
			r = rune(b) // one of the five that the code page leaves open
		}
		d.text = utf8.AppendRune(d.text, r)
	}
}

// An encoder writes what a decoder read. A letter that the charset has not got
// becomes a question mark.
type encoder struct {
	*charset
	w    io.Writer
	rest []byte // of a code point that goes on in the next call
}

func (e *encoder) Write(p []byte) (int, error) {
	if !e.legacy {
		return e.w.Write(p)
	}
	text := append(e.rest, p...)
	out := make([]byte, 0, len(text))
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		b, ok := charmap.Windows1252.EncodeRune(r)
		switch {
		case !ok && r >= 0x80 && r < 0xA0:
			b = byte(r)
		case !ok:
			b = '?'
		}
		out, text = append(out, b), text[n:]
	}
	e.rest = append([]byte(nil), text...)
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
