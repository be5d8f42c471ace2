package dp_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/dptest"
)

// The precision attack (Haney and others 2022, "Precision-based attacks and
// interval refining"): add noise of scale 1 to 0 or to 1 and look at results
// within a half of zero. Floats there have steps finer than 2^-53. From 0 most
// results use them; from 1 none can. One result tells the data.
func TestPrecisionAttack(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	// Textbook samplers: by the inverse distribution function, and of Box and Muller.
	laplaceFloat := func() float64 {
		if u := r.Float64(); u < 0.5 {
			return math.Log(2 * u)
		} else {
			return -math.Log(2 - 2*u)
		}
	}
	gaussianFloat := func() float64 { return math.Sqrt(-2*math.Log(1-r.Float64())) * math.Cos(2*math.Pi*r.Float64()) }
	grid := dp.Grid(40)
	step := sensitivityOf(t, grid, 1)
	laplace := mechanism(t)(dp.Laplace(step, 1))
	gaussian := mechanism(t)(dp.Gaussian(step, dp.Guarantee{Epsilon: 2, Delta: 1e-5}))
	ours := func(m *dp.Mechanism) func(float64) float64 {
		return func(x float64) float64 {
			fixed, err := grid.Fix(x)
			if err != nil {
				t.Fatal(err)
			}
			return grid.Float(m.Release(dp.Source{}, []int64{fixed})[0])
		}
	}
	for _, c := range []struct {
		name  string
		add   func(float64) float64
		leaks float64 // share of fine results from 0, as measured elsewhere
	}{
		{"naive Laplace", func(x float64) float64 { return x + laplaceFloat() }, 0.654},
		{"naive Gaussian", func(x float64) float64 { return x + gaussianFloat() }, 0.673},
		// Holohan and Braghin 2021, as in the secure mode of two libraries.
		{"sum of four Gaussians over two", func(x float64) float64 {
			return x + (gaussianFloat()+gaussianFloat()+gaussianFloat()+gaussianFloat())/2
		}, 0.425},
		{"ours, Laplace", ours(laplace), 0},
		{"ours, Gaussian", ours(gaussian), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			from0, from1 := fineShare(c.add, 0), fineShare(c.add, 1)
			if from1 != 0 {
				t.Errorf("from 1, %.1f %% of results are finer than 2^-53: impossible", 100*from1)
			}
			if c.leaks == 0 && from0 != 0 {
				t.Errorf("from 0, %.1f %% of results are finer than 2^-53: each gives the data away", 100*from0)
			}
			// A planted fault must be found, about as often as elsewhere: samplers of
			// one distribution differ in their last digits.
			if math.Abs(from0-c.leaks) > 0.03 {
				t.Errorf("from 0, %.1f %% of results are finer than 2^-53, want about %.1f %%: the attack has lost its teeth", 100*from0, 100*c.leaks)
			}
		})
	}
}

// fineShare is how many results within a half of zero are no multiple of 2^-53.
func fineShare(add func(float64) float64, x float64) float64 {
	seen, fine := 0, 0
	for range 100_000 {
		z := add(x)
		if math.Abs(z) >= 0.5 {
			continue
		}
		seen++
		if scaled := math.Ldexp(z, 53); scaled != math.Trunc(scaled) {
			fine++
		}
	}
	return float64(fine) / float64(seen)
}

