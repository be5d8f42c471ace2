package anon

import (
	"math"
	"math/bits"
	"slices"
)

// axis is a quasi-identifier in the search.
type axis struct {
	name     string
	h        *Hierarchy
	min, max int
	weight   float64
	tuples   []uint32 // the code of each tuple at level 0
	counts   []int64  // rows of the table with each code at level 0
}

// code is that of a tuple at a level.
func (a *axis) code(level int, tuple uint32) uint32 { return a.h.up[level][a.tuples[tuple]] }

// space is what is searched: the distinct tuples of quasi-identifiers of the table
// and its population, how many rows of each there are, and which sensitive values
// these have. Its size is that of the distinct tuples, never the rows.
type space struct {
	axes       []axis
	rows       int64
	count, pop []int64
	sensitive  []spread
	suffix     [][]uint32 // suffix[i][t]: which values tuple t has from axis i on, at their least levels
	tests      []promise
	limit      int64 // rows that may be suppressed
	least      int64 // no class with fewer rows or population passes, whatever it is merged from
	leastPop   int64
	tupleOf    []uint32 // of each row of the table
}

// spread is a histogram for each class, end to end.
type spread struct {
	start  []uint32
	codes  []uint32
	counts []int64
}

func (s *spread) of(class int) histogram {
	a, b := s.start[class], s.start[class+1]
	return histogram{s.codes[a:b], s.counts[a:b]}
}

// grouping is the classes of a table whose first axes are at some levels and whose
// others are at their least.
type grouping struct {
	rep        []uint32 // a tuple of each class
	parent     []uint32 // which values it has on the axes before the last one set
	prefix     []uint32 // and with the last one
	prefixes   int
	count, pop []int64
	sensitive  []spread
}

// numberer gives keys numbers in the order in which they come.
type numberer struct {
	slot []uint32 // number+1
	keys []uint64
	mask uint64
	n    uint32
}

func (d *numberer) reset(most int) {
	size := 1 << bits.Len(uint(2*most+1))
	if len(d.slot) < size {
		d.slot, d.keys = make([]uint32, size), make([]uint64, size)
	} else {
		clear(d.slot[:size])
	}
	d.mask, d.n = uint64(size-1), 0
}

func (d *numberer) number(key uint64) uint32 {
	h := key * 0x9e3779b97f4a7c15 // Fibonacci hashing: the high bits are mixed
	for i := h >> 32 & d.mask; ; i = (i + 1) & d.mask {
		switch {
		case d.slot[i] == 0:
			d.n++
			d.slot[i], d.keys[i] = d.n, key
			return d.n - 1
		case d.keys[i] == key:
			return d.slot[i] - 1
		}
	}
}

// scratch is what one worker groups with.
type scratch struct {
	dense numberer
	sums  []int64 // of prefixes
	pops  []int64
	ids   []uint32
	order []uint32
	acc   []int64
	first []uint32
}

// step sets axis i of g to a level: the classes of out are those of g, which has the
// axis at a lower level or its least, merged. It stops and reports false when too
// many rows lie in prefixes that no level of the later axes can save.
func (s *space) step(w *scratch, g, out *grouping, i, level int) bool {
	n := len(g.rep)
	card := uint64(len(s.axes[i].h.labels[level]))
	up, values := s.axes[i].h.up[level], s.axes[i].tuples
	w.dense.reset(n)
	out.prefix = resize(out.prefix, n)
	for c := range n {
		out.prefix[c] = w.dense.number(uint64(g.parent[c])*card + uint64(up[values[g.rep[c]]]))
	}
	out.prefixes = int(w.dense.n)
	if s.hopeless(w, g, out) {
		return false
	}
	ids, m := out.prefix, out.prefixes
	if i < len(s.axes)-1 {
		suffix := s.suffix[i+1]
		w.dense.reset(n)
		w.ids = resize(w.ids, n)
		for c := range n {
			w.ids[c] = w.dense.number(uint64(out.prefix[c])<<32 | uint64(suffix[g.rep[c]]))
		}
		ids, m = w.ids, int(w.dense.n)
	}
	s.merge(w, g, out, ids, m)
	return true
}

// hopeless tells whether more rows than may be suppressed have prefixes with too
// few rows, or too few people of the population.
func (s *space) hopeless(w *scratch, g, out *grouping) bool {
	if s.least <= 1 && s.leastPop <= 1 {
		return false
	}
	w.sums, w.pops = resize(w.sums, out.prefixes), resize(w.pops, out.prefixes)
	clear(w.sums)
	clear(w.pops)
	for c, p := range out.prefix {
		w.sums[p] += g.count[c]
		if g.pop != nil {
			w.pops[p] += g.pop[c]
		}
	}
	lost := int64(0)
	for p, n := range w.sums {
		if n < s.least || g.pop != nil && w.pops[p] < s.leastPop {
			lost += n
		}
	}
	return lost > s.limit
}

