package anon

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// adultFile unpacks a table of testdata.
func adultFile(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "adult", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func adultTable(t testing.TB, name string) *Table {
	t.Helper()
	table, err := ReadTable(context.Background(), adultFile(t, name), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// adultSpace is the search over all columns but the sensitive one.
func adultSpace(t testing.TB, specs []ModelSpec, sensitive string, suppression float64, sample, population string) *space {
	t.Helper()
	table := adultTable(t, sample)
	var people *Table
	if population != "" {
		people = adultTable(t, population)
	}
	var q []quasi
	var secret []*Column
	var refs []Reference
	var pop []*Column
	for i := range table.Columns {
		c := &table.Columns[i]
		if c.Name == sensitive {
			secret = append(secret, c)
			refs = append(refs, Reference{Column: c.Name, Values: c.Values, Counts: c.Counts})
			continue
		}
		h, err := (&HierarchySpec{File: filepath.Join("testdata", "adult", c.Name+".csv")}).Make(c.Values, c.Counts)
		if err != nil {
			t.Fatal(err)
		}
		q = append(q, quasi{column: c, h: h, max: h.Levels() - 1, weight: 1})
		if people != nil {
			p, err := people.Column(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			pop = append(pop, p)
		}
	}
	tests, err := bindAll(specs, refs)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if people != nil {
		n = people.Rows
	}
	return newSpace(q, secret, tests, table.Rows, int64(math.Floor(suppression*float64(table.Rows))), pop, n)
}

// known is what ARX's own tests expect of its bundled table
// (TestAnonymizationKAnonymity, -LDiversity, -TCloseness, -KMap, -DPresence), or
// what an exhaustive search gave where ARX has no test.
type known struct {
	name        string
	models      []ModelSpec
	sensitive   string
	suppression float64
	metric      string
	value       float64
	levels      []int
	suppressed  int64 // -1: not known
	subset      bool  // the table is ARX's subset, and the whole one the population
}

func k(n int64) ModelSpec { return ModelSpec{Model: "k-anonymity", K: n} }

func entropyL(l float64) ModelSpec { return ModelSpec{Model: "entropy-l-diversity", L: l} }

func equalT(t float64) ModelSpec { return ModelSpec{Model: "t-closeness", T: t} }

func orderedT(t float64) ModelSpec {
	return ModelSpec{Model: "t-closeness", T: t, Distance: "ordered"}
}

func hierarchicalT(t float64) ModelSpec {
	return ModelSpec{Model: "t-closeness", T: t, Distance: "hierarchical", Hierarchy: HierarchySpec{File: "testdata/adult/occupation.csv"}}
}

func recursive(c, l float64) ModelSpec {
	return ModelSpec{Model: "recursive-cl-diversity", C: c, L: l}
}

func kmap(n int64) ModelSpec { return ModelSpec{Model: "k-map", K: n} }

func presence(low, high float64) ModelSpec {
	return ModelSpec{Model: "delta-presence", Min: low, Max: high}
}

var knownAnswers = []known{
	{"k=5 discernibility", []ModelSpec{k(5)}, "", 0, "discernibility", 33627534, []int{1, 1, 1, 2, 3, 2, 2, 1, 1}, 0, false},
	{"k=100 discernibility", []ModelSpec{k(100)}, "", 0, "discernibility", 102352340, []int{0, 4, 1, 1, 3, 2, 2, 1, 1}, 0, false},
	{"k=5 entropy", []ModelSpec{k(5)}, "", 0, "entropy", 407289.5388925293, []int{1, 2, 1, 1, 3, 2, 2, 1, 1}, 0, false},
	{"k=100 entropy", []ModelSpec{k(100)}, "", 0, "entropy", 453196.8932458743, []int{0, 4, 1, 1, 3, 2, 2, 1, 1}, 0, false},
	{"k=5 entropy 4 %", []ModelSpec{k(5)}, "", 0.04, "entropy-star", 255559.85455731067, []int{1, 0, 1, 1, 3, 2, 2, 0, 1}, 906, false},
	{"k=100 entropy 4 %", []ModelSpec{k(100)}, "", 0.04, "entropy-star", 379417.3460570988, []int{1, 1, 1, 1, 3, 2, 2, 1, 1}, 866, false},
	{"entropy-5 4 %", []ModelSpec{entropyL(5)}, "occupation", 0.04, "entropy", 228878.2039109517, []int{1, 0, 1, 1, 2, 2, 2, 1}, -1, false},
	{"entropy-5", []ModelSpec{entropyL(5)}, "occupation", 0, "entropy", 324620.5269918692, []int{1, 1, 1, 1, 3, 2, 2, 1}, 0, false},
	{"t=.2 k=5 4 %", []ModelSpec{equalT(.2), k(5)}, "occupation", 0.04, "discernibility-star", 3.11880088e8, []int{1, 4, 1, 0, 3, 2, 2, 1}, -1, false},
	{"t=.2 k=100 4 %", []ModelSpec{equalT(.2), k(100)}, "occupation", 0.04, "discernibility-star", 3.11880088e8, []int{1, 4, 1, 0, 3, 2, 2, 1}, -1, false},
	{"t=.2 k=5", []ModelSpec{equalT(.2), k(5)}, "occupation", 0, "discernibility-star", 4.56853172e8, []int{1, 4, 1, 1, 3, 2, 2, 1}, 0, false},
	{"ordered t=.2 k=5 4 %", []ModelSpec{orderedT(.2), k(5)}, "occupation", 0.04, "discernibility-star", 2712340, []int{0, 0, 1, 1, 2, 2, 2, 0}, -1, false},
	{"ordered t=.2 k=100 4 %", []ModelSpec{orderedT(.2), k(100)}, "occupation", 0.04, "discernibility-star", 1.9937246e7, []int{1, 0, 1, 2, 3, 2, 2, 1}, -1, false},
	{"ordered t=.1 k=5", []ModelSpec{orderedT(.1), k(5)}, "occupation", 0, "discernibility-star", 9.786802e7, []int{1, 1, 1, 2, 3, 2, 2, 1}, 0, false},
	{"ordered t=.2 k=100", []ModelSpec{orderedT(.2), k(100)}, "occupation", 0, "discernibility-star", 1.6231213e8, []int{1, 4, 1, 1, 1, 2, 2, 1}, 0, false},
	{"hierarchical t=.2 k=5", []ModelSpec{hierarchicalT(.2), k(5)}, "occupation", 0, "entropy-star", 398400.0741806447, []int{0, 4, 1, 1, 3, 2, 2, 1}, 0, false},
	{"hierarchical t=.2", []ModelSpec{hierarchicalT(.2)}, "occupation", 0, "entropy-star", 398400.0741806447, []int{0, 4, 1, 1, 3, 2, 2, 1}, 0, false},
	{"hierarchical t=.2 k=5 5 %", []ModelSpec{hierarchicalT(.2), k(5)}, "occupation", 0.05, "entropy-star", 367390.5779876774, []int{1, 4, 0, 0, 3, 1, 2, 1}, -1, false},
	{"hierarchical t=.2 5 %", []ModelSpec{hierarchicalT(.2)}, "occupation", 0.05, "entropy", 374778.01889889664, []int{1, 4, 0, 0, 3, 1, 2, 1}, -1, false},
	{"recursive (4,5)", []ModelSpec{recursive(4, 5)}, "occupation", 0, "entropy-star", 324620.5269918692, []int{1, 1, 1, 1, 3, 2, 2, 1}, 0, false},
	{"recursive (4,5) 5 %", []ModelSpec{recursive(4, 5)}, "occupation", 0.05, "entropy-star", 198181.4042332967, []int{1, 0, 1, 1, 2, 2, 2, 0}, -1, false},
	{"recursive (4,5) 5 %, suppression counted", []ModelSpec{recursive(4, 5)}, "occupation", 0.05, "entropy", 209764.96161974416, []int{1, 0, 1, 1, 2, 2, 2, 0}, -1, false},
	{"k=5 5 %", []ModelSpec{k(5)}, "occupation", 0.05, "entropy", 180132.40848244698, []int{0, 0, 1, 1, 2, 2, 2, 0}, -1, false},
	{"k=5 loss", []ModelSpec{k(5)}, "", 1, "loss", 0.22041192847984292, []int{0, 3, 0, 0, 2, 1, 1, 1, 0}, -1, false},
	{"5-map class size", []ModelSpec{kmap(5)}, "occupation", 0, "class-size", 45.014925373134325, []int{1, 0, 1, 2, 3, 2, 2, 1}, 0, true},
	{"3-map entropy", []ModelSpec{kmap(3)}, "occupation", 0, "entropy-star", 23387.494246375998, []int{0, 0, 1, 2, 3, 2, 2, 0}, 0, true},
	{"5-map entropy", []ModelSpec{kmap(5)}, "occupation", 0, "entropy", 28551.7222913157, []int{1, 0, 1, 2, 3, 2, 2, 1}, 0, true},
	{"20-map class size 5 %", []ModelSpec{kmap(20)}, "occupation", 0.05, "class-size", 11.424242424242424, []int{1, 0, 1, 1, 3, 2, 1, 0}, -1, true},
	{"7-map entropy 5 %", []ModelSpec{kmap(7)}, "occupation", 0.05, "entropy-star", 17075.7181747451, []int{0, 0, 1, 1, 2, 2, 2, 0}, -1, true},
	{"3-map entropy 5 %", []ModelSpec{kmap(3)}, "occupation", 0.05, "entropy", 15121.633326877098, []int{0, 0, 1, 1, 1, 2, 1, 0}, -1, true},
	{"presence .2 class size", []ModelSpec{presence(0, .2)}, "occupation", 0, "class-size", 52, []int{1, 4, 1, 1, 0, 2, 2, 0}, 0, true},
	{"presence .2 entropy", []ModelSpec{presence(0, .2)}, "occupation", 0, "entropy-star", 30238.2081484441, []int{0, 1, 1, 2, 3, 2, 2, 0}, 0, true},
	{"presence .2 class size 5 %", []ModelSpec{presence(0, .2)}, "occupation", 0.05, "class-size", 8.02127659574468, []int{0, 0, 1, 2, 1, 2, 2, 1}, -1, true},
	{"presence .2 entropy 5 %", []ModelSpec{presence(0, .2)}, "occupation", 0.05, "entropy", 20747.362350403302, []int{1, 0, 1, 1, 2, 2, 2, 0}, -1, true},
	{"presence .05 .15 class size", []ModelSpec{presence(.05, .15)}, "occupation", 0, "class-size", 150.8, []int{0, 4, 0, 1, 3, 2, 2, 1}, 0, true},
	{"presence .05 .15 entropy", []ModelSpec{presence(.05, .15)}, "occupation", 0, "entropy", 37223.2491248282, []int{1, 4, 1, 1, 1, 2, 2, 1}, 0, true},
}

func TestKnownOptima(t *testing.T) {
	for _, want := range knownAnswers {
		t.Run(want.name, func(t *testing.T) {
			sample, population := "adult.csv", ""
			if want.subset {
				sample, population = "adult_subset.csv", "adult.csv"
			}
			s := adultSpace(t, want.models, want.sensitive, want.suppression, sample, population)
			m, err := metricOf(want.metric)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.optimise(context.Background(), m, budget{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(got.Value-want.value) > 1e-7*want.value || !slices.Equal(got.Levels, want.levels) || !got.Optimal {
				t.Errorf("got %v %.10g optimal %v, want %v %.10g", got.Levels, got.Value, got.Optimal, want.levels, want.value)
			}
			if want.suppressed >= 0 && got.Suppressed != want.suppressed {
				t.Errorf("%d rows suppressed, want %d", got.Suppressed, want.suppressed)
			}
			t.Logf("%d of %.0f groupings", got.Checked, got.Lattice)
		})
	}
}

func TestUnsatisfiable(t *testing.T) {
	_, err := bindAll([]ModelSpec{entropyL(100)}, []Reference{{Column: "occupation", Values: make([]string, 14), Counts: make([]int64, 14)}})
	if err == nil {
		t.Error("entropy-100-diversity of 14 values was accepted")
	}
	s := adultSpace(t, []ModelSpec{k(30163)}, "", 0.04, "adult.csv", "")
	if _, err := s.optimise(context.Background(), &discernibility, budget{}, nil); !errors.Is(err, ErrNoSolution) {
		t.Errorf("k larger than the table: %v", err)
	}
}

// What ARX's TestUtilityMetrics and the heuristic searches expect of single
// generalisations, which need not keep the promises.
func TestMetricsAsARX(t *testing.T) {
	for _, c := range []struct {
		metric    string
		models    []ModelSpec
		sensitive string
		levels    []int
		want      float64
	}{
		{"class-size", []ModelSpec{k(5)}, "occupation", []int{0, 0, 0, 0, 0, 0, 0, 0}, 29.113899613899616},
		{"class-size", []ModelSpec{k(5)}, "occupation", []int{0, 3, 1, 0, 0, 1, 1, 0}, 53.38407079646018},
		{"class-size", []ModelSpec{k(5)}, "occupation", []int{1, 1, 1, 1, 3, 2, 2, 1}, 1005.4},
		{"class-size", []ModelSpec{recursive(4, 5)}, "occupation", []int{0, 0, 0, 0, 0, 0, 0, 0}, 62.4472049689441},
		{"class-size", []ModelSpec{recursive(4, 5)}, "occupation", []int{1, 0, 1, 1, 3, 1, 2, 1}, 153.8877551020408},
		{"class-size", []ModelSpec{hierarchicalT(.2), k(5)}, "occupation", []int{0, 0, 0, 0, 0, 0, 0, 0}, 1774.235294117647},
		{"class-size", []ModelSpec{hierarchicalT(.2), k(5)}, "occupation", []int{0, 0, 1, 0, 1, 0, 0, 1}, 701.4418604651163},
		{"entropy", []ModelSpec{k(5)}, "occupation", []int{0, 0, 0, 0, 0, 0, 0, 0}, 268778.22471939825},
		{"entropy", []ModelSpec{k(5)}, "occupation", []int{0, 1, 0, 1, 0, 2, 1, 1}, 199996.96695661292},
		{"entropy", []ModelSpec{recursive(4, 5)}, "occupation", []int{0, 1, 0, 2, 3, 1, 0, 1}, 279867.240476094},
		{"entropy", []ModelSpec{hierarchicalT(.2)}, "occupation", []int{0, 0, 1, 1, 0, 1, 2, 0}, 427484.87811209384},
		{"discernibility", []ModelSpec{k(5)}, "occupation", []int{0, 0, 0, 0, 0, 0, 0, 0}, 4.63536157e8},
		{"discernibility", []ModelSpec{k(5)}, "occupation", []int{1, 2, 0, 2, 2, 1, 0, 0}, 5.4541529e7},
		{"discernibility", []ModelSpec{recursive(4, 5)}, "occupation", []int{1, 1, 1, 0, 2, 1, 0, 0}, 1.72317967e8},
		{"discernibility", []ModelSpec{hierarchicalT(.2)}, "occupation", []int{0, 2, 1, 2, 2, 1, 1, 0}, 7.11706687e8},
		{"discernibility-star", []ModelSpec{k(5)}, "occupation", []int{1, 4, 1, 1, 2, 2, 0, 0}, 9.6950278e7},
		{"loss", []ModelSpec{k(5)}, "", []int{0, 3, 0, 1, 1, 1, 1, 2, 0}, 0.26611081915757495},
		{"entropy", []ModelSpec{k(100)}, "", []int{0, 1, 1, 1, 2, 2, 2, 2, 0}, 377248.23689620313},
		{"entropy", []ModelSpec{k(100)}, "", []int{1, 3, 1, 2, 3, 2, 2, 0, 1}, 413894.76146080694},
	} {
		m, err := metricOf(c.metric)
		if err != nil {
			t.Fatal(err)
		}
		s := adultSpace(t, c.models, c.sensitive, 1, "adult.csv", "")
		x := newSearch(s, m, budget{}, nil)
		if got, ok := x.try(&scratch{}, c.levels); !ok || math.Abs(got-c.want) > 1e-8*c.want {
			t.Errorf("%s of %v with %s: %.12g, want %.12g", c.metric, c.levels, c.models[0].Model, got, c.want)
		}
	}
}

// How many of the 12,960 generalisations are anonymous was counted by exhaustion
// with another program.
func TestAnonymousGeneralisations(t *testing.T) {
	s := adultSpace(t, []ModelSpec{k(5)}, "", 1, "adult.csv", "")
	s.least = 1 // nothing is left out
	room := make([]grouping, len(s.axes))
	var w scratch
	of5, of100, all := 0, 0, 0
	var visit func(g *grouping, i int)
	visit = func(g *grouping, i int) {
		for level := range s.axes[i].h.Levels() {
			s.step(&w, g, &room[i], i, level)
			if i < len(s.axes)-1 {
				child := room[i]
				child.parent = child.prefix
				visit(&child, i+1)
				continue
			}
			all++
			least := slices.Min(room[i].count)
			if least >= 5 {
				of5++
			}
			if least >= 100 {
				of100++
			}
		}
	}
	visit(s.base(), 0)
	if all != 12960 || of5 != 87 || of100 != 22 {
		t.Errorf("of %d generalisations %d are 5-anonymous and %d 100-anonymous, want 12960, 87, 22", all, of5, of100)
	}
}

func BenchmarkOptimal(b *testing.B) {
	for _, c := range knownAnswers[:6] {
		b.Run(c.name, func(b *testing.B) {
			s := adultSpace(b, c.models, c.sensitive, c.suppression, "adult.csv", "")
			m, err := metricOf(c.metric)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.optimise(context.Background(), m, budget{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
