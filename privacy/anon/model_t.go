package anon

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// tCloseness (Li, Li and Venkatasubramanian, 2007): the sensitive values of every
// class are distributed as in the whole table, to within an earth mover's distance
// of t.
var tCloseness = Model{
	Name:      "t-closeness",
	Doc:       "the sensitive values of every class are distributed almost as in the whole table",
	Guards:    "learning more about a person's sensitive value than the whole table tells of anybody",
	Sensitive: true,
	bind: func(s *ModelSpec, ref *Reference) (test, error) {
		if !(s.T > 0) || s.T > 1 {
			return test{}, fmt.Errorf("t is %v: it must be above 0 and at most 1", s.T)
		}
		if s.Distance == "" {
			s.Distance = "equal"
		}
		i := slices.IndexFunc(distances, func(d distance) bool { return d.name == s.Distance })
		if i < 0 {
			return test{}, fmt.Errorf("distance %q: give equal, ordered or hierarchical", s.Distance)
		}
		total := int64(0)
		for _, n := range ref.Counts {
			total += n
		}
		q := make([]float64, len(ref.Counts))
		for i, n := range ref.Counts {
			q[i] = float64(n) / float64(total)
		}
		value, err := distances[i].bind(s, ref, q)
		if err != nil {
			return test{}, err
		}
		return test{value: value, holds: atMost(s.T)}, nil
	},
}

// distance is a ground distance between sensitive values, scaled to at most 1.
type distance struct {
	name string
	bind func(s *ModelSpec, ref *Reference, q []float64) (func(*alike) float64, error)
}

var distances = []distance{{"equal", equalDistance}, {"ordered", orderedDistance}, {"hierarchical", hierarchicalDistance}}

// equalDistance: every two values are as far apart; half the sum of differences.
func equalDistance(_ *ModelSpec, ref *Reference, q []float64) (func(*alike) float64, error) {
	return func(c *alike) float64 {
		h, sum := c.histogram(ref), 1.0
		for i, code := range h.Codes {
			sum += math.Abs(float64(h.Counts[i])/float64(c.Count)-q[code]) - q[code]
		}
		return sum / 2
	}, nil
}

// orderedDistance: values in a row, each a step from the next; the sum of the
// differences of the cumulative distributions over the number of steps.
func orderedDistance(s *ModelSpec, ref *Reference, q []float64) (func(*alike) float64, error) {
	rank, err := ranks(s, ref)
	if err != nil {
		return nil, err
	}
	m := len(q)
	if m == 1 {
		return func(*alike) float64 { return 0 }, nil
	}
	cumulative := make([]float64, m) // of the whole table, by rank
	for code, r := range rank {
		cumulative[r] = q[code]
	}
	for i := 1; i < m; i++ {
		cumulative[i] += cumulative[i-1]
	}
	return func(c *alike) float64 {
		h := c.histogram(ref)
		at := make([]int, len(h.Codes))
		for i := range at {
			at[i] = i
		}
		slices.SortFunc(at, func(a, b int) int { return cmp.Compare(rank[h.Codes[a]], rank[h.Codes[b]]) })
		sum, seen, next := 0.0, int64(0), 0
		for r := range m - 1 {
			for next < len(at) && rank[h.Codes[at[next]]] == r {
				seen += h.Counts[at[next]]
				next++
			}
			sum += math.Abs(float64(seen)/float64(c.Count) - cumulative[r])
		}
		return sum / float64(m-1)
	}, nil
}

