package mask

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/vault"
)

// Value is a text to be replaced.
type Value struct {
	Text    string
	Type    string // such as PERSON; of a column that has none, its name
	Subject string // the person it is about, empty where that is not known
	Number  bool   // a number of JSON: what comes back is one again
}

// A Masker replaces values. It is safe for use by several goroutines at once.
type Masker interface {
	// Mask is what stands for a value. Values that it cannot replace as it
	// should are an error, never themselves.
	Mask(ctx context.Context, v Value) (string, error)
}

// A Restorer is a Masker whose values come back.
type Restorer interface {
	Masker
	// Restore is the value whose Text Mask returned. Type and Subject must be as
	// they were then.
	Restore(ctx context.Context, v Value) (string, error)
}

// Method is a way to replace values.
type Method struct {
	Name string
	Doc  string
	// Settings are the fields of a [Rule] that it reads.
	Settings []string
	// ColumnsOnly says that values can only be restored where they are known to
	// stand.
	ColumnsOnly bool
	// New is its Masker.
	New func(r Rule, in Settings) (Masker, error)
}

// Methods are all, from what leaves nothing to what leaves everything.
var Methods = []Method{redact, vaulted, token, hash, surrogate, fpeMethod, shift, generalise, partial, keep}

// Rule is a method with its settings.
type Rule struct {
	// Method is the name of one of [Methods].
	Method string `yaml:"method"`
	// Text is what redact writes instead of the type in brackets.
	Text string `yaml:"text,omitempty"`
	// First and Last are how many letters and digits at the beginning and the
	// end stay: of partial (0 and 4 where neither is set) and of fpe.
	First int `yaml:"first,omitempty"`
	Last  int `yaml:"last,omitempty"`
	// Alphabet is what fpe encrypts: digits, hex, base36, upper, lower, or the
	// letters themselves. Digits where it is empty.
	Alphabet string `yaml:"alphabet,omitempty"`
	// Check is the check digit that fpe keeps as right or wrong as it is: luhn.
	Check string `yaml:"check,omitempty"`
	// Days is by how many at most shift moves a date.
	Days int `yaml:"days,omitempty"`
	// Step is the width of the ranges of generalise.
	Step float64 `yaml:"step,omitempty"`
	// Digits are how many places of a code generalise leaves: 3 where it is 0.
	Digits int `yaml:"digits,omitempty"`
	// Locale is that of surrogates that do not tell theirs: en where it is empty.
	Locale string `yaml:"locale,omitempty"`
	// By is subject where surrogates are to be the same for all values of a
	// subject, however they are written.
	By string `yaml:"by,omitempty"`
}

// Settings are what methods stand on.
type Settings struct {
	// Key is 32 random bytes. Methods without one are redact, partial, generalise
	// and keep.
	Key []byte
	// Tenant separates those who share a key.
	Tenant string
	// Vault is where the method vault keeps values; Who is who puts them there
	// and asks for them, and Reason is why.
	Vault       *vault.Vault
	Who, Reason string
	// Valid, if set, tells whether a text would be found as a type, check digits
	// included: surrogates are such that it does where the value itself is.
	Valid func(typ, text string) bool
}

// masker is that of a rule, which must not have settings of other methods.
func (r Rule) masker(in Settings) (Masker, error) {
	i := slices.IndexFunc(Methods, func(m Method) bool { return m.Name == r.Method })
	if i < 0 {
		var names []string
		for _, m := range Methods {
			names = append(names, m.Name)
		}
		return nil, fmt.Errorf("method %q: must be one of %s", r.Method, strings.Join(names, ", "))
	}
	m := Methods[i]
	for _, s := range r.given() {
		if !slices.Contains(m.Settings, s) {
			return nil, fmt.Errorf("%s: is no setting of method %s", s, r.Method)
		}
	}
	masker, err := m.New(r, in)
	if err != nil {
		return nil, fmt.Errorf("method %s: %w", r.Method, err)
	}
	return masker, nil
}

// given are the names of the settings that are set.
func (r Rule) given() (names []string) {
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"text", r.Text != ""}, {"first", r.First != 0}, {"last", r.Last != 0}, {"alphabet", r.Alphabet != ""}, {"check", r.Check != ""},
		{"days", r.Days != 0}, {"step", r.Step != 0}, {"digits", r.Digits != 0}, {"locale", r.Locale != ""}, {"by", r.By != ""},
	} {
		if s.set {
			names = append(names, s.name)
		}
	}
	return names
}

// maskFunc is a Masker that needs nothing but the value.
type maskFunc func(v Value) (string, error)

func (f maskFunc) Mask(_ context.Context, v Value) (string, error) { return f(v) }
