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
	Doc:       "Square attack\n\nRandom search over square patches at the edge of the ball, guided by scores alone. It needs no gradients, and so is not misled by them.",
	Paper:     "Andriushchenko et al. 2020, arXiv 1912.00049",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{Linf, L2, L1},
	New:       func(s Settings) Attack { return Square{Queries: or(s.Queries, 500), Restarts: s.Restarts} },
}

// Square is the square attack, with the schedule of the paper for 10,000
// queries however many are allowed, as in AutoAttack. On inputs that are not
// images it changes runs of neighbouring features.
type Square struct {
	Queries  int // answers a sample in each run, the starting point's included; 0 means 500
	Restarts int // runs, each on the samples still standing; 0 means 1
}

// proposal is how the search moves in one norm. It has a sample's own stream.
type proposal interface {
	// start moves x, which is the sample, to where the search begins.
	start(rng *rand.Rand, x, origin []float32, eps float64)
	// change moves x, the best point so far, over a share of the pixels.
	change(rng *rand.Rand, x, origin []float32, eps, share float64)
}

// Perturb returns for each sample the best point of its last run.
func (a Square) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	var p proposal
	plane := planeOf(b.X.Shape[1:])
	switch b.Norm {
	case Linf:
		p = patches{plane}
	case L2, L1:
		p = windows{plane: plane, norm: b.Norm, d: make([]float32, b.X.RowLen())}
	default:
		return nil, fmt.Errorf("attack square does not work in %s: use another attack or norm", b.Norm.Name())
	}
	out, rows := b.X.Clone(), b.every()
	for r := range max(a.Restarts, 1) {
		var err error
		if rows, err = a.run(ctx, m, b, p, out, rows, r); err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			break
		}
	}
	return out, nil
}

// run searches once for the given rows, writes what it found to out and
// returns the rows still standing.
func (a Square) run(ctx context.Context, m model.Scores, b *Batch, p proposal, out *tensor.Tensor, rows []int, restart int) ([]int, error) {
	x, err := model.Input(m, len(rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	objective := b.objective(model.Margin)
	w := walk{b: b, x: x, out: out, rows: rows, objective: objective}
	best, rng := make([]float64, b.X.Rows()), make([]*rand.Rand, b.X.Rows())
	for q := range or(a.Queries, 500) {
		for slot, row := range w.rows {
			x, origin := w.x.Row(slot), b.X.Row(row)
			if q == 0 {
				rng[row], best[row] = b.stream("square", row, restart), math.Inf(-1)
				copy(x, origin)
				p.start(rng[row], x, origin, b.Eps[row])
			} else {
				copy(x, out.Row(row))
				p.change(rng[row], x, origin, b.Eps[row], share(q-1))
			}
			b.Norm.Project(x, origin, b.Eps[row], b.Box)
		}
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		for slot, row := range w.rows {
			if v := objective.Value(row, logits.Row(slot)); v > best[row] || q == 0 {
				best[row] = v
				copy(out.Row(row), w.x.Row(slot))
			}
		}
		if w.standing(logits); len(w.rows) == 0 {
			break
		}
	}
	return w.rows, nil
}

// share is the part of the pixels that proposal i changes: 0.8, halved at the
// proposals that the paper's schedule for 10,000 names.
func share(i int) float64 {
	p := 0.8
	for _, at := range [...]int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if i > at {
			p /= 2
		}
	}
	return p
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

// at is the element of channel c of pixel (i, j).
func (p plane) at(c, i, j int) int { return c*p.dc + i*p.di + j*p.dj }

// window is a rectangle of pixels.
type window struct{ top, left, height, width int }

// window draws a square of a side, or as much of it as fits; in a row, a run of
// that length. As in the reference the last place of a square is never drawn.
func (p plane) window(rng *rand.Rand, side int) window {
	if p.height == 1 {
		n := min(side, p.width)
		return window{0, rng.IntN(p.width - n + 1), 1, n}
	}
	n := min(side, p.height, p.width)
	return window{rng.IntN(max(p.height-n, 1)), rng.IntN(max(p.width-n, 1)), n, n}
}

// side is that of a square with a share of the pixels, or the length of a run.
func (p plane) side(share float64) int {
	area := share * float64(p.height*p.width)
	if p.height == 1 {
		return int(math.RoundToEven(area))
	}
	return int(math.RoundToEven(math.Sqrt(area)))
}

func sign(rng *rand.Rand) float32 {
	if rng.Uint64()&1 == 0 {
		return -1
	}
	return 1
}

// patches is the search in Linf, at the corners of the ball.
type patches struct{ plane }

// start draws vertical stripes of random sign.
func (p patches) start(rng *rand.Rand, x, _ []float32, eps float64) {
	for c := range p.channels {
		for j := range p.width {
			d := sign(rng) * float32(eps)
			for i := range p.height {
				x[p.at(c, i, j)] += d
			}
		}
	}
}

// change moves a square by twice the radius, each channel one way, so that
// projection puts it on the edge of the ball.
func (p patches) change(rng *rand.Rand, x, _ []float32, eps, share float64) {
	w := p.window(rng, max(p.side(share), 1))
	for c := range p.channels {
		d := sign(rng) * float32(2*eps)
		for i := w.top; i < w.top+w.height; i++ {
			for j := w.left; j < w.left+w.width; j++ {
				x[p.at(c, i, j)] += d
			}
		}
	}
}
