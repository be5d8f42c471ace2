package data

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// encoder turns the rows of a table, as text, into samples.
type encoder struct {
	limits Limits
	fields []Field // parallel to the cells of a row
	order  []int   // the cell of each field that is an input, in schema order
	label  int
	width  int // elements of a sample
	set    *Set
	data   []float32
	cell   []float64        // of the elements of one cell, used again
	codes  []map[string]int // of each field's categories
	plain  bool             // without a schema: nothing is known of the columns
}

// newEncoder matches a file's columns with a schema. Header is nil when the
// file has no names.
func newEncoder(s *Schema, header []string, cells int, limits Limits) (*encoder, error) {
	if cells > limits.Columns {
		return nil, fmt.Errorf("%d columns exceed the limit of %d", cells, limits.Columns)
	}
	if cells != len(s.Columns) && header == nil {
		return nil, fmt.Errorf("a row has %d columns, the schema %d", cells, len(s.Columns))
	}
	at, err := positions(s, header)
	if err != nil {
		return nil, err
	}
	e := &encoder{limits: limits, set: &Set{rules: s.linked}, fields: make([]Field, cells), codes: make([]map[string]int, cells)}
	groups := map[string]int{}
	for i, f := range s.Columns {
		cell := at[i]
		e.plain = e.plain || f.Type == "numeric" && f.Min == nil // only plainSchema leaves bounds out
		e.fields[cell], e.codes[cell] = f, codesOf(f)
		switch f.Type {
		case "ignore":
		case "label":
			e.label = cell
			e.set.Classes = f.Categories
			if f.Names != nil {
				e.set.Classes = f.Names
			}
		default:
			e.order = append(e.order, cell)
			e.set.Columns = append(e.set.Columns, f.inputs(groups)...)
		}
	}
	for _, c := range e.set.Columns {
		e.set.Features = append(e.set.Features, c.Name)
	}
	e.width = len(e.set.Columns)
	if e.width > limits.Columns {
		return nil, fmt.Errorf("%d inputs after one-hot encoding exceed the limit of %d columns", e.width, limits.Columns)
	}
	return e, nil
}

// positions finds the cell of each of the schema's columns.
func positions(s *Schema, header []string) ([]int, error) {
	at := make([]int, len(s.Columns))
	if header == nil {
		for i := range at {
			at[i] = i
		}
		return at, nil
	}
	cell := map[string]int{}
	for i, name := range header {
		if _, twice := cell[name]; twice {
			return nil, fmt.Errorf("the file has two columns named %q", name)
		}
		cell[name] = i
	}
	for i, f := range s.Columns {
		c, ok := cell[f.Name]
		if !ok {
			return nil, fmt.Errorf("the schema's column %q is not in the file, which has %.200q", f.Name, header)
		}
		at[i] = c
		delete(cell, f.Name)
	}
	for name := range cell {
		return nil, fmt.Errorf("the file's column %q is not in the schema; add it, with type ignore if the model does not read it", name)
	}
	return at, nil
}

func codesOf(f Field) map[string]int {
	codes := make(map[string]int, len(f.Categories))
	for i, c := range f.Categories {
		codes[c] = i
	}
	return codes
}

// add encodes one row. Where says which, for messages.
func (e *encoder) add(where string, row []string) error {
	if len(row) != len(e.fields) {
		return fmt.Errorf("%s has %d columns, want %d", where, len(row), len(e.fields))
	}
	if int64(len(e.data)+e.width) > e.limits.Elements {
		return fmt.Errorf("%s: the table exceeds the limit of %d elements", where, e.limits.Elements)
	}
	for _, cell := range e.order {
		if err := e.addCell(cell, row[cell]); err != nil {
			return fmt.Errorf("%s, column %q: %w", where, e.fields[cell].Name, err)
		}
	}
	label, err := e.labelOf(row[e.label])
	if err != nil {
		return fmt.Errorf("%s, label column %q: %w", where, e.fields[e.label].Name, err)
	}
	e.set.Y = append(e.set.Y, label)
	return nil
}

func (e *encoder) addCell(cell int, text string) (err error) {
	if e.cell, err = e.appendCell(e.cell[:0], cell, text); err != nil {
		return err
	}
	for _, v := range e.cell {
		e.data = append(e.data, float32(v))
	}
	return nil
}

