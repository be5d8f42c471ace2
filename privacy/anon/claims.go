package anon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
)

// ClaimsSchema names the form of claims.
const ClaimsSchema = "redoubt.anon/v1"

// Claims is what is said of a released table, written beside it: enough to derive
// every number again from the table alone. It says nothing about single rows.
type Claims struct {
	Schema       string       `json:"schema"`
	Table        TableClaim   `json:"table"`
	Quasi        []QuasiClaim `json:"quasi"`
	Sensitive    []string     `json:"sensitive,omitempty"`
	Models       []ModelClaim `json:"models"`
	Recoding     string       `json:"recoding"`
	Classes      int64        `json:"classes"`
	Smallest     int64        `json:"smallest_class"`
	Suppressed   int64        `json:"suppressed"`
	SuppressedAs string       `json:"suppressed_as"` // remove or mask
	Population   string       `json:"population_sha256,omitempty"`
	Reference    []Reference  `json:"reference,omitempty"` // of t-closeness: the sensitive values of the whole table
	Search       *SearchClaim `json:"search,omitempty"`
	Utility      *Utility     `json:"utility,omitempty"`
	Unprotected  []string     `json:"not_protected_against"`
}

// TableClaim says which file the claims are about.
type TableClaim struct {
	SHA256  string   `json:"sha256"`
	Rows    int64    `json:"rows"`
	Columns []string `json:"columns"`
}

// QuasiClaim is how a quasi-identifier was recoded.
type QuasiClaim struct {
	Column    string        `json:"column"`
	Level     int           `json:"level"` // -1 after local recoding
	Levels    int           `json:"levels"`
	Hierarchy string        `json:"hierarchy_sha256"`
	From      HierarchySpec `json:"from"`
}

// ModelClaim is a promise, and the least and greatest number that a class has.
type ModelClaim struct {
	ModelSpec
	Least Number `json:"least"`
	Most  Number `json:"most"`
}

// SearchClaim is how the generalisation was found.
type SearchClaim struct {
	Metric  string  `json:"metric"`
	Value   float64 `json:"value"`
	Lower   float64 `json:"no_better_than"`
	Optimal bool    `json:"optimal"`
	Checked int64   `json:"groupings"`
	Lattice float64 `json:"lattice"`
}

// Number is a float64 that may be infinite, which JSON has no form for: null.
type Number float64

// MarshalJSON writes what is no number as null.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null as infinity.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.Inf(1))
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// Claims derives the claims of a release from the table as it was written: what
// [Verify] derives from the file is what is claimed, and that every model holds is
// checked here once more, with other code than that which searched.
func (r *Release) Claims(ctx context.Context, path string, opt VerifyOptions) (*Claims, error) {
	c := &Claims{Schema: ClaimsSchema, Recoding: r.Policy.Recoding, Suppressed: r.Suppressed, SuppressedAs: r.Policy.Suppressed,
		Sensitive: r.Policy.Sensitive, Utility: &r.Utility, Unprotected: r.unprotected()}
	if c.Recoding == "" {
		c.Recoding = "global"
	}
	if c.SuppressedAs == "" {
		c.SuppressedAs = "remove"
	}
	for i, q := range r.quasi {
		c.Quasi = append(c.Quasi, QuasiClaim{q.from.Name, r.levels[i], r.hierarchy[i].Levels(), r.hierarchy[i].Digest(), r.Policy.Quasi[i].Hierarchy})
	}
	for i := range r.tests {
		c.Models = append(c.Models, ModelClaim{ModelSpec: r.tests[i].Spec})
		if r.tests[i].Spec.Model == tCloseness.Name {
			at := slices.IndexFunc(r.references, func(x Reference) bool { return x.Column == r.tests[i].Spec.Column })
			if !slices.ContainsFunc(c.Reference, func(x Reference) bool { return x.Column == r.references[at].Column }) {
				c.Reference = append(c.Reference, r.references[at])
			}
		}
	}
	if f := r.Found; f != nil {
		metric := r.Policy.Metric
		if metric == "" {
			metric = Metrics[0].Name
		}
		c.Search = &SearchClaim{metric, f.Value, f.Lower, f.Optimal, f.Checked, f.Lattice}
	}
	opt.Population = r.Policy.Population
	found, err := derive(ctx, path, c, opt)
	if err != nil {
		return nil, err
	}
	for i := range c.Quasi { // where the files lie is nobody's business
		if file := &c.Quasi[i].From.File; *file != "" {
			*file = filepath.Base(*file)
		}
	}
	c.Table, c.Classes, c.Smallest, c.Population = found.table, found.classes, found.smallest, found.population
	for i := range c.Models {
		c.Models[i].Least, c.Models[i].Most = Number(found.models[i].least), Number(found.models[i].most)
		if found.models[i].broken > 0 {
			return nil, fmt.Errorf("%s does not hold in %d classes of the table that was made: this is a defect of the search, and nothing is released", c.Models[i].Model, found.models[i].broken)
		}
	}
	return c, nil
}

