package account

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"math/cmplx"
	"slices"
	"sync"
)

// PLD composes privacy loss distributions (Koskela, Jälkö and Honkela 2020, arXiv
// 1906.03049; Zhu, Dong and Wang 2022): discretised once from above and once from
// below, so that the answer is an interval. It is exact but for the width of that
// interval, usually less than a thousandth. The zero value is ready for use.
type PLD struct {
	// Grid is the spacing of the discretised loss; 0 chooses it so that the
	// interval is narrow.
	Grid float64
}

// Epsilon is the least epsilon that the plan satisfies with the given delta,
// infinity if there is none. Only plans whose losses are bounded have one with
// delta 0.
func (a PLD) Epsilon(p Plan, delta float64) (Interval, error) {
	p, group, err := p.accountable()
	if err != nil {
		return Interval{}, err
	}
	if err := firstError(checkDelta(delta), a.check()); err != nil {
		return Interval{}, err
	}
	if delta == 0 {
		return Basic{}.Epsilon(p.of(group), 0)
	}
	c, err := newComposition(p, a.Grid)
	if err != nil {
		return Interval{}, err
	}
	if group > 1 {
		upper := groupEpsilon(group, delta, func(e float64) float64 { return c.delta(e, 0.1).Upper })
		return Interval{0, upper}, nil
	}
	return c.epsilon(delta), nil
}

// Delta is the least delta that the plan satisfies with the given epsilon.
func (a PLD) Delta(p Plan, epsilon float64) (Interval, error) {
	p, group, err := p.accountable()
	if err != nil {
		return Interval{}, err
	}
	if err := firstError(checkQuestion(epsilon), a.check()); err != nil {
		return Interval{}, err
	}
	c, err := newComposition(p, a.Grid)
	if err != nil {
		return Interval{}, err
	}
	if group > 1 {
		return Interval{0, groupDelta(group, epsilon, func(e float64) float64 { return c.delta(e, 0.1).Upper })}, nil
	}
	return c.delta(epsilon, 2e-2), nil
}

func (a PLD) check() error {
	if a.Grid != 0 && !(a.Grid >= 1e-9 && a.Grid <= 1) {
		return fmt.Errorf("grid %v: must be between 1e-9 and 1, or 0 to choose it", a.Grid)
	}
	return nil
}

// composition is a plan as losses and how often each occurs, in the one or two
// directions in which neighbours differ.
type composition struct {
	plan       Plan
	directions [][]repeated
	grid       float64
	most       float64 // the greatest finite loss of all steps together
	failed     float64 // the probability of an infinite one
}

type repeated struct {
	loss  loss
	times float64
}

// newComposition gathers the losses. Gaussian noise on all units is put together
// first: any number of such releases are as one with more noise.
func newComposition(p Plan, grid float64) (*composition, error) {
	c := &composition{plan: p, directions: make([][]repeated, 1), grid: grid}
	gauss, survive := 0.0, 0.0
	for _, s := range p.Steps {
		losses, n := s.Mechanism.losses(p.Adjacency), float64(s.Times)
		if g, ok := losses[0].(gaussianLoss); ok {
			gauss += n * g.mu * g.mu
			continue
		}
		if len(losses) == 2 && len(c.directions) == 1 {
			c.directions = append(c.directions, append([]repeated(nil), c.directions[0]...))
		}
		most := 0.0
		for d := range c.directions {
			l := losses[min(d, len(losses)-1)]
			c.directions[d] = append(c.directions[d], repeated{l, n})
			most = max(most, finiteMost(l))
		}
		c.most += n * most
		survive += n * math.Log1p(-failure(losses[0]))
	}
	if gauss > 0 {
		for d := range c.directions {
			c.directions[d] = append(c.directions[d], repeated{gaussianLoss{math.Sqrt(gauss)}, 1})
		}
		c.most = math.Inf(1)
	}
	c.failed = -math.Expm1(survive)
	return c, nil
}

// failure is the probability of an infinite loss.
func failure(l loss) float64 {
	if d, ok := l.(points); ok && math.IsInf(d.most(), 1) {
		return d[len(d)-1].p
	}
	return 0
}

// lone is the deviation's inverse where all is one Gaussian release.
func (c *composition) lone() (mu float64, ok bool) {
	if len(c.directions) != 1 || len(c.directions[0]) != 1 {
		return 0, false
	}
	g, ok := c.directions[0][0].loss.(gaussianLoss)
	return g.mu, ok
}

