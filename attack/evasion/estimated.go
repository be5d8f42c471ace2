package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var spsa = &Spec{
	Name:      "spsa",
	Doc:       "PGD on gradients estimated by simultaneous perturbation\n\nProjected gradient descent on the margin that sees scores only: each of forty steps asks about 32 pairs of points around the sample.",
	Paper:     "Uesato et al. 2018, arXiv 1802.05666",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{Linf, L2},
	New:       func(s Settings) Attack { return estimatedDescent(s, model.SPSA) },
}

var nes = &Spec{
	Name:      "nes",
	Doc:       "PGD on gradients estimated by natural evolution strategies\n\nProjected gradient descent on the margin that sees scores only: each of forty steps asks about 32 pairs of normally distributed points around the sample.",
	Paper:     "Ilyas et al. 2018, arXiv 1804.08598",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{Linf, L2},
	New:       func(s Settings) Attack { return estimatedDescent(s, model.NES) },
}

// estimatedDescent spends the queries on as many steps as they pay for.
func estimatedDescent(s Settings, d model.Directions) Attack {
	const pairs = 32
	steps := s.Steps
	if s.Queries > 0 {
		steps = min(max(s.Queries/(2*pairs+1), 1), or(s.Steps, math.MaxInt))
	}
	return Estimated{
		Descent:   Descent{Name: d.String(), Loss: model.Margin, Steps: steps, Step: s.Step, Restarts: s.Restarts},
		Estimator: model.Estimator{Directions: d, Pairs: pairs},
	}
}

// Estimated runs a descent on gradients estimated from scores, whether or not
// the model gives others. Points outside the box are not asked about.
type Estimated struct {
	Descent   Descent
	Estimator model.Estimator // Clip is the batch's box, and Seed the batch's
}

// Perturb returns what the descent does.
func (a Estimated) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	a.Estimator.Clip, a.Estimator.Seed = b.Box.Clip, b.Seed
	return a.Descent.Perturb(ctx, model.Estimate(m, a.Estimator), b)
}
