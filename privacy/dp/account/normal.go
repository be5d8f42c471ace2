package account

import "math"

// gauss holds the positive nodes and the weights of Gauss-Legendre quadrature
// with ten points (Abramowitz and Stegun, table 25.4).
var gauss = [5][2]float64{
	{0.1488743389816312, 0.2955242247147529},
	{0.4333953941292472, 0.2692667193099963},
	{0.6794095682990244, 0.2190863625159821},
	{0.8650633666889845, 0.1494513491505806},
	{0.9739065285171717, 0.0666713443086881},
}

// normalBetween is the probability of a < X <= b for a standard normal X, with
// small relative error however narrow or far out the interval is.
func normalBetween(a, b float64) float64 {
	switch {
	case !(a < b):
		return 0
	case a+b < 0:
		return normalBetween(-b, -a)
	case b-a < 0.25: // the difference of two tails would lose digits
		mid, half := (a+b)/2, (b-a)/2
		sum := 0.0
		for _, g := range gauss {
			x, y := mid-half*g[0], mid+half*g[0]
			sum += g[1] * (math.Exp(-x*x/2) + math.Exp(-y*y/2))
		}
		return sum * half / math.Sqrt(2*math.Pi)
	case a < 0:
		return 1 - math.Erfc(-a/math.Sqrt2)/2 - math.Erfc(b/math.Sqrt2)/2
	}
	return (math.Erfc(a/math.Sqrt2) - math.Erfc(b/math.Sqrt2)) / 2
}

// logNormalTail is ln P(X > x).
func logNormalTail(x float64) float64 {
	if x < 30 {
		return math.Log(math.Erfc(x/math.Sqrt2) / 2)
	}
	// Abramowitz and Stegun 7.1.23, whose terms alternate.
	i := 1 / (x * x)
	return -x*x/2 - math.Log(x*math.Sqrt(2*math.Pi)) + math.Log1p(-i*(1-3*i*(1-5*i*(1-7*i))))
}

// logSum is ln(exp(a) + exp(b)).
func logSum(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(a, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// gaussianDelta is the delta at eps of N(mu, 1) against N(0, 1), exactly
// (Balle and Wang 2018, arXiv 1805.06530, theorem 8). Where the two terms nearly
// cancel, they are subtracted as logarithms.
func gaussianDelta(mu, eps float64) float64 {
	a := logNormalTail(eps/mu - mu/2)
	b := eps + logNormalTail(eps/mu+mu/2)
	return math.Exp(a) * -math.Expm1(min(b-a, 0))
}

// gaussianEpsilon is its inverse.
func gaussianEpsilon(mu, delta float64) float64 {
	if gaussianDelta(mu, 0) <= delta {
		return 0
	}
	hi := 1.0
	for gaussianDelta(mu, hi) > delta {
		hi *= 2
	}
	return bisect(0, hi, func(e float64) bool { return gaussianDelta(mu, e) > delta })
}

// bisect finds where holds turns from true at lo to false at hi, and returns the
// false side, to the last digit or so.
func bisect(lo, hi float64, holds func(float64) bool) float64 {
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid <= lo || mid >= hi || hi-lo < 1e-15*hi {
			break
		}
		if holds(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
