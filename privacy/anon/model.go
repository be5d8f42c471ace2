package anon

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// alike is what a privacy model judges: the rows that look alike.
type alike struct {
	Count      int64       // rows of the table
	Population int64       // rows of the population table, where there is one
	Sensitive  []histogram // of each sensitive column
}

// histogram is which codes of a sensitive column occur in a class, and how often.
type histogram struct {
	Codes  []uint32
	Counts []int64
}

// Reference is what the models know of a sensitive column: its values, by code, and
// how often each occurs in the whole table.
type Reference struct {
	Column string   `json:"column"`
	Values []string `json:"values"`
	Counts []int64  `json:"counts"`
	at     int      // among the sensitive columns
}

func (c *alike) histogram(ref *Reference) *histogram { return &c.Sensitive[ref.at] }

// ModelSpec names a model and its parameters, as policies and claims do.
type ModelSpec struct {
	Model     string        `yaml:"model" json:"model"`
	Column    string        `yaml:"column" json:"column,omitempty"` // sensitive; may be left out when there is one
	K         int64         `yaml:"k" json:"k,omitempty"`
	L         float64       `yaml:"l" json:"l,omitempty"`
	C         float64       `yaml:"c" json:"c,omitempty"`
	T         float64       `yaml:"t" json:"t,omitempty"`
	Min       float64       `yaml:"min" json:"min,omitempty"`
	Max       float64       `yaml:"max" json:"max,omitempty"`
	Distance  string        `yaml:"distance" json:"distance,omitempty"` // of t-closeness: equal, ordered or hierarchical
	Hierarchy HierarchySpec `yaml:"hierarchy" json:"-"`                 // of hierarchical distance
	Order     []string      `yaml:"order" json:"order,omitempty"`       // of ordered distance; default: by number, or by name
	// Paths are the hierarchy's lines, written into the claims.
	Paths [][]string `yaml:"-" json:"paths,omitempty"`
}

// Model is a kind of promise about classes.
type Model struct {
	Name       string
	Doc        string
	Sensitive  bool // is about a sensitive column
	Population bool // needs a population table
	Guards     string
	bind       func(*ModelSpec, *Reference) (test, error)
}

// Models lists the kinds.
var Models = []Model{
	kAnonymity,
	distinctDiversity,
	entropyDiversity,
	recursiveDiversity,
	tCloseness,
	kMap,
	deltaPresence,
}

// test is a model with its parameters: a number for each class, and whether that
// number will do.
type test struct {
	value func(*alike) float64
	holds func(float64) bool
	// absorbs: a class that passes still passes when any class is merged into it,
	// so that coarser tables never suppress more rows.
	absorbs bool
	least   int64 // rows below which no class passes, or 1
	empty   bool  // classes without rows of the table are judged too
}

// promise is a model bound to a table: what verification and risk ask of a class.
type promise struct {
	Spec ModelSpec
	test
}

// keeps tells whether a class passes, and the number that was judged.
func (t *promise) keeps(c *alike) (value float64, ok bool) {
	if c.Count == 0 && !t.empty {
		return math.NaN(), true
	}
	value = t.value(c)
	return value, t.holds(value)
}

// bindAll makes the tests of a policy. The sensitive columns are in the order in which
// classes have their histograms.
func bindAll(specs []ModelSpec, sensitive []Reference) ([]promise, error) {
	if len(specs) == 0 {
		return nil, errors.New("models: name at least one, such as {model: k-anonymity, k: 5}")
	}
	var out []promise
	for i := range specs {
		t, err := bind(specs[i], sensitive)
		if err != nil {
			return nil, fmt.Errorf("models: %s: %w", specs[i].Model, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func bind(spec ModelSpec, sensitive []Reference) (promise, error) {
	i := slices.IndexFunc(Models, func(m Model) bool { return m.Name == spec.Model })
	if i < 0 {
		var names []string
		for _, m := range Models {
			names = append(names, m.Name)
		}
		return promise{}, fmt.Errorf("there is no such model: give one of %q", names)
	}
	m, column, ref := Models[i], 0, (*Reference)(nil)
	switch {
	case !m.Sensitive && spec.Column != "":
		return promise{}, fmt.Errorf("it is not about a column: take column: %s away", spec.Column)
	case m.Sensitive && len(sensitive) == 0:
		return promise{}, errors.New("it is about a sensitive column: name one under sensitive")
	case m.Sensitive && spec.Column == "" && len(sensitive) > 1:
		return promise{}, errors.New("there are several sensitive columns: say which with column")
	case m.Sensitive:
		if spec.Column == "" {
			spec.Column = sensitive[0].Column
		}
		column = slices.IndexFunc(sensitive, func(r Reference) bool { return r.Column == spec.Column })
		if column < 0 {
			return promise{}, fmt.Errorf("column %q is not under sensitive", spec.Column)
		}
		r := sensitive[column]
		r.at, ref = column, &r
	}
	t, err := m.bind(&spec, ref)
	if err != nil {
		return promise{}, err
	}
	t.least = max(t.least, 1)
	return promise{Spec: spec, test: t}, nil
}

// within forgives the last digits of a sum of logarithms.
const within = 1e-9

func atLeast(bound float64) func(float64) bool {
	return func(v float64) bool { return v >= bound-within*math.Abs(bound) }
}

func atMost(bound float64) func(float64) bool {
	return func(v float64) bool { return v <= bound+within }
}
