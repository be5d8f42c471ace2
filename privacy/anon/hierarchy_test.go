package anon

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestReadHierarchy(t *testing.T) {
	h, err := ReadHierarchy(strings.NewReader("\xef\xbb\xbfBerlin;Germany;*\r\nParis;France;*\n\n\"Saint;Denis\";France;*\n"))
	if err != nil {
		t.Fatal(err)
	}
	if label, ok := h.Label("Saint;Denis", 1); !ok || label != "France" || h.Levels() != 3 || h.Values() != 3 {
		t.Errorf("label %q, %d levels, %d values", label, h.Levels(), h.Values())
	}
	if _, ok := h.Label("Rome", 1); ok {
		t.Error("Rome is known")
	}
	if _, err := ReadHierarchy(strings.NewReader("1,0-4,*\n2,0-4,*\n")); err != nil {
		t.Errorf("with commas: %v", err)
	}
}

// What is wrong with a hierarchy is said with the value it is about.
func TestBadHierarchies(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "it is empty",
		"a;x;*\nb;x":                             `value "b" has 2 levels where the first has 3`,
		"a;x;*\nb;;*":                            `value "b" has no label at level 1: fill the gap`,
		"a;x;*\na;y;*":                           `value "a" stands there twice`,
		"a;x;a":                                  `value "a" goes round in a circle`,
		"a;x;y;x;*":                              `value "a" goes round in a circle: it is "x" at level 1`,
		"a;x;p;*\nb;x;q;*":                       `"x" at level 1 becomes "p" for some values and "q" for "b"`,
		"a;\xff;*":                               "line 1 is not UTF-8",
		"a;\"x;*":                                "a quote is not closed",
		"a;\"x\"y;*":                             "text follows a closing quote",
		"a" + strings.Repeat(";x", 70):           "more than 64",
		"a;" + strings.Repeat("x", 2<<20) + ";*": "at most a megabyte",
	} {
		if _, err := ReadHierarchy(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadHierarchy(f *testing.F) {
	for _, s := range []string{"a;x;*\nb;x;*", "1,0-4,*", "a;x;a", "\"a;b\";\"x\"\"y\";*", "\xef\xbb\xbfa;*", ";\n", "a;x;*\nb;;*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ReadHierarchy(strings.NewReader(text))
		if err != nil {
			return
		}
		// Each level is a function of the one below.
		for l := 1; l < h.Levels(); l++ {
			parent := map[string]string{}
			for v := range h.index {
				low, _ := h.Label(v, l-1)
				high, _ := h.Label(v, l)
				if p, ok := parent[low]; ok && p != high {
					t.Fatalf("level %d: %q becomes %q and %q", l, low, p, high)
				}
				parent[low] = high
			}
		}
	})
}

func TestMadeHierarchies(t *testing.T) {
	most := func(n int) (out []int64) {
		for range n {
			out = append(out, 1)
		}
		return out
	}
	for _, c := range []struct {
		spec   HierarchySpec
		values []string
		value  string
		want   []string // labels from level 1 on
	}{
		{HierarchySpec{Intervals: []float64{5, 10}}, []string{"3", "7", "-1", "12.5"}, "7", []string{"5-<10", "0-<10", "*"}},
		{HierarchySpec{Intervals: []float64{5, 10}}, []string{"-1", "3"}, "-1", []string{"-5-<0", "-10-<0", "*"}},
		{HierarchySpec{Intervals: []float64{0.1, 0.3}}, []string{"0.25", "0.3", "0.35"}, "0.3", []string{"0.3-<0.4", "0.3-<0.6", "*"}},
		{HierarchySpec{Intervals: []float64{0.1, 1.1}}, []string{"1.1"}, "1.1", []string{"1.1-<1.2", "1.1-<2.2", "*"}},
		{HierarchySpec{Intervals: []float64{10}, Origin: 5}, []string{"4", ""}, "4", []string{"-5-<5", "*"}},
		{HierarchySpec{Intervals: []float64{10}}, []string{"4", ""}, "", []string{"", "*"}},
		{HierarchySpec{Dates: []string{"month", "quarter", "year", "decade"}}, []string{"1999-12-31"}, "1999-12-31", []string{"1999-12", "1999-Q4", "1999", "1990s", "*"}},
		{HierarchySpec{Dates: []string{"day", "year"}}, []string{"2026-01-31T10:00:00Z"}, "2026-01-31T10:00:00Z", []string{"2026-01-31", "2026", "*"}},
		{HierarchySpec{Mask: "right"}, []string{"12345", "12399"}, "12345", []string{"1234*", "123**", "12***", "1****", "*"}},
		{HierarchySpec{Mask: "left"}, []string{"12", "1"}, "12", []string{"*2", "*"}},
		{HierarchySpec{Infer: "all"}, []string{"a", "b"}, "a", []string{"*"}},
		{HierarchySpec{}, []string{"a", "b"}, "b", []string{"*"}},
	} {
		h, err := c.spec.Make(c.values, most(len(c.values)))
		if err != nil {
			t.Errorf("%+v: %v", c.spec, err)
			continue
		}
		var got []string
		for l := 1; l < h.Levels(); l++ {
			label, _ := h.Label(c.value, l)
			got = append(got, label)
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%+v of %q: %q, want %q", c.spec, c.value, got, c.want)
		}
	}
}

func TestBadHierarchySpecs(t *testing.T) {
	for _, c := range []struct {
		spec   HierarchySpec
		values []string
		want   string
	}{
		{HierarchySpec{Intervals: []float64{5, 12}}, []string{"1"}, "must be a multiple of 5"},
		{HierarchySpec{Intervals: []float64{0}}, []string{"1"}, "must be above 0"},
		{HierarchySpec{Intervals: []float64{5}}, []string{"one"}, `value "one" is no number`},
		{HierarchySpec{Intervals: []float64{1e-300}}, []string{"1e300"}, "lies too far"},
		{HierarchySpec{Dates: []string{"year", "month"}}, []string{"2020-01-01"}, "in this order"},
		{HierarchySpec{Dates: []string{"year"}}, []string{"31.1.2020"}, "is no date"},
		{HierarchySpec{Mask: "middle"}, []string{"1"}, "give right or left"},
		{HierarchySpec{Mask: "right"}, []string{"1*"}, "has a * already"},
		{HierarchySpec{Mask: "right"}, []string{strings.Repeat("1", 99)}, "it is no code"},
		{HierarchySpec{Infer: "magic"}, []string{"1"}, "give quantiles, equal, frequency or all"},
		{HierarchySpec{Infer: "quantiles"}, []string{"a"}, "is no number"},
		{HierarchySpec{Mask: "right", Infer: "all"}, []string{"1"}, "given twice, as mask and as infer"},
		{HierarchySpec{File: filepath.Join("testdata", "adult", "sex.csv")}, []string{"Male", "Other"}, `value "Other" of the table is not in the hierarchy`},
		{HierarchySpec{File: "nowhere.csv"}, []string{"1"}, "nowhere.csv"},
	} {
		counts := make([]int64, len(c.values))
		if _, err := c.spec.Make(c.values, counts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.spec, err, c.want)
		}
	}
}

