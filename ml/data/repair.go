package data

import (
	"math"
	"slices"
)

// Repair moves x to an allowed change of origin: what is allowed already stays
// as it is, each element goes to its nearest allowed value, each one-hot group
// to its largest member, and broken rules are mended by moving as little as a
// greedy search finds; columns that cannot be mended go back to their origin.
// It is deterministic, and repairing twice is repairing once. The origin must
// be allowed itself.
func (c *Constraints) Repair(x, origin []float32) {
	if c.Check(x, origin) == nil {
		return
	}
	c.Settle(x, origin)
	if !c.Linked() {
		return
	}
	const passes = 4
	for range passes {
		if c.mendAll(x, origin) {
			return
		}
	}
	c.revert(x, origin)
}

// Settle repairs every element and every group, each for itself: a step of
// Repair, for searches that keep to the rules at the end only.
func (c *Constraints) Settle(x, origin []float32) {
	for j := range c.Columns {
		x[j] = c.nearest(j, x[j], origin[j])
	}
	for _, group := range c.Groups {
		c.choose(group, x, origin)
	}
}

// nearest is the allowed value of an element closest to v.
func (c *Constraints) nearest(j int, v, origin float32) float32 {
	col := &c.Columns[j]
	if v == origin || v != v || col.Immutable {
		return origin
	}
	lo, hi := col.Min, col.Max
	if col.Monotone > 0 {
		lo = origin
	} else if col.Monotone < 0 {
		hi = origin
	}
	v = min(max(v, lo), hi)
	if col.Step <= 0 || col.Group >= 0 || v == origin {
		return v
	}
	return col.onGrid(v, lo, hi, origin)
}

// onGrid is the grid's value nearest to v within bounds; origin where there is
// none.
func (c *Column) onGrid(v, lo, hi, origin float32) float32 {
	steps := math.Round(c.file(v) / c.Step)
	if was := math.Round(c.file(origin) / c.Step); steps == was {
		return origin
	}
	towards := math.Copysign(1, c.file(origin)-c.file(v))
	for range 2 {
		w := c.own(steps * c.Step)
		// The bounds are values of the file, perhaps half a unit in the last
		// place away from what is computed here.
		if d := math.Abs(float64(w)-float64(min(max(w, lo), hi))) * math.Abs(c.Scale); d <= c.slack() {
			return min(max(w, lo), hi)
		}
		steps += towards
	}
	return origin
}

// choose sets the largest member of a one-hot group and clears the others. On
// a tie the origin's category stays.
func (c *Constraints) choose(group []int, x, origin []float32) {
	best := -1
	for _, j := range group {
		if best < 0 || c.Columns[j].file(x[j]) > c.Columns[best].file(x[best]) ||
			c.Columns[j].file(x[j]) == c.Columns[best].file(x[best]) && origin[j] > origin[best] {
			best = j
		}
	}
	if c.Columns[best].Optional && c.Columns[best].file(x[best]) < 0.5 {
		best = -1
	}
	allowed := true
	for _, j := range group {
		x[j] = c.Columns[j].own(b2f(j == best))
		if math.Round(c.Columns[j].file(origin[j])) == b2f(j == best) {
			x[j] = origin[j]
		}
		allowed = allowed && c.checkElement(j, x[j], origin[j]) == nil
	}
	if !allowed {
		for _, j := range group {
			x[j] = origin[j]
		}
	}
}

// mendAll mends every broken rule once, and reports whether all hold then.
func (c *Constraints) mendAll(x, origin []float32) bool {
	for i := range c.rules {
		if r := &c.rules[i]; !c.holds(r, x) {
			c.mend(r.then, x, origin)
		}
	}
	return !slices.ContainsFunc(c.rules, func(r rule) bool { return !c.holds(&r, x) })
}

// mend makes a condition hold if it can.
func (c *Constraints) mend(k *condition, x, origin []float32) {
	if k.terms == nil {
		c.mendCategory(k, x, origin)
		return
	}
	c.share(k, x, origin)
	// What rounding, grids and bounds left over is made up one column after
	// another, first those that were changed.
	for _, changed := range []bool{true, false} {
		for _, t := range k.terms {
			j := c.index[t.column][0]
			if (x[j] != origin[j]) != changed || t.factor == 0 {
				continue
			}
			excess, tolerance := c.excess(k, x)
			if excess <= tolerance && (!k.equal || excess >= -tolerance) {
				return
			}
			c.move(j, -excess/t.factor, x, origin)
		}
	}
}

// share spreads a linear condition's excess over its columns: the smallest
// move in L2, measured in units of distance.
func (c *Constraints) share(k *condition, x, origin []float32) {
	excess, tolerance := c.excess(k, x)
	if excess <= tolerance && !(k.equal && excess < -tolerance) {
		return
	}
	weight := 0.0
	for _, t := range k.terms {
		if col := &c.Columns[c.index[t.column][0]]; !col.Immutable {
			weight += t.factor * t.factor * col.Unit * col.Unit
		}
	}
	if weight == 0 {
		return
	}
	for _, t := range k.terms {
		j := c.index[t.column][0]
		unit := c.Columns[j].Unit
		c.move(j, -excess*t.factor*unit*unit/weight, x, origin)
	}
}

// move changes element j by a difference in the file's units, rounded away
// from where it stands, as far as it is allowed.
func (c *Constraints) move(j int, by float64, x, origin []float32) {
	col := &c.Columns[j]
	if col.Immutable || by == 0 {
		return
	}
	file := col.value(x[j]) + by
	if col.Step > 0 {
		steps := (file) / col.Step
		if by > 0 {
			steps = math.Ceil(steps - 1e-9)
		} else {
			steps = math.Floor(steps + 1e-9)
		}
		file = steps * col.Step
	}
	x[j] = c.nearest(j, min(max(col.own(file), col.Min), col.Max), origin[j])
}

// mendCategory gives a column the category that a rule wants, or its origin's
// where one is forbidden.
func (c *Constraints) mendCategory(k *condition, x, origin []float32) {
	at, code := c.index[k.column], k.code
	if k.not {
		if code = c.code(k.column, origin); code == k.code {
			return
		}
	}
	for i, j := range at {
		if c.Columns[j].Immutable {
			return
		}
		v := float64(code)
		if len(at) > 1 {
			v = b2f(i == code)
		}
		x[j] = c.Columns[j].own(v)
		if math.Round(c.Columns[j].file(origin[j])) == v {
			x[j] = origin[j]
		}
	}
}

// revert takes the columns of broken rules back to the origin until every rule
// holds.
func (c *Constraints) revert(x, origin []float32) {
	for range len(c.rules) + 1 {
		broken := slices.IndexFunc(c.rules, func(r rule) bool { return !c.holds(&r, x) })
		if broken < 0 {
			break
		}
		for _, k := range []*condition{c.rules[broken].when, c.rules[broken].then} {
			if k != nil {
				c.restore(k, x, origin)
			}
		}
	}
	if c.Check(x, origin) != nil {
		copy(x, origin)
	}
}

func (c *Constraints) restore(k *condition, x, origin []float32) {
	columns := []string{k.column}
	for _, t := range k.terms {
		columns = append(columns, t.column)
	}
	for _, column := range columns {
		for _, j := range c.index[column] {
			x[j] = origin[j]
			if g := c.Columns[j].Group; g >= 0 { // the others of its group too
				for _, i := range c.Groups[g] {
					x[i] = origin[i]
				}
			}
		}
	}
}
