package dp

import (
	"math"
	"math/big"
	"testing"
)

func near(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if !(math.Abs(got-want) <= relative*math.Abs(want)) {
		t.Errorf("%s = %.12g, want %.12g within %.1g of it", what, got, want, relative)
	}
}

// Calibrations by dp_accounting 0.6.0 and independent bisection, for sensitivity
// 1: analytic deviation, classic deviation, and what the classic one is worth.
func TestGaussianCalibrations(t *testing.T) {
	for _, c := range []struct{ eps, delta, analytic, classic, worth float64 }{
		{0.1, 1e-5, 30.74956613, 48.44805, 2.6e-9},
		{0.5, 1e-5, 7.03182668, 9.68961, 1.6e-8},
		{1, 1e-5, 3.73063163, 4.84481, 4.1e-8},
		{1, 1e-6, 4.22467889, 5.29880, 3.2e-9},
		{2, 1e-5, 1.99381245, 2.42240, 1.3e-7},
		{4, 1e-5, 1.08116185, 1.21120, 6.8e-7},
		{8, 1e-5, 0.60022907, 0.60560, 8.0e-6},
		{16, 1e-5, 0.34417743, 0.30280, 3.4e-4},
		{16, 1e-6, 0.36861166, 0.33118, 3.2e-5},
	} {
		g := Guarantee{Epsilon: c.eps, Delta: c.delta}
		sigma, err := GaussianSigma(1, g)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "analytic sigma", sigma, c.analytic, 1e-8)
		if d := GaussianDelta(sigma, 1, c.eps); d > c.delta {
			t.Errorf("sigma for %v gives delta %v", g, d)
		}
		near(t, "what the classic sigma is worth", GaussianDelta(math.Sqrt(2*math.Log(1.25/c.delta))/c.eps, 1, c.eps), c.worth, 0.05)
		classic, err := ClassicGaussian(1, g)
		switch lies := c.worth > c.delta; {
		case lies && err == nil:
			t.Errorf("the classic formula answers %v for %v, where it is false", classic, g)
		case !lies && err != nil:
			t.Error(err)
		case !lies:
			near(t, "classic sigma", classic, c.classic, 1e-5)
		}
	}
}

// Vectors of Google's Go library (noise/gaussian_noise_test.go), sensitivity D.
func TestGaussianDeltas(t *testing.T) {
	for _, c := range []struct{ sigma, d, eps, want float64 }{
		{10, 1, 0.1, 0.008751768145810},
		{10, 5, math.Log(3), 0.004159742234},
		{0.5, 1, 0, 0.6826894921370859},
		{1, 1, math.Log(3), 0.10985556344445052},
		{1, math.Sqrt2, math.Log(3), 0.26546844106038714},
	} {
		near(t, "delta", GaussianDelta(c.sigma, c.d, c.eps), c.want, 1e-9)
	}
	// Far out, where phi underflows, the answer is still smooth: dominated by
	// density(a)*D/sigma/a^2.
	for _, eps := range []float64{20, 40, 80} {
		a := eps - 0.5
		rough := density(a) / (a * (a + 1))
		near(t, "a tiny delta", GaussianDelta(1, 1, eps), rough, 0.01)
	}
}

func TestThresholds(t *testing.T) {
	ln3 := math.Log(3)
	near(t, "Gaussian threshold", GaussianThreshold(1, 0.022750131948, 1), 3, 1e-9)
	// Google's search for sigma stops within a part in a thousand, above 1 here.
	near(t, "Gaussian threshold of 2 groups", GaussianThreshold(1.000583716737605, 0.022828893856, 2), 3.275415487306, 1e-9)
	near(t, "Gaussian threshold of 2 groups, exactly", GaussianThreshold(1, 0.022828893856, 2), 3.2740880640376, 1e-9)
	near(t, "Gaussian threshold, small delta", GaussianThreshold(1, 3e-5, 1), 5.012810811118, 1e-9)
	near(t, "Laplace threshold", LaplaceThreshold(Guarantee{ln3, 1e-5}, 1), 10.848587, 1e-7)
	near(t, "Laplace threshold", LaplaceThreshold(Guarantee{1, 1e-5}, 1), 11.819778, 1e-7)
	near(t, "Laplace threshold of 3 groups", LaplaceThreshold(Guarantee{1, 1e-5}, 3), 36.755162, 1e-7)
	near(t, "Laplace threshold, large delta", LaplaceThreshold(Guarantee{1, 0.75}, 1), 1+math.Log(0.5), 1e-12)
}

