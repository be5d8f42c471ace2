package document

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
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
	record  []csvField
	subject []byte // of the row at hand
}

func readCSV(j *job, r io.Reader, comma byte) error {
	r, err := j.decoded(r, "CSV")
	if err != nil {
		return err
	}
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

// A csvField is a field as it stands, and what it says.
type csvField struct{ raw, text []byte }

// row reads one record and writes it.
func (p *csvReader) row(row int) error {
	n, end, err := p.fields(row)
	if err != nil {
		return err
	}
	p.subject = nil
	for i, f := range p.record[:n] {
		if p.column(row, i) == p.subjectColumn && p.subjectColumn != "" {
			p.subject = f.text
		}
	}
	for i, f := range p.record[:n] {
		if i > 0 {
			if err := p.out.WriteByte(p.comma); err != nil {
				return err
			}
		}
		if n == 1 && len(f.raw) == 0 {
			break // an empty line
		}
		if err := p.put(row, i, f); err != nil {
			return err
		}
	}
	return p.end(end)
}

// fields reads the fields of a row into p.record; end is the byte that ended it.
func (p *csvReader) fields(row int) (n int, end byte, err error) {
	for end = p.comma; end == p.comma; n++ {
		if p.columns != nil && n >= len(p.columns) {
			return 0, 0, p.errorf("row %d has more than %d fields", row, len(p.columns))
		}
		if end, err = p.field(); err != nil {
			return 0, 0, err
		}
		if n == len(p.record) {
			p.record = append(p.record, csvField{})
		}
		f := &p.record[n]
		f.raw, f.text = append(f.raw[:0], p.raw...), append(f.text[:0], p.text...)
	}
	blank := n == 1 && len(p.record[0].raw) == 0
	if p.columns == nil {
		p.columns = make([]string, n)
	}
	if n < len(p.columns) && !blank {
		return 0, 0, p.errorf("row %d has %d fields, the first has %d", row, n, len(p.columns))
	}
	return n, end, nil
}

// column is the name of a column: its number where there is no header, and in the
// header.
func (p *csvReader) column(row, i int) string {
	if p.header && row > 1 {
		return p.columns[i]
	}
	return strconv.Itoa(i + 1)
}

// put hands over a field and writes what is to stand there.
func (p *csvReader) put(row, i int, f csvField) error {
	column := p.column(row, i)
	name := "row " + strconv.Itoa(row) + ", column " + column
	if p.header && row == 1 {
		column = "" // of its own
	}
	out, err := p.part(Part{Name: name, Column: column, Subject: string(p.subject), Text: f.text})
	if err != nil {
		return err
	}
	raw := f.raw
	if !bytes.Equal(out, f.text) {
		raw = out
		if bytes.ContainsAny(out, "\"\r\n") || bytes.IndexByte(out, p.comma) >= 0 {
			raw = slices.Concat([]byte{'"'}, bytes.ReplaceAll(out, []byte{'"'}, []byte(`""`)), []byte{'"'})
		}
	}
	_, err = p.out.Write(raw)
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
