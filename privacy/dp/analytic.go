package dp

import (
	"fmt"
	"math"
)

// GaussianDelta is the delta that continuous Gaussian noise of deviation sigma
// gives at epsilon to an answer of the given L2 sensitivity, exactly (Balle and
// Wang 2018, theorem 8). It is the yardstick: what is drawn here is the discrete
// Gaussian, whose delta [Gaussian] computes by its own formula.
func GaussianDelta(sigma, sensitivity, epsilon float64) float64 {
	half, slope := sensitivity/(2*sigma), epsilon*sigma/sensitivity
	a, b := half-slope, -half-slope
	if a > 0 {
		return max(0, phi(a)-math.Exp(epsilon+logPhi(b)))
	}
	// density(a) = e^epsilon density(b), so that the difference is one of Mills
	// ratios, which neither underflow nor cancel.
	return max(0, density(a)*(mills(-a)-mills(-b)))
}

// GaussianSigma is the least deviation of continuous Gaussian noise that gives a
// guarantee to an answer of an L2 sensitivity above 0 (Balle and Wang 2018,
// algorithm 1, here by bisection). Delta must be above 0.
func GaussianSigma(sensitivity float64, g Guarantee) (float64, error) {
	if err := checkGaussian(sensitivity, g); err != nil {
		return 0, err
	}
	lo, hi := 0.0, sensitivity
	for GaussianDelta(hi, sensitivity, g.Epsilon) > g.Delta {
		lo, hi = hi, 2*hi
		if math.IsInf(hi, 0) {
			return 0, fmt.Errorf("epsilon %v and delta %v: no finite noise gives this; raise either", g.Epsilon, g.Delta)
		}
	}
	for range 200 {
		mid := (lo + hi) / 2
		if mid == lo || mid == hi {
			break
		}
		if GaussianDelta(mid, sensitivity, g.Epsilon) > g.Delta {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi, nil
}

// ClassicGaussian is sensitivity*sqrt(2 ln(1.25/delta))/epsilon, the textbook's
// deviation (Dwork and Roth 2014, theorem A.1), for comparison only. It was proved
// for epsilon below 1, wastes a third to a half of the noise there, and gives
// less than it claims for large epsilon: where that is so, it is refused. Use
// [Gaussian].
func ClassicGaussian(sensitivity float64, g Guarantee) (float64, error) {
	if err := checkGaussian(sensitivity, g); err != nil {
		return 0, err
	}
	if g.Epsilon == 0 {
		return 0, fmt.Errorf("epsilon 0: the classic formula divides by it; use the analytic calibration")
	}
	sigma := sensitivity * math.Sqrt(2*math.Log(1.25/g.Delta)) / g.Epsilon
	if truth := GaussianDelta(sigma, sensitivity, g.Epsilon); truth > g.Delta {
		return 0, fmt.Errorf("epsilon %v: the classic formula is false here, its noise gives delta %.2g where %v is asked; use the analytic calibration", g.Epsilon, truth, g.Delta)
	}
	return sigma, nil
}

func checkGaussian(sensitivity float64, g Guarantee) error {
	if err := g.Check(); err != nil {
		return err
	}
	if g.Delta == 0 {
		return fmt.Errorf("delta 0: Gaussian noise always needs some; use Laplace noise or give a delta such as 1e-6")
	}
	if !(sensitivity > 0) || math.IsInf(sensitivity, 0) {
		return fmt.Errorf("sensitivity %v: must be a finite number above 0", sensitivity)
	}
	return nil
}

// density, phi and logPhi are those of the standard normal distribution.
func density(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

func phi(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

func logPhi(x float64) float64 {
	if x > -10 {
		return math.Log(phi(x))
	}
	return -x*x/2 - math.Log(2*math.Pi)/2 + math.Log(mills(-x))
}

// mills is phi(-x)/density(x): directly where that does not underflow, beyond by
// Laplace's continued fraction 1/(x+1/(x+2/(x+3/...))), which has settled to
// double precision there.
func mills(x float64) float64 {
	if x < 12 {
		return phi(-x) / density(x)
	}
	r := x
	for k := 60.0; k > 0; k-- {
		r = x + k/r
	}
	return 1 / r
}

// upperQuantile is the x with phi(-x) = tail, for a tail in (0, 1).
func upperQuantile(tail float64) float64 {
	lo, hi := -40.0, 40.0
	for range 100 {
		if mid := (lo + hi) / 2; phi(-mid) > tail {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// zcdpDelta is the delta at epsilon of rho-zCDP by the best Rényi order (Canonne,
// Kamath, Steinke 2020, proposition 12).
func zcdpDelta(rho, epsilon float64) float64 {
	log := func(t float64) float64 { // t = ln(order-1)
		e := math.Exp(t)
		return e*((1+e)*rho-epsilon) - math.Log1p(e) - e*math.Log1p(1/e)
	}
	lo, hi := -20.0, 30.0
	const golden = 0.6180339887498949
	for range 120 {
		a, b := hi-golden*(hi-lo), lo+golden*(hi-lo)
		if log(a) < log(b) {
			hi = b
		} else {
			lo = a
		}
	}
	return min(1, math.Exp(log((lo+hi)/2))*(1+1e-9))
}
