package account

import (
	"math"
	"slices"
)

// lattice is a privacy loss whose values are index·h - shift, with the logarithms
// of their probabilities under P, and the probability of failing outright.
type lattice struct {
	h      float64
	index  []int
	log    []float64
	shift  float64
	failed float64
}

// fine and rough say how far apart the points of a ladder may be: by a 128th and a
// 32nd of their value.
const fine, rough = 7, 5

// ladder is the grid points from lo to hi: all of them near 0, and further out
// every second, fourth, ..., as what matters is the distance in proportion; but
// where Q is less by a factor of exp(1/2) at the next point, only at a distance of
// an eighth as much in proportion.
func ladder(lo, hi, h float64, fine int) []int {
	half := int(math.Min(0.5/h, 1e15))
	step := func(i int) int { return max(1, min(i>>fine, max(half, i>>(fine+3)))) }
	var below, above []int
	at := func(v float64) int { return int(math.Max(-1e15, math.Min(1e15, v))) }
	first, last := at(math.Floor(lo/h)), at(math.Ceil(hi/h))
	for i := 0; ; i += step(i) {
		above = append(above, i)
		if i >= last {
			break
		}
	}
	for i := step(0); ; i += step(i) {
		below = append(below, -i)
		if -i <= first {
			break
		}
	}
	slices.Reverse(below)
	grid := append(below, above...)
	from, _ := slices.BinarySearch(grid, first+1)
	to, _ := slices.BinarySearch(grid, last)
	return grid[max(from-1, 0):min(to+1, len(grid))]
}

// split divides outcomes of probability p under P and q under Q, whose losses lie
// between two values, between those two, keeping both probabilities. It spreads
// exp(-L) without moving its mean, so every profile can only rise: this is how
// the points of the profile are connected by lines (Doroshenko, Ghazi, Kamath,
// Kumar and Manurangsi 2022, arXiv 2207.04380), computed without differences of
// the profile itself.
func split(p, q, low, high float64) (atLow, atHigh float64) {
	if low >= high || low > 600 || low < -600 {
		return 0, p
	}
	atHigh = max(0, min(p, (p-q*math.Exp(low))/-math.Expm1(low-high)))
	return p - atHigh, atHigh
}

// discretise approximates a loss on the grid of spacing h from above and below.
func discretise(l loss, h float64) (upper, lower *lattice) {
	up, down := newBins(), newBins()
	shift := roundAtoms(l.atoms(), h, up, down)
	if lo, hi := l.bounds(); lo <= hi {
		grid := ladder(lo, hi, h, fine)
		both(
			func() { above(l, grid, h, up) },
			func() { below(l, grid, h, shift, down) },
		)
	}
	return up.lattice(h, 0), down.lattice(h, shift)
}

// roundAtoms puts atoms on the grid: from above they are split, from below they
// are rounded down to a grid that is moved down by shift, as moving all by a little
// costs less than moving one by a whole step.
func roundAtoms(atoms []atom, h float64, up, down *bins) (shift float64) {
	var finite []atom
	for _, a := range atoms {
		if math.IsInf(a.loss, 1) {
			up.failed += a.p
			down.failed += a.p
			continue
		}
		finite = append(finite, a)
	}
	var grid []int
	if len(finite) > manyAtoms {
		grid = ladder(finite[0].loss, finite[len(finite)-1].loss, h, fine)
	}
	for _, a := range finite {
		i := int(math.Floor(a.loss/h + exactly))
		j := i + 1
		if grid != nil {
			k, _ := slices.BinarySearch(grid, j)
			i, j = grid[max(k-1, 0)], grid[min(k, len(grid)-1)]
		}
		low, high := a.p, 0.0
		if v := float64(i) * h; a.loss-v > exactly*h {
			low, high = split(a.p, a.p*math.Exp(-a.loss), v, float64(j)*h)
		}
		up.add(i, low)
		up.add(j, high)
	}
	finite = merge(finite, h)
	best, shift := math.Inf(1), exactly*h
	for s := shift; s < h; s *= 2 {
		cost := 0.0
		for _, a := range finite {
			cost += a.p * (a.loss - math.Floor((a.loss+s)/h)*h + s)
		}
		if cost < best {
			best, shift = cost, s
		}
	}
	for _, a := range finite {
		down.add(int(math.Floor((a.loss+shift)/h)), a.p)
	}
	return shift
}

// manyAtoms is how many are kept apart. More are put together like a continuous
// loss, on the points of a ladder.
const manyAtoms = 4096

// merge puts together neighbours, where there are many, into outcomes of their
// common loss: post-processing, as in below.
func merge(atoms []atom, h float64) []atom {
	if len(atoms) <= manyAtoms {
		return atoms
	}
	grid := ladder(atoms[0].loss, atoms[len(atoms)-1].loss, h, fine)
	var out []atom
	for k, i := 0, 0; i < len(atoms); {
		var p, q float64
		for ; k < len(grid) && float64(grid[k])*h <= atoms[i].loss; k++ {
		}
		for ; i < len(atoms) && (k == len(grid) || atoms[i].loss < float64(grid[k])*h); i++ {
			p, q = p+atoms[i].p, q+atoms[i].p*math.Exp(-atoms[i].loss)
		}
		out = append(out, atom{math.Log(p / q), p})
	}
	return out
}

