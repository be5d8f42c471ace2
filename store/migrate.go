package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
)

// Migrations lead the tables of a room from nothing to what this version of the
// program expects. Steps are only ever added at the end; what was released is
// not edited, and a database that was led by other steps is refused.
type Migrations struct {
	Room  string
	Steps []string // each one statement, or several with semicolons between
}

// own are the tables of this package.
var own = []string{
	`CREATE TABLE IF NOT EXISTS redoubt_migrations (
		room TEXT NOT NULL, step BIGINT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (room, step))`,
	`CREATE TABLE IF NOT EXISTS redoubt_generations (room TEXT PRIMARY KEY, generation BIGINT NOT NULL)`,
}

func (d *DB) prepare(ctx context.Context) error {
	return d.locked(ctx, func(tx *Tx) error {
		for _, s := range own {
			if _, err := tx.Exec(s); err != nil {
				return fmt.Errorf("make the tables: %w", err)
			}
		}
		return nil
	})
}

// locked runs do while no other node migrates.
func (d *DB) locked(ctx context.Context, do func(tx *Tx) error) error {
	// Not serialisable: the lock is what keeps others out, and a snapshot taken
	// before the lock was granted would not see what they did.
	alone := func(tx *Tx) error {
		if d.kind.lock != "" {
			if _, err := tx.Exec(d.kind.lock); err != nil {
				return fmt.Errorf("wait for others to finish migrating: %w", err)
			}
		}
		return do(tx)
	}
	return d.retry(ctx, func() error { return d.once(ctx, d.write, sql.TxOptions{}, alone) })
}

// Migrate applies the steps that the database has not seen, all or none. It
// returns [ErrNewer] where the database has seen more than there are.
func (d *DB) Migrate(ctx context.Context, m Migrations) error {
	err := d.locked(ctx, func(tx *Tx) error {
		applied, err := tx.applied(m.Room)
		if err != nil {
			return err
		}
		if len(applied) > len(m.Steps) {
			return ErrNewer
		}
		for i, step := range m.Steps {
			if i < len(applied) {
				if applied[i] != digest(step) {
					return fmt.Errorf("step %d differs from the one that made this database: restore the step, and add another after it", i+1)
				}
				continue
			}
			if err := tx.apply(m.Room, i, step); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", m.Room, err)
	}
	return nil
}

// applied are the digests of the steps that a room has seen.
func (t *Tx) applied(room string) ([]string, error) {
	rows, err := t.Query(`SELECT step, digest FROM redoubt_migrations WHERE room = $1 ORDER BY step`, room)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var n int
		var d string
		if err := rows.Scan(&n, &d); err != nil {
			return nil, err
		}
		if n != len(out) {
			return nil, errors.New("the table redoubt_migrations lacks a row: restore a backup")
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

func (t *Tx) apply(room string, n int, step string) error {
	if _, err := t.Exec(step); err != nil {
		return err
	}
	_, err := t.Exec(`INSERT INTO redoubt_migrations (room, step, digest) VALUES ($1, $2, $3)`, room, n, digest(step))
	return err
}

func digest(step string) string {
	d := sha256.Sum256([]byte(step))
	return hex.EncodeToString(d[:])
}
