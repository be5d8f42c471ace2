package dp

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
)

// Manager is the differential privacy manager of textbooks: Laplace noise,
// Gaussian noise, private sums, means and counts by name, and a budget in memory
// that each of them spends from.
//
//	m, err := dp.NewManager(dp.Guarantee{Epsilon: 1, Delta: 1e-5}, dp.Replace)
//	mean, err := m.PrivateAggregation(dp.Mean, ages, dp.Range{Low: 18, High: 90}, 0.5)
//	fmt.Println(mean.Values[0], m.Figures().Remaining.Epsilon)
//
// Where it differs from the textbook's code it is because that is wrong. The
// sensitivity is not an argument but follows from the range, to which values are
// clamped; a sum of values that nobody clamped has none. Gaussian noise is
// calibrated, not sqrt(2 ln(1.25/delta))/epsilon, which is false for large
// epsilon and wasteful for small. Each call spends, so that the second answer is
// paid for like the first. Noise is exact.
//
// A budget that must survive the process, or that several processes share, is in
// the ledger package beside this one. Spending adds up epsilons and deltas, which
// is always right; the account package knows what many releases cost together,
// which is less.
//
// It is made by [NewManager] and safe for concurrent use.
type Manager struct {
	// Source is where noise comes from; the zero value is for real data.
	Source Source

	adjacency Adjacency
	budget    Guarantee
	mu        sync.Mutex
	spent     Guarantee
	releases  int
}

// NewManager begins with a whole budget. With [Replace] the number of values is
// public; with [AddRemove] it is not.
func NewManager(budget Guarantee, a Adjacency) (*Manager, error) {
	if err := cmp.Or(a.Check(), budget.Check(), checkEpsilon(budget.Epsilon)); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	return &Manager{adjacency: a, budget: budget}, nil
}

// Range is where values are, before anybody looked at them: from what a field
// means, never from its smallest and greatest value.
type Range struct {
	// Low and High bound each value; what is outside is clamped. Required.
	Low, High float64
	// PerUnit is how many of the values one privacy unit can have; 0 means 1.
	// Whoever passes the values must have dropped the others.
	PerUnit int64
	// Grid is what values are rounded to; nil means steps of 2^-20.
	Grid *Grid
}

func (r Range) grid() Grid {
	if r.Grid == nil {
		return 20
	}
	return *r.Grid
}

// Aggregate is the name of a statistic.
type Aggregate string

// The statistics of [Manager.PrivateAggregation].
const (
	Total Aggregate = "sum"
	Mean  Aggregate = "mean"
	Count Aggregate = "count" // of values within the range
)

// Released is what left a [Manager], and what it cost.
type Released struct {
	Values []float64
	// Spent is the guarantee of this release, under Adjacency.
	Spent     Guarantee
	Adjacency Adjacency
	// ExpectedLoss is the mean squared error that noise brings to each value. It
	// does not depend on the data and may be published. For a mean under
	// add-remove it is that of its sum, as the number of values is secret.
	ExpectedLoss float64
}

// AddLaplaceNoise is every value with Laplace noise worth epsilon to the unit it
// belongs to. That a value is there is public, so it is for [Replace] only.
func (m *Manager) AddLaplaceNoise(values []float64, r Range, epsilon float64) (Released, error) {
	return m.perturb(values, r, Guarantee{Epsilon: epsilon}, func(s Sensitivity) (*Mechanism, error) {
		return Laplace(s, epsilon)
	})
}

// AddGaussianNoise is every value with Gaussian noise worth the guarantee to the
// unit it belongs to. That a value is there is public, so it is for [Replace]
// only.
func (m *Manager) AddGaussianNoise(values []float64, r Range, g Guarantee) (Released, error) {
	return m.perturb(values, r, g, func(s Sensitivity) (*Mechanism, error) { return Gaussian(s, g) })
}

