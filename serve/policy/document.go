package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Document is a text of custom policies in Cedar, in one of its versions.
//
// Two annotations mean something. A forbid with @needs("second-factor") or
// @needs("step-up") tells the caller what would have it not apply; its condition
// is still what decides. A forbid with @clearance("top=3 round=2") forbids no
// more than what exceeds the clearance (see [ParseClearance]): the call goes
// through and the answer is reduced. A policy is known by the document's id and
// its own @id, or its place from 1: "credit/office-hours", "credit/2".
type Document struct {
	ID      string `json:"id"`
	Version int    `json:"version"` // from 1
	Text    string `json:"text"`
	// By, Created and Reason document who decided it, when and why.
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Limits on documents, which administrators write.
const (
	maxText     = 256 << 10 // bytes
	maxPolicies = 1000
	maxNesting  = 64 // of brackets
)

// Check refuses a document whose policies cannot be parsed or speak of what the
// schema does not know.
func (d Document) Check() error {
	rules, err := d.rules()
	if err != nil {
		return err
	}
	v, err := validator()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if err := v.Policy(r.id, (*ast.Policy)(r.policy.AST())); err != nil {
			return fmt.Errorf("policy %s: %w; it may speak of what Schema lists", r.id, err)
		}
	}
	return nil
}

//go:embed schema.cedarschema
var schemaText string

// Schema is what custom policies may speak of, in Cedar's schema language.
func Schema() string { return schemaText }

// Defaults is the text of the policies that always hold.
func Defaults() string { return defaults }

func validator() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(schemaText)); err != nil {
		return nil, fmt.Errorf("read the schema of policies: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("read the schema of policies: %w", err)
	}
	return validate.New(resolved), nil
}

// rules are the policies of a document. They need not fit the schema: a document
// that was kept is used, although a later version would refuse it.
func (d Document) rules() ([]*rule, error) {
	if !validName(d.ID) || strings.Contains(d.ID, "/") || d.ID == "default" {
		return nil, fmt.Errorf("document %q: its id is empty, too long, taken, or holds a character that ids do not", clip(d.ID))
	}
	rules, err := parse(d.ID, d.Text)
	for i := range rules {
		rules[i].id = d.ID + "/" + rules[i].id
		rules[i].custom = true
	}
	return rules, err
}

func parse(name, text string) ([]*rule, error) {
	if err := measure(text); err != nil {
		return nil, fmt.Errorf("document %q: %w", name, err)
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("document %q: %w", name, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("document %q: it holds no policy", name)
	}
	if len(list) > maxPolicies {
		return nil, fmt.Errorf("document %q: it holds %d policies, more than %d: divide it", name, len(list), maxPolicies)
	}
	rules := make([]*rule, len(list))
	for i, p := range list {
		if rules[i], err = annotated(p, i+1); err != nil {
			return nil, fmt.Errorf("document %q, line %d: %w", name, p.Position().Line, err)
		}
		if slices.ContainsFunc(rules[:i], func(r *rule) bool { return r.id == rules[i].id }) {
			return nil, fmt.Errorf("document %q, line %d: another policy has the id %q", name, p.Position().Line, rules[i].id)
		}
	}
	return rules, nil
}

// measure bounds what the parser, which recurses, is given.
func measure(text string) error {
	if len(text) > maxText {
		return fmt.Errorf("it has %d bytes, more than %d: divide it", len(text), maxText)
	}
	deep, signs := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(', '[', '{':
			deep++
		case ')', ']', '}':
			deep--
		case '!', '-':
			// A run of these nests as brackets do.
			if signs++; signs > maxNesting {
				return fmt.Errorf("it has %d signs ! or - in a row, more than %d", signs, maxNesting)
			}
			continue
		case ' ', '\t', '\r', '\n':
			continue
		}
		signs = 0
		if deep > maxNesting {
			return fmt.Errorf("it nests brackets deeper than %d", maxNesting)
		}
	}
	return nil
}

// annotated reads the annotations of a policy.
func annotated(p *cedar.Policy, place int) (*rule, error) {
	r := &rule{id: fmt.Sprint(place), policy: p}
	for key, value := range p.Annotations() {
		switch v := string(value); key {
		case "id":
			if r.id = v; !validName(v) || strings.Contains(v, "/") {
				return r, fmt.Errorf("@id(%q) is empty, too long, or holds a character that ids do not", clip(v))
			}
		case "needs":
			if r.needs = Need(v); r.needs != SecondFactor && r.needs != StepUp {
				return r, fmt.Errorf("@needs(%q) is neither %q nor %q", clip(v), SecondFactor, StepUp)
			}
		case "clearance":
			c, err := ParseClearance(v)
			if err != nil {
				return r, err
			}
			r.clearance = &c
		case "doc":
		default:
			return r, fmt.Errorf("unknown annotation @%s; there are @id, @doc, @needs and @clearance", clip(string(key)))
		}
	}
	if p.Effect() == cedar.Permit && (r.needs != Nothing || r.clearance != nil) {
		return r, errors.New("@needs and @clearance belong to policies that forbid")
	}
	if r.needs != Nothing && r.clearance != nil {
		return r, errors.New("a policy has @needs or @clearance, not both")
	}
	return r, nil
}
