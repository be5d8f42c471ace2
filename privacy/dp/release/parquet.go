package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

// maxGroupBytes bounds one column of one row group, unpacked: that is what is
// held in memory, for each worker.
const maxGroupBytes = 2 << 30

// readParquet reads a flat table, the row groups side by side. The decoder
// underneath panics on some malformed files; that is turned into an error here.
func (c *collector) readParquet(ctx context.Context, f *os.File) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("malformed Parquet file")
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := parquetcheck.Footer(f, st.Size()); err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, st.Size(), &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 1 << 20})
	if err != nil {
		return err
	}
	at, err := c.parquetColumns(file)
	if err != nil {
		return err
	}
	groups := file.RowGroups()
	c.size = file.NumRows()
	errs := make([]error, min(c.Workers, max(1, len(groups))))
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= len(groups) || ctx.Err() != nil {
					return
				}
				if errs[w] = c.rowGroup(groups[i], at); errs[w] != nil {
					next.Store(int64(len(groups)))
					return
				}
				c.progress(groups[i].NumRows())
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// parquetColumns is where the needed columns are, if they can be read.
func (c *collector) parquetColumns(file *parquet.File) ([]int, error) {
	columns := file.Root().Columns()
	names := make([]string, len(columns))
	for i, col := range columns {
		names[i] = col.Name()
	}
	at, err := c.find(names)
	if err != nil {
		return nil, err
	}
	leaves := make([]int, len(at))
	for k, i := range at {
		col := columns[i]
		if !col.Leaf() || col.Repeated() {
			return nil, fmt.Errorf("column %q is nested; only flat columns are read", col.Name())
		}
		if t := col.Type().LogicalType(); t != nil && k > len(c.GroupBy) {
			switch t.Value.(type) {
			case nil, *format.StringType, *format.EnumType, *format.IntType:
			default:
				return nil, fmt.Errorf("column %q holds %v values; save it as numbers", col.Name(), t)
			}
		}
		leaves[k] = col.Index()
		for _, g := range file.Metadata().RowGroups {
			if leaves[k] >= len(g.Columns) || g.Columns[leaves[k]].MetaData.TotalUncompressedSize > maxGroupBytes {
				return nil, fmt.Errorf("column %q: a row group has more than %d bytes; write smaller ones", col.Name(), maxGroupBytes)
			}
		}
	}
	return leaves, nil
}

// rowGroup reads one, column by column, into one batch.
func (c *collector) rowGroup(g parquet.RowGroup, at []int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("malformed Parquet file")
		}
	}()
	rows := g.NumRows()
	if rows < 0 || rows > 1<<27 {
		return errors.New("a row group has more than 2^27 rows; write smaller ones")
	}
	if rows == 0 {
		return nil
	}
	b := c.newBatch(int(rows))
	b.n = int(rows)
	chunks := g.ColumnChunks()
	people := &personSink{c, b}
	if err := readColumn(chunks[at[0]], b.n, people); err != nil {
		return fmt.Errorf("column %q: %w", c.Person, err)
	}
	for k, name := range c.GroupBy {
		if err := readColumn(chunks[at[1+k]], b.n, &groupSink{c: c, b: b, column: k}); err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
	}
	slot := 0
	for _, s := range c.Statistics {
		if s.Column == "" {
			continue
		}
		var to sink = numberSink(b.nums[slot])
		if b.hashes[slot] != nil {
			to = hashSink(b.hashes[slot])
		}
		if err := readColumn(chunks[at[1+len(c.GroupBy)+slot]], b.n, to); err != nil {
			return fmt.Errorf("column %q: %w", s.Column, err)
		}
		slot++
	}
	return c.add(b)
}

// sink takes the values of a column, in order, from row at on. Numbers come as
// they are stored, everything else as text; text is valid during the call.
type sink interface {
	ints(at int, v []int64)
	floats(at int, v []float64)
	texts(at int, n int, v func(i int) []byte)
	none(at int) // a row without a value
}

