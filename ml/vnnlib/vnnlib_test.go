package vnnlib

import (
	"slices"
	"strings"
	"testing"
)

const twoInputs = `(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 -1))(assert (<= X_0 1))(assert (>= X_1 0))(assert (<= X_1 2))
`

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []Case
	}{
		"one constraint": {"(assert (>= Y_0 Y_1))",
			[]Case{{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{1, -1}}, []float64{0}}}},
		"a constant on the left": {"(assert (<= 3.5 Y_1))",
			[]Case{{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{0, 1}}, []float64{-3.5}}}},
		"arithmetic": {"(assert (<= (+ (* 2 Y_0) (- Y_1) 1) (- Y_1 4)))",
			[]Case{{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{-2, 2}}, []float64{-5}}}},
		"or of and": {"(assert (or (and (>= Y_0 1) (<= Y_1 2)) (and (>= Y_1 5))))",
			[]Case{
				{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{1, 0}, {0, -1}}, []float64{-1, 2}},
				{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{0, 1}}, []float64{-5}},
			}},
		"boxes in cases": {"(assert (or (and (<= X_0 0) (>= Y_0 0)) (and (>= X_0 0.5) (>= Y_1 0))))",
			[]Case{
				{[]float64{-1, 0}, []float64{0, 2}, [][]float64{{1, 0}}, []float64{0}},
				{[]float64{0.5, 0}, []float64{1, 2}, [][]float64{{0, 1}}, []float64{0}},
			}},
		"an empty box is no case": {"(assert (or (and (<= X_0 -2) (>= Y_0 0)) (>= Y_1 0)))",
			[]Case{{[]float64{-1, 0}, []float64{1, 2}, [][]float64{{0, 1}}, []float64{0}}}},
	} {
		p, err := Parse(strings.NewReader(twoInputs + c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same := slices.EqualFunc(p.Cases, c.want, func(a, b Case) bool {
			return slices.Equal(a.Lo, b.Lo) && slices.Equal(a.Hi, b.Hi) && slices.Equal(a.B, b.B) &&
				slices.EqualFunc(a.W, b.W, slices.Equal)
		})
		if !same {
			t.Errorf("%s: got %+v, want %+v", name, p.Cases, c.want)
		}
	}
}

func TestPropertiesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"(assert (>= Y_0 (* Y_0 Y_1)))":      "not linear",
		"(assert (>= (+ X_0 X_1) 1))":        "several inputs",
		"(assert (>= X_0 Y_1))":              "inputs and outputs",
		"(assert (>= Y_9 1))":                "not declared",
		"(assert (=> Y_0 1))":                "unknown connective",
		"(assert (>= Y_0 1)":                 "never closed",
		"(assert (>= Y_0 1)))":               "closing bracket",
		"(assert (>= Y_0 NaN))":              "no variable",
		"(assert (>= Y_0 1e999))":            "no variable",
		"(check-sat)":                        "want declare-const or assert",
		"(assert)":                           "assert takes one formula",
		"(declare-const X_99999999999 Real)": "no variable",
		strings.Repeat("(", 100):             "nested deeper",
		strings.Repeat("a", 300):             "256 characters",
		"":                                   "does not constrain",
	} {
		if _, err := Parse(strings.NewReader(twoInputs + text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: err = %v, want one about %q", text, err, want)
		}
	}
}

// Disjunctions multiply; a file of a kilobyte must not become billions of
// cases.
func TestCasesAreBounded(t *testing.T) {
	text := twoInputs + strings.Repeat("(assert (or (>= Y_0 1) (>= Y_1 1)))", 40)
	if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "cases") {
		t.Errorf("err = %v, want one about too many cases", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(twoInputs + "(assert (or (and (>= Y_0 1) (<= Y_1 2)) (and (>= Y_1 5))))")
	f.Add(twoInputs + "(assert (<= (+ (* 2 Y_0) (- Y_1) 1) (- Y_1 4)))")
	f.Add("; a comment\n(declare-const X_0 Real)")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, c := range p.Cases {
			if len(c.Lo) != p.Inputs || len(c.W) == 0 || len(c.W) != len(c.B) || len(c.W[0]) != p.Outputs {
				t.Errorf("an accepted property is not whole: %+v", c)
			}
		}
	})
}
