package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var cwL0 = &Spec{
	Name:      "cw-l0",
	Doc:       "Carlini and Wagner, L0\n\nAttacks in L2, gives back the elements that matter least, and attacks again with the others. Slow: tens of thousands of gradients a sample; sigma-zero is quicker.",
	Paper:     "Carlini and Wagner 2017, arXiv 1608.04644, section VI.B",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L0},
	New:       func(s Settings) Attack { return CarliniWagnerL0{Steps: s.Steps, Rate: s.Step} },
}

// CarliniWagnerL0 looks for the smallest perturbation in L0. A round attacks in
// L2 as [CarliniWagner] does, from the point of the round before, with the
// elements that are still free, and ends at the first success. Then the elements
// with the least |d_j dmargin/dx_j| are fixed to the sample for good: those that
// hardly moved, and beyond them as many as 0.3 times the root of those that did,
// as in the authors' code. A failed round doubles c; beyond Last the search ends.
type CarliniWagnerL0 struct {
	Steps int     // of a round with one c; 0 means 1,000
	Rate  float64 // Adam's learning rate; 0 means 0.01
	First float64 // the first c; 0 means 1e-3
	Last  float64 // the largest c; 0 means 2e6
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a CarliniWagnerL0) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "cw-l0")
	if err == nil {
		err = only(b, "cw-l0", L0)
	}
	if err != nil {
		return nil, err
	}
	found := b.nearest()
	err = b.climb(ctx, g, found.goal, func(row int, at slopes, _ ask) {
		if z, _ := at(b.X.Row(row)); z == nil || found.offer(row, b.X.Row(row), z) {
			return
		}
		x, c := append([]float32(nil), b.X.Row(row)...), orFloat(a.First, 1e-3)
		impact, fixed := make([]float64, len(x)), make([]bool, len(x))
		for {
			for !a.search(found, row, at, x, impact, fixed, c) {
				if c *= 2; c > orFloat(a.Last, 2e6) {
					return
				}
			}
			c /= 2
			if !found.fix(row, x, impact, fixed) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// search minimises for one sample with one c. It reports whether it succeeds,
// and moves x there if so, with the impact of each element.
func (a CarliniWagnerL0) search(found *nearest, row int, at slopes, x []float32, impact []float64, fixed []bool, c float64) bool {
	origin, s := found.b.X.Row(row), newTanh(found.b.Box, x)
	p, steps := make([]float32, len(x)), or(a.Steps, 1000)
	for i := range steps {
		s.point(p)
		for j, f := range fixed {
			if f {
				p[j] = origin[j]
			}
		}
		z, margin := at(p)
		if z == nil {
			return false
		}
		if found.offer(row, p, z) {
			for j, v := range p {
				impact[j] = math.Abs((float64(v) - float64(origin[j])) * float64(margin[j]))
			}
			copy(x, p)
			return true
		}
		sum := -c * found.goal.Value(row, z)
		for j, v := range p {
			d := float64(v) - float64(origin[j])
			sum += d * d
			s.g[j] = 2*d - c*float64(margin[j])
			if fixed[j] {
				s.g[j] = 0
			}
		}
		if i%max(steps/10, 1) == 0 && s.stuck(sum) {
			return false
		}
		s.descend(orFloat(a.Rate, 0.01))
	}
	return false
}

// fix takes elements of least impact back to the sample and out of the search.
// It reports whether any are left.
func (n *nearest) fix(row int, x []float32, impact []float64, fixed []bool) bool {
	const still = 1e-4 // a change of this share of the box counts as none
	origin := n.b.X.Row(row)
	var moved []element
	for j, v := range x {
		lo, hi := n.b.Box.At(j)
		switch {
		case fixed[j]:
		case math.Abs(float64(v)-float64(origin[j])) <= still*(float64(hi)-float64(lo)):
			fixed[j], x[j] = true, origin[j]
		default:
			moved = append(moved, element{j, -impact[j]})
		}
	}
	largest(moved)
	for i := range min(len(moved), int(math.Ceil(0.3*math.Sqrt(float64(len(moved)))))) {
		j := moved[i].j
		fixed[j], x[j] = true, origin[j]
	}
	return len(moved) > 1
}
