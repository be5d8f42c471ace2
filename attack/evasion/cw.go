package evasion

import (
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var cw = &Spec{
	Name:      "cw",
	Doc:       "Carlini and Wagner\n\nWeighs distance against the margin, and searches for the weight. Slow and thorough: up to nine thousand gradients a sample, twice that where DeepFool ends at another class.",
	Paper:     "Carlini and Wagner 2017, arXiv 1608.04644",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return CarliniWagner{Steps: s.Steps} },
}

// CarliniWagner looks for the smallest perturbation in L2. It minimises
//
//	|x' - x|^2 + c max(Confidence - margin(x'), 0)
//
// over w, where x' = tanh(w) scaled to the box, with Adam; and searches for the
// smallest c that succeeds. Each sample has its own c, and ends a search of its
// own when the sum stops falling, so that a batch does not influence a result
// as it does in the authors' code.
//
// The margin leads to the class that is highest at the sample, which need not be
// the nearest. The paper tries every class as a target; here, where [DeepFool]
// ends at another class, the searches are repeated from before its point.
type CarliniWagner struct {
	Steps      int     // of each search; 0 means 1,000, the authors use 10,000
	Searches   int     // values of c that are tried; 0 means 9
	Rate       float64 // Adam's learning rate, in w; 0 means 0.01
	First      float64 // the first c; 0 means 1e-3
	Confidence float64 // margin that a success must have, in logits
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a CarliniWagner) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "cw")
	if err == nil {
		err = only(b, "cw", L2)
	}
	if err != nil {
		return nil, err
	}
	found := b.nearest()
	// Samples that are wrong as they are need no search.
	logits, err := m.Scores(ctx, b.X)
	if err != nil {
		return nil, err
	}
	for row := range b.Labels {
		found.offer(row, b.X.Row(row), logits.Row(row))
	}
	if err := a.searches(ctx, g, found, b.X, b.every()); err != nil {
		return nil, err
	}
	starts, rows, err := a.elsewhere(ctx, m, found)
	if err != nil {
		return nil, err
	}
	if err := a.searches(ctx, g, found, starts, rows); err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// elsewhere lists the samples for which DeepFool, left without a bound, ends at
// another class than the search did, and points on this side of its boundary: a
// search that starts with a success learns nothing of its weight.
func (a CarliniWagner) elsewhere(ctx context.Context, m model.Scores, found *nearest) (*tensor.Tensor, []int, error) {
	if found.b.Targets != nil { // one class is wanted
		return nil, nil, nil
	}
	free := *found.b
	free.Eps = slices.Repeat([]float64{math.Inf(1)}, len(free.Labels))
	starts, err := DeepFool{}.Perturb(ctx, m, &free)
	if err != nil {
		return nil, nil, err
	}
	logits, err := m.Scores(ctx, found.x)
	if err != nil {
		return nil, nil, err
	}
	classes := make([]int, len(found.size))
	for row := range classes {
		classes[row] = tensor.ArgMax(logits.Row(row))
	}
	if logits, err = m.Scores(ctx, starts); err != nil {
		return nil, nil, err
	}
	var rows []int
	for row, class := range classes {
		if z := logits.Row(row); found.offer(row, starts.Row(row), z) && tensor.ArgMax(z) != class {
			rows = append(rows, row)
		}
		for j, v := range found.b.X.Row(row) {
			starts.Row(row)[j] = v + before*(starts.Row(row)[j]-v)
		}
	}
	return starts, rows, nil
}

const before = 0.95 // DeepFool goes 0.02 beyond

// searches looks for the weight of every one of the rows.
func (a CarliniWagner) searches(ctx context.Context, g model.Gradients, found *nearest, starts *tensor.Tensor, rows []int) error {
	if len(rows) == 0 {
		return nil
	}
	weights := make([]weight, found.b.X.Rows())
	for row := range weights {
		weights[row] = weight{c: orFloat(a.First, 1e-3), hi: math.Inf(1)}
	}
	for range or(a.Searches, 9) {
		if err := a.search(ctx, g, found, weights, starts, rows); err != nil {
			return err
		}
		for _, row := range rows {
			weights[row].next()
		}
	}
	return nil
}

