package evasion

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var deepfool = &Spec{
	Name:      "deepfool",
	Doc:       "DeepFool\n\nWalks to the nearest of the ten likeliest decision boundaries as if each were flat. A quick measure of how far away errors are.",
	Paper:     "Moosavi-Dezfooli, Fawzi and Frossard 2016, arXiv 1511.04599",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L2, Linf},
	New:       func(s Settings) Attack { return DeepFool{Steps: s.Steps} },
}

// DeepFool looks for the smallest perturbation in L2 or Linf (Moosavi-Dezfooli
// et al. 2016, algorithm 2). Against a target, which the paper does not have,
// the one boundary it walks to is that of the target and the class that is
// then the highest other.
type DeepFool struct {
	Steps     int     // 0 means 50
	Overshoot float64 // how far beyond the boundary, a share of the way; 0 means 0.02
	Classes   int     // classes whose boundaries are looked at, likeliest first, the label's own included; 0 means 10
}

// Perturb returns for each sample the first successful point if it lies in the
// ball, else the sample itself.
func (a DeepFool) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "deepfool")
	if err == nil {
		err = only(b, "deepfool", L2, Linf)
	}
	if err != nil {
		return nil, err
	}
	x, err := model.Input(m, b.X.Rows(), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	copy(x.Data, b.X.Data)
	logits, err := m.Scores(ctx, x)
	if err != nil {
		return nil, err
	}
	found := b.nearest()
	faces := b.faces(logits, or(a.Classes, 10))
	planes := make([]facet, b.X.Rows())
	total := tensor.New(b.X.Shape...)
	w := walk{b: b, x: x, out: found.x, rows: b.every(), objective: found.goal}
	for i := 0; i < or(a.Steps, 50) && len(w.rows) > 0; i++ {
		for _, face := range faces {
			if len(w.rows) == 0 {
				break
			}
			logits, grad, err := g.Gradient(ctx, w.x, face.Select(w.rows))
			if err != nil {
				return nil, err
			}
			for _, slot := range w.standing(logits) {
				row := w.rows[slot.now]
				planes[row].closer(b.Norm, face.Value(row, logits.Row(slot.was)), grad.Row(slot.was))
			}
		}
		for slot, row := range w.rows {
			planes[row].cross(b.Norm, total.Row(row))
			a.place(w.x.Row(slot), b, row, total.Row(row))
		}
	}
	for slot, row := range w.rows {
		copy(found.x.Row(row), w.x.Row(slot))
	}
	return found.measured(), nil
}

// place puts x beyond the boundaries crossed so far.
func (a DeepFool) place(x []float32, b *Batch, row int, total []float32) {
	beyond := a.Overshoot
	if beyond == 0 {
		beyond = 0.02
	}
	for j, v := range b.X.Row(row) {
		x[j] = v + float32(1+beyond)*total[j]
	}
	b.Box.Clip(x)
}

// measured takes the points as they are and returns those in the ball.
func (n *nearest) measured() *tensor.Tensor {
	n.measure = n.b.Norm.Size
	for row := range n.size {
		n.size[row] = n.distance(row, n.x.Row(row))
	}
	return n.inside()
}

// faces are the functions whose zeros bound each sample's class: z_k - z_y for
// the likeliest other classes k. Objective f is the f-th likeliest of each.
func (b *Batch) faces(logits *tensor.Tensor, classes int) []*model.Objective {
	if b.Targets != nil {
		return []*model.Objective{b.objective(model.Margin)}
	}
	n, k := b.X.Rows(), logits.Shape[1]
	faces := make([]*model.Objective, min(classes, k)-1)
	for f := range faces {
		faces[f] = &model.Objective{Loss: model.Constraints, W: tensor.New(n, 1, k), B: tensor.New(n, 1)}
	}
	for row, y := range b.Labels {
		z := logits.Row(row)
		var others []int
		for c := range k {
			if c != y {
				others = append(others, c)
			}
		}
		slices.SortStableFunc(others, func(i, j int) int { return cmp.Compare(z[j], z[i]) })
		for f, face := range faces {
			face.W.Row(row)[others[f]], face.W.Row(row)[y] = 1, -1
		}
	}
	return faces
}

// facet is the closest boundary of a sample seen from where it stands, taken
// for a hyperplane.
type facet struct {
	known  bool
	away   float64 // distance
	size   float64 // of the normal, in L2
	normal []float32
}

// closer enters a boundary: a function's value and gradient.
func (p *facet) closer(n Norm, value float64, g []float32) {
	steep := dual(n).Size(g)
	if !usable(steep) {
		return
	}
	if away := math.Abs(value) / steep; !p.known || away < p.away {
		p.known, p.away, p.size = true, away, steep
		p.normal = append(p.normal[:0], g...)
	}
}

// cross adds the shortest way to the boundary to d, and 1e-4 as the authors'
// code does, so that a sample on the boundary moves; then it forgets it.
func (p *facet) cross(n Norm, d []float32) {
	if !p.known {
		return
	}
	p.known = false
	way := p.away + 1e-4
	for j, v := range p.normal {
		switch {
		case n == L2:
			d[j] += float32(way / p.size * float64(v))
		case v > 0:
			d[j] += float32(way)
		case v < 0:
			d[j] -= float32(way)
		}
	}
}
