package mask

import (
	"context"
	"errors"
	"slices"

	"github.com/redoubt-ml/redoubt/privacy/vault"
)

var vaulted = Method{
	Name: "vault", Doc: "the type and a random name, [PERSON#...], for what a vault keeps: only who is granted it gets back, and what is erased is gone",
	New: func(_ Rule, in Settings) (Masker, error) {
		if in.Vault == nil {
			return nil, errors.New("needs a vault")
		}
		return newKeeper(in), nil
	},
}

type keeper struct {
	in      Settings
	session *vault.Session
}

func newKeeper(in Settings) keeper {
	return keeper{in, in.Vault.Session(vault.Reader{Name: in.Who, Reason: in.Reason})}
}

func (k keeper) Mask(ctx context.Context, v Value) (string, error) {
	out, err := k.maskAll(ctx, []Value{v})
	if err != nil {
		return "", err
	}
	return out[0], nil
}

// maskAll asks the vault once for many.
func (k keeper) maskAll(ctx context.Context, all []Value) (out []string, err error) {
	for part := range slices.Chunk(all, vault.MaxBatch) {
		values := make([]vault.Value, len(part))
		for i, v := range part {
			values[i] = vault.Value{Tenant: k.in.Tenant, Type: v.Type, Subject: v.Subject, Text: v.Text}
		}
		tokens, err := k.in.Vault.Tokens(ctx, k.in.Who, values)
		if err != nil {
			return nil, err
		}
		for i, v := range part {
			out = append(out, mark{typ: v.Type, number: v.Number, sep: '#', body: tokens[i]}.String())
		}
	}
	return out, nil
}

func (k keeper) Restore(ctx context.Context, v Value) (string, error) {
	m, ok := parseMark(v.Text)
	if !ok {
		return "", errForeign
	}
	known, err := k.openAll(ctx, []mark{m})
	if err != nil {
		return "", err
	}
	text, ok := known[m.String()]
	if !ok {
		return "", errForeign
	}
	return text, nil
}

// openAll is what those of the marks stand for that the vault knows, by the mark.
func (k keeper) openAll(ctx context.Context, marks []mark) (map[string]string, error) {
	var tokens []string
	asked := map[string]bool{}
	for _, m := range marks {
		if m.sep == '#' && vault.IsToken(m.body) && !asked[m.body] {
			asked[m.body] = true
			tokens = append(tokens, m.body)
		}
	}
	known := map[string]string{}
	for part := range slices.Chunk(tokens, vault.MaxBatch) {
		values, err := k.session.Reveal(ctx, part)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if v.Type != "" && v.Tenant == k.in.Tenant {
				m := mark{typ: v.Type, sep: '#', body: part[i]}
				known[m.String()] = v.Text
				m.number = true
				known[m.String()] = v.Text
			}
		}
	}
	return known, nil
}