// merge adds up the classes of g that have one id.
func (s *space) merge(w *scratch, g, out *grouping, ids []uint32, m int) {
	out.rep, out.parent = resize(out.rep, m), resize(out.parent, m)
	out.count = resize(out.count, m)
	clear(out.count)
	if g.pop != nil {
		out.pop = resize(out.pop, m)
		clear(out.pop)
	}
	prefix := out.prefix
	for c := range g.rep {
		id := ids[c]
		out.rep[id], out.parent[id] = g.rep[c], g.parent[c]
		out.count[id] += g.count[c]
		if g.pop != nil {
			out.pop[id] += g.pop[c]
		}
	}
	s.mergeSpreads(w, g, out, ids, m)
	// The prefix of each new class: ids came in order, so that going backwards
	// nothing is read after it was written.
	w.first = resize(w.first, m)
	for c := range g.rep {
		w.first[ids[c]] = prefix[c]
	}
	out.prefix = append(out.prefix[:0], w.first...)
}

func (s *space) mergeSpreads(w *scratch, g, out *grouping, ids []uint32, m int) {
	if len(g.sensitive) == 0 {
		return
	}
	// Old classes in the order of the new ones.
	start := resize(w.first, m+1)
	clear(start)
	for _, id := range ids {
		start[id+1]++
	}
	for i := range m {
		start[i+1] += start[i]
	}
	w.order = resize(w.order, len(ids))
	for c, id := range ids {
		w.order[start[id]] = uint32(c)
		start[id]++
	}
	w.first = start
	if len(out.sensitive) != len(g.sensitive) {
		out.sensitive = make([]spread, len(g.sensitive))
	}
	for k := range g.sensitive {
		from, to := &g.sensitive[k], &out.sensitive[k]
		to.start, to.codes, to.counts = append(to.start[:0], 0), to.codes[:0], to.counts[:0]
		at := 0
		for id := range m {
			begin := len(to.codes)
			for ; at < len(w.order) && ids[w.order[at]] == uint32(id); at++ {
				h := from.of(int(w.order[at]))
				for x, code := range h.Codes {
					for len(w.acc) <= int(code) {
						w.acc = append(w.acc, 0)
					}
					if w.acc[code] == 0 {
						to.codes = append(to.codes, code)
					}
					w.acc[code] += h.Counts[x]
				}
			}
			for _, code := range to.codes[begin:] {
				to.counts = append(to.counts, w.acc[code])
				w.acc[code] = 0
			}
			to.start = append(to.start, uint32(len(to.codes)))
		}
	}
}

// base is the grouping in which every tuple is a class.
func (s *space) base() *grouping {
	g := &grouping{rep: make([]uint32, len(s.count)), parent: make([]uint32, len(s.count)), count: s.count, pop: s.pop, sensitive: s.sensitive}
	for t := range g.rep {
		g.rep[t] = uint32(t)
	}
	return g
}

// at groups the tuples by all axes at once, and tells the class of each tuple.
func (s *space) at(w *scratch, levels []int) (*grouping, []uint32) {
	g, out := s.base(), &grouping{}
	keys := make([]uint64, len(g.rep))
	size := uint64(1)
	for i := range s.axes {
		card := uint64(len(s.axes[i].h.labels[levels[i]]))
		if hi, lo := bits.Mul64(size, card); hi != 0 || lo > math.MaxInt64 {
			w.dense.reset(len(keys)) // too many combinations for a key: number those there are
			for t := range keys {
				keys[t] = uint64(w.dense.number(keys[t]))
			}
			size = uint64(w.dense.n)
		}
		size *= card
		up, values := s.axes[i].h.up[levels[i]], s.axes[i].tuples
		for t := range keys {
			keys[t] = keys[t]*card + uint64(up[values[t]])
		}
	}
	w.dense.reset(len(keys))
	ids := make([]uint32, len(keys))
	for t := range keys {
		ids[t] = w.dense.number(keys[t])
	}
	out.prefix, out.prefixes = slices.Clone(ids), int(w.dense.n)
	s.merge(w, g, out, ids, int(w.dense.n))
	return out, ids
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// judge tells which classes pass every test, and how many rows do not. It stops at
// the first row too many.
func (s *space) judge(g *grouping, passes []bool) (lost int64, ok bool) {
	c := alike{Sensitive: make([]histogram, len(g.sensitive))}
	for id := range g.rep {
		c.Count = g.count[id]
		if g.pop != nil {
			c.Population = g.pop[id]
		}
		for k := range g.sensitive {
			c.Sensitive[k] = g.sensitive[k].of(id)
		}
		passes[id] = true
		for i := range s.tests {
			if _, ok := s.tests[i].keeps(&c); ok {
				continue
			}
			if c.Count == 0 {
				return lost, false // nothing to suppress: the people who are not in the table are the problem
			}
			passes[id] = false
			if lost += c.Count; lost > s.limit {
				return lost, false
			}
			break
		}
	}
	return lost, lost < s.rows // a table without rows is no answer
}
