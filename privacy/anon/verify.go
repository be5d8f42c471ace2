package anon

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/anon/group"
	"github.com/redoubt-ml/redoubt/privacy/anon/table"
)

// VerifyOptions bound verification, and name what it needs beside the table.
type VerifyOptions struct {
	Memory      int64  // bytes for groups before they go to disk; 0 for 1 GiB
	Temp        string // folder for that; "" for the system's
	Population  string // the population table, for k-map and delta-presence
	Hierarchies string // folder of the hierarchy files that claims name; "" for the working folder
	Progress    Progress
}

// Check is one claim, and what was found.
type Check struct {
	Claim   string `json:"claim"`
	Claimed string `json:"claimed"`
	Found   string `json:"found"`
	Holds   bool   `json:"holds"`
}

// Verify derives every claim about a table again, from the file alone: its digest,
// its rows and classes, and for each model the number of each class. It reads the
// table once, in bounded memory. A claim that does not hold is a check that fails,
// never an error; errors are tables and claims that cannot be read.
func Verify(ctx context.Context, path string, c *Claims, opt VerifyOptions) ([]Check, error) {
	found, err := derive(ctx, path, c, opt)
	if err != nil {
		return nil, err
	}
	var out []Check
	check := func(claim string, claimed, is any) {
		a, b := fmt.Sprint(claimed), fmt.Sprint(is)
		out = append(out, Check{claim, a, b, a == b})
	}
	check("sha256 of the table", c.Table.SHA256, found.table.SHA256)
	check("columns", c.Table.Columns, found.table.Columns)
	check("rows", c.Table.Rows, found.table.Rows)
	check("classes", c.Classes, found.classes)
	check("smallest class", c.Smallest, found.smallest)
	for i, m := range c.Models {
		f := found.models[i]
		text := "holds in every class"
		if f.problem != "" {
			text = f.problem
		} else if f.broken > 0 {
			text = fmt.Sprintf("broken in %d of %d classes with %d rows", f.broken, found.classes, f.rows)
		}
		out = append(out, Check{m.Title(), "holds in every class", text, f.broken == 0 && f.problem == ""})
		if f.problem == "" {
			check(m.Title()+", from and to", span(float64(m.Least), float64(m.Most)), span(f.least, f.most))
		}
	}
	for _, text := range found.inconsistent {
		out = append(out, Check{"suppressed rows", fmt.Sprint(c.Suppressed), text, false})
	}
	if c.Population != "" {
		check("sha256 of the population", c.Population, found.population)
	}
	return out, nil
}

// Title is the model with its parameters.
func (m *ModelSpec) Title() string {
	text := m.Model
	if m.Column != "" {
		text += " of " + m.Column
	}
	for _, p := range []struct {
		name string
		x    float64
	}{{"k", float64(m.K)}, {"l", m.L}, {"c", m.C}, {"t", m.T}, {"min", m.Min}, {"max", m.Max}} {
		if p.x != 0 {
			text += fmt.Sprintf(", %s %.6g", p.name, p.x)
		}
	}
	if m.Distance != "" && m.Distance != "equal" {
		text += ", " + m.Distance + " distance"
	}
	return text
}

func span(least, most float64) string { return fmt.Sprintf("%.6g to %.6g", least, most) }

// derived is what the table shows.
type derived struct {
	table             TableClaim
	population        string
	classes, smallest int64
	models            []modelFound
	inconsistent      []string
}

type modelFound struct {
	least, most  float64
	broken, rows int64
	problem      string // why the model cannot hold at all
}

// dictionary gives values codes.
type dictionary struct {
	index  map[string]uint32
	values []string
	counts []int64
}

// code is that of a value; a column of too many values is no sensitive column.
func (d *dictionary) code(v []byte) (uint32, error) {
	c, ok := d.index[string(v)]
	if !ok {
		if len(d.values) == MaxValues {
			return 0, fmt.Errorf("a sensitive column has more than %d different values", MaxValues)
		}
		c = uint32(len(d.values))
		d.index[string(v)] = c
		d.values, d.counts = append(d.values, string(v)), append(d.counts, 0)
	}
	return c, nil
}

// deriver reads a released table and, for some models, its population.
type deriver struct {
	claims *Claims
	opt    VerifyOptions
	groups *group.Grouper
	dict   []dictionary
	key    []byte
	codes  []uint32
	masked int64 // rows that are suppressed and still there
	out    derived
}

const (
	fromTable = iota
	fromPopulation
)

