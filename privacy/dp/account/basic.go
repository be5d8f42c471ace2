package account

import "math"

// Accountant answers what a plan costs. A plan that is accounted for has the
// guarantee (Upper, delta), and (epsilon, Upper).
type Accountant interface {
	// Epsilon is the epsilon at a delta, which is 0 or between 1e-30 and 1.
	Epsilon(p Plan, delta float64) (Interval, error)
	// Delta is the delta at an epsilon of 0 or more.
	Delta(p Plan, epsilon float64) (Interval, error)
}

// Kind is an accountant with its name and what it does in one line.
type Kind struct {
	Name, Doc string
	Accountant
}

// Kinds lists the accountants, the tightest first. Left out are those that rest
// on the central limit theorem: they give less than the truth.
var Kinds = []Kind{
	{"pld", "composes the distribution of the privacy loss; tight, and bracketed from both sides", PLD{}},
	{"rdp", "adds Rényi divergences; an upper bound", Renyi{}},
	{"zcdp", "adds zero-concentrated losses; an upper bound, without amplification by sampling", ZCDP{}},
	{"basic", "adds epsilons and deltas; an upper bound, for mechanisms that have both", Basic{}},
}

// Basic adds epsilons and deltas (Dwork, McSherry, Nissim and Smith 2006; Dwork
// and Lei 2009). It holds for steps chosen in any way.
type Basic struct{}

// Epsilon is the sum of the steps' epsilons, infinity if their deltas add up to
// more than delta. Gaussian noise has no epsilon to add and is refused.
func (Basic) Epsilon(p Plan, delta float64) (Interval, error) {
	p, group, err := p.accountable()
	if err != nil {
		return Interval{}, err
	}
	if err := checkDelta(delta); err != nil {
		return Interval{}, err
	}
	eps, spent := 0.0, 0.0
	for _, s := range p.Steps {
		e, d := pure(s.Mechanism, p.Adjacency), 0.0
		if m, ok := s.Mechanism.(Point); ok {
			e, d = m.Epsilon, m.Guarantee.Delta
		}
		if math.IsInf(e, 1) {
			return Interval{}, errNoPure
		}
		eps, spent = eps+e*float64(s.Times), spent+d*float64(s.Times)
	}
	n := float64(group)
	if group > 1 && spent > 0 {
		spent *= math.Expm1(n*eps) / math.Expm1(eps)
	}
	if spent > delta*(1+1e-12) {
		return Interval{0, math.Inf(1)}, nil
	}
	return Interval{0, n * eps}, nil
}

// Delta is the sum of the steps' deltas, 1 if their epsilons add up to more than
// epsilon.
func (b Basic) Delta(p Plan, epsilon float64) (Interval, error) {
	if err := checkQuestion(epsilon); err != nil {
		return Interval{}, err
	}
	return deltaOf(b, p, epsilon)
}

// deltaOf finds the least delta whose epsilon is no more than asked.
func deltaOf(a Accountant, p Plan, epsilon float64) (Interval, error) {
	var failed error
	less := func(log float64) bool {
		i, err := a.Epsilon(p, math.Exp(log))
		if err != nil {
			failed = err
		}
		return i.Upper > epsilon
	}
	least := math.Log(minDelta) + 1e-9
	switch {
	case less(-1e-12):
		return Interval{0, 1}, failed
	case !less(least):
		if i, err := a.Epsilon(p, 0); err == nil && i.Upper <= epsilon {
			return Interval{}, nil
		}
		return Interval{0, minDelta}, failed
	}
	return Interval{0, math.Exp(bisect(-1e-12, least, func(log float64) bool { return !less(log) }))}, failed
}
