package account

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// LeastNoise is the least noise, to six digits and rounded up, with which a plan
// keeps a guarantee. The plan is made for each noise that is tried, from 0.01 to
// 1e6 in whatever unit it takes: usually the noise multiplier with a clip of 1.
func LeastNoise(a Accountant, want dp.Guarantee, plan func(noise float64) Plan) (float64, error) {
	const least, most = 0.01, 1e6
	kept, err := keeps(a, want)
	if err != nil {
		return 0, err
	}
	if ok, err := kept(plan(most)); err != nil {
		return 0, err
	} else if !ok {
		return 0, fmt.Errorf("no noise up to %g keeps epsilon %g with delta %g: allow more, or release less", most, want.Epsilon, want.Delta)
	}
	return logBisect(least, most, func(noise float64) (bool, error) {
		ok, err := kept(plan(noise))
		return !ok, err
	})
}

// GreatestRate is the greatest sampling rate, to six digits and rounded down, with
// which a plan keeps a guarantee; at most 1.
func GreatestRate(a Accountant, want dp.Guarantee, plan func(rate float64) Plan) (float64, error) {
	const least = 1e-9
	kept, err := keeps(a, want)
	if err != nil {
		return 0, err
	}
	if ok, err := kept(plan(1)); ok || err != nil {
		return 1, err
	}
	if ok, err := kept(plan(least)); err != nil {
		return 0, err
	} else if !ok {
		return 0, fmt.Errorf("no sampling rate keeps epsilon %g with delta %g: add noise, or take fewer steps", want.Epsilon, want.Delta)
	}
	inverse, err := logBisect(1, 1/least, func(x float64) (bool, error) {
		ok, err := kept(plan(1 / x))
		return !ok, err
	})
	return 1 / inverse, err
}

// MostSteps is the greatest number of steps, at most a hundred million, with which
// a plan keeps a guarantee; 0 if not even one does.
func MostSteps(a Accountant, want dp.Guarantee, plan func(steps int) Plan) (int, error) {
	const most = 100_000_000
	kept, err := keeps(a, want)
	if err != nil {
		return 0, err
	}
	lo, hi := 0, 1
	for {
		ok, err := kept(plan(hi))
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if lo = hi; hi == most {
			return most, nil
		}
		hi = min(4*hi, most)
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		ok, err := kept(plan(mid))
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// keeps says of a plan whether it keeps a guarantee. It asks accountants that bound
// from above alone for no lower bound, which would take longer than the answer.
func keeps(a Accountant, want dp.Guarantee) (func(Plan) (bool, error), error) {
	if err := want.Check(); err != nil {
		return nil, err
	}
	if want.Epsilon == 0 {
		return nil, errors.New("epsilon 0: no noise keeps that, it would tell nothing at all")
	}
	if err := checkDelta(want.Delta); err != nil {
		return nil, err
	}
	return func(p Plan) (bool, error) {
		if r, ok := a.(Renyi); ok {
			eps, _, err := r.Best(p, want.Delta)
			return eps <= want.Epsilon, err
		}
		i, err := a.Epsilon(p, want.Delta)
		return i.Upper <= want.Epsilon, err
	}, nil
}

// logBisect finds, to a few parts in ten million, where tooLittle ends between least
// and most, and returns the side where it does not hold.
func logBisect(least, most float64, tooLittle func(float64) (bool, error)) (float64, error) {
	lo, hi := math.Log(least), math.Log(most)
	for hi-lo > 2e-7 {
		mid := lo + (hi-lo)/2
		bad, err := tooLittle(math.Exp(mid))
		if err != nil {
			return 0, err
		}
		if bad {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Exp(hi), nil
}
