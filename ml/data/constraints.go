package data

import (
	"fmt"
	"math"
)

// Constraints say which changes of a row lead to a row that could exist and
// that an attacker could bring about: kinds, bounds, grids and one-hot groups
// of the columns, what is immutable or may only move one way, and the rules
// that link columns. They are immutable and may be shared.
type Constraints struct {
	Columns []Column
	// Groups are the elements of each one-hot group.
	Groups [][]int

	index map[string][]int // elements by source column
	rules []rule
}

// Constraints returns what the set's schema says of changes, in the units of X;
// nil when there is no schema.
func (s *Set) Constraints() *Constraints {
	if s.Columns == nil {
		return nil
	}
	return newConstraints(s.Columns, s.rules)
}

// Whole are the constraints of samples of n whole numbers, such as bytes or
// tokens, from lo to hi.
func Whole(n int, lo, hi float32) *Constraints {
	columns := make([]Column, n)
	for i := range columns {
		columns[i] = Column{
			Name: fmt.Sprintf("position %d", i), Kind: Integer, Min: lo, Max: hi, Scale: 1, Step: 1, Unit: 1, Cost: 1, Group: -1,
		}
	}
	return newConstraints(columns, nil)
}

func newConstraints(columns []Column, rules []rule) *Constraints {
	c := &Constraints{Columns: columns, index: map[string][]int{}, rules: rules}
	for j, col := range columns {
		c.index[col.Source] = append(c.index[col.Source], j)
		if col.Group >= 0 {
			for len(c.Groups) <= col.Group {
				c.Groups = append(c.Groups, nil)
			}
			c.Groups[col.Group] = append(c.Groups[col.Group], j)
		}
	}
	return c
}

// Linked reports whether rules link columns: then what is allowed of one
// depends on others.
func (c *Constraints) Linked() bool { return len(c.rules) > 0 }

// Frozen reports whether an attacker cannot change element j.
func (c *Constraints) Frozen(j int) bool { return c.Columns[j].Immutable }

// file is the value of element j in the file's units.
func (c *Column) file(x float32) float64 { return c.Offset + c.Scale*float64(x) }

// own is the element's value for one of the file's.
func (c *Column) own(file float64) float32 { return float32((file - c.Offset) / c.Scale) }

// slack is how far a value may be off, in the file's units, for float32's sake.
func (c *Column) slack() float64 {
	return 1e-6 * math.Max(math.Abs(c.Scale)*float64(c.Max-c.Min), math.Max(math.Abs(c.file(c.Min)), math.Abs(c.file(c.Max))))
}

// Check reports the first thing about x that is not allowed of a change of
// origin, naming the column. Check(x, x) asks whether a row is allowed as it
// is.
func (c *Constraints) Check(x, origin []float32) error {
	if len(x) != len(c.Columns) || len(origin) != len(c.Columns) {
		return fmt.Errorf("%d elements, the schema describes %d", len(x), len(c.Columns))
	}
	for j := range c.Columns {
		if err := c.checkElement(j, x[j], origin[j]); err != nil {
			return err
		}
	}
	for _, group := range c.Groups {
		ones := 0
		for _, j := range group {
			if math.Round(c.Columns[j].file(x[j])) == 1 {
				ones++
			}
		}
		if ones != 1 && !(ones == 0 && c.Columns[group[0]].Optional) {
			return fmt.Errorf("column %q: %d categories of the group are set, want one", c.Columns[group[0]].Source, ones)
		}
	}
	for i := range c.rules {
		if !c.holds(&c.rules[i], x) {
			return fmt.Errorf("rule %q does not hold", c.rules[i].text)
		}
	}
	return nil
}

func (c *Constraints) checkElement(j int, v, was float32) error {
	col := &c.Columns[j]
	file := col.file(v)
	switch {
	case v != v || v < col.Min || v > col.Max:
		return fmt.Errorf("column %q: %v is outside its bounds %v to %v", col.Name, file, col.file(col.Min), col.file(col.Max))
	case v == was:
		return nil
	case col.Immutable:
		return fmt.Errorf("column %q is immutable: %v became %v", col.Name, col.value(was), col.value(v))
	case col.Monotone > 0 && v < was || col.Monotone < 0 && v > was:
		return fmt.Errorf("column %q may only move one way: %v became %v", col.Name, col.value(was), col.value(v))
	}
	return col.checkGrid(v)
}

func (c *Column) checkGrid(v float32) error {
	file := c.file(v)
	if c.Step > 0 && math.Abs(file-c.Step*math.Round(file/c.Step)) > math.Max(c.slack(), 1e-3*c.Step) {
		return fmt.Errorf("column %q: %v is no multiple of %v", c.Name, file, c.Step)
	}
	return nil
}

// holds reports whether a row keeps to a rule.
func (c *Constraints) holds(r *rule, x []float32) bool {
	return r.when != nil && !c.met(r.when, x) || c.met(r.then, x)
}

func (c *Constraints) met(k *condition, x []float32) bool {
	if k.terms == nil {
		return (c.code(k.column, x) == k.code) != k.not
	}
	excess, tolerance := c.excess(k, x)
	return excess <= tolerance && (!k.equal || excess >= -tolerance)
}

// code is a categorical column's category.
func (c *Constraints) code(column string, x []float32) int {
	at := c.index[column]
	if len(at) == 1 {
		return int(math.Round(c.Columns[at[0]].file(x[at[0]])))
	}
	best := 0
	for i, j := range at {
		if x[j] > x[at[best]] {
			best = i
		}
	}
	if math.Round(c.Columns[at[best]].file(x[at[best]])) == 0 {
		return -1 // an optional group without a member
	}
	return best
}

// excess is by how much a linear condition's sum exceeds its bound, and what
// rounding explains.
func (c *Constraints) excess(k *condition, x []float32) (excess, tolerance float64) {
	excess, tolerance = -k.bound, 1e-9*math.Abs(k.bound)
	for _, t := range k.terms {
		col := &c.Columns[c.index[t.column][0]]
		excess += t.factor * col.value(x[c.index[t.column][0]])
		tolerance += math.Abs(t.factor) * col.slack()
	}
	return excess, tolerance
}

// value is an element in the file's units, without float32's error where the
// grid tells it.
func (c *Column) value(x float32) float64 {
	file := c.file(x)
	if c.Step > 0 {
		if whole := c.Step * math.Round(file/c.Step); math.Abs(file-whole) <= math.Max(c.slack(), 1e-3*c.Step) {
			return whole
		}
	}
	return file
}
