package evasion

import (
	"context"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var linearModel = &Spec{
	Name: "linear",
	Doc: "Closed form for linear models\n\nThe smallest move to the boundary of a linear or logistic model within the bounds, in one step. " +
		"Exact where the scores, or the log-odds, are linear; elsewhere a single step along the tangent.",
	Paper:     "the projection onto a hyperplane in a box of Croce and Hein 2020, arXiv 1907.02044, section 2.2; exact where the model is linear",
	Technique: evade,
	Access:    model.WhiteBox,
	New:       func(Settings) Attack { return Linear{} },
}

// Linear takes the model for linear and moves each sample to the nearest of the hyperplanes between its class
// and the others, within its bounds and what its rules leave each element. Of
// whole numbers and categories the nearest allowed point may lie on the wrong
// side of the boundary, and so points beyond it are tried as well.
type Linear struct{}

func (Linear) keepsRules() {}

// beyond is how far past the boundary points are tried, in its distance.
var beyond = [...]float64{1, 1.1, 1.3, 1.7, 2.5, 4}

// Perturb returns the nearest wrong point of each sample, or the sample.
func (a Linear) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "linear")
	if err != nil {
		return nil, err
	}
	z, err := m.Scores(ctx, b.X)
	if err != nil {
		return nil, err
	}
	clean, found := z.Clone(), b.nearest()
	for rival := range clean.RowLen() {
		lead, slope, err := a.face(ctx, g, b, clean, rival)
		if err != nil {
			return nil, err
		}
		for _, factor := range beyond {
			if err := a.cross(ctx, m, b, found, rival, lead, slope, factor); err != nil {
				return nil, err
			}
		}
	}
	return found.inside(), nil
}

// face is the lead of a rival class over each sample's own, and its gradient.
func (Linear) face(ctx context.Context, g model.Gradients, b *Batch, clean *tensor.Tensor, rival int) ([]float64, *tensor.Tensor, error) {
	n, k := b.X.Rows(), clean.RowLen()
	w := tensor.New(n, 1, k)
	lead := make([]float64, n)
	for i, y := range b.Labels {
		w.Row(i)[rival]++
		w.Row(i)[y]--
		lead[i] = float64(clean.Row(i)[rival]) - float64(clean.Row(i)[y])
	}
	_, slope, err := g.Gradient(ctx, b.X, &model.Objective{Loss: model.Constraints, Labels: b.Labels, W: w, B: tensor.New(n, 1)})
	if err != nil {
		return nil, nil, err
	}
	return lead, slope.Clone(), nil
}

// cross tries a point of each sample beyond the boundary with a rival.
func (Linear) cross(ctx context.Context, m model.Scores, b *Batch, found *nearest, rival int, lead []float64, slope *tensor.Tensor, factor float64) error {
	x := b.X.Clone()
	d := make([]float32, x.RowLen())
	for i, y := range b.Labels {
		if rival == y || b.Targets != nil && b.Targets[i] != rival {
			continue
		}
		// A little further than the boundary, for float32's sake.
		excess := lead[i]*factor*(1+1e-4) - 1e-6
		if err := b.toward(d, i, slope.Row(i), excess); err != nil {
			return err
		}
		for j := range d {
			x.Row(i)[j] += d[j]
		}
		if b.Rules != nil {
			b.keep(x.Row(i), i)
		} else {
			b.Norm.Project(x.Row(i), b.X.Row(i), b.Eps[i], b.Box)
		}
	}
	z, err := m.Scores(ctx, x)
	if err != nil {
		return err
	}
	for i := range b.Labels {
		found.offer(i, x.Row(i), z.Row(i))
	}
	return nil
}

// toward writes to d the smallest move of sample row that takes a function of
// slope w down by excess, within what each element may do.
func (b *Batch) toward(d []float32, row int, w []float32, excess float64) error {
	x := b.X.Row(row)
	box := Box{Lo: make([]float32, len(x)), Hi: make([]float32, len(x))}
	for j, v := range x {
		box.Lo[j], box.Hi[j] = b.Box.At(j)
		if b.Rules != nil {
			lo, hi := b.Rules.Reach(j, v, b.room(row))
			box.Lo[j], box.Hi[j] = max(lo, box.Lo[j]), min(hi, box.Hi[j])
		}
	}
	if b.Norm != L0 {
		return toHyperplane(b.Norm, d, x, w, excess, box, new([]bend))
	}
	clear(d)
	gains, _ := linear(x, x, w, box)
	for _, e := range gains {
		if excess >= 0 {
			break
		}
		lo, hi := box.At(e.j)
		if d[e.j] = hi - x[e.j]; w[e.j] < 0 {
			d[e.j] = lo - x[e.j]
		}
		excess += e.worth
	}
	return nil
}
