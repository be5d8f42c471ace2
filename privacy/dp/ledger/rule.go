package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// Rule says how the costs of releases are added up. The zero value is [Filter].
type Rule int

const (
	// Filter adds pure epsilons and zero-concentrated losses side by side, and
	// admits while one of the sums is within its bound. Half of the budget's delta
	// is for failures of mechanisms that can fail, half for converting rho.
	//
	// Why "one of" is sound, for parameters chosen from earlier answers: take the
	// runs that end within the pure bound. Their loss is at most epsilon, but for
	// failures, and they add nothing to delta. Take the others, which end within
	// rho. Stop each run where it would leave rho: the stopped process has that
	// zero-concentrated loss, and on the runs in question it is the run itself.
	// So all of delta that they add is that of rho, converted.
	Filter Rule = iota
	// Composed composes the privacy loss distributions of everything reserved, at
	// the budget's delta. It holds when no release's parameters depend on the
	// answers of others.
	Composed
)

var rules = map[Rule]string{Filter: "filter", Composed: "composed"}

func (r Rule) String() string { return rules[r] }

// MarshalText gives "filter" or "composed".
func (r Rule) MarshalText() ([]byte, error) { return []byte(rules[r]), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Rule) UnmarshalText(text []byte) error {
	for k, name := range rules {
		if name == string(text) {
			*r = k
			return nil
		}
	}
	return fmt.Errorf("rule %q: must be filter or composed", text)
}

// Budget is what may be spent on a data set, about one kind of unit. It cannot
// be changed later: releases were made on its strength.
type Budget struct {
	Dataset   string       `json:"dataset"`
	Unit      string       `json:"unit"` // whom it protects: "patient", not "row", where people have several
	Adjacency dp.Adjacency `json:"adjacency"`
	dp.Guarantee
	Rule Rule `json:"rule"`
}

// Check refuses a budget that protects nothing or is not one.
func (b Budget) Check() error {
	if err := errors.Join(checkName("data set", b.Dataset), checkName("unit", b.Unit)); err != nil {
		return err
	}
	if err := b.Adjacency.Check(); err != nil {
		return err
	}
	if err := b.Guarantee.Check(); err != nil {
		return err
	}
	if rules[b.Rule] == "" {
		return fmt.Errorf("rule %d: must be filter or composed", b.Rule)
	}
	switch {
	case b.Epsilon == 0 || b.Epsilon > most:
		return fmt.Errorf("epsilon %v: a budget must be more than 0 and at most %d", b.Epsilon, most)
	case b.Delta > 0.1:
		return fmt.Errorf("delta %v: a budget must be at most 0.1, and should be less than one in the number of units", b.Delta)
	case b.Delta > 0 && b.Delta < 1e-15:
		return fmt.Errorf("delta %v: must be 0 or at least 1e-15", b.Delta)
	}
	return nil
}

// half is the guarantee that the filter converts rho to.
func (b Budget) half() dp.Guarantee { return dp.Guarantee{Epsilon: b.Epsilon, Delta: b.Delta / 2} }

// state is what an account row holds beside its budget.
type state struct {
	Budget Budget         `json:"budget"`
	Rho    int64          `json:"rho"`              // what Filter's half of delta buys
	Spent  Charge         `json:"spent"`            // reserved and committed
	Events map[string]int `json:"events,omitempty"` // Composed: times by event
}

func (s *state) within(c Charge) bool {
	if c.Delta > units(s.Budget.Delta/2, deltaUnit) {
		return false
	}
	return c.Epsilon <= units(s.Budget.Epsilon, epsilonUnit) || s.Budget.Delta > 0 && c.Rho <= s.Rho
}

