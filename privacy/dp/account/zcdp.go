package account

import (
	"errors"
	"math"
)

// ZCDP adds zero-concentrated losses rho and converts the sum (Bun and Steinke
// 2016, arXiv 1605.02658). Sampling does not amplify it.
type ZCDP struct {
	// Textbook converts by rho + 2·sqrt(rho·ln(1/delta)), for comparison with what
	// was published with it. Otherwise the best order is converted as by [Renyi].
	Textbook bool
}

// Rho is the sum of the steps' zero-concentrated losses for one unit.
func (z ZCDP) Rho(p Plan) (float64, error) {
	p, group, err := p.accountable()
	if err != nil {
		return 0, err
	}
	rho := 0.0
	for _, s := range p.Steps {
		r, err := stepRho(s.Mechanism, p)
		if err != nil {
			return 0, err
		}
		rho += r * float64(s.Times)
	}
	return rho * float64(group) * float64(group), nil // proposition 27
}

func stepRho(m Mechanism, p Plan) (float64, error) {
	squared := func(v float64) float64 { return v * v }
	switch m := m.(type) {
	case Gaussian:
		if m.Sampler == nil {
			return squared(m.Clip.Sensitivity(p.Adjacency)/m.StdDev) / 2, nil
		}
	case DiscreteGaussian:
		if m.Sampler == nil {
			return squared(float64(discreteSensitivity(m.Clip, p.Adjacency))/m.Sigma) / 2, nil
		}
	case Exponential: // bounded range: Cesar and Rogers 2021, arXiv 2004.07223
		return squared(m.Epsilon) / 8, nil
	default:
		if eps := pure(m, p.Adjacency); !math.IsInf(eps, 1) {
			return squared(eps) / 2, nil // proposition 3
		}
		return 0, errors.New("zero-concentrated accounting of a mechanism that can fail: use pld")
	}
	return 0, errors.New("zero-concentrated accounting of sampled Gaussian noise: it is not amplified by sampling; use pld or rdp")
}

// Epsilon converts the sum.
func (z ZCDP) Epsilon(p Plan, delta float64) (Interval, error) {
	rho, err := z.Rho(p)
	if err != nil {
		return Interval{}, err
	}
	if err := checkDelta(delta); err != nil {
		return Interval{}, err
	}
	if delta == 0 {
		return Basic{}.Epsilon(p, 0)
	}
	if rho == 0 {
		return Interval{}, nil
	}
	if z.Textbook {
		return Interval{0, rho + 2*math.Sqrt(-rho*math.Log(delta))}, nil
	}
	return Interval{0, rhoEpsilon(rho, delta)}, nil
}

// rhoEpsilon is the least epsilon over all orders above 1 of a divergence of
// rho·order. The conversion has one valley; it is found in the logarithm of the
// order less 1.
func rhoEpsilon(rho, delta float64) float64 {
	of := func(x float64) float64 {
		order := 1 + math.Exp(x)
		return Renyi{}.epsilon(order, rho*order, delta)
	}
	return of(maximise(-20, 40, func(x float64) float64 { return -of(x) }))
}

// Delta converts the sum.
func (z ZCDP) Delta(p Plan, epsilon float64) (Interval, error) {
	if err := checkQuestion(epsilon); err != nil {
		return Interval{}, err
	}
	return deltaOf(z, p, epsilon)
}