// Ours is for whole numbers and exact: it is the first that is rare enough.
func TestThresholdOfMechanism(t *testing.T) {
	for _, groups := range []int64{1, 3} {
		s := sensitivity(t, Contribution{Groups: groups, Low: 1, High: 1}, AddRemove)
		m, err := Laplace(s, 1)
		if err != nil {
			t.Fatal(err)
		}
		threshold, err := m.Threshold(1e-5)
		if err != nil {
			t.Fatal(err)
		}
		shown := func(at int64) float64 { // that one of the groups of a lone unit is shown
			return -math.Expm1(float64(groups) * math.Log1p(-m.Above(at-1-1)))
		}
		if shown(threshold) > 1e-5 || shown(threshold-1) <= 1e-5 {
			t.Errorf("threshold %d of %d groups: shown with %v, one less with %v", threshold, groups, shown(threshold), shown(threshold-1))
		}
		continuous := LaplaceThreshold(Guarantee{1, 1e-5}, groups)
		if math.Abs(float64(threshold)-continuous) > 1.5 {
			t.Errorf("threshold %d, want about %v", threshold, continuous)
		}
	}
}

// Desfontaines and others 2022; the last row independently computed.
func TestSelectionProbabilities(t *testing.T) {
	for _, c := range []struct {
		g    Guarantee
		want map[int64]float64
		tol  float64
	}{
		{Guarantee{math.Ln2, 0.1}, map[int64]float64{0: 0, 1: 0.1, 2: 0.3, 3: 0.7, 4: 0.9, 5: 1, 1000: 1}, 1e-12},
		{Guarantee{math.Log(1.5), 0.1}, map[int64]float64{1: 0.1, 2: 0.25, 3: 0.475, 4: 0.716667, 5: 0.877778, 6: 0.985185, 7: 1}, 1e-6},
		{Guarantee{1, 1e-5}, map[int64]float64{-3: 0, 5: 8.57910e-4, 10: 0.128183, 15: 0.988072, 20: 0.999925}, 1e-5},
	} {
		s, err := NewSelection(c.g, 1, AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		for n, want := range c.want {
			near(t, "probability of keeping", s.Probability(n), want, c.tol)
		}
	}
}

// Neighbouring chances keep the guarantee as the fractions that are drawn, in
// exact arithmetic: rounding has not cost a last digit.
func TestSelectionIsExactlyPrivate(t *testing.T) {
	for _, g := range []Guarantee{{math.Ln2, 0.1}, {1, 1e-5}, {0.01, 1e-9}, {7, 1e-12}, {0.3, 0.5}} {
		s, err := NewSelection(g, 1, AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		// Less than e^epsilon by less than 2^-60 of it.
		e, _ := new(big.Rat).SetString(expDigits(g.Epsilon))
		delta := rat(g.Delta)
		holds := func(p, q *big.Rat) bool {
			bound := new(big.Rat).Mul(e, q)
			return p.Cmp(bound.Add(bound, delta)) <= 0
		}
		exactly := func(c chance) *big.Rat {
			if c.drops {
				return new(big.Rat).Sub(one, rat(c.p))
			}
			return rat(c.p)
		}
		for n := 1; n < len(s.keep); n++ {
			p, q := exactly(s.keep[n-1]), exactly(s.keep[n])
			np, nq := new(big.Rat).Sub(one, p), new(big.Rat).Sub(one, q)
			if !holds(q, p) || !holds(np, nq) || !holds(p, q) || !holds(nq, np) {
				t.Fatalf("%v: %d units are kept with %v, %d with %v: too far apart", g, n-1, s.keep[n-1], n, s.keep[n])
			}
		}
	}
}

// expDigits is e^x, rounded down, by its series in 200 bits.
func expDigits(x float64) string {
	sum, term := big.NewFloat(1).SetPrec(200), big.NewFloat(1).SetPrec(200)
	for k := 1; k < 200; k++ {
		term.Mul(term, new(big.Float).SetPrec(200).SetFloat64(x))
		term.Quo(term, big.NewFloat(float64(k)))
		sum.Add(sum, term)
	}
	return sum.Mul(sum, new(big.Float).SetPrec(200).Sub(big.NewFloat(1), big.NewFloat(0x1p-60))).Text('f', 60)
}

// P(0) and variance by summation in 50 digits elsewhere.
func TestShapes(t *testing.T) {
	for _, c := range []struct{ sigma, zero, variance float64 }{
		{0.5, 0.7865707070, 0.2150126751},
		{1, 0.3989422783, 0.9999997888},
		{2, 0.1994711402, 4},
	} {
		n, err := GaussianNoise(rat(c.sigma * c.sigma))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "P(0)", n.Probability(0), c.zero, 2e-10)
		near(t, "variance", n.Variance(), c.variance, 2e-10)
	}
	for _, c := range []struct{ scale, zero, variance float64 }{
		{0.5, 0.7615941560, 0.3620308305},
		{1, 0.4621171573, 1.8413471884},
		{2, 0.2449186624, 7.8353961781},
	} {
		n, err := LaplaceNoise(rat(c.scale))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "P(0)", n.Probability(0), c.zero, 2e-10)
		near(t, "variance", n.Variance(), c.variance, 2e-10)
	}
}

