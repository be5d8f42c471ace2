package mask

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// ErrOneWay says that a method cannot be undone.
var ErrOneWay = errors.New("cannot be undone")

// Engine applies a policy. It is safe for use by several goroutines at once.
type Engine struct {
	policy    *Policy
	otherwise Masker
	types     map[string]Masker
	columns   map[string]Masker
	sealer    *sealer // nil without a key
	keeper    *keeper // nil without a vault
}

// New makes the maskers of a policy.
func New(p *Policy, in Settings) (*Engine, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	in.Tenant = p.Tenant
	e := &Engine{policy: p, types: map[string]Masker{}, columns: map[string]Masker{}}
	var err error
	if e.otherwise, err = p.Default.masker(in); err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	for name, r := range p.Types {
		if e.types[name], err = r.masker(in); err != nil {
			return nil, fmt.Errorf("types.%s: %w", name, err)
		}
	}
	for name, c := range p.Columns {
		if e.columns[name], err = c.masker(in); err != nil {
			return nil, fmt.Errorf("columns.%s: %w", name, err)
		}
	}
	if len(in.Key) > 0 {
		if e.sealer, err = newSealer(in); err != nil {
			return nil, err
		}
	}
	if in.Vault != nil {
		k := newKeeper(in)
		e.keeper = &k
	}
	return e, nil
}

// Close has the vault record how many values were restored, if any were.
func (e *Engine) Close(ctx context.Context) error {
	var err error
	for _, m := range append(slices.Collect(maps.Values(e.columns)), e.otherwise) {
		if k, ok := m.(keeper); ok {
			err = errors.Join(err, k.session.Close(ctx))
		}
	}
	if e.keeper != nil {
		err = errors.Join(err, e.keeper.session.Close(ctx))
	}
	return err
}

// Vaulted are the values of a part of a document that the vault would be asked to
// keep: of a column that has a rule the field, else what was found.
func (e *Engine) Vaulted(column string, v Value, found []pii.Finding) (all []Value) {
	if m := e.columns[column]; m != nil {
		if _, ok := m.(keeper); ok && v.Text != "" {
			v.Type = cmpOr(e.policy.Columns[column].Type, column)
			all = append(all, v)
		}
		return all
	}
	for _, f := range found {
		if _, ok := e.masker(f.Type).(keeper); !ok {
			continue
		}
		part := v
		part.Type = f.Type
		if !v.Number {
			part.Text = v.Text[f.Start:f.End]
		}
		if all = append(all, part); v.Number {
			break // it is masked as a whole
		}
	}
	return all
}

// Keep has the vault keep values, so that masking them is faster: many at once take
// hardly longer than one.
func (e *Engine) Keep(ctx context.Context, values []Value) error {
	if e.keeper == nil || len(values) == 0 {
		return nil
	}
	_, err := e.keeper.maskAll(ctx, values)
	return err
}

func (e *Engine) masker(typ string) Masker {
	if m := e.types[typ]; m != nil {
		return m
	}
	return e.otherwise
}

// Column reports whether the policy has a rule for a column.
func (e *Engine) Column(name string) bool { return e.columns[name] != nil }

// Field is the masked value of a column that has a rule; its type is the column's.
// What is empty stays so.
func (e *Engine) Field(ctx context.Context, column string, v Value) (string, error) {
	return e.field(column, v, func(m Masker, v Value) (string, error) { return m.Mask(ctx, v) })
}

func (e *Engine) field(column string, v Value, do func(Masker, Value) (string, error)) (string, error) {
	m := e.columns[column]
	if m == nil {
		return "", fmt.Errorf("column %s: the policy has no rule for it", column)
	}
	if v.Text == "" {
		return "", nil
	}
	v.Type = cmpOr(e.policy.Columns[column].Type, column)
	out, err := do(m, v)
	if err != nil {
		return "", fmt.Errorf("column %s: %w", column, err)
	}
	return out, nil
}

// Text is a running text with what was found in it masked. Findings are in order
// and do not overlap, as a pii.Scanner returns them.
func (e *Engine) Text(ctx context.Context, text []byte, found []pii.Finding, subject string) ([]byte, error) {
	found = e.withTokens(text, found)
	if len(found) == 0 {
		return text, nil
	}
	masked, err := e.maskAll(ctx, text, found, subject)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(text)+len(text)/8)
	at := 0
	for i, f := range found {
		out = append(append(out, text[at:f.Start]...), masked[i]...)
		at = f.End
	}
	return append(out, text[at:]...), nil
}

