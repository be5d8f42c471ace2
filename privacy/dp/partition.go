package dp

import (
	"cmp"
	"errors"
	"fmt"
	"math"
)

// Selection decides which groups of a table may be shown at all, where the
// groups' names come from the data: a group that only one person is in would name
// him. It keeps each group with the greatest probability that its number of
// privacy units allows (Desfontaines, Voss, Gipson, Mandayam 2022, "Differentially
// private partition selection"), so that nothing else with the same guarantee
// keeps more. It is made by [NewSelection] and safe for concurrent use.
type Selection struct {
	keep []chance // by number of units; certain beyond the last
}

// chance is a probability, as such or by its complement, whichever is small: so
// that both ends are precise.
type chance struct {
	p     float64
	drops bool // p is the probability of the opposite
}

// NewSelection gives the guarantee where a unit is in as many groups as the
// contribution allows, and under replace in twice as many that change. Each
// group gets an equal share of epsilon, and 1-(1-delta)^(1/groups) of delta.
func NewSelection(g Guarantee, groups int64, a Adjacency) (*Selection, error) {
	if err := cmp.Or(a.Check(), g.Check(), checkEpsilon(g.Epsilon)); err != nil {
		return nil, err
	}
	if groups < 1 || groups > math.MaxInt32 {
		return nil, fmt.Errorf("groups %d: must be between 1 and 2^31-1", groups)
	}
	if g.Delta == 0 {
		return nil, errors.New("delta 0: no group could ever be shown whose name is not public; give a delta such as 1e-6, or the names")
	}
	if a == Replace {
		groups *= 2 // the unit leaves some and enters others: at worst all differ
	}
	epsilon, delta := g.Epsilon/float64(groups), shareDelta(g.Delta, groups)
	if epsilon < 1e-4 {
		return nil, fmt.Errorf("epsilon %v over %d groups: less than 1e-4 for each; give more, or let a unit be in fewer groups", g.Epsilon, groups)
	}
	s := &Selection{keep: []chance{{}}}
	for last := s.keep[0]; !(last.drops && last.p == 0); s.keep = append(s.keep, last) {
		last = last.next(epsilon, delta)
	}
	return s, nil
}

// next is the chance with one unit more: the least of e^eps p + delta and
// 1 - e^-eps (1 - p - delta), which two neighbours allow each other. Rounding could
// break either by a last digit, so both are taken a little low, by more than
// float64 can err: the factors by 2^-50.
func (c chance) next(epsilon, delta float64) chance {
	const less, more = 1 - 0x1p-50, 1 + 0x1p-50
	keep, drop := c.p, 1-c.p
	if c.drops {
		keep, drop = drop, keep
	}
	grown := math.Exp(epsilon)*less*keep + delta*less
	left := max(0, math.Exp(-epsilon)*more*(drop-delta*less))
	if grown < 0.5 && grown < 1-left {
		return chance{p: grown}
	}
	return chance{p: max(left, 1-grown), drops: true}
}

// Probability is that of keeping a group of so many units.
func (s *Selection) Probability(units int64) float64 {
	c := s.at(units)
	if c.drops {
		return 1 - c.p
	}
	return c.p
}

func (s *Selection) at(units int64) chance {
	return s.keep[min(max(units, 0), int64(len(s.keep)-1))]
}

// Keep decides about a group of so many units. Each group is decided once.
func (s *Selection) Keep(src Source, units int64) bool {
	c := s.at(units)
	p := rat(c.p)
	var buf [small]byte
	k := src.open(buf[:])
	defer k.close()
	return k.bigRatio(p.Num(), p.Denom()) != c.drops
}

// shareDelta is the delta of each of n parts that compose to delta.
func shareDelta(delta float64, n int64) float64 {
	if n == 1 {
		return delta
	}
	return -math.Expm1(math.Log1p(-delta) / float64(n))
}

// Threshold is the least number T so that showing a noisy count only where it is
// at least T betrays with probability delta at most that a unit is there, which
// is alone in each of its groups and counts for one there. It is exact for the
// discrete noise of the mechanism, in steps of its grid. The delta is spent on top
// of what the mechanism costs.
func (m *Mechanism) Threshold(delta float64) (int64, error) {
	if !(delta > 0 && delta < 1) {
		return 0, fmt.Errorf("delta %v of a threshold: must be between 0 and 1", delta)
	}
	return plus(m.sensitivity.linf+1, m.quantile(shareDelta(delta, m.sensitivity.l0))), nil
}

// LaplaceThreshold is the threshold for counts with continuous Laplace noise of
// scale groups/epsilon, as other libraries have it: a comparison.
func LaplaceThreshold(g Guarantee, groups int64) float64 {
	share, scale := shareDelta(g.Delta, groups), float64(groups)/g.Epsilon
	if share > 0.5 {
		return 1 + scale*math.Log(2*(1-share))
	}
	return 1 - scale*math.Log(2*share)
}

// GaussianThreshold is the threshold for counts with continuous Gaussian noise of
// deviation sigma: a comparison.
func GaussianThreshold(sigma, delta float64, groups int64) float64 {
	return 1 + sigma*upperQuantile(shareDelta(delta, groups))
}
