package assess

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// noGradients says that the strongest attacks could not be tried.
var noGradients = &Probe{
	Name: "no-gradients",
	Doc:  "whether the model gives gradients; suspect when it does not: read the number as an upper bound",
	before: func(_ context.Context, d *driver) error {
		if d.target.Access < model.WhiteBox {
			d.general = append(d.general, redoubt.Flag{
				ID: "no-gradients", Verdict: redoubt.Suspect,
				Evidence: fmt.Sprintf("only attacks without gradients were possible: %v", d.target.Why),
				Remedy:   "read the robust accuracy as an upper bound",
			})
		}
		return nil
	},
}

// zeroGradients looks for samples at which attacks cannot start, whatever their
// objective. Where layers that count in steps are to blame, all attacks go
// straight through them.
var zeroGradients = &Probe{
	Name:  "zero-gradients",
	Doc:   "the gradient of the margin at the samples; suspect when it is zero on over 1 %, invalid over half. Where rounding, thresholds or casts are to blame, the attacks go straight through them",
	Paper: "Pintor et al. 2022 (arXiv 2106.09947), unavailable gradients; Athalye et al. 2018 (arXiv 1802.00420), BPDA",
	before: func(ctx context.Context, d *driver) error {
		if d.target.Access < model.WhiteBox {
			return nil
		}
		rows := d.some(d.correct, probeRows)
		zero, err := d.withoutGradient(ctx, rows, model.Margin)
		if err != nil || zero == 0 {
			return err
		}
		f := redoubt.Flag{
			ID: "zero-gradients", Verdict: graded(zero, len(rows), unfinished),
			Evidence: fmt.Sprintf("the gradient is zero on %d of %d samples, whatever the objective: gradient attacks cannot start there", zero, len(rows)),
			Remedy:   "attack without gradients (square), or replace the layer that blocks them by its identity in the backward pass (BPDA)",
		}
		if f.Verdict != redoubt.Trustworthy && len(d.target.Discrete) > 0 {
			d.straight = true
			left, err := d.withoutGradient(ctx, rows, model.Margin)
			if d.straight = err == nil && graded(left, len(rows), unfinished) == redoubt.Trustworthy; d.straight {
				f.Verdict = redoubt.Suspect
				f.Evidence += fmt.Sprintf("; all attacks went straight through the layers to blame (%s), with no gradient left on %d", strings.Join(d.target.Discrete, ", "), left)
				f.Remedy = "read the robust accuracy as an upper bound: another approximation of these layers may break more"
			}
		}
		d.general = append(d.general, f)
		return nil
	},
}

// saturatedSoftmax looks for certain models, whose cross-entropy is flat.
var saturatedSoftmax = &Probe{
	Name:  "saturated-softmax",
	Doc:   "the gradient of cross-entropy at the samples; never suspect, because the margin replaces it, but said",
	Paper: "Carlini and Wagner 2017 (arXiv 1608.04644), section V; Croce and Hein 2020 (arXiv 2003.01690)",
	before: func(ctx context.Context, d *driver) error {
		if d.target.Access < model.WhiteBox {
			return nil
		}
		rows := d.some(d.correct, probeRows)
		ce, err := d.withoutGradient(ctx, rows, model.CrossEntropy)
		if err != nil {
			return err
		}
		margin, err := d.withoutGradient(ctx, rows, model.Margin)
		if err != nil || ce <= margin {
			return err
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "saturated-softmax", Verdict: redoubt.Trustworthy,
			Evidence: fmt.Sprintf("the gradient of cross-entropy is masked: it is exactly zero on %d of %d samples because the softmax is saturated; the margin's gradient is not", ce-margin, len(rows)),
			Remedy:   "the objective was switched to the margin of the logits; do not trust attacks on cross-entropy alone",
		})
		return nil
	},
}

// withoutGradient counts the rows whose gradient is zero in every element.
func (d *driver) withoutGradient(ctx context.Context, rows []int, loss model.Loss) (int, error) {
	zero := 0
	err := d.look(ctx, rows, func(m model.Scores, b *evasion.Batch, _ []int) error {
		_, grad, err := d.repaired(m).(model.Gradients).Gradient(ctx, b.X, &model.Objective{Loss: loss, Labels: b.Labels})
		if err != nil {
			return err
		}
		for i := range b.Labels {
			if !slices.ContainsFunc(grad.Row(i), func(v float32) bool { return v != 0 }) {
				zero++
			}
		}
		return nil
	})
	return zero, err
}

// repaired is the model as attacks see it: with gradients averaged over draws
// where it answers at random, and straight through its discrete layers where
// those block them.
func (d *driver) repaired(m model.Scores) model.Scores {
	g, ok := m.(model.Gradients)
	if !ok {
		return m
	}
	if d.straight {
		g = model.Straight(g)
	}
	return model.Average(g, d.draws)
}

// blockedGradients attacks straight through discrete layers that the gradients
// of the attacks went around.
var blockedGradients = &Probe{
	Name:  "blocked-gradients",
	Doc:   "an attack straight through rounding, thresholds and casts, where the model has some beside paths with a gradient; suspect when over 0.2 points more fall",
	Paper: "Athalye et al. 2018 (arXiv 1802.00420), BPDA; Pintor et al. 2022 (arXiv 2106.09947)",
	after: func(ctx context.Context, d *driver, t *threat) error {
		if d.straight || len(d.target.Discrete) == 0 || d.target.Access < model.WhiteBox {
			return nil
		}
		if err := d.passes(ctx); err != nil {
			t.flags = append(t.flags, redoubt.Flag{
				ID: "blocked-gradients", Verdict: redoubt.Suspect,
				Evidence: fmt.Sprintf("layers without a gradient (%s) may hide samples from the attacks, and no attack could go straight through them: %v", strings.Join(d.target.Discrete, ", "), err),
				Remedy:   "read the robust accuracy as an upper bound, or add attacks without gradients, such as square",
			})
			return ctx.Err()
		}
		before := len(t.outcomes)
		a := through{evasion.Descent{Name: "straight", Loss: model.Margin, Steps: 60, Random: true, Restarts: 2}}
		if err := d.attack(ctx, t, attempt{"straight through (check)", a}, d.standing(t)); err != nil {
			return err
		}
		n := len(t.outcomes) - before
		if n == 0 {
			return nil
		}
		t.flags = append(t.flags, redoubt.Flag{
			ID: "blocked-gradients", Verdict: beyond(n, d.set.X.Rows(), surprise),
			Evidence: fmt.Sprintf("layers without a gradient (%s) hid %d samples from the attacks, which fell to one that goes straight through them", strings.Join(d.target.Discrete, ", "), n),
			Remedy:   "read the robust accuracy as an upper bound: another approximation of these layers may break more",
		})
		return nil
	},
}

// passes says why no gradient goes straight through the model's discrete layers.
func (d *driver) passes(ctx context.Context) error {
	m, free := d.target.Open()
	defer free()
	_, _, err := model.Straight(m.(model.Gradients)).Gradient(ctx, d.set.X.Gather([]int{0}), &model.Objective{Loss: model.Margin, Labels: d.set.Y[:1]})
	return err
}

// through attacks a model straight through its discrete layers.
type through struct{ evasion.Attack }

func (a through) Perturb(ctx context.Context, m model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	if g, ok := m.(model.Gradients); ok {
		m = model.Straight(g)
	}
	return a.Attack.Perturb(ctx, m, b)
}
