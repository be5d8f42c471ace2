// Package dptest doubts claims of differential privacy.
//
// [Audit] runs a mechanism many times on two neighbouring data sets and looks for
// an event that is more likely on one of them than the claim allows:
//
//	dptest.Audit(t, func(rows []int64) []float64 { return release(rows) },
//		[]dptest.Pair[[]int64]{{Name: "one more", A: rows, B: rows[1:]}},
//		dp.Guarantee{Epsilon: 1})
//
// It looks for events in each number of the output (at most, at least, equal to),
// in differences of two of them, in how many binary places a number uses, which
// gives noise in floating point away, and in the output as a whole. Events are
// chosen on one half of the runs and judged on the other, by exact confidence
// bounds, so that a true claim is found false with no more than the stated
// probability, whatever the mechanism.
//
// [Fits] asks whether draws follow the distribution that they should.
//
// What it finds is a proof up to that probability; that it finds nothing is no
// proof. It sees only differences larger than chance in as many runs as it is
// given, on the pairs it is given, and only what is in the output: not time, not
// memory, not errors that the caller drops.
package dptest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Fits fails the test unless draws look like independent ones from probability:
// every value that is expected ten times or more is counted and held against the
// binomial distribution, both tails as well, and the whole distribution function
// against the bound of Dvoretzky, Kiefer, Wolfowitz and Massart. A right sampler
// fails with a probability of at most falseAlarm; half is for the counts, by
// Bonferroni, and half for the function. Both are exact, not asymptotic.
func Fits(t testing.TB, draws []int64, probability func(int64) float64, falseAlarm float64) {
	t.Helper()
	if complaint := misfit(draws, probability, falseAlarm); complaint != "" {
		t.Errorf("%d draws do not fit: %s (a right sampler says so once in %.0g times)", len(draws), complaint, 1/falseAlarm)
	}
}

func misfit(draws []int64, probability func(int64) float64, falseAlarm float64) string {
	n := len(draws)
	counts := map[int64]int{}
	for _, x := range draws {
		counts[x]++
	}
	values := make([]int64, 0, len(counts))
	for x := range counts {
		values = append(values, x)
	}
	slices.Sort(values)
	// The mode is where counting starts: a distribution here has one.
	mode := values[0]
	for x := values[0]; x <= values[len(values)-1] && x-values[0] < 1<<20; x++ {
		if probability(x) > probability(mode) {
			mode = x
		}
	}
	first, last := mode, mode
	for float64(n)*probability(first-1) >= 10 {
		first--
	}
	for float64(n)*probability(last+1) >= 10 {
		last++
	}
	level := falseAlarm / 2 / float64(last-first+3) / 2
	cdf, seen, inner := 0.0, 0, 0.0
	for x := first; x <= last; x++ {
		inner += probability(x)
	}
	low, high := 0, 0
	for x, k := range counts {
		if x < first {
			low += k
		}
		if x > last {
			high += k
		}
	}
	if k := low + high; unlikely(k, n, max(0, 1-inner), level) {
		return fmt.Sprintf("%d outside [%d, %d], want about %.1f", k, first, last, float64(n)*(1-inner))
	}
	bound := math.Sqrt(math.Log(4/falseAlarm) / (2 * float64(n)))
	for x := first; x <= last; x++ {
		p := probability(x)
		if unlikely(counts[x], n, p, level) {
			return fmt.Sprintf("%d of them are %d, want about %.1f", counts[x], x, float64(n)*p)
		}
		cdf += p
		seen += counts[x]
		// What lies below first is known only to be at most 1-inner.
		if d := float64(low+seen)/float64(n) - cdf; d > bound+1-inner || d < -bound {
			return fmt.Sprintf("the distribution function at %d is off by %.4f, want less than %.4f", x, d, bound)
		}
	}
	return ""
}

// unlikely is whether k of n is in either tail of level of a binomial
// distribution.
func unlikely(k, n int, p, level float64) bool {
	return p < lower(k, n, level) || p > upper(k, n, level)
}

// Pair is two neighbouring data sets.
type Pair[D any] struct {
	Name string
	A, B D
}

// Auditor says how hard to look. The zero value is what [Audit] uses.
type Auditor struct {
	// Runs is how often the mechanism runs on each data set; 0 means 200,000.
	Runs int
	// FalseAlarm is the probability of finding a true claim false; 0 means 1e-6.
	FalseAlarm float64
}

