package data

import "math"

// Snap moves every element to its grid and every one-hot group to its largest
// member, wherever the row came from: what a model is to be asked about while a
// search moves between the grid's values.
func (c *Constraints) Snap(x []float32) {
	for j := range c.Columns {
		col := &c.Columns[j]
		if col.Step > 0 && col.Group < 0 {
			x[j] = min(max(col.own(col.Step*math.Round(col.file(x[j])/col.Step)), col.Min), col.Max)
		}
	}
	for _, group := range c.Groups {
		best := group[0]
		for _, j := range group {
			if c.Columns[j].file(x[j]) > c.Columns[best].file(x[best]) {
				best = j
			}
		}
		if c.Columns[best].Optional && c.Columns[best].file(x[best]) < 0.5 {
			best = -1
		}
		for _, j := range group {
			x[j] = c.Columns[j].own(b2f(j == best))
		}
	}
}

// Reach is the interval of allowed values of element j at most room away from
// its origin: of a grid, from its first value in reach to its last.
func (c *Constraints) Reach(j int, origin float32, room float64) (lo, hi float32) {
	col := &c.Columns[j]
	if col.Immutable {
		return origin, origin
	}
	lo, hi = col.Min, col.Max
	if col.Monotone > 0 {
		lo = origin
	} else if col.Monotone < 0 {
		hi = origin
	}
	if col.Step > 0 {
		step := col.Step / math.Abs(col.Scale)
		room = step * math.Floor(room/step+1e-5)
	}
	return max(lo, float32(float64(origin)-room)), min(hi, float32(float64(origin)+room))
}

// Nearest is the allowed value of element j between lo and hi that is nearest
// to its origin; false if there is none. One-hot groups are the caller's
// concern.
func (c *Constraints) Nearest(j int, lo, hi, origin float32) (float32, bool) {
	if lo <= origin && origin <= hi {
		return origin, true
	}
	col := &c.Columns[j]
	if lo, hi = max(lo, col.Min), min(hi, col.Max); lo > hi || col.Immutable ||
		col.Monotone > 0 && hi < origin || col.Monotone < 0 && lo > origin {
		return origin, false
	}
	v, round := lo, math.Ceil
	if hi < origin {
		v, round = hi, math.Floor
	}
	if col.Step <= 0 {
		return v, true
	}
	if col.Scale < 0 { // cannot come from a schema, whose scales are positive
		return origin, false
	}
	steps := col.file(v) / col.Step
	if whole := math.Round(steps); math.Abs(steps-whole)*col.Step <= math.Min(col.slack(), 1e-3*col.Step) {
		steps = whole
	}
	v = col.own(round(steps) * col.Step)
	// A grid's value that rounding put just outside is inside.
	if d := math.Max(float64(lo)-float64(v), float64(v)-float64(hi)); d > 0 {
		if d*col.Scale > col.slack() {
			return origin, false
		}
		v = min(max(v, lo), hi)
	}
	return v, true
}