// readColumn reads a column of a row group page by page.
func readColumn(chunk parquet.ColumnChunk, rows int, to sink) error {
	pages := chunk.Pages()
	defer pages.Close()
	at := 0
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n := int(p.NumValues())
		if at+n > rows {
			parquet.Release(p)
			return errors.New("it has more values than rows")
		}
		err = readPage(p, at, n, to)
		parquet.Release(p)
		if err != nil {
			return err
		}
		at += n
	}
	if at != rows {
		return errors.New("it has fewer values than rows")
	}
	return nil
}

// readPage hands over a page's values, in runs between those that are absent.
func readPage(p parquet.Page, at, n int, to sink) error {
	levels := p.DefinitionLevels()
	data := p.Data()
	if d := p.Dictionary(); d != nil {
		return eachRun(levels, at, n, to, func(at, from, n int) error {
			return putIndexed(d.Page().Data(), data.Int32(), at, from, n, to)
		})
	}
	return eachRun(levels, at, n, to, func(at, from, n int) error { return put(data, at, from, n, to) })
}

// eachRun calls do for each run of present values: rows from at on have the
// stored values from from on.
func eachRun(levels []byte, at, n int, to sink, do func(at, from, n int) error) error {
	if len(levels) == 0 {
		return do(at, 0, n)
	}
	from := 0
	for i := 0; i < n; {
		if levels[i] == 0 {
			to.none(at + i)
			i++
			continue
		}
		run := i
		for i < n && levels[i] != 0 {
			i++
		}
		if err := do(at+run, from, i-run); err != nil {
			return err
		}
		from += i - run
	}
	return nil
}

// put hands over n plain values.
func put(data encoding.Values, at, from, n int, to sink) error {
	switch data.Kind() {
	case encoding.Int64:
		to.ints(at, data.Int64()[from:from+n])
	case encoding.Int32:
		wide := make([]int64, n)
		for i, v := range data.Int32()[from : from+n] {
			wide[i] = int64(v)
		}
		to.ints(at, wide)
	case encoding.Double:
		to.floats(at, data.Double()[from:from+n])
	case encoding.Float:
		wide := make([]float64, n)
		for i, v := range data.Float()[from : from+n] {
			wide[i] = float64(v)
		}
		to.floats(at, wide)
	case encoding.ByteArray:
		text, offsets := data.ByteArray()
		to.texts(at, n, func(i int) []byte { return text[offsets[from+i]:offsets[from+i+1]] })
	case encoding.FixedLenByteArray:
		text, size := data.FixedLenByteArray()
		to.texts(at, n, func(i int) []byte { return text[(from+i)*size : (from+i+1)*size] })
	default:
		return fmt.Errorf("values of kind %v are not read; save them as numbers or text", data.Kind())
	}
	return nil
}

// putIndexed hands over n values of a dictionary.
func putIndexed(dict encoding.Values, index []int32, at, from, n int, to sink) error {
	index = index[from : from+n]
	if g, ok := to.(*groupSink); ok && dict.Kind() == encoding.ByteArray {
		g.indexed(at, index, dict)
		return nil
	}
	switch dict.Kind() {
	case encoding.Int64:
		to.ints(at, pick(dict.Int64(), index, func(v int64) int64 { return v }))
	case encoding.Int32:
		to.ints(at, pick(dict.Int32(), index, func(v int32) int64 { return int64(v) }))
	case encoding.Double:
		to.floats(at, pick(dict.Double(), index, func(v float64) float64 { return v }))
	case encoding.Float:
		to.floats(at, pick(dict.Float(), index, func(v float32) float64 { return float64(v) }))
	case encoding.ByteArray:
		text, offsets := dict.ByteArray()
		to.texts(at, n, func(i int) []byte { return text[offsets[index[i]]:offsets[index[i]+1]] })
	default:
		return fmt.Errorf("values of kind %v are not read; save them as numbers or text", dict.Kind())
	}
	return nil
}

func pick[T, U any](dict []T, index []int32, as func(T) U) []U {
	out := make([]U, len(index))
	for i, k := range index {
		out[i] = as(dict[k])
	}
	return out
}

// personSink makes people of values.
type personSink struct {
	c *collector
	b *batch
}

