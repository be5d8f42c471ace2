package dp_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/dptest"
)

func one(t testing.TB) dp.Sensitivity {
	t.Helper()
	s, err := dp.Contribution{Low: 1, High: 1}.Sensitivity(dp.AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Sensitivities against the greatest move that any two units make, by trying all
// of them on small answers.
func TestSensitivityIsTheWorstMove(t *testing.T) {
	for _, c := range []dp.Contribution{
		{Low: 1, High: 1},
		{Low: -2, High: 3},
		{Low: 1, High: 2, Rows: 2},
		{Low: -3, High: -1},
		{Groups: 2, Low: -1, High: 2},
		{Groups: 2, Low: 0, High: 2},
		{Groups: 3, Low: -1, High: 1},
	} {
		for _, among := range []int64{1, 2, 3, 4} {
			for _, adjacency := range []dp.Adjacency{dp.AddRemove, dp.Replace} {
				c.Among = among
				s, err := c.Sensitivity(adjacency)
				if err != nil {
					t.Fatal(err)
				}
				var l0, l1, linf int64
				var l2 float64
				units := unitsOf(c, int(among))
				others := units
				if adjacency == dp.AddRemove {
					others = [][]int64{make([]int64, among)}
				}
				for _, a := range units {
					for _, b := range others {
						var n0, n1, n2, most int64
						for i := range a {
							if d := max(a[i]-b[i], b[i]-a[i]); d != 0 {
								n0, n1, n2, most = n0+1, n1+d, n2+d*d, max(most, d)
							}
						}
						l0, l1, l2, linf = max(l0, n0), max(l1, n1), max(l2, float64(n2)), max(linf, most)
					}
				}
				if s.L0() != l0 || s.L1() != l1 || s.Linf() != linf || math.Abs(s.L2()-math.Sqrt(l2)) > 1e-12 {
					t.Errorf("%+v under %v: L0 %d L1 %d L2 %v Linf %d, want %d %d %v %d", c, adjacency,
						s.L0(), s.L1(), s.L2(), s.Linf(), l0, l1, math.Sqrt(l2), linf)
				}
			}
		}
	}
}

// unitsOf are all answers that a unit alone makes.
func unitsOf(c dp.Contribution, among int) [][]int64 {
	out := [][]int64{{}}
	for range among {
		var next [][]int64
		for _, u := range out {
			used := int64(0)
			for _, x := range u {
				if x != 0 {
					used++
				}
			}
			for x := int64(-10); x <= 10; x++ {
				rows := max(c.Rows, 1)
				if x < min(0, rows*c.Low) || x > max(0, rows*c.High) || x != 0 && used == max(c.Groups, 1) {
					continue
				}
				next = append(next, append(append([]int64{}, u...), x))
			}
		}
		out = next
	}
	// A value between 0 and Low is none that a unit can have, but moves no farther.
	return out
}

func TestRefusals(t *testing.T) {
	s := one(t)
	var none dp.Sensitivity
	refuses := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("accepts %s", what)
		}
	}
	second := func(_ any, err error) error { return err }
	for _, eps := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e9, 1e-300} {
		refuses("an epsilon", second(dp.Laplace(s, eps)))
		if eps != 0 {
			refuses("an epsilon", second(dp.Gaussian(s, dp.Guarantee{Epsilon: eps, Delta: 1e-300})))
		}
		refuses("an epsilon", second(dp.NewSelection(dp.Guarantee{Epsilon: eps, Delta: 1e-5}, 1, dp.AddRemove)))
		if eps != 1e-300 { // small, but it can be promised
			refuses("an epsilon", second(dp.NewManager(dp.Guarantee{Epsilon: eps}, dp.Replace)))
			refuses("an epsilon", second(dp.NoisyMax(dp.Source{}, []int64{1}, s, eps)))
			refuses("an epsilon", second(dp.Exponential(dp.Source{}, []int64{1}, s, eps)))
			refuses("an epsilon", second(dp.RandomisedResponse{Choices: 2, Epsilon: eps}.Respond(dp.Source{}, 1)))
		}
		refuses("an epsilon", second(dp.NewSparseVector(dp.Source{}, 0, 1, s, eps)))
	}
	for _, delta := range []float64{0, -1, 1, 2, math.NaN()} {
		refuses("a delta", second(dp.Gaussian(s, dp.Guarantee{Epsilon: 1, Delta: delta})))
		refuses("a delta", second(dp.GaussianSigma(1, dp.Guarantee{Epsilon: 1, Delta: delta})))
		refuses("a delta", second(dp.NewSelection(dp.Guarantee{Epsilon: 1, Delta: delta}, 1, dp.AddRemove)))
	}
	refuses("no sensitivity", second(dp.Laplace(none, 1)))
	refuses("no sensitivity", second(dp.Gaussian(none, dp.Guarantee{Epsilon: 1, Delta: 1e-5})))
	refuses("no sensitivity", second(dp.NoisyMax(dp.Source{}, []int64{1}, none, 1)))
	refuses("no scores", second(dp.PermuteAndFlip(dp.Source{}, nil, s, 1)))
	refuses("a truth that is no choice", second(dp.RandomisedResponse{Choices: 2, Epsilon: 1}.Respond(dp.Source{}, 2)))
	refuses("one choice", second(dp.RandomisedResponse{Choices: 1, Epsilon: 1}.Respond(dp.Source{}, 0)))
	for _, c := range []dp.Contribution{{}, {Low: 2, High: 1}, {Groups: -1, High: 1}, {Rows: -1, High: 1},
		{High: math.MaxInt64}, {Low: math.MinInt64}, {Rows: math.MaxInt64, High: 2}, {Groups: math.MaxInt64, High: 1}} {
		refuses("contribution bounds", second(c.Sensitivity(dp.Replace)))
	}
	refuses("no adjacency", second(dp.Contribution{High: 1}.Sensitivity(0)))
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300} {
		refuses("a value", second(dp.Grid(10).Fix(x)))
		refuses("a bound", second(dp.Grid(10).Contribution(x, x)))
	}
	refuses("bounds between two steps", second(dp.Grid(0).Contribution(0.2, 0.8)))
	refuses("a grid", second(dp.Grid(99).Fix(1)))
}

