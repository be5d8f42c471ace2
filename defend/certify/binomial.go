package certify

import "math"

// betaIncomplete is the regularised incomplete beta function I_x(a, b) for
// a, b > 0 and 0 <= x <= 1, by the continued fraction of DLMF 8.17.22, on the
// side of the mode where it converges fast. The chance that a binomial variable
// of n draws with probability p is at least k is I_p(k, n-k+1).
func betaIncomplete(x, a, b float64) float64 {
	if x <= 0 || x >= 1 {
		return math.Max(0, math.Min(x, 1))
	}
	if x > (a+1)/(a+b+2) {
		return 1 - betaIncomplete(1-x, b, a)
	}
	lab, _ := math.Lgamma(a + b)
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	return front / a * betaFraction(x, a, b)
}

// betaFraction evaluates the continued fraction by Lentz's method, which needs
// some sqrt(max(a, b)) terms.
func betaFraction(x, a, b float64) float64 {
	const least = 1e-300
	nonzero := func(v float64) float64 {
		if math.Abs(v) < least {
			return least
		}
		return v
	}
	c, d := 1.0, 1/nonzero(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < 1e6; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d, c = 1/nonzero(1+even*d), nonzero(1+even/c)
		f *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d, c = 1/nonzero(1+odd*d), nonzero(1+odd/c)
		f *= d * c
		if math.Abs(d*c-1) < 1e-15 {
			break
		}
	}
	return f
}

// clopperPearson is the lower end of the exact one-sided confidence interval,
// at level 1 - alpha, of a probability that showed k times in n (Clopper and
// Pearson 1934): the p at which k or more would be seen with chance alpha.
func clopperPearson(k, n int, alpha float64) float64 {
	switch k {
	case 0:
		return 0
	case n:
		return math.Pow(alpha, 1/float64(n))
	}
	lo, hi := 0.0, float64(k)/float64(n)
	for range 100 { // to the last bit; lo stays on the safe side
		mid := (lo + hi) / 2
		if betaIncomplete(mid, float64(k), float64(n-k+1)) <= alpha {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// coin is the two-sided p-value of k successes in n draws of a fair coin.
func coin(k, n int) float64 {
	k = max(k, n-k)
	if 2*k == n {
		return 1
	}
	return math.Min(1, 2*betaIncomplete(0.5, float64(k), float64(n-k+1)))
}

// normalQuantile is the inverse of the standard normal distribution.
func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
