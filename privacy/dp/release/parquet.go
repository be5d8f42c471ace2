package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

// maxGroupBytes bounds one column of one row group, unpacked. Of it a page of each
// column is held in memory, for each worker.
const maxGroupBytes = 2 << 30

// calmly turns a panic into an error: the decoder underneath panics on some malformed
// files.
func calmly(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("malformed Parquet file")
		}
	}()
	return do()
}

// readParquet reads a flat table, the row groups side by side.
func (c *collector) readParquet(ctx context.Context, f *os.File) error {
	return calmly(func() error { return c.rowGroups(ctx, f) })
}

func (c *collector) rowGroups(ctx context.Context, f *os.File) error {
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
			b := c.newBatch()
			for {
				i := int(next.Add(1) - 1)
				if i >= len(groups) || ctx.Err() != nil {
					return
				}
				errs[w] = calmly(func() error {
					if err := c.checkGroup(f, st.Size(), &file.Metadata().RowGroups[i], at); err != nil {
						return err
					}
					return c.rowGroup(ctx, groups[i], at, b)
				})
				if errs[w] != nil {
					next.Store(int64(len(groups)))
					return
				}
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
	}
	return leaves, nil
}

// checkGroup holds the pages that are needed against what they state, before the
// decoder believes it.
func (c *collector) checkGroup(f io.ReaderAt, size int64, g *format.RowGroup, at []int) error {
	for k, name := range c.columns() {
		if at[k] >= len(g.Columns) {
			return errors.New("malformed Parquet file")
		}
		if _, err := parquetcheck.Chunk(f, size, &g.Columns[at[k]].MetaData, maxGroupBytes); err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
	}
	return nil
}

// rowGroup reads one, all columns abreast, batch by batch.
func (c *collector) rowGroup(ctx context.Context, g parquet.RowGroup, at []int, b *batch) error {
	chunks := g.ColumnChunks()
	var columns []*column
	defer func() {
		for _, col := range columns {
			col.close()
		}
	}()
	sinks := c.sinks(b)
	for k, name := range c.columns() {
		chunk := chunks[at[k]]
		columns = append(columns, &column{name: name, unsigned: parquetcheck.Unsigned(chunk.Type()), pages: chunk.Pages(), to: sinks[k]})
	}
	for left := g.NumRows(); left > 0; left -= int64(b.n) {
		b.n = int(min(left, blockRows))
		for i := range b.n {
			putGroup(b.record(i), 0)
		}
		for _, col := range columns {
			if err := col.read(b.n); err != nil {
				return fmt.Errorf("column %q: %w", col.name, err)
			}
		}
		if err := errors.Join(ctx.Err(), c.add(b)); err != nil {
			return err
		}
		c.progress(int64(b.n))
	}
	for _, col := range columns {
		if err := col.done(); err != nil {
			return fmt.Errorf("column %q: %w", col.name, err)
		}
	}
	return nil
}

// sinks are what takes each needed column.
func (c *collector) sinks(b *batch) []sink {
	sinks := []sink{&personSink{c, b}}
	for k := range c.GroupBy {
		sinks = append(sinks, &groupSink{c: c, b: b, column: k})
	}
	for slot, st := range c.coded {
		if st.hashed {
			sinks = append(sinks, &hashSink{b, slot, st})
		} else {
			sinks = append(sinks, &numberSink{b, slot, st})
		}
	}
	return sinks
}

// sink takes the values of a column, in order, for the batch's rows from at on.
// Numbers come as they are stored, everything else as text; text is valid during
// the call.
type sink interface {
	ints(at int, v []int64)
	floats(at int, v []float64)
	texts(at int, n int, v func(i int) []byte)
	none(at int) // a row without a value
}

// column reads one of a row group, page by page.
type column struct {
	name     string
	unsigned bool
	pages    parquet.Pages
	to       sink
	page     parquet.Page
	levels   []byte
	data     encoding.Values
	dict     encoding.Values
	inDict   bool
	at       int // of the page's rows
	stored   int // of its values, which lack those that are absent
}