// weight is the binary search for a sample's c.
type weight struct {
	c, lo, hi float64
	success   bool // of the search with c
}

// next halves the interval, or goes up tenfold until the first success.
func (w *weight) next() {
	if w.success {
		w.hi = min(w.hi, w.c)
	} else {
		w.lo = max(w.lo, w.c)
	}
	switch {
	case !math.IsInf(w.hi, 1):
		w.c = (w.lo + w.hi) / 2
	default:
		w.c = min(10*w.c, 1e10)
	}
	w.success = false
}

// search minimises for every one of the rows with its c, from its start.
func (a CarliniWagner) search(ctx context.Context, m model.Gradients, found *nearest, weights []weight, starts *tensor.Tensor, rows []int) error {
	b := found.b
	rows = slices.DeleteFunc(slices.Clone(rows), func(row int) bool { return found.size[row] == 0 })
	if len(rows) == 0 {
		return nil
	}
	buffer, err := model.Input(m, len(rows), b.X.Shape[1:])
	if err != nil {
		return err
	}
	states := make([]*tanh, b.X.Rows())
	for _, row := range rows {
		states[row] = newTanh(b.Box, starts.Row(row))
	}
	steps, rate := or(a.Steps, 1000), orFloat(a.Rate, 0.01)
	for i := 0; i < steps && len(rows) > 0; i++ {
		x := buffer.Slice(0, len(rows))
		for slot, row := range rows {
			states[row].point(x.Row(slot))
		}
		logits, grad, err := m.Gradient(ctx, x, found.goal.Select(rows))
		if err != nil {
			return err
		}
		check, now := i%max(steps/10, 1) == 0, rows
		rows = rows[:0]
		for slot, row := range now {
			x, z, s := x.Row(slot), logits.Row(slot), states[row]
			short := a.Confidence - found.goal.Value(row, z)
			if short <= 0 && found.offer(row, x, z) {
				weights[row].success = true
			}
			c := weights[row].c
			if check {
				away := found.distance(row, x)
				if s.stuck(away*away + c*max(short, 0)) {
					continue
				}
			}
			if short <= 0 {
				c = 0
			}
			for j, v := range x {
				s.g[j] = 2*(float64(v)-float64(b.X.Row(row)[j])) - c*float64(grad.Row(slot)[j])
			}
			s.descend(rate)
			rows = append(rows, row)
		}
	}
	return nil
}

// tanh is a sample on its way, in the variable w whose tanh, scaled to the box,
// is the point.
type tanh struct {
	box  Box
	w, t []float64 // w and its tanh
	g    []float64 // the gradient with respect to the point, for descend
	adam *moments
	last float64 // sum at the last check
}

// newTanh starts from a point, drawn in from the edge of the box by one
// millionth, where w would be infinite.
func newTanh(box Box, x []float32) *tanh {
	n := len(x)
	memory := make([]float64, 3*n)
	s := &tanh{box: box, w: memory[:n], t: memory[n : 2*n], g: memory[2*n:], adam: newMoments(n), last: math.Inf(1)}
	for j, v := range x {
		if middle, half := s.span(j); half > 0 {
			s.w[j] = math.Atanh((float64(v) - middle) / half * 0.999999)
		}
	}
	return s
}

// span is the middle of the box and half its width.
func (s *tanh) span(j int) (middle, half float64) {
	lo, hi := s.box.At(j)
	return (float64(lo) + float64(hi)) / 2, (float64(hi) - float64(lo)) / 2
}

// point writes where the sample is to x.
func (s *tanh) point(x []float32) {
	for j, w := range s.w {
		middle, half := s.span(j)
		s.t[j] = math.Tanh(w)
		x[j] = float32(middle + half*s.t[j])
	}
	s.box.Clip(x) // float32 rounding at the edge
}

// stuck reports whether the sum has not fallen by one part in ten thousand
// since the last check.
func (s *tanh) stuck(sum float64) bool {
	stuck := sum > 0.9999*s.last
	s.last = sum
	return stuck
}

// descend moves w down the gradient g.
func (s *tanh) descend(rate float64) {
	for j, t := range s.t {
		_, half := s.span(j)
		s.g[j] *= half * (1 - t*t)
	}
	s.adam.descend(s.w, s.g, rate)
}
