package dp

import (
	"fmt"
	"math"
)

// laplaceShape is a discrete Laplace distribution by its scale t. With q =
// exp(-1/t): P(k) = (1-q)/(1+q) q^|k|.
type laplaceShape float64

func (t laplaceShape) String() string { return fmt.Sprintf("discrete Laplace, scale %.6g", float64(t)) }

func (t laplaceShape) probability(k int64) float64 {
	return math.Tanh(1/(2*float64(t))) * math.Exp(-math.Abs(float64(k))/float64(t))
}

func (t laplaceShape) above(k int64) float64 {
	q := math.Exp(-1 / float64(t))
	return math.Exp(-(float64(k)+1)/float64(t)) / (1 + q)
}

func (t laplaceShape) variance() float64 {
	s := math.Sinh(1 / (2 * float64(t)))
	return 1 / (2 * s * s) // 2q/(1-q)^2
}

// gaussianShape is a discrete Gaussian distribution by its parameter.
type gaussianShape struct {
	v, mass, second float64 // sum of exp(-k^2/2v) over all k, and of k^2 times that
}

// widest is the deviation up to which tails are summed term by term. Beyond, a
// tail is bounded by an integral, which errs by less than a part in a thousand.
const widest = 4096

func newGaussianShape(v float64) gaussianShape {
	g := gaussianShape{v: v, mass: math.Sqrt(2 * math.Pi * v)}
	g.second = v * g.mass
	// By Poisson summation the integrals are off by 2exp(-2 pi^2 v), which is
	// nothing from a variance of 4.
	if v < 4 {
		g.mass, g.second = 1, 0
		for k := 1.0; k*k < 1500*v || k < 2; k++ {
			p := math.Exp(-k * k / (2 * v))
			g.mass += 2 * p
			g.second += 2 * k * k * p
		}
	}
	return g
}

func (g gaussianShape) String() string {
	return fmt.Sprintf("discrete Gaussian, deviation %.6g", math.Sqrt(g.v))
}

func (g gaussianShape) probability(k int64) float64 {
	return math.Exp(-float64(k)*float64(k)/(2*g.v)) / g.mass
}

func (g gaussianShape) variance() float64 { return g.second / g.mass }

func (g gaussianShape) above(k int64) float64 {
	dev := math.Sqrt(g.v)
	if dev > widest { // the terms fall from k on, so each is less than the integral of the step before it
		return min(phi(-float64(k)/dev), 0.5)
	}
	sum := 0.0
	for j := k + 1; ; j++ {
		p := g.probability(j)
		sum += p
		// What follows is less than a geometric series.
		if fall := math.Exp(-float64(j) / g.v); p/(1-fall) <= 1e-17*sum || p == 0 {
			return sum
		}
	}
}

// delta is that of a Gaussian mechanism on one number that moves by at most d,
// a whole number: the sum over all y of max(0, P(y) - e^eps P(y+d)) (Canonne,
// Kamath, Steinke 2020, theorem 7). The family has a monotone likelihood ratio in
// its shift, so that the farthest shift is the worst. It is at least the true
// value.
func (g gaussianShape) delta(d, eps float64) float64 {
	y := math.Floor(eps*g.v/d-d/2) + 1 // the first with a loss above eps
	if dev := math.Sqrt(g.v); dev > widest {
		return g.deltaBound(d, eps)
	}
	y = max(y, -math.Ceil(40*math.Sqrt(g.v))) // there is less than 1e-340 before
	sum := 0.0
	for ; ; y++ {
		p := math.Exp(-y*y/(2*g.v)) / g.mass
		sum += p * -math.Expm1(eps-(2*y*d+d*d)/(2*g.v))
		if y > 0 {
			if fall := math.Exp(-y / g.v); p/(1-fall) <= 1e-15*sum || p == 0 {
				return min(sum*(1+1e-9), 1)
			}
		}
	}
}

// deltaBound is an upper bound on delta for wide noise: what is summed rises and
// then falls, so its sum is at most its integral, which is that of continuous
// noise, and its greatest value.
func (g gaussianShape) deltaBound(d, eps float64) float64 {
	dev := math.Sqrt(g.v)
	at := func(y float64) float64 {
		return math.Exp(-y*y/(2*g.v)) * -math.Expm1(eps-(2*y*d+d*d)/(2*g.v)) / g.mass
	}
	lo := eps*g.v/d - d/2
	hi := lo + 40*dev
	const golden = 0.6180339887498949
	for range 100 {
		a, b := hi-golden*(hi-lo), lo+golden*(hi-lo)
		if at(a) < at(b) {
			lo = a
		} else {
			hi = b
		}
	}
	return min((GaussianDelta(dev, d, eps)+at((lo+hi)/2))*(1+1e-9), 1)
}
