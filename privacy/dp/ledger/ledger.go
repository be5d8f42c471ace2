package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
	"github.com/redoubt-ml/redoubt/store"
)

// What callers branch on.
var (
	// ErrExhausted says that the budget does not reach. Nothing was reserved.
	ErrExhausted = errors.New("the privacy budget does not reach")
	// ErrEnded says that a reservation was committed or refunded before.
	ErrEnded = errors.New("the reservation has ended")
	// ErrExpired says that a reservation was not committed in time.
	ErrExpired = errors.New("the reservation has expired")
	// ErrNone says that there is no such budget or reservation.
	ErrNone = errors.New("not in the ledger")
)

// Hold is how long a reservation can be committed unless the request says
// otherwise; maxHold is the longest.
const (
	hold    = time.Hour
	maxHold = 30 * 24 * time.Hour
)

var migrations = store.Migrations{Room: "privacy ledger", Steps: []string{`
	CREATE TABLE privacy_accounts (
		dataset TEXT NOT NULL, unit TEXT NOT NULL, state TEXT NOT NULL, entries BIGINT NOT NULL, head TEXT NOT NULL,
		PRIMARY KEY (dataset, unit));
	CREATE TABLE privacy_entries (
		dataset TEXT NOT NULL, unit TEXT NOT NULL, number BIGINT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL,
		PRIMARY KEY (dataset, unit, number));
	CREATE TABLE privacy_reservations (
		id TEXT PRIMARY KEY, dataset TEXT NOT NULL, unit TEXT NOT NULL, idempotency TEXT NOT NULL, digest TEXT NOT NULL,
		owner TEXT NOT NULL, status TEXT NOT NULL, expires BIGINT NOT NULL, steps TEXT NOT NULL,
		epsilon BIGINT NOT NULL, rho BIGINT NOT NULL, delta BIGINT NOT NULL,
		UNIQUE (dataset, unit, idempotency))`,
}}

// Ledger is the budgets in one database. Its methods may be called from several
// goroutines, and from any number of processes on the same database.
type Ledger struct {
	// Now is the clock; nil for the machine's.
	Now func() time.Time

	db   *store.DB
	turn chan struct{} // one writer of this process at a time: they would only conflict
}

// Open makes the tables where there are none.
func Open(ctx context.Context, db *store.DB) (*Ledger, error) {
	if err := db.Migrate(ctx, migrations); err != nil {
		return nil, err
	}
	return &Ledger{db: db, turn: make(chan struct{}, 1)}, nil
}

// Request asks for a part of a budget.
type Request struct {
	Dataset, Unit string
	Adjacency     dp.Adjacency // must be the budget's
	By            string       // who spends, and owns the reservation
	// Key is the caller's name for this very release. Asked for again with the
	// same key, the ledger answers with the reservation that it made the first
	// time; the same key with anything else is refused.
	Key     string
	Purpose string // for people; may be empty
	Steps   []account.Step
	// Hold is how long the reservation can be committed: an hour when 0, at most
	// 30 days.
	Hold time.Duration
}

// Reservation is a part of a budget that was set aside.
type Reservation struct {
	ID      string    `json:"id"`
	Dataset string    `json:"dataset"`
	Unit    string    `json:"unit"`
	Owner   string    `json:"owner"`
	Status  string    `json:"status"` // reserved, committed or refunded
	Expires time.Time `json:"expires"`
	Charge  Charge    `json:"charge"`

	events []event
	key    string
	digest string
}