// appendCell appends the elements of a cell, before they are rounded to float32.
func (e *encoder) appendCell(dst []float64, cell int, text string) ([]float64, error) {
	f := &e.fields[cell]
	switch f.Type {
	case "numeric", "integer":
		v, err := number(text)
		if err != nil {
			return nil, err
		}
		if f.Min != nil && (v < *f.Min || v > *f.Max) {
			return nil, fmt.Errorf("%v is outside the schema's bounds %v to %v; correct one or the other", v, *f.Min, *f.Max)
		}
		if f.Type == "integer" && v != math.Trunc(v) {
			return nil, fmt.Errorf("%v is not an integer", v)
		}
		offset, scale := f.affine()
		scaled := (v - offset) / scale
		if math.IsInf(float64(float32(scaled)), 0) {
			return nil, fmt.Errorf("%v is beyond float32; scale the column", v)
		}
		return append(dst, scaled), nil
	}
	code, err := e.code(cell, text)
	if err != nil {
		return nil, err
	}
	if f.Type == "categorical" && f.Encode != "code" {
		for i := range f.Categories {
			dst = append(dst, b2f(i == code))
		}
		return dst, nil
	}
	return append(dst, float64(code)), nil
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// code is the position of a cell's value among its column's categories; 0 and
// 1, or the words, for a binary column without them.
func (e *encoder) code(cell int, text string) (int, error) {
	f := &e.fields[cell]
	if f.Categories == nil {
		switch strings.ToLower(text) {
		case "0", "0.0", "false", "no":
			return 0, nil
		case "1", "1.0", "true", "yes":
			return 1, nil
		}
		return 0, fmt.Errorf("%.40q is not 0 or 1; list the two categories in the schema", text)
	}
	code, ok := e.codes[cell][text]
	if !ok && f.Unknown == "zero" {
		return -1, nil
	}
	if !ok {
		return 0, fmt.Errorf("%.40q is none of the categories %.200q; add it to the schema", text, f.Categories)
	}
	return code, nil
}

func (e *encoder) labelOf(text string) (int, error) {
	if e.fields[e.label].Categories != nil {
		return e.code(e.label, text)
	}
	v, err := number(text)
	if err != nil {
		return 0, fmt.Errorf("%w; name the classes with a schema", err)
	}
	if v != math.Trunc(v) || v < 0 || v > math.MaxInt32 {
		return 0, fmt.Errorf("%v is not a class number; classes count from 0", v)
	}
	return int(v), nil
}

// number parses what a spreadsheet may hold, finite only.
func number(text string) (float64, error) {
	if text == "" {
		return 0, errors.New("the value is missing; fill it in or drop the row")
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	if !finite(v) {
		return 0, fmt.Errorf("%s is not a finite number; fill it in or drop the row", text)
	}
	return v, nil
}

// finish is the set of the rows added. One-hot columns that the file itself
// held are checked here: exactly one of a group is set.
func (e *encoder) finish() (*Set, error) {
	e.set.X = tensor.Of(e.data, len(e.set.Y), e.width)
	if e.plain {
		e.set.Columns = nil
		return e.set, nil
	}
	groups := map[int][]int{}
	for i, c := range e.set.Columns {
		if c.Group >= 0 {
			groups[c.Group] = append(groups[c.Group], i)
		}
	}
	for n := range len(e.set.Y) {
		row := e.set.X.Row(n)
		for _, members := range groups {
			sum := float32(0)
			for _, i := range members {
				sum += row[i]
			}
			if sum != 1 && !(sum == 0 && e.set.Columns[members[0]].Optional) {
				return nil, fmt.Errorf("sample %d has %v of the one-hot columns from %q set; want one", n, sum, e.set.Features[members[0]])
			}
		}
	}
	return e.set, nil
}

// plainSchema describes a table of numbers without a schema: every column an
// input, without bounds, but the label.
func plainSchema(header []string, cells int, label string) (*Schema, error) {
	s := &Schema{Headerless: header == nil}
	for i := range cells {
		name := fmt.Sprintf("column %d", i+1)
		if header != nil {
			name = header[i]
		}
		s.Columns = append(s.Columns, Field{Name: name, Type: "numeric"})
	}
	at := cells - 1
	if label != "" {
		at = slices.IndexFunc(s.Columns, func(f Field) bool { return f.Name == label })
		if at < 0 {
			return nil, fmt.Errorf("no column is named %q; the file has %.200q", label, header)
		}
	}
	if cells < 2 {
		return nil, errors.New("a table needs a label column and at least one more")
	}
	s.Columns[at].Type = "label"
	return s, nil
}

// schemaFor reads the schema that was given: with the spec, in the options, or
// none at all.
func schemaFor(src *source, paths []string, opt Options) (*Schema, error) {
	path := opt.Schema
	if len(paths) == 2 {
		if path != "" && path != paths[1] {
			return nil, fmt.Errorf("two schemas are given, %s and %s", paths[1], path)
		}
		path = paths[1]
	}
	if path == "" {
		return nil, nil
	}
	b, err := src.file(path)
	if err != nil {
		return nil, err
	}
	s, err := ParseSchema(b)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", path, err)
	}
	return s, nil
}
