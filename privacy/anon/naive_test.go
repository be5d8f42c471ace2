package anon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A small problem, and its answers by the definitions, with maps of strings.
type problem struct {
	rows        [][]string   // quasi-identifiers, then one sensitive value
	people      [][]string   // quasi-identifiers of the population
	paths       [][][]string // of each quasi-identifier: value, labels
	model       ModelSpec
	suppression float64
	metric      string
}

func drawProblem(t *rapid.T) problem {
	p := problem{suppression: rapid.SampledFrom([]float64{0, 0.1, 0.3, 1}).Draw(t, "suppression")}
	axes := rapid.IntRange(1, 4).Draw(t, "axes")
	for range axes {
		// Five values, merged at random twice, then into one.
		var paths [][]string
		first, second := make([]int, 5), make([]int, 3)
		for i := range first {
			first[i] = rapid.IntRange(0, 2).Draw(t, "merge")
		}
		for i := range second {
			second[i] = rapid.IntRange(0, 1).Draw(t, "merge")
		}
		for v := range 5 {
			paths = append(paths, []string{fmt.Sprint("v", v), fmt.Sprint("a", first[v]), fmt.Sprint("b", second[first[v]]), "*"})
		}
		p.paths = append(p.paths, paths)
	}
	row := func() []string {
		var out []string
		for range axes {
			out = append(out, fmt.Sprint("v", rapid.IntRange(0, 4).Draw(t, "value")))
		}
		return out
	}
	for range rapid.IntRange(1, 30).Draw(t, "rows") {
		r := row()
		p.people = append(p.people, r)
		p.rows = append(p.rows, append(slices.Clone(r), fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "sensitive"))))
	}
	for range rapid.IntRange(0, 30).Draw(t, "people") {
		p.people = append(p.people, row())
	}
	p.model = rapid.SampledFrom([]ModelSpec{k(2), k(4), {Model: "distinct-l-diversity", L: 2}, entropyL(1.5), entropyL(2), recursive(2, 2), recursive(1.5, 2),
		equalT(0.4), orderedT(0.3), kmap(3), presence(0, 0.6), presence(0.2, 0.8)}).Draw(t, "model")
	p.metric = rapid.SampledFrom([]string{"discernibility", "discernibility-star", "entropy", "entropy-star", "loss", "class-size", "ambiguity"}).Draw(t, "metric")
	return p
}

// label is a value at a level.
func (p *problem) label(axis int, value string, level int) string {
	for _, path := range p.paths[axis] {
		if path[0] == value {
			return path[level]
		}
	}
	panic(value)
}

func (p *problem) key(row []string, levels []int) string {
	var out []string
	for i, l := range levels {
		out = append(out, p.label(i, row[i], l))
	}
	return strings.Join(out, "|")
}

// holds judges a class by the definitions.
func (p *problem) holds(rows [][]string, people int) bool {
	n := float64(len(rows))
	counts, whole := map[string]float64{}, map[string]float64{}
	for _, r := range rows {
		counts[r[len(r)-1]]++
	}
	for _, r := range p.rows {
		whole[r[len(r)-1]]++
	}
	var sorted []float64
	for _, c := range counts {
		sorted = append(sorted, c)
	}
	sort.Sort(sort.Reverse(sort.Float64Slice(sorted)))
	switch m := p.model; m.Model {
	case "k-anonymity":
		return len(rows) >= int(m.K)
	case "distinct-l-diversity":
		return float64(len(counts)) >= m.L
	case "entropy-l-diversity":
		h := 0.0
		for _, c := range sorted {
			h -= c / n * math.Log(c/n)
		}
		return h >= math.Log(m.L)-1e-9
	case "recursive-cl-diversity":
		tail := 0.0
		for i, c := range sorted {
			if i >= int(m.L)-1 {
				tail += c
			}
		}
		return sorted[0] < m.C*tail
	case "t-closeness":
		var values []string
		for v := range whole {
			values = append(values, v)
		}
		slices.Sort(values)
		sum, cumulative := 0.0, 0.0
		for i, v := range values {
			d := counts[v]/n - whole[v]/float64(len(p.rows))
			if m.Distance == "ordered" {
				cumulative += d
				if i < len(values)-1 {
					sum += math.Abs(cumulative) / float64(len(values)-1)
				}
			} else {
				sum += math.Abs(d) / 2
			}
		}
		return sum <= m.T+1e-9
	case "k-map":
		return people >= int(m.K)
	case "delta-presence":
		share := n / float64(people)
		return share >= m.Min-1e-9 && share <= m.Max+1e-9
	}
	panic(p.model.Model)
}

// loses is the metric by its definition.
func (p *problem) loses(levels []int, lost map[string]bool, classes map[string][][]string) float64 {
	n := float64(len(p.rows))
	perAxis, sum, count := make([]float64, len(levels)), 0.0, 0.0
	suppressed := 0.0
	for key, rows := range classes {
		if lost[key] {
			suppressed += float64(len(rows))
		}
	}
	var values float64 = 5
	for key, rows := range classes {
		size, isLost := float64(len(rows)), lost[key]
		star := strings.HasSuffix(p.metric, "-star")
		switch {
		case isLost && !star:
			sum += n * size
		default:
			sum += size * size
		}
		if !isLost {
			count++
		}
		product := size
		for i, l := range levels {
			label, leaves := p.label(i, rows[0][i], l), 0.0
			for _, path := range p.paths[i] {
				if path[l] == label {
					leaves++
				}
			}
			if isLost {
				product *= values
			} else {
				product *= leaves
			}
			switch p.metric {
			case "loss":
				if isLost {
					perAxis[i] += size
				} else {
					perAxis[i] += size * leaves / values
				}
			case "entropy", "entropy-star":
				same, gone := 0.0, 0.0
				for _, r := range p.rows {
					if p.label(i, r[i], l) == label {
						same++
					}
				}
				for other, more := range classes {
					if lost[other] && p.label(i, more[0][i], l) == label {
						gone += float64(len(more))
					}
				}
				for _, r := range rows {
					own := 0.0
					for _, x := range p.rows {
						if x[i] == r[i] {
							own++
						}
					}
					perAxis[i] += math.Log2(same / own)
					if isLost && !star {
						perAxis[i] += math.Log2(suppressed / gone)
					}
				}
			}
		}
		if p.metric == "ambiguity" {
			perAxis[0] += product
		}
	}
	switch p.metric {
	case "discernibility", "discernibility-star":
		return sum
	case "class-size":
		if suppressed > 0 {
			count++
		}
		return n / count
	case "loss":
		out := 1.0
		for _, x := range perAxis {
			out *= 1 + max(0, (x-n/values)/(n-n/values))
		}
		return math.Pow(out, 1/float64(len(levels))) - 1
	}
	out := 0.0
	for _, x := range perAxis {
		out += x
	}
	return out
}

