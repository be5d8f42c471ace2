package anon

import (
	"fmt"
	"slices"
)

// quasi is a quasi-identifier of a policy with its hierarchy.
type quasi struct {
	column   *Column
	h        *Hierarchy
	min, max int
	weight   float64
}

// newSpace reduces a table to its distinct tuples. The population, if there is one,
// has a column for each quasi-identifier, whose values the hierarchies know.
func newSpace(q []quasi, sensitive []*Column, tests []promise, rows int, limit int64, population []*Column, people int) *space {
	s := &space{rows: int64(rows), tests: tests, limit: limit, least: 1}
	for _, x := range q {
		s.axes = append(s.axes, axis{name: x.column.Name, h: x.h, min: x.min, max: x.max, weight: x.weight, counts: make([]int64, x.h.Values())})
	}
	for _, t := range tests {
		s.least = max(s.least, t.least)
		if t.Spec.Model == kMap.Name {
			s.leastPop = max(s.leastPop, t.Spec.K)
		}
	}
	var columns []*Column
	for _, x := range q {
		columns = append(columns, x.column)
	}
	s.tupleOf = s.addTuples(columns, rows, &s.count)
	if population != nil {
		s.addPopulation(columns, population, rows, people)
	}
	s.fillAxes()
	s.spreads(sensitive, rows)
	return s
}

// addTuples numbers the distinct combinations of codes of the hierarchies and
// counts them. The rows of columns that are given together share the numbers.
func (s *space) addTuples(columns []*Column, rows int, counts *[]int64) []uint32 {
	ids := make([]uint32, rows)
	var d numberer
	for i, c := range columns {
		to := s.codes(i, c)
		d.reset(min(rows, 1<<16))
		next := make([]uint32, rows)
		for r := range ids {
			d.grow()
			next[r] = d.number(uint64(ids[r])<<32 | uint64(to[c.Codes[r]]))
		}
		ids = next
	}
	n := 0
	for _, id := range ids {
		n = max(n, int(id)+1)
	}
	*counts = make([]int64, n)
	for _, id := range ids {
		(*counts)[id]++
	}
	for i, c := range columns {
		to := s.codes(i, c)
		s.axes[i].tuples = make([]uint32, n)
		for r, id := range ids {
			s.axes[i].tuples[id] = to[c.Codes[r]]
		}
	}
	return ids
}

// codes is the code in the hierarchy of axis i for each value of a column.
func (s *space) codes(i int, c *Column) []uint32 {
	out := make([]uint32, len(c.Values))
	for v, text := range c.Values {
		out[v] = s.axes[i].h.index[text]
	}
	return out
}

// addPopulation numbers the tuples of table and population together.
func (s *space) addPopulation(columns, population []*Column, rows, people int) {
	both := make([]*Column, len(columns))
	for i := range columns {
		codes := append(s.recode(i, columns[i]), s.recode(i, population[i])...)
		both[i] = &Column{Name: columns[i].Name, Values: s.axes[i].h.labels[0], Codes: codes}
	}
	var all []int64
	ids := s.addTuples(both, rows+people, &all)
	s.tupleOf, s.count, s.pop = ids[:rows], make([]int64, len(all)), make([]int64, len(all))
	for r, id := range ids {
		if r < rows {
			s.count[id]++
		} else {
			s.pop[id]++
		}
	}
}

// recode writes a column in the codes of the hierarchy.
func (s *space) recode(i int, c *Column) []uint32 {
	to := s.codes(i, c)
	out := make([]uint32, len(c.Codes))
	for r, code := range c.Codes {
		out[r] = to[code]
	}
	return out
}

// fillAxes counts the rows of each value, and numbers the ends of tuples.
func (s *space) fillAxes() {
	n := len(s.count)
	for i := range s.axes {
		a := &s.axes[i]
		for t, v := range a.tuples {
			a.counts[v] += s.count[t]
		}
	}
	s.suffix = make([][]uint32, len(s.axes)+1)
	s.suffix[len(s.axes)] = make([]uint32, n)
	var d numberer
	for i := len(s.axes) - 1; i > 0; i-- {
		d.reset(n)
		s.suffix[i] = make([]uint32, n)
		for t := range n {
			s.suffix[i][t] = d.number(uint64(s.suffix[i+1][t])<<32 | uint64(s.axes[i].code(s.axes[i].min, uint32(t))))
		}
	}
}

// spreads counts the sensitive values of each tuple.
func (s *space) spreads(columns []*Column, rows int) {
	n := len(s.count)
	start := make([]uint32, n+1)
	for _, t := range s.tupleOf {
		start[t+1]++
	}
	for t := range n {
		start[t+1] += start[t]
	}
	order := make([]uint32, rows)
	next := slices.Clone(start)
	for r, t := range s.tupleOf {
		order[next[t]] = uint32(r)
		next[t]++
	}
	for _, c := range columns {
		sp := spread{start: make([]uint32, 1, n+1)}
		acc := make([]int64, len(c.Values))
		for t := range n {
			begin := len(sp.codes)
			for _, r := range order[start[t]:start[t+1]] {
				if acc[c.Codes[r]] == 0 {
					sp.codes = append(sp.codes, c.Codes[r])
				}
				acc[c.Codes[r]]++
			}
			for _, code := range sp.codes[begin:] {
				sp.counts = append(sp.counts, acc[code])
				acc[code] = 0
			}
			sp.start = append(sp.start, uint32(len(sp.codes)))
		}
		s.sensitive = append(s.sensitive, sp)
	}
}

// grow doubles the table when it is half full.
func (d *numberer) grow() {
	if uint64(d.n)*2 < d.mask {
		return
	}
	old, keys := d.slot[:d.mask+1], d.keys
	d.slot, d.keys = make([]uint32, 2*len(old)), make([]uint64, 2*len(old))
	d.mask = uint64(len(d.slot) - 1)
	for i, n := range old {
		if n == 0 {
			continue
		}
		h := keys[i] * 0x9e3779b97f4a7c15
		j := h >> 32 & d.mask
		for d.slot[j] != 0 {
			j = (j + 1) & d.mask
		}
		d.slot[j], d.keys[j] = n, keys[i]
	}
}

// describe writes levels with their names.
func (s *space) describe(levels []int) string {
	out := ""
	for i, l := range levels {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%s %d of %d", s.axes[i].name, l, s.axes[i].h.Levels()-1)
	}
	return out
}
