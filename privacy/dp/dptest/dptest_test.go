package dptest

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Bounds of Clopper and Pearson, from scipy 1.17 (stats.beta.ppf).
func TestBinomialBounds(t *testing.T) {
	for _, c := range []struct {
		k, n         int
		level        float64
		lower, upper float64
	}{
		{0, 100, 0.025, 0, 0.0362166926},
		{10, 100, 0.025, 0.049004689221486, 0.176222597740023},
		{100, 100, 0.025, 0.963783307, 1},
		{5, 100000, 1e-8, 6.6165273716e-07, 0.00030963095633},
		{60000, 200000, 1e-8, 0.29426846571, 0.30577421889},
	} {
		if got := lower(c.k, c.n, c.level); math.Abs(got-c.lower) > 1e-8*c.lower+1e-12 {
			t.Errorf("lower(%d, %d, %v) = %v, want %v", c.k, c.n, c.level, got, c.lower)
		}
		if got := upper(c.k, c.n, c.level); math.Abs(got-c.upper) > 1e-8*c.upper {
			t.Errorf("upper(%d, %d, %v) = %v, want %v", c.k, c.n, c.level, got, c.upper)
		}
	}
}

// A right sampler passes, and one that is off by a hundredth does not.
func TestFitsHasPower(t *testing.T) {
	fair := func(x int64) float64 {
		if x < 0 || x > 5 {
			return 0
		}
		return 1.0 / 6
	}
	r := rand.New(rand.NewPCG(1, 2))
	draws := make([]int64, 300_000)
	for i := range draws {
		draws[i] = r.Int64N(6)
	}
	Fits(t, draws, fair, 1e-9)
	for i := range draws {
		if draws[i] == 5 && r.Float64() < 0.05 {
			draws[i] = 0
		}
	}
	if misfit(draws, fair, 1e-9) == "" {
		t.Error("a die that shows five too seldom fits")
	}
}

// Where a claim is exactly true the auditor finds it false no more often than it
// says: here in none of 200 audits at one in a hundred each, but for once in
// 10^3 or so of six or more.
func TestFalseAlarms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	flip := func(truth bool) []float64 { // randomised response of epsilon ln 3
		if truth != (r.Uint64()%4 == 0) {
			return []float64{1}
		}
		return []float64{0}
	}
	alarms := 0
	for range 200 {
		f := Find(Auditor{Runs: 2000, FalseAlarm: 0.01}, flip, []Pair[bool]{{"truth", true, false}}, dp.Guarantee{Epsilon: math.Log(3)})
		if f.Broken {
			alarms++
		}
	}
	if alarms > 6 {
		t.Errorf("%d false alarms in 200 audits, want 2 at most on average", alarms)
	}
	f := Find(Auditor{}, flip, []Pair[bool]{{"truth", true, false}}, dp.Guarantee{Epsilon: 1})
	if !f.Broken || f.Epsilon < 1.05 || f.Epsilon > math.Log(3) {
		t.Errorf("randomised response of epsilon 1.0986 under a claim of 1: %v", f)
	}
}
