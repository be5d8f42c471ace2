package evasion

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var simba = &Spec{
	Name:      "simba",
	Doc:       "Simple black-box attack, element by element\n\nTries one input element after another, a little less and a little more, and keeps what helps. Sees scores only.",
	Paper:     "Guo et al. 2019, arXiv 1905.07121",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return SimBA{Queries: s.Queries, Step: s.Step} },
}

var simbaDCT = &Spec{
	Name:      "simba-dct",
	Doc:       "Simple black-box attack, frequency by frequency\n\nAs simba, but with the cosine waves of the image, low frequencies first: fewer queries on natural images.",
	Paper:     "Guo et al. 2019, arXiv 1905.07121",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return SimBA{DCT: true, Queries: s.Queries, Step: s.Step} },
}

// SimBA is the coordinate search of Guo et al. 2019, algorithm 1, with points
// outside the ball brought back to it. It stops at the first success. When every
// direction has been tried it begins anew in another order.
type SimBA struct {
	DCT     bool    // cosine waves instead of single elements
	Queries int     // answers a sample; 0 means 5,000
	Step    float64 // in units of the input; 0 means 0.2
}

// Perturb returns for each sample its best point.
func (a SimBA) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	out := b.X.Clone()
	goal := b.objective(model.CrossEntropy)
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		c := &coordinates{SimBA: a, plane: planeOf(b.X.Shape[1:]), rng: b.stream(a.name(), row, 0)}
		x, try := out.Row(row), make([]float32, b.X.RowLen())
		best := math.Inf(-1)
		// better asks about a point and keeps it if it is the best.
		left := or(a.Queries, 5000)
		better := func(p []float32) (kept, done bool) {
			if left--; left < 0 {
				return false, true
			}
			z := ask(p)
			if z == nil {
				return false, true
			}
			won, v := goal.Reached(row, z.Row(0)), goal.Value(row, z.Row(0))
			if kept = won || v > best; kept {
				best = v
				copy(x, p)
			}
			return kept, won
		}
		copy(try, x)
		_, done := better(try)
		for !done {
			wave := c.next()
			for _, step := range [...]float64{-orFloat(a.Step, 0.2), orFloat(a.Step, 0.2)} {
				copy(try, x)
				for j, v := range wave {
					try[j] += float32(step) * v
				}
				b.Norm.Project(try, b.X.Row(row), b.Eps[row], b.Box)
				var kept bool
				if kept, done = better(try); kept || done {
					break
				}
			}
		}
	})
	return out, err
}

func (a SimBA) name() string {
	if a.DCT {
		return "simba-dct"
	}
	return "simba"
}

// coordinates deals out the directions of an orthonormal basis in random order.
type coordinates struct {
	SimBA
	plane plane
	rng   *rand.Rand
	order []int
	wave  []float32
	at    int // the element of wave that is not zero, of single elements
}

// next is the next direction; it holds until the one after.
func (c *coordinates) next() []float32 {
	p := c.plane
	n := p.channels * p.height * p.width
	if c.wave == nil {
		c.wave = make([]float32, n)
	}
	if len(c.order) == 0 {
		c.order = c.rng.Perm(n)
		if c.DCT {
			slices.SortStableFunc(c.order, func(i, j int) int { return cmp.Compare(c.ring(i), c.ring(j)) })
		}
	}
	k := c.order[0]
	c.order = c.order[1:]
	if !c.DCT {
		c.wave[c.at] = 0
		c.wave[k], c.at = 1, k
		return c.wave
	}
	clear(c.wave)
	channel, u, v := c.frequency(k)
	rows, columns := cosine(u, p.height), cosine(v, p.width)
	for i, a := range rows {
		for j, b := range columns {
			c.wave[channel*p.dc+i*p.di+j*p.dj] = float32(a * b)
		}
	}
	return c.wave
}

// frequency is the channel and the wave numbers of basis vector k.
func (c *coordinates) frequency(k int) (channel, u, v int) {
	area := c.plane.height * c.plane.width
	return k / area, k % area / c.plane.width, k % c.plane.width
}

// ring orders frequencies as the authors do: the lowest eighth of each
// dimension first, then rings of a 32nd.
func (c *coordinates) ring(k int) int {
	_, u, v := c.frequency(k)
	return max(ring(u, c.plane.height), ring(v, c.plane.width))
}

func ring(u, n int) int {
	first, stride := max(n/8, 1), max(n/32, 1)
	return max(0, (u-first+stride)/stride)
}

// cosine is wave u of the orthonormal DCT-II of n points.
func cosine(u, n int) []float64 {
	w, scale := make([]float64, n), math.Sqrt(2/float64(n))
	if u == 0 {
		scale = math.Sqrt(1 / float64(n))
	}
	for i := range w {
		w[i] = scale * math.Cos(math.Pi*float64((2*i+1)*u)/float64(2*n))
	}
	return w
}
