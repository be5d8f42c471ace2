package ledger

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// Charge is what steps cost, in whole numbers, so that what a refund takes away
// is exactly what the reservation added. Each is rounded up.
type Charge struct {
	Epsilon int64 `json:"epsilon"` // pure, in billionths
	Rho     int64 `json:"rho"`     // zero-concentrated, in units of 1e-10
	Delta   int64 `json:"delta"`   // probability of failure, in units of 1e-16
}

const (
	epsilonUnit = 1e-9
	rhoUnit     = 1e-10
	deltaUnit   = 1e-16

	// most bounds the epsilon of a budget; beyond it nothing is protected.
	most = 1000
	// boundless stands for a loss without bound, in either unit: more than any
	// budget, and small enough that hundreds of thousands add up in 64 bits.
	boundless = int64(2e13)
)

func (c Charge) plus(d Charge) (Charge, error) {
	sum := Charge{c.Epsilon + d.Epsilon, c.Rho + d.Rho, c.Delta + d.Delta}
	if min(sum.Epsilon, sum.Rho, sum.Delta) < 0 { // none was negative before
		return c, errors.New("more releases than the ledger can add up: open a new data set")
	}
	return sum, nil
}

func (c Charge) minus(d Charge) Charge {
	return Charge{c.Epsilon - d.Epsilon, c.Rho - d.Rho, c.Delta - d.Delta}
}

// charge is what steps cost under an adjacency.
func charge(adj dp.Adjacency, steps []account.Step) (Charge, error) {
	if len(steps) == 0 {
		return Charge{}, errors.New("no steps: a reservation says what will be released")
	}
	if err := (account.Plan{Adjacency: adj, Steps: steps}).Check(); err != nil {
		return Charge{}, err
	}
	var sum Charge
	for _, s := range steps {
		one := Charge{}
		if p, ok := s.Mechanism.(account.Point); ok {
			// It is differentially private but for a failure: of probability delta.
			one.Delta = units(p.Delta*float64(s.Times), deltaUnit)
			p.Delta = 0
			s.Mechanism = p
		}
		plan := account.Plan{Adjacency: adj, Steps: []account.Step{s}}
		one.Epsilon, one.Rho = boundless, boundless
		if eps, err := (account.Basic{}).Epsilon(plan, 0); err == nil {
			one.Epsilon = units(eps.Upper, epsilonUnit)
		}
		if rho, err := (account.ZCDP{}).Rho(plan); err == nil {
			one.Rho = units(rho, rhoUnit)
		}
		var err error
		if sum, err = sum.plus(one); err != nil {
			return Charge{}, err
		}
	}
	sum.Epsilon, sum.Rho = min(sum.Epsilon, boundless), min(sum.Rho, boundless)
	return sum, nil
}

// units rounds up, but for what float64 makes of decimal numbers: 0.7 is
// 700,000,000 units and not one more. Budgets are good to a part in 1e12.
func units(v, unit float64) int64 {
	n := v / unit
	if whole := math.Round(n); math.Abs(n-whole) <= 1e-12*n {
		n = whole
	}
	if n = math.Ceil(n); !(n < float64(boundless)) {
		return boundless
	}
	return int64(n)
}

// rhoFor is the greatest zero-concentrated loss that converts to the guarantee,
// in units, rounded down; 0 where delta is 0.
func rhoFor(g dp.Guarantee) (int64, error) {
	if g.Delta == 0 {
		return 0, nil
	}
	lo, hi := 0.0, float64(boundless-1)
	for range 60 {
		mid := math.Floor((lo + hi) / 2)
		if mid <= lo {
			break
		}
		// Gaussian noise of this deviation has that loss.
		plan := account.Plan{Adjacency: dp.AddRemove, Steps: []account.Step{{
			Mechanism: account.Gaussian{StdDev: 1 / math.Sqrt(2*mid*rhoUnit), Clip: 1}, Times: 1}}}
		eps, err := account.ZCDP{}.Epsilon(plan, g.Delta)
		if err != nil {
			return 0, err
		}
		if eps.Upper*(1+1e-12) <= g.Epsilon {
			lo = mid
		} else {
			hi = mid
		}
	}
	return int64(lo), nil
}

// event is a step as it stands in an entry.
type event struct {
	Mechanism string   `json:"mechanism"`
	Noise     float64  `json:"noise,omitempty"` // standard deviation, scale or sigma
	Clip      float64  `json:"clip,omitempty"`
	Epsilon   float64  `json:"epsilon,omitempty"`
	Delta     float64  `json:"delta,omitempty"`
	Options   int      `json:"options,omitempty"`
	Sampler   *sampler `json:"sampler,omitempty"`
	Times     int      `json:"times,omitempty"`
}