// exactly is how near to a point of the grid is on it, in steps.
const exactly = 1e-8

// above discretises the continuous part from above: what lies between two points
// is split between them, the lower tail goes to the first point, and the upper
// tail fails.
func above(l loss, grid []int, h float64, up *bins) {
	at := func(j int) float64 { return float64(grid[j]) * h }
	p, _ := l.between(math.Inf(-1), at(0))
	up.add(grid[0], p)
	for j := 1; j < len(grid); j++ {
		p, q := l.between(at(j-1), at(j))
		low, high := split(p, q, at(j-1), at(j))
		up.add(grid[j-1], low)
		up.add(grid[j], high)
	}
	p, _ = l.between(at(len(grid)-1), math.Inf(1))
	up.failed += p
}

// below discretises it from below: outcomes are merged into cells, which is
// post-processing, so long that the loss of each cell lies on a point of the grid.
// In terms of the profile these are tangents that meet above points of the grid.
func below(l loss, grid []int, h, shift float64, down *bins) {
	at := func(j int) float64 { return float64(grid[j])*h - shift + exactly*h }
	start := math.Inf(-1)
	for j := 0; j < len(grid); j++ {
		near := float64(0)
		if j > 0 {
			near = (at(j) - at(j-1)) / 16 // a cell that would be tiny is not worth it
		}
		if at(j) <= start+near {
			continue
		}
		if end, p := cell(l, start, at(j), h); p > 0 {
			down.add(grid[j], p)
			start = end
		} else if p, q := l.between(start, math.Inf(1)); !(math.Log(p/q) >= at(j)) {
			break // all that is left is worth less together
		}
	}
	// What is left has no point above it, and is rounded down. The far tail is
	// forgotten: it would be of no account but under a tilt.
	p, q := l.between(start, math.Inf(1))
	if p < 1e-36 {
		return
	}
	loss := start
	if m := math.Log(p / q); !math.IsInf(m, 0) && !math.IsNaN(m) {
		loss = m
	}
	if !math.IsInf(loss, 0) {
		down.add(int(math.Floor((loss+shift)/h)), p)
	}
}

// cell finds where the outcomes from start on must end so that they are worth a
// loss of at least want and hardly more together, and what probability they have;
// 0 if there are none.
func cell(l loss, start, want, h float64) (end, p float64) {
	const near = 1e-5 // of a step, above what is wanted: below would be no bound
	aim := want + near*h/2
	low, high := want, math.Inf(1)
	step := h
	if !math.IsInf(start, -1) {
		step = want - start
	}
	end = want + step
	slope, last := 0.5, math.NaN() // of the worth by the end, which is half where the density is even
	for range 50 {
		mass, q := l.between(start, end)
		worth := math.Log(mass / q)
		if worth >= want {
			if high, p = end, mass; worth-want <= near*h {
				break
			}
		} else { // or nothing is there yet
			low = end
		}
		if s := (worth - last) / step; s > 0 && !math.IsInf(s, 1) {
			slope = s // the secant: far out, worth rises ever slower
		}
		last = worth
		next := end + (aim-worth)/slope
		if !(next > low && next < high) {
			if next = (low + high) / 2; math.IsInf(high, 1) {
				next = low + 2*(low-want) + h
			}
		}
		step, end = next-end, next
	}
	return high, p
}

// bins gathers probabilities by index.
type bins struct {
	index  []int
	mass   []float64
	at     map[int]int
	failed float64
}

func newBins() *bins { return &bins{at: map[int]int{}} }

func (b *bins) add(i int, p float64) {
	if p <= 0 {
		return
	}
	k, ok := b.at[i]
	if !ok {
		k = len(b.index)
		b.at[i] = k
		b.index, b.mass = append(b.index, i), append(b.mass, 0)
	}
	b.mass[k] += p
}

func (b *bins) lattice(h, shift float64) *lattice {
	logs := make([]float64, len(b.mass))
	for i, m := range b.mass {
		logs[i] = math.Log(m)
	}
	return &lattice{h, b.index, logs, shift, b.failed}
}

// pessimistic is a loss as atoms, from above, at a spacing that is fine for its
// own range: for sums over the loss, not for composition. Few atoms stay as they
// are.
func pessimistic(l loss) []atom {
	out := l.atoms()
	lo, hi := l.bounds()
	if lo > hi && len(out) <= manyAtoms {
		return out
	}
	up := newBins()
	if len(out) > manyAtoms {
		h := max(-out[0].loss, out[len(out)-1].loss) / (1 << 20)
		roundAtoms(out, h, up, newBins())
		return up.atoms(h)
	}
	h := max(hi, -lo) / (1 << 20)
	above(l, ladder(lo, hi, h, fine), h, up)
	return append(out, up.atoms(h)...)
}

func (b *bins) atoms(h float64) []atom {
	var out []atom
	for i, m := range b.mass {
		out = append(out, atom{float64(b.index[i]) * h, m})
	}
	if b.failed > 0 {
		out = append(out, atom{math.Inf(1), b.failed})
	}
	return out
}