// best tries every generalisation; +Inf when none will do.
func (p *problem) best() float64 {
	best := math.Inf(1)
	levels := make([]int, len(p.paths))
	limit := math.Floor(p.suppression * float64(len(p.rows)))
	var try func(i int)
	try = func(i int) {
		if i < len(levels) {
			for levels[i] = 0; levels[i] < 4; levels[i]++ {
				try(i + 1)
			}
			levels[i] = 0
			return
		}
		classes, people, lost := map[string][][]string{}, map[string]int{}, map[string]bool{}
		for _, r := range p.rows {
			classes[p.key(r, levels)] = append(classes[p.key(r, levels)], r)
		}
		for _, r := range p.people {
			people[p.key(r, levels)]++
		}
		gone := 0
		for key, rows := range classes {
			if !p.holds(rows, people[key]) {
				lost[key] = true
				gone += len(rows)
			}
		}
		for key := range people {
			if classes[key] == nil && p.model.Model == "delta-presence" && p.model.Min > 0 {
				return // people of whom none is in the table: their share is below the least
			}
		}
		if float64(gone) <= limit && gone < len(p.rows) {
			best = min(best, p.loses(levels, lost, classes))
		}
	}
	try(0)
	return best
}

// columns makes what Apply works on.
func (p *problem) space(t *rapid.T) *space {
	column := func(name string, rows [][]string, i int) *Column {
		c, index := &Column{Name: name}, map[string]uint32{}
		for _, r := range rows {
			code, ok := index[r[i]]
			if !ok {
				code = uint32(len(c.Values))
				index[r[i]] = code
				c.Values, c.Counts = append(c.Values, r[i]), append(c.Counts, 0)
			}
			c.Codes = append(c.Codes, code)
			c.Counts[code]++
		}
		return c
	}
	var q []quasi
	var people []*Column
	for i, paths := range p.paths {
		b := newBuilder(4)
		for _, path := range paths {
			if err := b.add(path); err != nil {
				t.Fatal(err)
			}
		}
		h, err := b.build()
		if err != nil {
			t.Fatal(err)
		}
		q = append(q, quasi{column: column(fmt.Sprint("q", i), p.rows, i), h: h, max: 3, weight: 1})
		people = append(people, column(fmt.Sprint("q", i), p.people, i))
	}
	secret := column("s", p.rows, len(p.paths))
	refs := []Reference{{Column: "s", Values: secret.Values, Counts: secret.Counts}}
	tests, err := bindAll([]ModelSpec{p.model}, refs)
	if err != nil {
		return nil
	}
	limit := int64(math.Floor(p.suppression * float64(len(p.rows))))
	if tests[0].population() {
		return newSpace(q, []*Column{secret}, tests, len(p.rows), limit, people, len(p.people))
	}
	return newSpace(q, []*Column{secret}, tests, len(p.rows), limit, nil, 0)
}

func (t *promise) population() bool { return t.Spec.population() }

// On small tables the search finds what trying everything by the definitions finds,
// for every model and every metric, with any suppression.
func TestSearchAsDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		s := p.space(t)
		if s == nil {
			t.Skip("fewer values than l")
		}
		m, err := metricOf(p.metric)
		if err != nil {
			t.Fatal(err)
		}
		want := p.best()
		got, err := s.optimise(context.Background(), m, budget{}, nil)
		if errors.Is(err, ErrNoSolution) && math.IsInf(want, 1) {
			return
		}
		if err != nil {
			t.Fatalf("%v, but the best loses %v", err, want)
		}
		if math.Abs(got.Value-want) > 1e-9*(1+want) || !got.Optimal {
			t.Fatalf("%s, %s: found %v at %v (optimal %v), the best is %v", p.model.Model, p.metric, got.Value, got.Levels, got.Optimal, want)
		}
	})
}

// However small the budget, what is found keeps its promises, and nothing is better
// than the bound that is stated.
func TestBudgetStatesTrueBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		s := p.space(t)
		if s == nil {
			t.Skip("fewer values than l")
		}
		m, _ := metricOf(p.metric)
		want := p.best()
		got, err := s.optimise(context.Background(), m, budget{Steps: rapid.Int64Range(1, 60).Draw(t, "steps"), Workers: rapid.IntRange(1, 3).Draw(t, "workers")}, nil)
		if err != nil {
			return
		}
		slack := 1e-9 * (1 + want)
		if got.Value < want-slack || got.Lower > want+slack || got.Optimal && got.Value > want+slack {
			t.Fatalf("found %v with bound %v (optimal %v), the best is %v", got.Value, got.Lower, got.Optimal, want)
		}
	})
}
