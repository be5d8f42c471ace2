package account

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Mechanism is one release of something noisy: [Gaussian], [Laplace],
// [DiscreteGaussian], [DiscreteLaplace], [RandomisedResponse], [Exponential] or
// [Point]. There are no others: each accountant knows them all.
type Mechanism interface {
	// check refuses settings that mean nothing under the adjacency.
	check(dp.Adjacency) error
	// losses are the privacy losses of dominating pairs: one where the pair is
	// as bad in either direction, otherwise of removing and of adding a unit.
	losses(dp.Adjacency) []loss
	// renyi is the Rényi divergence, in the worse direction.
	renyi(dp.Adjacency) divergence
	// group is the same mechanism as a group of k units sees it, where the
	// mechanism scales with the size of the group.
	group(k int) (Mechanism, bool)
}

// Clip is the greatest norm of what one unit contributes to a sum: the L2 norm
// for Gaussian noise, the L1 norm for Laplace. It is enforced by clipping, and
// the sensitivity follows from it; there is no place to type a sensitivity in.
// For values in a range [lo, hi] that are summed, the clip is max(|lo|, |hi|)
// under add-remove, and under replace (hi-lo)/2, as they may be centred.
type Clip float64

// Sensitivity is how far the sum moves between neighbouring data sets: by the
// clip when a unit comes or goes, by twice that when another takes its place.
func (c Clip) Sensitivity(a dp.Adjacency) float64 {
	if a == dp.Replace {
		return 2 * float64(c)
	}
	return float64(c)
}

func (c Clip) check() error {
	if !(c > 0) || math.IsInf(float64(c), 0) {
		return fmt.Errorf("clip %v: must be a positive number, the bound that contributions are clipped to", float64(c))
	}
	return nil
}

// Gaussian adds independent normal noise to each coordinate of a sum of vectors
// that were clipped in L2.
type Gaussian struct {
	StdDev  float64 // standard deviation of the noise, in the unit of Clip
	Clip    Clip    // L2 norm of one unit's contribution
	Sampler Sampler // which units take part; nil for all
}

// Laplace adds independent Laplace noise to each coordinate of a sum of vectors
// that were clipped in L1.
type Laplace struct {
	Scale   float64 // b of the density exp(-|x|/b)/2b, in the unit of Clip
	Clip    Clip    // L1 norm of one unit's contribution
	Sampler Sampler // which units take part; nil for all
}

// DiscreteGaussian adds noise with P(x) proportional to exp(-x²/2Sigma²) on the
// whole numbers (Canonne, Kamath and Steinke 2020, arXiv 2004.00010).
type DiscreteGaussian struct {
	Sigma   float64 // of the formula; the standard deviation is slightly less
	Clip    int64   // the greatest |count| of one unit
	Sampler Sampler // which units take part; nil for all
}

// DiscreteLaplace adds noise with P(x) proportional to exp(-|x|/Scale) on the
// whole numbers.
type DiscreteLaplace struct {
	Scale   float64
	Clip    int64   // the greatest |count| of one unit
	Sampler Sampler // which units take part; nil for all
}

// RandomisedResponse has each unit answer one of Options values: the true one
// e^Epsilon times as often as each other. The unit's presence is plain to see,
// so it protects under replace only.
type RandomisedResponse struct {
	Epsilon float64
	Options int // at least 2
}

// Exponential chooses by a score whose ratio of probabilities between
// neighbours has the bounded range Epsilon: exp(Epsilon·u/2Δ), and
// report-noisy-max with exponential or Gumbel noise (Dong, Durfee and Rogers
// 2020, arXiv 1909.13830).
type Exponential struct{ Epsilon float64 }

// Point is a mechanism of which only a guarantee is known, under the adjacency
// of the plan.
type Point struct{ dp.Guarantee }

func checkNoise(name string, v float64) error {
	if !(v > 0) || math.IsInf(v, 0) {
		return fmt.Errorf("%s %v: must be a positive finite number", name, v)
	}
	return nil
}

// ratio is noise over clip; extremes are refused, where either no privacy is
// left or the arithmetic cannot tell.
func checkRatio(noise, clip float64) error {
	if r := noise / clip; !(r >= 1e-3 && r <= 1e9) {
		return fmt.Errorf("noise of %g times the clip: must be between 0.001 and 1e9 times", r)
	}
	return nil
}

func checkSampled(s Sampler, adj dp.Adjacency) error {
	if s == nil {
		return nil
	}
	return s.check(adj)
}

func (m Gaussian) check(adj dp.Adjacency) error {
	return firstError(checkNoise("standard deviation", m.StdDev), m.Clip.check(),
		checkRatio(m.StdDev, float64(m.Clip)), checkSampled(m.Sampler, adj))
}

func (m Laplace) check(adj dp.Adjacency) error {
	if m.Sampler != nil {
		if _, ok := m.Sampler.(CappedPoisson); ok || adj == dp.Replace && !isFixed(m.Sampler) {
			return errors.New("sampled Laplace noise: accounted for Poisson under add-remove and fixed size under replace only")
		}
	}
	return firstError(checkNoise("scale", m.Scale), m.Clip.check(),
		checkRatio(m.Scale, float64(m.Clip)), checkSampled(m.Sampler, adj))
}

func (m DiscreteGaussian) check(adj dp.Adjacency) error {
	return firstError(checkNoise("sigma", m.Sigma), checkDiscrete(m.Sigma, m.Clip, m.Sampler, adj))
}

func (m DiscreteLaplace) check(adj dp.Adjacency) error {
	return firstError(checkNoise("scale", m.Scale), checkDiscrete(m.Scale, m.Clip, m.Sampler, adj))
}

// maxDiscrete bounds the scale of discrete noise, whose probabilities are
// summed one by one.
const maxDiscrete = 1e5

func checkDiscrete(scale float64, clip int64, s Sampler, adj dp.Adjacency) error {
	if clip < 1 {
		return fmt.Errorf("clip %d: must be at least 1", clip)
	}
	if scale > maxDiscrete || float64(clip) > maxDiscrete {
		return fmt.Errorf("discrete noise of scale %g for a clip of %d: both must be at most %g; divide them by the same number", scale, clip, maxDiscrete)
	}
	if s != nil {
		if _, ok := s.(CappedPoisson); ok || adj == dp.Replace && !isFixed(s) {
			return errors.New("sampled discrete noise: accounted for Poisson under add-remove and fixed size under replace only")
		}
	}
	return firstError(checkRatio(scale, float64(clip)), checkSampled(s, adj))
}

func isFixed(s Sampler) bool { _, ok := s.(FixedSize); return ok }

func (m RandomisedResponse) check(adj dp.Adjacency) error {
	if m.Options < 2 {
		return fmt.Errorf("randomised response among %d options: must be at least 2", m.Options)
	}
	if adj != dp.Replace {
		return errors.New("randomised response: it shows who answers, so it protects under replace only")
	}
	return checkEpsilon(m.Epsilon)
}

func (m Exponential) check(dp.Adjacency) error { return checkEpsilon(m.Epsilon) }

func (m Point) check(dp.Adjacency) error {
	if m.Epsilon == 0 {
		return m.Guarantee.Check()
	}
	return firstError(m.Guarantee.Check(), checkEpsilon(m.Epsilon))
}

// maxEpsilon bounds the epsilon of one mechanism. Nothing is left to account
// for long before.
const maxEpsilon = 500

func checkEpsilon(e float64) error {
	if !(e > 0 && e <= maxEpsilon) {
		return fmt.Errorf("epsilon %v: must be more than 0 and at most %d", e, maxEpsilon)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
