package account

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Plan is what is released about one data set: everything that a guarantee
// depends on, and no more.
type Plan struct {
	Adjacency dp.Adjacency // required
	Steps     []Step       // in any order, chosen in any way that does not look at the answers
	// Group is how many units that belong together are protected as one; 0 and 1
	// for a single unit.
	Group int
}

// Step is a mechanism that runs Times times, on the same units, with fresh noise
// and a fresh sample each time.
type Step struct {
	Mechanism Mechanism
	Times     int
}

// Limits of a plan: beyond them nothing that people run lies, and no answer
// would come in time.
const (
	maxTimes = 1_000_000_000
	maxSteps = 1000
	maxGroup = 1_000_000
)

// Check says whether a plan can be accounted for, and if not, what is wrong.
func (p Plan) Check() error {
	if err := p.Adjacency.Check(); err != nil {
		return err
	}
	if len(p.Steps) > maxSteps {
		return fmt.Errorf("%d kinds of steps: must be at most %d; say equal ones once, with the number of times", len(p.Steps), maxSteps)
	}
	if p.Group < 0 || p.Group > maxGroup {
		return fmt.Errorf("group of %d: must be between 1 and %d", p.Group, maxGroup)
	}
	times := 0
	for i, s := range p.Steps {
		if s.Mechanism == nil {
			return fmt.Errorf("step %d: no mechanism", i+1)
		}
		if s.Times < 1 || s.Times > maxTimes {
			return fmt.Errorf("step %d runs %d times: must be between 1 and %d", i+1, s.Times, maxTimes)
		}
		if err := s.Mechanism.check(p.Adjacency); err != nil {
			return err
		}
		times = min(times+s.Times, 2*maxTimes)
	}
	if times > maxTimes {
		return fmt.Errorf("more than %d releases in all", maxTimes)
	}
	return nil
}

// attained says that each step's dominating pair is one that the mechanism itself
// attains, so that a lower bound for the pair is one for the plan.
func (p Plan) attained() bool {
	for _, s := range p.Steps {
		var sampler Sampler
		switch m := s.Mechanism.(type) {
		case Exponential:
			return false
		case Gaussian:
			sampler = m.Sampler
		case Laplace:
			sampler = m.Sampler
		case DiscreteGaussian:
			sampler = m.Sampler
		case DiscreteLaplace:
			sampler = m.Sampler
		}
		if _, ok := sampler.(Poisson); sampler != nil && !ok {
			return false
		}
	}
	return true
}

// accountable checks a plan and turns one about a group into one about a unit,
// where every mechanism scales with the group. Otherwise group is its size.
func (p Plan) accountable() (unit Plan, group int, err error) {
	if err := p.Check(); err != nil {
		return p, 0, err
	}
	if p.Group <= 1 {
		p.Group = 0
		return p, 1, nil
	}
	unit = Plan{Adjacency: p.Adjacency}
	for _, s := range p.Steps {
		m, ok := s.Mechanism.group(p.Group)
		if ok {
			ok = m.check(p.Adjacency) == nil
		}
		if !ok {
			group, p.Group = p.Group, 0
			return p, group, nil
		}
		unit.Steps = append(unit.Steps, Step{m, s.Times})
	}
	return unit, 1, nil
}

func (m Gaussian) group(k int) (Mechanism, bool) {
	m.Clip *= Clip(k)
	return m, m.Sampler == nil
}

func (m Laplace) group(k int) (Mechanism, bool) {
	m.Clip *= Clip(k)
	return m, m.Sampler == nil
}

func (m DiscreteGaussian) group(k int) (Mechanism, bool) {
	m.Clip *= int64(k)
	return m, m.Sampler == nil && m.Clip < maxDiscrete
}

func (m DiscreteLaplace) group(k int) (Mechanism, bool) {
	m.Clip *= int64(k)
	return m, m.Sampler == nil && m.Clip < maxDiscrete
}

func (m RandomisedResponse) group(int) (Mechanism, bool) { return nil, false }
func (m Exponential) group(int) (Mechanism, bool)        { return nil, false }
func (m Point) group(int) (Mechanism, bool)              { return nil, false }

// Interval holds a number between a proved upper and a proved lower bound. The
// upper one is the guarantee. The lower one says how much of it is slack: no
// accountant can go below. Where a mechanism's worst case depends on the question
// (Exponential) or a bound stands for it (CappedPoisson, FixedSize), it bounds
// what that bound costs, and another one may cost less.
type Interval struct {
	Lower float64 `json:"lower"`
	Upper float64 `json:"upper"`
}

// minDelta is the least delta other than 0 that is accounted for.
const minDelta = 1e-30

func checkDelta(delta float64) error {
	if delta == 0 {
		return nil
	}
	if !(delta >= minDelta && delta < 1) {
		return fmt.Errorf("delta %v: must be 0, or at least %g and less than 1", delta, minDelta)
	}
	return nil
}

func checkQuestion(epsilon float64) error {
	if !(epsilon >= 0) || math.IsInf(epsilon, 1) {
		return fmt.Errorf("epsilon %v: must be a finite number of 0 or more", epsilon)
	}
	return nil
}

// pure is the epsilon that a mechanism has with delta 0, or infinity.
func pure(m Mechanism, adj dp.Adjacency) float64 {
	switch m.(type) {
	case Gaussian, DiscreteGaussian:
		return math.Inf(1)
	}
	eps := 0.0
	for _, l := range m.losses(adj) {
		eps = max(eps, l.most())
	}
	return eps
}

// groupEpsilon is the epsilon of a group of k at delta when single answers for
// one unit: (e, d) for one is (k·e, d·(exp(k·e)-1)/(exp(e)-1)) for k (Vadhan
// 2017, lemma 2.2, summed). The best e is found by bisection.
func groupEpsilon(k int, delta float64, single func(eps float64) (delta float64)) float64 {
	n := float64(k)
	failed := func(e float64) bool {
		d := single(e)
		if d == 0 {
			return false
		}
		if e == 0 {
			return d*n > delta
		}
		// ln of d·expm1(ne)/expm1(e)
		return math.Log(d)+(n-1)*e+math.Log(-math.Expm1(-n*e))-math.Log(-math.Expm1(-e)) > math.Log(delta)
	}
	if !failed(0) {
		return 0
	}
	lo, hi := 0.0, 1e-3
	for failed(hi) {
		if lo, hi = hi, 2*hi; hi > 1e6 {
			return math.Inf(1)
		}
	}
	for hi-lo > 1e-4*hi { // each answer takes a while
		if mid := (lo + hi) / 2; failed(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return n * hi
}

// groupDelta is the delta of a group of k at epsilon, by the same.
func groupDelta(k int, epsilon float64, single func(eps float64) (delta float64)) float64 {
	n, e := float64(k), epsilon/float64(k)
	if e == 0 {
		return min(1, n*single(0))
	}
	d := single(e)
	if d == 0 {
		return 0
	}
	return min(1, math.Exp(math.Log(d)+(n-1)*e+math.Log(-math.Expm1(-n*e))-math.Log(-math.Expm1(-e))))
}

// of is the same plan for a group.
func (p Plan) of(group int) Plan {
	p.Group = group
	return p
}

var errNoPure = errors.New("no epsilon holds with delta 0: noise without a bound on its loss needs a delta above 0")
