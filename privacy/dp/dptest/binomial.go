package dptest

import "math"

// lower and upper are the bounds of Clopper and Pearson (1934) on a probability
// after k of n: each is wrong with a probability of at most level, for every n.
func lower(k, n int, level float64) float64 {
	if k == 0 {
		return 0
	}
	return betaQuantile(float64(k), float64(n-k+1), level)
}

func upper(k, n int, level float64) float64 {
	if k == n {
		return 1
	}
	return 1 - betaQuantile(float64(n-k), float64(k+1), level)
}

// betaQuantile is the x with regularised incomplete beta I_x(a, b) = p, rounded
// down.
func betaQuantile(a, b, p float64) float64 {
	lo, hi := 0.0, 1.0
	for range 70 {
		if mid := (lo + hi) / 2; incompleteBeta(a, b, mid) > p {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// incompleteBeta is I_x(a, b), by the continued fraction of DLMF 8.17.22 in the
// form of Lentz, on the side where it converges fast.
func incompleteBeta(a, b, x float64) float64 {
	if x <= 0 {
		return 0
	}
	if x >= 1 {
		return 1
	}
	if x > (a+1)/(a+b+2) {
		return 1 - incompleteBeta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	const tiny = 1e-300
	c, d := 1.0, 1-(a+b)*x/(a+1)
	if math.Abs(d) < tiny {
		d = tiny
	}
	d = 1 / d
	f := d
	for m := 1.0; m < 10000; m++ {
		for _, k := range [2]float64{
			m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m)),
			-(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1)),
		} {
			d, c = 1+k*d, 1+k/c
			if math.Abs(d) < tiny {
				d = tiny
			}
			if math.Abs(c) < tiny {
				c = tiny
			}
			d = 1 / d
			f *= c * d
		}
		if math.Abs(c*d-1) < 1e-14 {
			break
		}
	}
	return front * f
}