func (s *personSink) ints(at int, v []int64) {
	for i, n := range v {
		s.b.people[at+i] = person{s.c.number, uint64(n)}
		if s.b.shard != nil {
			s.b.shard[at+i] = hashInt(n)
		}
	}
}

func (s *personSink) floats(at int, v []float64) {
	s.texts(at, len(v), func(i int) []byte { return strconv.AppendFloat(nil, v[i], 'g', -1, 64) })
}

func (s *personSink) texts(at, n int, v func(int) []byte) {
	for i := range n {
		text := v(i)
		if len(text) == 0 {
			s.none(at + i)
			continue
		}
		s.b.people[at+i] = s.c.textPerson(text)
		if s.b.shard != nil {
			s.b.shard[at+i] = hashText(string(text))
		}
	}
}

func (s *personSink) none(at int) { s.b.group[at] = dropped }

// groupSink numbers the values of a group column. Values that were met before are
// known without asking the dictionary that all workers share.
type groupSink struct {
	c      *collector
	b      *batch
	column int
	known  map[string]uint32
	whole  map[int64]uint32
	byCode []uint32 // of the Parquet dictionary of this row group
}

func (s *groupSink) put(row int, number uint32) {
	s.b.group[row] = s.c.dict.fold(s.column, s.b.group[row], number)
}

func (s *groupSink) ints(at int, v []int64) {
	if s.whole == nil {
		s.whole = map[int64]uint32{}
	}
	for i, n := range v {
		number, ok := s.whole[n]
		if !ok {
			number = s.c.dict.number(s.column, strconv.FormatInt(n, 10))
			s.whole[n] = number
		}
		s.put(at+i, number)
	}
}

func (s *groupSink) floats(at int, v []float64) {
	s.texts(at, len(v), func(i int) []byte { return strconv.AppendFloat(nil, v[i], 'g', -1, 64) })
}

func (s *groupSink) texts(at, n int, v func(int) []byte) {
	if s.known == nil {
		s.known = map[string]uint32{}
	}
	for i := range n {
		text := v(i)
		number, ok := s.known[unsafe.String(unsafe.SliceData(text), len(text))]
		if !ok {
			name := string(text)
			number = s.c.dict.number(s.column, name)
			s.known[name] = number
		}
		s.put(at+i, number)
	}
}

// indexed numbers the Parquet dictionary's values once.
func (s *groupSink) indexed(at int, index []int32, dict encoding.Values) {
	text, offsets := dict.ByteArray()
	if len(s.byCode) != len(offsets)-1 {
		s.byCode = make([]uint32, len(offsets)-1)
		for i := range s.byCode {
			s.byCode[i] = s.c.dict.number(s.column, string(text[offsets[i]:offsets[i+1]]))
		}
	}
	for i, k := range index {
		s.put(at+i, s.byCode[k])
	}
}

func (s *groupSink) none(at int) { s.put(at, s.c.dict.number(s.column, "")) }

// numberSink keeps numbers; text is read as CSV would.
type numberSink []float64

func (s numberSink) ints(at int, v []int64) {
	for i, n := range v {
		s[at+i] = float64(n)
	}
}

func (s numberSink) floats(at int, v []float64) { copy(s[at:], v) }

func (s numberSink) texts(at, n int, v func(int) []byte) {
	for i := range n {
		x, err := strconv.ParseFloat(string(v(i)), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			x = math.NaN()
		}
		s[at+i] = x
	}
}

func (s numberSink) none(at int) { s[at] = math.NaN() }

// hashSink keeps hashes of values.
type hashSink []uint64

func (s hashSink) ints(at int, v []int64) {
	for i, n := range v {
		s[at+i] = max(1, hashInt(n))
	}
}

func (s hashSink) floats(at int, v []float64) {
	for i, x := range v {
		s[at+i] = max(1, hashText(strconv.FormatFloat(x, 'g', -1, 64)))
	}
}

func (s hashSink) texts(at, n int, v func(int) []byte) {
	for i := range n {
		if text := v(i); len(text) > 0 {
			s[at+i] = max(1, hashText(string(text)))
		}
	}
}

func (s hashSink) none(int) {}
