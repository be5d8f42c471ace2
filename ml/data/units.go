package data

import "math"

// Units lead from units of distance, in which a radius means the same for
// every column of a table, to the model's. They are immutable and may be
// shared.
type Units struct {
	model, scaled []Column
	// exact are, for each column, the values of the data that float32 would not
	// bring back unchanged, by their form in units of distance: the model must
	// see the samples as they are, or a threshold at a value that occurs in the
	// data is crossed by rounding.
	exact []map[float32]float32
}

// Scaled returns the set in units of distance: each element from 0, its lower
// bound, and as long as the schema's scale says; a range is 1 where it says
// nothing. The units lead back. A set without a schema has no units.
func (s *Set) Scaled() (*Set, *Units) {
	if s.Columns == nil {
		return s, nil
	}
	u := &Units{model: s.Columns, exact: make([]map[float32]float32, len(s.Columns))}
	for _, c := range s.Columns {
		lo, hi := c.value(c.Min), c.value(c.Max)
		c.Offset, c.Scale = lo, c.Unit
		c.Min, c.Max = 0, c.own(hi)
		u.scaled = append(u.scaled, c)
	}
	out := *s
	out.Columns, out.X = u.scaled, s.X.Clone()
	for i := range out.X.Rows() {
		row := out.X.Row(i)
		for j, v := range row {
			row[j] = u.enter(j, v)
		}
	}
	return &out, u
}

// enter takes one value of the data to units of distance.
func (u *Units) enter(j int, v float32) float32 {
	c := &u.scaled[j]
	d := min(max(c.own(u.model[j].value(v)), c.Min), c.Max)
	if u.At(j, d) != v {
		if u.exact[j] == nil {
			u.exact[j] = map[float32]float32{}
		}
		u.exact[j][d] = v
	}
	return d
}

// Model writes to dst the model's row for a row in units of distance.
func (u *Units) Model(dst, x []float32) {
	for j, v := range x {
		dst[j] = u.At(j, v)
	}
}

// At is the model's value of element j for one in units of distance. It never
// falls where that rises, but for a unit in the last place.
func (u *Units) At(j int, v float32) float32 {
	if u.exact[j] != nil {
		if m, ok := u.exact[j][v]; ok {
			return m
		}
	}
	return u.model[j].own(u.scaled[j].value(v))
}

// Slope is how much the model's value of element j grows with one in units of
// distance.
func (u *Units) Slope(j int) float32 {
	return float32(u.scaled[j].Scale / u.model[j].Scale)
}

// Unit is a distance of 1 along element j in the file's units.
func (u *Units) Unit(j int) float64 { return math.Abs(u.scaled[j].Scale) }
