package account_test

import (
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// TestMain has the random tests draw 15 times, as each draw asks a dozen questions;
// -rapid.checks wins.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// anyMechanism draws a mechanism that can be accounted for under an adjacency.
func anyMechanism(t *rapid.T, adj dp.Adjacency) account.Mechanism {
	noise := math.Exp(rapid.Float64Range(-0.7, 3).Draw(t, "ln noise"))
	var sampler account.Sampler
	switch rapid.IntRange(0, 3).Draw(t, "sampler") {
	case 0:
		if adj == dp.Replace {
			sampler = account.FixedSize{Batch: rapid.IntRange(1, 50).Draw(t, "batch"), Of: 50}
		} else {
			sampler = account.Poisson{Rate: rapid.Float64Range(1e-3, 1).Draw(t, "rate")}
		}
	}
	switch rapid.IntRange(0, 6).Draw(t, "mechanism") {
	case 0:
		if adj == dp.Replace && sampler == nil {
			sampler = account.Poisson{Rate: rapid.Float64Range(1e-3, 1).Draw(t, "rate")}
		}
		return account.Gaussian{StdDev: noise, Clip: 1, Sampler: sampler}
	case 1:
		return account.Laplace{Scale: noise, Clip: 1, Sampler: sampler}
	case 2:
		return account.DiscreteGaussian{Sigma: noise, Clip: 1, Sampler: sampler}
	case 3:
		return account.DiscreteLaplace{Scale: noise, Clip: 1, Sampler: sampler}
	case 4:
		if adj == dp.Replace {
			return account.RandomisedResponse{Epsilon: 1 / noise, Options: rapid.IntRange(2, 9).Draw(t, "options")}
		}
		return account.Gaussian{StdDev: noise, Clip: 1, Sampler: account.CappedPoisson{Rate: 0.1, Cap: rapid.IntRange(5, 20).Draw(t, "cap"), Of: 100}}
	case 5:
		return account.Exponential{Epsilon: 1 / noise}
	}
	return account.Point{Guarantee: dp.Guarantee{Epsilon: 1 / noise, Delta: 1e-9}}
}

func anyPlan(t *rapid.T) account.Plan {
	p := account.Plan{Adjacency: dp.Adjacency(rapid.IntRange(1, 2).Draw(t, "adjacency"))}
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		p.Steps = append(p.Steps, account.Step{
			Mechanism: anyMechanism(t, p.Adjacency), Times: rapid.IntRange(1, 60).Draw(t, "times"),
		})
	}
	return p
}

func must(t *rapid.T, i account.Interval, err error) account.Interval {
	if err != nil {
		t.Fatal(err)
	}
	if !(i.Lower >= 0 && i.Lower <= i.Upper) {
		t.Fatalf("%v is no interval", i)
	}
	return i
}

// The laws of accounting, on plans drawn at random. An answer is compared only
// where its interval proves the comparison wrong, so no tolerance is needed.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPlan(t)
		delta := math.Pow(10, rapid.Float64Range(-8, -2).Draw(t, "lg delta"))
		eps, err := account.PLD{}.Epsilon(p, delta)
		i := must(t, eps, err)
		if math.IsInf(i.Upper, 1) {
			t.Skip("a failure is more likely than delta")
		}
		// Upper bounds of other accountants stay above the lower one; Renyi itself
		// refuses to answer otherwise.
		eps, err = account.Renyi{}.Epsilon(p, delta)
		must(t, eps, err)
		for _, a := range []account.Accountant{account.Basic{}, account.ZCDP{}} {
			if j, err := a.Epsilon(p, delta); err == nil && account.Attained(p) && j.Upper < i.Lower {
				t.Errorf("%T says %g, at least %g is spent", a, j.Upper, i.Lower)
			}
		}

		// The profile is the inverse.
		d, err := account.PLD{}.Delta(p, i.Upper)
		if must(t, d, err); d.Lower > delta*(1+1e-6) {
			t.Errorf("delta %v at the epsilon of %g", d, delta)
		}

		more := p
		more.Steps = append(append([]account.Step{}, p.Steps...), p.Steps[0])
		eps, err = account.PLD{}.Epsilon(more, delta)
		if j := must(t, eps, err); j.Upper < i.Lower {
			t.Errorf("more steps cost %v, fewer %v", j, i)
		}
		eps, err = account.PLD{}.Epsilon(p, delta/2)
		if j := must(t, eps, err); j.Upper < i.Lower {
			t.Errorf("half of delta costs %v, all %v", j, i)
		}
		split := account.Plan{Adjacency: p.Adjacency}
		for k := len(p.Steps) - 1; k >= 0; k-- {
			s := p.Steps[k]
			if s.Times > 1 {
				split.Steps = append(split.Steps, account.Step{Mechanism: s.Mechanism, Times: s.Times / 2})
			}
			split.Steps = append(split.Steps, account.Step{Mechanism: s.Mechanism, Times: s.Times - s.Times/2})
		}
		eps, err = account.PLD{}.Epsilon(split, delta)
		if j := must(t, eps, err); j.Upper < i.Lower || i.Upper < j.Lower {
			t.Errorf("composed in another order %v, before %v", j, i)
		}
		p.Group = 2
		eps, err = account.PLD{}.Epsilon(p, delta)
		if j := must(t, eps, err); j.Upper < i.Lower {
			t.Errorf("a group of two at %v, one unit at %v", j, i)
		}
	})
}

