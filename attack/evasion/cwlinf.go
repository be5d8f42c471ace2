package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var cwLinf = &Spec{
	Name:      "cw-linf",
	Doc:       "Carlini and Wagner, Linf\n\nPenalises only what sticks out beyond a height that it lowers by a tenth after every success. Slow: some ten thousand gradients a sample.",
	Paper:     "Carlini and Wagner 2017, arXiv 1608.04644, section VI.C",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf},
	New:       func(s Settings) Attack { return CarliniWagnerLinf{Steps: s.Steps, Rate: s.Step} },
}

// CarliniWagnerLinf looks for the smallest perturbation in Linf. With d the
// perturbation in units of the box's widest side it minimises
//
//	sum_j max(|d_j| - tau, 0) + c max(-margin(x+d), 0)
//
// in the tanh variable of [CarliniWagner], from the last success on. Each
// success lowers tau to Lower times the size reached, and halves c; a failure
// doubles c, and the search ends when c is beyond Last. Every sample has its own
// tau and c.
type CarliniWagnerLinf struct {
	Steps int     // for one tau and c; 0 means 1,000
	Rate  float64 // Adam's learning rate; 0 means 0.005
	First float64 // the first c; 0 means 1e-5
	Last  float64 // the largest c; 0 means 20
	Lower float64 // 0 means 0.9
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a CarliniWagnerLinf) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "cw-linf")
	if err == nil {
		err = only(b, "cw-linf", Linf)
	}
	if err != nil {
		return nil, err
	}
	found, unit := b.nearest(), b.Box.widest(b.X.RowLen())
	err = b.climb(ctx, g, found.goal, func(row int, at slopes, _ ask) {
		if z, _ := at(b.X.Row(row)); z == nil || found.offer(row, b.X.Row(row), z) {
			return
		}
		x, c := append([]float32(nil), b.X.Row(row)...), orFloat(a.First, 1e-5)
		for tau := 1.0; tau > 1.0/256; tau *= orFloat(a.Lower, 0.9) {
			for !a.search(found, row, at, x, c, tau, unit) {
				if c *= 2; c > orFloat(a.Last, 20) {
					return
				}
			}
			c /= 2
			tau = math.Min(tau, found.distance(row, x)/unit)
		}
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// search minimises for one sample with one c and tau. It reports whether the
// point succeeds with nothing beyond tau, and moves x there if so.
func (a CarliniWagnerLinf) search(found *nearest, row int, at slopes, x []float32, c, tau, unit float64) bool {
	origin, s := found.b.X.Row(row), newTanh(found.b.Box, x)
	p, steps := make([]float32, len(x)), or(a.Steps, 1000)
	for i := range steps {
		s.point(p)
		z, margin := at(p)
		if z == nil {
			return false
		}
		found.offer(row, p, z)
		short := math.Max(-found.goal.Value(row, z), 0)
		beyond := 0.0
		for j, v := range p {
			d := (float64(v) - float64(origin[j])) / unit
			s.g[j] = 0
			if short > 0 {
				s.g[j] = -c * float64(margin[j])
			}
			if over := math.Abs(d) - tau; over > 0 {
				beyond += over
				s.g[j] += math.Copysign(1/unit, d)
			}
		}
		sum := beyond + c*short
		if sum < 1e-4*c && found.goal.Reached(row, z) {
			copy(x, p)
			return true
		}
		if i%max(steps/10, 1) == 0 && s.stuck(sum) {
			return false
		}
		s.descend(orFloat(a.Rate, 0.005))
	}
	return false
}
