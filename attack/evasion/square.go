package evasion

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var square = &Spec{
	Name:      "square",
	Doc:       "Square attack\n\nRandom search over square patches at the edge of the Linf ball, guided by scores alone. It needs no gradients, and so is not misled by them.",
	Paper:     "Andriushchenko et al. 2020, arXiv 1912.00049",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{Linf},
	New:       func(s Settings) Attack { return Square{Queries: or(s.Queries, 500)} },
}

// Square is the Linf square attack. On inputs that are not images it changes
// runs of neighbouring features.
type Square struct {
	Queries int // answers a sample; 0 means 500
}

// Perturb returns for each sample its best point.
func (a Square) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if b.Norm != Linf {
		return nil, fmt.Errorf("attack square works in linf, not %s", b.Norm.Name())
	}
	s := squareSearch{
		plane: planeOf(b.X.Shape[1:]),
		best:  make([]float64, b.X.Rows()),
		rng:   make([]*rand.Rand, b.X.Rows()),
		point: b.X.Clone(),
	}
	objective := b.objective(model.Margin)
	w := walk{b: b, out: s.point, rows: b.every(), objective: objective}
	x, err := model.Input(m, len(w.rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	w.x = x
	queries := or(a.Queries, 500)
	for q := range queries {
		for slot, row := range w.rows {
			if q == 0 {
				s.rng[row], s.best[row] = b.stream("square", row, 0), math.Inf(-1)
				s.stripes(w.x.Row(slot), b, row)
			} else {
				s.patch(w.x.Row(slot), b, row, q)
			}
			b.Norm.Project(w.x.Row(slot), b.X.Row(row), b.Eps[row], b.Box)
		}
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		for slot, row := range w.rows {
			if v := objective.Value(row, logits.Row(slot)); v > s.best[row] {
				s.best[row] = v
				copy(s.point.Row(row), w.x.Row(slot))
			}
		}
		if w.standing(logits); len(w.rows) == 0 {
			break
		}
	}
	return s.point, nil
}

// squareSearch is the state of a random search, a row a sample.
type squareSearch struct {
	plane plane
	best  []float64
	rng   []*rand.Rand
	point *tensor.Tensor
}

// plane says where channel c of pixel (i, j) stands in a sample.
type plane struct{ channels, height, width, dc, di, dj int }

// planeOf reads a sample's shape: [C, H, W]; [H, W, C] where only the last
// dimension is small enough to be channels; anything else is one row.
func planeOf(shape []int) plane {
	switch {
	case len(shape) == 3 && shape[2] <= 4 && shape[0] > 4:
		h, w, c := shape[0], shape[1], shape[2]
		return plane{c, h, w, 1, w * c, c}
	case len(shape) == 3 && shape[1] > 1 && shape[2] > 1:
		c, h, w := shape[0], shape[1], shape[2]
		return plane{c, h, w, h * w, w, 1}
	}
	n := tensor.Len(shape)
	return plane{1, 1, n, n, n, 1}
}

// stripes starts a sample from vertical stripes of random sign.
func (s *squareSearch) stripes(x []float32, b *Batch, row int) {
	copy(x, b.X.Row(row))
	p := s.plane
	for c := range p.channels {
		for j := range p.width {
			d := s.sign(row) * float32(b.Eps[row])
			for i := range p.height {
				x[c*p.dc+i*p.di+j*p.dj] += d
			}
		}
	}
}

// patch moves a square of the best point by twice the radius, each channel one
// way, so that projection puts it on the edge of the ball.
func (s *squareSearch) patch(x []float32, b *Batch, row, q int) {
	copy(x, s.point.Row(row))
	p, rng := s.plane, s.rng[row]
	area := share(q) * float64(p.height*p.width)
	h := min(max(int(math.Round(math.Sqrt(area))), 1), p.height)
	w := h
	if p.height == 1 {
		w = min(max(int(math.Round(area)), 1), p.width)
	}
	w = min(w, p.width)
	top, left := rng.IntN(p.height-h+1), rng.IntN(p.width-w+1)
	for c := range p.channels {
		d := s.sign(row) * float32(2*b.Eps[row])
		for i := top; i < top+h; i++ {
			for j := left; j < left+w; j++ {
				x[c*p.dc+i*p.di+j*p.dj] += d
			}
		}
	}
}

func (s *squareSearch) sign(row int) float32 {
	if s.rng[row].Uint64()&1 == 0 {
		return -1
	}
	return 1
}

// share is the part of the pixels that query q changes: 0.8, halved at the
// queries that the paper's schedule for 10,000 names.
func share(q int) float64 {
	p := 0.8
	for _, at := range [...]int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if q > at {
			p /= 2
		}
	}
	return p
}
