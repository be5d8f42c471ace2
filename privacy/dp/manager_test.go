package dp_test

import (
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/dptest"
)

func manager(t *testing.T, g dp.Guarantee, a dp.Adjacency) *dp.Manager {
	t.Helper()
	m, err := dp.NewManager(g, a)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What the seeds of this system describe is there: two kinds of noise, private
// aggregation, the budget, what is lost, and the guarantee.
func TestManager(t *testing.T) {
	m := manager(t, dp.Guarantee{Epsilon: 10, Delta: 1e-5}, dp.Replace)
	ages := make([]float64, 10_000)
	var total float64
	for i := range ages {
		ages[i] = float64(18 + i%60)
		total += ages[i]
	}
	r := dp.Range{Low: 18, High: 90}
	noisy, err := m.AddLaplaceNoise(ages, r, 1)
	if err != nil {
		t.Fatal(err)
	}
	// The variance of Laplace noise of scale 72 is 2*72^2; a mean of ten thousand
	// squares of it is off by a part in 45 on average, and here by less than six
	// times that.
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s is %v, want %v within %v", what, got, want, tolerance)
		}
	}
	near("expected loss", noisy.ExpectedLoss, 2*72*72, 1e-3)
	lost, err := dp.InformationLoss(ages, noisy.Values)
	if err != nil {
		t.Fatal(err)
	}
	near("information lost", lost, noisy.ExpectedLoss, 0.14*noisy.ExpectedLoss)
	if noisy, err = m.AddGaussianNoise(ages, r, dp.Guarantee{Epsilon: 4, Delta: 1e-5}); err != nil {
		t.Fatal(err)
	}
	near("expected loss of Gaussian noise", noisy.ExpectedLoss, math.Pow(72*1.08116185, 2), 1)
	if lost, err = dp.InformationLoss(ages, noisy.Values); err != nil {
		t.Fatal(err)
	}
	near("information lost to Gaussian noise", lost, noisy.ExpectedLoss, 0.1*noisy.ExpectedLoss)

	// Laplace noise goes beyond 25 scales once in 10^11 times.
	for kind, want := range map[dp.Aggregate]float64{dp.Total: total, dp.Mean: total / 10_000, dp.Count: 10_000} {
		got, err := m.PrivateAggregation(kind, ages, r, 1)
		if err != nil {
			t.Fatal(err)
		}
		near(string(kind), got.Values[0], want, 25*math.Sqrt(got.ExpectedLoss/2))
	}
	f := m.Figures()
	near("spent", f.Spent.Epsilon, 8, 1e-12)
	near("remaining", f.Remaining.Epsilon, 2, 1e-12)
	near("remaining delta", f.Remaining.Delta, 0, 0)
	near("membership", dp.Guarantee{Epsilon: 1}.Membership(), 1/(1+math.Exp(-1)), 1e-15)
	near("membership for nothing", dp.Guarantee{}.Membership(), 0.5, 0)
	if f.Releases != 5 {
		t.Errorf("%d releases, want 5", f.Releases)
	}
	if _, err := m.PrivateAggregation(dp.Mean, ages, r, 2.5); !errors.Is(err, dp.ErrBudget) {
		t.Errorf("beyond the budget: %v", err)
	}
	if m.Figures() != f {
		t.Error("a refusal spent something")
	}
}

