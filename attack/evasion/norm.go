package evasion

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Norm is a way to measure a perturbation and to move within its ball. Every
// attack works with every norm through these methods; none knows which it has.
type Norm interface {
	// Name is "linf", "l2", "l1" or "l0".
	Name() string
	// Size measures the perturbation d, in float64.
	Size(d []float32) float64
	// Project moves x to a point of the ball of radius eps around origin and
	// of the box: the nearest one for Linf, L1 and L0, for L2 the nearest of
	// the ball moved into the box.
	Project(x, origin []float32, eps float64, box Box)
	// Advance moves x a distance step along the direction that increases a
	// function with gradient g fastest, and projects. A zero gradient, or a
	// zero element of it, moves nothing. In L0 a distance is a number of
	// elements, and they move to the edge of the box.
	Advance(x, origin, g []float32, step, eps float64, box Box)
	// Sample draws a perturbation uniformly from the ball of radius eps; in L0,
	// whose ball has no edge but the box's, random elements that move beyond
	// any box.
	Sample(rng *rand.Rand, d []float32, eps float64)
}

// The norms.
var (
	Linf Norm = linf{}
	L2   Norm = l2{}
	L1   Norm = l1{}
	L0   Norm = l0{} // how many elements change; an image has C x H x W of them
)

// Norms lists them.
var Norms = []Norm{Linf, L2, L1, L0}

