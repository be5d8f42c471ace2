package release

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
	"github.com/redoubt-ml/redoubt/privacy/dp"
)

// Query is what a query file says: which statistics, of what, for whom, at what
// cost. It is public: nothing in it may have been chosen by looking at the data.
type Query struct {
	Dataset   string       `yaml:"dataset" json:"dataset"`     // whose budget pays
	Unit      string       `yaml:"unit" json:"unit"`           // who is protected, such as patient
	Person    string       `yaml:"person" json:"person"`       // column that says whose a row is
	Adjacency dp.Adjacency `yaml:"adjacency" json:"adjacency"` // add-remove or replace
	Epsilon   float64      `yaml:"epsilon" json:"epsilon"`     // of the whole release
	Delta     float64      `yaml:"delta" json:"delta"`
	// Noise is laplace (the default), whose guarantee needs no delta, or gaussian,
	// better where a person touches many numbers.
	Noise string `yaml:"noise" json:"noise"`
	// GroupBy are columns; none for totals.
	GroupBy []string `yaml:"group_by" json:"group_by"`
	// Keys are the groups, where their names are public: each in the order of
	// GroupBy. Every one is shown, empty or not, and no others. Without them
	// groups are found in the data, and part of the budget pays for naming them.
	Keys [][]string `yaml:"keys" json:"keys"`
	// Minimum is the least number of people in a group that is named, on top of
	// what privacy asks for.
	Minimum int64 `yaml:"minimum" json:"minimum"`
	// GroupsPerPerson and RowsPerGroup bound what one person contributes; rows
	// beyond are left out at random. Required with GroupBy, and always.
	GroupsPerPerson int64 `yaml:"groups_per_person" json:"groups_per_person"`
	RowsPerGroup    int64 `yaml:"rows_per_group" json:"rows_per_group"`
	// Confidence of the intervals; 0.95 by default.
	Confidence float64 `yaml:"confidence" json:"confidence"`
	// Table is read when the data is a PostgreSQL database.
	Table      string      `yaml:"table" json:"table"`
	Statistics []Statistic `yaml:"statistics" json:"statistics"`
}

// Statistic is one thing to be released for each group.
type Statistic struct {
	// Of is count (rows), people, sum, mean, variance, quantiles, histogram or
	// distinct (values).
	Of     string `yaml:"of" json:"of"`
	Name   string `yaml:"name" json:"name"`     // in the output; by default from Of and Column
	Column string `yaml:"column" json:"column"` // none for count and people
	// Low and High are what values are clamped to. Required for sum, mean, variance
	// and quantiles.
	Low  *float64 `yaml:"low" json:"low"`
	High *float64 `yaml:"high" json:"high"`
	// Edges bound the buckets of a histogram: values below the first or from the
	// last on are not counted.
	Edges []float64 `yaml:"edges" json:"edges"`
	// Quantiles are between 0 and 1.
	Quantiles []float64 `yaml:"quantiles" json:"quantiles"`
	// Bits is the size of the sketch that counts distinct values, a power of two;
	// 4096 by default, which serves up to about 15,000 values.
	Bits int `yaml:"bits" json:"bits"`
	// Weight is the statistic's share of the budget beside the others'; 1 by
	// default.
	Weight float64 `yaml:"weight" json:"weight"`
}

// Limits of a query.
const (
	queryLimit = 1 << 20 // bytes
	lineLimit  = 16 << 10
	depthLimit = 16
	maxStats   = 64
	maxKeys    = 100_000
	maxBound   = 1 << 20 // rows or groups of a person
	maxKey     = 256     // bytes of a group's name in one column
	maxEdges   = 4097
)