// Ten tenths are one, and not one more is to be had, however many ask at once.
func TestManagerNeverOverspends(t *testing.T) {
	m := manager(t, dp.Guarantee{Epsilon: 1}, dp.AddRemove)
	var wg sync.WaitGroup
	var mu sync.Mutex
	given := 0
	for range 50 {
		wg.Go(func() {
			if _, err := m.PrivateAggregation(dp.Count, []float64{1}, dp.Range{High: 1}, 0.1); err == nil {
				mu.Lock()
				given++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if given != 10 {
		t.Errorf("%d answers of 0.1 from a budget of 1", given)
	}
}

func TestManagerRefusesBeforeSpending(t *testing.T) {
	m := manager(t, dp.Guarantee{Epsilon: 1}, dp.AddRemove)
	good := dp.Range{Low: 0, High: 1}
	for what, ask := range map[string]func() error{
		"NaN": func() error {
			_, err := m.PrivateAggregation(dp.Total, []float64{1, math.NaN()}, good, 0.1)
			return err
		},
		"infinity": func() error {
			_, err := m.PrivateAggregation(dp.Total, []float64{math.Inf(-1)}, good, 0.1)
			return err
		},
		"no range": func() error {
			_, err := m.PrivateAggregation(dp.Total, []float64{1}, dp.Range{}, 0.1)
			return err
		},
		"range of NaN": func() error {
			_, err := m.PrivateAggregation(dp.Mean, []float64{1}, dp.Range{Low: math.NaN(), High: 1}, 0.1)
			return err
		},
		"epsilon 0": func() error {
			_, err := m.PrivateAggregation(dp.Count, []float64{1}, good, 0)
			return err
		},
		"negative epsilon": func() error {
			_, err := m.PrivateAggregation(dp.Count, []float64{1}, good, -1)
			return err
		},
		"no such aggregate": func() error {
			_, err := m.PrivateAggregation("median", []float64{1}, good, 0.1)
			return err
		},
		"each value where their number is secret": func() error {
			_, err := m.AddLaplaceNoise([]float64{1}, good, 0.1)
			return err
		},
		"delta that is not in the budget": func() error {
			_, err := manager(t, dp.Guarantee{Epsilon: 1}, dp.Replace).AddGaussianNoise([]float64{1}, good, dp.Guarantee{Epsilon: 0.1, Delta: 1e-6})
			return err
		},
		"mean of nothing": func() error {
			_, err := manager(t, dp.Guarantee{Epsilon: 1}, dp.Replace).PrivateAggregation(dp.Mean, nil, good, 0.1)
			return err
		},
	} {
		if err := ask(); err == nil {
			t.Errorf("accepts %s", what)
		}
	}
	if f := m.Figures(); f.Releases != 0 || f.Spent.Epsilon != 0 {
		t.Errorf("refusals spent %+v", f.Spent)
	}
}

// Values beyond the range count as its ends, and its ends as the steps within.
// At epsilon 1000 the noise is zero but once in e^400 times.
func TestManagerClamps(t *testing.T) {
	grid := dp.Grid(0)
	r := dp.Range{Low: 0.4, High: 2.6, Grid: &grid}
	out, err := manager(t, dp.Guarantee{Epsilon: 1000}, dp.AddRemove).PrivateAggregation(dp.Total, []float64{-1e300, 2.6, 1e300, 2.3}, r, 1000)
	if err != nil || out.Values[0] != 1+2+2+2 {
		t.Errorf("sum %v, %v; want 7", out.Values, err)
	}
}

// An empty table is no special case where the number of values is secret.
func TestManagerOnNobody(t *testing.T) {
	m := manager(t, dp.Guarantee{Epsilon: 3}, dp.AddRemove)
	for _, kind := range []dp.Aggregate{dp.Total, dp.Mean, dp.Count} {
		if _, err := m.PrivateAggregation(kind, nil, dp.Range{Low: -1, High: 1}, 1); err != nil {
			t.Errorf("%s of nobody: %v", kind, err)
		}
	}
}

func TestAuditorOnManager(t *testing.T) {
	run := func(kind dp.Aggregate, a dp.Adjacency) func([]float64) []float64 {
		return func(values []float64) []float64 {
			m := manager(t, dp.Guarantee{Epsilon: 1}, a)
			grid := dp.Grid(2)
			out, err := m.PrivateAggregation(kind, values, dp.Range{Low: -1, High: 3, Grid: &grid}, 1)
			if err != nil {
				t.Fatal(err)
			}
			return out.Values
		}
	}
	comes := []dptest.Pair[[]float64]{
		{Name: "a rich one comes", A: []float64{0, 1e9}, B: []float64{0}},
		{Name: "the first one comes", A: []float64{-1e9}, B: nil},
	}
	changes := []dptest.Pair[[]float64]{{Name: "poor to rich", A: []float64{0, -1e9}, B: []float64{0, 1e9}}}
	for _, kind := range []dp.Aggregate{dp.Total, dp.Mean, dp.Count} {
		for _, f := range []dptest.Finding{
			dptest.Find(dptest.Auditor{Runs: 60_000}, run(kind, dp.AddRemove), comes, dp.Guarantee{Epsilon: 1}),
			dptest.Find(dptest.Auditor{Runs: 60_000}, run(kind, dp.Replace), changes, dp.Guarantee{Epsilon: 1}),
		} {
			if f.Broken {
				t.Errorf("%s: %v", kind, f)
			}
		}
	}
	each := func(values []float64) []float64 {
		m := manager(t, dp.Guarantee{Epsilon: 1}, dp.Replace)
		grid := dp.Grid(0)
		out, err := m.AddLaplaceNoise(values, dp.Range{Low: 1, High: 3, PerUnit: 2, Grid: &grid}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return out.Values
	}
	f := dptest.Audit(t, each, []dptest.Pair[[]float64]{{Name: "both values", A: []float64{1, 1, 2}, B: []float64{3, 3, 2}}}, dp.Guarantee{Epsilon: 1})
	if f.Epsilon < 0.4 {
		t.Errorf("the auditor is blind: %v", f)
	}
}

// Whatever is asked of it, a manager refuses or answers with a finite number.
func FuzzManager(f *testing.F) {
	f.Add(0.0, 1.0, 1.0, 0.5, int64(1), 20)
	f.Add(-1e300, 1e300, 1e-300, math.NaN(), int64(0), 60)
	f.Add(1.0, 0.0, -1.0, math.Inf(1), int64(-1), -60)
	f.Add(0.0, 4503599627370495.0, 1000.0, 1e18, int64(1<<62), 0)
	f.Fuzz(func(t *testing.T, low, high, epsilon, value float64, perUnit int64, grid int) {
		g := dp.Grid(grid)
		r := dp.Range{Low: low, High: high, PerUnit: perUnit, Grid: &g}
		for _, a := range []dp.Adjacency{dp.AddRemove, dp.Replace} {
			m, err := dp.NewManager(dp.Guarantee{Epsilon: 1000, Delta: 0.5}, a)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []dp.Aggregate{dp.Total, dp.Mean, dp.Count} {
				out, err := m.PrivateAggregation(kind, []float64{value, 0}, r, epsilon)
				if err == nil && (math.IsNaN(out.Values[0]) || math.IsInf(out.Values[0], 0)) {
					t.Errorf("%s is %v", kind, out.Values[0])
				}
			}
			if _, err := m.AddGaussianNoise([]float64{value}, r, dp.Guarantee{Epsilon: epsilon, Delta: 0.1}); err == nil && !(epsilon >= 0) {
				t.Errorf("epsilon %v", epsilon)
			}
		}
	})
}
