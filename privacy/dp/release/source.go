package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Aggregate reads data and adds up what each person may contribute: a CSV file
// with a line of names (.csv, or .tsv with tabs), a Parquet file (.parquet), or,
// for "postgres://...", the query's table.
//
// A row without a person counts for nobody and is left out; one without a value,
// or with what is no number, is left out of the statistics of that column;
// infinities are clamped as other values are. None of this is reported: how many
// such rows there are is about people. What is reported is about the file: that it
// cannot be read, or lacks a column.
func Aggregate(ctx context.Context, q *Query, data string, o Options) (*State, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	c, err := newCollector(p, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	read := c.readFile
	if strings.HasPrefix(data, "postgres://") || strings.HasPrefix(data, "postgresql://") {
		read = c.readPostgres
	}
	if err := read(ctx, data); err != nil {
		return nil, err
	}
	return c.finish(ctx)
}

// AggregateRows is [Aggregate] for rows that come from elsewhere: the fields of each
// in the order of [Columns], as text.
func AggregateRows(ctx context.Context, q *Query, rows iter.Seq[[]string], o Options) (*State, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	c, err := newCollector(p, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	b := c.newBatch()
	fields := make([][]byte, len(p.columns()))
	for row := range rows {
		clear(fields)
		for i := range min(len(row), len(fields)) {
			fields[i] = []byte(row[i])
		}
		if c.textRow(b, fields); b.n == blockRows {
			if err := errors.Join(ctx.Err(), c.add(b)); err != nil {
				return nil, err
			}
			b.n = 0
		}
	}
	if err := c.add(b); err != nil {
		return nil, err
	}
	return c.finish(ctx)
}

// Columns are those that a query reads: the person's, the groups', and that of
// each statistic that has one.
func Columns(q *Query) ([]string, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	return p.columns(), nil
}

// ShardOf is which of so many shards a person falls into, the same everywhere.
func ShardOf(person string, shards int) int { return int(hashText(person) % uint64(shards)) }

func (c *collector) readFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the data: %w", err)
	}
	defer f.Close()
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".csv":
		c.size = size(f)
		err = c.readCSV(ctx, f, ',')
	case ".tsv":
		c.size = size(f)
		err = c.readCSV(ctx, f, '\t')
	case ".parquet":
		err = c.readParquet(ctx, f)
	default:
		err = fmt.Errorf("no format ends in %q: give .csv, .tsv, .parquet or postgres://", ext)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// size is that of a file, 0 for what has none, such as a pipe.
func size(f *os.File) int64 {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return 0
	}
	return st.Size()
}

// columns are the ones that a query needs: the person's, then the groups', then
// one for each slot.
func (p *plan) columns() []string {
	out := append([]string{p.Person}, p.GroupBy...)
	for _, s := range p.Statistics {
		if s.Column != "" {
			out = append(out, s.Column)
		}
	}
	return out
}

// find is where each needed column is among names.
func (p *plan) find(names []string) ([]int, error) {
	at := map[string]int{}
	for i, n := range names {
		if _, twice := at[n]; twice {
			at[n] = -1
			continue
		}
		at[n] = i
	}
	var out []int
	for _, need := range p.columns() {
		i, ok := at[need]
		if !ok {
			return nil, fmt.Errorf("no column is called %q, which the query names", need)
		}
		if i < 0 {
			return nil, fmt.Errorf("two columns are called %q, which the query names", need)
		}
		out = append(out, i)
	}
	return out, nil
}

const lineBytes = 1 << 20 // longer lines are left out

// readCSV reads lines; a field with a line break in quotes ends with its line.
// That a line is malformed is never said: what fields it has, it has.
func (c *collector) readCSV(ctx context.Context, r io.Reader, comma byte) error {
	lines := &lineReader{r: r, buf: make([]byte, lineBytes)}
	head, err := lines.next()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty: it must begin with a line of names")
	}
	if err != nil {
		return err
	}
	var names []string
	for _, f := range fields(nil, bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), comma) {
		names = append(names, strings.TrimSpace(string(f)))
	}
	at, err := c.find(names)
	if err != nil {
		return err
	}
	b := c.newBatch()
	var row, needed [][]byte
	read := int64(0) // bytes since progress was told
	for {
		line, err := lines.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		read += int64(len(line)) + 1
		if err == nil && len(line) > 0 {
			row, needed = fields(row[:0], line, comma), needed[:0]
			for _, i := range at {
				if i < len(row) {
					needed = append(needed, bytes.TrimSpace(row[i]))
				} else {
					needed = append(needed, nil)
				}
			}
			c.textRow(b, needed)
		}
		if b.n == blockRows || err != nil {
			if err := errors.Join(ctx.Err(), c.add(b)); err != nil {
				return err
			}
			c.progress(read)
			b.n, read = 0, 0
		}
		if err != nil {
			return nil
		}
	}
}

// textRow adds a row of fields in the order of columns.
func (c *collector) textRow(b *batch, fields [][]byte) {
	i := b.n
	b.n++
	r := b.record(i)
	if len(fields[0]) == 0 {
		putGroup(r, dropped)
		return
	}
	putPerson(r, c.textPerson(fields[0]))
	if b.shard != nil {
		b.shard[i] = hashText(string(fields[0]))
	}
	group := uint32(0)
	for k := range c.GroupBy {
		group = c.dict.fold(k, group, c.dict.number(k, string(fields[1+k])))
	}
	putGroup(r, group)
	for slot, f := range fields[1+len(c.GroupBy):] {
		putCode(r, slot, c.coded[slot].textCode(f))
	}
}

// textCode is the code of a value that comes as text.
func (st *statistic) textCode(text []byte) int32 {
	if st.hashed {
		if len(text) == 0 {
			return missing
		}
		return st.hashCode(hashText(string(text)))
	}
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // of those, the infinity is the value
		return missing
	}
	return st.encode(x)
}

// lineReader gives lines without their ends, in memory that the next call uses
// again. Those that do not fit are left out.
type lineReader struct {
	r          io.Reader
	buf        []byte
	start, end int
	done       bool
}

func (l *lineReader) next() ([]byte, error) {
	skip := false
	for {
		if i := bytes.IndexByte(l.buf[l.start:l.end], '\n'); i >= 0 {
			line := l.buf[l.start : l.start+i]
			l.start += i + 1
			if skip {
				skip = false
				continue
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if l.done {
			line := l.buf[l.start:l.end]
			l.start = l.end
			if len(line) == 0 || skip {
				return nil, io.EOF
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
		if l.end == len(l.buf) {
			skip, l.end = true, 0
		}
		n, err := l.r.Read(l.buf[l.end:])
		l.end += n
		if errors.Is(err, io.EOF) {
			l.done = true
		} else if err != nil {
			return nil, err
		}
	}
}

// fields splits a line. A field that begins with a quote goes to the next quote
// that is not doubled; doubled ones become one, in place.
func fields(out [][]byte, line []byte, comma byte) [][]byte {
	for {
		if len(line) == 0 || line[0] != '"' {
			i := bytes.IndexByte(line, comma)
			if i < 0 {
				return append(out, line)
			}
			out, line = append(out, line[:i]), line[i+1:]
			continue
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
		out = append(out, line[:to])
		i := bytes.IndexByte(line[min(from, len(line)):], comma)
		if i < 0 {
			return out
		}
		line = line[from+i+1:]
	}
}
