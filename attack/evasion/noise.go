package evasion

import (
	"context"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var noise = &Spec{
	Name:      "noise",
	Doc:       "Random noise, the baseline\n\nDraws from the ball, half of them uniform and half of them Gaussian at its edge; in L0, salt and pepper. Every attack must beat it; a gradient attack that does not is misled.",
	Paper:     "baseline of Carlini et al. 2019, arXiv 1902.06705, section 4",
	Technique: evade,
	Access:    model.Labels,
	New:       func(s Settings) Attack { return Noise{Draws: or(s.Queries, 20)} },
}

// Noise tries random points of the ball.
type Noise struct {
	Draws int // points tried for each sample; 0 means 20
}

// Perturb returns for each sample the first draw that succeeds, or the last.
func (a Noise) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	out := b.X.Clone()
	w := walk{b: b, out: out, rows: b.every(), objective: b.objective(model.Margin)}
	x, err := model.Input(m, len(w.rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	w.x = x
	for r := range or(a.Draws, 20) {
		for slot, row := range w.rows {
			copy(w.x.Row(slot), b.X.Row(row))
			if r%2 == 0 || b.Norm == L0 {
				b.jump(w.x.Row(slot), row, "noise", r)
			} else {
				b.scatter(w.x.Row(slot), row, r)
			}
		}
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		w.standing(logits)
		if len(w.rows) == 0 {
			return out, nil
		}
	}
	for slot, row := range w.rows {
		copy(out.Row(row), w.x.Row(slot))
	}
	return out, nil
}

// scatter adds Gaussian noise scaled to the full radius.
func (b *Batch) scatter(x []float32, row, restart int) {
	rng := b.stream("noise", row, restart)
	d := make([]float32, len(x))
	for j := range d {
		d[j] = float32(rng.NormFloat64())
	}
	k := float32(b.Eps[row] / b.Norm.Size(d))
	for j := range x {
		x[j] += k * d[j]
	}
	b.Norm.Project(x, b.X.Row(row), b.Eps[row], b.Box)
}