func sensitivityOf(t *testing.T, grid dp.Grid, high float64) dp.Sensitivity {
	t.Helper()
	c, err := grid.Contribution(0, high)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Sensitivity(dp.AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mechanism(t *testing.T) func(*dp.Mechanism, error) *dp.Mechanism {
	return func(m *dp.Mechanism, err error) *dp.Mechanism {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// The auditor breaks what is broken. Each fault is one that shipped somewhere.
func TestAuditorFindsPlantedFaults(t *testing.T) {
	s := one(t)
	laplace := mechanism(t)(dp.Laplace(s, 1))
	pair := []dptest.Pair[[]int64]{{Name: "one more", A: []int64{5, 5}, B: []int64{5, 4}}}
	float := rand.New(rand.NewPCG(13, 14))
	for _, c := range []struct {
		name  string
		run   func([]int64) []float64
		pairs []dptest.Pair[[]int64]
	}{
		{"half sensitivity", func(x []int64) []float64 { // moves by 2, noise for 1
			return floats(laplace.Release(dp.Source{}, []int64{2 * x[1]}))
		}, pair},
		{"float noise", func(x []int64) []float64 {
			return []float64{float64(x[1]) - 4 + math.Copysign(float.ExpFloat64(), float.Float64()-0.5)}
		}, pair},
		{"unclipped contribution", func(x []int64) []float64 {
			var sum dp.Sum
			for _, v := range x {
				sum.Add(v)
			}
			return floats(laplace.Release(dp.Source{}, []int64{sum.Value()}))
		}, []dptest.Pair[[]int64]{{Name: "a rich one", A: []int64{1, 0, 7}, B: []int64{1, 0}}}},
		{"reused noise", func(x []int64) []float64 {
			noise := laplace.Draw(dp.Source{})
			return []float64{float64(x[0] + noise), float64(x[1] + noise)}
		}, pair},
		{"noise only above zero", func(x []int64) []float64 { // zeros left as they are
			if x[1] == 4 {
				return []float64{0}
			}
			return floats(laplace.Release(dp.Source{}, []int64{1}))
		}, pair},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := dptest.Find(dptest.Auditor{}, c.run, c.pairs, dp.Guarantee{Epsilon: 1})
			if !f.Broken {
				t.Errorf("not found: %v", f)
			}
			t.Log(f)
		})
	}
}

// Four sparse vectors that were published and are not private (Lyu, Su, Li 2017,
// figure 1, algorithms 3 to 6), in whole numbers. Ours stands beside them and must
// stay whole on the same data.
func TestAuditorOnSparseVectors(t *testing.T) {
	const eps, count, n = 2.0, 1, 8
	both := moves(t)
	noise := func(scale float64) func() int64 {
		m := mechanism(t)(dp.Laplace(one(t), 1/scale))
		return func() int64 { return m.Draw(dp.Source{}) }
	}
	threshold, narrow, unscaled := noise(2/eps), noise(2*count/eps), noise(2/eps)
	up := func(answers []int64, say func(q, t int64) (float64, bool), limit int) []float64 {
		out, at, positives := make([]float64, 0, n), threshold(), 0
		for _, q := range answers {
			x, above := say(q, at)
			out = append(out, x)
			if above {
				if positives++; positives == limit {
					break
				}
			}
		}
		return out
	}
	const below = -1 << 20
	// Ends: answers that are low and then high on one data set, and the other
	// way round on its neighbour.
	pairs := []dptest.Pair[[]int64]{
		{Name: "crossed", A: []int64{0, 0, 0, 0, 1, 1, 1, 1}, B: []int64{1, 1, 1, 1, 0, 0, 0, 0}},
		{Name: "last", A: []int64{0, 0, 0, 0, 0, 0, 1}, B: []int64{1, 1, 1, 1, 1, 1, 0}},
	}
	for _, c := range []struct {
		name   string
		run    func([]int64) []float64
		broken bool
	}{
		{"3: tells the noisy answer", func(a []int64) []float64 {
			return up(a, func(q, at int64) (float64, bool) {
				if x := q + narrow(); x >= at {
					return float64(x), true
				}
				return below, false
			}, count)
		}, true},
		{"4: noise that does not grow with the positives", func(a []int64) []float64 {
			return up(a, func(q, at int64) (float64, bool) {
				if q+unscaled() >= at {
					return 1, true
				}
				return 0, false
			}, 4)
		}, true},
		{"5: no noise on answers", func(a []int64) []float64 {
			return up(a, func(q, at int64) (float64, bool) {
				if q >= at {
					return 1, true
				}
				return 0, false
			}, n+1)
		}, true},
		{"6: no end", func(a []int64) []float64 {
			return up(a, func(q, at int64) (float64, bool) {
				if q+unscaled() >= at {
					return 1, true
				}
				return 0, false
			}, n+1)
		}, true},
		{"ours, one positive", sparse(t, both, 1, eps), false},
		{"ours, four positives", sparse(t, both, 4, eps), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := dptest.Find(dptest.Auditor{Runs: 120_000}, c.run, pairs, dp.Guarantee{Epsilon: eps})
			if f.Broken != c.broken {
				t.Errorf("broken is %v, want %v: %v", f.Broken, c.broken, f)
			}
			t.Log(f)
		})
	}
}

// moves is the sensitivity of answers that move by 1 either way.
func moves(t *testing.T) dp.Sensitivity {
	t.Helper()
	s, err := dp.Contribution{Low: 1, High: 1}.Sensitivity(dp.Replace)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sparse(t *testing.T, s dp.Sensitivity, count int, eps float64) func([]int64) []float64 {
	return func(answers []int64) []float64 {
		v, err := dp.NewSparseVector(dp.Source{}, 0, count, s, eps)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float64, 0, len(answers))
		for _, q := range answers {
			above, err := v.Above(q)
			switch {
			case err != nil:
				return out
			case above:
				out = append(out, 1)
			default:
				out = append(out, 0)
			}
		}
		return out
	}
}

func floats(xs []int64) []float64 {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = float64(x)
	}
	return out
}

