package risk

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/anon/group"
	"github.com/redoubt-ml/redoubt/privacy/anon/table"
)

// Options say what is measured.
type Options struct {
	Quasi          []string // columns that others may know
	Threshold      float64  // records at a risk above this are counted; 0 for 0.2
	Population     string   // table of all people, with the same columns: for the journalist
	PopulationSize int64    // number of all people: for population uniqueness; 0 for not known
	Masked         int64    // so many rows whose quasi-identifiers are all * are suppressed ones, and left out
	Memory         int64    // bytes for groups before they go to disk; 0 for 1 GiB
	Temp           string   // folder for that; "" for the system's
	Progress       func(stage string, done, all int64)
}

// Report is what was found.
type Report struct {
	Rows       int64       `json:"rows"`
	Classes    int64       `json:"classes"` // of rows that look alike
	Smallest   int64       `json:"smallest_class"`
	Largest    int64       `json:"largest_class"`
	Uniques    int64       `json:"uniques"` // rows that look like no other
	Quasi      []string    `json:"quasi"`
	Threshold  float64     `json:"threshold"`
	Prosecutor Attacker    `json:"prosecutor"`           // knows that a person is in the table
	Journalist *Attacker   `json:"journalist,omitempty"` // looks for anybody, in the population table
	Marketer   float64     `json:"marketer"`             // share of records found by somebody who links them all
	Uniqueness *Uniqueness `json:"population_uniqueness,omitempty"`
	Sizes      []Size      `json:"class_sizes"`
}

// Attacker is the chance of finding the person of a record, from 0 to 1.
type Attacker struct {
	Highest float64 `json:"highest"`
	Average float64 `json:"average"`
	Above   float64 `json:"records_above_threshold"` // share of records
}

// Size is how many classes have so many rows.
type Size struct {
	Rows    int64 `json:"rows"`
	Classes int64 `json:"classes"`
}

const (
	fromTable = iota
	fromPopulation
)

// Measure reads a table.
func Measure(ctx context.Context, path string, opt Options) (*Report, error) {
	if len(opt.Quasi) == 0 {
		return nil, errors.New("name at least one quasi-identifier")
	}
	if opt.Threshold == 0 {
		opt.Threshold = 0.2
	}
	if !(opt.Threshold > 0 && opt.Threshold < 1) {
		return nil, fmt.Errorf("threshold %v: it must lie between 0 and 1", opt.Threshold)
	}
	g := group.New(group.Options{Memory: opt.Memory, Temp: opt.Temp, Columns: 1})
	defer g.Close()
	rows, err := add(ctx, g, path, opt, fromTable)
	if err != nil {
		return nil, err
	}
	if rows == 0 {
		return nil, fmt.Errorf("read %s: it has no rows", path)
	}
	if opt.PopulationSize != 0 && opt.PopulationSize < rows {
		return nil, fmt.Errorf("a population of %d cannot have a sample of %d rows", opt.PopulationSize, rows)
	}
	if opt.Population != "" {
		if _, err := add(ctx, g, opt.Population, opt, fromPopulation); err != nil {
			return nil, err
		}
	}
	r := &Report{Rows: rows, Quasi: opt.Quasi, Threshold: opt.Threshold}
	if err := r.sum(ctx, g, opt); err != nil {
		return nil, err
	}
	if opt.PopulationSize != 0 {
		r.Estimate(opt.PopulationSize)
	}
	return r, nil
}

// add counts the rows of a table.
func add(ctx context.Context, g *group.Grouper, path string, opt Options, from uint32) (rows int64, err error) {
	r, err := table.Open(path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	at := make([]int, len(opt.Quasi))
	for i, n := range opt.Quasi {
		if at[i] = slices.Index(r.Names(), n); at[i] < 0 {
			return 0, fmt.Errorf("%s: there is no column %q: the table has %q", path, n, r.Names())
		}
		if slices.Contains(opt.Quasi[:i], n) {
			return 0, fmt.Errorf("column %q is named twice", n)
		}
	}
	var key []byte
	code, masked := []uint32{from}, int64(0)
	for ; ; rows++ {
		if rows%(1<<14) == 0 {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if opt.Progress != nil {
				done, all := r.Read()
				opt.Progress("reading", done, all)
			}
		}
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return 0, err
		}
		if masked < opt.Masked && from == fromTable && !slices.ContainsFunc(at, func(i int) bool { return string(row[i]) != "*" }) {
			masked++
			rows--
			continue
		}
		key = key[:0]
		for _, i := range at {
			key = append(binary.AppendUvarint(key, uint64(len(row[i]))), row[i]...)
		}
		if err := g.Add(key, code); err != nil {
			return 0, err
		}
	}
}

// sum goes through the classes.
func (r *Report) sum(ctx context.Context, g *group.Grouper, opt Options) error {
	sizes := map[int64]int64{}
	var journalist Attacker
	marketer, strangers := 0.0, int64(0)
	err := g.Each(ctx, func(c *group.Group) error {
		var n, people int64
		for _, x := range c.Columns[0] {
			if x.Code == fromTable {
				n = x.Count
			} else {
				people = x.Count
			}
		}
		if n == 0 {
			return nil
		}
		sizes[n]++
		if opt.Population == "" {
			return nil
		}
		if people < n {
			strangers += n - people
			people = n
		}
		journalist.Highest = max(journalist.Highest, 1/float64(people))
		journalist.Average += float64(n) / float64(people)
		marketer += float64(n) / float64(people)
		if 1/float64(people) > r.Threshold {
			journalist.Above += float64(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if strangers > 0 {
		return fmt.Errorf("%s: %d rows of the table are not in the population: it must hold all people that the rows are drawn from", opt.Population, strangers)
	}
	rows := float64(r.Rows)
	for n, classes := range sizes {
		r.Sizes = append(r.Sizes, Size{n, classes})
	}
	slices.SortFunc(r.Sizes, func(a, b Size) int { return cmp.Compare(a.Rows, b.Rows) })
	for _, s := range r.Sizes {
		r.Classes += s.Classes
		if 1/float64(s.Rows) > r.Threshold {
			r.Prosecutor.Above += float64(s.Rows*s.Classes) / rows
		}
		if s.Rows == 1 {
			r.Uniques = s.Classes
		}
	}
	r.Smallest, r.Largest = r.Sizes[0].Rows, r.Sizes[len(r.Sizes)-1].Rows
	r.Prosecutor.Highest = 1 / float64(r.Smallest)
	r.Prosecutor.Average = float64(r.Classes) / rows
	r.Marketer = r.Prosecutor.Average
	if opt.Population != "" {
		journalist.Average /= rows
		journalist.Above /= rows
		r.Journalist, r.Marketer = &journalist, marketer/rows
	}
	return nil
}