func (m *Manager) perturb(values []float64, r Range, g Guarantee, fit func(Sensitivity) (*Mechanism, error)) (Released, error) {
	if m.adjacency != Replace {
		return Released{}, errors.New("noise on each value: the number of values tells who is there, so the budget must be for adjacency replace")
	}
	grid := r.grid()
	c, fixed, err := r.fix(values)
	if err != nil {
		return Released{}, err
	}
	c, fixed, middle := c.centre(fixed)
	c.Groups, c.Among = max(r.PerUnit, 1), max(r.PerUnit, 1) // a unit's values are replaced where they stand
	s, err := c.Sensitivity(Replace)
	if err != nil {
		return Released{}, err
	}
	mechanism, err := fit(s)
	if err != nil {
		return Released{}, err
	}
	if err := m.spend(g); err != nil {
		return Released{}, err
	}
	out := Released{Values: make([]float64, len(values)), Spent: g, Adjacency: Replace, ExpectedLoss: loss(mechanism, grid)}
	for i, x := range mechanism.Release(m.Source, fixed) {
		out.Values[i] = grid.Float(plus(middle, x))
	}
	return out, nil
}

// PrivateAggregation is a sum, mean or count of values with Laplace noise worth
// epsilon. A mean under add-remove spends half on the sum, of distances from the
// middle of the range, and half on the number.
func (m *Manager) PrivateAggregation(kind Aggregate, values []float64, r Range, epsilon float64) (Released, error) {
	if err := checkEpsilon(epsilon); err != nil {
		return Released{}, err
	}
	c, fixed, err := r.fix(values)
	if err != nil {
		return Released{}, err
	}
	var answer func() (float64, float64)
	ones := Contribution{Low: 1, High: 1}
	switch {
	case kind == Total:
		answer, err = m.total(c, r, fixed, r.grid(), epsilon)
	case kind == Count:
		answer, err = m.total(ones, r, inside(values, r), 0, epsilon)
	case kind == Mean && m.adjacency == Replace && len(values) == 0:
		return Released{}, errors.New("mean of no values")
	case kind == Mean && m.adjacency == Replace:
		answer, err = m.meanOf(c, r, fixed, epsilon)
	case kind == Mean:
		answer, err = m.meanOfSome(c, r, fixed, epsilon)
	default:
		err = fmt.Errorf("aggregate %q: must be sum, mean or count", kind)
	}
	if err != nil {
		return Released{}, err
	}
	g := Guarantee{Epsilon: epsilon}
	if err := m.spend(g); err != nil {
		return Released{}, err
	}
	value, expected := answer() // noise is drawn only now
	return Released{Values: []float64{value}, Spent: g, Adjacency: m.adjacency, ExpectedLoss: expected}, nil
}

// total prepares a noisy sum; the noise is drawn when it is called.
func (m *Manager) total(c Contribution, r Range, values []int64, grid Grid, epsilon float64) (func() (float64, float64), error) {
	c.Rows, c.Among = r.PerUnit, 1
	s, err := c.Sensitivity(m.adjacency)
	if err != nil {
		return nil, err
	}
	mechanism, err := Laplace(s, epsilon)
	if err != nil {
		return nil, err
	}
	return func() (float64, float64) {
		var sum Sum
		for _, x := range values {
			sum.Add(x)
		}
		return grid.Float(mechanism.Release(m.Source, []int64{sum.Value()})[0]), loss(mechanism, grid)
	}, nil
}

// meanOf prepares a mean of values whose number is public.
func (m *Manager) meanOf(c Contribution, r Range, values []int64, epsilon float64) (func() (float64, float64), error) {
	off, centred, middle := c.centre(values)
	sum, err := m.total(off, r, centred, r.grid(), epsilon)
	n := float64(len(values))
	return func() (float64, float64) {
		total, loss := sum()
		return min(max(r.grid().Float(middle)+total/n, r.Low), r.High), loss / (n * n)
	}, err
}

// meanOfSome prepares a mean of values whose number is secret.
func (m *Manager) meanOfSome(c Contribution, r Range, values []int64, epsilon float64) (func() (float64, float64), error) {
	off, centred, middle := c.centre(values)
	sum, err := m.total(off, r, centred, r.grid(), epsilon/2)
	if err != nil {
		return nil, err
	}
	ones := make([]int64, len(values))
	for i := range ones {
		ones[i] = 1
	}
	number, err := m.total(Contribution{Low: 1, High: 1}, r, ones, 0, epsilon/2)
	return func() (float64, float64) {
		total, loss := sum()
		n, _ := number()
		return min(max(r.grid().Float(middle)+total/max(n, 1), r.Low), r.High), loss
	}, err
}