// FindNorm returns the norm of a name.
func FindNorm(name string) (Norm, error) {
	for _, n := range Norms {
		if n.Name() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no norm %q: want linf, l2, l1 or l0", name)
}

type linf struct{}

func (linf) Name() string { return "linf" }

func (linf) Size(d []float32) float64 {
	top := 0.0
	for _, v := range d {
		top = math.Max(top, math.Abs(float64(v)))
	}
	return top
}

func (linf) Project(x, origin []float32, eps float64, box Box) {
	box.keepRules(x, origin, eps)
	e := float32(eps)
	if len(box.Lo) == 1 && len(box.Hi) == 1 {
		lo, hi := box.Lo[0], box.Hi[0]
		for j, v := range x {
			o := origin[j]
			x[j] = min(max(v, o-e, lo), o+e, hi)
		}
		return
	}
	for j, v := range x {
		lo, hi := box.At(j)
		x[j] = min(max(v, origin[j]-e, lo), origin[j]+e, hi)
	}
}

func (n linf) Advance(x, origin, g []float32, step, eps float64, box Box) {
	if len(box.Lo) == 1 && len(box.Hi) == 1 && box.rules == nil {
		tensor.SignStep(x, origin, g, float32(step), float32(eps), box.Lo[0], box.Hi[0])
		return
	}
	s := float32(step)
	for j, v := range g {
		if v > 0 {
			x[j] += s
		} else if v < 0 {
			x[j] -= s
		}
	}
	n.Project(x, origin, eps, box)
}

func (linf) Sample(rng *rand.Rand, d []float32, eps float64) {
	for j := range d {
		d[j] = float32(eps * (2*rng.Float64() - 1))
	}
}

type l2 struct{}

func (l2) Name() string { return "l2" }

func (l2) Size(d []float32) float64 {
	sum := 0.0
	for _, v := range d {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// Project shrinks, then clips: the origin is in the box, so clipping only
// shortens.
func (l2) Project(x, origin []float32, eps float64, box Box) {
	box.keepRules(x, origin, eps)
	sum := 0.0
	for j, v := range x {
		d := float64(v) - float64(origin[j])
		sum += d * d
	}
	if size := math.Sqrt(sum); size > eps {
		k := eps / size
		for j, v := range x {
			x[j] = float32(float64(origin[j]) + k*(float64(v)-float64(origin[j])))
		}
	}
	box.Clip(x)
}

func (n l2) Advance(x, origin, g []float32, step, eps float64, box Box) {
	// Dividing by the largest element first keeps tiny gradients, whose
	// squares underflow, usable.
	top := float64(0)
	for _, v := range g {
		top = math.Max(top, math.Abs(float64(v)))
	}
	if top == 0 || math.IsInf(top, 0) || top != top {
		return
	}
	sum := 0.0
	for _, v := range g {
		u := float64(v) / top
		sum += u * u
	}
	k := step / (top * math.Sqrt(sum))
	for j, v := range g {
		x[j] += float32(k * float64(v))
	}
	n.Project(x, origin, eps, box)
}

func (n l2) Sample(rng *rand.Rand, d []float32, eps float64) {
	for j := range d {
		d[j] = float32(rng.NormFloat64())
	}
	k := eps * math.Pow(rng.Float64(), 1/float64(len(d))) / n.Size(d)
	for j := range d {
		d[j] *= float32(k)
	}
}

type l1 struct{}

func (l1) Name() string { return "l1" }

func (l1) Size(d []float32) float64 {
	sum := 0.0
	for _, v := range d {
		sum += math.Abs(float64(v))
	}
	return sum
}

// Project is exact (Croce and Hein 2021, arXiv 2103.01208, proposition 2.1).
// The projection of v keeps each sign and turns |v| into
// min(max(|v|-t, 0), room), where room is the distance to the box on that
// side, for the one t >= 0 at which the sizes sum to eps. That sum is
// piecewise linear in t with kinks at |v| and |v|-room; sorting the kinks
// finds the piece.
func (l1) Project(x, origin []float32, eps float64, box Box) {
	box.keepRules(x, origin, eps)
	type kink struct{ at, slope float64 }
	var kinks []kink
	total, slope := 0.0, 0.0 // of the sum, at t = 0
	for j, v := range x {
		size, room := reach(v, origin[j], j, box)
		total += math.Min(size, room)
		if size == 0 || room == 0 {
			continue
		}
		// The size falls with t only between size-room and size.
		if size <= room {
			slope--
		} else {
			kinks = append(kinks, kink{size - room, -1})
		}
		kinks = append(kinks, kink{size, +1})
	}
	t := 0.0
	if total > eps {
		slices.SortFunc(kinks, func(a, b kink) int { return cmp.Compare(a.at, b.at) })
		for _, k := range kinks {
			next := total + slope*(k.at-t)
			if next <= eps {
				break
			}
			total, t, slope = next, k.at, slope+k.slope
		}
		if slope < 0 {
			t += (total - eps) / -slope
		}
	}
	for j, v := range x {
		size, room := reach(v, origin[j], j, box)
		d := math.Min(math.Max(size-t, 0), room)
		x[j] = float32(float64(origin[j]) + math.Copysign(d, float64(v)-float64(origin[j])))
	}
	box.Clip(x)
}

// reach is how far v is from its origin and how far the box lets it go.
func reach(v, origin float32, j int, box Box) (size, room float64) {
	lo, hi := box.At(j)
	d := float64(v) - float64(origin)
	if d < 0 {
		return -d, float64(origin) - float64(lo)
	}
	return d, float64(hi) - float64(origin)
}

// sparsity is the share of elements that one L1 step changes (sparse L1
// descent, Tramer and Boneh 2019, use the top 1 % by gradient on images; small
// inputs need at least one).
const sparsity = 0.01

// Advance spreads the step over the elements of largest gradient that the box
// still lets move: the L1-steepest direction is a single element, a few are
// steadier.
func (n l1) Advance(x, origin, g []float32, step, eps float64, box Box) {
	type coordinate struct {
		j    int
		size float32
	}
	var movable []coordinate
	for j, v := range g {
		lo, hi := box.At(j)
		if v > 0 && x[j] < hi || v < 0 && x[j] > lo {
			movable = append(movable, coordinate{j, max(v, -v)})
		}
	}
	if len(movable) == 0 {
		return
	}
	k := min(max(1, int(math.Ceil(sparsity*float64(len(g))))), len(movable))
	slices.SortStableFunc(movable, func(a, b coordinate) int { return cmp.Compare(b.size, a.size) })
	for _, c := range movable[:k] {
		x[c.j] += float32(math.Copysign(step/float64(k), float64(g[c.j])))
	}
	n.Project(x, origin, eps, box)
}

// Sample uses that d+1 exponentials over their sum are uniform on the simplex.
func (l1) Sample(rng *rand.Rand, d []float32, eps float64) {
	sum := rng.ExpFloat64()
	for j := range d {
		v := rng.ExpFloat64()
		sum += v
		if rng.Uint64()&1 == 0 {
			v = -v
		}
		d[j] = float32(v)
	}
	for j := range d {
		d[j] *= float32(eps / sum)
	}
}
