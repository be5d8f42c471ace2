package account

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// ErrBudget is what [Filter.Admit] refuses with when a step would overspend.
var ErrBudget = errors.New("the step would exceed the budget")

// Filter keeps a budget when each step is chosen by what the earlier ones
// answered: its mechanism, noise and number too. Set Budget and Adjacency, then
// ask Admit before every step. It is not safe for concurrent use; package ledger
// keeps budgets that several spend from.
//
// It rests on the Rényi filter (Feldman and Zrnic 2021, arXiv 2008.11193; Lécuyer
// 2021, arXiv 2103.01379): at an order that is fixed beforehand, the sum of the
// divergences of the steps, each given the past, bounds the divergence of the
// whole as long as it never exceeds a bound that was fixed beforehand. Adding
// numbers afterwards as if they had been fixed is not enough: that is what a
// plan is for.
type Filter struct {
	Budget    dp.Guarantee // required; a delta of 0 admits pure mechanisms only
	Adjacency dp.Adjacency // required
	// Order of the divergence; 0 for the one at which the budget holds most
	// Gaussian noise.
	Order float64

	spent float64
	ready bool
	limit float64
}

// Admit counts a step and says nil, or refuses it with [ErrBudget] and counts
// nothing.
func (f *Filter) Admit(s Step) error {
	if err := f.begin(); err != nil {
		return err
	}
	cost, err := f.cost(s)
	if err != nil {
		return err
	}
	if f.spent+cost > f.limit {
		return fmt.Errorf("%w: it costs %.3g of the %.3g that are left of %.3g", ErrBudget, cost, max(f.limit-f.spent, 0), f.limit)
	}
	f.spent += cost
	return nil
}

// Spent is the part of the budget that is gone, from 0 to 1.
func (f *Filter) Spent() float64 {
	if f.begin() != nil || f.limit == 0 {
		return 0
	}
	return f.spent / f.limit
}

func (f *Filter) begin() error {
	if f.ready {
		return nil
	}
	if err := firstError(f.Budget.Check(), f.Adjacency.Check(), checkDelta(f.Budget.Delta)); err != nil {
		return err
	}
	if f.Budget.Epsilon == 0 {
		return errors.New("a budget of epsilon 0 admits nothing")
	}
	if f.Order == 0 {
		f.Order = bestOrder(f.Budget)
	}
	if err := checkOrders([]float64{f.Order}); err != nil {
		return err
	}
	f.limit = f.Budget.Epsilon
	if f.Budget.Delta > 0 {
		f.limit = renyiLimit(f.Budget, f.Order)
	}
	if f.limit <= 0 {
		return fmt.Errorf("order %g: at it not even silence keeps epsilon %g with delta %g; take a higher one", f.Order, f.Budget.Epsilon, f.Budget.Delta)
	}
	f.ready = true
	return nil
}

// cost is what a step counts: its divergence at the order, or its epsilon where
// delta is 0.
func (f *Filter) cost(s Step) (float64, error) {
	if err := (Plan{Adjacency: f.Adjacency, Steps: []Step{s}}).Check(); err != nil {
		return 0, err
	}
	if f.Budget.Delta == 0 {
		e := pure(s.Mechanism, f.Adjacency)
		if math.IsInf(e, 1) {
			return 0, errNoPure
		}
		return e * float64(s.Times), nil
	}
	d := s.Mechanism.renyi(f.Adjacency)(f.Order) * float64(s.Times)
	if math.IsInf(d, 1) || math.IsNaN(d) {
		return 0, fmt.Errorf("a step without a finite Rényi divergence at order %g cannot be filtered", f.Order)
	}
	return d, nil
}

// renyiLimit is the greatest divergence at an order that still converts to the
// budget.
func renyiLimit(g dp.Guarantee, order float64) float64 {
	return g.Epsilon - math.Log1p(-1/order) + math.Log(g.Delta*order)/(order-1)
}

// bestOrder is where the limit in proportion to the order is greatest: Gaussian
// noise costs in that proportion.
func bestOrder(g dp.Guarantee) float64 {
	if g.Delta == 0 {
		return 2
	}
	return 1 + math.Exp(maximise(-10, 20, func(x float64) float64 {
		order := 1 + math.Exp(x)
		return renyiLimit(g, order) / order
	}))
}

// Odometer says at any time what has been spent, when steps are chosen by what
// came before and no budget was set. Every reading holds at once, whenever one
// looks and stops, but for a probability of Delta.
//
// For each of a few orders a, exp((a-1)·(L - sum of divergences)) is a
// supermartingale under the outputs' own distribution, L being the privacy loss so
// far. By Ville's inequality it ever reaches N/Delta with probability at most
// Delta/N (as in Whitehouse, Ramdas, Rogers and Wu 2023, arXiv 2203.05481; the
// notion is of Rogers, Roth, Ullman and Vadhan 2016, arXiv 1605.08294). The least
// of the N bounds is read. It bounds the loss itself in probability, which implies
// (epsilon, delta).
type Odometer struct {
	Delta     float64      // required, above 0
	Adjacency dp.Adjacency // required

	spent [len(odometerOrders)]float64
}

// odometerOrders are the orders that are watched, fixed beforehand: from where
// epsilon is large to where it is small.
var odometerOrders = [...]float64{1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256}

// Count adds a step.
func (o *Odometer) Count(s Step) error {
	if err := firstError(o.Adjacency.Check(), checkDelta(o.Delta)); err != nil {
		return err
	}
	if o.Delta == 0 {
		return errors.New("an odometer needs a delta above 0")
	}
	if err := (Plan{Adjacency: o.Adjacency, Steps: []Step{s}}).Check(); err != nil {
		return err
	}
	d := s.Mechanism.renyi(o.Adjacency)
	for i, a := range odometerOrders {
		o.spent[i] += d(a) * float64(s.Times)
	}
	return nil
}

// Epsilon is what has been spent up to now.
func (o *Odometer) Epsilon() float64 {
	if o.spent == [len(odometerOrders)]float64{} {
		return 0
	}
	least := math.Inf(1)
	for i, a := range odometerOrders {
		least = min(least, o.spent[i]+math.Log(float64(len(o.spent))/o.Delta)/(a-1))
	}
	return least
}