// The composed answers are narrow whatever is asked, and not only where plans are
// like those of the known answers: a bound that is right and says nothing is no
// answer. Ten times the width that is asked for is where the search may stop.
func TestNarrow(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, p account.Plan, delta float64) {
		eps, err := account.PLD{}.Epsilon(p, delta)
		if err != nil || math.IsInf(eps.Upper, 1) {
			return // TestLaws looks at the errors
		}
		if eps.Upper-eps.Lower > 0.01*eps.Upper+1e-6 {
			t.Errorf("%v: epsilon at %g is %v", p, delta, eps)
		}
		at := 0.98 * eps.Upper
		if d, err := (account.PLD{}).Delta(p, at); err != nil || d.Upper-d.Lower > 0.2*d.Upper+1e-12 {
			t.Errorf("%v: delta at %g is %v, %v", p, at, d, err)
		}
	}
	laplace := func(scale float64) account.Mechanism { return account.Laplace{Scale: scale, Clip: 1} }
	gauss := func(sd float64, s account.Sampler) account.Mechanism {
		return account.Gaussian{StdDev: sd, Clip: 1, Sampler: s}
	}
	point := func(eps float64) account.Mechanism {
		return account.Point{Guarantee: dp.Guarantee{Epsilon: eps, Delta: 1e-9}}
	}
	for _, c := range []struct {
		adj   dp.Adjacency
		delta float64
		steps []account.Step
	}{
		// The greatest loss is an atom, and delta there a part of its probability.
		{dp.Replace, 3e-4, []account.Step{{laplace(1), 4}}},
		{dp.Replace, 1e-3, []account.Step{{laplace(0.5), 1}}},
		{dp.AddRemove, 1e-6, []account.Step{{laplace(2), 8}}},
		{dp.AddRemove, 2e-4, []account.Step{{laplace(20), 39}, {account.Exponential{Epsilon: 1}, 46}}},
		{dp.Replace, 1e-8, []account.Step{{point(0.05), 7}}},
		// The tail is heavier than a normal one.
		{dp.AddRemove, 1e-8, []account.Step{{gauss(5.2, account.CappedPoisson{Rate: 0.1, Cap: 16, Of: 100}), 3}}},
		{dp.Replace, 5e-7, []account.Step{{gauss(3.35, account.FixedSize{Batch: 1, Of: 50}), 23}}},
		{dp.AddRemove, 1e-8, []account.Step{{gauss(1, account.Poisson{Rate: 0.001}), 1}}},
		// One direction has no loss as great as that of the other.
		{dp.AddRemove, 1e-8, []account.Step{{gauss(1, account.Poisson{Rate: 0.033}), 54}}},
		// Atoms at distances of many kinds.
		{dp.AddRemove, 2.261751530852109e-08, []account.Step{{account.DiscreteGaussian{Sigma: 1.1391020906292024, Clip: 1, Sampler: account.Poisson{Rate: 0.001}}, 42}}},
		// The loss is so great that e^-L falls much from one point to the next.
		{dp.Replace, 3e-7, []account.Step{{point(0.123), 29}, {point(1.008), 58}, {gauss(1, account.Poisson{Rate: 1}), 55}}},
	} {
		check(t, account.Plan{Adjacency: c.adj, Steps: c.steps}, c.delta)
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 8 {
			check(t, anyPlan(t), math.Pow(10, rapid.Float64Range(-8, -2).Draw(t, "lg delta")))
		}
	})
}

