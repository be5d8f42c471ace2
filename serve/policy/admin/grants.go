package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
)

// Grants are all grants, also those that have expired, sorted by id.
func (k *Keeper) Grants(ctx context.Context) ([]policy.Grant, error) {
	s, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	return s.Grants, nil
}

// Grant gives a role or a permission. The grant's id, author, time and reason
// are set here.
func (k *Keeper) Grant(ctx context.Context, ch Change, g policy.Grant) (policy.Grant, error) {
	if err := k.decide(ctx, &ch, policy.Create, grantResource(&ch, g)); err != nil {
		return policy.Grant{}, err
	}
	g.ID, g.By, g.Created, g.Reason = newID(), ch.By.ID, k.instant(), ch.Reason
	err := k.change(ctx, &ch, func(s *state) (plan, error) {
		if err := k.cfg.Engine.Check(policy.State{Grants: append(s.Grants, g), Documents: s.Documents}); err != nil {
			return plan{}, input(err)
		}
		return plan{action: "grant.create", resource: "grant:" + g.ID, after: text(g), write: insert(g)}, nil
	})
	if err != nil {
		return policy.Grant{}, err
	}
	return g, nil
}

// Revoke takes a grant away.
func (k *Keeper) Revoke(ctx context.Context, ch Change, id string) error {
	return k.change(ctx, &ch, func(s *state) (plan, error) {
		i := slices.IndexFunc(s.Grants, func(g policy.Grant) bool { return g.ID == id })
		if i < 0 {
			return plan{}, fmt.Errorf("revoke grant %q: %w", id, ErrNotFound)
		}
		if err := k.decide(ctx, &ch, policy.Delete, grantResource(&ch, s.Grants[i])); err != nil {
			return plan{}, err
		}
		return plan{action: "grant.delete", resource: "grant:" + id, before: text(s.Grants[i]), write: remove(id)}, nil
	})
}

// Leave takes away every grant of a principal who leaves, all or none, and
// returns them. Grants of groups are not his: take him out of the groups.
func (k *Keeper) Leave(ctx context.Context, ch Change, principal string) (taken []policy.Grant, err error) {
	if err := k.decide(ctx, &ch, policy.Delete, policy.Resource{Kind: policy.KindGrant, Owner: principal}); err != nil {
		return nil, err
	}
	err = k.change(ctx, &ch, func(s *state) (plan, error) {
		taken = nil
		var ids []string
		for _, g := range s.Grants {
			if g.Subject == principal {
				taken = append(taken, g)
				ids = append(ids, g.ID)
			}
		}
		return plan{
			action: "grant.delete", resource: principal, before: text(taken), after: "[]",
			details: map[string]string{"grants": strconv.Itoa(len(taken)), "leaves": "true"},
			write:   remove(ids...),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// grantResource is a grant as policies see it. Who gives to a group of his own
// gives to himself.
func grantResource(ch *Change, g policy.Grant) policy.Resource {
	r := policy.Resource{Kind: policy.KindGrant, Name: g.ID, Owner: g.Subject}
	if group, ok := strings.CutPrefix(g.Subject, "group:"); ok && slices.Contains(ch.By.Groups, group) {
		r.Owner = ch.By.ID
	}
	return r
}

func insert(g policy.Grant) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO policy_grants (id, body) VALUES ($1, $2)`, g.ID, text(g))
		return err
	}
}

func remove(ids ...string) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		for _, id := range ids {
			n, err := tx.Exec(`DELETE FROM policy_grants WHERE id = $1`, id)
			if err == nil && n != 1 {
				err = ErrStale
			}
			if err != nil {
				return fmt.Errorf("take away grant %q: %w", id, err)
			}
		}
		return nil
	}
}
