package certify

import "math"

// region is a set of inputs: a box, or what a box and a ball have in common.
type region struct {
	lo, hi []float64
	// centre and radius describe the box outwards: every point is within
	// radius of centre, rounding included.
	centre, radius []float64
	ball           *ball // nil for a box
}

func boxed(lo, hi []float64) *region {
	g := &region{lo: lo, hi: hi, centre: make([]float64, len(lo)), radius: make([]float64, len(lo))}
	for i := range lo {
		g.centre[i], g.radius[i] = middle(lo[i], hi[i])
	}
	return g
}

// middle is a centre and a radius of an interval that cover it.
func middle(lo, hi float64) (centre, radius float64) {
	centre = lo + (hi-lo)/2
	return centre, outward(math.Max(hi-centre, centre-lo))
}

// outward is a little more than x >= 0: enough for a handful of roundings.
func outward(x float64) float64 { return x*(1+16*unit64) + 1e-300 }

// least is the least of a . x over the region, but for rounding.
func (g *region) least(a []float64) float64 {
	if g.ball != nil {
		return g.ball.least(a, g)
	}
	return weigh(a, g.centre, g.radius)
}

// worst puts into x a point where a . x is least.
func (g *region) worst(x, a []float64) {
	if g.ball != nil {
		g.ball.worst(x, a, g)
		return
	}
	for i, v := range a {
		x[i] = g.lo[i]
		if v < 0 {
			x[i] = g.hi[i]
		}
	}
}