// More noise and rarer sampling cost less.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sigma := rapid.Float64Range(0.5, 5).Draw(t, "sigma")
		q := rapid.Float64Range(1e-4, 0.5).Draw(t, "rate")
		steps := rapid.IntRange(1, 2000).Draw(t, "steps")
		adj := dp.Adjacency(rapid.IntRange(1, 2).Draw(t, "adjacency"))
		at := func(sigma, q float64) account.Interval {
			i, err := account.PLD{}.Epsilon(sgd(adj, sigma, q, steps), 1e-5)
			return must(t, i, err)
		}
		i := at(sigma, q)
		if j := at(1.2*sigma, q); j.Lower > i.Upper {
			t.Errorf("more noise: %v, less: %v", j, i)
		}
		if j := at(sigma, q/2); j.Lower > i.Upper {
			t.Errorf("rarer: %v, more often: %v", j, i)
		}
	})
}

// One step can be checked against closed forms at any epsilon.
func TestClosedForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.Float64Range(0.5, 10).Draw(t, "scale")
		q := rapid.Float64Range(0.01, 1).Draw(t, "rate")
		share := rapid.Float64Range(0.01, 0.99).Draw(t, "share")
		// Laplace: delta(e) = 1 - exp((e - 1/b)/2), which sampling turns into
		// q·delta(ln(1 + (exp(e)-1)/q)) when a unit is removed.
		m := account.Laplace{Scale: b, Clip: 1}
		full := func(e float64) float64 { return max(0, -math.Expm1((e-1/b)/2)) }
		e := share / b
		d, err := account.PLD{}.Delta(plan(dp.AddRemove, 1, m), e)
		if i := must(t, d, err); i.Lower > full(e)*(1+1e-9) || i.Upper < full(e)*(1-1e-9) {
			t.Errorf("Laplace: %v, want %g", i, full(e))
		}
		m.Sampler = account.Poisson{Rate: q}
		e = share * math.Log1p(q*math.Expm1(1/b))
		want := q * full(math.Log1p(math.Expm1(e)/q))
		d, err = account.PLD{}.Delta(plan(dp.AddRemove, 1, m), e)
		if i := must(t, d, err); i.Lower > want*(1+1e-9)+1e-12 || i.Upper < want*(1-1e-9)-1e-12 {
			t.Errorf("sampled Laplace: %v, want %g", i, want)
		}
		// Randomised response among n: the greatest probability less exp(e) times
		// the least.
		n := float64(rapid.IntRange(2, 20).Draw(t, "options"))
		r := account.RandomisedResponse{Epsilon: 1 / b, Options: int(n)}
		e = share / b
		want = (math.Exp(1/b) - math.Exp(e)) / (math.Exp(1/b) + n - 1)
		d, err = account.PLD{}.Delta(plan(dp.Replace, 1, r), e)
		if i := must(t, d, err); i.Lower > want*(1+1e-9) || i.Upper < want*(1-1e-9) {
			t.Errorf("randomised response: %v, want %g", i, want)
		}
		// Bounded range: the formula of Dong, Durfee and Rogers.
		want = math.Pow(-math.Expm1((share-1)/b/2), 2) / -math.Expm1(-1/b)
		d, err = account.PLD{}.Delta(plan(dp.AddRemove, 1, account.Exponential{Epsilon: 1 / b}), share/b)
		if i := must(t, d, err); i.Lower > want*(1+1e-9)+1e-12 || i.Upper < want*(1-1e-9)-1e-12 {
			t.Errorf("exponential: %v, want %g", i, want)
		}
	})
}

