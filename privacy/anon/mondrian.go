package anon

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Mondrian (LeFevre, DeWitt and Ramakrishnan, 2006) cuts the rows in two, and those
// in two again, as long as both parts keep every promise; each part's labels then
// say what its rows have in common. A column of numbers is cut at the median: rows
// equal to it stay together when cutting is strict, and are shared out evenly when
// it is relaxed. A column with a hierarchy is cut into the branches below the
// label that the part has in common. The widest column is cut first.
//
// It is local recoding: a value may get one label here and another there, which
// loses less than a level for all, and is harder to analyse.

// cutter is a quasi-identifier that is cut.
type cutter struct {
	q       quasi
	leaf    []uint32  // of the hierarchy, of each value
	numbers []float64 // of each value, when it is cut as numbers
	rank    []int     // of each value in their order
	values  int
}

func newCutter(q quasi, spec *HierarchySpec) (*cutter, error) {
	c := &cutter{q: q}
	for _, v := range q.column.Values {
		c.leaf = append(c.leaf, q.h.index[v])
	}
	numbers, err := numbersOf(q.column.Values)
	given := spec.File != "" || spec.Dates != nil || spec.Mask != ""
	if given || err != nil || slices.ContainsFunc(numbers, math.IsNaN) {
		if top := q.h.labels[q.h.Levels()-1]; len(top) != 1 {
			return nil, fmt.Errorf("quasi: %s: the last level of the hierarchy must be one label, such as *", q.column.Name)
		}
		return c, nil
	}
	c.numbers = numbers
	order := slices.Clone(numbers)
	slices.Sort(order)
	order = slices.Compact(order)
	c.values = len(order)
	for _, x := range numbers {
		at, _ := slices.BinarySearch(order, x)
		c.rank = append(c.rank, at)
	}
	return c, nil
}

// ancestor is the lowest level at which rows have one label, and its code.
func (c *cutter) ancestor(rows []uint32) (level int, code uint32) {
	h, column := c.q.h, c.q.column
	at := func(level int, row uint32) uint32 { return h.up[level][c.leaf[column.Codes[row]]] }
	for level = c.q.min; ; level++ {
		code = at(level, rows[0])
		if level == h.Levels()-1 || !slices.ContainsFunc(rows, func(r uint32) bool { return at(level, r) != code }) {
			return level, code
		}
	}
}

// width is which part of all values the rows span.
func (c *cutter) width(rows []uint32) float64 {
	if c.numbers == nil {
		level, code := c.ancestor(rows)
		if level == c.q.min {
			return 0
		}
		return c.q.h.share(level, code)
	}
	low, high := c.span(rows)
	if c.values < 2 {
		return 0
	}
	return float64(high-low) / float64(c.values-1)
}

func (c *cutter) span(rows []uint32) (low, high int) {
	codes := c.q.column.Codes
	low, high = c.rank[codes[rows[0]]], c.rank[codes[rows[0]]]
	for _, r := range rows {
		low, high = min(low, c.rank[codes[r]]), max(high, c.rank[codes[r]])
	}
	return low, high
}

// cut parts the rows, or returns nil when they cannot be.
func (c *cutter) cut(rows []uint32, relaxed bool) [][]uint32 {
	codes := c.q.column.Codes
	if c.numbers == nil {
		level, _ := c.ancestor(rows)
		if level == c.q.min {
			return nil
		}
		parts := map[uint32][]uint32{}
		for _, r := range rows {
			k := c.q.h.up[level-1][c.leaf[codes[r]]]
			parts[k] = append(parts[k], r)
		}
		keys := make([]uint32, 0, len(parts))
		for k := range parts {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		var out [][]uint32
		for _, k := range keys {
			out = append(out, parts[k])
		}
		return out
	}
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b uint32) int { return cmp.Compare(c.rank[codes[a]], c.rank[codes[b]]) })
	middle := len(sorted) / 2
	if !relaxed {
		median := c.rank[codes[sorted[(len(sorted)-1)/2]]]
		middle, _ = slices.BinarySearchFunc(sorted, median+1, func(r uint32, x int) int { return cmp.Compare(c.rank[codes[r]], x) })
	}
	if middle == 0 || middle == len(sorted) || c.rank[codes[sorted[0]]] == c.rank[codes[sorted[len(sorted)-1]]] {
		return nil
	}
	return [][]uint32{sorted[:middle], sorted[middle:]}
}

