package account

import (
	"math"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// loss is a dominating pair of distributions P and Q, seen through its privacy
// loss L = ln dP/dQ: whatever a mechanism does to neighbouring data sets is no
// easier to tell apart than P from Q (Zhu, Dong and Wang 2022, arXiv
// 2106.08567). It has a continuous part and atoms.
type loss interface {
	// between is what the continuous part has of a < L <= b, under P and under Q.
	between(a, b float64) (p, q float64)
	// bounds hold the continuous part but for a mass of about 1e-40 under P and
	// under Q; lo > hi where there is none.
	bounds() (lo, hi float64)
	atoms() []atom
	// most is the greatest loss, or infinity.
	most() float64
}

// atom is a point where the loss has positive probability under P. Under Q it
// has p·exp(-loss). An infinite loss is a failure.
type atom struct{ loss, p float64 }

// far is where the normal density is forgotten, in standard deviations: 1e-40.
const far = 13.4

// gaussianLoss is that of N(mu, 1) against N(0, 1): normal itself, around mu²/2
// with deviation mu.
type gaussianLoss struct{ mu float64 }

func (g gaussianLoss) between(a, b float64) (p, q float64) {
	a, b = a/g.mu, b/g.mu
	return normalBetween(a-g.mu/2, b-g.mu/2), normalBetween(a+g.mu/2, b+g.mu/2)
}

func (g gaussianLoss) bounds() (lo, hi float64) {
	return -g.mu * (g.mu/2 + far), g.mu * (g.mu/2 + far)
}
func (g gaussianLoss) atoms() []atom { return nil }
func (g gaussianLoss) most() float64 { return math.Inf(1) }

// laplaceLoss is that of Laplace noise on sums that differ by eps scales. Half
// the outcomes lie beyond one centre, and have the loss eps exactly.
type laplaceLoss struct{ eps float64 }

func (l laplaceLoss) between(a, b float64) (p, q float64) {
	a, b = max(a, -l.eps), min(b, l.eps)
	if a >= b {
		return 0, 0
	}
	half := -math.Expm1((a-b)/2) / 2
	return math.Exp((b-l.eps)/2) * half, math.Exp(-(a+l.eps)/2) * half
}

func (l laplaceLoss) bounds() (lo, hi float64) { return -l.eps, l.eps }
func (l laplaceLoss) atoms() []atom {
	return []atom{{-l.eps, math.Exp(-l.eps) / 2}, {l.eps, 0.5}}
}
func (l laplaceLoss) most() float64 { return l.eps }

// rangeLoss is that of a mechanism of bounded range eps, the exponential one:
// its profile is the greatest of those of Dong, Durfee and Rogers (2020), whose
// worst case depends on the epsilon that is asked about:
// delta(s) = (1 - exp((s-eps)/2))² / (1 - exp(-eps)) for |s| <= eps.
type rangeLoss struct{ eps float64 }

func (r rangeLoss) between(a, b float64) (p, q float64) {
	a, b = max(a, -r.eps), min(b, r.eps)
	if a >= b {
		return 0, 0
	}
	// P(L > s) = (1 - exp((s-eps)/2))/whole, and Q(L > s) is exp(-(s+eps)/2) times that.
	whole, step := -math.Expm1(-r.eps), -math.Expm1((a-b)/2)
	return math.Exp((b-r.eps)/2) * step / whole, math.Exp(-(a+r.eps)/2) * step / whole
}

func (r rangeLoss) bounds() (lo, hi float64) { return -r.eps, r.eps }
func (r rangeLoss) atoms() []atom            { return nil }
func (r rangeLoss) most() float64            { return r.eps }

// points is a loss of atoms alone, in rising order.
type points []atom

func (d points) between(_, _ float64) (p, q float64) { return 0, 0 }
func (d points) bounds() (lo, hi float64)            { return 1, -1 }
func (d points) atoms() []atom                       { return d }
func (d points) most() float64                       { return d[len(d)-1].loss }

// finite is the greatest loss that is no failure.
func finiteMost(l loss) float64 {
	if d, ok := l.(points); ok && math.IsInf(d.most(), 1) {
		if len(d) == 1 {
			return 0
		}
		return d[len(d)-2].loss
	}
	return l.most()
}

// guaranteePoints is the pair that every (epsilon, delta) mechanism is
// dominated by (Kairouz, Oh and Viswanath 2015).
func guaranteePoints(g dp.Guarantee) points {
	var d points
	if g.Epsilon > 0 {
		high := (1 - g.Delta) / (1 + math.Exp(-g.Epsilon))
		d = points{{-g.Epsilon, high * math.Exp(-g.Epsilon)}, {g.Epsilon, high}}
	} else {
		d = points{{0, 1 - g.Delta}}
	}
	if g.Delta > 0 {
		d = append(d, atom{math.Inf(1), g.Delta})
	}
	return d
}

// responsePoints is that of answering among n options: true, the neighbour's
// true one, or another of n-2 that tell nothing.
func responsePoints(m RandomisedResponse) points {
	e := math.Exp(-m.Epsilon)
	whole := 1 + float64(m.Options-1)*e
	d := points{{-m.Epsilon, e / whole}}
	if m.Options > 2 {
		d = append(d, atom{0, float64(m.Options-2) * e / whole})
	}
	return append(d, atom{m.Epsilon, 1 / whole})
}

// discreteGaussianPoints is that of whole-number Gaussian noise on counts that
// differ by clip. Outcomes more than far times sigma away are forgotten.
func discreteGaussianPoints(sigma float64, clip int64, far float64) points {
	n := int64(math.Ceil(sigma*far)) + 1
	norm := 0.0
	for x := n; x > 0; x-- {
		norm += 2 * math.Exp(-float64(x)*float64(x)/(2*sigma*sigma))
	}
	norm++
	d := make(points, 0, 2*n+1)
	for x := n; x >= -n; x-- {
		// P is centred at 0 and Q at clip: ((x-clip)² - x²)/2sigma².
		l := float64(clip) * float64(clip-2*x) / (2 * sigma * sigma)
		d = append(d, atom{l, math.Exp(-float64(x)*float64(x)/(2*sigma*sigma)) / norm})
	}
	return d
}

// discreteLaplacePoints is that of whole-number Laplace noise on counts that
// differ by clip: beyond either centre the loss is clip/scale exactly.
func discreteLaplacePoints(scale float64, clip int64) points {
	eps := float64(clip) / scale
	r := math.Exp(-1 / scale)
	at0 := math.Tanh(1 / (2 * scale)) // P(x) = at0·r^|x|
	d := make(points, 0, clip+1)
	d = append(d, atom{-eps, math.Exp(-eps) / (1 + r)}) // x >= clip
	for x := clip - 1; x > 0; x-- {
		d = append(d, atom{float64(clip-2*x) / scale, at0 * math.Pow(r, float64(x))})
	}
	return append(d, atom{eps, 1 / (1 + r)}) // x <= 0
}

// poissonLoss is the loss of removing a unit that takes part with probability
// rate: (1-rate)Q + rate·P against Q, for any pair (Zhu, Dong and Wang 2022,
// theorem 11). The loss of adding one is its reverse.
type poissonLoss struct {
	of   loss
	rate float64
}

func (s poissonLoss) of1(l float64) float64 { // the loss, sampled
	if l > 700 {
		return l + math.Log(s.rate)
	}
	return math.Log1p(s.rate * math.Expm1(l))
}

func (s poissonLoss) inverse(l float64) float64 {
	if l > 700 {
		return l - math.Log(s.rate)
	}
	x := math.Expm1(l) / s.rate
	if x <= -1 {
		return math.Inf(-1)
	}
	return math.Log1p(x)
}

func (s poissonLoss) between(a, b float64) (p, q float64) {
	p, q = s.of.between(s.inverse(a), s.inverse(b))
	return (1-s.rate)*q + s.rate*p, q
}

func (s poissonLoss) bounds() (lo, hi float64) {
	lo, hi = s.of.bounds()
	if lo > hi {
		return lo, hi
	}
	return s.of1(lo), s.of1(hi)
}

func (s poissonLoss) atoms() []atom {
	var out []atom
	for _, a := range s.of.atoms() {
		p := s.rate * a.p
		if !math.IsInf(a.loss, 1) {
			p += (1 - s.rate) * a.p * math.Exp(-a.loss)
		}
		out = append(out, atom{s.of1(a.loss), p})
	}
	return out
}

func (s poissonLoss) most() float64 {
	if m := s.of.most(); !math.IsInf(m, 1) {
		return s.of1(m)
	}
	return math.Inf(1)
}

// reversed swaps P and Q. What it reverses never fails: it has no infinite loss.
type reversed struct{ of loss }

func (r reversed) between(a, b float64) (p, q float64) {
	p, q = r.of.between(-b, -a)
	return q, p
}

func (r reversed) bounds() (lo, hi float64) {
	lo, hi = r.of.bounds()
	return -hi, -lo
}

func (r reversed) atoms() []atom {
	out := r.of.atoms()
	rev := make([]atom, len(out))
	for i, a := range out {
		rev[len(out)-1-i] = atom{-a.loss, a.p * math.Exp(-a.loss)}
	}
	return rev
}

func (r reversed) most() float64 {
	// A unit that is absent from most batches can be ruled out only so far.
	if s, ok := r.of.(poissonLoss); ok && s.rate < 1 {
		return -s.of1(-s.of.most())
	}
	return r.of.most()
}

// fixedLoss is that of replacing a unit when a batch of fixed size is drawn
// without replacement: for losses above 0 that of (1-rate)Q + rate·P against Q
// (Balle, Barthe and Gaboardi 2018, theorem 9; Zhu, Dong and Wang 2022), and
// below 0 its reverse, because replacing is its own opposite. What is left has
// no loss at all.
type fixedLoss struct{ of poissonLoss }

func (f fixedLoss) between(a, b float64) (p, q float64) {
	if b > 0 {
		p, q = f.of.between(max(a, 0), b)
	}
	if a < 0 {
		q2, p2 := f.of.between(max(-b, 0), -a)
		p, q = p+p2, q+q2
	}
	return p, q
}

func (f fixedLoss) bounds() (lo, hi float64) {
	_, hi = f.of.bounds()
	return -hi, hi
}

func (f fixedLoss) atoms() []atom {
	p, q := f.of.between(0, math.Inf(1))
	left := 1 - p - q
	var below, above []atom
	for _, a := range f.of.atoms() {
		if a.loss > 0 {
			above = append(above, a)
			below = append([]atom{{-a.loss, a.p * math.Exp(-a.loss)}}, below...)
			left -= a.p * (1 + math.Exp(-a.loss))
		}
	}
	return append(append(below, atom{0, max(left, 0)}), above...)
}

func (f fixedLoss) most() float64 { return f.of.most() }

// replaceLoss is that of Gaussian noise on a Poisson batch in which another unit
// takes the place of one: (1-rate)·N(0,1) + rate·N(mu,1) against the same with
// N(-mu,1); mu is one clip over the deviation, as the two may lie opposite.
type replaceLoss struct{ mu, rate float64 }

// at is the outcome x that has the loss l. With a = exp(mu·x), r = 1-rate and
// c = rate·exp(-mu²/2) the loss says (r + c·a)/(r + c/a) = exp(l), a quadratic
// equation whose positive root is a = exp(l/2 + asinh(r/c·sinh(l/2))).
func (g replaceLoss) at(l float64) float64 {
	half := math.Abs(l / 2)
	ratio := math.Log1p(-g.rate) - math.Log(g.rate) + g.mu*g.mu/2 // ln r/c
	var y float64
	if half+ratio > 300 { // the overflow of sinh, and asinh(u) = ln 2u
		y = ratio + half + math.Log1p(-math.Exp(-2*half))
	} else {
		y = math.Asinh(math.Exp(ratio) * math.Sinh(half))
	}
	return math.Copysign((half+y)/g.mu, l)
}

func (g replaceLoss) between(a, b float64) (p, q float64) {
	x, y := g.at(a), g.at(b)
	rest := (1 - g.rate) * normalBetween(x, y)
	return rest + g.rate*normalBetween(x-g.mu, y-g.mu), rest + g.rate*normalBetween(x+g.mu, y+g.mu)
}

func (g replaceLoss) loss(x float64) float64 {
	side := func(x float64) float64 {
		return logSum(math.Log1p(-g.rate), math.Log(g.rate)+g.mu*x-g.mu*g.mu/2)
	}
	return side(x) - side(-x)
}

func (g replaceLoss) bounds() (lo, hi float64) {
	hi = g.loss(g.mu + far)
	return -hi, hi
}
func (g replaceLoss) atoms() []atom { return nil }
func (g replaceLoss) most() float64 { return math.Inf(1) }

// mixed is one pair with probability weight and otherwise another, where it can
// be seen which.
type mixed struct {
	weight     float64
	one, other loss
}

func (m mixed) between(a, b float64) (p, q float64) {
	p1, q1 := m.one.between(a, b)
	p2, q2 := m.other.between(a, b)
	return m.weight*p1 + (1-m.weight)*p2, m.weight*q1 + (1-m.weight)*q2
}

func (m mixed) bounds() (lo, hi float64) {
	lo1, hi1 := m.one.bounds()
	lo2, hi2 := m.other.bounds()
	return min(lo1, lo2), max(hi1, hi2)
}
func (m mixed) atoms() []atom { return nil } // only Gaussian noise is mixed
func (m mixed) most() float64 { return math.Inf(1) }

// sampledLosses are the losses of a symmetrical pair under a sampler.
func sampledLosses(of loss, s Sampler) []loss {
	switch s := s.(type) {
	case Poisson:
		if s.Rate < 1 {
			return []loss{poissonLoss{of, s.Rate}, reversed{poissonLoss{of, s.Rate}}}
		}
	case FixedSize:
		if s.Batch < s.Of {
			return []loss{fixedLoss{poissonLoss{of, s.rate()}}}
		}
	}
	return []loss{of}
}

func (m Gaussian) losses(adj dp.Adjacency) []loss {
	mu := float64(m.Clip) / m.StdDev
	switch s := m.Sampler.(type) {
	case Poisson:
		if adj == dp.Replace && s.Rate < 1 {
			return []loss{replaceLoss{mu, s.Rate}}
		}
	case CappedPoisson:
		// Which batches are full is given away. In those another unit comes where
		// one goes, so the sum moves by two clips; both at once bounds all cases.
		open := Gaussian{m.StdDev, m.Clip, Poisson{s.Rate}}.losses(adj)
		full, rate := s.crowded()
		if full == 0 || rate == 0 {
			return open
		}
		crowd := Gaussian{m.StdDev, 2 * m.Clip, Poisson{rate}}.losses(dp.Replace)[0]
		for i := range open {
			open[i] = mixed{full, crowd, open[i]}
		}
		return open
	}
	return sampledLosses(gaussianLoss{m.Clip.Sensitivity(adj) / m.StdDev}, m.Sampler)
}

func (m Laplace) losses(adj dp.Adjacency) []loss {
	return sampledLosses(laplaceLoss{m.Clip.Sensitivity(adj) / m.Scale}, m.Sampler)
}

// discreteSensitivity is that of counts.
func discreteSensitivity(clip int64, adj dp.Adjacency) int64 {
	return int64(Clip(clip).Sensitivity(adj))
}

func (m DiscreteGaussian) losses(adj dp.Adjacency) []loss {
	return sampledLosses(discreteGaussianPoints(m.Sigma, discreteSensitivity(m.Clip, adj), far), m.Sampler)
}

func (m DiscreteLaplace) losses(adj dp.Adjacency) []loss {
	return sampledLosses(discreteLaplacePoints(m.Scale, discreteSensitivity(m.Clip, adj)), m.Sampler)
}

func (m RandomisedResponse) losses(dp.Adjacency) []loss { return []loss{responsePoints(m)} }
func (m Exponential) losses(dp.Adjacency) []loss        { return []loss{rangeLoss{m.Epsilon}} }
func (m Point) losses(dp.Adjacency) []loss              { return []loss{guaranteePoints(m.Guarantee)} }