// centre moves values by the middle of their range, from where one of them is
// never farther than half of it.
func (c Contribution) centre(values []int64) (off Contribution, centred []int64, middle int64) {
	middle = c.Low + (c.High-c.Low)/2
	centred = make([]int64, len(values))
	for i, x := range values {
		centred[i] = x - middle
	}
	return Contribution{Low: c.Low - middle, High: c.High - middle}, centred, middle
}

// fix is the values on the grid, clamped, and what one of them contributes.
func (r Range) fix(values []float64) (Contribution, []int64, error) {
	grid := r.grid()
	c, err := grid.Contribution(r.Low, r.High)
	if err != nil {
		return c, nil, err
	}
	if r.PerUnit < 0 {
		return c, nil, fmt.Errorf("per unit %d: must not be negative", r.PerUnit)
	}
	fixed := make([]int64, len(values))
	for i, x := range values {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return c, nil, errors.New("a value is not a number or infinite: drop or replace such values first; nothing was spent")
		}
		if fixed[i], err = grid.Fix(min(max(x, r.Low), r.High)); err != nil {
			return c, nil, err
		}
		fixed[i] = c.Clamp(fixed[i])
	}
	return c, fixed, nil
}

func inside(values []float64, r Range) []int64 {
	ones := make([]int64, len(values))
	for i, x := range values {
		if x >= r.Low && x <= r.High {
			ones[i] = 1
		}
	}
	return ones
}

func loss(m *Mechanism, grid Grid) float64 { return m.Variance() * grid.Step() * grid.Step() }

// ErrBudget is what a [Manager] answers that has less left than a release costs.
// Nothing was drawn then.
var ErrBudget = errors.New("the privacy budget does not suffice")

// spend takes a release's cost, or refuses it.
func (m *Manager) spend(g Guarantee) error {
	if err := g.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := Guarantee{Epsilon: m.spent.Epsilon + g.Epsilon, Delta: m.spent.Delta + g.Delta}
	const rounding = 1 + 0x1p-40 // ten times 0.1 is 1
	if next.Epsilon > m.budget.Epsilon*rounding || next.Delta > m.budget.Delta*rounding {
		return fmt.Errorf("%w: this needs epsilon %v and delta %v, left are %.6g and %.6g", ErrBudget,
			g.Epsilon, g.Delta, m.remaining().Epsilon, m.remaining().Delta)
	}
	m.spent, m.releases = next, m.releases+1
	return nil
}

func (m *Manager) remaining() Guarantee {
	return Guarantee{
		Epsilon: max(0, m.budget.Epsilon-m.spent.Epsilon),
		Delta:   max(0, m.budget.Delta-m.spent.Delta),
	}
}

// Figures says where a [Manager] stands.
type Figures struct {
	Budget, Spent, Remaining Guarantee
	// Adjacency is what the guarantees are under.
	Adjacency Adjacency
	// Releases is how many answers were paid for.
	Releases int
	// Membership is the [Guarantee.Membership] of what was spent.
	Membership float64
}

// Figures are those of now.
func (m *Manager) Figures() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Figures{
		Budget: m.budget, Spent: m.spent, Remaining: m.remaining(),
		Adjacency: m.adjacency, Releases: m.releases, Membership: m.spent.Membership(),
	}
}

// Membership is the greatest probability with which anybody can tell which of two
// neighbouring data sets an answer came from, if both are equally likely before:
// (e^epsilon + delta)/(1 + e^epsilon), one half for no information (Kairouz, Oh,
// Viswanath 2015). Textbooks call 1/(1+e^-epsilon), the same without delta, "the
// guarantee".
func (g Guarantee) Membership() float64 {
	return 1 - (1-g.Delta)/(1+math.Exp(g.Epsilon))
}

// InformationLoss is the mean squared difference between data and what was
// released of them. Keep it: it is measured on the private data, and whoever knows
// how large the noise was knows the data. Publish [Released.ExpectedLoss].
func InformationLoss(original, released []float64) (float64, error) {
	if len(original) != len(released) || len(original) == 0 {
		return 0, fmt.Errorf("information loss of %d values by %d: must be as many, and at least one", len(original), len(released))
	}
	var sum float64
	for i, x := range original {
		d := x - released[i]
		sum += d * d
	}
	return sum / float64(len(original)), nil
}
