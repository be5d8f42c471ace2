package evasion

import (
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var ead = &Spec{
	Name:      "ead",
	Doc:       "Elastic-net attack\n\nCarlini and Wagner's search with an L1 term that leaves most elements alone. Slow: up to nine thousand gradients and as many answers a sample.",
	Paper:     "Chen et al. 2018, arXiv 1709.04114",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L1},
	New:       func(s Settings) Attack { return EAD{Steps: s.Steps, Rate: s.Step} },
}

// EAD looks for the smallest perturbation d in L1 (Chen et al. 2018, algorithm
// 1). It minimises
//
//	|d|_2^2 + Beta |d|_1 + c max(Confidence - margin(x+d), 0)
//
// with accelerated shrinkage (FISTA), d in units of the box's widest side, and
// searches for the smallest c that succeeds, each sample for its own. A step
// costs a gradient where its momentum leads, and an answer where it ends.
type EAD struct {
	Steps      int     // of each search; 0 means 1,000
	Searches   int     // values of c that are tried; 0 means 9
	Beta       float64 // weight of L1, and what every step shrinks d by; 0 means 1e-3
	Rate       float64 // first step size; it falls with the root of the steps left; 0 means 0.01
	First      float64 // the first c; 0 means 1e-3
	Confidence float64 // margin that a success must have, in logits
	// Elastic keeps, of a sample's successful points, the one of smallest
	// |d|_2^2 + Beta |d|_1 instead of smallest L1: the paper's EN rule.
	Elastic bool
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a EAD) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "ead")
	if err == nil {
		err = only(b, "ead", L1)
	}
	if err != nil {
		return nil, err
	}
	found, unit := b.nearest(), b.Box.widest(b.X.RowLen())
	if a.Elastic {
		found.measure = func(d []float32) float64 {
			two := L2.Size(d) / unit
			return two*two + orFloat(a.Beta, 1e-3)*L1.Size(d)/unit
		}
	}
	err = b.climb(ctx, g, found.goal, func(row int, at slopes, ask ask) {
		w := weight{c: orFloat(a.First, 1e-3), hi: math.Inf(1)}
		for range or(a.Searches, 9) {
			if !a.search(found, row, at, ask, &w, unit) || found.size[row] == 0 {
				return
			}
			w.next()
		}
	})
	if err != nil {
		return nil, err
	}
	return found.measured(), nil
}

// search minimises for one sample with one c. It reports false when there are
// no more answers.
func (a EAD) search(found *nearest, row int, at slopes, ask ask, w *weight, unit float64) bool {
	origin, box := found.b.X.Row(row), found.b.Box
	beta, steps := orFloat(a.Beta, 1e-3), or(a.Steps, 1000)
	x := append([]float32(nil), origin...)
	y := append([]float32(nil), origin...) // where the momentum takes x
	for k := range steps {
		z, margin := at(y)
		if z == nil {
			return false
		}
		short, c := a.Confidence-found.goal.Value(row, z), w.c
		if short <= 0 {
			c = 0
		}
		rate := orFloat(a.Rate, 0.01) * math.Sqrt(1-float64(k)/float64(steps))
		for j, o := range origin {
			d := (float64(y[j]) - float64(o)) / unit
			d -= rate * (2*d - c*unit*float64(margin[j]))
			d = math.Copysign(math.Max(math.Abs(d)-beta, 0), d)
			lo, hi := box.At(j)
			next := min(max(o+float32(d*unit), lo), hi)
			y[j] = min(max(next+float32(float64(k)/float64(k+3))*(next-x[j]), lo), hi)
			x[j] = next
		}
		if k == 0 && slices.Equal(y, origin) {
			return true // c is too small: later steps, which are shorter, would stay too
		}
		if z := ask(x); z == nil {
			return false
		} else if found.goal.Value(row, z.Row(0)) >= a.Confidence && found.offer(row, x, z.Row(0)) {
			w.success = true
		}
	}
	return true
}

// widest is the largest range of n elements.
func (b Box) widest(n int) float64 {
	if len(b.Lo) == 1 && len(b.Hi) == 1 {
		n = 1
	}
	top := 0.0
	for j := range n {
		lo, hi := b.At(j)
		top = math.Max(top, float64(hi)-float64(lo))
	}
	return top
}
