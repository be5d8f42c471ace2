package mask

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// Policy says how values are replaced. Its zero value redacts all.
type Policy struct {
	// Tenant separates those who share a key: they get different values.
	Tenant string `yaml:"tenant,omitempty"`
	// Default is the rule of types that Types does not name: redact where it is
	// empty.
	Default Rule `yaml:"default,omitempty"`
	// Types are the rules of values in running text.
	Types map[string]Rule `yaml:"types,omitempty"`
	// Columns are the rules of whole columns. Fields of other columns are running
	// text.
	Columns map[string]Column `yaml:"columns,omitempty"`
	// Subject is the column that names the person whose row it is.
	Subject string `yaml:"subject,omitempty"`
}

// Column is the rule of a column: of CSV and Parquet its name, of JSON the name
// of the key.
type Column struct {
	Rule `yaml:",inline"`
	// Type is what its values are, such as EMAIL_ADDRESS; the column's name where
	// it is empty.
	Type string `yaml:"type,omitempty"`
}

// ParsePolicy reads a policy from YAML. Unknown fields and methods are errors.
func ParsePolicy(text []byte) (*Policy, error) {
	var p Policy
	if err := strictyaml.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	return &p, p.check()
}

func (p *Policy) check() error {
	if p.Default.Method == "" {
		if len(p.Default.given()) > 0 {
			return errors.New("default: has settings and no method")
		}
		p.Default.Method = redact.Name
	}
	rules := map[string]Rule{"default": p.Default}
	for name, r := range p.Types {
		if err := checkType(name); err != nil {
			return fmt.Errorf("types: %w", err)
		}
		rules["types."+name] = r
	}
	for name, c := range p.Columns {
		if err := checkType(cmpOr(c.Type, name)); err != nil {
			return fmt.Errorf("columns.%s: %w: give it a type", name, err)
		}
		rules["columns."+name] = c.Rule
	}
	for _, at := range slices.Sorted(maps.Keys(rules)) {
		if err := rules[at].check(strings.HasPrefix(at, "columns.")); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// checkType sees to it that tokens with the name of a type can be read again.
func checkType(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("type %.64q: must have 1 to 64 letters", name)
	}
	for i := range len(name) {
		if !typeByte(name[i]) {
			return fmt.Errorf("type %q: must be letters, digits, hyphens, dots and underscores", name)
		}
	}
	return nil
}

// check looks for what is wrong with a rule whatever the key.
func (r Rule) check(column bool) error {
	if r.Method == "" {
		return errors.New("method: is missing")
	}
	i := slices.IndexFunc(Methods, func(m Method) bool { return m.Name == r.Method })
	if i >= 0 && Methods[i].ColumnsOnly && !column {
		return fmt.Errorf("method %s: nobody could tell its values from others in running text; use token or vault there, and it for columns", r.Method)
	}
	in := Settings{Key: make([]byte, 32)}
	if r.Method == vaulted.Name {
		return nil // there is nothing to be wrong about
	}
	_, err := r.masker(in)
	return err
}

// Needs are what a policy stands on.
func (p *Policy) Needs() (key, vault bool) {
	all := []Rule{p.Default}
	for _, r := range p.Types {
		all = append(all, r)
	}
	for _, c := range p.Columns {
		all = append(all, c.Rule)
	}
	for _, r := range all {
		switch r.Method {
		case vaulted.Name:
			vault = true
		case redact.Name, partial.Name, generalise.Name, keep.Name, "":
		default:
			key = true
		}
	}
	return key, vault
}
