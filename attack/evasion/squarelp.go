package evasion

import (
	"math"
	"math/rand/v2"
)

// windows is the square search in L2 and L1 (Andriushchenko et al. 2020,
// algorithm 3, and its L1 form in AutoAttack): the budget of two windows goes
// to one of them, in the shape of a pair of pyramids.
type windows struct {
	plane
	norm Norm
	d    []float32 // scratch: the perturbation
}

// start tiles the middle of the image with pyramids of random sign, five in
// each direction.
func (p windows) start(rng *rand.Rand, x, origin []float32, eps float64) {
	clear(p.d)
	side := max(p.height/5, 1)
	first := window{(p.height - 5*side) / 2, (p.width - 5*side) / 2, side, side}
	if p.height == 1 {
		side = max(p.width/5, 1)
		first = window{0, (p.width - 5*side) / 2, 1, side}
	}
	first.top, first.left = max(first.top, 0), max(first.left, 0)
	for top := first.top; top+first.height <= p.height; top += first.height {
		for left := first.left; left+side <= p.width; left += side {
			w := window{top, left, first.height, side}
			shape := p.pyramids(rng, w)
			for c := range p.channels {
				s := float64(sign(rng))
				p.each(w, c, func(k, at int) { p.d[at] = float32(s * shape[k]) })
			}
		}
	}
	p.apply(x, origin, eps)
}

// change takes what two windows hold, and what is left of the radius, and
// spends it on the first.
func (p windows) change(rng *rand.Rand, x, origin []float32, eps, share float64) {
	for j, v := range x {
		p.d[j] = v - origin[j]
	}
	side := max(p.side(share), 3)
	if side%2 == 0 {
		side++
	}
	to, from := p.window(rng, side), p.window(rng, side)
	shape := p.pyramids(rng, to)
	left := p.left(eps) / float64(p.channels)
	for c := range p.channels {
		had := p.sum(to, c)
		both := had + p.sum(from, c) - p.overlap(to, from, c)
		s, k := float64(sign(rng)), 1/(1e-12+p.root(had))
		fresh, total := make([]float64, len(shape)), 0.0
		p.each(to, c, func(i, at int) {
			fresh[i] = s*shape[i] + k*float64(p.d[at])
			total += p.part(fresh[i])
		})
		scale := p.root(left+both) / (1e-12 + p.root(total))
		if p.norm == L1 {
			// The reference's factor: it only overshoots before projection.
			scale *= float64(p.channels)
		}
		p.each(from, c, func(_, at int) { p.d[at] = 0 })
		p.each(to, c, func(i, at int) { p.d[at] = float32(scale * fresh[i]) })
	}
	p.apply(x, origin, eps)
}

// part is what an element adds to the size of a perturbation, before the root.
func (p windows) part(v float64) float64 {
	if p.norm == L1 {
		return math.Abs(v)
	}
	return v * v
}

func (p windows) root(sum float64) float64 {
	if p.norm == L1 {
		return sum
	}
	return math.Sqrt(sum)
}

// left is how much of the radius the perturbation does not use.
func (p windows) left(eps float64) float64 {
	size := 0.0
	for _, v := range p.d {
		size += p.part(float64(v))
	}
	return math.Max(p.part(eps)-size, 0)
}

// sum is the size of one channel in a window.
func (p windows) sum(w window, c int) float64 {
	total := 0.0
	p.each(w, c, func(_, at int) { total += p.part(float64(p.d[at])) })
	return total
}

func (p windows) overlap(v, w window, c int) float64 {
	top, left := max(v.top, w.top), max(v.left, w.left)
	both := window{top, left, min(v.top+v.height, w.top+w.height) - top, min(v.left+v.width, w.left+w.width) - left}
	return p.sum(both, c)
}

// each visits the elements of one channel in a window, row by row.
func (p windows) each(w window, c int, visit func(k, at int)) {
	k := 0
	for i := w.top; i < w.top+w.height; i++ {
		for j := w.left; j < w.left+w.width; j++ {
			visit(k, p.at(c, i, j))
			k++
		}
	}
}

// apply puts x where the perturbation says, for the caller to project: clipping
// here would change the projection in L1. In L2 it is scaled to the radius.
func (p windows) apply(x, origin []float32, eps float64) {
	k := 1.0
	if p.norm == L2 {
		k = eps / (p.norm.Size(p.d) + 1e-12)
	}
	for j, d := range p.d {
		x[j] = origin[j] + float32(k*float64(d))
	}
}

// pyramids is the shape of a window, row by row, of size 1: one half rises to
// a peak, the other falls to one. A square is halved across or along, by
// chance.
func (p windows) pyramids(rng *rand.Rand, w window) []float64 {
	out := make([]float64, w.height*w.width)
	along := w.height == 1 || rng.Uint64()&1 == 0
	rows, columns := w.height, w.width
	if along {
		rows, columns = columns, rows
	}
	place := func(i, j int) int { // of row i of the halves, and column j
		if along {
			return j*w.width + i
		}
		return i*w.width + j
	}
	half := rows / 2
	for part, n := range [2]int{half, rows - half} {
		peak := p.pyramid(n, columns)
		for k, v := range peak {
			at := place(part*half+k/columns, k%columns)
			out[at] = v
			if part == 1 {
				out[at] = -v
			}
		}
	}
	return p.unit(out)
}

// pyramid is a heap of rectangles around the middle, ever wider and ever
// thinner: 1/k^2 in L2, 1/k^4 in L1.
func (p windows) pyramid(rows, columns int) []float64 {
	out := make([]float64, rows*columns)
	for k := range max(rows/2, columns/2) + 1 {
		height := 1 / float64((k+1)*(k+1))
		if p.norm == L1 {
			height *= height
		}
		for i := max(rows/2-k, 0); i < min(rows/2+k+1, rows); i++ {
			for j := max(columns/2-k, 0); j < min(columns/2+k+1, columns); j++ {
				out[i*columns+j] += height
			}
		}
	}
	return p.unit(out)
}

// unit scales to size 1.
func (p windows) unit(v []float64) []float64 {
	total := 0.0
	for _, u := range v {
		total += p.part(u)
	}
	if size := p.root(total); size > 0 {
		for j := range v {
			v[j] /= size
		}
	}
	return v
}