// Tails are what the probabilities add up to, or an upper bound of it.
func TestTailsAreSums(t *testing.T) {
	for _, v := range []float64{0.04, 0.25, 1, 3.9, 4.1, 900, 1e6} {
		for name, n := range map[string]*Noise{"laplace": must(LaplaceNoise(rat(v))), "gaussian": must(GaussianNoise(rat(v)))} {
			if v > 1000 && name == "laplace" {
				continue // ten million terms
			}
			total, sum, second := n.Probability(0), 0.0, 0.0
			for k := int64(1); k < 50000; k++ {
				total += 2 * n.Probability(k)
				second += 2 * n.Probability(k) * float64(k) * float64(k)
			}
			near(t, name+": total", total, 1, 1e-12)
			near(t, name+": variance", n.Variance(), second, 1e-9)
			for k := int64(49999); k > 3; k-- {
				sum += n.Probability(k)
			}
			near(t, name+": tail above 3", n.Above(3), sum, 1e-11)
			near(t, name+": tail above -4", n.Above(-4), 1-sum, 1e-12)
			w := must(n.Interval(0.95))
			if in := 1 - 2*n.Above(w); in < 0.95 {
				t.Errorf("%s %v: [-%d, %d] has %v", name, v, w, w, in)
			}
			if w > 0 && 1-2*n.Above(w-1) >= 0.95 {
				t.Errorf("%s %v: %d is wider than need be", name, v, w)
			}
		}
	}
	wide := must(GaussianNoise(big.NewRat(1<<30, 1)))
	w := must(wide.Interval(0.95))
	near(t, "interval of wide noise", float64(w), 1.959963985*32768, 1e-4)
}

