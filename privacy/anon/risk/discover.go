package risk

import (
	"cmp"
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/anon"
)

// Set is a set of columns, and how well it tells rows apart (Motwani and Xu, 2007).
type Set struct {
	Columns    []string `json:"columns"`
	Distinct   float64  `json:"distinct"`   // different combinations of values a row
	Separation float64  `json:"separation"` // share of pairs of rows that differ
	Unique     float64  `json:"unique"`     // share of rows that look like no other
}

// Discovery is which columns tell people apart.
type Discovery struct {
	Columns  []Set `json:"columns"`     // each alone, the best first
	Sets     []Set `json:"sets"`        // of several, the best first, at most 50
	Keys     []Set `json:"unique_sets"` // smallest sets in which every row is unique
	Looked   int   `json:"looked_at"`
	Complete bool  `json:"complete"` // every set of up to so many columns was looked at
}

// DiscoverOptions bound the search.
type DiscoverOptions struct {
	Columns []string // among which; empty for all
	Most    int      // columns in a set; 0 for 4
	Sets    int      // sets that are looked at; 0 for 20,000
}

// Discover looks for sets of columns that tell the rows of a table apart: those by
// which people are found when somebody knows that much of them. Sets that contain a
// unique one are left out.
func Discover(ctx context.Context, t *anon.Table, opt DiscoverOptions) (*Discovery, error) {
	d := &discovery{ctx: ctx, table: t, most: cmp.Or(opt.Most, 4), left: cmp.Or(opt.Sets, 20_000), found: &Discovery{Complete: true}}
	for i := range t.Columns {
		if len(opt.Columns) == 0 || slices.Contains(opt.Columns, t.Columns[i].Name) {
			d.columns = append(d.columns, &t.Columns[i])
		}
	}
	for _, n := range opt.Columns {
		if _, err := t.Column(n); err != nil {
			return nil, err
		}
	}
	// Sets of one column, then of two, and so on: a unique set is known before
	// those that contain it, and a budget ends with the small ones done.
	for size := 1; size <= min(d.most, len(d.columns)); size++ {
		d.size = size
		d.grow(nil, 0, make([]uint32, t.Rows), 1)
	}
	better := func(a, b Set) int {
		return cmp.Or(cmp.Compare(b.Unique, a.Unique), cmp.Compare(b.Separation, a.Separation))
	}
	slices.SortStableFunc(d.found.Columns, better)
	slices.SortStableFunc(d.found.Sets, better)
	d.found.Sets = d.found.Sets[:min(50, len(d.found.Sets))]
	return d.found, ctx.Err()
}

type discovery struct {
	ctx     context.Context
	table   *anon.Table
	columns []*anon.Column
	keys    [][]int
	most    int
	size    int
	left    int
	found   *Discovery
}

// grow adds each column from the given one on to a set whose combinations are
// numbered.
func (d *discovery) grow(set []int, from int, ids []uint32, groups int) {
	for i := from; i < len(d.columns); i++ {
		set := append(slices.Clone(set), i)
		if slices.ContainsFunc(d.keys, func(k []int) bool { return contains(set, k) }) {
			continue
		}
		if d.left == 0 || d.ctx.Err() != nil {
			d.found.Complete = false
			return
		}
		next, n := number(ids, groups, d.columns[i])
		if len(set) < d.size {
			d.grow(set, i+1, next, n)
			continue
		}
		d.left--
		d.enter(set, next, n)
	}
}

func contains(set, part []int) bool {
	return !slices.ContainsFunc(part, func(i int) bool { return !slices.Contains(set, i) })
}

// number numbers the combinations of groups and the values of a column.
func number(ids []uint32, groups int, c *anon.Column) ([]uint32, int) {
	out := make([]uint32, len(ids))
	if size := groups * len(c.Values); size <= 4*len(ids)+1024 {
		seen, n := make([]uint32, size), uint32(0)
		for row, id := range ids {
			k := int(id)*len(c.Values) + int(c.Codes[row])
			if seen[k] == 0 {
				n++
				seen[k] = n
			}
			out[row] = seen[k] - 1
		}
		return out, int(n)
	}
	seen := make(map[uint64]uint32, groups)
	for row, id := range ids {
		k := uint64(id)<<32 | uint64(c.Codes[row])
		n, ok := seen[k]
		if !ok {
			n = uint32(len(seen))
			seen[k] = n
		}
		out[row] = n
	}
	return out, len(seen)
}

// enter notes a set.
func (d *discovery) enter(set []int, ids []uint32, groups int) {
	counts := make([]int64, groups)
	for _, id := range ids {
		counts[id]++
	}
	rows := float64(len(ids))
	s := Set{Distinct: float64(groups) / rows, Separation: 1}
	same := 0.0
	for _, n := range counts {
		same += float64(n) * float64(n-1)
		if n == 1 {
			s.Unique += 1 / rows
		}
	}
	if rows > 1 {
		s.Separation = 1 - same/(rows*(rows-1))
	}
	for _, i := range set {
		s.Columns = append(s.Columns, d.columns[i].Name)
	}
	d.found.Looked++
	if len(set) == 1 {
		d.found.Columns = append(d.found.Columns, s)
	} else {
		d.found.Sets = append(d.found.Sets, s)
	}
	if groups == len(ids) && rows > 1 {
		s.Unique = 1
		d.keys = append(d.keys, set)
		d.found.Keys = append(d.found.Keys, s)
	}
}