// Rényi divergences of discrete noise against the sums that define them.
func TestDivergences(t *testing.T) {
	sum := func(order, reach float64, log func(x float64) float64) float64 {
		norm, total := 0.0, 0.0
		for x := -reach; x <= reach; x++ {
			norm += math.Exp(log(x))
			total += math.Exp(order*log(x) + (1-order)*log(x-1))
		}
		return math.Log(total/norm) / (order - 1)
	}
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.Float64Range(1.1, 12).Draw(t, "order")
		s := rapid.Float64Range(0.7, 20).Draw(t, "scale")
		got := account.Divergence(plan(dp.AddRemove, 1, account.DiscreteGaussian{Sigma: s, Clip: 1}), order)
		want := sum(order, math.Ceil(30*s), func(x float64) float64 { return -x * x / (2 * s * s) })
		if got < want*(1-1e-9) || s > 2 && got > want*(1+1e-6) {
			t.Errorf("discrete Gaussian: %.12g, want hardly more than %.12g", got, want)
		}
		// Nearly everybody takes part: nearly the same, by another way.
		some := account.DiscreteGaussian{Sigma: s, Clip: 1, Sampler: account.Poisson{Rate: 1 - 1e-9}}
		if got = account.Divergence(plan(dp.AddRemove, 1, some), order); math.Abs(got-want) > 1e-6*want {
			t.Errorf("sampled discrete Gaussian: %.12g, want %.12g", got, want)
		}
		got = account.Divergence(plan(dp.AddRemove, 1, account.DiscreteLaplace{Scale: s, Clip: 1}), order)
		want = sum(order, math.Ceil(40*s), func(x float64) float64 { return -math.Abs(x) / s })
		if math.Abs(got-want) > 1e-9*want {
			t.Errorf("discrete Laplace: %.12g, want %.12g", got, want)
		}
	})
}

func TestGroups(t *testing.T) {
	// Gaussian noise scales with the group, at any delta.
	one := plan(dp.AddRemove, 10, account.Gaussian{StdDev: 20, Clip: 1})
	five := plan(dp.AddRemove, 10, account.Gaussian{StdDev: 4, Clip: 1})
	one.Group = 5
	if a, b := epsilon(t, account.PLD{}, one, 1e-6), epsilon(t, account.PLD{}, five, 1e-6); a != b {
		t.Errorf("group of five %v, noise of a fifth %v", a, b)
	}
	// What does not scale pays by the general bound: epsilon k-fold where delta is 0.
	p := plan(dp.AddRemove, 2, account.Exponential{Epsilon: 0.5})
	p.Group = 3
	if got := epsilon(t, account.PLD{}, p, 0).Upper; got != 3 {
		t.Errorf("three units, twice 0.5: got %g, want 3", got)
	}
	if got := epsilon(t, account.PLD{}, p, 1e-5).Upper; got > 3 || got < 1 {
		t.Errorf("with a delta: got %g", got)
	}
}

func TestRefusals(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	g := func(s float64, c account.Clip, q account.Sampler) account.Plan {
		return plan(dp.AddRemove, 1, account.Gaussian{StdDev: s, Clip: c, Sampler: q})
	}
	for name, r := range map[string]struct {
		plan  account.Plan
		delta float64
		want  string
	}{
		"no adjacency":      {account.Plan{}, 1e-5, "no adjacency"},
		"NaN noise":         {g(nan, 1, nil), 1e-5, "standard deviation NaN"},
		"no noise":          {g(0, 1, nil), 1e-5, "standard deviation 0"},
		"negative noise":    {g(-1, 1, nil), 1e-5, "standard deviation -1"},
		"infinite noise":    {g(inf, 1, nil), 1e-5, "standard deviation +Inf"},
		"absurd noise":      {g(1e-9, 1, nil), 1e-5, "0.001"},
		"no clip":           {g(1, 0, nil), 1e-5, "clip 0"},
		"NaN clip":          {g(1, account.Clip(nan), nil), 1e-5, "clip NaN"},
		"rate above 1":      {g(1, 1, account.Poisson{Rate: 1.5}), 1e-5, "sampling rate 1.5"},
		"NaN rate":          {g(1, 1, account.Poisson{Rate: nan}), 1e-5, "sampling rate NaN"},
		"cap above all":     {g(1, 1, account.CappedPoisson{Rate: .5, Cap: 3, Of: 2}), 1e-5, "capped at 3 of 2"},
		"no steps":          {plan(dp.AddRemove, 0, account.Exponential{Epsilon: 1}), 1e-5, "runs 0 times"},
		"too many steps":    {plan(dp.AddRemove, 1<<40, account.Exponential{Epsilon: 1}), 1e-5, "times"},
		"delta of 1":        {g(1, 1, nil), 1, "delta 1"},
		"negative delta":    {g(1, 1, nil), -1e-5, "delta -1e-05"},
		"NaN delta":         {g(1, 1, nil), nan, "delta NaN"},
		"tiny delta":        {g(1, 1, nil), 1e-300, "delta 1e-300"},
		"Gaussian, delta 0": {g(1, 1, nil), 0, "no epsilon holds with delta 0"},
		"shuffled":          {g(1, 1, account.Shuffled{Batch: 1, Of: 2}), 1e-5, "shuffled"},
		"local add-remove":  {plan(dp.AddRemove, 1, account.RandomisedResponse{Epsilon: 1, Options: 2}), 1e-5, "replace only"},
		"one option":        {plan(dp.Replace, 1, account.RandomisedResponse{Epsilon: 1, Options: 1}), 1e-5, "1 options"},
		"huge epsilon":      {plan(dp.AddRemove, 1, account.Exponential{Epsilon: 1e9}), 1e-5, "epsilon 1e+09"},
		"discrete, huge":    {plan(dp.AddRemove, 1, account.DiscreteGaussian{Sigma: 1e12, Clip: 1}), 1e-5, "at most 100000"},
	} {
		_, err := account.PLD{}.Epsilon(r.plan, r.delta)
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", name, err, r.want)
		}
	}
}