// The discrete delta against the sum of max(0, P - e^eps Q) over everything, and
// the continuous formula, which it must not be taken for: at a deviation of a
// half they differ by much.
func TestDiscreteGaussianDelta(t *testing.T) {
	for _, v := range []float64{0.05, 0.25, 1, 30, 1e4, 9e6} {
		g := newGaussianShape(v)
		for _, d := range []float64{1, 3, 10} {
			for _, eps := range []float64{0, 0.1, 1, 5} {
				got := g.delta(d, eps)
				want := 0.0
				reach := int64(12*math.Sqrt(v) + d + 3)
				for y := -reach; y <= reach; y++ {
					p, q := g.probability(y), g.probability(y+int64(d))
					want += max(0, p-math.Exp(eps)*q)
				}
				if got < want*(1-1e-12) || got > want*(1+1e-6)+1e-15 {
					t.Errorf("variance %v, shift %v, epsilon %v: delta %v, want %v", v, d, eps, got, want)
				}
			}
		}
	}
	near(t, "wide noise against the continuous", newGaussianShape(1e9).delta(1000, 0.1), GaussianDelta(math.Sqrt(1e9), 1000, 0.1), 1e-2)
	if d, c := newGaussianShape(0.0625).delta(1, 7), GaussianDelta(0.25, 1, 7); d < 1.2*c {
		t.Errorf("discrete delta %v, continuous %v: want a difference that matters", d, c)
	}
}

// What Gaussian picks keeps the claim by its own formula and wastes little. For
// one number and a fine grid it is the analytic deviation.
func TestGaussianMechanism(t *testing.T) {
	for _, eps := range []float64{0.01, 0.1, 1, 4, 16, 100} {
		for _, delta := range []float64{1e-3, 1e-5, 1e-9} {
			for _, reach := range []int64{1, 7, 1 << 20} {
				s := sensitivity(t, Contribution{Low: 0, High: reach}, AddRemove)
				m, err := Gaussian(s, Guarantee{eps, delta})
				if err != nil {
					t.Fatal(err)
				}
				v, _ := m.Parameter().Float64()
				if m.Delta(eps) > delta {
					t.Errorf("epsilon %v, delta %v, reach %v: gives delta %v", eps, delta, reach, m.Delta(eps))
				}
				sigma, _ := GaussianSigma(float64(reach), Guarantee{eps, delta})
				if reach == 1<<20 {
					near(t, "deviation on a fine grid", math.Sqrt(v), sigma, 1e-3)
				}
				if g := newGaussianShape(v * 0.98); sigma > 2 && g.delta(float64(reach), eps) <= delta {
					t.Errorf("epsilon %v, delta %v, reach %v: 2 %% less variance would do", eps, delta, reach)
				}
			}
		}
	}
	s := sensitivity(t, Contribution{Groups: 4, Low: 0, High: 1}, AddRemove)
	m := must(Gaussian(s, Guarantee{1, 1e-5}))
	sigma, _ := GaussianSigma(2, Guarantee{1, 1e-5})
	if dev := math.Sqrt(m.Variance()); dev < sigma || dev > 1.25*sigma {
		t.Errorf("several numbers: deviation %v, want somewhat more than %v", dev, sigma)
	}
}

// zCDP by the best order, dp_accounting 0.6.0.
func TestZCDPConversion(t *testing.T) {
	for rho, eps := range map[float64]float64{0.1: 1.914239, 0.5: 4.728387, 1: 7.077203} {
		near(t, "delta of zCDP", zcdpDelta(rho, eps), 1e-5, 5e-3)
	}
}

func TestLaplaceDelta(t *testing.T) {
	for _, groups := range []int64{1, 2} {
		s := sensitivity(t, Contribution{Groups: groups, Low: 0, High: 3}, AddRemove)
		m := must(Laplace(s, 2))
		if m.Delta(2) > 1e-11 {
			t.Errorf("Laplace of epsilon 2: delta %v at 2", m.Delta(2))
		}
		for _, eps := range []float64{0, 0.5, 1.5} {
			want := 0.0
			for y := int64(-400); y < 400; y++ {
				want += max(0, m.Probability(y)-math.Exp(eps)*m.Probability(y+3))
			}
			if groups == 1 {
				near(t, "delta of Laplace", m.Delta(eps), want, 1e-9)
			} else if m.Delta(eps) < want {
				t.Errorf("delta %v at %v, want at least %v", m.Delta(eps), eps, want)
			}
		}
	}
}

func sensitivity(t *testing.T, c Contribution, a Adjacency) Sensitivity {
	t.Helper()
	s, err := c.Sensitivity(a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
