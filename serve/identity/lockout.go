package identity

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"github.com/redoubt-ml/redoubt/store"
)

// Attempts are counted by what they are made at and by where they come from. The
// first few are free; each after them doubles the wait before the next. Attempts
// during a wait are refused unseen, and do not count.
const (
	freeAccount = 5
	freeAddress = 20 // many people may share one
	longestLock = 15 * time.Minute
	// forgiven is when failures are forgotten.
	forgiven = 24 * time.Hour
)

// guess is what an attempt counts against.
type guess struct {
	account string // what is guessed: a name or the factor of an account
	address string // whence
	known   string // both, for an account that has come from there before
}

// guesses says what an attempt at what counts against. Names are hashed: people
// type passwords into the wrong field.
func guesses(what string, c Client) guess {
	sum := sha256.Sum256([]byte(what))
	who, net := hex.EncodeToString(sum[:16]), network(c.From)
	return guess{"account:" + who, "address:" + net, "known:" + who + "@" + net}
}

// network is an address, or the /64 that a machine with IPv6 may choose from.
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// try counts an attempt before it is made, so that many at once count as many.
// An account that has signed in from here before has a count of its own here:
// guesses from elsewhere cannot keep it out.
func (s *Service) try(ctx context.Context, g guess) error {
	var wait time.Duration
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		wait = 0
		subjects := []struct {
			subject string
			free    int64
		}{{g.account, freeAccount}, {g.address, freeAddress}}
		var seen int64
		switch err := tx.QueryRow(`SELECT seen FROM identity_addresses WHERE subject = $1`, g.known).Scan(&seen); {
		case err == nil:
			subjects[0].subject = g.known
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		counts := make([]int64, len(subjects))
		for i, x := range subjects {
			n, left, err := s.failures(tx, x.subject, x.free)
			if err != nil {
				return err
			}
			counts[i], wait = n, max(wait, left)
		}
		if wait > 0 {
			return nil
		}
		for i, x := range subjects {
			if _, err := tx.Exec(`INSERT INTO identity_failures VALUES ($1, $2, $3)
				ON CONFLICT (subject) DO UPDATE SET count = EXCLUDED.count, last = EXCLUDED.last`, x.subject, counts[i]+1, ms(s.now())); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return unavailable(err)
	}
	if wait > 0 {
		return &Error{Kind: Locked, Wait: wait, Cause: errors.New("earlier attempts failed")}
	}
	return nil
}

// failures is how many attempts failed lately, and how long to wait still.
func (s *Service) failures(tx *store.Tx, subject string, free int64) (n int64, left time.Duration, err error) {
	var last int64
	err = tx.QueryRow(`SELECT count, last FROM identity_failures WHERE subject = $1`, subject).Scan(&n, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	since := s.now().Sub(at(last))
	if err != nil || since >= forgiven {
		return 0, 0, err
	}
	return n, max(0, delay(n, free)-since), nil
}

// delay is the wait after n failures: 1 s after the last that was free, then
// doubled, up to longestLock.
func delay(n, free int64) time.Duration {
	switch over := n - free; {
	case over < 0:
		return 0
	case over >= 10: // 2^10 s is beyond
		return longestLock
	default:
		return min(time.Second<<over, longestLock)
	}
}

// succeeded forgets the failures at an account, takes the attempt back from its
// address (whose other failures stay: an attacker may have an account too), and
// remembers that the account has come from there.
func (s *Service) succeeded(tx *store.Tx, g guess) error {
	for _, q := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM identity_failures WHERE subject = $1 OR subject = $2`, []any{g.account, g.known}},
		{`UPDATE identity_failures SET count = count - 1 WHERE subject = $1 AND count > 0`, []any{g.address}},
		{`INSERT INTO identity_addresses VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET seen = EXCLUDED.seen`, []any{g.known, ms(s.now())}},
	} {
		if _, err := tx.Exec(q.query, q.args...); err != nil {
			return err
		}
	}
	return nil
}
