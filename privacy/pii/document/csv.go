package document

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// CSV is comma-separated values (RFC 4180). Semicolons, tabs and bars are taken
// for the separator where the first line has more of them than of commas. Its
// parts are the fields, named "row 3, column email" when the first row looks like
// names of columns, and "row 3, column 2" when it does not; the header is row 1.
var CSV = Format{Name: "csv", Extensions: []string{".csv"}, writes: true,
	walk: func(j *job, r io.Reader) error { return readCSV(j, r, 0) }}

// TSV is CSV with tabs.
var TSV = Format{Name: "tsv", Extensions: []string{".tsv", ".tab"}, writes: true,
	walk: func(j *job, r io.Reader) error { return readCSV(j, r, '\t') }}

// A csvReader reads fields itself, because those that do not change have to stay
// as they were, quotes and ends of lines included.
type csvReader struct {
	*job
	r       *bufio.Reader
	out     *bufio.Writer
	comma   byte
	line    int
	col     int
	columns []string
	header  bool
	raw     []byte // the field at hand as it stands
	text    []byte // what it says
}

func readCSV(j *job, r io.Reader, comma byte) error {
	w := j.w
	if w == nil {
		w = io.Discard
	}
	p := &csvReader{job: j, r: bufio.NewReaderSize(r, 64<<10), out: bufio.NewWriterSize(w, 64<<10), comma: comma, line: 1, col: 1}
	if err := p.open(); err != nil {
		return err
	}
	for row := 1; ; row++ {
		if _, err := p.r.Peek(1); err == io.EOF {
			return p.out.Flush()
		}
		if err := p.row(row); err != nil {
			return err
		}
	}
}

// open copies a byte order mark, guesses the separator, and reads the header.
func (p *csvReader) open() error {
	head, err := p.r.Peek(64 << 10)
	if err != nil && err != io.EOF {
		return err
	}
	if bom := []byte("\ufeff"); bytes.HasPrefix(head, bom) {
		p.r.Discard(len(bom)) // cannot fail: it was peeked at
		if _, err := p.out.Write(bom); err != nil {
			return err
		}
		head = head[len(bom):]
	}
	first, _, _ := bytes.Cut(head, []byte{'\n'})
	if p.comma == 0 {
		p.comma = ','
		for _, c := range []byte(";\t|") {
			if bytes.Count(first, []byte{c}) > bytes.Count(first, []byte{p.comma}) {
				p.comma = c
			}
		}
	}
	p.columns, p.header = header(first, p.comma)
	return nil
}

// header tells whether a first line names columns: no field is empty, none comes
// twice, and none has a digit first or an at sign.
func header(line []byte, comma byte) ([]string, bool) {
	var names []string
	seen := map[string]bool{}
	for _, f := range bytes.Split(bytes.TrimRight(line, "\r"), []byte{comma}) {
		f = bytes.TrimSpace(bytes.Trim(bytes.TrimSpace(f), `"`))
		if len(f) == 0 || len(f) > 100 || f[0] >= '0' && f[0] <= '9' || f[0] == '+' || bytes.IndexByte(f, '@') >= 0 || seen[string(f)] {
			return nil, false
		}
		seen[string(f)] = true
		names = append(names, string(f))
	}
	return names, true
}

func (p *csvReader) errorf(format string, args ...any) error {
	return fmt.Errorf("%sread CSV at line %d, column %d: %w", p.prefix, p.line, p.col, fmt.Errorf(format, args...))
}

// row reads one record and copies its end.
func (p *csvReader) row(row int) error {
	var name []byte
	for i := 0; ; i++ {
		end, err := p.field()
		if err != nil {
			return err
		}
		blank := i == 0 && end != p.comma && len(p.raw) == 0
		if p.columns != nil && i >= len(p.columns) {
			return p.errorf("row %d has more than %d fields", row, len(p.columns))
		}
		name = append(strconv.AppendInt(append(name[:0], "row "...), int64(row), 10), ", column "...)
		if p.header && row > 1 {
			name = append(name, p.columns[i]...)
		} else {
			name = strconv.AppendInt(name, int64(i+1), 10)
		}
		if !blank {
			if err := p.put(string(name)); err != nil {
				return err
			}
		}
		if end == p.comma {
			if err := p.out.WriteByte(end); err != nil {
				return err
			}
			continue
		}
		if p.columns == nil {
			p.columns = make([]string, i+1)
		}
		if i+1 < len(p.columns) && !blank {
			return p.errorf("row %d has %d fields, the first has %d", row, i+1, len(p.columns))
		}
		return p.end(end)
	}
}

// put hands over the field at hand and writes what is to stand there.
func (p *csvReader) put(name string) error {
	out, err := p.part(name, p.text)
	if err != nil {
		return err
	}
	if !bytes.Equal(out, p.text) {
		p.raw = append(p.raw[:0], out...)
		if bytes.ContainsAny(out, "\"\r\n") || bytes.IndexByte(out, p.comma) >= 0 {
			p.raw = append(append(append(p.raw[:0], '"'), bytes.ReplaceAll(out, []byte{'"'}, []byte(`""`))...), '"')
		}
	}
	_, err = p.out.Write(p.raw)
	return err
}

// end copies the end of a line whose first byte was taken; 0 is the end of the
// file.
func (p *csvReader) end(b byte) error {
	if b == 0 {
		return nil
	}
	if err := p.out.WriteByte(b); err != nil {
		return err
	}
	if next, _ := p.r.Peek(1); b == '\r' && len(next) == 1 && next[0] == '\n' {
		p.r.Discard(1) // cannot fail: it was peeked at
		if err := p.out.WriteByte('\n'); err != nil {
			return err
		}
	}
	p.line, p.col = p.line+1, 1
	return nil
}

// field reads one field into raw and text, and returns the byte that ended it: the
// separator, the first of the end of a line, or 0 at the end of the file.
func (p *csvReader) field() (byte, error) {
	p.raw, p.text = p.raw[:0], p.text[:0]
	quoted, closed := false, false
	for {
		b, err := p.r.ReadByte()
		if err == io.EOF {
			if quoted && !closed {
				return 0, p.errorf("a quoted field has no end")
			}
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if len(p.raw) >= p.limits.String {
			return 0, p.errorf("field of more than %d bytes: %w", p.limits.String, ErrLimit)
		}
		open := quoted && !closed
		switch {
		case !open && (b == p.comma || b == '\r' || b == '\n'):
			p.col++
			return b, nil
		case b == '"' && len(p.raw) == 0:
			quoted = true
		case b == '"' && open:
			closed = true
		case b == '"' && closed: // a doubled quote stands for one
			closed = false
			p.text = append(p.text, '"')
		case closed:
			return 0, p.errorf("%q after the closing quote of a field", b)
		case b == '"' && p.comma != '\t':
			return 0, p.errorf("a quote within a field that does not begin with one")
		default:
			p.text = append(p.text, b)
		}
		p.raw = append(p.raw, b)
		if p.col++; b == '\n' {
			p.line, p.col = p.line+1, 1
		}
	}
}
