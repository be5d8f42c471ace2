package data

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const loan = `
columns:
  - {name: age, type: integer, min: 18, max: 90, monotone: increasing}
  - {name: income, type: numeric, min: 0, max: 250000, step: 100, scale: 1000}
  - {name: debt, type: numeric, min: 0, max: 90000, mean: 7100, std: 830, cost: 3}
  - {name: job, type: categorical, categories: [clerk, driver, student], unknown: zero}
  - {name: sex, type: binary, categories: [female, male], immutable: true}
  - {name: grade, type: ordinal, categories: [low, mid, top], monotone: decreasing}
  - {name: y, type: label}
rules:
  - debt <= 0.5 * income
  - when job is student then income <= 20000
  - when grade is top then job is not student
`

const loans = "age,income,debt,job,sex,grade,y\n30,50000,20000.7,clerk,male,top,0\n19,9000,123.4,student,female,low,1\n64,100,50,pilot,male,mid,0\n"

func loanSet(t *testing.T) *Set {
	t.Helper()
	schema, err := ParseSchema([]byte(loan))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseCSV([]byte(loans), schema)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Whatever is repaired is allowed, is not repaired again, and what was allowed
// stays.
func TestRepair(t *testing.T) {
	set := loanSet(t)
	scaled, _ := set.Scaled()
	for name, s := range map[string]*Set{"model units": set, "distance units": scaled} {
		c := s.Constraints()
		rng := rand.New(rand.NewPCG(1, 2))
		moved := 0
		for trial := range 3000 {
			origin := s.X.Row(trial % 3)
			if err := c.Check(origin, origin); err != nil {
				t.Fatalf("%s: the data is not allowed: %v", name, err)
			}
			x := slices.Clone(origin)
			for j, col := range s.Columns {
				if rng.IntN(3) > 0 {
					x[j] = col.Min + (col.Max-col.Min)*float32(1.4*rng.Float64()-0.2)
				}
			}
			c.Repair(x, origin)
			if err := c.Check(x, origin); err != nil {
				t.Fatalf("%s: trial %d: repaired to %v: %v", name, trial, x, err)
			}
			if !slices.Equal(x, origin) {
				moved++
			}
			again := slices.Clone(x)
			if c.Repair(again, origin); !slices.Equal(again, x) {
				t.Fatalf("%s: trial %d: repaired twice: %v, then %v", name, trial, x, again)
			}
		}
		if moved < 2500 {
			t.Errorf("%s: only %d of 3000 repairs left anything changed", name, moved)
		}
	}
}

func TestCheckNamesWhatIsBroken(t *testing.T) {
	set := loanSet(t)
	c := set.Constraints()
	// age income debt job=clerk job=driver job=student sex grade
	for want, change := range map[string]map[int]float32{
		`"age" may only move one way: 30 became 29`: {0: 29},
		`"age": 30.5 is no multiple of 1`:           {0: 30.5},
		`"age": 91 is outside its bounds 18 to 90`:  {0: 91},
		`"income": 50050 is no multiple of 100`:     {1: 50050},
		`"sex" is immutable: 1 became 0`:            {6: 0},
		`"job": 2 categories of the group are set`:  {4: 1},

		`rule "debt <= 0.5 * income" does not hold`:           {1: 40000},
		`rule "when job is student then income <= 20000" doe`: {3: 0, 5: 1},
		`rule "when grade is top then job is not student"`:    {1: 20000, 2: -8, 3: 0, 5: 1},
	} {
		origin := set.X.Row(0)
		x := slices.Clone(origin)
		for j, v := range change {
			x[j] = v
		}
		if err := c.Check(x, origin); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", change, err, want)
		}
	}
}

// A broken sum is mended by the nearest point of the half space where nothing
// stands in the way: moved along coefficient x unit squared.
func TestRepairIsNearest(t *testing.T) {
	schema, err := ParseSchema([]byte(`
columns:
  - {name: a, type: numeric, min: 0, max: 100}
  - {name: b, type: numeric, min: 0, max: 100, scale: 50}
  - {name: y, type: label}
rules: [a + 2 * b <= 120]`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseCSV([]byte("a,b,y\n10,10,0\n"), schema)
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{60, 60}
	set.Constraints().Repair(x, set.X.Row(0))
	// Excess 60 along (1 x 100^2, 2 x 50^2), over 1 x 100^2 + 4 x 50^2.
	if want := []float32{30, 45}; !slices.Equal(x, want) {
		t.Errorf("repaired to %v, want %v", x, want)
	}
}

// The way to units of distance and back leaves every value of the data as the
// model would have seen it, and a radius means what the schema says.
func TestScaled(t *testing.T) {
	set := loanSet(t)
	scaled, units := set.Scaled()
	for i := range set.X.Rows() {
		back := make([]float32, set.X.RowLen())
		if units.Model(back, scaled.X.Row(i)); !slices.Equal(back, set.X.Row(i)) {
			t.Errorf("row %d is %v, came back as %v", i, set.X.Row(i), back)
		}
	}
	if got := scaled.X.Row(0); got[0] != float32(12)/72 || got[1] != 50 {
		t.Errorf("age 30 and income 50000 became %v and %v, want 1/6 and 50", got[0], got[1])
	}
	if s := units.Slope(2); s < 90000./830-1e-3 || s > 90000./830+1e-3 {
		t.Errorf("slope of debt is %v, want its range over std", s)
	}
}

func TestRulesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"a <= 'no such'":      "no input column",
		"a * b <= 3":          "not linear",
		"3 <= 4":              "names no column",
		"when a <= 3":         "a when and no then",
		"a 3":                 "compares nothing",
		"job is pilot":        "no category",
		"job <= 3":            "say what it is",
		"a <= b +":            "missing",
		"a <= \"b":            "not closed",
		"y <= 3":              "no input column",
		"a / 0 <= 3":          "not linear",
		"a <= 4 # b":          "means nothing",
		"job is clerk or not": "not one word",
	} {
		_, err := ParseSchema([]byte("columns:\n  - {name: a, type: numeric, min: 0, max: 9}\n  - {name: b, type: integer, min: 0, max: 9}\n" +
			"  - {name: job, type: categorical, categories: [clerk, cook]}\n  - {name: y, type: label}\nrules:\n  - >\n    " + text + "\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
