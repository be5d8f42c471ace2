package anon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/anon/table"
)

// Column is a column of a table in memory: its distinct values, and for each row
// which of them it has.
type Column struct {
	Name   string
	Values []string
	Counts []int64 // how often each value occurs
	Codes  []uint32
}

// Table is a table in memory, four bytes a cell.
type Table struct {
	Columns []Column
	Rows    int
	comma   byte
}

// maxRows is what codes of rows can count.
const maxRows = 1<<31 - 1

// ReadTable reads a whole table, .csv, .tsv or .parquet; of the columns to drop it
// keeps the names only. Progress may be nil.
func ReadTable(ctx context.Context, path string, drop []string, progress func(done, all int64)) (*Table, error) {
	r, err := table.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := &Table{comma: r.Comma()}
	index, dropped := make([]map[string]uint32, len(r.Names())), make([]bool, len(r.Names()))
	for i, n := range r.Names() {
		dropped[i] = slices.Contains(drop, n)
		t.Columns = append(t.Columns, Column{Name: n})
		index[i] = map[string]uint32{}
	}
	for {
		if t.Rows%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if progress != nil {
				progress(r.Read())
			}
		}
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if t.Rows == maxRows {
			return nil, fmt.Errorf("read %s: it has more than %d rows: anonymise it in parts", path, maxRows)
		}
		for i, cell := range row {
			if dropped[i] {
				continue
			}
			c := &t.Columns[i]
			code, ok := index[i][string(cell)]
			if !ok {
				code = uint32(len(c.Values))
				v := string(cell)
				index[i][v] = code
				c.Values, c.Counts = append(c.Values, v), append(c.Counts, 0)
			}
			c.Codes = append(c.Codes, code)
			c.Counts[code]++
		}
		t.Rows++
	}
	if t.Rows == 0 {
		return nil, fmt.Errorf("read %s: it has no rows", path)
	}
	return t, nil
}

// Column is the column of a name, or an error that names those there are.
func (t *Table) Column(name string) (*Column, error) {
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, c := range t.Columns {
			names = append(names, c.Name)
		}
		return nil, fmt.Errorf("there is no column %q: the table has %q", name, names)
	}
	return &t.Columns[i], nil
}