// Finding is the strongest evidence about a claim.
type Finding struct {
	// Broken is whether the claim is false, but for the probability of a false
	// alarm.
	Broken bool
	// Pair and Event say where: the event is this likely on one data set of the
	// pair at least, and that likely on the other at most.
	Pair, Event     string
	AtLeast, AtMost float64
	// Epsilon is a lower bound on the mechanism's epsilon at the claim's delta,
	// with the same confidence; 0 where there is none.
	Epsilon float64
}

func (f Finding) String() string {
	if f.Event == "" {
		return "no event tells the data sets apart"
	}
	return fmt.Sprintf("pair %q, %s: at least %.3g against at most %.3g, so that epsilon is at least %.3f", f.Pair, f.Event, f.AtLeast, f.AtMost, f.Epsilon)
}

// Audit fails the test if the claim is found false on any pair.
func Audit[D any](t testing.TB, mechanism func(D) []float64, pairs []Pair[D], claim dp.Guarantee) Finding {
	t.Helper()
	f := Find(Auditor{}, mechanism, pairs, claim)
	if f.Broken {
		t.Errorf("claim of epsilon %v and delta %v is false: %v", claim.Epsilon, claim.Delta, f)
	}
	return f
}

// Find looks for evidence against a claim. The mechanism gives its output as
// numbers, code for what is none; it runs in this goroutine.
func Find[D any](a Auditor, mechanism func(D) []float64, pairs []Pair[D], claim dp.Guarantee) Finding {
	if a.Runs == 0 {
		a.Runs = 200_000
	}
	if a.FalseAlarm == 0 {
		a.FalseAlarm = 1e-6
	}
	var best Finding
	const judged = 4                                         // events a pair and direction
	level := a.FalseAlarm / float64(len(pairs)*2*judged) / 2 // two bounds each
	for _, pair := range pairs {
		train := [2]table{observe(mechanism, pair.A, a.Runs/2), observe(mechanism, pair.B, a.Runs/2)}
		test := [2]table{observe(mechanism, pair.A, a.Runs-a.Runs/2), observe(mechanism, pair.B, a.Runs-a.Runs/2)}
		for side := range 2 {
			train[side].sort()
		}
		for side := range 2 {
			for _, e := range promising(train[side], train[1-side], claim.Delta, judged) {
				f := judge(e, test[side], test[1-side], claim, level)
				f.Pair = pair.Name
				if best.Event == "" || f.Epsilon > best.Epsilon || f.Broken && !best.Broken {
					best = f
				}
			}
		}
	}
	return best
}

// judge bounds an event's probabilities on runs that it was not chosen by.
func judge(e event, p, q table, claim dp.Guarantee, level float64) Finding {
	f := Finding{
		Event:   e.describe(p),
		AtLeast: lower(e.count(p), p.runs, level),
		AtMost:  upper(e.count(q), q.runs, level),
	}
	f.Broken = f.AtLeast > math.Exp(claim.Epsilon)*f.AtMost+claim.Delta
	if f.AtLeast > claim.Delta {
		f.Epsilon = max(0, math.Log((f.AtLeast-claim.Delta)/f.AtMost))
	}
	return f
}

// table is what was seen: a column for each feature of the outputs.
type table struct {
	runs    int
	columns [features][]float64
	outputs map[float64][]float64 // some, by their hash, to show what an event is
}

// The features that events are looked for in: the output as a whole, its length,
// and of each of the first numbers its value, its binary places and how far it
// is from the first.
const (
	numbers  = 8
	features = 2 + 3*numbers
)

func featureName(f int) string {
	i := (f - 2) / 3
	switch {
	case f == 0:
		return "the output"
	case f == 1:
		return "its length"
	case f%3 == 2:
		return fmt.Sprintf("x%d", i)
	case f%3 == 0:
		return fmt.Sprintf("binary places of x%d", i)
	}
	return fmt.Sprintf("x%d-x0", i)
}

