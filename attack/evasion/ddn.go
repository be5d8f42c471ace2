package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var ddn = &Spec{
	Name:      "ddn",
	Doc:       "Decoupled direction and norm\n\nWalks along the boundary on a sphere that shrinks while the point succeeds and grows while it does not. The best of L2 for a few hundred gradients.",
	Paper:     "Rony et al. 2019, arXiv 1811.09600",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return DDN{Steps: s.Steps} },
}

// DDN looks for the smallest perturbation in L2 (Rony et al. 2019, algorithm
// 1). Its steps shorten along a cosine, as in the authors' code.
type DDN struct {
	Steps  int     // 0 means 100
	Gamma  float64 // share by which the sphere grows or shrinks; 0 means 0.05
	Radius float64 // of the first sphere; 0 means 1
	// Levels rounds every point to this many evenly spaced values of the box,
	// 256 for pixels that are to be stored; 0 does not round.
	Levels int
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a DDN) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "ddn")
	if err == nil {
		err = only(b, "ddn", L2)
	}
	if err != nil {
		return nil, err
	}
	n := b.X.Rows()
	x, err := model.Input(m, n, b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	copy(x.Data, b.X.Data)
	found, radius, limit := b.nearest(), make([]float64, n), make([]float64, n)
	for row := range n {
		limit[row] = found.farthest(row)
		radius[row] = min(orFloat(a.Radius, 1), limit[row])
	}
	steps, gamma, goal := or(a.Steps, 100), orFloat(a.Gamma, 0.05), b.objective(model.CrossEntropy)
	for i := range steps {
		logits, grad, err := g.Gradient(ctx, x, goal)
		if err != nil {
			return nil, err
		}
		for row := range n {
			if found.offer(row, x.Row(row), logits.Row(row)) {
				radius[row] *= 1 - gamma
			} else {
				radius[row] = min(radius[row]*(1+gamma), limit[row])
			}
			b.uphill(x.Row(row), row, grad.Row(row), annealed(1, 0.01, i, steps), i)
			a.sphere(x.Row(row), b, row, radius[row])
		}
	}
	logits, err := m.Scores(ctx, x)
	if err != nil {
		return nil, err
	}
	for row := range n {
		found.offer(row, x.Row(row), logits.Row(row))
	}
	return found.inside(), nil
}

// uphill moves x a distance step along gradient g, or, where there is none,
// anywhere.
func (b *Batch) uphill(x []float32, row int, g []float32, step float64, turn int) {
	size := L2.Size(g)
	if !usable(size) {
		rng := b.stream("ddn", row, turn)
		g = make([]float32, len(x))
		for j := range g {
			g[j] = float32(rng.NormFloat64())
		}
		size = L2.Size(g)
	}
	for j, v := range g {
		x[j] += float32(step / size * float64(v))
	}
}

// sphere moves x to the sphere around its sample, then into the box.
func (a DDN) sphere(x []float32, b *Batch, row int, radius float64) {
	origin, sum := b.X.Row(row), 0.0
	for j, v := range x {
		d := float64(v) - float64(origin[j])
		sum += d * d
	}
	k := 0.0
	if sum > 0 {
		k = radius / math.Sqrt(sum)
	}
	for j, v := range x {
		x[j] = float32(float64(origin[j]) + k*(float64(v)-float64(origin[j])))
	}
	b.Box.Clip(x)
	if a.Levels < 2 {
		return
	}
	for j, v := range x {
		lo, hi := b.Box.At(j)
		if unit := float64(hi-lo) / float64(a.Levels-1); unit > 0 {
			x[j] = min(lo+float32(math.Round(float64(v-lo)/unit)*unit), hi)
		}
	}
}

// orFloat is v, or the default where v is zero.
func orFloat(v, absent float64) float64 {
	if v == 0 {
		return absent
	}
	return v
}