// label is what the rows have in common, and which part of all values it is.
func (c *cutter) label(rows []uint32) (string, float64) {
	if c.numbers == nil {
		level, code := c.ancestor(rows)
		return c.q.h.labels[level][code], c.q.h.share(level, code)
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		x := c.numbers[c.q.column.Codes[r]]
		low, high = min(low, x), max(high, x)
	}
	a, b := c.span(rows)
	return rangeText(low, high), float64(b-a+1) / float64(c.values)
}

// local recodes by Mondrian.
func (r *Release) local(ctx context.Context, q []quasi, relaxed bool) error {
	var cutters []*cutter
	for i, x := range q {
		c, err := newCutter(x, &r.Policy.Quasi[i].Hierarchy)
		if err != nil {
			return err
		}
		cutters = append(cutters, c)
		r.quasi = append(r.quasi, recoded{from: x.column, codes: make([]uint32, r.table.Rows)})
		r.hierarchy = append(r.hierarchy, x.h)
		r.levels = append(r.levels, -1)
	}
	all := make([]uint32, r.table.Rows)
	for row := range all {
		all[row] = uint32(row)
	}
	keeps := r.keeps()
	if text := keeps(all); text != "" {
		return fmt.Errorf("%w: even the whole table as one class breaks its promises: %s", ErrNoSolution, text)
	}
	r.class = make([]uint32, r.table.Rows)
	index := make([]map[string]uint32, len(q))
	classes := map[string]uint32{}
	for i := range index {
		index[i] = map[string]uint32{}
	}
	todo := [][]uint32{all}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if parts := divide(cutters, rows, relaxed, keeps); parts != nil {
			todo = append(todo, parts...)
			continue
		}
		var key strings.Builder
		for i, c := range cutters {
			label, share := c.label(rows)
			code, ok := index[i][label]
			if !ok {
				code = uint32(len(r.quasi[i].labels))
				index[i][label] = code
				r.quasi[i].labels, r.quasi[i].shares = append(r.quasi[i].labels, label), append(r.quasi[i].shares, share)
			}
			fmt.Fprintf(&key, "%d,", code)
			for _, row := range rows {
				r.quasi[i].codes[row] = code
			}
		}
		// Two parts may have the same labels, and are one class then: promises
		// that hold of both hold of both together.
		class, ok := classes[key.String()]
		if !ok {
			class = uint32(len(classes))
			classes[key.String()] = class
		}
		for _, row := range rows {
			r.class[row] = class
		}
	}
	r.Classes = int64(len(classes))
	return nil
}

// divide cuts at the widest column at which every part keeps its promises.
func divide(cutters []*cutter, rows []uint32, relaxed bool, keeps func([]uint32) string) [][]uint32 {
	widths := make([]float64, len(cutters))
	order := make([]int, len(cutters))
	for i, c := range cutters {
		widths[i], order[i] = c.width(rows)*c.q.weight, i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(widths[b], widths[a]) })
	for _, i := range order {
		parts := cutters[i].cut(rows, relaxed)
		if len(parts) > 0 && !slices.ContainsFunc(parts, func(p []uint32) bool { return keeps(p) != "" }) && !(len(parts) == 1) {
			return parts
		}
	}
	return nil
}

// keeps tells which promise rows break when they are a class, "" for none.
func (r *Release) keeps() func(rows []uint32) string {
	c := alike{Sensitive: make([]histogram, len(r.sensitive))}
	acc := make([][]int64, len(r.sensitive))
	for i, s := range r.sensitive {
		acc[i] = make([]int64, len(s.Values))
	}
	return func(rows []uint32) string {
		c.Count = int64(len(rows))
		for i, s := range r.sensitive {
			h := &c.Sensitive[i]
			h.Codes, h.Counts = h.Codes[:0], h.Counts[:0]
			for _, row := range rows {
				if acc[i][s.Codes[row]] == 0 {
					h.Codes = append(h.Codes, s.Codes[row])
				}
				acc[i][s.Codes[row]]++
			}
			for _, code := range h.Codes {
				h.Counts = append(h.Counts, acc[i][code])
				acc[i][code] = 0
			}
		}
		for i := range r.tests {
			if v, ok := r.tests[i].keeps(&c); !ok {
				return fmt.Sprintf("%s is %.4g", r.tests[i].Spec.Model, v)
			}
		}
		return ""
	}
}
