package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var fmn = &Spec{
	Name:      "fmn",
	Doc:       "Fast minimum-norm\n\nSteps up the margin inside a ball whose radius follows the linear distance to the boundary. Looks for the smallest perturbation in every norm.",
	Paper:     "Pintor et al. 2021, arXiv 2102.12827",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New:       func(s Settings) Attack { return FMN{Steps: s.Steps, Step: s.Step} },
}

// FMN looks for the smallest perturbation in Linf, L2 or L1 (Pintor et al.
// 2021, algorithm 1).
type FMN struct {
	Steps int     // 0 means 100
	Step  float64 // first step, in L2; it falls to a hundredth along a cosine; 0 means 1
	Gamma float64 // share by which the radius changes at first; it falls to a fiftieth; 0 means 0.05
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a FMN) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "fmn")
	if err == nil {
		err = only(b, "fmn", Linf, L2, L1)
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
	for row := range limit {
		limit[row] = found.farthest(row)
	}
	steps, first, gamma := or(a.Steps, 100), orFloat(a.Step, 1), orFloat(a.Gamma, 0.05)
	for i := range steps {
		logits, grad, err := g.Gradient(ctx, x, found.goal)
		if err != nil {
			return nil, err
		}
		share, step := annealed(gamma, gamma/50, i, steps), annealed(first, first/100, i, steps)
		for row := range n {
			x, z, g := x.Row(row), logits.Row(row), grad.Row(row)
			switch {
			case found.offer(row, x, z):
				radius[row] = min(radius[row]*(1-share), found.size[row])
			case !math.IsInf(found.size[row], 1):
				radius[row] *= 1 + share
			default:
				// The share beyond is ours: seen from inside a convex region
				// the linear distance falls short for ever.
				radius[row] = (1 + share) * (found.distance(row, x) + toBoundary(b.Norm, found.goal.Value(row, z), g))
			}
			radius[row] = min(radius[row], limit[row])
			if size := L2.Size(g); usable(size) {
				for j, v := range g {
					x[j] += float32(step / size * float64(v))
				}
			}
			b.Norm.Project(x, b.X.Row(row), radius[row], b.Box)
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

// toBoundary is how far away the zero of a function is, were it linear.
func toBoundary(n Norm, value float64, g []float32) float64 {
	return math.Abs(value) / max(dual(n).Size(g), 1e-12)
}