// Extremes end in time with an interval.
func TestExtremes(t *testing.T) {
	for _, r := range []struct {
		plan  account.Plan
		delta float64
	}{
		{sgd(dp.AddRemove, 0.01, 0.5, 1000), 1e-5},
		{sgd(dp.AddRemove, 0.001, 1, 1), 1e-5},
		{sgd(dp.AddRemove, 0.05, 1e-6, 1000), 1e-9},
		{sgd(dp.AddRemove, 1e6, 1e-6, 1_000_000_000), 1e-30},
		{sgd(dp.AddRemove, 0.5, 1e-9, 1), 1e-5},
		{sgd(dp.AddRemove, 1, 1e-4, 1_000_000), 1e-12},
		{sgd(dp.AddRemove, 1, 0.999999, 1), 1e-28},
		{sgd(dp.Replace, 0.02, 0.01, 100), 1e-5},
		{sgd(dp.Replace, 3, 0.9, 100000), 1e-5},
		{plan(dp.AddRemove, 1000, account.Exponential{Epsilon: 500}), 1e-5},
		{plan(dp.Replace, 100000, account.RandomisedResponse{Epsilon: 1e-3, Options: 1000}), 0.5},
		{plan(dp.Replace, 1, account.RandomisedResponse{Epsilon: 100, Options: 2}), 1e-5},
		{plan(dp.AddRemove, 1000, account.DiscreteLaplace{Scale: 0.1, Clip: 3}), 1e-5},
		{plan(dp.AddRemove, 10, account.DiscreteGaussian{Sigma: 1e5, Clip: 1}), 1e-5},
		{plan(dp.AddRemove, 1, account.Point{}), 0.5},
		{account.Plan{Adjacency: dp.Replace}, 1e-5},
	} {
		for _, a := range []account.Accountant{account.PLD{}, account.Renyi{}} {
			i := epsilon(t, a, r.plan, r.delta)
			t.Logf("%T %v at %g: %v", a, r.plan.Steps, r.delta, i)
			if math.IsInf(i.Upper, 1) || math.IsNaN(i.Upper) {
				t.Errorf("%T %v at %g: %v", a, r.plan.Steps, r.delta, i)
			}
		}
	}
}

