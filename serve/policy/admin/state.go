package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
)

// room is the name under which changes are counted.
const room = "policy"

var migrations = store.Migrations{Room: room, Steps: []string{`
	CREATE TABLE policy_grants (id TEXT PRIMARY KEY, body TEXT NOT NULL);
	CREATE TABLE policy_documents (
		id TEXT NOT NULL, version BIGINT NOT NULL, deleted BOOLEAN NOT NULL, body TEXT NOT NULL,
		PRIMARY KEY (id, version));
	CREATE TABLE policy_plans (model TEXT PRIMARY KEY, body TEXT NOT NULL);
	CREATE TABLE policy_reviews (id TEXT PRIMARY KEY, body TEXT NOT NULL);
`}}

// state is what the database held at one moment.
type state struct {
	policy.State
	generation int64
	versions   map[string]int // the last of each document, deleted ones too
}

func (k *Keeper) read(ctx context.Context) (*state, error) {
	var s *state
	err := k.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		s = &state{versions: map[string]int{}}
		if s.generation, err = tx.Generation(room); err != nil {
			return err
		}
		if s.Grants, err = bodies[policy.Grant](tx, `SELECT body FROM policy_grants ORDER BY id`); err != nil {
			return err
		}
		s.Documents, err = s.readDocuments(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read permissions: %w", err)
	}
	return s, nil
}

// readDocuments are the last versions of those that were not deleted.
func (s *state) readDocuments(tx *store.Tx) (out []policy.Document, err error) {
	rows, err := tx.Query(`SELECT d.deleted, d.body FROM policy_documents d
		WHERE d.version = (SELECT MAX(version) FROM policy_documents WHERE id = d.id) ORDER BY d.id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var deleted bool
		var body string
		if err := rows.Scan(&deleted, &body); err != nil {
			return nil, err
		}
		var d policy.Document
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			return nil, err
		}
		if s.versions[d.ID] = d.Version; !deleted {
			out = append(out, d)
		}
	}
	return out, rows.Err()
}

// bodies are the JSON texts that a query finds.
func bodies[T any](tx *store.Tx, query string, args ...any) (out []T, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// text is the JSON of a value of this package, none of which can fail.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// instant is a time as it is kept: in UTC, in whole milliseconds.
func (k *Keeper) instant() time.Time { return k.cfg.Now().UTC().Truncate(time.Millisecond) }