func observe[D any](mechanism func(D) []float64, data D, runs int) table {
	t := table{runs: runs, outputs: map[float64][]float64{}}
	for f := range t.columns {
		t.columns[f] = make([]float64, runs)
	}
	for run := range runs {
		output := mechanism(data)
		name := hash(output)
		if len(t.outputs) < 1000 && t.outputs[name] == nil {
			t.outputs[name] = slices.Clone(output)
		}
		t.columns[0][run], t.columns[1][run] = name, float64(len(output))
		for i := range numbers {
			value, binary, off := absent, absent, absent
			if i < len(output) && !math.IsNaN(output[i]) {
				value, binary, off = output[i], places(output[i]), output[i]-output[0]
			}
			t.columns[2+3*i][run], t.columns[3+3*i][run], t.columns[4+3*i][run] = value, binary, off
		}
	}
	return t
}

// absent stands for a number that an output does not have, and for NaN.
const absent = -math.MaxFloat64

// places is the least n for which x is a multiple of 2^-n.
func places(x float64) float64 {
	if x == 0 || math.IsInf(x, 0) {
		return -2000
	}
	fraction, exponent := math.Frexp(x)
	mantissa := int64(math.Ldexp(fraction, 53))
	zeros := 0
	for mantissa&1 == 0 {
		mantissa >>= 1
		zeros++
	}
	return float64(53 - exponent - zeros)
}

// hash names an output by a number; two that share one are one event, which is as
// good as any.
func hash(output []float64) float64 {
	h := uint64(len(output))
	for _, x := range output {
		h = (h ^ math.Float64bits(x)) * 0x9e3779b97f4a7c15 // the golden ratio
		h ^= h >> 29
	}
	return float64(h >> 12)
}

// event is a set of outputs.
type event struct {
	feature int
	is      relation
	value   float64
}

type relation int

const (
	equal relation = iota
	atMost
	atLeast
)

func (e event) describe(t table) string {
	if output, ok := t.outputs[e.value]; ok && e.feature == 0 {
		return fmt.Sprintf("the output is %v", output)
	}
	return fmt.Sprintf("%s %s %v", featureName(e.feature), [...]string{"=", "<=", ">="}[e.is], e.value)
}

func (e event) count(t table) int {
	n := 0
	for _, x := range t.columns[e.feature] {
		if e.is == equal && x == e.value || e.is == atMost && x <= e.value || e.is == atLeast && x >= e.value {
			n++
		}
	}
	return n
}

// sort orders the columns, for promising; they are then no longer runs.
func (t table) sort() {
	for _, column := range t.columns {
		slices.Sort(column)
	}
}

// promising are the events whose likelihoods differ most, one a feature and
// relation at most, best first. Columns are sorted.
func promising(p, q table, delta float64, most int) []event {
	type candidate struct {
		event
		score float64
	}
	var all []candidate
	for f, mine := range p.columns {
		other := q.columns[f]
		if mine[0] == mine[len(mine)-1] && other[0] == mine[0] && other[len(other)-1] == mine[0] {
			continue // always the same
		}
		best := [3]candidate{{score: math.Inf(-1)}, {score: math.Inf(-1)}, {score: math.Inf(-1)}}
		try := func(is relation, value float64, a, b int) {
			if s := score(a, p.runs, b, q.runs, delta); s > best[is].score {
				best[is] = candidate{event{f, is, value}, s}
			}
		}
		to := 0 // of other, up to and including x
		for i := 0; i < len(mine); {
			x, end := mine[i], i
			for end < len(mine) && mine[end] == x {
				end++
			}
			from := to
			for from < len(other) && other[from] < x {
				from++
			}
			for to = from; to < len(other) && other[to] == x; {
				to++
			}
			try(equal, x, end-i, to-from)
			if f != 0 { // hashes have no order
				try(atMost, x, end, to)
				try(atLeast, x, len(mine)-i, len(other)-from)
			}
			i = end
		}
		for _, c := range best {
			if !math.IsInf(c.score, -1) {
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
	var out []event
	for _, c := range all[:min(most, len(all))] {
		out = append(out, c.event)
	}
	return out
}

// score is about the bound on epsilon that an event will give: four deviations
// off on either side, so that rare events must earn their place.
func score(a, n, b, m int, delta float64) float64 {
	const off = 4.5
	p, q := float64(a)/float64(n), (float64(b)+1)/float64(m)
	p -= off * math.Sqrt(float64(a)) / float64(n)
	q += off * math.Sqrt(float64(b)+off*off) / float64(m)
	if p <= delta {
		return math.Inf(-1)
	}
	return math.Log((p - delta) / q)
}