// unprotected says in plain words what the release does not protect against.
func (r *Release) unprotected() []string {
	has := func(names ...string) bool {
		return slices.ContainsFunc(r.Policy.Models, func(m ModelSpec) bool { return slices.Contains(names, m.Model) })
	}
	var out []string
	if !has(kAnonymity.Name, distinctDiversity.Name, entropyDiversity.Name, recursiveDiversity.Name) {
		out = append(out, "picking out a single row by somebody who knows that a person is in the table: no model sets a least size for groups of equal rows")
	}
	guarded := map[string]bool{}
	for _, t := range r.tests {
		guarded[t.Spec.Column] = true
	}
	for _, s := range r.Policy.Sensitive {
		if !guarded[s] {
			out = append(out, fmt.Sprintf("learning the %s of a person whose group has only one: no model is about that column", s))
		}
	}
	if has(distinctDiversity.Name, entropyDiversity.Name, recursiveDiversity.Name) && !has(tCloseness.Name) {
		out = append(out, "learning that a sensitive value is more likely for a person than for others, or that all values of a group mean much the same")
	}
	if !has(deltaPresence.Name) {
		out = append(out, "learning that a person is in the table, or is not")
	}
	if len(r.Policy.Keep) > 0 {
		out = append(out, fmt.Sprintf("somebody who knows more than the quasi-identifiers: the columns %q are published as they are", r.Policy.Keep))
	}
	return append(out, "comparison with another release of the same people, or with rows that somebody adds or withholds: only differential privacy protects against that (redoubt dp release)")
}

// Write writes the claims as JSON.
func (c *Claims) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(c)
}

// ReadClaims reads claims, at most 256 MiB.
func ReadClaims(r io.Reader) (*Claims, error) {
	const most = 256 << 20
	limited := &io.LimitedReader{R: r, N: most + 1}
	d := json.NewDecoder(limited)
	d.DisallowUnknownFields()
	var c Claims
	if err := d.Decode(&c); err != nil {
		if limited.N == 0 {
			return nil, fmt.Errorf("the claims are longer than %d bytes", most)
		}
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	if d.More() {
		return nil, errors.New("read the claims: something follows them")
	}
	if c.Schema != ClaimsSchema {
		return nil, fmt.Errorf("the claims have schema %q, want %q", c.Schema, ClaimsSchema)
	}
	if len(c.Models) == 0 || len(c.Quasi) == 0 {
		return nil, errors.New("the claims claim nothing: they name no model or no quasi-identifier")
	}
	if c.Suppressed < 0 {
		return nil, fmt.Errorf("the claims have %d suppressed rows", c.Suppressed)
	}
	for _, ref := range c.Reference {
		if len(ref.Values) != len(ref.Counts) || len(ref.Values) == 0 {
			return nil, fmt.Errorf("the reference of column %q has %d values and %d counts", ref.Column, len(ref.Values), len(ref.Counts))
		}
	}
	return &c, nil
}