func around(v float64) Interval { return Interval{v * (1 - 1e-12), v * (1 + 1e-12)} }

func (c *composition) epsilon(delta float64) Interval {
	if c.failed > delta {
		return Interval{math.Inf(1), math.Inf(1)}
	}
	if mu, ok := c.lone(); ok {
		return around(gaussianEpsilon(mu, delta))
	}
	i := c.answer(question{
		tilt: func(s *search) (theta, most float64) {
			if i := s.best; !math.IsInf(i.Upper, 1) {
				return s.tiltOfEpsilon(i.Upper), delta
			}
			return s.tiltOfDelta(delta), delta
		},
		ask:   func(t *tilted) Interval { return t.epsilon(delta, c.most) },
		width: 1e-3,
	})
	if math.IsInf(i.Upper, 1) { // the losses are so large that float64 gave out
		i.Upper, _, _ = Renyi{Exact: true}.Best(c.plan, delta)
	}
	return i
}

// delta is the profile at eps, in an interval of the given width in proportion.
func (c *composition) delta(eps, width float64) Interval {
	if eps >= c.most*(1-1e-14) { // but for the rounding of the sum
		return Interval{c.failed, c.failed}
	}
	if mu, ok := c.lone(); ok {
		return around(gaussianDelta(mu, eps))
	}
	return c.answer(question{
		tilt:  func(s *search) (theta, most float64) { return s.tiltOfEpsilon(eps), s.best.Upper },
		ask:   func(t *tilted) Interval { return t.delta(eps) },
		width: width,
	})
}

// or is what holds of the worse of two.
func (i Interval) or(j Interval) Interval {
	return Interval{max(i.Lower, j.Lower), max(i.Upper, j.Upper)}
}

// and is what holds where both hold of the same number.
func (i Interval) and(j Interval) Interval {
	return Interval{max(i.Lower, j.Lower), min(i.Upper, j.Upper)}
}

// question is what is asked of a composed loss, which tilt suits it, and how great
// delta is at most where it does.
type question struct {
	tilt  func(*search) (theta, most float64)
	ask   func(*tilted) Interval
	width float64 // of an interval that is narrow enough, in proportion
}

// search answers a question in one direction, on finer and finer grids.
type search struct {
	steps  []repeated
	pilots []*lattice // rough, to find the way
	points int        // of the next grid
	best   Interval
}

// answer asks in every direction and then narrows the worst answer, as long as it
// is wide and the transform not too large; the largest are for the widest, whose
// losses are atoms at distances of many kinds, as with a rare sample and discrete noise.
func (c *composition) answer(q question) Interval {
	if slices.ContainsFunc(c.directions, func(d []repeated) bool { return len(d) == 0 }) {
		return Interval{} // nothing is released
	}
	all := make([]*search, len(c.directions))
	var first sync.WaitGroup
	for i, d := range c.directions {
		first.Go(func() {
			all[i] = newSearch(d)
			all[i].refine(q, c.grid)
		})
	}
	first.Wait()
	for {
		worst := slices.MaxFunc(all, func(a, b *search) int { return cmp.Compare(a.best.Upper, b.best.Upper) })
		wide := (worst.best.Upper - worst.best.Lower) / worst.best.Upper / q.width
		if c.grid != 0 || worst.points > 4*maxWindow || !(wide > 1) || worst.points > maxWindow/4 && wide < 10 {
			break
		}
		if wide > 20 && worst.points <= maxWindow/16 { // one step more will not do
			worst.points *= 4
		}
		worst.refine(q, 0)
	}
	var out Interval
	for _, s := range all {
		out = out.or(s.best)
	}
	return out
}

func newSearch(d []repeated) *search {
	s := &search{steps: d, best: Interval{0, math.Inf(1)}}
	times := 0.0
	for _, step := range d {
		s.pilots = append(s.pilots, pilot(step.loss))
		times += step.times
	}
	s.points = windowSize(times)
	return s
}

func (s *search) refine(q question, grid float64) {
	theta, most := q.tilt(s)
	t, size := newTilted(s, s.shortest(theta, most), grid)
	if size > 4*maxWindow { // no window: the numbers are beyond float64
		s.points = size
		return
	}
	s.best = s.best.and(q.ask(t))
	s.points = 4 * max(size, s.points)
}

const (
	minWindow = 1 << 13
	maxWindow = 1 << 20
)