// Inferred ranges hold about as many rows each.
func TestInferredQuantiles(t *testing.T) {
	var values []string
	var counts []int64
	for i := range 320 {
		values, counts = append(values, numberText(float64(i*i))), append(counts, 1)
	}
	h, err := inferHierarchy("", values, counts)
	if err != nil {
		t.Fatal(err)
	}
	if h.Levels() != 7 || len(h.labels[1]) != 32 || len(h.labels[5]) != 2 || h.labels[6][0] != "*" {
		t.Errorf("%d levels, %d finest ranges", h.Levels(), len(h.labels[1]))
	}
	for c, n := range h.leaves[1] {
		if n != 10 {
			t.Errorf("range %s holds %d values", h.labels[1][c], n)
		}
	}
}

// A hierarchy is the same in whatever order its lines stand.
func TestDigestIgnoresOrder(t *testing.T) {
	a, _ := ReadHierarchy(strings.NewReader("a;x;*\nb;x;*\n"))
	b, _ := ReadHierarchy(strings.NewReader("b;x;*\na;x;*\n"))
	c, _ := ReadHierarchy(strings.NewReader("b;y;*\na;x;*\n"))
	if a.Digest() != b.Digest() || a.Digest() == c.Digest() {
		t.Error("digests do not follow the content")
	}
}
