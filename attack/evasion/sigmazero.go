package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var sigmaZero = &Spec{
	Name:      "sigma-zero",
	Doc:       "Sigma-zero\n\nLooks for the fewest elements to change: it descends a smooth count of them and drops those below a threshold that follows its success. The best of L0.",
	Paper:     "Cinà et al. 2025, arXiv 2402.01879",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L0},
	New:       func(s Settings) Attack { return SigmaZero{Steps: s.Steps, Rate: s.Step} },
}

// SigmaZero looks for the smallest perturbation in L0 (Cinà et al. 2025,
// algorithm 1). With u the perturbation as a share of the box's width and d the
// number of elements it minimises
//
//	max(-margin(x+u), 0) + 1/d sum_j u_j^2 / (u_j^2 + Sigma)
//
// with Adam on gradients scaled to Linf size 1, and after each step sets the
// elements of u below a threshold to zero. The threshold rises while the point
// succeeds and falls while it does not.
type SigmaZero struct {
	Steps     int     // 0 means 1,000
	Rate      float64 // Adam's learning rate; it falls to a tenth along a cosine; 0 means 1
	Sigma     float64 // smoothness of the count; 0 means 1e-3
	Threshold float64 // the first; 0 means 0.3
	Follow    float64 // share of the learning rate by which the threshold moves; 0 means 0.01
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a SigmaZero) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "sigma-zero")
	if err == nil {
		err = only(b, "sigma-zero", L0)
	}
	if err != nil {
		return nil, err
	}
	found := b.nearest()
	err = b.climb(ctx, g, found.goal, func(row int, at slopes, _ ask) { a.search(found, row, at) })
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// search minimises for one sample.
func (a SigmaZero) search(found *nearest, row int, at slopes) {
	b, origin := found.b, found.b.X.Row(row)
	n, steps := len(origin), or(a.Steps, 1000)
	x, u, g := make([]float32, n), make([]float64, n), make([]float64, n)
	copy(x, origin)
	adam := newMoments(n)
	first, sigma := orFloat(a.Rate, 1), orFloat(a.Sigma, 1e-3)
	rate, threshold := first, orFloat(a.Threshold, 0.3)
	for i := range steps {
		z, margin := at(x)
		if z == nil {
			return
		}
		won := found.offer(row, x, z)
		down := found.goal.Value(row, z) < 0
		top := 1e-12
		for j, v := range u {
			square := v*v + sigma
			g[j] = 2 * v * sigma / (square * square * float64(n))
			if down {
				lo, hi := b.Box.At(j)
				g[j] -= float64(margin[j]) * float64(hi-lo)
			}
			top = math.Max(top, math.Abs(g[j]))
		}
		for j := range g {
			g[j] /= top
		}
		adam.descend(u, g, rate)
		rate = annealed(first, first/10, i, steps)
		if won {
			threshold += orFloat(a.Follow, 0.01) * rate
		} else {
			threshold -= orFloat(a.Follow, 0.01) * rate
		}
		threshold = min(max(threshold, 0), 1)
		a.place(x, u, origin, threshold, b.Box)
	}
}

// place drops what is below the threshold of u and moves x there.
func (a SigmaZero) place(x []float32, u []float64, origin []float32, threshold float64, box Box) {
	for j, o := range origin {
		lo, hi := box.At(j)
		width := float64(hi) - float64(lo)
		if width > 0 {
			u[j] = min(max(u[j], (float64(lo)-float64(o))/width), (float64(hi)-float64(o))/width)
		}
		if width == 0 || math.Abs(u[j]) < threshold {
			u[j] = 0
		}
		x[j] = min(max(o+float32(u[j]*width), lo), hi)
	}
}
