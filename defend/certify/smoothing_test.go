package certify

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Values that others published, or that follow in closed form.
func TestBinomial(t *testing.T) {
	for _, c := range []struct {
		what      string
		got, want float64
		tolerance float64
	}{
		// Manual of R, binom.test(682, 925, p = 0.75): 95 % from 0.7076683.
		{"Clopper-Pearson 682 of 925", clopperPearson(682, 925, 0.025), 0.7076683, 5e-8},
		// Manual of SciPy, binomtest(3, 15, p=0.1, alternative='greater').
		{"Clopper-Pearson 3 of 15", clopperPearson(3, 15, 0.05), 0.05684686759024681, 1e-14},
		{"tail of 3 of 15", betaIncomplete(0.1, 3, 13), 0.18406106910639114, 1e-14},
		{"Clopper-Pearson of none", clopperPearson(0, 10, 0.05), 0, 0},
		{"Clopper-Pearson of all", clopperPearson(10, 10, 0.05), math.Pow(0.05, 0.1), 1e-15},
		{"one of one", clopperPearson(1, 1, 0.05), 0.05, 1e-15},
		// Of 20 tosses 14 or more, or 6 or fewer, are heads: 120920 of 2^20.
		{"14 heads of 20", coin(14, 20), 120920.0 / (1 << 20), 1e-14},
		{"6 heads of 20", coin(6, 20), 120920.0 / (1 << 20), 1e-14},
		{"9 heads of 10", coin(9, 10), 22.0 / 1024, 1e-15},
		{"even", coin(5, 10), 1, 0},
		{"no toss", coin(0, 0), 1, 0},
		{"quantile", normalQuantile(0.975), 1.959963984540054, 1e-12},
		// The longest certificate with the paper's n and alpha, in sigmas.
		{"largest radius", normalQuantile(clopperPearson(100_000, 100_000, 0.001)), 3.8, 0.02},
	} {
		if math.Abs(c.got-c.want) > c.tolerance {
			t.Errorf("%s: got %.17g, want %.17g", c.what, c.got, c.want)
		}
	}
	// The bound is where the tail is alpha, for large counts too.
	for _, k := range []int{50_500, 90_000, 99_990} {
		p := clopperPearson(k, 100_000, 0.001)
		if tail := betaIncomplete(p, float64(k), float64(100_000-k+1)); math.Abs(tail-0.001) > 1e-9 {
			t.Errorf("%d of 100,000: the tail at the bound %v is %v, want 0.001", k, p, tail)
		}
	}
}

// plane is a linear classifier of two classes with scores +-(w.x + b).
type plane struct {
	w    []float64
	b    float64
	asks int
}

func (p *plane) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), 2)
	for i := range x.Rows() {
		s := p.b
		for j, v := range x.Row(i) {
			s += p.w[j] * float64(v)
		}
		z.Row(i)[0], z.Row(i)[1] = float32(s), float32(-s)
	}
	p.asks += x.Rows()
	return z, nil
}

// The smoothed classifier of a half-space is the half-space itself, so that the
// true radius is the distance to the plane (Cohen et al., appendix B). The
// certificate comes near it from below.
func TestSmoothingOfAHalfSpace(t *testing.T) {
	p := &plane{w: []float64{3, 0, -4}, b: 0.5}
	x := tensor.Of([]float32{0.2, 5, 0, 0, 1, 0, 0, 0, 0.625, 0.02, 0, 0.14}, 4, 3)
	s := Smoothing{Sigma: 0.25, N: 20_000, Batch: 700, Seed: 1}
	got, err := s.Certify(t.Context(), p, x)
	if err != nil {
		t.Fatal(err)
	}
	if p.asks != 4*20_100 {
		t.Errorf("%d answers for four samples, want %d", p.asks, 4*20_100)
	}
	for i, want := range []struct {
		class    int
		distance float64
	}{{0, 0.22}, {0, 0.1}, {1, 0.4}, {Abstain, 0}} {
		c := got[i]
		if c.Class != want.class || c.Radius > want.distance || c.Radius < 0.85*want.distance {
			t.Errorf("sample %d: %+v, want class %d and nearly radius %v", i, c, want.class, want.distance)
		}
	}
	again, err := s.Certify(t.Context(), p, x.Slice(0, 2))
	if err != nil || again[1] != got[1] {
		t.Errorf("in another batch: %+v (%v), want %+v", again, err, got[1])
	}
	classes, err := s.Predict(t.Context(), p, x)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 0, 1, Abstain} {
		if classes[i] != want {
			t.Errorf("sample %d: predicted %d, want %d", i, classes[i], want)
		}
	}
}

func TestSmoothingRefusesAndStops(t *testing.T) {
	x := tensor.New(2, 3)
	p := &plane{w: []float64{1, 1, 1}, b: 1}
	for _, s := range []Smoothing{{}, {Sigma: -1}, {Sigma: 1, Alpha: 0.5}, {Sigma: 1, N: -1}, {Sigma: math.NaN()}} {
		if _, err := s.Certify(t.Context(), p, x); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := Smoothing{Sigma: 1, N: 1000, Progress: func(int, int) { cancel() }}
	if got, err := s.Certify(ctx, p, x); len(got) != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after one sample: %v, %v", got, err)
	}
}
