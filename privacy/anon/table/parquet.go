package table

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

// openParquet reads a flat table. The decoder underneath panics on some malformed
// files; that is turned into an error.
func openParquet(f *os.File) (r *Reader, err error) {
	defer malformed(&err)
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := parquetcheck.Footer(f, st.Size()); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, st.Size(), &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 1 << 18})
	if err != nil {
		return nil, err
	}
	names, text, err := parquetColumns(file, f, st.Size())
	if err != nil {
		return nil, err
	}
	p := &parquetReader{groups: file.RowGroups(), text: text, batch: make([]parquet.Row, 256), cells: make([][]byte, len(names))}
	all := file.NumRows()
	return &Reader{names: names, comma: ',', next: p.next, read: func() (int64, int64) { return p.row, all },
		close: func() error { p.end(); return f.Close() }}, nil
}

func malformed(err *error) {
	if p := recover(); p != nil {
		*err = errors.New("malformed Parquet file")
	}
}

// parquetColumns are the names, and for each how its values are written.
func parquetColumns(file *parquet.File, f io.ReaderAt, size int64) (names []string, text []func([]byte, parquet.Value) ([]byte, error), err error) {
	for _, c := range file.Root().Columns() {
		if !c.Leaf() || c.Repeated() {
			return nil, nil, fmt.Errorf("column %q is nested: only flat tables are read", c.Name())
		}
		write, err := valueText(c)
		if err != nil {
			return nil, nil, err
		}
		names, text = append(names, c.Name()), append(text, write)
	}
	for _, g := range file.Metadata().RowGroups {
		if len(g.Columns) != len(names) {
			return nil, nil, errors.New("malformed Parquet file")
		}
		for i := range g.Columns {
			if _, err := parquetcheck.Chunk(f, size, &g.Columns[i].MetaData, math.MaxInt64); err != nil {
				return nil, nil, fmt.Errorf("column %q: %w", names[i], err)
			}
		}
	}
	return names, text, nil
}

// valueText writes the values of a column as CSV would hold them.
func valueText(c *parquet.Column) (func([]byte, parquet.Value) ([]byte, error), error) {
	if t := c.Type().LogicalType(); t != nil {
		switch t.Value.(type) {
		case nil, *format.StringType, *format.EnumType, *format.IntType:
		case *format.DateType:
			return func(b []byte, v parquet.Value) ([]byte, error) {
				return time.Unix(int64(v.Int32())*86400, 0).UTC().AppendFormat(b, time.DateOnly), nil
			}, nil
		default:
			return nil, fmt.Errorf("column %q holds %v values: save it as numbers, dates or text", c.Name(), t)
		}
	}
	unsigned := parquetcheck.Unsigned(c.Type())
	return func(b []byte, v parquet.Value) ([]byte, error) { return plainText(b, v, unsigned) }, nil
}

func plainText(b []byte, v parquet.Value, unsigned bool) ([]byte, error) {
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.AppendBool(b, v.Boolean()), nil
	case parquet.Int32, parquet.Int64:
		return parquetcheck.AppendInt(b, v, unsigned), nil
	case parquet.Float:
		return strconv.AppendFloat(b, float64(v.Float()), 'g', -1, 32), nil
	case parquet.Double:
		return strconv.AppendFloat(b, v.Double(), 'g', -1, 64), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		if !utf8.Valid(v.ByteArray()) {
			return nil, errors.New("text that is not UTF-8")
		}
		return append(b, v.ByteArray()...), nil
	}
	return nil, fmt.Errorf("values of kind %v are not read: save them as numbers or text", v.Kind())
}

type parquetReader struct {
	groups []parquet.RowGroup
	rows   parquet.Rows
	batch  []parquet.Row
	n, at  int
	text   []func([]byte, parquet.Value) ([]byte, error)
	buf    []byte
	cells  [][]byte
	row    int64
}

func (p *parquetReader) next() (cells [][]byte, err error) {
	defer malformed(&err)
	for p.at == p.n {
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	row := p.batch[p.at]
	p.at++
	p.row++
	clear(p.cells)
	ends := make([]int, 0, 64)
	p.buf = p.buf[:0]
	for _, v := range row {
		if !v.IsNull() {
			if p.buf, err = p.text[v.Column()](p.buf, v); err != nil {
				return nil, fmt.Errorf("row %d: %w", p.row, err)
			}
		}
		ends = append(ends, len(p.buf))
	}
	if len(p.buf) > MaxRow {
		return nil, fmt.Errorf("row %d is longer than %d bytes", p.row, MaxRow)
	}
	from := 0
	for i, v := range row {
		p.cells[v.Column()] = p.buf[from:ends[i]:ends[i]]
		from = ends[i]
	}
	return p.cells, nil
}

// read gets the next rows of this group or the next one.
func (p *parquetReader) read() error {
	if p.rows == nil {
		if len(p.groups) == 0 {
			return io.EOF
		}
		p.rows, p.groups = p.groups[0].Rows(), p.groups[1:]
	}
	n, err := p.rows.ReadRows(p.batch)
	p.n, p.at = n, 0
	if errors.Is(err, io.EOF) {
		p.end()
		return nil
	}
	if err == nil && n == 0 {
		return io.ErrNoProgress
	}
	return err
}

func (p *parquetReader) end() {
	if p.rows != nil {
		p.rows.Close()
		p.rows = nil
	}
}

// parquetWriter writes every column as text: generalised values are.
type parquetWriter struct {
	w    *parquet.GenericWriter[any]
	at   []int // where the schema, which sorts its columns, has each
	rows []parquet.Row
}

func writeParquet(w io.Writer, names []string, _ byte) (rowWriter, error) {
	group := parquet.Group{}
	for _, n := range names {
		group[n] = parquet.Encoded(parquet.Compressed(parquet.String(), &parquet.Zstd), &parquet.RLEDictionary)
	}
	schema := parquet.NewSchema("table", group)
	at := make([]int, len(names))
	for i, n := range names {
		leaf, ok := schema.Lookup(n)
		if !ok {
			return nil, fmt.Errorf("column %q cannot be written to Parquet", n)
		}
		at[i] = leaf.ColumnIndex
	}
	return &parquetWriter{w: parquet.NewGenericWriter[any](w, schema, parquet.MaxRowsPerRowGroup(1<<20)), at: at}, nil
}

func (p *parquetWriter) write(row []string) error {
	out := make(parquet.Row, len(row))
	for i, f := range row {
		out[p.at[i]] = parquet.ByteArrayValue([]byte(f)).Level(0, 0, p.at[i])
	}
	if p.rows = append(p.rows, out); len(p.rows) < 1024 {
		return nil
	}
	return p.flush()
}

func (p *parquetWriter) flush() error {
	_, err := p.w.WriteRows(p.rows)
	p.rows = p.rows[:0]
	return err
}

func (p *parquetWriter) close() error { return errors.Join(p.flush(), p.w.Close()) }
