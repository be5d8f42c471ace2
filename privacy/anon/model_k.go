package anon

import "fmt"

// kAnonymity (Samarati and Sweeney, 1998): every row looks like at least k-1 others.
var kAnonymity = Model{
	Name:   "k-anonymity",
	Doc:    "every row looks like at least k-1 others",
	Guards: "picking out the row of a person whose quasi-identifiers are known",
	bind: func(s *ModelSpec, _ *Reference) (test, error) {
		if s.K < 2 {
			return test{}, fmt.Errorf("k is %d: it must be at least 2", s.K)
		}
		return test{value: func(c *alike) float64 { return float64(c.Count) }, holds: atLeast(float64(s.K)), absorbs: true, least: s.K}, nil
	},
}
