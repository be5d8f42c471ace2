package dp

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
)

// Mechanism is noise that fits an answer: it is worth a guarantee to one of its
// sensitivity. It is made by [Laplace] or [Gaussian] and safe for concurrent use.
type Mechanism struct {
	// Noise is what is added to each number.
	*Noise
	sensitivity Sensitivity
	guarantee   Guarantee
	delta       func(epsilon float64) float64
}

// greatest is the largest epsilon that is taken. e^1000 to one is no promise.
const greatest = 1000

// checkEpsilon refuses what cannot be a pure guarantee's epsilon.
func checkEpsilon(epsilon float64) error {
	if !(epsilon > 0 && epsilon <= greatest) {
		return fmt.Errorf("epsilon %v: must be above 0 and at most %d", epsilon, greatest)
	}
	return nil
}

// Laplace is epsilon-differentially private: discrete Laplace noise of scale
// L1/epsilon (Ghosh, Roughgarden, Sundararajan 2009, who call it geometric),
// rounded up by less than a part in 10^12.
func Laplace(s Sensitivity, epsilon float64) (*Mechanism, error) {
	if err := cmp.Or(s.check(), checkEpsilon(epsilon)); err != nil {
		return nil, err
	}
	scale := roundUp(new(big.Rat).Quo(new(big.Rat).SetInt(s.l1), rat(epsilon)), 40)
	noise, err := LaplaceNoise(scale)
	if err != nil {
		return nil, fmt.Errorf("epsilon %v: %w; give more epsilon, a coarser grid or tighter bounds", epsilon, err)
	}
	t, l1 := scaleOf(scale), float64(s.L1())
	return &Mechanism{Noise: noise, sensitivity: s, guarantee: Guarantee{Epsilon: epsilon}, delta: func(e float64) float64 {
		return laplaceDelta(t, l1, e, s.l0 == 1)
	}}, nil
}

func scaleOf(scale *big.Rat) float64 { t, _ := scale.Float64(); return t }

// laplaceDelta is the delta at epsilon: for one number that moves by d, the
// largest of P(S) - e^eps Q(S) is at S = {y: loss above eps} (the loss at y is
// (|y+d| - |y|)/t). For several numbers the bound of pure privacy is given.
func laplaceDelta(t, d, epsilon float64, single bool) float64 {
	if epsilon >= d/t {
		return 0
	}
	if !single {
		return math.Expm1(d/t-epsilon) / (math.Exp(d/t-epsilon) + math.Exp(-epsilon)) // (e^a - e^eps)/(e^a + 1), Kairouz, Oh, Viswanath 2015
	}
	first := math.Floor((epsilon*t-d)/2) + 1 // the loss is above eps from here on, rising until y = 0
	q := math.Exp(-1 / t)
	above := func(y float64) float64 { // P(Y >= y)
		if y > 0 {
			return math.Exp(-y/t) / (1 + q)
		}
		return 1 - math.Exp((y-1)/t)/(1+q)
	}
	return max(0, above(first)-math.Exp(epsilon)*above(first+d))
}

// Gaussian gives epsilon and delta by discrete Gaussian noise. Where one number
// moves, its own delta is computed (Canonne, Kamath, Steinke 2020, theorem 7), not
// that of the continuous Gaussian; where several do, the noise is accounted as
// L2^2/(2 variance)-zCDP, which asks for somewhat more of it. The accountant
// beside this package knows the tighter answer for many releases.
func Gaussian(s Sensitivity, g Guarantee) (*Mechanism, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if g.Epsilon > greatest {
		return nil, fmt.Errorf("epsilon %v: must be at most %d", g.Epsilon, greatest)
	}
	sigma, err := GaussianSigma(s.L2(), g)
	if err != nil {
		return nil, err
	}
	tooWide := fmt.Errorf("epsilon %v and delta %v: the noise would be wider than 2^52 steps of the grid; give more of either, a coarser grid or tighter bounds", g.Epsilon, g.Delta)
	if sigma > math.Ldexp(1, 52) {
		return nil, tooWide
	}
	delta := func(v float64) float64 { return gaussianDelta(s, v, g.Epsilon) }
	lo, hi := 0.0, sigma*sigma
	for delta(hi) > g.Delta {
		lo, hi = hi, 1.01*hi
		if hi > 4*sigma*sigma+4 { // far from the continuous answer, as for zCDP and tiny noise
			hi *= 2
		}
		if hi > math.Ldexp(1, 104) {
			return nil, tooWide
		}
	}
	if lo == 0 {
		lo = hi / 1.01
	}
	for range 30 {
		if mid := (lo + hi) / 2; delta(mid) > g.Delta {
			lo = mid
		} else {
			hi = mid
		}
	}
	// Whether more noise always means less delta is not proved for the discrete
	// distribution, so that what is used is what was checked.
	variance := roundUp(rat(hi), 32)
	for v := scaleOf(variance); delta(v) > g.Delta; v = scaleOf(variance) {
		variance = roundUp(rat(v*(1+1e-6)), 32)
	}
	m, err := GaussianOf(s, variance)
	if err != nil {
		return nil, err
	}
	m.guarantee = g
	return m, nil
}

// GaussianOf is discrete Gaussian noise of a variance that an accountant chose,
// for many releases together. It has no [Mechanism.Guarantee] of its own, but a
// [Mechanism.Delta] for every epsilon.
func GaussianOf(s Sensitivity, variance *big.Rat) (*Mechanism, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	noise, err := GaussianNoise(variance)
	if err != nil {
		return nil, err
	}
	v := scaleOf(variance)
	return &Mechanism{Noise: noise, sensitivity: s, delta: func(e float64) float64 { return gaussianDelta(s, v, e) }}, nil
}

func gaussianDelta(s Sensitivity, v, epsilon float64) float64 {
	if s.l0 == 1 {
		return newGaussianShape(v).delta(float64(s.linf), epsilon)
	}
	return zcdpDelta(s.l2Squared()/(2*v), epsilon)
}

// Guarantee is what the mechanism was made for, for one release of the whole
// answer.
func (m *Mechanism) Guarantee() Guarantee { return m.guarantee }

// Sensitivity is that of the answers the mechanism fits.
func (m *Mechanism) Sensitivity() Sensitivity { return m.sensitivity }

// Delta is the delta of one release at epsilon, or slightly more.
func (m *Mechanism) Delta(epsilon float64) float64 { return m.delta(epsilon) }

// Release is the answer with fresh noise on every number, in a slice of its own.
// Numbers of 0 get noise as well: leaving groups out is [Selection]'s business.
func (m *Mechanism) Release(src Source, answer []int64) []int64 {
	out := make([]int64, len(answer))
	m.Fill(src, out)
	for i, x := range answer {
		out[i] = plus(x, out[i])
	}
	return out
}

// plus is a sum that saturates.
func plus(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}
