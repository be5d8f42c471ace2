package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
)

// ETag is what a document's version is known by in HTTP (RFC 9110, section
// 8.8.3), quotation marks included.
func ETag(d policy.Document) string {
	sum := sha256.Sum256([]byte(text(d)))
	return fmt.Sprintf(`"%d-%x"`, d.Version, sum[:8])
}

// Documents are the current versions of all documents, sorted by id.
func (k *Keeper) Documents(ctx context.Context) ([]policy.Document, error) {
	s, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	return s.Documents, nil
}

// Versions are all versions of a document, the first first. One with an empty
// text is where it was deleted.
func (k *Keeper) Versions(ctx context.Context, id string) (out []policy.Document, err error) {
	err = k.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		out, err = bodies[policy.Document](tx, `SELECT body FROM policy_documents WHERE id = $1 ORDER BY version`, id)
		return err
	})
	if err == nil && len(out) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the versions of document %q: %w", id, err)
	}
	return out, nil
}

// SetDocument makes a new version of a document of custom policies. What it
// replaces is named by its ETag; "" says that there is none yet. [ErrStale] is
// returned where that is not so.
func (k *Keeper) SetDocument(ctx context.Context, ch Change, id, policies, match string) (policy.Document, error) {
	d := policy.Document{ID: id, Text: policies}
	if err := k.decide(ctx, &ch, policy.Change, policy.Resource{Kind: policy.KindPolicy, Name: id}); err != nil {
		return d, err
	}
	if err := d.Check(); err != nil {
		return d, input(err)
	}
	d.By, d.Created, d.Reason = ch.By.ID, k.instant(), ch.Reason
	err := k.change(ctx, &ch, func(s *state) (plan, error) {
		before, err := s.matching(id, match)
		if err != nil {
			return plan{}, err
		}
		d.Version = s.versions[id] + 1
		if err := k.cfg.Engine.Check(policy.State{Grants: s.Grants, Documents: replaced(s.Documents, d)}); err != nil {
			return plan{}, input(err)
		}
		return plan{action: "policy.change", resource: "policy:" + id, before: before.Text, after: d.Text, write: version(d, false)}, nil
	})
	if err != nil {
		return policy.Document{}, err
	}
	return d, nil
}

// DeleteDocument takes a document out of what is decided by. Its versions stay
// to be read.
func (k *Keeper) DeleteDocument(ctx context.Context, ch Change, id, match string) error {
	if err := k.decide(ctx, &ch, policy.Delete, policy.Resource{Kind: policy.KindPolicy, Name: id}); err != nil {
		return err
	}
	return k.change(ctx, &ch, func(s *state) (plan, error) {
		before, err := s.matching(id, match)
		if err != nil {
			return plan{}, err
		}
		if before.ID == "" {
			return plan{}, fmt.Errorf("delete document %q: %w", id, ErrNotFound)
		}
		end := policy.Document{ID: id, Version: before.Version + 1, By: ch.By.ID, Created: k.instant(), Reason: ch.Reason}
		return plan{action: "policy.delete", resource: "policy:" + id, before: before.Text, write: version(end, true)}, nil
	})
}

// matching is the current version of a document, zero if there is none, if it is
// the one that the caller read.
func (s *state) matching(id, match string) (policy.Document, error) {
	i := slices.IndexFunc(s.Documents, func(d policy.Document) bool { return d.ID == id })
	var d policy.Document
	tag := ""
	if i >= 0 {
		d = s.Documents[i]
		tag = ETag(d)
	}
	if tag != match {
		return d, fmt.Errorf("document %q: %w", id, ErrStale)
	}
	return d, nil
}

// replaced are documents with one in the place of that of its id.
func replaced(all []policy.Document, d policy.Document) []policy.Document {
	out := slices.DeleteFunc(slices.Clone(all), func(e policy.Document) bool { return e.ID == d.ID })
	return append(out, d)
}

func version(d policy.Document, deleted bool) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO policy_documents (id, version, deleted, body) VALUES ($1, $2, $3, $4)`, d.ID, d.Version, deleted, text(d))
		return err
	}
}