// maskAll is what stands for each finding. The vault is asked once for all.
func (e *Engine) maskAll(ctx context.Context, text []byte, found []pii.Finding, subject string) ([]string, error) {
	out := make([]string, len(found))
	var kept []Value
	var places []int
	at := 0
	for i, f := range found {
		if f.Start < at || f.End < f.Start || f.End > len(text) {
			return nil, errors.New("mask: findings that overlap or lie outside of the text")
		}
		at = f.End
		v := Value{Text: string(text[f.Start:f.End]), Type: f.Type, Subject: subject}
		m := e.masker(f.Type)
		if _, ok := m.(keeper); ok {
			kept, places = append(kept, v), append(places, i)
			continue
		}
		var err error
		if out[i], err = m.Mask(ctx, v); err != nil {
			return nil, fmt.Errorf("mask a value of type %s: %w", f.Type, err)
		}
	}
	if len(kept) == 0 {
		return out, nil
	}
	tokens, err := e.keeper.maskAll(ctx, kept)
	if err != nil {
		return nil, fmt.Errorf("mask %d values by the vault: %w", len(kept), err)
	}
	for i, token := range tokens {
		out[places[i]] = token
	}
	return out, nil
}

// Number is a number of JSON masked as a whole, as the first type that was found in
// it.
func (e *Engine) Number(ctx context.Context, text []byte, found []pii.Finding, subject string) ([]byte, error) {
	if len(found) == 0 {
		return text, nil
	}
	out, err := e.masker(found[0].Type).Mask(ctx, Value{Text: string(text), Type: found[0].Type, Subject: subject, Number: true})
	if err != nil {
		return nil, fmt.Errorf("mask a number of type %s: %w", found[0].Type, err)
	}
	return []byte(out), nil
}

// tokenType is that of tokens which were in a text before.
const tokenType = "TOKEN"

// withTokens adds the tokens of this key that a text already has, which would else
// come back as what they stand for and not as they were.
func (e *Engine) withTokens(text []byte, found []pii.Finding) []pii.Finding {
	if e.sealer == nil || e.types[tokenType] == nil && !e.restores() {
		return found
	}
	s := string(text)
	for m, ok := nextMark(s, 0); ok; m, ok = nextMark(s, m.end) {
		if _, err := e.sealer.open(m); m.sep != ':' || err != nil {
			continue
		}
		found = slices.DeleteFunc(slices.Clone(found), func(f pii.Finding) bool { return f.Start < m.end && f.End > m.start })
		at, _ := slices.BinarySearchFunc(found, m.start, func(f pii.Finding, start int) int { return f.Start - start })
		found = slices.Insert(found, at, pii.Finding{Start: m.start, End: m.end, Type: tokenType, Score: 1})
	}
	return found
}

// restores reports whether any rule of running text can be undone.
func (e *Engine) restores() bool {
	if _, ok := e.otherwise.(Restorer); ok {
		return true
	}
	for _, m := range e.types {
		if _, ok := m.(Restorer); ok {
			return true
		}
	}
	return false
}

// RestoreField is what Field masked. The error wraps [ErrOneWay] where the column's
// method cannot be undone.
func (e *Engine) RestoreField(ctx context.Context, column string, v Value) (string, error) {
	return e.field(column, v, func(m Masker, v Value) (string, error) {
		r, ok := m.(Restorer)
		if !ok {
			if _, kept := m.(maskFunc); kept && e.policy.Columns[column].Method == keep.Name {
				return v.Text, nil
			}
			return "", fmt.Errorf("method %s: %w", e.policy.Columns[column].Method, ErrOneWay)
		}
		return r.Restore(ctx, v)
	})
}

// Restored is how many tokens were restored, and how many were not: of another
// key, tenant or vault, or erased. Number says that the whole text was the token
// of a number of JSON.
type Restored struct {
	Done, Foreign int
	Number        bool
}

// Restore is a running text with its tokens replaced by what they stand for.
// Tokens of others stay as they are, and are counted. Where the vault refuses, it
// is an error.
func (e *Engine) Restore(ctx context.Context, text []byte) ([]byte, Restored, error) {
	s := string(text)
	var marks []mark
	for m, ok := nextMark(s, 0); ok; m, ok = nextMark(s, m.end) {
		marks = append(marks, m)
	}
	var known map[string]string
	if e.keeper != nil {
		var err error
		if known, err = e.keeper.openAll(ctx, marks); err != nil {
			return nil, Restored{}, fmt.Errorf("restore: %w", err)
		}
	}
	var n Restored
	var b strings.Builder
	at := 0
	for _, m := range marks {
		value, ok := known[m.String()]
		if m.sep == ':' && e.sealer != nil {
			var err error
			value, err = e.sealer.open(m)
			ok = err == nil
		}
		if !ok {
			if m.plausible() {
				n.Foreign++
			}
			continue
		}
		n.Done++
		n.Number = m.number && m.start == 0 && m.end == len(s)
		b.WriteString(s[at:m.start])
		b.WriteString(value)
		at = m.end
	}
	if n.Done == 0 {
		return text, n, nil
	}
	b.WriteString(s[at:])
	return []byte(b.String()), n, nil
}
