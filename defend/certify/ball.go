package certify

import (
	"cmp"
	"math"
	"slices"
)

// ball is a ball around a point, in the L1 or L2 norm. What it has in common
// with the box of its region is where the inputs lie.
type ball struct {
	centre []float64
	radius float64
	l1     bool
}

// least bounds a . x from below over ball and box: exactly, but for rounding,
// which the caller allows for.
func (b *ball) least(a []float64, g *region) float64 {
	sum := 0.0
	for j, v := range a {
		sum += v * b.centre[j]
	}
	if b.l1 {
		return sum - b.greedy(a, g, nil)
	}
	// For any multiplier mu >= 0 of |d|^2 <= radius^2, the sum of the least
	// a d + mu d^2 of each element within the box is a lower bound; the right
	// mu makes the point that attains it touch the ball.
	mu := b.multiplier(a, g)
	loss := mu * b.radius * b.radius
	for j, v := range a {
		d := b.step(j, v, mu, g)
		loss -= v*d + mu*d*d
	}
	return sum - loss
}

// worst puts into x a point of ball and box where a . x is least.
func (b *ball) worst(x, a []float64, g *region) {
	copy(x, b.centre)
	if b.l1 {
		b.greedy(a, g, x)
		return
	}
	mu := b.multiplier(a, g)
	for j, v := range a {
		x[j] += b.step(j, v, mu, g)
	}
}

// room is how far element j may go against the sign of its coefficient.
func (b *ball) room(j int, v float64, g *region) float64 {
	if v > 0 {
		return b.centre[j] - g.lo[j]
	}
	return g.hi[j] - b.centre[j]
}

// greedy is how much a . x can fall in the L1 ball: the radius is spent on the
// largest coefficients first, on each as far as the box goes. It moves x there.
func (b *ball) greedy(a []float64, g *region, x []float64) float64 {
	order := make([]int, len(a))
	for j := range order {
		order[j] = j
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(math.Abs(a[j]), math.Abs(a[i])) })
	left, fall := b.radius, 0.0
	for _, j := range order {
		if left <= 0 || a[j] == 0 {
			break
		}
		d := math.Min(left, b.room(j, a[j], g))
		left -= d
		fall += d * math.Abs(a[j])
		if x != nil {
			x[j] -= math.Copysign(d, a[j])
		}
	}
	return fall
}

// step is the d within the box at which v d + mu d^2 is least.
func (b *ball) step(j int, v, mu float64, g *region) float64 {
	room := b.room(j, v, g)
	d := room
	if mu > 0 {
		d = math.Min(math.Abs(v)/(2*mu), room)
	}
	return -math.Copysign(d, v)
}

// multiplier finds, by bisection, the mu at which the steps together are as
// long as the radius; 0 where the box lies within the ball.
func (b *ball) multiplier(a []float64, g *region) float64 {
	length := func(mu float64) float64 {
		s := 0.0
		for j, v := range a {
			if v != 0 {
				d := b.step(j, v, mu, g)
				s += d * d
			}
		}
		return math.Sqrt(s)
	}
	if b.radius == 0 || length(0) <= b.radius {
		return 0
	}
	norm := 0.0
	for _, v := range a {
		norm += v * v
	}
	hi := math.Sqrt(norm) / (2 * b.radius) // no step is then longer than without the box
	lo := 0.0
	for range 40 {
		mid := (lo + hi) / 2
		if length(mid) > b.radius {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
