package anon

import "fmt"

// kMap (Sweeney, 2002): every row looks like at least k people of a population
// table, which the table is a part of.
var kMap = Model{
	Name:       "k-map",
	Doc:        "every row looks like at least k people of the population table",
	Guards:     "picking out a person's row by looking people up in a register of the population",
	Population: true,
	bind: func(s *ModelSpec, _ *Reference) (test, error) {
		if s.K < 2 {
			return test{}, fmt.Errorf("k is %d: it must be at least 2", s.K)
		}
		return test{value: func(c *alike) float64 { return float64(c.Population) }, holds: atLeast(float64(s.K)), absorbs: true}, nil
	},
}

// deltaPresence (Nergiz, Atzori and Clifton, 2007): of the people of the population
// table who look alike, a share of at least min and at most max is in the table.
var deltaPresence = Model{
	Name:       "delta-presence",
	Doc:        "of the people of the population table who look alike, a share between min and max is in the table",
	Guards:     "learning that a person is in the table at all, or is not",
	Population: true,
	bind: func(s *ModelSpec, _ *Reference) (test, error) {
		if s.Min < 0 || !(s.Max > s.Min) || s.Max > 1 {
			return test{}, fmt.Errorf("min %v and max %v: they must satisfy 0 <= min < max <= 1", s.Min, s.Max)
		}
		value := func(c *alike) float64 { return float64(c.Count) / float64(c.Population) }
		holds := func(v float64) bool { return v >= s.Min-within && v <= s.Max+within }
		return test{value: value, holds: holds, empty: s.Min > 0}, nil
	},
}