// add charges steps, or returns ErrExhausted and changes nothing.
func (s *state) add(c Charge, events []event) error {
	sum, err := s.Spent.plus(c)
	if err != nil {
		return err
	}
	if s.Budget.Rule == Filter {
		if !s.within(sum) {
			return fmt.Errorf("%s, per %s: %w: %s is left", s.Budget.Dataset, s.Budget.Unit, ErrExhausted, s.left())
		}
		s.Spent = sum
		return nil
	}
	before := maps.Clone(s.Events)
	if err := s.count(events, 1); err != nil {
		return err
	}
	upper, err := s.loss()
	if err != nil || upper > s.Budget.Epsilon*(1+1e-12) {
		s.Events = before
		if err != nil {
			return err
		}
		return fmt.Errorf("%s, per %s: %w: with these steps epsilon would be %.4g, and the budget is %g at delta %g",
			s.Budget.Dataset, s.Budget.Unit, ErrExhausted, upper, s.Budget.Epsilon, s.Budget.Delta)
	}
	s.Spent = sum
	return nil
}

func (s *state) remove(c Charge, events []event) error {
	s.Spent = s.Spent.minus(c)
	if s.Budget.Rule == Composed {
		return s.count(events, -1)
	}
	return nil
}

// count adds or takes away the times of events.
func (s *state) count(events []event, sign int) error {
	if s.Events == nil {
		s.Events = map[string]int{}
	}
	for _, e := range events {
		times := e.Times
		e.Times = 0
		key, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if s.Events[string(key)] += sign * times; s.Events[string(key)] == 0 {
			delete(s.Events, string(key))
		}
	}
	return nil
}

// loss is the epsilon of everything so far, as privacy loss distributions
// compose, at the budget's delta.
func (s *state) loss() (float64, error) {
	if len(s.Events) == 0 {
		return 0, nil
	}
	plan := account.Plan{Adjacency: s.Budget.Adjacency}
	for key, times := range s.Events {
		var e event
		if err := json.Unmarshal([]byte(key), &e); err != nil {
			return 0, fmt.Errorf("read the account: %w", err)
		}
		e.Times = times
		step, err := e.step()
		if err != nil {
			return 0, err
		}
		plan.Steps = append(plan.Steps, step)
	}
	eps, err := account.PLD{}.Epsilon(plan, s.Budget.Delta)
	return eps.Upper, err
}

// left says in words what the filter would still admit.
func (s *state) left() string {
	pure, rho := s.remains()
	if s.Budget.Delta == 0 {
		return fmt.Sprintf("epsilon %.4g", pure)
	}
	return fmt.Sprintf("epsilon %.4g for one release of pure noise or rho %.4g of Gaussian noise", pure, rho)
}

// remains is the greatest pure epsilon of one release that the filter would
// admit, and the greatest rho of one with Gaussian noise. Nothing is left when
// failures have used up their half of delta.
func (s *state) remains() (epsilon, rho float64) {
	if s.Budget.Rule != Filter || s.Spent.Delta > units(s.Budget.Delta/2, deltaUnit) {
		return 0, 0
	}
	epsilon = math.Max(0, s.Budget.Epsilon-float64(s.Spent.Epsilon)*epsilonUnit)
	rho = math.Max(0, float64(s.Rho-s.Spent.Rho)*rhoUnit)
	if s.Budget.Delta > 0 {
		epsilon = math.Max(epsilon, math.Sqrt(2*rho))
	}
	return epsilon, rho
}

// worth is the epsilon that what was spent comes to, at the budget's delta.
func (s *state) worth() (float64, error) {
	if s.Budget.Rule == Composed {
		return s.loss()
	}
	pure := float64(s.Spent.Epsilon) * epsilonUnit
	if s.Budget.Delta == 0 || s.Spent.Rho == 0 || s.Spent.Rho >= boundless {
		return pure, nil
	}
	plan := account.Plan{Adjacency: dp.AddRemove, Steps: []account.Step{{
		Mechanism: account.Gaussian{StdDev: 1 / math.Sqrt(2*float64(s.Spent.Rho)*rhoUnit), Clip: 1}, Times: 1}}}
	eps, err := account.ZCDP{}.Epsilon(plan, s.Budget.Delta/2)
	return math.Min(pure, eps.Upper), err
}