type sampler struct {
	Kind  string  `json:"kind"`
	Rate  float64 `json:"rate,omitempty"`
	Batch int     `json:"batch,omitempty"` // or cap
	Of    int     `json:"of,omitempty"`
}

func encodeStep(s account.Step) (e event, err error) {
	var drawn account.Sampler
	switch m := s.Mechanism.(type) {
	case account.Gaussian:
		e, drawn = event{Mechanism: "gaussian", Noise: m.StdDev, Clip: float64(m.Clip)}, m.Sampler
	case account.Laplace:
		e, drawn = event{Mechanism: "laplace", Noise: m.Scale, Clip: float64(m.Clip)}, m.Sampler
	case account.DiscreteGaussian:
		e, drawn = event{Mechanism: "discrete-gaussian", Noise: m.Sigma, Clip: float64(m.Clip)}, m.Sampler
	case account.DiscreteLaplace:
		e, drawn = event{Mechanism: "discrete-laplace", Noise: m.Scale, Clip: float64(m.Clip)}, m.Sampler
	case account.RandomisedResponse:
		e = event{Mechanism: "randomised-response", Epsilon: m.Epsilon, Options: m.Options}
	case account.Exponential:
		e = event{Mechanism: "exponential", Epsilon: m.Epsilon}
	case account.Point:
		e = event{Mechanism: "guarantee", Epsilon: m.Epsilon, Delta: m.Delta}
	default:
		return e, fmt.Errorf("record a step: no mechanism of type %T is known", m)
	}
	switch d := drawn.(type) {
	case nil:
	case account.Poisson:
		e.Sampler = &sampler{Kind: "poisson", Rate: d.Rate}
	case account.CappedPoisson:
		e.Sampler = &sampler{Kind: "capped-poisson", Rate: d.Rate, Batch: d.Cap, Of: d.Of}
	case account.FixedSize:
		e.Sampler = &sampler{Kind: "fixed-size", Batch: d.Batch, Of: d.Of}
	default:
		return e, fmt.Errorf("record a step: no sampler of type %T is known", d)
	}
	e.Times = s.Times
	return e, nil
}

func (e event) step() (account.Step, error) {
	var drawn account.Sampler
	if e.Sampler != nil {
		switch e.Sampler.Kind {
		case "poisson":
			drawn = account.Poisson{Rate: e.Sampler.Rate}
		case "capped-poisson":
			drawn = account.CappedPoisson{Rate: e.Sampler.Rate, Cap: e.Sampler.Batch, Of: e.Sampler.Of}
		case "fixed-size":
			drawn = account.FixedSize{Batch: e.Sampler.Batch, Of: e.Sampler.Of}
		default:
			return account.Step{}, fmt.Errorf("read a step: no sampler is called %q", e.Sampler.Kind)
		}
	}
	s := account.Step{Times: e.Times}
	switch e.Mechanism {
	case "gaussian":
		s.Mechanism = account.Gaussian{StdDev: e.Noise, Clip: account.Clip(e.Clip), Sampler: drawn}
	case "laplace":
		s.Mechanism = account.Laplace{Scale: e.Noise, Clip: account.Clip(e.Clip), Sampler: drawn}
	case "discrete-gaussian":
		s.Mechanism = account.DiscreteGaussian{Sigma: e.Noise, Clip: int64(e.Clip), Sampler: drawn}
	case "discrete-laplace":
		s.Mechanism = account.DiscreteLaplace{Scale: e.Noise, Clip: int64(e.Clip), Sampler: drawn}
	case "randomised-response":
		s.Mechanism = account.RandomisedResponse{Epsilon: e.Epsilon, Options: e.Options}
	case "exponential":
		s.Mechanism = account.Exponential{Epsilon: e.Epsilon}
	case "guarantee":
		s.Mechanism = account.Point{Guarantee: dp.Guarantee{Epsilon: e.Epsilon, Delta: e.Delta}}
	default:
		return s, fmt.Errorf("read a step: no mechanism is called %q", e.Mechanism)
	}
	return s, nil
}

func encodeSteps(steps []account.Step) (out []event, err error) {
	for _, s := range steps {
		e, err := encodeStep(s)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func decodeSteps(events []event) (out []account.Step, err error) {
	for _, e := range events {
		s, err := e.step()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