// The sum is exact in any order and saturates once.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 1000 {
		xs := make([]int64, r.IntN(9))
		for i := range xs {
			xs[i] = []int64{math.MaxInt64, math.MinInt64, 1, -1, int64(r.Uint64())}[r.IntN(5)]
		}
		var want float64
		var parts [2]dp.Sum
		for i, x := range xs {
			want += float64(x)
			parts[i%2].Add(x)
		}
		parts[0].Merge(parts[1])
		got := float64(parts[0].Value())
		want = min(max(want, math.MinInt64), math.MaxInt64)
		if math.Abs(got-want) > 1e-9*math.Abs(want)+2048*8 {
			t.Fatalf("sum of %v is %v, want %v", xs, got, want)
		}
	}
	var s dp.Sum
	for _, x := range []int64{math.MaxInt64, math.MaxInt64, math.MinInt64, math.MinInt64, 5} {
		s.Add(x)
	}
	if s.Value() != 3 {
		t.Errorf("sum that was beyond 64 bits meanwhile is %d, want 3", s.Value())
	}
}

func TestReleaseSaturates(t *testing.T) {
	m, err := dp.Laplace(one(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range m.Release(dp.Source{}, []int64{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}) {
		if x < math.MaxInt64-1000 {
			t.Errorf("a sum at the end of the range became %d", x)
		}
	}
}

// Choices against their own formulas.
func TestChoices(t *testing.T) {
	scores := []int64{0, 2, 3, 1}
	const eps = 1.2
	// Counts under add-remove move one way: the 2 in the exponent falls away.
	for adjacency, half := range map[dp.Adjacency]float64{dp.AddRemove: 1, dp.Replace: 2} {
		s, err := dp.Contribution{Low: 1, High: 1}.Sensitivity(adjacency)
		if err != nil {
			t.Fatal(err)
		}
		weight := func(i int64) float64 { return math.Exp(eps * float64(scores[i]-3) / half) }
		total := 0.0
		for i := range scores {
			total += weight(int64(i))
		}
		draws := make([]int64, 100_000)
		for i := range draws {
			k, err := dp.Exponential(dp.Source{}, scores, s, eps)
			if err != nil {
				t.Fatal(err)
			}
			draws[i] = int64(k)
		}
		dptest.Fits(t, draws, within(4, func(k int64) float64 { return weight(k) / total }), falseAlarm)

		for i := range draws {
			k, err := dp.PermuteAndFlip(dp.Source{}, scores, s, eps)
			if err != nil {
				t.Fatal(err)
			}
			draws[i] = int64(k)
		}
		dptest.Fits(t, draws, within(4, func(k int64) float64 { return permuteAndFlip(k, []float64{weight(0), weight(1), weight(2), weight(3)}) }), falseAlarm)

		q := math.Exp(-eps / half)
		for i := range draws {
			k, err := dp.NoisyMax(dp.Source{}, scores, s, eps)
			if err != nil {
				t.Fatal(err)
			}
			draws[i] = int64(k)
		}
		dptest.Fits(t, draws, within(4, func(k int64) float64 { return noisyMax(k, scores, q) }), falseAlarm)
	}
}

func within(n int64, f func(int64) float64) func(int64) float64 {
	return func(k int64) float64 {
		if k < 0 || k >= n {
			return 0
		}
		return f(k)
	}
}

// permuteAndFlip is the sum over all subsets of the others that come first and
// fail: of size s, first with probability 1/((n-s) (n choose s)).
func permuteAndFlip(k int64, keep []float64) float64 {
	n, p := len(keep), 0.0
	for set := range 1 << n {
		if set>>k&1 == 1 {
			continue
		}
		fail, size := 1.0, 0
		for i := range n {
			if set>>i&1 == 1 {
				fail *= 1 - keep[i]
				size++
			}
		}
		choose := 1.0
		for i := range size {
			choose *= float64(n-i) / float64(i+1)
		}
		p += fail / choose / float64(n-size)
	}
	return p * keep[k]
}

// noisyMax sums over the winner's noise, the first of a tie winning.
func noisyMax(k int64, scores []int64, q float64) float64 {
	p := 0.0
	for y := int64(0); y < 300; y++ {
		term := (1 - q) * math.Pow(q, float64(y))
		for i, x := range scores {
			if int64(i) == k {
				continue
			}
			limit := scores[k] + y - x // the other's noise must be at most this, or less if it comes before
			if int64(i) < k {
				limit--
			}
			if limit < 0 {
				term = 0
				break
			}
			term *= 1 - math.Pow(q, float64(limit+1))
		}
		p += term
	}
	return p
}

func TestRandomisedResponse(t *testing.T) {
	r := dp.RandomisedResponse{Choices: 3, Epsilon: 1.5}
	truth := []int64{60_000, 30_000, 10_000}
	given := make([]int64, 3)
	var first []int64
	for choice, n := range truth {
		for range n {
			answer, err := r.Respond(dp.Source{}, choice)
			if err != nil {
				t.Fatal(err)
			}
			given[answer]++
			if choice == 0 {
				first = append(first, int64(answer))
			}
		}
	}
	e := math.Exp(1.5)
	dptest.Fits(t, first, within(3, func(k int64) float64 {
		if k == 0 {
			return e / (e + 2)
		}
		return 1 / (e + 2)
	}), falseAlarm)
	estimate, err := r.Estimate(given)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range truth {
		// A deviation of an estimate is at most sqrt(n/4)/(p-q); seven of them.
		if off := math.Abs(estimate[i] - float64(n)); off > 7*math.Sqrt(1e5)/2/((e-1)/(e+2)) {
			t.Errorf("estimate %v, want about %d", estimate[i], n)
		}
	}
}

func TestSparseVectorStops(t *testing.T) {
	v, err := dp.NewSparseVector(dp.Source{}, 0, 2, one(t), 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range []int64{-1000, 1000, -1000, 1000} {
		above, err := v.Above(answer)
		if err != nil || above != (answer > 0) {
			t.Errorf("answer %d: %v, %v", i, above, err)
		}
	}
	if _, err := v.Above(1000); !errors.Is(err, dp.ErrExhausted) {
		t.Errorf("after the last positive: %v, want %v", err, dp.ErrExhausted)
	}
}

func TestSelectionKeeps(t *testing.T) {
	s, err := dp.NewSelection(dp.Guarantee{Epsilon: math.Ln2, Delta: 0.1}, 1, dp.AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); n < 7; n++ {
		draws := make([]int64, 50_000)
		for i := range draws {
			if s.Keep(dp.Source{}, n) {
				draws[i] = 1
			}
		}
		p := s.Probability(n)
		dptest.Fits(t, draws, within(2, func(k int64) float64 { return p*float64(k) + (1-p)*float64(1-k) }), falseAlarm)
	}
	if _, err := dp.NewSelection(dp.Guarantee{Epsilon: 1, Delta: 1e-5}, 1<<30, dp.Replace); err == nil || !strings.Contains(err.Error(), "groups") {
		t.Errorf("a share of nothing: %v", err)
	}
}
