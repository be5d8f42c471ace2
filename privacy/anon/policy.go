package anon

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// Policy says what each column of a table is, what is promised about the release,
// and how it is found. Every column must be named once: a column that nobody
// thought of is not published.
type Policy struct {
	Quasi       []QuasiSpec `yaml:"quasi"`       // what others may know of a person
	Sensitive   []string    `yaml:"sensitive"`   // what they must not learn
	Keep        []string    `yaml:"keep"`        // published as it is, and nothing that points to a person
	Drop        []string    `yaml:"drop"`        // direct identifiers, and whatever is not needed
	Models      []ModelSpec `yaml:"models"`      // all must hold
	Metric      string      `yaml:"metric"`      // what is lost; default: discernibility
	Suppression float64     `yaml:"suppression"` // share of rows that may be suppressed, 0 to 1
	Suppressed  string      `yaml:"suppressed"`  // remove (default), or mask: the row stays, its quasi-identifiers and sensitive values become *
	Recoding    string      `yaml:"recoding"`    // global (default), strict or relaxed: the two kinds of Mondrian
	Search      SearchSpec  `yaml:"search"`
	Population  string      `yaml:"population"` // table of all people that the rows are drawn from
	Target      string      `yaml:"target"`     // column that a classifier learns before and after
}

// QuasiSpec is a quasi-identifier.
type QuasiSpec struct {
	Column    string        `yaml:"column"`
	Hierarchy HierarchySpec `yaml:"hierarchy"`
	Least     int           `yaml:"least"`  // level that it must have at least
	Most      *int          `yaml:"most"`   // and at most; default: the last
	Weight    float64       `yaml:"weight"` // in the metrics entropy and loss; default: 1
}

// SearchSpec bounds the search: it then ends with the best found so far, and with
// what is known about better ones.
type SearchSpec struct {
	Steps   int64   `yaml:"steps"`
	Seconds float64 `yaml:"seconds"`
}

// ParsePolicy reads a policy. Files that it names are relative to dir.
func ParsePolicy(text []byte, dir string) (*Policy, error) {
	if len(text) > 1<<24 {
		return nil, errors.New("the policy is longer than 16 MiB")
	}
	var p Policy
	if err := strictyaml.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	for i := range p.Quasi {
		under(dir, &p.Quasi[i].Hierarchy.File)
	}
	for i := range p.Models {
		under(dir, &p.Models[i].Hierarchy.File)
	}
	under(dir, &p.Population)
	return &p, p.check()
}

func under(dir string, path *string) {
	if *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(dir, *path)
	}
}

// check finds what is wrong whatever the table is.
func (p *Policy) check() error {
	switch {
	case len(p.Quasi) == 0:
		return errors.New("quasi: name at least one quasi-identifier: what others may know of a person, such as age and postcode")
	case !(p.Suppression >= 0 && p.Suppression <= 1):
		return fmt.Errorf("suppression: %v: give a share from 0 to 1", p.Suppression)
	case p.Search.Steps < 0 || !(p.Search.Seconds >= 0) || p.Search.Seconds > 1e6:
		return errors.New("search: steps and seconds must be 0 or more, and seconds at most a million")
	}
	for _, x := range []struct {
		field, value string
		allowed      []string
	}{{"suppressed", p.Suppressed, []string{"remove", "mask"}}, {"recoding", p.Recoding, []string{"global", "strict", "relaxed"}}} {
		if x.value != "" && !slices.Contains(x.allowed, x.value) {
			return fmt.Errorf("%s: %q: give one of %q", x.field, x.value, x.allowed)
		}
	}
	if _, err := metricOf(p.Metric); err != nil {
		return err
	}
	for _, q := range p.Quasi {
		if !(q.Weight >= 0) || math.IsInf(q.Weight, 0) {
			return fmt.Errorf("quasi: %s: weight %v: give a number from 0 on; without one it is 1", q.Column, q.Weight)
		}
		if q.Least < 0 || q.Most != nil && *q.Most < q.Least {
			return fmt.Errorf("quasi: %s: the levels must satisfy 0 <= least <= most", q.Column)
		}
	}
	local := p.Recoding == "strict" || p.Recoding == "relaxed"
	for _, m := range p.Models {
		i := slices.IndexFunc(Models, func(k Model) bool { return k.Name == m.Model })
		if i < 0 || !Models[i].Population {
			continue
		}
		if p.Population == "" {
			return fmt.Errorf("models: %s needs population: the table of all people that the rows are drawn from", m.Model)
		}
		if local {
			return fmt.Errorf("models: %s works with recoding: global only", m.Model)
		}
	}
	return nil
}

// roles holds the names against a table's columns: each must have one role.
func (p *Policy) roles(t *Table) error {
	role := map[string]string{}
	enter := func(name, as string) error {
		if _, err := t.Column(name); err != nil {
			return fmt.Errorf("%s: %w", as, err)
		}
		if was, twice := role[name]; twice {
			return fmt.Errorf("column %q is under %s and under %s: it can be one thing only", name, was, as)
		}
		role[name] = as
		return nil
	}
	var names []string
	for _, q := range p.Quasi {
		names = append(names, q.Column)
	}
	for _, list := range []struct {
		as    string
		names []string
	}{{"quasi", names}, {"sensitive", p.Sensitive}, {"keep", p.Keep}, {"drop", p.Drop}} {
		for _, n := range list.names {
			if err := enter(n, list.as); err != nil {
				return err
			}
		}
	}
	for _, c := range t.Columns {
		if role[c.Name] == "" {
			return fmt.Errorf("column %q has no role: name it under quasi, sensitive, keep or drop", c.Name)
		}
	}
	if p.Target != "" {
		if as := role[p.Target]; as == "" || as == "drop" {
			return fmt.Errorf("target: column %q is not in the released table", p.Target)
		}
	}
	return nil
}

func (p *Policy) budget() budget {
	return budget{Steps: p.Search.Steps, Time: time.Duration(p.Search.Seconds * float64(time.Second))}
}