func derive(ctx context.Context, path string, c *Claims, opt VerifyOptions) (*derived, error) {
	d := &deriver{claims: c, opt: opt}
	needs := slices.ContainsFunc(c.Models, func(m ModelClaim) bool { return m.population() })
	// Columns of the groups: the sensitive ones, then where the row is from.
	d.groups = group.New(group.Options{Memory: opt.Memory, Temp: opt.Temp, Columns: len(c.Sensitive) + 1})
	defer d.groups.Close()
	d.codes = make([]uint32, len(c.Sensitive)+1)
	for _, s := range c.Sensitive {
		dict := dictionary{index: map[string]uint32{}}
		if i := slices.IndexFunc(c.Reference, func(r Reference) bool { return r.Column == s }); i >= 0 {
			for _, v := range c.Reference[i].Values {
				if _, err := dict.code([]byte(v)); err != nil {
					return nil, err
				}
			}
		}
		d.dict = append(d.dict, dict)
	}
	if err := d.readTable(ctx, path); err != nil {
		return nil, err
	}
	if needs {
		if err := d.readPopulation(ctx); err != nil {
			return nil, err
		}
	}
	return &d.out, d.judge(ctx)
}

func (m *ModelSpec) population() bool {
	i := slices.IndexFunc(Models, func(k Model) bool { return k.Name == m.Model })
	return i >= 0 && Models[i].Population
}

// appendCell writes a cell so that no two rows of cells are the same bytes.
func appendCell(b, cell []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(cell))), cell...)
}

// readTable counts the rows and, so that the digest is of the very bytes that were
// counted, hashes the file before and after.
func (d *deriver) readTable(ctx context.Context, path string) error {
	before, err := fileDigest(ctx, path)
	if err != nil {
		return err
	}
	r, err := table.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	names := make([]string, len(d.claims.Quasi))
	for i, q := range d.claims.Quasi {
		names[i] = q.Column
	}
	at, err := places(r.Names(), append(names, d.claims.Sensitive...))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	q := len(d.claims.Quasi)
	d.codes[len(d.codes)-1] = fromTable
	rows, err := eachRow(ctx, r, d.opt.Progress.of("reading"), func(row [][]byte) error {
		if d.isMasked(row, at) {
			d.masked++
			return nil
		}
		d.key = d.key[:0]
		for _, i := range at[:q] {
			d.key = appendCell(d.key, row[i])
		}
		for k, i := range at[q:] {
			code, err := d.dict[k].code(row[i])
			if err != nil {
				return err
			}
			d.codes[k] = code
			d.dict[k].counts[code]++
		}
		return d.groups.Add(d.key, d.codes)
	})
	if err != nil {
		return err
	}
	after, err := fileDigest(ctx, path)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("%s was changed while it was read: try again", path)
	}
	d.out.table = TableClaim{before, rows, r.Names()}
	if d.claims.SuppressedAs == "mask" && d.masked != d.claims.Suppressed {
		d.note(fmt.Sprintf("%d rows are masked", d.masked))
	}
	return nil
}

// isMasked tells whether a row is one of the suppressed ones, which say nothing and
// are no class.
func (d *deriver) isMasked(row [][]byte, at []int) bool {
	return d.claims.SuppressedAs == "mask" && d.masked < d.claims.Suppressed &&
		!slices.ContainsFunc(at, func(i int) bool { return string(row[i]) != suppressedLabel })
}

func eachRow(ctx context.Context, r *table.Reader, progress func(done, all int64), do func(row [][]byte) error) (rows int64, err error) {
	for {
		if rows%(1<<14) == 0 {
			if ctx.Err() != nil {
				return rows, ctx.Err()
			}
			if progress != nil {
				progress(r.Read())
			}
		}
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return rows, err
		}
		rows++
	}
}

// places are where the needed columns are.
func places(names, need []string) ([]int, error) {
	var out []int
	for _, n := range need {
		i := slices.Index(names, n)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q: the table has %q", n, names)
		}
		out = append(out, i)
	}
	return out, nil
}

// fileDigest is the SHA-256 of a file, in hexadecimal.
func fileDigest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the table: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		n, err := io.CopyN(h, r, 64<<20)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
	}
}

// readPopulation recodes the people of the population as the claims say the table
// was, and counts them with its rows.
func (d *deriver) readPopulation(ctx context.Context) error {
	if d.opt.Population == "" {
		return errors.New("k-map and delta-presence can be verified with the population table only: give it with --population")
	}
	var err error
	if d.out.population, err = fileDigest(ctx, d.opt.Population); err != nil {
		return err
	}
	hierarchies, err := d.hierarchies(ctx)
	if err != nil {
		return err
	}
	r, err := table.Open(d.opt.Population)
	if err != nil {
		return err
	}
	defer r.Close()
	names := make([]string, len(d.claims.Quasi))
	for i, q := range d.claims.Quasi {
		names[i] = q.Column
	}
	at, err := places(r.Names(), names)
	if err != nil {
		return fmt.Errorf("%s: %w", d.opt.Population, err)
	}
	clear(d.codes)
	d.codes[len(d.codes)-1] = fromPopulation
	_, err = eachRow(ctx, r, d.opt.Progress.of("reading the population"), func(row [][]byte) error {
		d.key = d.key[:0]
		for i, q := range d.claims.Quasi {
			label, ok := hierarchies[i].Label(string(row[at[i]]), q.Level)
			if !ok {
				return fmt.Errorf("%s: value %q of column %q is not in the hierarchy", d.opt.Population, row[at[i]], q.Column)
			}
			d.key = appendCell(d.key, []byte(label))
		}
		return d.groups.Add(d.key, d.codes)
	})
	return err
}

