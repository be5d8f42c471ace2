package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Rows encodes single rows whose values are given by column name, such as a
// client sends to a served model. It is immutable and may be shared.
type Rows struct {
	encoder encoder
	cells   map[string]int // by the name of a column that is an input
	rules   *Constraints
}

// Rows is the encoder of rows by name. The label and what is ignored are not
// part of such a row.
func (s *Schema) Rows() (*Rows, error) {
	header := make([]string, len(s.Columns))
	for i, f := range s.Columns {
		header[i] = f.Name
	}
	e, err := newEncoder(s, header, len(header), Limits{}.orDefaults())
	if err != nil {
		return nil, err
	}
	r := &Rows{encoder: *e, cells: map[string]int{}, rules: newConstraints(e.set.Columns, e.set.rules)}
	for _, cell := range e.order {
		r.cells[e.fields[cell].Name] = cell
	}
	return r, nil
}

// Width is how many elements a row becomes.
func (r *Rows) Width() int { return r.encoder.width }

// Classes are the names of the model's classes, nil if the schema has none.
func (r *Rows) Classes() []string { return r.encoder.set.Classes }

// Columns lists the names that a row has values for, in the schema's order.
func (r *Rows) Columns() []string {
	names := make([]string, len(r.encoder.order))
	for i, cell := range r.encoder.order {
		names[i] = r.encoder.fields[cell].Name
	}
	return names
}

// Append encodes a row, appends it to dst, and returns the longer slice. A value
// is a [json.Number], a string or a bool; columns of numbers take numbers only.
// Every column must have one, and no other name may be there. The row must be
// one that the schema allows, rules included; they are held against it as float32, and
// returned as they are for models that take more.
func (r *Rows) Append(dst []float64, values map[string]any) ([]float64, error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := r.cells[name]; !ok {
			return nil, fmt.Errorf("the model has no feature %.40q; it takes %.400q", name, r.Columns())
		}
	}
	e, before := &r.encoder, len(dst)
	for _, cell := range e.order {
		f := &e.fields[cell]
		v, ok := values[f.Name]
		if !ok {
			return nil, fmt.Errorf("feature %q is missing", f.Name)
		}
		text, err := f.text(v)
		if err == nil {
			dst, err = e.appendCell(dst, cell, text)
		}
		if err != nil {
			return nil, fmt.Errorf("feature %q: %w", f.Name, err)
		}
	}
	row := make([]float32, 0, e.width)
	for _, v := range dst[before:] {
		row = append(row, float32(v))
	}
	return dst, r.Check(row)
}

// text is a value as a table's file would spell it.
func (f *Field) text(v any) (string, error) {
	numeric := f.Type == "numeric" || f.Type == "integer"
	switch v := v.(type) {
	case json.Number:
		return v.String(), nil
	case string:
		if !numeric {
			return v, nil
		}
	case bool:
		if !numeric {
			return fmt.Sprint(v), nil
		}
	}
	if numeric {
		return "", errors.New("a number is wanted")
	}
	return "", errors.New("a word, a number, true or false is wanted")
}

// Check reports the first thing about an encoded row that the schema does not
// allow, naming the feature.
func (r *Rows) Check(row []float32) error {
	if len(row) != r.encoder.width {
		return fmt.Errorf("a row has %d elements, want %d", len(row), r.encoder.width)
	}
	if err := r.rules.Check(row, row); err != nil {
		return err
	}
	for j, v := range row { // a row of its own, no change of another that was there before
		if err := r.rules.Columns[j].checkGrid(v); err != nil {
			return err
		}
	}
	return nil
}
