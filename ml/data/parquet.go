package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"
	thriftformat "github.com/parquet-go/parquet-go/format"

	"github.com/redoubt-ml/redoubt/internal/parquetcheck"
)

func openParquet(src *source, paths []string, opt Options) (*Set, error) {
	b, err := src.file(paths[0])
	if err != nil {
		return nil, err
	}
	schema, err := schemaFor(src, paths, opt)
	if err != nil {
		return nil, err
	}
	return decodeParquet(b, schema, opt)
}

// decodeParquet reads a flat table. The decoder underneath panics on some
// malformed files; that is turned into an error here, at the edge.
func decodeParquet(b []byte, schema *Schema, opt Options) (set *Set, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, fmt.Errorf("malformed Parquet file: %v", p)
		}
	}()
	if err := parquetcheck.Footer(bytes.NewReader(b), int64(len(b))); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)), &parquet.FileConfig{
		SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 1 << 16})
	if err != nil {
		return nil, err
	}
	if err := checkParquet(f, b, opt.Limits); err != nil {
		return nil, err
	}
	header, err := parquetColumns(f.Root(), opt.Limits)
	if err != nil {
		return nil, err
	}
	if schema == nil {
		if schema, err = plainSchema(header, len(header), opt.Label); err != nil {
			return nil, err
		}
	}
	e, err := newEncoder(schema, header, len(header), opt.Limits)
	if err != nil {
		return nil, err
	}
	var unsigned []bool
	for _, c := range f.Root().Columns() {
		unsigned = append(unsigned, parquetcheck.Unsigned(c.Type()))
	}
	for _, group := range f.RowGroups() {
		if err := addRows(e, group, unsigned); err != nil {
			return nil, err
		}
	}
	return e.finish()
}

// parquetColumns are the names of a flat table's columns, or an error for what
// is not one.
func parquetColumns(root *parquet.Column, limits Limits) ([]string, error) {
	columns := root.Columns()
	if len(columns) > limits.Columns {
		return nil, fmt.Errorf("%d columns exceed the limit of %d", len(columns), limits.Columns)
	}
	header := make([]string, len(columns))
	for i, c := range columns {
		if !c.Leaf() || c.Repeated() {
			return nil, fmt.Errorf("column %q is nested; only flat tables are read", c.Name())
		}
		if t := c.Type().LogicalType(); t != nil {
			// A decimal, date or time is stored as an integer that means
			// something else.
			switch t.Value.(type) {
			case nil, *thriftformat.StringType, *thriftformat.EnumType, *thriftformat.IntType:
			default:
				return nil, fmt.Errorf("column %q holds %v values; save it as numbers or text", c.Name(), t)
			}
		}
		header[i] = c.Name()
	}
	return header, nil
}

func addRows(e *encoder, group parquet.RowGroup, unsigned []bool) error {
	rows := group.Rows()
	defer rows.Close()
	batch, cells := make([]parquet.Row, 64), make([]string, len(e.fields))
	for {
		n, err := rows.ReadRows(batch)
		for _, row := range batch[:n] {
			clear(cells)
			for _, v := range row {
				text, err := cellText(v, unsigned[v.Column()])
				if err != nil {
					return fmt.Errorf("row %d, column %q: %w", len(e.set.Y)+1, e.fields[v.Column()].Name, err)
				}
				cells[v.Column()] = text
			}
			if err := e.add("row "+strconv.Itoa(len(e.set.Y)+1), cells); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrNoProgress
		}
	}
}

// cellText is a value as CSV would hold it, exact for every number; an absent
// one is empty.
func cellText(v parquet.Value, unsigned bool) (string, error) {
	if v.IsNull() {
		return "", nil
	}
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.FormatBool(v.Boolean()), nil
	case parquet.Int32, parquet.Int64:
		return string(parquetcheck.AppendInt(nil, v, unsigned)), nil
	case parquet.Float:
		return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32), nil
	case parquet.Double:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return string(v.ByteArray()), nil
	}
	return "", fmt.Errorf("values of %v are not supported", v.Kind())
}