// Create opens an account. There is one for a data set and unit; a second is
// refused, whatever its budget.
func (l *Ledger) Create(ctx context.Context, b Budget, by string) error {
	if err := errors.Join(b.Check(), checkName("name of who creates it", by)); err != nil {
		return fmt.Errorf("create a budget: %w", err)
	}
	rho, err := rhoFor(b.half())
	if err != nil {
		return fmt.Errorf("create a budget: %w", err)
	}
	return l.update(ctx, func(tx *store.Tx) error {
		text, err := json.Marshal(state{Budget: b, Rho: rho})
		if err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO privacy_accounts (dataset, unit, state, entries, head) VALUES ($1, $2, $3, 0, '')
			ON CONFLICT (dataset, unit) DO NOTHING`, b.Dataset, b.Unit, string(text))
		if err != nil {
			return fmt.Errorf("create the budget of %s, per %s: %w", b.Dataset, b.Unit, err)
		}
		if n == 0 {
			return fmt.Errorf("create a budget: %s has one per %s already, and budgets do not change: see what is left of it", b.Dataset, b.Unit)
		}
		a := &accountRow{dataset: b.Dataset, unit: b.Unit, state: state{Budget: b, Rho: rho}}
		return a.append(tx, l.now(), Entry{Kind: "create", By: by, Budget: &b})
	})
}

// Reserve sets a part of a budget aside. The error is ErrExhausted where it does
// not reach.
func (l *Ledger) Reserve(ctx context.Context, r Request) (Reservation, error) {
	if err := r.check(); err != nil {
		return Reservation{}, fmt.Errorf("reserve: %w", err)
	}
	c, err := charge(r.Adjacency, r.Steps)
	if err != nil {
		return Reservation{}, fmt.Errorf("reserve: %w", err)
	}
	events, err := encodeSteps(r.Steps)
	if err != nil {
		return Reservation{}, err
	}
	digest, err := r.digest(events)
	if err != nil {
		return Reservation{}, err
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	var made Reservation
	err = l.update(ctx, func(tx *store.Tx) error {
		a, err := lock(tx, r.Dataset, r.Unit)
		if err != nil {
			return err
		}
		if a.state.Budget.Adjacency != r.Adjacency {
			return fmt.Errorf("the budget is for %v neighbours, and the release says %v", a.state.Budget.Adjacency, r.Adjacency)
		}
		switch made, err = reservation(tx, `dataset = $1 AND unit = $2 AND idempotency = $3`, r.Dataset, r.Unit, r.Key); {
		case err == nil && made.digest != digest:
			return fmt.Errorf("the key %q was used for something else: give this release one of its own", r.Key)
		case err == nil || !errors.Is(err, ErrNone):
			return err
		}
		if err := a.state.add(c, events); err != nil {
			return err
		}
		now := l.now()
		made = Reservation{ID: hex.EncodeToString(id), Dataset: r.Dataset, Unit: r.Unit, Owner: r.By, Status: "reserved",
			Expires: now.Add(r.hold()), Charge: c, events: events, key: r.Key, digest: digest}
		if err := made.insert(tx); err != nil {
			return err
		}
		return a.append(tx, now, Entry{Kind: "reserve", ID: made.ID, By: r.By, Purpose: r.Purpose, Key: r.Key,
			Expires: made.Expires.UnixMilli(), Charge: &c, Steps: events})
	})
	if err != nil {
		return Reservation{}, fmt.Errorf("reserve: %w", err)
	}
	return made, nil
}

// Commit ends a reservation: it is spent for good. Noise may be drawn after
// Commit returned nil, once, and never otherwise: an error may leave it open
// whether the budget is spent, but a second Commit of the same reservation is
// ErrEnded, so that of several callers one at most draws.
func (l *Ledger) Commit(ctx context.Context, id string) error {
	err := l.end(ctx, id, func(r Reservation, _ *accountRow) (Entry, error) {
		if now := l.now(); now.After(r.Expires) {
			return Entry{}, fmt.Errorf("%w at %s: refund it and reserve anew", ErrExpired, r.Expires.Format(time.RFC3339))
		}
		return Entry{Kind: "commit", ID: id, By: r.Owner}, nil
	})
	if err != nil {
		return fmt.Errorf("commit reservation %.40s: %w", id, err)
	}
	return nil
}

// Refund ends a reservation that was not committed, and gives back what it held.
// Before it expires only its owner can do so.
func (l *Ledger) Refund(ctx context.Context, id, by, reason string) error {
	err := errors.Join(checkName("name of who refunds", by), checkText("reason", reason))
	if err == nil {
		err = l.end(ctx, id, func(r Reservation, a *accountRow) (Entry, error) {
			if by != r.Owner && !l.now().After(r.Expires) {
				return Entry{}, fmt.Errorf("it is %s's until %s: ask the owner, or wait", r.Owner, r.Expires.Format(time.RFC3339))
			}
			return Entry{Kind: "refund", ID: id, By: by, Purpose: reason}, a.state.remove(r.Charge, r.events)
		})
	}
	if err != nil {
		return fmt.Errorf("refund reservation %.40s: %w", id, err)
	}
	return nil
}

// end leads a reservation to its one end.
func (l *Ledger) end(ctx context.Context, id string, do func(Reservation, *accountRow) (Entry, error)) error {
	return l.update(ctx, func(tx *store.Tx) error {
		r, err := reservation(tx, `id = $1`, id)
		if err != nil {
			return err
		}
		if r.Status != "reserved" {
			return fmt.Errorf("%w: it was %s", ErrEnded, r.Status)
		}
		a, err := lock(tx, r.Dataset, r.Unit)
		if err != nil {
			return err
		}
		e, err := do(r, a)
		if err != nil {
			return err
		}
		status := map[string]string{"commit": "committed", "refund": "refunded"}[e.Kind]
		if n, err := tx.Exec(`UPDATE privacy_reservations SET status = $1 WHERE id = $2 AND status = 'reserved'`, status, id); err != nil || n != 1 {
			return errors.Join(err, ErrEnded)
		}
		return a.append(tx, l.now(), e)
	})
}

// update runs do in a transaction, one at a time in this process. Other
// processes are waited for as long as the context allows: who reserves a budget
// would rather wait than be told that others were faster.
func (l *Ledger) update(ctx context.Context, do func(*store.Tx) error) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	for {
		err := l.db.Update(ctx, do)
		if !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// now is the time in what the database keeps, milliseconds.
func (l *Ledger) now() time.Time {
	if l.Now != nil {
		return l.Now().UTC().Truncate(time.Millisecond)
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}

func (r Request) check() error {
	if err := errors.Join(checkName("data set", r.Dataset), checkName("unit", r.Unit), checkName("name of who spends", r.By),
		checkName("key", r.Key), checkText("purpose", r.Purpose)); err != nil {
		return err
	}
	if r.Hold < 0 || r.Hold > maxHold {
		return fmt.Errorf("hold of %v: must be at most %v", r.Hold, maxHold)
	}
	return nil
}

func (r Request) hold() time.Duration {
	if r.Hold == 0 {
		return hold
	}
	return r.Hold
}

// digest is over all that makes two requests the same.
func (r Request) digest(events []event) (string, error) {
	text, err := json.Marshal([]any{r.Dataset, r.Unit, r.Adjacency, r.By, r.Key, r.Purpose, events})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("no %s is given", what)
	}
	if len(s) > 200 || !plain(s) {
		return fmt.Errorf("%s: must be at most 200 bytes of text without control characters", what)
	}
	return nil
}

func checkText(what, s string) error {
	if len(s) > 1000 || !plain(s) {
		return fmt.Errorf("%s: must be at most 1000 bytes of text without control characters", what)
	}
	return nil
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func (r Reservation) insert(tx *store.Tx) error {
	steps, err := json.Marshal(r.events)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO privacy_reservations
		(id, dataset, unit, idempotency, digest, owner, status, expires, steps, epsilon, rho, delta)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		r.ID, r.Dataset, r.Unit, r.key, r.digest, r.Owner, r.Status, r.Expires.UnixMilli(), string(steps),
		r.Charge.Epsilon, r.Charge.Rho, r.Charge.Delta)
	return err
}

// reservation reads one, or returns ErrNone.
func reservation(tx *store.Tx, where string, args ...any) (r Reservation, err error) {
	var expires int64
	var steps string
	err = tx.QueryRow(`SELECT id, dataset, unit, idempotency, digest, owner, status, expires, steps, epsilon, rho, delta
		FROM privacy_reservations WHERE `+where, args...).Scan(&r.ID, &r.Dataset, &r.Unit, &r.key, &r.digest, &r.Owner, &r.Status,
		&expires, &steps, &r.Charge.Epsilon, &r.Charge.Rho, &r.Charge.Delta)
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("no such reservation: %w", ErrNone)
	}
	if err != nil {
		return r, err
	}
	r.Expires = time.UnixMilli(expires).UTC()
	return r, json.Unmarshal([]byte(steps), &r.events)
}
