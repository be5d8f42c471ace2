package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

// Parquet is tables by column. Its parts are the texts of its cells, those that are no
// UTF-8 left out, named "row 3, column email"; whole numbers are parts too. It is
// rewritten with the same schema, in pages and groups of rows of its own; a number
// can only be replaced by a number.
var Parquet = Format{Name: "parquet", Extensions: []string{".parquet", ".pq"}, writes: true,
	magic: func(head []byte) bool { return bytes.HasPrefix(head, []byte("PAR1")) },
	walk:  readParquet}

// maxParquetGroup bounds what one column of one group of rows unpacks to.
const maxParquetGroup = 1 << 30

// readParquet reads row by row. The decoder underneath panics on some malformed files;
// that is turned into an error here, at the edge.
func readParquet(j *job, r io.Reader) (err error) {
	at, size, done, err := readerAt(r, j.limits.Unpacked)
	if err != nil {
		return err
	}
	defer done()
	f, err := openParquet(j, at, size)
	if err != nil {
		return fmt.Errorf("%sread Parquet: %w", j.prefix, err)
	}
	t := &table{job: j}
	for _, c := range f.Root().Columns() {
		t.leaves(c, nil)
	}
	if j.w != nil {
		t.out = parquet.NewGenericWriter[any](j.w, f.Schema(), parquet.Compression(&parquet.Zstd))
	}
	for _, g := range f.RowGroups() {
		if err := t.group(g); err != nil {
			return err
		}
	}
	if t.out != nil {
		return t.out.Close()
	}
	return nil
}

func openParquet(j *job, at io.ReaderAt, size int64) (f *parquet.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("malformed file")
		}
	}()
	if err := parquetcheck.Footer(at, size); err != nil {
		return nil, err
	}
	f, err = parquet.OpenFile(at, size, &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 1 << 16})
	if err != nil {
		return nil, err
	}
	for _, g := range f.Metadata().RowGroups {
		for i := range g.Columns {
			n, err := parquetcheck.Chunk(at, size, &g.Columns[i].MetaData, maxParquetGroup)
			if err != nil {
				return nil, fmt.Errorf("column %d: %w", i+1, err)
			}
			if *j.unpacked += n; *j.unpacked > j.limits.Unpacked {
				return nil, fmt.Errorf("unpacks to more than %d bytes: %w", j.limits.Unpacked, ErrLimit)
			}
		}
	}
	return f, nil
}

// A table is a file on its way through.
type table struct {
	*job
	columns  []string // leaves, by their number
	unsigned []bool   // whether their whole numbers have no sign
	subject  int      // the number of the leaf that names people, from 1
	out      *parquet.GenericWriter[any]
	row      int64
}

func (t *table) leaves(c *parquet.Column, path []string) {
	path = append(path[:len(path):len(path)], c.Name())
	if c.Leaf() {
		t.columns, t.unsigned = append(t.columns, strings.Join(path, ".")), append(t.unsigned, parquetcheck.Unsigned(c.Type()))
		if t.columns[len(t.columns)-1] == t.subjectColumn && t.subjectColumn != "" {
			t.subject = len(t.columns)
		}
	}
	for _, child := range c.Columns() {
		t.leaves(child, path)
	}
}

func (t *table) group(g parquet.RowGroup) error {
	rows := g.Rows()
	defer rows.Close()
	batch := make([]parquet.Row, 64)
	for {
		n, err := readRows(rows, batch)
		for _, row := range batch[:n] {
			t.row++
			if err := t.cells(row); err != nil {
				return err
			}
		}
		if t.out != nil && n > 0 {
			if _, err := t.out.WriteRows(batch[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%sread Parquet, row %d: %w", t.prefix, t.row+1, err)
		case n == 0:
			return fmt.Errorf("%sread Parquet, row %d: %w", t.prefix, t.row+1, io.ErrNoProgress)
		}
	}
}

func readRows(rows parquet.Rows, batch []parquet.Row) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, errors.New("malformed page")
		}
	}()
	return rows.ReadRows(batch)
}

// cells hands over the texts and numbers of a row, and replaces them in place.
func (t *table) cells(row parquet.Row) error {
	subject := ""
	for _, v := range row {
		if v.Column() == t.subject-1 && !v.IsNull() {
			subject = t.text(v)
		}
	}
	for i, v := range row {
		if v.IsNull() {
			continue
		}
		var text []byte
		number := false
		switch v.Kind() {
		case parquet.ByteArray, parquet.FixedLenByteArray:
			if text = v.ByteArray(); !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
				continue
			}
		case parquet.Int32, parquet.Int64:
			text, number = []byte(t.text(v)), true
		default:
			continue
		}
		column := t.columns[v.Column()]
		name := fmt.Sprintf("row %d, column %s", t.row, column)
		out, err := t.part(Part{Name: name, Column: column, Subject: subject, Text: text, Number: number})
		if err != nil {
			return err
		}
		if t.out == nil || bytes.Equal(out, text) {
			continue
		}
		if row[i], err = replaced(v, out, t.unsigned[v.Column()]); err != nil {
			return fmt.Errorf("%s%s: %w", t.prefix, name, err)
		}
	}
	return nil
}

// text is a value as it is read.
func (t *table) text(v parquet.Value) string {
	if k := v.Kind(); k == parquet.Int32 || k == parquet.Int64 {
		return string(parquetcheck.AppendInt(nil, v, t.unsigned[v.Column()]))
	}
	return v.String()
}

// replaced is a value of the same kind and place with another text.
func replaced(v parquet.Value, text []byte, unsigned bool) (parquet.Value, error) {
	var out parquet.Value
	switch v.Kind() {
	case parquet.FixedLenByteArray:
		if len(text) != len(v.ByteArray()) {
			return v, fmt.Errorf("%d bytes for a column of exactly %d", len(text), len(v.ByteArray()))
		}
		out = parquet.FixedLenByteArrayValue(bytes.Clone(text))
	case parquet.ByteArray:
		out = parquet.ByteArrayValue(bytes.Clone(text))
	case parquet.Int32:
		n, err := number(text, 32, unsigned)
		if err != nil {
			return v, err
		}
		out = parquet.Int32Value(int32(n))
	default:
		n, err := number(text, 64, unsigned)
		if err != nil {
			return v, err
		}
		out = parquet.Int64Value(int64(n))
	}
	return out.Level(v.RepetitionLevel(), v.DefinitionLevel(), v.Column()), nil
}

// number reads a whole number that a column of so many bits can hold; of one below
// zero the bits are those of two's complement.
func number(text []byte, bits int, unsigned bool) (uint64, error) {
	var n uint64
	var err error
	if unsigned {
		n, err = strconv.ParseUint(string(text), 10, bits)
	} else {
		var signed int64
		signed, err = strconv.ParseInt(string(text), 10, bits)
		n = uint64(signed)
	}
	if err != nil {
		return 0, fmt.Errorf("%.20q is no whole number of %d bits, as the column asks", text, bits)
	}
	return n, nil
}
