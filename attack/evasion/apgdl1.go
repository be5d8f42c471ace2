package evasion

import (
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Constants of Auto-PGD in L1: how often it looks at how sparse the best
// perturbation is, as a share of a stage's steps; by what factor a step touches
// fewer elements than that perturbation; the share of its elements that must
// be left for it to count as unchanged; and the factors by which a step
// shrinks, at once and at most.
const (
	l1Check    = 0.04
	l1Fewer    = 1.5
	l1Same     = 0.95
	l1Shrink   = 1.5
	l1Smallest = 10
)

// l1Stages are the radii, in units of eps, that a run passes through.
var l1Stages = [...]float64{3, 2, 1}

// stageSteps shares out the steps: 30, 30 and 40 per cent.
func stageSteps(steps int) [len(l1Stages)]int {
	n := int(math.Ceil(0.3 * float64(steps)))
	return [...]int{n, n, max(steps-2*n, 1)}
}

// sparseOf is what Auto-PGD in L1 remembers of one sample within a stage.
type sparseOf struct {
	radius, step float64
	nonzero      int // elements that the best perturbation had at the last look
	best         float64
	peak, slope  []float32
}

// runL1 is a run of Auto-PGD in L1 (Croce and Hein 2021, algorithm 1): steps on
// the elements of largest gradient, ever fewer, in a ball that shrinks to the
// one allowed. Only iterates of the last stage count.
func (a AutoPGD) runL1(ctx context.Context, m model.Gradients, b *Batch, out *tensor.Tensor, loss *model.Objective, rows []int, restart int) ([]int, error) {
	x, err := model.Input(m, len(rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	w, goal := walk{b: b, x: x, out: out, rows: rows, objective: b.objective(a.Loss)}, aim{all: loss}
	states := make([]*sparseOf, b.X.Rows())
	for slot, row := range rows {
		rng, iterate := b.stream(a.Name, row, restart), x.Row(slot)
		for j, v := range b.X.Row(row) {
			iterate[j] = v + float32(rng.NormFloat64())
		}
		states[row] = &sparseOf{peak: slices.Clone(iterate)}
	}
	for i, steps := range stageSteps(or(a.Steps, 100)) {
		for slot, row := range w.rows {
			s := states[row]
			s.enter(b, row, l1Stages[i]*b.Eps[row])
			copy(w.x.Row(slot), s.peak)
		}
		if err := a.stageL1(ctx, m, &w, &goal, states, steps, i == len(l1Stages)-1); err != nil {
			return nil, err
		}
	}
	for _, row := range w.rows {
		copy(out.Row(row), states[row].peak)
	}
	return w.rows, nil
}

// stageL1 walks within one radius; in the last stage samples that fall leave.
func (a AutoPGD) stageL1(ctx context.Context, m model.Gradients, w *walk, goal *aim, states []*sparseOf, steps int, last bool) error {
	due := part(l1Check, steps)
	for i := range steps + 1 {
		if len(w.rows) == 0 {
			return nil
		}
		logits, grad, err := m.Gradient(ctx, w.x, goal.at(w.rows))
		if err != nil {
			return err
		}
		values := goal.values(w.rows, logits)
		slots := w.slots[:0]
		if last {
			slots = w.standing(logits)
		} else {
			for k := range w.rows {
				slots = append(slots, slot{k, k})
			}
			w.slots = slots
		}
		for _, slot := range slots {
			row := w.rows[slot.now]
			s, iterate, g := states[row], w.x.Row(slot.now), grad.Row(slot.was)
			if value := values[slot.was]; value > s.best || i == 0 {
				s.best = value
				copy(s.peak, iterate)
				s.slope = append(s.slope[:0], g...)
			}
			if i > 0 && i%due == 0 && s.thinned(w.b.X.Row(row)) {
				copy(iterate, s.peak)
				g = s.slope
			}
			if i < steps {
				s.advance(w.b, row, iterate, g)
			}
		}
	}
	return nil
}

// enter starts a stage from the best point of the one before.
func (s *sparseOf) enter(b *Batch, row int, radius float64) {
	b.Norm.Project(s.peak, b.X.Row(row), radius, b.Box)
	s.radius, s.step, s.best = radius, radius, math.Inf(-1)
	s.nonzero = differences(s.peak, b.X.Row(row))
}

// thinned looks at the best perturbation: if it got sparser, the step returns
// to its full size and the search to that point, else the step shrinks.
func (s *sparseOf) thinned(origin []float32) bool {
	before := s.nonzero
	s.nonzero = differences(s.peak, origin)
	if float64(s.nonzero) < l1Same*float64(before) {
		s.step = s.radius
		return true
	}
	s.step = math.Max(s.step/l1Shrink, s.radius/l1Smallest)
	return false
}

// advance moves the elements of largest gradient, all equally far.
func (s *sparseOf) advance(b *Batch, row int, x, g []float32) {
	sizes := make([]float32, len(g))
	for j, v := range g {
		sizes[j] = max(v, -v)
	}
	slices.Sort(sizes)
	n := float32(len(g))
	still := (1 - float32(s.nonzero)/n/l1Fewer) * n // elements that keep their place
	least := sizes[int(min(max(still, 0), n-1))]
	moving := 0
	for _, v := range g {
		if v != 0 && max(v, -v) >= least {
			moving++
		}
	}
	for j, v := range g {
		if v != 0 && max(v, -v) >= least {
			x[j] += float32(math.Copysign(s.step/float64(moving), float64(v)))
		}
	}
	b.Norm.Project(x, b.X.Row(row), s.radius, b.Box)
}

// differences counts the elements in which x and y differ.
func differences(x, y []float32) int {
	n := 0
	for j, v := range x {
		if v != y[j] {
			n++
		}
	}
	return n
}
