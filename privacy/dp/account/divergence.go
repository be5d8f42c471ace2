package account

import (
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// divergence is the Rényi divergence of P from Q at an order a > 1:
// ln E_Q[(P/Q)^a] / (a-1).
type divergence func(order float64) float64

func (m Gaussian) renyi(adj dp.Adjacency) divergence {
	mu := float64(m.Clip) / m.StdDev
	whole := m.Clip.Sensitivity(adj) / m.StdDev
	switch s := m.Sampler.(type) {
	case Poisson:
		if s.Rate < 1 && adj == dp.Replace {
			return replaceLoss{mu, s.Rate}.renyi
		} else if s.Rate < 1 {
			return func(a float64) float64 { return sampledGaussianRenyi(mu, s.Rate, a) }
		}
	case CappedPoisson:
		open := Gaussian{m.StdDev, m.Clip, Poisson{s.Rate}}.renyi(adj)
		full, rate := s.crowded()
		if full == 0 || rate == 0 {
			return open
		}
		crowd := Gaussian{m.StdDev, 2 * m.Clip, Poisson{rate}}.renyi(dp.Replace)
		return func(a float64) float64 {
			return logSum(math.Log(full)+(a-1)*crowd(a), math.Log1p(-full)+(a-1)*open(a)) / (a - 1)
		}
	case FixedSize:
		if s.Batch < s.Of {
			return fixedRenyi(whole, s.rate())
		}
	}
	return func(a float64) float64 { return a * whole * whole / 2 }
}

// sampledGaussianRenyi is that of Poisson sampling under add-remove. Removing a
// unit is the worse direction (Mironov, Talwar and Zhang 2019, arXiv 1908.10530).
// Whole orders are a sum; between them the integral is taken numerically.
func sampledGaussianRenyi(mu, q, order float64) float64 {
	rest, log := math.Log1p(-q), math.Log(q)
	if order != math.Trunc(order) {
		return gaussianIntegral(mu, order*mu, order, func(x float64) (p, q float64) {
			return logSum(rest, log+mu*x-mu*mu/2) - x*x/2, -x * x / 2
		})
	}
	if order > 1e5 {
		return math.Inf(1) // never the best order of such a mechanism
	}
	total := math.Inf(-1)
	term := order * rest // ln of C(order,i)·(1-q)^(order-i)·q^i
	for i := 0.0; i <= order; i++ {
		total = logSum(total, term+i*(i-1)*mu*mu/2)
		term += math.Log((order-i)/(i+1)) + log - rest
	}
	return max(total, 0) / (order - 1)
}

// seriesRenyi bounds the same from above at every order, by two series that cut the
// integral where both parts of the mixture are equal (Mironov, Talwar and Zhang
// 2019, section 3.3). Their binomial coefficients alternate in sign from some term
// on; like the libraries, it takes them all as positive.
func seriesRenyi(mu, q, order float64) float64 {
	if order == math.Trunc(order) {
		return sampledGaussianRenyi(mu, q, order)
	}
	rest, log := math.Log1p(-q), math.Log(q)
	cut := (rest-log)/mu + mu/2 // in deviations
	total, choose := math.Inf(-1), 0.0
	last0, last1 := math.Inf(-1), math.Inf(-1)
	for i := 0.0; i < 10000; i++ {
		j := order - i
		s0 := choose + i*log + j*rest + i*(i-1)*mu*mu/2 + logNormalTail(i*mu-cut)
		s1 := choose + j*log + i*rest + j*(j-1)*mu*mu/2 + logNormalTail(cut-j*mu)
		total = logSum(total, logSum(s0, s1))
		if s0 < last0 && s1 < last1 && max(s0, s1) < total-30 {
			return max(total, 0) / (order - 1)
		}
		last0, last1 = s0, s1
		choose += math.Log(math.Abs(order-i) / (i + 1))
	}
	return math.Inf(1)
}

// renyi is that of Poisson sampling when a unit is replaced.
func (g replaceLoss) renyi(order float64) float64 {
	rest, part := math.Log1p(-g.rate), math.Log(g.rate)-g.mu*g.mu/2
	return gaussianIntegral(g.mu, (2*order-1)*g.mu, order, func(x float64) (p, q float64) {
		return logSum(rest, part+g.mu*x) - x*x/2, logSum(rest, part-g.mu*x) - x*x/2
	})
}

// gaussianIntegral is the divergence of a pair with Gaussian tails, given the
// logarithms of its densities but for the factor of both: P^a·Q^(1-a) is made of
// normal densities centred between 0 and top. It is taken by the trapezoidal
// rule, whose error falls exponentially with the step where the integrand is
// analytic: here at a distance of less than pi/mu from the real line (Trefethen
// and Weideman 2014). An order that would take too long is worth nothing.
func gaussianIntegral(mu, top, order float64, logs func(x float64) (p, q float64)) float64 {
	step := min(0.25, 0.4/mu)
	if (top+20)/step > 1e5 {
		return math.Inf(1)
	}
	total := math.Inf(-1)
	for x := -10.0; x <= top+10; x += step {
		p, q := logs(x)
		total = logSum(total, order*p+(1-order)*q)
	}
	return max(total+math.Log(step/math.Sqrt(2*math.Pi)), 0) / (order - 1)
}

// fixedRenyi bounds that of batches of fixed size when a unit is replaced (Wang,
// Balle and Kasiviswanathan 2019, arXiv 1808.00087, theorem 27): whole orders by
// a sum, and those between by the convexity of their logarithms (corollary 10).
// mu is the sensitivity, two clips, over the deviation.
func fixedRenyi(mu, q float64) divergence {
	moments := map[int]float64{}
	moment := func(n int) float64 {
		if _, ok := moments[n]; !ok {
			moments[n] = logRatioMoment(mu, n)
		}
		return moments[n]
	}
	whole := func(order int) float64 {
		total, choose := 0.0, math.Log(float64(order))
		for j := 2; j <= order; j++ {
			choose += math.Log(float64(order-j+1) / float64(j)) // ln C(order,j)
			n := float64(j)
			term := math.Ln2 + n*(n-1)*mu*mu/2
			if j <= 256 { // beyond, the moments cost more than they gain
				term = min(term, 2*math.Ln2+(moment(j-j%2)+moment(j+j%2))/2)
			}
			total = logSum(total, choose+n*math.Log(q)+term)
		}
		return total
	}
	return func(a float64) float64 {
		if a > 1e4 {
			return math.Inf(1)
		}
		low := math.Floor(a)
		t := a - low
		sum := (1 - t) * whole(int(low))
		if t > 0 {
			sum += t * whole(int(low)+1)
		}
		return sum / (a - 1)
	}
}

// logRatioMoment is ln E_Q[(P/Q - 1)^n] for even n, P = N(mu,1) and Q = N(0,1),
// by the trapezoidal rule; every term is positive, so nothing cancels.
func logRatioMoment(mu float64, n int) float64 {
	top := float64(n) * mu
	step := min(0.25, (top+20)/1000)
	total := math.Inf(-1)
	for x := -10.0; x <= top+10; x += step {
		ratio := mu*x - mu*mu/2
		var log float64
		if ratio > 30 {
			log = ratio
		} else {
			log = math.Log(math.Abs(math.Expm1(ratio)))
		}
		total = logSum(total, float64(n)*log-x*x/2)
	}
	return total + math.Log(step/math.Sqrt(2*math.Pi))
}

// renyi is exact for Laplace noise (Mironov 2017, arXiv 1702.07476, proposition
// 6): here in the form that keeps its digits at orders near 1.
func (m Laplace) renyi(adj dp.Adjacency) divergence {
	if m.Sampler != nil {
		return lossRenyi(m.losses(adj))
	}
	eps := m.Clip.Sensitivity(adj) / m.Scale
	return func(a float64) float64 {
		return eps + math.Log1p((a-1)*math.Expm1(eps*(1-2*a))/(2*a-1))/(a-1)
	}
}

// renyi is bounded by that of the continuous Gaussian (Canonne, Kamath and Steinke
// 2020, proposition 5). With a sampler it is summed, over all outcomes that float64
// can tell; orders at which the sum lies further out are not offered.
func (m DiscreteGaussian) renyi(adj dp.Adjacency) divergence {
	const reach = 38 // exp(-38²/2) is the least float64
	clip := discreteSensitivity(m.Clip, adj)
	mu := float64(clip) / m.Sigma
	if m.Sampler == nil {
		return func(a float64) float64 { return a * mu * mu / 2 }
	}
	sum := lossRenyi(sampledLosses(discreteGaussianPoints(m.Sigma, clip, reach), m.Sampler))
	return func(a float64) float64 {
		if a*mu+far > reach {
			return math.Inf(1)
		}
		return sum(a)
	}
}

func (m DiscreteLaplace) renyi(adj dp.Adjacency) divergence    { return lossRenyi(m.losses(adj)) }
func (m RandomisedResponse) renyi(adj dp.Adjacency) divergence { return lossRenyi(m.losses(adj)) }

// renyi is infinite where delta is not 0: a failure has no finite loss.
func (m Point) renyi(adj dp.Adjacency) divergence { return lossRenyi(m.losses(adj)) }

// renyi is the greatest over the worst cases of bounded range (Dong, Durfee and
// Rogers 2020): an outcome of loss t and one of loss t-eps, for any t in [0, eps].
func (m Exponential) renyi(dp.Adjacency) divergence {
	return func(a float64) float64 {
		of := func(t float64) float64 {
			log := math.Log(-math.Expm1(-m.Epsilon)) // of the weights of both
			high := math.Log(math.Exp(-t)-math.Exp(-m.Epsilon)) - log
			low := math.Log(-math.Expm1(-t)) - log
			return logSum(high+a*t, low+a*(t-m.Epsilon)) / (a - 1)
		}
		return max(0, of(maximise(0, m.Epsilon, of)))
	}
}

// maximise finds where a function with one peak is greatest, by golden section.
func maximise(lo, hi float64, f func(float64) float64) float64 {
	const golden = 0.6180339887498949
	a, b := hi-golden*(hi-lo), lo+golden*(hi-lo)
	fa, fb := f(a), f(b)
	for range 60 {
		if fa < fb {
			lo, a, fa = a, b, fb
			b = lo + golden*(hi-lo)
			fb = f(b)
		} else {
			hi, b, fb = b, a, fa
			a = hi - golden*(hi-lo)
			fa = f(a)
		}
	}
	return (lo + hi) / 2
}

// lossRenyi is that of any losses: exact for atoms, and from above for the
// continuous part, through its pessimistic lattice.
func lossRenyi(losses []loss) divergence {
	var masses [][]atom
	for _, l := range losses {
		masses = append(masses, pessimistic(l))
	}
	return func(a float64) float64 {
		worst := 0.0
		for _, m := range masses {
			total := math.Inf(-1)
			for _, at := range m {
				if at.p > 0 {
					total = logSum(total, math.Log(at.p)+(a-1)*at.loss)
				}
			}
			worst = max(worst, total/(a-1))
		}
		return worst
	}
}