// hierarchies makes those that the claims name, for the values of the population,
// and holds them against the digests.
func (d *deriver) hierarchies(ctx context.Context) ([]*Hierarchy, error) {
	r, err := table.Open(d.opt.Population)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	dicts := make([]dictionary, len(d.claims.Quasi))
	var names []string
	for i, q := range d.claims.Quasi {
		dicts[i].index = map[string]uint32{}
		names = append(names, q.Column)
		if q.Level < 0 || q.Level >= q.Levels {
			return nil, fmt.Errorf("the claims have level %d of column %q, which has %d", q.Level, q.Column, q.Levels)
		}
	}
	at, err := places(r.Names(), names)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.opt.Population, err)
	}
	if _, err := eachRow(ctx, r, d.opt.Progress.of("reading the population"), func(row [][]byte) error {
		for i, k := range at {
			code, err := dicts[i].code(row[k])
			if err != nil {
				return err
			}
			dicts[i].counts[code]++
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var out []*Hierarchy
	for i, q := range d.claims.Quasi {
		spec := q.From
		if spec.File != "" {
			under(d.opt.Hierarchies, &spec.File)
		}
		h, err := spec.Make(dicts[i].values, dicts[i].counts)
		if err != nil {
			return nil, fmt.Errorf("the hierarchy of column %q: %w", q.Column, err)
		}
		if h.Levels() != q.Levels || h.Digest() != q.Hierarchy {
			return nil, fmt.Errorf("the hierarchy of column %q is not the one of the claims: with an inferred hierarchy the population cannot be recoded again, give the column a file", q.Column)
		}
		out = append(out, h)
	}
	return out, nil
}

// judge asks every model of every class.
func (d *deriver) judge(ctx context.Context) error {
	refs := make([]Reference, len(d.claims.Sensitive))
	for i, s := range d.claims.Sensitive {
		refs[i] = Reference{Column: s, Values: d.dict[i].values, Counts: d.dict[i].counts}
		if k := slices.IndexFunc(d.claims.Reference, func(r Reference) bool { return r.Column == s }); k >= 0 {
			refs[i].Counts = d.reference(&d.claims.Reference[k], i)
		}
	}
	tests := make([]*promise, len(d.claims.Models))
	d.out.models = make([]modelFound, len(tests))
	for i, m := range d.claims.Models {
		d.out.models[i].least, d.out.models[i].most = math.Inf(1), math.Inf(-1)
		t, err := bind(m.ModelSpec, refs)
		if err != nil {
			d.out.models[i].problem = err.Error()
			continue
		}
		tests[i] = &t
	}
	d.out.smallest = math.MaxInt64
	err := d.groups.Each(ctx, func(g *group.Group) error {
		d.class(g, tests)
		return nil
	})
	if d.out.classes == 0 {
		d.out.smallest = 0
	}
	return err
}

// reference is how often each value occurs in the whole table, as claimed, if the
// released rows and the suppressed ones can be those of it.
func (d *deriver) reference(claimed *Reference, column int) []int64 {
	counts := slices.Clone(claimed.Counts)
	missing := int64(0)
	for code, n := range d.dict[column].counts {
		value := d.dict[column].values[code]
		if code >= len(counts) {
			d.note(fmt.Sprintf("value %q of column %q is not among those of the whole table", value, claimed.Column))
			counts = append(counts, 0)
			continue
		}
		if n > counts[code] {
			d.note(fmt.Sprintf("value %q of column %q occurs %d times, in the whole table %d", value, claimed.Column, n, counts[code]))
		}
		missing += counts[code] - n
	}
	if missing != d.claims.Suppressed {
		d.note(fmt.Sprintf("%d values of column %q of the whole table are not in the release", missing, claimed.Column))
	}
	return counts
}

func (d *deriver) note(text string) { d.out.inconsistent = append(d.out.inconsistent, text) }

// class judges one group.
func (d *deriver) class(g *group.Group, tests []*promise) {
	c := alike{Sensitive: make([]histogram, len(d.dict))}
	for _, from := range g.Columns[len(d.dict)] {
		if from.Code == fromPopulation {
			c.Population = from.Count
		} else {
			c.Count = from.Count
		}
	}
	for i := range d.dict {
		h := &c.Sensitive[i]
		others := c.Population // people of the population were given code 0
		for _, x := range g.Columns[i] {
			n := x.Count
			if x.Code == 0 {
				n -= others
			}
			if n > 0 {
				h.Codes, h.Counts = append(h.Codes, x.Code), append(h.Counts, n)
			}
		}
	}
	if c.Count > 0 {
		d.out.classes++
		d.out.smallest = min(d.out.smallest, c.Count)
	}
	for i, t := range tests {
		if t == nil {
			continue
		}
		f := &d.out.models[i]
		v, ok := t.keeps(&c)
		if !math.IsNaN(v) {
			f.least, f.most = min(f.least, v), max(f.most, v)
		}
		if !ok {
			f.broken++
			f.rows += c.Count
		}
	}
}