// Parse reads and checks a query file. Errors name line and column.
func Parse(text []byte) (*Query, error) {
	if err := tame(text); err != nil {
		return nil, err
	}
	q := new(Query)
	err := strictyaml.Unmarshal(text, q)
	if err != nil {
		return nil, err
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	return q, nil
}

// tame refuses text that would keep the YAML parser busy: it recurses into what
// is nested and takes time quadratic in what stands on one line.
func tame(text []byte) error {
	if len(text) > queryLimit {
		return fmt.Errorf("the query has %d bytes; the limit is %d", len(text), queryLimit)
	}
	line, length, depth := 1, 0, 0
	for _, c := range text {
		switch length++; c {
		case '\n', '\r':
			line, length = line+1, 0
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if length > lineLimit || depth > depthLimit {
			return fmt.Errorf("line %d is too long or too deeply nested for a query", line)
		}
	}
	return nil
}

// Check refuses a query that cannot be answered, fills in what was left out, and
// is where every later step gets its limits from.
func (q *Query) Check() error {
	if q.Noise == "" {
		q.Noise = "laplace"
	}
	if q.Confidence == 0 {
		q.Confidence = 0.95
	}
	for _, name := range []struct{ key, value string }{{"dataset", q.Dataset}, {"unit", q.Unit}, {"person", q.Person}} {
		if name.value == "" {
			return fmt.Errorf("%s is missing", name.key)
		}
		if !printable(name.value, 200) {
			return fmt.Errorf("%s: must be at most 200 bytes of text without control characters", name.key)
		}
	}
	if err := q.Adjacency.Check(); err != nil {
		return fmt.Errorf("adjacency: %w", err)
	}
	switch {
	case !(q.Epsilon > 0 && q.Epsilon <= 100):
		return fmt.Errorf("epsilon %v: must be more than 0 and at most 100; useful ones are between 0.1 and 10", q.Epsilon)
	case !(q.Delta >= 0 && q.Delta <= 0.01):
		return fmt.Errorf("delta %v: must be at least 0 and at most 0.01; it should be well below one in the number of people", q.Delta)
	case q.Delta > 0 && q.Delta < 1e-15:
		return fmt.Errorf("delta %v: must be 0 or at least 1e-15", q.Delta)
	case q.Noise != "laplace" && q.Noise != "gaussian":
		return fmt.Errorf("noise %q: must be laplace or gaussian", q.Noise)
	case q.Noise == "gaussian" && q.Delta == 0:
		return errors.New("delta is 0: gaussian noise needs one, such as 1e-6; laplace noise does not")
	case !(q.Confidence >= 0.5 && q.Confidence <= 0.9999):
		return fmt.Errorf("confidence %v: must be between 0.5 and 0.9999", q.Confidence)
	case q.RowsPerGroup < 1 || q.RowsPerGroup > maxBound:
		return fmt.Errorf("rows_per_group %d: must be between 1 and %d: how many rows of one person count in a group", q.RowsPerGroup, maxBound)
	case len(q.Statistics) == 0:
		return errors.New("statistics: name at least one")
	case len(q.Statistics) > maxStats:
		return fmt.Errorf("statistics: %d are more than %d", len(q.Statistics), maxStats)
	}
	if err := q.checkGroups(); err != nil {
		return err
	}
	names := map[string]bool{}
	for i := range q.Statistics {
		s := &q.Statistics[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("statistics[%d]: %w", i, err)
		}
		if names[s.Name] {
			return fmt.Errorf("statistics[%d]: the name %q is taken: give it another with name", i, s.Name)
		}
		names[s.Name] = true
	}
	return nil
}

func (q *Query) checkGroups() error {
	if len(q.GroupBy) == 0 {
		switch {
		case len(q.Keys) > 0 || q.Minimum != 0:
			return errors.New("keys and minimum are about groups: say group_by, or leave them out")
		case q.GroupsPerPerson > 1:
			return errors.New("groups_per_person: without group_by there is one")
		}
		q.GroupsPerPerson = 1
		return nil
	}
	switch {
	case len(q.GroupBy) > 8:
		return fmt.Errorf("group_by: %d columns are more than 8", len(q.GroupBy))
	case q.GroupsPerPerson < 1 || q.GroupsPerPerson > maxBound:
		return fmt.Errorf("groups_per_person %d: must be between 1 and %d: in how many groups one person counts", q.GroupsPerPerson, maxBound)
	case len(q.Keys) == 0 && q.Delta == 0:
		return errors.New("delta is 0: groups cannot be named from the data then; give a delta such as 1e-6, or the groups as keys")
	case len(q.Keys) > 0 && q.Minimum != 0:
		return errors.New("minimum: groups that are public as keys are all shown")
	case q.Minimum < 0 || q.Minimum > math.MaxInt32:
		return fmt.Errorf("minimum %d: must be between 0 and 2^31-1", q.Minimum)
	case len(q.Keys) > maxKeys:
		return fmt.Errorf("keys: %d are more than %d", len(q.Keys), maxKeys)
	}
	for i, c := range q.GroupBy {
		if c == "" || c == q.Person {
			return fmt.Errorf("group_by[%d] %q: must be a column, and not the one that names people", i, c)
		}
	}
	seen := map[string]bool{}
	for i, k := range q.Keys {
		name := joined(k)
		if len(k) != len(q.GroupBy) || seen[name] {
			return fmt.Errorf("keys[%d]: must have a value for each of the %d columns of group_by, and occur once", i, len(q.GroupBy))
		}
		for _, part := range k {
			if len(part) > maxKey {
				return fmt.Errorf("keys[%d]: a value must have at most %d bytes", i, maxKey)
			}
		}
		seen[name] = true
	}
	return nil
}

// check fills in the default name and refuses what the kind cannot use.
func (s *Statistic) check() error {
	k := kindOf(s.Of)
	if k == nil {
		return fmt.Errorf("of %q: must be one of %s", s.Of, kindNames())
	}
	if s.Name == "" {
		if s.Name = s.Of; s.Column != "" {
			s.Name += " of " + s.Column
		}
	}
	if s.Weight == 0 {
		s.Weight = 1
	}
	bounds := s.Low != nil && s.High != nil
	switch {
	case !printable(s.Name, 200):
		return errors.New("name: must be at most 200 bytes of text without control characters")
	case k.column != (s.Column != ""):
		return fmt.Errorf("column %q: %s", s.Column, map[bool]string{true: s.Of + " needs one", false: s.Of + " has none"}[k.column])
	case k.bounds && !bounds:
		return fmt.Errorf("low and high are missing: the sensitivity of %s follows from them", s.Of)
	case !k.bounds && (s.Low != nil || s.High != nil):
		return fmt.Errorf("low and high do not apply to %s", s.Of)
	case bounds && !(finite(*s.Low) && finite(*s.High) && *s.Low < *s.High):
		return fmt.Errorf("low %v and high %v: must be numbers, low below high", *s.Low, *s.High)
	case bounds && !(math.Abs(*s.Low) < 1e15 && math.Abs(*s.High) < 1e15 && *s.High-*s.Low > 1e-9):
		return fmt.Errorf("low %v and high %v: must be within 1e15 of zero and 1e-9 apart; measure in other units", *s.Low, *s.High)
	case (s.Of == "histogram") != (len(s.Edges) > 0):
		return errors.New("edges: a histogram needs them, and nothing else has them")
	case (s.Of == "quantiles") != (len(s.Quantiles) > 0):
		return errors.New("quantiles: the statistic of that name needs them, and nothing else has them")
	case s.Bits != 0 && s.Of != "distinct":
		return errors.New("bits: only distinct has them")
	case !(s.Weight >= 0.001 && s.Weight <= 1000):
		return fmt.Errorf("weight %v: must be between 0.001 and 1000", s.Weight)
	}
	return s.checkLists()
}

func (s *Statistic) checkLists() error {
	if len(s.Edges) == 1 || len(s.Edges) > maxEdges {
		return fmt.Errorf("edges: %d of them; must be between 2 and %d", len(s.Edges), maxEdges)
	}
	for i, e := range s.Edges {
		if !finite(e) || i > 0 && e <= s.Edges[i-1] {
			return fmt.Errorf("edges[%d] %v: must be numbers that rise", i, e)
		}
	}
	if len(s.Quantiles) > 100 {
		return fmt.Errorf("quantiles: %d are more than 100", len(s.Quantiles))
	}
	for i, p := range s.Quantiles {
		if !(p >= 0 && p <= 1) || i > 0 && p <= s.Quantiles[i-1] {
			return fmt.Errorf("quantiles[%d] %v: must be between 0 and 1, and rise", i, p)
		}
	}
	if s.Of == "distinct" {
		if s.Bits == 0 {
			s.Bits = 4096
		}
		if s.Bits < 64 || s.Bits > 1<<20 || s.Bits&(s.Bits-1) != 0 {
			return fmt.Errorf("bits %d: must be a power of two between 64 and 2^20", s.Bits)
		}
	}
	return nil
}

// Digest is the SHA-256 of the query as it was understood. Partial states carry
// it, so that those of different queries are not merged.
func (q *Query) Digest() [sha256.Size]byte {
	text, err := json.Marshal(q)
	if err != nil {
		panic(err) // Check has seen to it that every number is finite
	}
	return sha256.Sum256(text)
}

func printable(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
