package evasion

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Perturb runs an attack and keeps it to the batch's rules, whatever it knows
// of them. While it runs, projections hold immutable elements in place and
// others to their reach, the model is asked about rows with every element on
// its grid and one member of each group set, and gradients along what cannot
// move are zero: they pass the rounding as if it were not there
// (straight-through, Bengio et al. 2013, arXiv 1308.3432). What it returns is
// repaired, and if that left the ball, the smallest changes are undone.
func Perturb(ctx context.Context, a Attack, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if b.Rules == nil {
		return a.Perturb(ctx, m, b)
	}
	inner, asked := *b, m
	if _, knows := a.(ruled); !knows {
		inner.Box.rules = b.Rules
		asked = snapModel(m, b)
	}
	x, err := a.Perturb(ctx, asked, &inner)
	if err != nil {
		return nil, err
	}
	for row := range x.Rows() {
		b.keep(x.Row(row), row)
	}
	return x, nil
}

// ruled is implemented by attacks that know the rules themselves.
type ruled interface{ keepsRules() }

// keepRules holds x, on its way to be projected, to what each element may do.
// Room is how far one of them may go.
func (b Box) keepRules(x, origin []float32, room float64) {
	if b.rules == nil {
		return
	}
	for j, v := range x {
		if v != origin[j] {
			lo, hi := b.rules.Reach(j, origin[j], room)
			x[j] = min(max(v, lo), hi)
		}
	}
}

// room is how far one element of a sample may go.
func (b *Batch) room(row int) float64 {
	if b.Norm == L0 {
		return math.Inf(1)
	}
	return b.Eps[row]
}

// keep makes x an allowed change of sample row inside its ball. It gives up
// changes from the smallest on where repairing made them too large together.
func (b *Batch) keep(x []float32, row int) {
	origin := b.X.Row(row)
	fits := func() bool { return b.within(x, row) && b.Rules.Check(x, origin) == nil }
	b.Rules.Repair(x, origin)
	if fits() {
		return
	}
	inner := b.Box
	inner.rules = b.Rules
	b.Norm.Project(x, origin, b.Eps[row], inner)
	b.Rules.Repair(x, origin)
	for _, j := range bySize(x, origin) {
		if fits() {
			return
		}
		b.undo(x, origin, j)
		try := slices.Clone(x)
		if b.Rules.Repair(try, origin); b.within(try, row) {
			copy(x, try)
			return
		}
	}
	if !fits() {
		copy(x, origin)
	}
}

// within reports whether x lies in the ball of sample row, but for rounding.
func (b *Batch) within(x []float32, row int) bool {
	d := make([]float32, len(x))
	difference(d, x, b.X.Row(row))
	return b.Norm.Size(d) <= b.Eps[row]*(1+5e-6)
}

// bySize lists the changed elements, the smallest change first.
func bySize(x, origin []float32) []int {
	var changed []element
	for j, v := range x {
		if v != origin[j] {
			changed = append(changed, element{j, math.Abs(float64(v) - float64(origin[j]))})
		}
	}
	slices.SortFunc(changed, func(a, b element) int { return cmp.Or(cmp.Compare(a.worth, b.worth), cmp.Compare(a.j, b.j)) })
	out := make([]int, len(changed))
	for i, e := range changed {
		out[i] = e.j
	}
	return out
}

// undo takes element j back to its origin, and its group with it.
func (b *Batch) undo(x, origin []float32, j int) {
	x[j] = origin[j]
	if g := b.Rules.Columns[j].Group; g >= 0 {
		for _, i := range b.Rules.Groups[g] {
			x[i] = origin[i]
		}
	}
}

// snapModel asks m about rows that are on their grids.
func snapModel(m model.Scores, b *Batch) model.Scores {
	s := snapped{m: m, rules: b.Rules}
	g, ok := m.(model.Gradients)
	if !ok {
		return &s
	}
	room := slices.Max(append([]float64{0}, b.Eps...))
	if b.Norm == L0 {
		room = math.Inf(1)
	}
	fixed := make([]bool, len(b.Rules.Columns))
	for j := range fixed {
		col := &b.Rules.Columns[j]
		fixed[j] = col.Immutable || col.Step > 0 && col.Step/math.Abs(col.Scale) > room*(1+1e-5)
	}
	return &snappedGradients{s, g, fixed}
}

type snapped struct {
	m     model.Scores
	rules *data.Constraints
}

// Unwrap lets what else the model can do be found.
func (s *snapped) Unwrap() model.Scores { return s.m }

// enter copies a batch: the attack's own rows stay between the grid's values.
func (s *snapped) enter(x *tensor.Tensor) (*tensor.Tensor, error) {
	in, err := model.Input(s.m, x.Rows(), x.Shape[1:])
	if err != nil {
		return nil, err
	}
	copy(in.Data, x.Data)
	for i := range in.Rows() {
		s.rules.Snap(in.Row(i))
	}
	return in, nil
}

func (s *snapped) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	in, err := s.enter(x)
	if err != nil {
		return nil, err
	}
	return s.m.Scores(ctx, in)
}

type snappedGradients struct {
	snapped
	g     model.Gradients
	fixed []bool
}

func (s *snappedGradients) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	in, err := s.enter(x)
	if err != nil {
		return nil, nil, err
	}
	z, g, err := s.g.Gradient(ctx, in, obj)
	if err != nil {
		return nil, nil, err
	}
	for i := range g.Rows() {
		for j, fixed := range s.fixed {
			if fixed {
				g.Row(i)[j] = 0
			}
		}
	}
	return z, g, nil
}