// windowSize is how many points the first transform has: so many that the variance
// which discretisation adds, about a sixth of the square of the spacing a step, is
// a few parts in a thousand of the whole.
func windowSize(times float64) int {
	n := minWindow
	for float64(n) < 100*math.Sqrt(times) && n < maxWindow {
		n *= 2
	}
	return n
}

// pilot is a rough lattice, which only guides.
func pilot(l loss) *lattice {
	lo, hi := l.bounds()
	for _, a := range l.atoms() {
		if !math.IsInf(a.loss, 0) {
			lo, hi = min(lo, a.loss), max(hi, a.loss)
		}
	}
	h := max(hi, -lo, 1e-9) / (1 << 20)
	up := newBins()
	roundAtoms(l.atoms(), h, up, newBins())
	if lo, hi := l.bounds(); lo <= hi {
		above(l, ladder(lo, hi, h, rough), h, up)
	}
	return up.lattice(h, 0)
}

// cumulants are the logarithm of the moment generating function of the composed
// index times h at theta, with its first two derivatives: the mean and the
// variance of the distribution that is tilted by exp(theta·L).
func cumulants(d []repeated, steps []*lattice, theta float64) (k, mean, variance float64) {
	for i, l := range steps {
		top, mode := math.Inf(-1), 0.0
		for j, log := range l.log {
			v := float64(l.index[j]) * l.h
			if w := log + theta*v; w > top {
				top, mode = w, v
			}
		}
		var s0, s1, s2 float64 // of the distance from the mode: little cancels
		for j, log := range l.log {
			v := float64(l.index[j]) * l.h
			w := math.Exp(log + theta*v - top)
			v -= mode
			s0, s1, s2 = s0+w, s1+w*v, s2+w*v*v
		}
		m := s1 / s0
		k += d[i].times * (top + math.Log(s0))
		mean += d[i].times * (mode + m)
		variance += d[i].times * max(s2/s0-m*m, 0)
	}
	return k, mean, variance
}

// maxTilt bounds tilts. Any tilt gives right answers; a good one gives digits.
const maxTilt = 1e5

// tiltOfDelta is the tilt at whose mean delta is about what is asked. It only has to
// be near.
func (s *search) tiltOfDelta(delta float64) float64 {
	return tiltWhere(func(theta float64) bool {
		k, mean, variance := cumulants(s.steps, s.pilots, theta)
		return saddle(theta, k, mean, variance) > math.Log(delta)
	})
}

// saddle approximates the logarithm of delta at the mean of the tilted loss: there
// delta is exp(k - theta·mean) times the mean of exp(-theta·x)·(1-exp(-x)) over the
// x above 0 of a normal distribution, which is about sd/sqrt(2π) where that is
// narrow, a half where it is wide, and 1/(theta·(1+theta)·sqrt(2π)·sd) where the tilt
// is large beside it. Where the greatest loss is an atom a large tilt leaves
// nothing but it, and delta there is 0.
func saddle(theta, k, mean, variance float64) float64 {
	sd, root := math.Sqrt(variance), math.Sqrt(2*math.Pi)
	return k - theta*mean - math.Log(2+root/sd+theta*(1+theta)*root*sd)
}

// tiltOfEpsilon is the tilt whose mean is epsilon, or none where that is below
// the mean of the loss itself.
func (s *search) tiltOfEpsilon(eps float64) float64 {
	return tiltWhere(func(theta float64) bool {
		_, mean, _ := cumulants(s.steps, s.pilots, theta)
		return mean < eps
	})
}

