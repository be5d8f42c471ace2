// Package store keeps the state that must survive a restart: accounts, tokens,
// policies, the log. It speaks to SQLite, which needs nothing and serves one
// machine, and to PostgreSQL, which several nodes may share, and every query is
// written once for both:
//
//	db, err := store.Open(ctx, "sqlite:/var/lib/redoubt/redoubt.db")
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	err = db.Migrate(ctx, store.Migrations{Room: "policy", Steps: []string{
//		`CREATE TABLE policies (name TEXT PRIMARY KEY, body TEXT NOT NULL, changed BIGINT NOT NULL)`,
//	}})
//	err = db.Update(ctx, func(tx *store.Tx) error {
//		if _, err := tx.Exec(`INSERT INTO policies VALUES ($1, $2, $3)`, name, body, now.UnixMilli()); err != nil {
//			return err
//		}
//		return tx.Bump("policy")
//	})
//
// # One dialect
//
// Both databases understand TEXT, BIGINT, BOOLEAN, BYTEA and DOUBLE PRECISION,
// placeholders $1, $2, ..., INSERT ... ON CONFLICT (...) DO UPDATE or NOTHING,
// and RETURNING. Times are BIGINT, in milliseconds since 1970 UTC. Rooms make
// their own keys, for the two differ in how they count rows.
//
// # Promises
//
// A transaction is serialisable: whatever runs beside it, the outcome is as if
// they had run one after the other. What is committed is on the disk. A node
// that reads [DB.Generation] learns that another has changed something, and so
// can answer from memory between changes.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrConflict says that a transaction was tried again until its bound, because
// others kept changing what it read. Nothing was written.
var ErrConflict = errors.New("others keep changing the same records: try again later")

// ErrNewer says that a database was written by a newer version of the program.
var ErrNewer = errors.New("the database was written by a newer version of redoubt: run that version, or restore a backup from before it")

// DB is an open database. Its methods may be called from several goroutines.
type DB struct {
	write, read *sql.DB // the same for PostgreSQL
	kind        dialect
}

// dialect is what differs between the databases.
type dialect struct {
	// isolation of transactions that write, and of those that only read.
	write, read sql.TxOptions
	// lock takes the lock of migrations within a transaction; "" where the
	// transaction itself keeps others out.
	lock string
	// conflict reports whether a failed transaction is worth another attempt.
	conflict func(error) bool
	backup   func(ctx context.Context, d *DB, path string) error
}

// Open opens a database: a path, or "sqlite:PATH", is an SQLite file, made where
// there is none and readable by its owner only; "postgres://..." is a PostgreSQL
// server, which must show a certificate for its name unless it is on this machine
// or the address says otherwise by sslmode.
func Open(ctx context.Context, url string) (*DB, error) {
	var d *DB
	var err error
	switch {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		d, err = openPostgres(url)
	case strings.Contains(url, "://"):
		scheme, _, _ := strings.Cut(url, ":") // the rest may hold a password
		return nil, fmt.Errorf("open the database: %q is no kind of database: give a path, sqlite:PATH or postgres://HOST/NAME", scheme)
	default:
		d, err = openSQLite(strings.TrimPrefix(url, "sqlite:"))
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := d.prepare(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return d, nil
}

// Close waits for running queries and closes the database.
func (d *DB) Close() error {
	if d.read == d.write {
		return d.write.Close()
	}
	return errors.Join(d.read.Close(), d.write.Close())
}

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	if err := d.read.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}

// Backup writes a consistent copy of an SQLite database to a new file, while it
// is in use. A PostgreSQL server has better means of its own, which the error
// names.
func (d *DB) Backup(ctx context.Context, path string) error {
	if err := d.kind.backup(ctx, d, path); err != nil {
		return fmt.Errorf("back the database up: %w", err)
	}
	return nil
}

// Generation is the number of changes that were made to a room, as they count
// themselves with [Tx.Bump]: 0 before the first.
func (d *DB) Generation(ctx context.Context, room string) (int64, error) {
	var n int64
	err := d.read.QueryRowContext(ctx, `SELECT generation FROM redoubt_generations WHERE room = $1`, room).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read the generation of %s: %w", room, err)
	}
	return n, nil
}

// Follow reads the generation of a room at every interval until the context
// ends, and calls changed when it differs from the one known, again each time
// until changed returns nil. A failure to read is passed to changed too, with the
// generation last known: the caller decides how long what it holds may be
// trusted.
func (d *DB) Follow(ctx context.Context, room string, known int64, every time.Duration, changed func(generation int64, err error) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := d.Generation(ctx, room)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			changed(known, err)
		case n != known && changed(n, nil) == nil:
			known = n
		}
	}
}
