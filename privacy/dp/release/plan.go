package release

import (
	"fmt"
	"math"
	"math/big"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// plan is a query worked out: where each statistic's cells are, and what noise
// its numbers get.
type plan struct {
	*Query
	stats  []statistic
	offset []int        // of each statistic's cells
	cells  int          // of a group
	slots  []int        // index of each statistic's code in a record; -1 for none
	coded  []*statistic // those that have a code in a record, by slot
	parts  [][]noise

	selection  *dp.Selection // nil where no group is named from the data
	named      dp.Guarantee  // what selection costs
	conversion float64       // delta at which rho is converted, gaussian only
}

// noise is what a part's numbers get.
type noise struct {
	*dp.Mechanism
	share dp.Guarantee // what the part costs; of gaussian noise, its rho converted at the release's delta
	step  account.Step // the same for the accountant
}

// newPlan checks a query and works it out. The budget is split by weight: naming
// groups weighs 1, a statistic what it says, and its parts share evenly. For
// laplace noise epsilon is what is split; for gaussian noise it is rho.
func newPlan(q *Query) (*plan, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	p := &plan{Query: q}
	weight := 0.0
	for _, s := range q.Statistics {
		st := kindOf(s.Of).build(s)
		p.offset = append(p.offset, p.cells)
		p.cells += st.cells
		slot := -1
		if s.Column != "" {
			slot, p.coded = len(p.coded), append(p.coded, &st)
		}
		p.slots = append(p.slots, slot)
		p.stats = append(p.stats, st)
		weight += s.Weight
	}
	epsilon, delta := q.Epsilon, q.Delta
	if p.discovers() {
		share := q.Epsilon / (weight + 1)
		p.named = dp.Guarantee{Epsilon: share, Delta: delta}
		if q.Noise == "gaussian" {
			p.named.Delta = delta / 2
		}
		var err error
		if p.selection, err = dp.NewSelection(p.named, q.GroupsPerPerson, q.Adjacency); err != nil {
			return nil, fmt.Errorf("naming groups: %w", err)
		}
		epsilon, delta = epsilon-share, delta-p.named.Delta
	}
	rho := 0.0
	if q.Noise == "gaussian" {
		p.conversion = delta
		var err error
		if rho, err = rhoOf(dp.Guarantee{Epsilon: epsilon, Delta: delta}); err != nil {
			return nil, err
		}
	}
	for i, st := range p.stats {
		share := st.Weight / weight / float64(len(st.parts))
		var parts []noise
		for _, part := range st.parts {
			n, err := p.noise(st, part, epsilon*share, rho*share)
			if err != nil {
				return nil, fmt.Errorf("statistics[%d], %s: %w", i, st.Name, err)
			}
			parts = append(parts, n)
		}
		p.parts = append(p.parts, parts)
	}
	return p, nil
}

// discovers reports whether the names of groups come from the data.
func (p *plan) discovers() bool { return len(p.GroupBy) > 0 && len(p.Keys) == 0 }

// groups is how many numbers of a part a person touches, and among how many.
func (p *plan) among() int64 {
	switch {
	case len(p.GroupBy) == 0:
		return 1
	case len(p.Keys) > 0:
		return int64(len(p.Keys))
	}
	return 0
}

func (p *plan) noise(st statistic, part part, epsilon, rho float64) (noise, error) {
	c := part.row
	c.Groups, c.Rows, c.Among = p.GroupsPerPerson, p.RowsPerGroup, p.among()
	if st.people {
		c.Rows = 1
	}
	if st.Of == "histogram" || st.Of == "quantiles" {
		// A person's rows move several numbers of one group by less each, which is
		// no more than one number by all, but for replacing: what one loses another
		// gains, and none is alone.
		c.Among = 0
	}
	s, err := c.Sensitivity(p.Adjacency)
	if err != nil {
		return noise{}, err
	}
	if p.Noise == "laplace" {
		m, err := dp.Laplace(s, epsilon)
		g := dp.Guarantee{Epsilon: epsilon}
		return noise{m, g, account.Step{Mechanism: account.Point{Guarantee: g}, Times: 1}}, err
	}
	// Every coordinate's discrete Gaussian noise has the zero-concentrated loss of
	// the continuous one, and they add (Canonne, Kamath and Steinke 2020, theorem 4
	// and corollary 5), so that the accountant's continuous Gaussian stands for it.
	variance := new(big.Rat)
	variance.SetFloat64(math.Nextafter(s.L2()*s.L2()/(2*rho)*(1+1e-12), math.Inf(1)))
	variance = coarse(variance)
	m, err := dp.GaussianOf(s, variance)
	if err != nil {
		return noise{}, err
	}
	sigma, _ := variance.Float64()
	clip := account.Clip(s.L2())
	if p.Adjacency == dp.Replace {
		clip /= 2 // the accountant doubles it
	}
	step := account.Step{Mechanism: account.Gaussian{StdDev: math.Sqrt(sigma), Clip: clip}, Times: 1}
	eps, err := account.ZCDP{}.Epsilon(account.Plan{Adjacency: p.Adjacency, Steps: []account.Step{step}}, p.conversion)
	return noise{m, dp.Guarantee{Epsilon: eps.Upper, Delta: p.conversion}, step}, err
}

// coarse rounds a variance up to 20 binary digits, which the samplers like better
// than the 53 of a float64.
func coarse(v *big.Rat) *big.Rat {
	f, _ := v.Float64()
	fraction, exp := math.Frexp(f)
	n := int64(math.Ceil(math.Ldexp(fraction, 20)))
	out := new(big.Rat).SetInt64(n)
	two := new(big.Int).Lsh(big.NewInt(1), uint(max(exp-20, 20-exp)))
	if exp >= 20 {
		return out.Mul(out, new(big.Rat).SetInt(two))
	}
	return out.Quo(out, new(big.Rat).SetInt(two))
}

// rhoOf is the greatest zero-concentrated loss that converts to a guarantee.
func rhoOf(g dp.Guarantee) (float64, error) {
	lo, hi := 1e-12, 1e4
	for range 200 {
		mid := math.Sqrt(lo * hi)
		plan := account.Plan{Adjacency: dp.AddRemove, Steps: []account.Step{{
			Mechanism: account.Gaussian{StdDev: 1 / math.Sqrt(2*mid), Clip: 1}, Times: 1}}}
		eps, err := account.ZCDP{}.Epsilon(plan, g.Delta)
		if err != nil {
			return 0, err
		}
		if eps.Upper*(1+1e-12) <= g.Epsilon {
			lo = mid
		} else {
			hi = mid
		}
		if hi/lo < 1+1e-12 {
			break
		}
	}
	if lo == 1e-12 {
		return 0, fmt.Errorf("epsilon %v at delta %v is too little to add noise to: give more", g.Epsilon, g.Delta)
	}
	return lo, nil
}

// steps are what the whole release does.
func (p *plan) steps() []account.Step {
	var out []account.Step
	if p.selection != nil {
		out = append(out, account.Step{Mechanism: account.Point{Guarantee: p.named}, Times: 1})
	}
	for _, parts := range p.parts {
		for _, n := range parts {
			out = append(out, n.step)
		}
	}
	return out
}

// Steps are what a release of the query costs, as a ledger and the accountants
// understand it.
func Steps(q *Query) ([]account.Step, error) {
	p, err := newPlan(q)
	if err != nil {
		return nil, err
	}
	return p.steps(), nil
}

// spread is how wide a part's noise is where mistakes of probability tail are
// allowed it.
func (n noise) spread(tail float64) (spread, error) {
	one, err := n.Interval(1 - tail)
	if err != nil {
		return spread{}, err
	}
	return spread{one: float64(one), sum: func(k int) float64 { return n.sum(k, tail) }}, nil
}

// sum bounds |sum of k draws| with probability 1-tail, by Chernoff: the moment
// generating function of discrete Gaussian noise is at most that of the continuous
// one (Canonne, Kamath and Steinke 2020, corollary 16), that of discrete Laplace
// noise of scale b is (1-q)²/((1-q e^t)(1-q e^-t)), q = e^(-1/b).
func (n noise) sum(k int, tail float64) float64 {
	parameter, _ := n.Parameter().Float64()
	log := math.Log(2 / tail)
	if _, ok := n.step.Mechanism.(account.Gaussian); ok {
		return math.Sqrt(2 * float64(k) * parameter * log)
	}
	q, best := math.Exp(-1/parameter), math.Inf(1)
	for i := 1; i < 1000; i++ {
		t := float64(i) / 1000 / parameter
		mgf := 2*math.Log1p(-q) - math.Log1p(-q*math.Exp(t)) - math.Log1p(-q*math.Exp(-t))
		best = min(best, (float64(k)*mgf+log)/t)
	}
	return best
}
