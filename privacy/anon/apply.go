package anon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/anon/table"
)

// Progress is told what is being done, and how much of how much is.
type Progress func(stage string, done, all int64)

func (p Progress) of(stage string) func(done, all int64) {
	if p == nil {
		return nil
	}
	return func(done, all int64) { p(stage, done, all) }
}

// Release is a table that keeps its policy's promises, ready to be written.
type Release struct {
	Policy     *Policy
	Found      *Found // nil after local recoding
	Classes    int64
	Suppressed int64
	Utility    Utility
	quasi      []recoded
	sensitive  []*Column
	tests      []promise
	references []Reference
	table      *Table
	hierarchy  []*Hierarchy
	levels     []int
	lost       []bool // rows that are suppressed
	class      []uint32
}

// recoded is a quasi-identifier after recoding: a label for each row.
type recoded struct {
	from   *Column
	labels []string
	shares []float64 // which part of all values each label stands for
	codes  []uint32
}

// Apply recodes a table so that the policy's models hold, losing as little as it
// can. The table is not changed. When nothing can satisfy the policy the error is
// [ErrNoSolution] and says why.
func Apply(ctx context.Context, p *Policy, t *Table, progress Progress) (*Release, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.roles(t); err != nil {
		return nil, err
	}
	r := &Release{Policy: p, table: t}
	population, err := p.readPopulation(ctx, progress)
	if err != nil {
		return nil, err
	}
	q, people, err := p.quasi(t, population)
	if err != nil {
		return nil, err
	}
	for _, name := range p.Sensitive {
		c, err := t.Column(name)
		if err != nil {
			return nil, err
		}
		r.sensitive = append(r.sensitive, c)
		r.references = append(r.references, Reference{Column: name, Values: c.Values, Counts: c.Counts})
	}
	if r.tests, err = bindAll(p.Models, r.references); err != nil {
		return nil, err
	}
	r.lost = make([]bool, t.Rows)
	if p.Recoding == "strict" || p.Recoding == "relaxed" {
		err = r.local(ctx, q, p.Recoding == "relaxed")
	} else {
		err = r.global(ctx, q, people, population, progress)
	}
	if err != nil {
		return nil, err
	}
	r.measure(ctx, progress)
	return r, ctx.Err()
}

func (p *Policy) readPopulation(ctx context.Context, progress Progress) (*Table, error) {
	if p.Population == "" {
		return nil, nil
	}
	t, err := ReadTable(ctx, p.Population, nil, progress.of("reading the population"))
	if err != nil {
		return nil, fmt.Errorf("population: %w", err)
	}
	return t, nil
}

// quasi finds the columns and makes their hierarchies, for the values of the
// population too.
func (p *Policy) quasi(t, population *Table) (out []quasi, people []*Column, err error) {
	for _, s := range p.Quasi {
		c, err := t.Column(s.Column)
		if err != nil {
			return nil, nil, err
		}
		values, counts := c.Values, c.Counts
		if population != nil {
			other, err := population.Column(s.Column)
			if err != nil {
				return nil, nil, fmt.Errorf("population: %w", err)
			}
			people = append(people, other)
			values, counts = union(c, other)
		}
		h, err := s.Hierarchy.Make(values, counts)
		if err != nil {
			return nil, nil, fmt.Errorf("quasi: %s: %w", s.Column, err)
		}
		q := quasi{column: c, h: h, min: s.Least, max: h.Levels() - 1, weight: cmp.Or(s.Weight, 1)}
		if s.Most != nil {
			q.max = *s.Most
		}
		if q.max >= h.Levels() || q.min > q.max {
			return nil, nil, fmt.Errorf("quasi: %s: least %d and most %d: the hierarchy has levels 0 to %d", s.Column, s.Least, q.max, h.Levels()-1)
		}
		out = append(out, q)
	}
	return out, people, nil
}

// union is the values of two columns, and how often they occur in both.
func union(a, b *Column) (values []string, counts []int64) {
	at := map[string]int{}
	for _, c := range []*Column{a, b} {
		for i, v := range c.Values {
			k, ok := at[v]
			if !ok {
				k = len(values)
				at[v] = k
				values, counts = append(values, v), append(counts, 0)
			}
			counts[k] += c.Counts[i]
		}
	}
	return values, counts
}