// ranks is the place of each code in the order of the values.
func ranks(s *ModelSpec, ref *Reference) ([]int, error) {
	order := make([]int, len(ref.Values))
	for i := range order {
		order[i] = i
	}
	if len(s.Order) > 0 {
		at := map[string]int{}
		for i, v := range s.Order {
			if _, twice := at[v]; twice {
				return nil, fmt.Errorf("order names %q twice", v)
			}
			at[v] = i
		}
		for _, v := range ref.Values {
			if _, ok := at[v]; !ok {
				return nil, fmt.Errorf("order does not name value %q", v)
			}
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(at[ref.Values[a]], at[ref.Values[b]]) })
	} else if x, err := numbersOf(ref.Values); err == nil {
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	} else {
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(ref.Values[a], ref.Values[b]) })
	}
	rank := make([]int, len(order))
	for r, code := range order {
		rank[code] = r
	}
	return rank, nil
}

// hierarchicalDistance: how high the closest common ancestor of two values stands.
// Mass moves within a branch before it moves between branches, so that the cost of
// a branch is its height times what can be evened out inside it (section 4.2 of
// the paper).
func hierarchicalDistance(s *ModelSpec, ref *Reference, q []float64) (func(*alike) float64, error) {
	h, err := distanceHierarchy(s, ref)
	if err != nil {
		return nil, err
	}
	top := h.Levels() - 1
	if top < 1 || len(h.labels[top]) != 1 {
		return nil, errors.New("the last level of the hierarchy must be one label, such as *")
	}
	leaf := make([]uint32, len(ref.Values)) // of the hierarchy, by code
	full := make([]float64, h.Values())
	for code, v := range ref.Values {
		at, ok := h.index[v]
		if !ok {
			return nil, fmt.Errorf("value %q is not in the hierarchy: add a line for it", v)
		}
		leaf[code], full[at] = at, q[code]
	}
	up := make([][]uint32, top+1)
	for level := 1; level <= top; level++ {
		up[level] = parents(h, level)
	}
	return func(c *alike) float64 {
		extra := make([]float64, len(full))
		for i, x := range full {
			extra[i] = -x
		}
		sensitive := c.histogram(ref)
		for i, code := range sensitive.Codes {
			extra[leaf[code]] += float64(sensitive.Counts[i]) / float64(c.Count)
		}
		cost := 0.0
		for level := 1; level <= top; level++ {
			more, less := make([]float64, len(h.labels[level])), make([]float64, len(h.labels[level]))
			for i, x := range extra {
				if x > 0 {
					more[up[level][i]] += x
				} else {
					less[up[level][i]] -= x
				}
			}
			extra = extra[:len(more)]
			for i := range more {
				cost += float64(level) / float64(top) * min(more[i], less[i])
				extra[i] = more[i] - less[i]
			}
		}
		return cost
	}, nil
}

// parents are the codes at a level of the codes of the level below.
func parents(h *Hierarchy, level int) []uint32 {
	out := make([]uint32, len(h.labels[level-1]))
	for v, low := range h.up[level-1] {
		out[low] = h.up[level][v]
	}
	return out
}

// distanceHierarchy is that of the policy, or, when claims are verified, of its
// lines in the claims; the spec keeps the lines.
func distanceHierarchy(s *ModelSpec, ref *Reference) (*Hierarchy, error) {
	if s.Paths != nil {
		if len(s.Paths[0]) > MaxLevels {
			return nil, fmt.Errorf("the hierarchy has more than %d levels", MaxLevels)
		}
		b := newBuilder(len(s.Paths[0]))
		for _, p := range s.Paths {
			if len(p) == 0 {
				return nil, errors.New("the hierarchy has an empty line")
			}
			if err := b.add(p); err != nil {
				return nil, err
			}
		}
		return b.build()
	}
	if s.Hierarchy.File == "" {
		return nil, errors.New("hierarchical distance needs hierarchy: {file: ...} of the sensitive values")
	}
	h, err := s.Hierarchy.Make(ref.Values, ref.Counts)
	if err != nil {
		return nil, err
	}
	for v := range h.up[0] {
		path := make([]string, h.Levels())
		for l := range path {
			path[l] = h.labels[l][h.up[l][v]]
		}
		s.Paths = append(s.Paths, path)
	}
	return h, nil
}
