package assess

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

const (
	// stride is how far the probe steps, as a share of each element's range:
	// about one level of a pixel.
	stride = 1. / 255
	// A median step that keeps less of its promise than this, or more than its
	// inverse, shows gradients that do not describe the model.
	kept = 0.2
)

// shatteredGradients asks whether gradients describe the model at the scale of
// an attack's steps: a step along the gradient's signs should change the margin
// by what the gradient promises.
var shatteredGradients = &Probe{
	Name:  "shattered-gradients",
	Doc:   "the margin a step of 1/255 of the range up and down the gradient's signs; suspect when the median change is less than a fifth of what the gradient promises, or more than five times as much",
	Paper: "Athalye et al. 2018 (arXiv 1802.00420), gradient shattering; Pintor et al. 2022 (arXiv 2106.09947), unstable predictions",
	before: func(ctx context.Context, d *driver) error {
		if d.target.Access < model.WhiteBox || d.draws > 1 {
			return nil // of a random model, the difference is noise
		}
		var ratios []float64
		rows := d.some(d.correct, probeRows)
		err := d.look(ctx, rows, func(m model.Scores, b *evasion.Batch, _ []int) error {
			found, err := d.promises(ctx, d.repaired(m).(model.Gradients), b)
			ratios = append(ratios, found...)
			return err
		})
		if err != nil || len(ratios) == 0 {
			return err
		}
		middle := median(slices.Clone(ratios))
		if middle >= kept && middle <= 1/kept {
			return nil
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "shattered-gradients", Verdict: redoubt.Suspect,
			Evidence: fmt.Sprintf("gradients do not describe the model: a small step along them changes the margin by %.2g of what they promise, in the median of %d samples", middle, len(ratios)),
			Remedy:   "attack with gradients averaged over a neighbourhood (spsa, nes) or without any (square), and find the layer that oscillates or counts in steps",
		})
		return nil
	},
}

// promises are, for each sample with a gradient, the change of the margin
// between two points on either side over the change that the gradient promises.
func (d *driver) promises(ctx context.Context, g model.Gradients, b *evasion.Batch) ([]float64, error) {
	_, grad, err := g.Gradient(ctx, b.X, &model.Objective{Loss: model.Margin, Labels: b.Labels})
	if err != nil {
		return nil, err
	}
	up, down, promised := b.X.Clone(), b.X.Clone(), make([]float64, len(b.Labels))
	for i := range b.Labels {
		for j, v := range grad.Row(i) {
			lo, hi := d.cfg.Box.At(j)
			step := float32(stride) * (hi - lo)
			switch {
			case v > 0:
				up.Row(i)[j], down.Row(i)[j] = min(up.Row(i)[j]+step, hi), max(down.Row(i)[j]-step, lo)
			case v < 0:
				up.Row(i)[j], down.Row(i)[j] = max(up.Row(i)[j]-step, lo), min(down.Row(i)[j]+step, hi)
			}
			promised[i] += float64(v) * (float64(up.Row(i)[j]) - float64(down.Row(i)[j]))
		}
	}
	high, err := margins(ctx, g, up, b.Labels)
	if err != nil {
		return nil, err
	}
	low, err := margins(ctx, g, down, b.Labels)
	if err != nil {
		return nil, err
	}
	var ratios []float64
	for i, p := range promised {
		if p > 0 {
			ratios = append(ratios, (high[i]-low[i])/p)
		}
	}
	return ratios, nil
}

// margins are how far the best wrong class is ahead of the label.
func margins(ctx context.Context, m model.Scores, x *tensor.Tensor, labels []int) ([]float64, error) {
	z, err := m.Scores(ctx, x)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(labels))
	for i, y := range labels {
		row := slices.Clone(z.Row(i))
		own := row[y]
		row[y] = float32(math.Inf(-1))
		out[i] = float64(slices.Max(row)) - float64(own)
	}
	return out, nil
}