// close gives up what was not read.
func (col *column) close() {
	parquet.Release(col.page)
	col.pages.Close() // it was read from; nothing is lost
}

// turn goes to the next page.
func (col *column) turn() error {
	parquet.Release(col.page)
	col.page = nil
	p, err := col.pages.ReadPage()
	if err != nil {
		return err
	}
	col.page, col.at, col.stored = p, 0, 0
	col.levels, col.data = p.DefinitionLevels(), p.Data()
	if d := p.Dictionary(); d != nil {
		col.dict, col.inDict = d.Page().Data(), true
	} else {
		col.inDict = false
	}
	return nil
}

// done says whether there are more values than rows.
func (col *column) done() error {
	for col.page == nil || col.at == int(col.page.NumValues()) {
		if err := col.turn(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("it has more values than rows")
}

// read hands over the values of the next n rows, which are the batch's first.
func (col *column) read(n int) error {
	for at := 0; at < n; {
		if col.page == nil || col.at == int(col.page.NumValues()) {
			if err := col.turn(); errors.Is(err, io.EOF) {
				return errors.New("it has fewer values than rows")
			} else if err != nil {
				return err
			}
		}
		some := min(n-at, int(col.page.NumValues())-col.at)
		if err := col.some(at, some); err != nil {
			return err
		}
		at, col.at = at+some, col.at+some
	}
	return nil
}

// some hands over n values of the page, in runs between those that are absent.
func (col *column) some(at, n int) error {
	if len(col.levels) == 0 {
		return col.run(at, n)
	}
	levels := col.levels[col.at:][:n]
	for i := 0; i < n; {
		if levels[i] == 0 {
			col.to.none(at + i)
			i++
			continue
		}
		run := i
		for i < n && levels[i] != 0 {
			i++
		}
		if err := col.run(at+run, i-run); err != nil {
			return err
		}
	}
	return nil
}

// run hands over n values that are there.
func (col *column) run(at, n int) error {
	from := col.stored
	col.stored += n
	if !col.inDict {
		return col.plain(at, from, n)
	}
	return col.indexed(at, col.data.Int32()[from:from+n])
}

// plain hands over n values that are stored as they are.
func (col *column) plain(at, from, n int) error {
	switch data := col.data; data.Kind() {
	case encoding.Boolean:
		bits := data.Boolean()
		col.booleans(at, n, func(i int) bool { return bits[(from+i)/8]>>((from+i)%8)&1 != 0 })
	case encoding.Int32:
		col.ints(at, pick(data.Int32()[from:from+n], col.wide))
	case encoding.Int64:
		col.ints(at, data.Int64()[from:from+n])
	case encoding.Float:
		col.to.floats(at, pick(data.Float()[from:from+n], double))
	case encoding.Double:
		col.to.floats(at, data.Double()[from:from+n])
	case encoding.ByteArray:
		text, offsets := data.ByteArray()
		col.to.texts(at, n, func(i int) []byte { return text[offsets[from+i]:offsets[from+i+1]] })
	case encoding.FixedLenByteArray:
		text, size := data.FixedLenByteArray()
		col.to.texts(at, n, func(i int) []byte { return text[(from+i)*size : (from+i+1)*size] })
	default:
		return unreadable(data.Kind())
	}
	return nil
}

// indexed hands over values of the dictionary.
func (col *column) indexed(at int, index []int32) error {
	n := len(index)
	switch dict := col.dict; dict.Kind() {
	case encoding.Int32:
		v := dict.Int32()
		col.ints(at, pick(index, func(k int32) int64 { return col.wide(v[k]) }))
	case encoding.Int64:
		v := dict.Int64()
		col.ints(at, pick(index, func(k int32) int64 { return v[k] }))
	case encoding.Float:
		v := dict.Float()
		col.to.floats(at, pick(index, func(k int32) float64 { return float64(v[k]) }))
	case encoding.Double:
		v := dict.Double()
		col.to.floats(at, pick(index, func(k int32) float64 { return v[k] }))
	case encoding.ByteArray:
		if g, ok := col.to.(*groupSink); ok {
			g.indexed(at, index, dict)
			break
		}
		text, offsets := dict.ByteArray()
		col.to.texts(at, n, func(i int) []byte { return text[offsets[index[i]]:offsets[index[i]+1]] })
	case encoding.FixedLenByteArray:
		text, size := dict.FixedLenByteArray()
		col.to.texts(at, n, func(i int) []byte { return text[int(index[i])*size:][:size] })
	default:
		return unreadable(dict.Kind())
	}
	return nil
}

func unreadable(k encoding.Kind) error {
	return fmt.Errorf("values of kind %v are not read; save them as numbers or text", k)
}

// wide is a stored number of 32 bits.
func (col *column) wide(n int32) int64 {
	if col.unsigned {
		return int64(uint32(n))
	}
	return int64(n)
}

func double(x float32) float64 { return float64(x) }

func pick[T, U any](from []T, as func(T) U) []U {
	out := make([]U, len(from))
	for i, v := range from {
		out[i] = as(v)
	}
	return out
}

// ints hands over whole numbers, as text where there is one that no int64 holds.
func (col *column) ints(at int, v []int64) {
	if col.unsigned && slices.ContainsFunc(v, func(n int64) bool { return n < 0 }) {
		col.to.texts(at, len(v), func(i int) []byte { return strconv.AppendUint(nil, uint64(v[i]), 10) })
		return
	}
	col.to.ints(at, v)
}

// booleans are 0 and 1 to a statistic of numbers, and else the words.
func (col *column) booleans(at, n int, v func(i int) bool) {
	if _, ok := col.to.(*numberSink); !ok {
		col.to.texts(at, n, func(i int) []byte { return strconv.AppendBool(nil, v(i)) })
		return
	}
	numbers := make([]int64, n)
	for i := range numbers {
		if v(i) {
			numbers[i] = 1
		}
	}
	col.to.ints(at, numbers)
}

// personSink makes people of values.
type personSink struct {
	c *collector
	b *batch
}

func (s *personSink) ints(at int, v []int64) {
	for i, n := range v {
		putPerson(s.b.record(at+i), person{s.c.number, uint64(n)})
	}
	if s.b.shard != nil {
		for i, n := range v {
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
		putPerson(s.b.record(at+i), s.c.textPerson(text))
		if s.b.shard != nil {
			s.b.shard[at+i] = hashText(string(text))
		}
	}
}

func (s *personSink) none(at int) { putGroup(s.b.record(at), dropped) }

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
	r := s.b.record(row)
	putGroup(r, s.c.dict.fold(s.column, groupOf(r), number))
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

// numberSink makes codes of numbers; text is read as CSV would.
type numberSink struct {
	b    *batch
	slot int
	*statistic
}

func (s *numberSink) ints(at int, v []int64) {
	for i, n := range v {
		putCode(s.b.record(at+i), s.slot, s.encode(float64(n)))
	}
}

func (s *numberSink) floats(at int, v []float64) {
	for i, x := range v {
		putCode(s.b.record(at+i), s.slot, s.encode(x))
	}
}

func (s *numberSink) texts(at, n int, v func(int) []byte) {
	for i := range n {
		putCode(s.b.record(at+i), s.slot, s.textCode(v(i)))
	}
}

func (s *numberSink) none(at int) { putCode(s.b.record(at), s.slot, missing) }

// hashSink makes codes of hashes of values.
type hashSink struct {
	b    *batch
	slot int
	*statistic
}

func (s *hashSink) ints(at int, v []int64) {
	for i, n := range v {
		putCode(s.b.record(at+i), s.slot, s.hashCode(hashInt(n)))
	}
}

func (s *hashSink) floats(at int, v []float64) {
	for i, x := range v {
		putCode(s.b.record(at+i), s.slot, s.hashCode(hashText(strconv.FormatFloat(x, 'g', -1, 64))))
	}
}

func (s *hashSink) texts(at, n int, v func(int) []byte) {
	for i := range n {
		putCode(s.b.record(at+i), s.slot, s.textCode(v(i)))
	}
}

func (s *hashSink) none(at int) { putCode(s.b.record(at), s.slot, missing) }
