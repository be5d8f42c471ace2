package evasion

import (
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/tree"
)

// treeSearch is the state of a branch and bound: a part of the input space, as
// an interval for each element, and the nearest allowed value of each to the
// sample.
type treeSearch struct {
	e          *tree.Ensemble
	b          *Batch
	row, label int
	origin     []float32
	class      int     // wanted
	constant   float64 // its lead before the trees

	lo, hi, near []float32
	cost         float64 // price of near: a lower bound for every point of the part
	limit        float64 // price that a point must not exceed to be of use
	best         []float32
	states       int  // parts that may still be looked at
	open         bool // something was given up without proof
}

func newTreeSearch(e *tree.Ensemble, b *Batch, row int) *treeSearch {
	s := &treeSearch{e: e, b: b, row: row, label: b.Labels[row], origin: b.X.Row(row)}
	s.near = slices.Clone(s.origin)
	s.lo, s.hi = make([]float32, len(s.near)), make([]float32, len(s.near))
	for j := range s.near {
		s.lo[j], s.hi[j] = b.Box.At(j)
	}
	s.limit = s.measure(b.Eps[row] * (1 + 1e-6)) // a step of a grid that is eps long is allowed
	return s
}

// saved is an element's state before it was narrowed.
type saved struct {
	j            int
	lo, hi, near float32
	cost         float64
}

// narrow cuts element j down to an interval and reports whether that leaves
// anything of use. It is to be undone with widen either way.
func (s *treeSearch) narrow(j int, lo, hi float32) (saved, bool) {
	was := saved{j, s.lo[j], s.hi[j], s.near[j], s.cost}
	s.lo[j], s.hi[j] = max(lo, s.lo[j]), min(hi, s.hi[j])
	if s.lo[j] > s.hi[j] {
		return was, false
	}
	near, ok := s.nearest(j)
	if !ok {
		return was, false
	}
	if near != s.near[j] {
		price := s.price(float64(near) - float64(s.origin[j]))
		if s.b.Norm == Linf {
			s.cost = max(s.cost, price)
		} else {
			s.cost += price - s.price(float64(s.near[j])-float64(s.origin[j]))
		}
		s.near[j] = near
	}
	return was, s.cost <= s.limit
}

func (s *treeSearch) nearest(j int) (float32, bool) {
	if s.b.Rules != nil {
		return s.b.Rules.Nearest(j, s.lo[j], s.hi[j], s.origin[j])
	}
	return min(max(s.origin[j], s.lo[j]), s.hi[j]), true
}

func (s *treeSearch) widen(was saved) {
	s.lo[was.j], s.hi[was.j], s.near[was.j], s.cost = was.lo, was.hi, was.near, was.cost
}

// side is the interval of one side of a test.
func side(n *tree.Node, yes bool) (lo, hi float32) {
	if yes {
		return float32(math.Inf(-1)), n.At
	}
	return math.Nextafter32(n.At, float32(math.Inf(1))), float32(math.Inf(1))
}

// potential is what the part of a tree below a node can add: the best gain of the
// leaves that the search's part of the space comes to, and the first test on
// the way to it that the part stands on both sides of.
type potential struct {
	gain  float64
	split *tree.Node
	yes   bool
	many  bool // more than one leaf
}

// below explores a tree. Leaves too far away to be of use are left out.
func (s *treeSearch) below(t tree.Tree, at int) potential {
	n := &t[at]
	for n.Feature >= 0 {
		if s.hi[n.Feature] <= n.At {
			n = &t[n.Yes]
		} else if s.lo[n.Feature] > n.At {
			n = &t[n.No]
		} else {
			break
		}
	}
	if n.Feature < 0 {
		return potential{gain: s.gain(n)}
	}
	best := potential{gain: math.Inf(-1)}
	sides := 0
	for _, yes := range [...]bool{true, false} {
		lo, hi := side(n, yes)
		was, ok := s.narrow(n.Feature, lo, hi)
		if ok {
			next := n.No
			if yes {
				next = n.Yes
			}
			if r := s.below(t, next); !math.IsInf(r.gain, -1) {
				sides++
				many := best.many || r.many
				if r.gain > best.gain {
					best = potential{r.gain, n, yes, many}
				}
				best.many = many
			}
		}
		s.widen(was)
	}
	best.many = best.many || sides > 1
	return best
}

