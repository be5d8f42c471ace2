package anon

import (
	"fmt"
	"math"
	"slices"
)

func checkL(s *ModelSpec, ref *Reference) error {
	if !(s.L > 1) || s.L > 1<<31 {
		return fmt.Errorf("l is %v: it must be above 1", s.L)
	}
	if float64(len(ref.Values)) < s.L {
		return fmt.Errorf("l is %v, but column %q has only %d values", s.L, ref.Column, len(ref.Values))
	}
	return nil
}

// distinctDiversity (Machanavajjhala et al., 2006): every class has at least l
// sensitive values.
var distinctDiversity = Model{
	Name:      "distinct-l-diversity",
	Doc:       "every class has at least l different sensitive values",
	Guards:    "learning the sensitive value of a person whose class has a single one",
	Sensitive: true,
	bind: func(s *ModelSpec, ref *Reference) (test, error) {
		if err := checkL(s, ref); err != nil {
			return test{}, err
		}
		t := test{holds: atLeast(s.L), absorbs: true, least: int64(math.Ceil(s.L))}
		t.value = func(c *alike) float64 { return float64(len(c.histogram(ref).Codes)) }
		return t, nil
	},
}

// entropyDiversity: exp of the entropy of the sensitive values is at least l in
// every class.
var entropyDiversity = Model{
	Name:      "entropy-l-diversity",
	Doc:       "the sensitive values of every class are as uncertain as l equally frequent ones",
	Guards:    "learning the sensitive value of a person, or that some values are likely",
	Sensitive: true,
	bind: func(s *ModelSpec, ref *Reference) (test, error) {
		if err := checkL(s, ref); err != nil {
			return test{}, err
		}
		t := test{holds: atLeast(s.L), least: int64(math.Ceil(s.L - 1e-6))}
		t.value = func(c *alike) float64 {
			sum, n := 0.0, float64(c.Count)
			for _, f := range c.histogram(ref).Counts {
				sum += float64(f) * math.Log(float64(f))
			}
			return math.Exp(math.Log(n) - sum/n)
		}
		return t, nil
	},
}

// recursiveDiversity: the most frequent value of a class occurs less than c times
// as often as the l-th most frequent and all rarer ones together.
var recursiveDiversity = Model{
	Name:      "recursive-cl-diversity",
	Doc:       "the most frequent sensitive value of a class occurs less than c times as often as the l-th and all rarer ones together",
	Guards:    "learning the sensitive value of a person once some values are ruled out",
	Sensitive: true,
	bind: func(s *ModelSpec, ref *Reference) (test, error) {
		if err := checkL(s, ref); err != nil {
			return test{}, err
		}
		if s.L != math.Trunc(s.L) {
			return test{}, fmt.Errorf("l is %v: it must be a whole number", s.L)
		}
		if !(s.C > 0) || math.IsInf(s.C, 0) {
			return test{}, fmt.Errorf("c is %v: it must be above 0", s.C)
		}
		t := test{holds: func(v float64) bool { return v < s.C }, least: int64(s.L)}
		t.value = func(c *alike) float64 {
			f := slices.Clone(c.histogram(ref).Counts)
			if len(f) < int(s.L) {
				return math.Inf(1)
			}
			slices.Sort(f)
			tail := int64(0)
			for _, n := range f[:len(f)-int(s.L)+1] {
				tail += n
			}
			return float64(f[len(f)-1]) / float64(tail)
		}
		return t, nil
	},
}