func TestCalibration(t *testing.T) {
	want := dp.Guarantee{Epsilon: 2, Delta: 1e-6}
	for _, a := range account.Kinds[:2] {
		n, err := account.MostSteps(a, want, func(steps int) account.Plan { return sgd(dp.AddRemove, 1, 0.01, steps) })
		if err != nil {
			t.Fatal(err)
		}
		if at, over := epsilon(t, a, sgd(dp.AddRemove, 1, 0.01, n), 1e-6), epsilon(t, a, sgd(dp.AddRemove, 1, 0.01, n+1), 1e-6); at.Upper > 2 || over.Upper <= 2 {
			t.Errorf("%s: %d steps cost %v and one more %v", a.Name, n, at, over)
		}
		q, err := account.GreatestRate(a, want, func(q float64) account.Plan { return sgd(dp.AddRemove, 1, q, 1000) })
		if err != nil {
			t.Fatal(err)
		}
		if at, over := epsilon(t, a, sgd(dp.AddRemove, 1, q, 1000), 1e-6), epsilon(t, a, sgd(dp.AddRemove, 1, 1.001*q, 1000), 1e-6); at.Upper > 2 || over.Upper <= 2 {
			t.Errorf("%s: rate %g costs %v and a little more %v", a.Name, q, at, over)
		}
	}
	for _, bad := range []dp.Guarantee{{Epsilon: 0, Delta: 1e-5}, {Epsilon: -1, Delta: 1e-5}, {Epsilon: math.NaN(), Delta: 1e-5}, {Epsilon: 1, Delta: 2}, {Epsilon: 1}} {
		if _, err := account.LeastNoise(account.PLD{}, bad, func(s float64) account.Plan { return sgd(dp.AddRemove, s, 1, 1) }); err == nil {
			t.Errorf("noise for %v", bad)
		}
	}
}

func TestFilter(t *testing.T) {
	step := account.Step{Mechanism: account.Gaussian{StdDev: 20, Clip: 1}, Times: 1}
	f := account.Filter{Budget: dp.Guarantee{Epsilon: 1, Delta: 1e-6}, Adjacency: dp.AddRemove}
	n := 0
	for ; f.Admit(step) == nil; n++ {
	}
	// What was admitted keeps the budget also in hindsight, and hardly less would.
	admitted := epsilon(t, account.PLD{}, plan(dp.AddRemove, n, step.Mechanism), 1e-6)
	if admitted.Upper > 1 || admitted.Upper < 0.85 {
		t.Errorf("%d steps of epsilon %v were admitted", n, admitted)
	}
	if err := f.Admit(step); !errors.Is(err, account.ErrBudget) {
		t.Errorf("after the budget was spent: %v", err)
	}
	if s := f.Spent(); s < 0.9 || s > 1 {
		t.Errorf("spent %g", s)
	}
	pure := account.Filter{Budget: dp.Guarantee{Epsilon: 1}, Adjacency: dp.AddRemove}
	for i := range 4 {
		if err := pure.Admit(account.Step{Mechanism: account.Laplace{Scale: 4, Clip: 1}, Times: 1}); err != nil {
			t.Errorf("quarter %d: %v", i+1, err)
		}
	}
	if err := pure.Admit(account.Step{Mechanism: account.Laplace{Scale: 1e6, Clip: 1}, Times: 1}); !errors.Is(err, account.ErrBudget) {
		t.Errorf("beyond all of it: %v", err)
	}
	if err := pure.Admit(step); err == nil || errors.Is(err, account.ErrBudget) {
		t.Errorf("Gaussian noise without delta: %v", err)
	}
}

// An adversary who chooses the next noise by the last answer, and stops when he
// has seen the most, does not lose more than the odometer reads, but for a
// fraction delta of the runs. Under P each Gaussian step adds a loss drawn from
// N(mu²/2, mu²).
func TestOdometer(t *testing.T) {
	const delta, runs = 0.05, 4000
	beaten := 0
	for run := range runs {
		o := account.Odometer{Delta: delta, Adjacency: dp.AddRemove}
		draws := newDraws(uint64(run))
		loss, mu := 0.0, 0.3
		for range 30 {
			if err := o.Count(account.Step{Mechanism: account.Gaussian{StdDev: 1 / mu, Clip: 1}, Times: 1}); err != nil {
				t.Fatal(err)
			}
			step := mu*mu/2 + mu*draws.NormFloat64()
			if loss += step; loss > o.Epsilon() {
				beaten++
				break
			}
			if mu = 0.3; step > 0 {
				mu = 0.6
			}
		}
	}
	// Expected at most 200; more than 262 has a probability under 1e-5.
	if beaten > 262 {
		t.Errorf("the loss exceeded the odometer in %d of %d runs, %g allowed", beaten, runs, delta*runs)
	}
	if beaten == 0 {
		t.Error("the odometer was never reached: it is not tight, or the test does not test")
	}
}

func newDraws(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
