package assess

import (
	"context"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

const (
	repeats = 5 // answers that AutoAttack's test compares
	drifts  = 1e-4
	// draws is how many answers of a random model are averaged for a gradient,
	// and vote on whether a sample falls.
	draws = 10
)

// randomModel is AutoAttack's test for models that answer at random: of five
// answers one differs. What it finds is repaired: gradients become means of
// several draws, and a sample counts as right, or as fallen, by the majority of
// several answers.
var randomModel = &Probe{
	Name:  "random-model",
	Doc:   "the same samples asked five times; suspect when normalised logits drift by more than 1e-4. Gradients are then averaged over ten draws (expectation over transformation), and ten answers vote",
	Paper: "Croce and Hein 2020 (arXiv 2003.01690); Athalye et al. 2018 (arXiv 1707.07397)",
	before: func(ctx context.Context, d *driver) error {
		rows := d.some(d.correct, d.probed())
		drift, changed := 0.0, 0
		for range repeats - 1 {
			err := d.look(ctx, rows, func(m model.Scores, b *evasion.Batch, rows []int) error {
				z, err := m.Scores(ctx, b.X)
				if err != nil {
					return err
				}
				for i, r := range rows {
					first := d.logits.Row(r)
					drift = math.Max(drift, apart(z.Row(i), first))
					if tensor.ArgMax(z.Row(i)) != tensor.ArgMax(first) {
						changed++
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if drift <= drifts {
			return nil
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "random-model", Verdict: redoubt.Suspect,
			Evidence: fmt.Sprintf("the model answers the same sample differently: normalised logits drift by %.2g, %d of %d predictions changed; gradients were averaged over %d draws and %d answers voted on each sample", drift, changed, (repeats-1)*len(rows), draws, draws),
			Remedy:   "fix the model's randomness to measure exactly, or repeat the run and read the spread",
		})
		d.draws = draws
		return d.majority(ctx)
	},
}

// apart is the distance of two answers, each scaled to length 1.
func apart(a, b []float32) float64 {
	na, nb := evasion.L2.Size(a), evasion.L2.Size(b)
	if na == 0 || nb == 0 {
		return math.Abs(na - nb)
	}
	sum := 0.0
	for j, v := range a {
		d := float64(v)/na - float64(b[j])/nb
		sum += d * d
	}
	return math.Sqrt(sum)
}

// majority decides again which samples are right, by several answers.
func (d *driver) majority(ctx context.Context) error {
	d.correct = nil
	return d.look(ctx, all(d.set.X.Rows()), func(m model.Scores, b *evasion.Batch, rows []int) error {
		won, _, err := d.vote(ctx, m, b.X, func(i int, z []float32) bool { return tensor.ArgMax(z) == b.Labels[i] })
		if err != nil {
			return err
		}
		for i, r := range rows {
			if won[i] {
				d.correct = append(d.correct, r)
			}
		}
		return nil
	})
}

// vote asks a model about x, several times if it answers at random, and reports
// for which rows most answers satisfy yes. The logits are those of the last
// answer that agrees with the majority.
func (d *driver) vote(ctx context.Context, m model.Scores, x *tensor.Tensor, yes func(row int, z []float32) bool) ([]bool, *tensor.Tensor, error) {
	ayes, answers := make([]int, x.Rows()), make([][2][]float32, x.Rows())
	n := max(d.draws, 1)
	for range n {
		z, err := m.Scores(ctx, x)
		if err != nil {
			return nil, nil, err
		}
		for i := range ayes {
			side := 0
			if yes(i, z.Row(i)) {
				side = 1
				ayes[i]++
			}
			answers[i][side] = append(answers[i][side][:0], z.Row(i)...)
		}
	}
	won, logits := make([]bool, len(ayes)), tensor.New(x.Rows(), d.target.Classes)
	for i, k := range ayes {
		side := 0
		if won[i] = 2*k > n; won[i] {
			side = 1
		}
		copy(logits.Row(i), answers[i][side])
	}
	return won, logits, nil
}
