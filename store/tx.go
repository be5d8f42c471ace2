package store

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// attempts is how often a transaction is tried before ErrConflict.
	attempts = 12
	// firstPause is the mean wait after the first conflict; it doubles up to
	// longestPause. A dozen attempts take 2 s at most.
	firstPause   = 2 * time.Millisecond
	longestPause = 250 * time.Millisecond
	// idle is how many connections to a server wait for work.
	idle = 4
)

// Tx is a transaction. It is valid until the function that was given it
// returns, runs under the context of the call, and must not be used by two
// goroutines at once.
type Tx struct {
	ctx context.Context
	tx  *sql.Tx
}

// Update runs do in a transaction and commits what it did, unless it returns an
// error. When others changed what it read, it is rolled back and done again, a
// bounded number of times: do must have no effect but through tx, and set
// variables outside of it afresh at each call.
//
// An error of the commit itself may leave it open whether the changes were
// written, if the connection was lost at that moment.
func (d *DB) Update(ctx context.Context, do func(tx *Tx) error) error {
	return d.retry(ctx, func() error { return d.once(ctx, d.write, d.kind.write, do) })
}

// View runs do in a transaction that reads one state of the database, whatever
// is written meanwhile, and cannot write. It too may be done again.
func (d *DB) View(ctx context.Context, do func(tx *Tx) error) error {
	return d.retry(ctx, func() error { return d.once(ctx, d.read, d.kind.read, do) })
}

// retry makes attempts until one meets no conflict.
func (d *DB) retry(ctx context.Context, attempt func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := attempt()
		if err == nil || !d.kind.conflict(err) {
			return err
		}
		if n == attempts {
			return fmt.Errorf("%w (%v)", ErrConflict, err)
		}
		// Jitter parts transactions that met; it decides no result.
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

func (d *DB) once(ctx context.Context, pool *sql.DB, opts sql.TxOptions, do func(tx *Tx) error) error {
	tx, err := pool.BeginTx(ctx, &opts)
	for n := 0; err != nil && n < idle && ctx.Err() == nil && !d.kind.conflict(err); n++ {
		// Connections that lay idle are lost when the server starts anew, and are
		// found out one by one.
		tx, err = pool.BeginTx(ctx, &opts)
	}
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer tx.Rollback() // does nothing after a commit; also when do panics
	if err := do(&Tx{ctx, tx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit a transaction: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Query runs a query for any number of rows, which the caller must close before
// the next statement.
func (t *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, query, args...)
}

// QueryRow runs a query for one row; where there is none, Scan returns
// [sql.ErrNoRows].
func (t *Tx) QueryRow(query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(t.ctx, query, args...)
}

// Bump counts a change to a room, so that other nodes see it; see
// [DB.Generation].
func (t *Tx) Bump(room string) error {
	_, err := t.Exec(`INSERT INTO redoubt_generations (room, generation) VALUES ($1, 1)
		ON CONFLICT (room) DO UPDATE SET generation = redoubt_generations.generation + 1`, room)
	if err != nil {
		return fmt.Errorf("count a change to %s: %w", room, err)
	}
	return nil
}

// Generation is [DB.Generation] as of the state that the transaction reads: what
// is read beside it is of that generation exactly.
func (t *Tx) Generation(room string) (int64, error) {
	var n int64
	err := t.QueryRow(`SELECT COALESCE(MAX(generation), 0) FROM redoubt_generations WHERE room = $1`, room).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read the generation of %s: %w", room, err)
	}
	return n, nil
}