// global recodes every value of a column to the same level.
func (r *Release) global(ctx context.Context, q []quasi, people []*Column, population *Table, progress Progress) error {
	metric, err := metricOf(r.Policy.Metric)
	if err != nil {
		return err
	}
	persons := 0
	if population != nil {
		persons = population.Rows
	}
	limit := int64(math.Floor(r.Policy.Suppression * float64(r.table.Rows)))
	// The axes with most values come first: they fill small classes soonest, and
	// what is left of a branch is cheap.
	order := make([]int, len(q))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(q[b].column.Values), len(q[a].column.Values)) })
	sorted, sortedPeople := make([]quasi, len(q)), []*Column(nil)
	for i, at := range order {
		sorted[i] = q[at]
		if people != nil {
			sortedPeople = append(sortedPeople, people[at])
		}
	}
	s := newSpace(sorted, r.sensitive, r.tests, r.table.Rows, limit, sortedPeople, persons)
	if r.Found, err = s.optimise(ctx, metric, r.Policy.budget(), progress.of("searching, groupings")); err != nil {
		return err
	}
	var w scratch
	g, classOf := s.at(&w, r.Found.Levels)
	passes := make([]bool, len(g.rep))
	s.judge(g, passes)
	r.class = make([]uint32, r.table.Rows)
	for row, tuple := range s.tupleOf {
		r.class[row] = classOf[tuple]
		r.lost[row] = !passes[classOf[tuple]]
	}
	for c, n := range g.count {
		if n > 0 && passes[c] {
			r.Classes++
		} else if n > 0 {
			r.Suppressed += n
		}
	}
	levels := make([]int, len(q))
	for i, at := range order {
		levels[at] = r.Found.Levels[i]
	}
	r.Found.Levels, r.levels = levels, levels
	for i, x := range q {
		r.hierarchy = append(r.hierarchy, x.h)
		r.quasi = append(r.quasi, recodeGlobally(x, levels[i]))
	}
	return nil
}

func recodeGlobally(q quasi, level int) recoded {
	out := recoded{from: q.column, labels: q.h.labels[level], codes: make([]uint32, len(q.column.Codes))}
	for c := range out.labels {
		out.shares = append(out.shares, q.h.share(level, uint32(c)))
	}
	to := make([]uint32, len(q.column.Values))
	for v, text := range q.column.Values {
		to[v] = q.h.up[level][q.h.index[text]]
	}
	for row, code := range q.column.Codes {
		out.codes[row] = to[code]
	}
	return out
}

// Names are those of the released columns.
func (r *Release) Names() []string {
	var out []string
	for _, c := range r.table.Columns {
		if !slices.Contains(r.Policy.Drop, c.Name) {
			out = append(out, c.Name)
		}
	}
	return out
}

// Write writes the released rows in the format that the ending of name tells. They
// are sorted, for the order of rows may say whose they are.
func (r *Release) Write(w io.Writer, name string) error {
	to, err := table.NewWriter(w, name, r.Names(), r.table.comma)
	if err != nil {
		return err
	}
	columns := r.columns()
	rows := r.sorted(columns)
	cells := make([]string, len(columns))
	for _, row := range rows {
		for i, c := range columns {
			cells[i] = c.labels[c.codes[row]]
			if r.lost[row] && c.secret {
				cells[i] = suppressedLabel
			}
		}
		if err := to.Write(cells); err != nil {
			return err
		}
	}
	return to.Close()
}

// released is a column as it is written.
type released struct {
	labels []string
	codes  []uint32
	rank   []uint32
	secret bool // masked in suppressed rows
}

func (r *Release) columns() []released {
	var out []released
	for i := range r.table.Columns {
		c := &r.table.Columns[i]
		q := slices.IndexFunc(r.quasi, func(q recoded) bool { return q.from == c })
		switch {
		case q >= 0:
			out = append(out, released{labels: r.quasi[q].labels, codes: r.quasi[q].codes, secret: true})
		case slices.Contains(r.Policy.Sensitive, c.Name):
			out = append(out, released{labels: c.Values, codes: c.Codes, secret: true})
		case slices.Contains(r.Policy.Keep, c.Name):
			out = append(out, released{labels: c.Values, codes: c.Codes})
		}
	}
	for i := range out {
		order := make([]uint32, len(out[i].labels))
		for k := range order {
			order[k] = uint32(k)
		}
		slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(out[i].labels[a], out[i].labels[b]) })
		out[i].rank = make([]uint32, len(order))
		for k, code := range order {
			out[i].rank[code] = uint32(k)
		}
	}
	return out
}

// sorted is the rows that are written, suppressed ones last.
func (r *Release) sorted(columns []released) []uint32 {
	rows := make([]uint32, 0, r.table.Rows)
	for row := range r.table.Rows {
		if !r.lost[row] || r.Policy.Suppressed == "mask" {
			rows = append(rows, uint32(row))
		}
	}
	slices.SortFunc(rows, func(a, b uint32) int {
		if r.lost[a] != r.lost[b] {
			if r.lost[a] {
				return 1
			}
			return -1
		}
		for _, c := range columns {
			if c.secret && r.lost[a] {
				continue // what is masked must not show in the order
			}
			if x := cmp.Compare(c.rank[c.codes[a]], c.rank[c.codes[b]]); x != 0 {
				return x
			}
		}
		return 0
	})
	return rows
}
