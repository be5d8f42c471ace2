package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// csvReader reads RFC 4180 with any of four separators. It is stricter than most
// (a stray quote is an error, for half a file may hide behind it) and bounded: a
// row that does not fit its buffer is refused.
type csvReader struct {
	r          io.Reader
	comma      byte
	buf        []byte
	start, end int
	done       bool
	line       int // of the row that begins at start
	fields     [][]byte
	total      int64
	size       int64
}

func openCSV(f *os.File) (*Reader, error) { return openText(f, 0) }

func openTSV(f *os.File) (*Reader, error) { return openText(f, '\t') }

func openText(f *os.File, comma byte) (*Reader, error) {
	c := &csvReader{r: f, buf: make([]byte, MaxRow), line: 1, comma: comma}
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		c.size = st.Size()
	}
	r, err := newCSV(c)
	if r != nil {
		r.close = f.Close
	}
	return r, err
}

func newCSV(c *csvReader) (*Reader, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(c.buf[:c.end], []byte("\xef\xbb\xbf")) {
		c.start = 3
	}
	if c.comma == 0 {
		c.comma = separator(c.buf[c.start:c.end])
	}
	head, err := c.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: it must begin with a line of names")
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(head))
	for i, h := range head {
		names[i] = strings.TrimSpace(string(h))
	}
	return &Reader{names: names, comma: c.comma, close: func() error { return nil },
		read: func() (int64, int64) { return c.total - int64(c.end-c.start), c.size },
		next: func() ([][]byte, error) {
			line := c.line
			row, err := c.next()
			if err == nil && len(row) != len(names) {
				err = fmt.Errorf("line %d has %d fields, the line of names has %d", line, len(row), len(names))
			}
			return row, err
		}}, nil
}

// separator is the one of the four that the line of names has most of.
func separator(b []byte) byte {
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	best, most := byte(','), 0
	for _, c := range []byte(",;\t|") {
		n, quoted := 0, false
		for _, x := range line {
			switch {
			case x == '"':
				quoted = !quoted
			case x == c && !quoted:
				n++
			}
		}
		if n > most {
			best, most = c, n
		}
	}
	return best
}

// fill moves what is left to the front and reads on.
func (c *csvReader) fill() error {
	c.end = copy(c.buf, c.buf[c.start:c.end])
	c.start = 0
	for c.end < len(c.buf) && !c.done {
		n, err := c.r.Read(c.buf[c.end:])
		c.end += n
		c.total += int64(n)
		if errors.Is(err, io.EOF) {
			c.done = true
		} else if err != nil {
			return err
		}
		if n > 0 {
			break
		}
	}
	return nil
}

// next is the next row that is not an empty line.
func (c *csvReader) next() ([][]byte, error) {
	for {
		used, err := c.row()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", c.line, err)
		}
		if used == 0 {
			if c.done {
				return nil, io.EOF
			}
			if c.start == 0 && c.end == len(c.buf) {
				return nil, fmt.Errorf("line %d: a row is longer than %d bytes: is a closing quote missing?", c.line, MaxRow)
			}
			if err := c.fill(); err != nil {
				return nil, err
			}
			continue
		}
		text := c.buf[c.start : c.start+used]
		lines := bytes.Count(text, []byte{'\n'})
		c.start += used
		blank := len(c.fields) == 1 && len(bytes.TrimRight(text, "\r\n")) == 0
		c.line += lines
		if !blank {
			return c.fields, nil
		}
	}
}

// row splits the row at start; used is 0 when it is not all there yet. Doubled
// quotes become one in place, but only once the row is whole.
func (c *csvReader) row() (used int, err error) {
	b := c.buf[c.start:c.end]
	end, quotes, err := rowEnd(b, c.comma, c.done)
	if end == 0 || err != nil {
		return 0, err
	}
	if !utf8.Valid(b[:end]) {
		return 0, errors.New("it is not UTF-8: save the table as UTF-8")
	}
	line := b[:end]
	line = bytes.TrimSuffix(line, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	c.fields = c.fields[:0]
	if !quotes {
		for {
			i := bytes.IndexByte(line, c.comma)
			if i < 0 {
				c.fields = append(c.fields, line)
				return end, nil
			}
			c.fields = append(c.fields, line[:i])
			line = line[i+1:]
		}
	}
	for {
		field, rest, more := cutField(line, c.comma)
		c.fields = append(c.fields, field)
		if !more {
			return end, nil
		}
		line = rest
	}
}

// rowEnd is how long the row at the front of b is with its line end, 0 if more must
// be read to tell.
func rowEnd(b []byte, comma byte, last bool) (n int, quotes bool, err error) {
	i := bytes.IndexByte(b, '\n')
	line := b
	if i >= 0 {
		line = b[:i]
	}
	if bytes.IndexByte(line, '"') < 0 {
		if i >= 0 {
			return i + 1, false, nil
		}
		if last {
			return len(b), false, nil
		}
		return 0, false, nil
	}
	const outside, plain, inside, after = 0, 1, 2, 3
	state := outside // at the start of a field
	for i, x := range b {
		switch {
		case state == inside:
			if x == '"' {
				state = after
			}
		case x == '\n':
			return i + 1, true, nil
		case x == comma:
			state = outside
		case x == '"' && state == outside:
			state = inside
		case x == '"' && state == after:
			state = inside
		case x == '"':
			return 0, true, errors.New(`a quote stands inside a field: double it and put the field in quotes`)
		case state == after && x != '\r':
			return 0, true, errors.New(`text follows a closing quote: double quotes inside a field`)
		case state == outside:
			state = plain
		}
	}
	if !last {
		return 0, true, nil
	}
	if state == inside {
		return 0, true, errors.New("the file ends inside quotes")
	}
	return len(b), true, nil
}

// cutField takes the first field off a whole row.
func cutField(line []byte, comma byte) (field, rest []byte, more bool) {
	if len(line) == 0 || line[0] != '"' {
		return bytes.Cut(line, []byte{comma})
	}
	to, from := 0, 1
	for from < len(line) {
		if line[from] == '"' {
			if from+1 >= len(line) || line[from+1] != '"' {
				break
			}
			from++
		}
		line[to] = line[from]
		to, from = to+1, from+1
	}
	_, rest, more = bytes.Cut(line[min(from, len(line)):], []byte{comma})
	return line[:to], rest, more
}

// csvWriter quotes where it must.
type csvWriter struct {
	w     io.Writer
	comma byte
	buf   []byte
}

func writeCSV(w io.Writer, names []string, comma byte) (rowWriter, error) {
	c := &csvWriter{w: w, comma: comma}
	return c, c.write(names)
}

func (c *csvWriter) write(row []string) error {
	b := c.buf[:0]
	for i, f := range row {
		if i > 0 {
			b = append(b, c.comma)
		}
		if strings.IndexByte(f, c.comma) < 0 && !strings.ContainsAny(f, "\"\r\n") && !(f == "" && len(row) == 1) {
			b = append(b, f...)
			continue
		}
		b = append(b, '"')
		b = append(b, strings.ReplaceAll(f, `"`, `""`)...)
		b = append(b, '"')
	}
	c.buf = append(b, '\n')
	_, err := c.w.Write(c.buf)
	return err
}

func (c *csvWriter) close() error { return nil }