// dive searches the part that the intervals say.
func (s *treeSearch) dive() {
	if s.cost > s.limit {
		return
	}
	if s.states--; s.states < 0 {
		s.open = true
		return
	}
	lead, size := s.constant, math.Abs(s.constant)
	var split *tree.Node
	var yes bool
	most := math.Inf(-1)
	for _, t := range s.e.Trees {
		r := s.below(t, 0)
		if math.IsInf(r.gain, -1) {
			return // no leaf is near enough
		}
		lead, size = lead+r.gain, size+math.Abs(r.gain)
		if r.many {
			if gap := r.gain - s.gain(t.Leaf(s.near)); gap > most {
				most, split, yes = gap, r.split, r.yes
			}
		}
	}
	if lead < -1e-6*size { // what float32 may have rounded away
		return
	}
	if ok, dead := s.offer(); ok || dead {
		return
	}
	if split == nil {
		// Every tree has its say, and the nearest point is none: it is of
		// another class for certain, unless rules of several elements made it
		// so.
		s.open = s.open || s.b.Rules != nil && s.b.Rules.Linked()
		return
	}
	s.branch(split, yes)
	s.branch(split, !yes)
}

// branch searches one side of a test.
func (s *treeSearch) branch(n *tree.Node, yes bool) {
	lo, hi := side(n, yes)
	was, ok := s.narrow(n.Feature, lo, hi)
	if ok {
		undo, fits := s.group(n.Feature)
		if fits {
			s.dive()
		}
		for _, w := range slices.Backward(undo) {
			s.widen(w)
		}
	}
	s.widen(was)
}

// group draws the conclusions of one member's interval for its one-hot group:
// where it must be set, no other may be.
func (s *treeSearch) group(j int) (undo []saved, fits bool) {
	if s.b.Rules == nil || s.b.Rules.Columns[j].Group < 0 || !s.must(j) {
		return nil, true
	}
	for _, i := range s.b.Rules.Groups[s.b.Rules.Columns[j].Group] {
		if i == j {
			continue
		}
		was, ok := s.narrow(i, s.lo[i], s.b.Rules.Columns[i].Min)
		if undo = append(undo, was); !ok {
			return undo, false
		}
	}
	return undo, true
}

// must says that a member of a group is set all over the part, and may that it
// can be; set that it is in a point.
func (s *treeSearch) must(j int) bool { return s.lo[j] > s.b.Rules.Columns[j].Min }
func (s *treeSearch) may(j int) bool {
	c := &s.b.Rules.Columns[j]
	return s.hi[j] >= c.Max && (!c.Immutable || s.set(s.origin, j))
}
func (s *treeSearch) set(x []float32, j int) bool { return x[j] > s.b.Rules.Columns[j].Min }

// offer tries the nearest allowed point of the part. Ok means that it is
// wanted: nothing in the part is better. Dead means that the part holds no
// allowed point at all.
func (s *treeSearch) offer() (ok, dead bool) {
	x := slices.Clone(s.near)
	if s.b.Rules == nil {
		return s.enter(x), false
	}
	for _, group := range s.b.Rules.Groups {
		if !s.complete(x, group) {
			return false, true
		}
	}
	if s.b.Rules.Check(x, s.origin) == nil {
		return s.enter(x), false
	}
	s.b.Rules.Repair(x, s.origin)
	s.enter(x) // perhaps of use, but not the best of the part
	return false, false
}

// complete sets one member of a group that has none.
func (s *treeSearch) complete(x []float32, group []int) bool {
	first, set := -1, 0
	for _, j := range group {
		if s.set(x, j) {
			set++
		} else if first < 0 && s.may(j) {
			first = j
		}
	}
	if set == 0 && s.b.Rules.Columns[group[0]].Optional {
		return true
	}
	if set == 0 && first >= 0 {
		x[first] = s.b.Rules.Columns[first].Max
		set++
	}
	return set == 1
}

// enter keeps a point that is wanted and near enough, and from then on only
// nearer ones are.
func (s *treeSearch) enter(x []float32) bool {
	d := make([]float32, len(x))
	difference(d, x, s.origin)
	distance := s.b.Norm.Size(d)
	if s.measure(distance) > s.limit || !s.wanted(x) {
		return false
	}
	s.best = x
	s.limit = s.measure(distance) * (1 - 1e-6)
	if s.b.Norm == L0 {
		s.limit = distance - 0.5
	}
	return true
}