// tiltWhere finds, to three digits, where holds ends.
func tiltWhere(holds func(theta float64) bool) float64 {
	if !holds(1e-3) {
		return 0
	}
	lo, hi := math.Log(1e-3), math.Log(maxTilt)
	for range 16 {
		if mid := (lo + hi) / 2; holds(math.Exp(mid)) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Exp((lo + hi) / 2)
}

// tilted is a composed loss from above and below, on one window of the grid,
// multiplied by exp(theta·L) and scaled: there the part of the loss that the
// question is about is not small, and the errors of the Fourier transform are
// small beside it however small delta is.
type tilted struct {
	upper, lower side
}

// side is one of the bounds. With s the value of grid point i of the window, the
// probability of losing s is exp(log - theta·s')·y[i] for s' = s + shift.
type side struct {
	theta, h, log float64
	shift         float64
	first         int       // index of the first point
	most          float64   // all finite values s' are below
	above, less   []float64 // sums of y[j]·exp(-theta·(s_j-s_i)) over j >= i, and with theta+1
	failed        float64
	slack         float64 // what is uncertain, in units of exp(log - theta·s')
}

// newTilted composes on a window of as many points as the search wants, or a given
// grid needs; size is how many it has.
func newTilted(s *search, w window, grid float64) (t *tilted, size int) {
	d := s.steps
	width := w.hi - w.lo
	h := grid
	if h == 0 {
		h = fit(width/float64(s.points-128), d)
	}
	h = max(h, width/(4*maxWindow-128))
	if !(width < 1e12) {
		return nil, 8 * maxWindow
	}
	size = 1 << bits.Len(uint(width/h)+64)
	ups, lows := make([]*lattice, len(d)), make([]*lattice, len(d))
	for i, s := range d {
		ups[i], lows[i] = discretise(s.loss, h)
	}
	first := int(math.Floor(w.lo/h)) - 16
	t = new(tilted)
	both(
		func() { t.upper = newSide(d, ups, w, first, size) },
		func() { t.lower = newSide(d, lows, w, first, size) },
	)
	t.transform(d, ups, lows, size)
	return t, size
}

// window is where a loss lies that is tilted by theta, but for a probability of
// e^-rare on either side, and the exponents with which Chernoff's bound shows it.
type window struct {
	theta, lo, hi float64
	below, above  float64
}

func newWindow(d []repeated, steps []*lattice, theta, rare float64) window {
	k, mean, variance := cumulants(d, steps, theta)
	w := window{theta: theta}
	// What is right for a normal distribution, to begin with.
	normal := math.Sqrt(2 * rare / (variance + 1e-12*mean*mean + 1e-20))
	w.above, w.hi = least(normal, func(t float64) float64 {
		above, _, _ := cumulants(d, steps, theta+t)
		return (above - k + rare) / t
	})
	w.below, w.lo = least(normal, func(t float64) float64 {
		below, _, _ := cumulants(d, steps, theta-t)
		return (below - k + rare) / t
	})
	w.lo = -w.lo
	if !(w.lo < w.hi) { // no variance to speak of
		w.lo, w.hi = mean, mean
	}
	first, last := extent(d, steps)
	w.lo, w.hi = max(w.lo, first), min(w.hi, last)
	pad := max(1e-3*(w.hi-w.lo), 1e-6*math.Abs(mean), 1e-9)
	w.lo, w.hi = w.lo-pad, w.hi+pad
	return w
}

// extent is the least and the greatest index of the composition times h.
func extent(d []repeated, steps []*lattice) (least, most float64) {
	for i, l := range steps {
		least += d[i].times * float64(slices.Min(l.index)) * l.h
		most += d[i].times * float64(slices.Max(l.index)) * l.h
	}
	return least, most
}

// least finds where f, which falls and then rises, is least, or nearly: within a
// factor of sqrt(2), by golden section of the logarithm, from 2^-14 to 2^8 times
// a guess.
func least(guess float64, f func(float64) float64) (at, value float64) {
	const golden = 1 / math.Phi
	lo, hi := math.Log2(guess)-14, math.Log2(guess)+8
	x, y := hi-golden*(hi-lo), lo+golden*(hi-lo)
	fx, fy := f(math.Exp2(x)), f(math.Exp2(y))
	for hi-lo > 1 {
		if fx < fy || math.IsNaN(fy) {
			hi, y, fy = y, x, fx
			x = hi - golden*(hi-lo)
			fx = f(math.Exp2(x))
		} else {
			lo, x, fx = x, y, fy
			y = lo + golden*(hi-lo)
			fy = f(math.Exp2(y))
		}
	}
	if fx < fy {
		return math.Exp2(x), fx
	}
	return math.Exp2(y), fy
}

// shortest chooses among smaller tilts the one with the shortest window. The tilt
// of the question itself leaves the most digits, but where the loss has a heavy
// tail it makes that tail heavier. The less the tilt, the rarer must be what lies
// outside: it counts in units of exp(k - theta·eps), of which delta, known to be
// most or less, is a part.
func (s *search) shortest(theta, most float64) window {
	k, eps, variance := cumulants(s.steps, s.pilots, theta)
	delta := min(saddle(theta, k, eps, variance), math.Log(most))
	var best window
	for i := range 6 {
		k, _, _ := cumulants(s.steps, s.pilots, theta)
		unit := k - theta*eps - delta
		if i > 0 && unit > 17 { // the Fourier transform is not that good
			break
		}
		w := newWindow(s.steps, s.pilots, theta, unit+12)
		if i == 0 || w.hi-w.lo < 0.99*(best.hi-best.lo) {
			best = w
		}
		if theta /= 2; theta < 1e-2 {
			theta = 0
		}
	}
	return best
}

// fit makes a spacing divide the smallest atom of the losses, so that atoms lie on
// the grid and nothing is lost by rounding them.
func fit(h float64, d []repeated) float64 {
	unit := math.Inf(1)
	for _, s := range d {
		for _, a := range s.loss.atoms() {
			if a.loss > 0 {
				unit = min(unit, a.loss)
			}
		}
	}
	if unit < h || math.IsInf(unit, 1) {
		return h
	}
	return unit / math.Ceil(unit/h)
}

func newSide(d []repeated, steps []*lattice, w window, first, n int) side {
	s := side{theta: w.theta, h: steps[0].h}
	survive, times := 0.0, 0.0
	for i, l := range steps {
		s.shift += d[i].times * l.shift
		survive += d[i].times * math.Log1p(-l.failed)
		times += d[i].times
	}
	s.failed = -math.Expm1(survive)
	s.first = first + int(math.Round(s.shift/s.h))
	k, _, _ := cumulants(d, steps, s.theta)
	s.log = k
	// What lies outside the window has wrapped around to within.
	lo, hi := float64(s.first)*s.h, float64(s.first+n)*s.h
	beyond := func(t, edge float64) float64 {
		out := 1.0
		for range 3 { // the coarser the grid, the heavier the tail
			k2, _, _ := cumulants(d, steps, s.theta+t)
			rounding := 1e-14 * (math.Abs(k2) + math.Abs(k) + math.Abs(t*edge))
			out = min(out, math.Exp(k2-k-t*edge+rounding))
			t /= 2
		}
		return out
	}
	lowest, highest := extent(d, steps)
	s.most = highest + s.h/2
	if lowest < lo-s.h/2 {
		s.slack += beyond(-w.below, lo)
	}
	if highest > hi-s.h/2 {
		s.slack += beyond(w.above, hi)
	}
	// The probabilities themselves are right to about 13 digits.
	s.slack += 1e-13 * times
	return s
}

// transform composes both sides by one transform there and one back: the upper is
// the real part of what goes in and the lower the imaginary part.
func (t *tilted) transform(d []repeated, ups, lows []*lattice, n int) {
	f := newFFT(n)
	gamma := 2 * f.rounding() // of both parts together
	steps := make([][]complex128, len(d))
	for i := range d {
		steps[i] = make([]complex128, n)
		ups[i].fold(steps[i], t.upper.theta, 1)
		lows[i].fold(steps[i], t.upper.theta, 1i)
		f.transform(steps[i], false)
	}
	out := make([]complex128, n)
	type sums struct{ size, off float64 } // of absolute values, and of their errors
	compose := func(from, to int) (s sums) {
		up, low := make([]complex128, len(d)), make([]complex128, len(d))
		for k := from; k < to; k++ {
			for i, z := range steps {
				a, b := z[k], cmplx.Conj(z[(n-k)%n])
				up[i], low[i] = (a+b)/2, (a-b)/2i
			}
			u, uOff := product(up, d, gamma)
			l, lOff := product(low, d, gamma)
			s.size += 2 * (cmplx.Abs(u) + cmplx.Abs(l))
			s.off += 2 * (uOff + lOff)
			out[k] = u + 1i*l
			if k > 0 {
				out[n-k] = cmplx.Conj(u) + 1i*cmplx.Conj(l)
			}
		}
		return s
	}
	var low, high sums
	both(
		func() { low = compose(0, n/16) }, // the others have hardly any weight
		func() { high = compose(n/16, n/2+1) },
	)
	f.transform(out, true)
	off := (low.off + high.off + gamma*(low.size+high.size)) / float64(n) // of each point of what came back
	both(
		func() { t.upper.gather(out, off, func(z complex128) float64 { return real(z) }) },
		func() { t.lower.gather(out, off, func(z complex128) float64 { return imag(z) }) },
	)
}

// both does two things at once.
func both(a, b func()) {
	var other sync.WaitGroup
	other.Go(b)
	a()
	other.Wait()
}

// product is the Fourier coefficient of the composition, given those of the steps,
// which are right to gamma; off is how wrong it may be.
func product(x []complex128, d []repeated, gamma float64) (y complex128, off float64) {
	most, times := 0.0, 0.0
	for i, z := range x {
		most += d[i].times * math.Log(math.Sqrt(real(z)*real(z)+imag(z)*imag(z))+gamma)
		times += d[i].times
	}
	if most < -80 {
		return 0, math.Exp(most)
	}
	size, phase := 0.0, 0.0
	for i, z := range x {
		size += d[i].times * math.Log(cmplx.Abs(z))
		phase += d[i].times * cmplx.Phase(z)
	}
	abs := math.Exp(size)
	sin, cos := math.Sincos(phase)
	return complex(abs*cos, abs*sin), math.Exp(most) - abs + abs*times*1e-15
}

// fold adds the tilted and scaled probabilities to z, around a circle of its size.
func (l *lattice) fold(z []complex128, theta float64, unit complex128) {
	w := make([]float64, len(l.log))
	top, sum := math.Inf(-1), 0.0
	for j, log := range l.log {
		w[j] = log + theta*float64(l.index[j])*l.h
		top = max(top, w[j])
	}
	for j := range w {
		w[j] = math.Exp(w[j] - top)
		sum += w[j]
	}
	mask := len(z) - 1
	for j := range w {
		z[l.index[j]&mask] += complex(w[j]/sum, 0) * unit
	}
}

// gather takes the window out of a transform and sums it from the top.
func (s *side) gather(z []complex128, off float64, part func(complex128) float64) {
	n := len(z)
	s.above, s.less = make([]float64, n+1), make([]float64, n+1)
	a, b := math.Exp(-s.theta*s.h), math.Exp(-(s.theta+1)*s.h)
	for j := n - 1; j >= 0; j-- {
		y := part(z[(s.first+j)&(n-1)]) / float64(n)
		s.above[j] = y + a*s.above[j+1]
		s.less[j] = y + b*s.less[j+1]
	}
	s.slack += off * min(float64(n), -1/math.Expm1(-s.theta*s.h))
}

// delta is the profile at eps, which is right to plus or minus off.
func (s *side) delta(eps float64) (delta, off float64) {
	if eps+s.shift > s.most {
		return s.failed, 0
	}
	off = s.slack * math.Exp(s.log-s.theta*(eps+s.shift))
	n := len(s.above) - 1
	j := int(max(0, min(math.Floor((eps+s.shift)/s.h)+1-float64(s.first), float64(n))))
	if j < n {
		v := float64(s.first+j) * s.h
		delta = math.Exp(s.log-s.theta*v) * (s.above[j] - math.Exp(eps+s.shift-v)*s.less[j])
	}
	return s.failed + max(delta, 0), off
}

func (t *tilted) delta(eps float64) Interval {
	up, above := t.upper.delta(eps)
	low, below := t.lower.delta(eps)
	i := Interval{max(low-below, t.lower.failed), min(up+above, 1)}
	if math.IsNaN(i.Lower) {
		i.Lower = 0
	}
	if math.IsNaN(i.Upper) {
		i.Upper = 1
	}
	return i
}

// epsilon solves delta(eps) = delta for eps, at most the greatest loss.
func (t *tilted) epsilon(delta, most float64) Interval {
	tooMuch := func(eps float64) bool { return eps < most && t.delta(eps).Upper > delta }
	hi := max(1, float64(t.upper.first+len(t.upper.above))*t.upper.h)
	for tooMuch(hi) {
		if hi *= 2; hi > 1e12 {
			hi = math.Inf(1)
			break
		}
	}
	i := Interval{0, hi}
	if !tooMuch(0) {
		i.Upper = 0
	} else if !math.IsInf(hi, 1) {
		i.Upper = min(bisect(0, hi, tooMuch), most)
	}
	proved := func(eps float64) bool { return eps < most && t.delta(eps).Lower > delta }
	// Far below the window nothing is certain, so the search comes from above.
	if math.IsInf(i.Upper, 1) {
		return i
	}
	above := i.Upper
	for step := 1e-6; step < 2; step *= 2 {
		e := max(i.Upper*(1-step), 0)
		if proved(e) {
			i.Lower = bisect(e, above, proved) * (1 - 1e-12)
			break
		}
		above = e
	}
	return i
}
