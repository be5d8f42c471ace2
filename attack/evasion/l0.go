package evasion

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// l0 counts elements: of an image every channel of every pixel, as the
// benchmarks of sparse attacks do (AttackBench; sigma-zero, arXiv 2402.01879).
// A radius of 10.7 allows ten of them.
type l0 struct{}

func (l0) Name() string { return "l0" }

func (l0) Size(d []float32) float64 {
	n := 0
	for _, v := range d {
		if v != 0 {
			n++
		}
	}
	return float64(n)
}

// allowed is how many of n elements a radius lets change.
func allowed(eps float64, n int) int {
	return int(math.Floor(math.Max(0, math.Min(eps, float64(n)))))
}

// Project keeps the changes whose undoing would cost most, clipped into the
// box, and takes the others back. Element j costs (v-o)^2 undone and (v-c)^2
// clipped to c; the k largest differences make the nearest point (Croce and
// Hein 2019, arXiv 1909.05040, section 3.1).
func (l0) Project(x, origin []float32, eps float64, box Box) {
	box.keepRules(x, origin, math.Inf(1))
	var changed []element
	for j, v := range x {
		lo, hi := box.At(j)
		x[j] = min(max(v, lo), hi)
		if x[j] != origin[j] {
			o, c := float64(origin[j]), float64(x[j])
			changed = append(changed, element{j, (c - o) * (2*float64(v) - o - c)})
		}
	}
	if k := allowed(eps, len(changed)); k < len(changed) {
		largest(changed)
		for _, e := range changed[k:] {
			x[e.j] = origin[e.j]
		}
	}
}

// element is one of a sample's, and what it is worth.
type element struct {
	j     int
	worth float64
}

// largest sorts by worth, and equal ones by their place.
func largest(list []element) {
	slices.SortFunc(list, func(a, b element) int {
		return cmp.Or(cmp.Compare(b.worth, a.worth), cmp.Compare(a.j, b.j))
	})
}

// Advance moves step elements, at least one, to the edge of the box: those by
// which a linear function with gradient g gains most. Where that changes too
// many it undoes the changes that the function misses least, as long as what is
// lost is less than what is gained. This is the steepest exchange; the gradient
// step of PGD0 (Croce and Hein 2019) needs a scale that is chosen by hand.
func (n l0) Advance(x, origin, g []float32, step, eps float64, box Box) {
	n.Project(x, origin, eps, box)
	gains, changed := linear(x, origin, g, box)
	free := allowed(eps, len(x)) - len(changed)
	settled := make([]bool, len(x)) // not to be touched again
	left := max(1, int(math.Ceil(step)))
	for _, e := range gains {
		switch fresh := x[e.j] == origin[e.j]; {
		case left == 0:
			box.keepRules(x, origin, math.Inf(1))
			return
		case settled[e.j]:
			continue
		case fresh && free > 0:
			free--
		case fresh:
			for len(changed) > 0 && settled[changed[len(changed)-1].j] {
				changed = changed[:len(changed)-1]
			}
			last := len(changed) - 1
			if last < 0 || changed[last].worth >= e.worth {
				continue
			}
			back := changed[last].j
			x[back], settled[back], changed = origin[back], true, changed[:last]
		}
		left--
		settled[e.j] = true
		if lo, hi := box.At(e.j); g[e.j] > 0 {
			x[e.j] = hi
		} else {
			x[e.j] = lo
		}
	}
	box.keepRules(x, origin, math.Inf(1))
}

// linear says, of a function with gradient g, how much it gains from x when one
// element moves to the edge of the box, and how much it owes to each change from
// the origin, both with the most first.
func linear(x, origin, g []float32, box Box) (gains, changed []element) {
	for j, v := range g {
		lo, hi := box.At(j)
		room := float64(hi) - float64(x[j])
		if v < 0 {
			room = float64(lo) - float64(x[j])
		}
		if gain := float64(v) * room; gain > 0 {
			gains = append(gains, element{j, gain})
		}
		if x[j] != origin[j] {
			changed = append(changed, element{j, float64(v) * (float64(x[j]) - float64(origin[j]))})
		}
	}
	largest(gains)
	largest(changed)
	return gains, changed
}

// Sample draws as many different elements as the radius allows, and moves each
// so far up or down that the box alone says how far: a ball of L0 has no edge,
// and what is left of such a draw in the box is salt and pepper.
func (l0) Sample(rng *rand.Rand, d []float32, eps float64) {
	clear(d)
	places := rng.Perm(len(d))
	for _, j := range places[:allowed(eps, len(d))] {
		d[j] = math.MaxFloat32 / 4
		if rng.Uint64()&1 == 0 {
			d[j] = -d[j]
		}
	}
}