// The auditor breaks nothing of ours, and its bound comes near the claim where
// the mechanism uses up all of it.
func TestAuditorOnOurs(t *testing.T) {
	claim := dp.Guarantee{Epsilon: 1}
	s, both := one(t), moves(t)
	laplace := mechanism(t)(dp.Laplace(s, 1))
	gaussianClaim := dp.Guarantee{Epsilon: 1, Delta: 0.01}
	gaussian := mechanism(t)(dp.Gaussian(s, gaussianClaim))
	several, err := dp.Contribution{Groups: 2, Low: -1, High: 2}.Sensitivity(dp.Replace)
	if err != nil {
		t.Fatal(err)
	}
	vector := mechanism(t)(dp.Laplace(several, 1))
	vectorGaussian := mechanism(t)(dp.Gaussian(several, gaussianClaim))
	selection, err := dp.NewSelection(gaussianClaim, 1, dp.AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	count := []dptest.Pair[[]int64]{{Name: "count", A: []int64{8}, B: []int64{7}}}
	worst := []dptest.Pair[[]int64]{
		{Name: "the same two groups", A: []int64{2, 2, 0}, B: []int64{-1, -1, 0}},
		{Name: "other groups", A: []int64{2, 2, 0, 0}, B: []int64{0, 0, 2, 2}},
	}
	scores := []dptest.Pair[[]int64]{
		{Name: "all move", A: []int64{3, 2, 2, 2}, B: []int64{2, 2, 2, 2}},
		{Name: "apart", A: []int64{1, 0, 0}, B: []int64{0, 1, 1}},
	}
	up := []dptest.Pair[[]int64]{ // one way only, which is cheaper
		{Name: "one", A: []int64{3, 2, 2, 2}, B: []int64{2, 2, 2, 2}},
		{Name: "all but one", A: []int64{2, 1, 1}, B: []int64{2, 0, 0}},
	}
	choice := func(choose func(dp.Source, []int64, dp.Sensitivity, float64) (int, error), s dp.Sensitivity) func([]int64) []float64 {
		return func(x []int64) []float64 {
			i, err := choose(dp.Source{}, x, s, 1)
			if err != nil {
				t.Fatal(err)
			}
			return []float64{float64(i)}
		}
	}
	for _, c := range []struct {
		name  string
		run   func([]int64) []float64
		pairs []dptest.Pair[[]int64]
		claim dp.Guarantee
		near  float64 // the bound found must be at least this
	}{
		{"Laplace", func(x []int64) []float64 { return floats(laplace.Release(dp.Source{}, x)) }, count, claim, 0.85},
		{"Gaussian", func(x []int64) []float64 { return floats(gaussian.Release(dp.Source{}, x)) }, count, gaussianClaim, 0.6},
		{"Laplace on many numbers", func(x []int64) []float64 { return floats(vector.Release(dp.Source{}, x)) }, worst, claim, 0},
		{"Gaussian on many numbers", func(x []int64) []float64 { return floats(vectorGaussian.Release(dp.Source{}, x)) }, worst, gaussianClaim, 0},
		{"exponential", choice(dp.Exponential, both), scores, claim, 0.2},
		{"permute and flip", choice(dp.PermuteAndFlip, both), scores, claim, 0.2},
		{"noisy max", choice(dp.NoisyMax, both), scores, claim, 0.2},
		{"exponential, one way", choice(dp.Exponential, s), up, claim, 0.2},
		{"permute and flip, one way", choice(dp.PermuteAndFlip, s), up, claim, 0.2},
		{"noisy max, one way", choice(dp.NoisyMax, s), up, claim, 0.2},
		{"sparse vector, one way", sparse(t, s, 2, 1), []dptest.Pair[[]int64]{{Name: "all rise", A: []int64{1, 1, 1}, B: []int64{0, 0, 0}}}, claim, 0.2},
		{"randomised response", func(x []int64) []float64 {
			y, err := dp.RandomisedResponse{Choices: 3, Epsilon: 1}.Respond(dp.Source{}, int(x[0]))
			if err != nil {
				t.Fatal(err)
			}
			return []float64{float64(y)}
		}, []dptest.Pair[[]int64]{{Name: "truth", A: []int64{0}, B: []int64{2}}}, claim, 0.85},
		{"selection", func(x []int64) []float64 {
			if selection.Keep(dp.Source{}, x[0]) {
				return []float64{1}
			}
			return nil
		}, []dptest.Pair[[]int64]{{Name: "first", A: []int64{1}, B: []int64{0}}, {Name: "third", A: []int64{3}, B: []int64{2}}, {Name: "fourth", A: []int64{4}, B: []int64{3}}}, gaussianClaim, 0.8},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if f := dptest.Audit(t, c.run, c.pairs, c.claim); f.Epsilon < c.near {
				t.Errorf("the auditor sees epsilon %v at least, want %v: it is blind", f.Epsilon, c.near)
			}
		})
	}
}
