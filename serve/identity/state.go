package identity

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt/store"
)

const (
	// pollEvery and tendEvery are how often changes of other nodes are looked
	// for, and how often what was used is written down.
	pollEvery = time.Second
	tendEvery = time.Minute
	// kept is for how long what has ended can still be looked at.
	kept = 30 * 24 * time.Hour
)

type digest = [sha256.Size]byte

// state is what the hot path reads: a copy of the tables, brought up to date by
// reading what later generations changed. Entries are replaced, never edited,
// but for their atomic fields.
type state struct {
	loading sync.Mutex // held while the tables are read

	mu         sync.RWMutex
	generation int64
	revision   int64 // counts the changes of accounts that were learnt
	accounts   map[string]*Account
	logins     map[string]string // to ids
	tokens     map[digest]*token
	tokenIDs   map[string]*token
	sessions   map[digest]*session
	sessionIDs map[string]*session
}

// token is a Token with its hash. used is in milliseconds, and dirty since it
// was written last.
type token struct {
	Token
	digest digest
	used   atomic.Int64
	dirty  atomic.Bool
}

type session struct {
	Session
	digest digest
	seen   atomic.Int64
	dirty  atomic.Bool
}

func (st *state) init() {
	st.accounts, st.logins = map[string]*Account{}, map[string]string{}
	st.tokens, st.tokenIDs = map[digest]*token{}, map[string]*token{}
	st.sessions, st.sessionIDs = map[digest]*session{}, map[string]*session{}
}

// delta is what changed since a generation.
type delta struct {
	generation int64
	accounts   []*Account
	logins     []string
	tokens     []*token
	sessions   []*session
	ended      []string // sessions
	revoked    []string // tokens
}

// refresh brings the state up to date.
func (s *Service) refresh(ctx context.Context) error {
	st := &s.state
	st.loading.Lock()
	defer st.loading.Unlock()
	var d *delta
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		d, err = readDelta(tx, st.generation)
		return err
	})
	if err != nil {
		return fmt.Errorf("read what changed: %w", err)
	}
	st.apply(d)
	return nil
}

func (st *state) apply(d *delta) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.generation = d.generation
	if len(d.accounts) > 0 {
		st.revision++
	}
	for i, a := range d.accounts {
		if d.logins[i] != "" {
			st.logins[d.logins[i]] = a.ID
		}
		st.accounts[a.ID] = a
	}
	for _, id := range d.revoked {
		if t := st.tokenIDs[id]; t != nil {
			delete(st.tokens, t.digest)
			delete(st.tokenIDs, id)
		}
	}
	for _, t := range d.tokens {
		if old := st.tokenIDs[t.ID]; old != nil {
			t.used.Store(max(t.used.Load(), old.used.Load()))
			t.dirty.Store(old.dirty.Load())
		}
		st.tokens[t.digest], st.tokenIDs[t.ID] = t, t
	}
	for _, id := range d.ended {
		st.forget(id)
	}
	for _, e := range d.sessions {
		if old := st.sessionIDs[e.ID]; old != nil {
			e.seen.Store(max(e.seen.Load(), old.seen.Load()))
			e.dirty.Store(old.dirty.Load())
			delete(st.sessions, old.digest) // it may have been rotated
		}
		st.sessions[e.digest], st.sessionIDs[e.ID] = e, e
	}
}

// forget drops a session.
func (st *state) forget(id string) {
	if old := st.sessionIDs[id]; old != nil {
		delete(st.sessions, old.digest)
		delete(st.sessionIDs, id)
	}
}

func readDelta(tx *store.Tx, since int64) (*delta, error) {
	n, err := tx.Generation(room)
	if err != nil {
		return nil, err
	}
	d := &delta{generation: n}
	if n == since && n > 0 {
		return d, nil
	}
	for _, read := range []func(*store.Tx, int64) error{d.readAccounts, d.readTokens, d.readSessions} {
		if err := read(tx, since); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *delta) readAccounts(tx *store.Tx, since int64) error {
	return each(tx, func(rows *sql.Rows) error {
		a := new(Account)
		var login sql.NullString
		var roles, groups string
		var created, vouched int64
		if err := rows.Scan(&a.ID, &login, &a.Name, &roles, &groups, &a.Disabled, &a.SecondFactor, &created, &vouched); err != nil {
			return err
		}
		if err := decode(roles, &a.Roles, groups, &a.Groups); err != nil {
			return err
		}
		a.Created, a.Vouched = at(created), at(vouched)
		d.accounts, d.logins = append(d.accounts, a), append(d.logins, login.String)
		return nil
	}, `SELECT id, login, name, roles, teams, disabled, second, created, vouched FROM identity_accounts WHERE generation > $1`, since)
}

func (d *delta) readTokens(tx *store.Tx, since int64) error {
	return each(tx, func(rows *sql.Rows) error {
		t := new(token)
		var sum []byte
		var scopes string
		var created, expires, used int64
		var revoked bool
		if err := rows.Scan(&t.ID, &t.Account, &t.Name, &sum, &scopes, &created, &expires, &used, &revoked); err != nil {
			return err
		}
		if revoked {
			d.revoked = append(d.revoked, t.ID)
			return nil
		}
		if err := decode(scopes, &t.Scopes); err != nil {
			return err
		}
		t.Created, t.Expires = at(created), at(expires)
		t.used.Store(used)
		if copy(t.digest[:], sum) != len(t.digest) {
			return fmt.Errorf("token %s: a hash of %d bytes", t.ID, len(sum))
		}
		d.tokens = append(d.tokens, t)
		return nil
	}, `SELECT id, account, name, digest, scopes, created, expires, used, revoked FROM identity_tokens WHERE generation > $1`, since)
}

func (d *delta) readSessions(tx *store.Tx, since int64) error {
	return each(tx, func(rows *sql.Rows) error {
		e := new(session)
		var sum []byte
		var created, verified, seen int64
		var ended bool
		if err := rows.Scan(&e.ID, &sum, &e.Account, &e.Method, &e.Agent, &e.From, &created, &verified, &seen, &ended); err != nil {
			return err
		}
		if ended {
			d.ended = append(d.ended, e.ID)
			return nil
		}
		e.Created, e.Verified = at(created), at(verified)
		e.seen.Store(seen)
		if copy(e.digest[:], sum) != len(e.digest) {
			return fmt.Errorf("session %s: a hash of %d bytes", e.ID, len(sum))
		}
		d.sessions = append(d.sessions, e)
		return nil
	}, `SELECT id, digest, account, method, agent, address, created, verified, seen, ended FROM identity_sessions WHERE generation > $1`, since)
}

// each calls do for every row of a query.
func each(tx *store.Tx, do func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// decode reads pairs of JSON text and list.
func decode(pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := json.Unmarshal([]byte(pairs[i].(string)), pairs[i+1]); err != nil {
			return fmt.Errorf("read a list: %w", err)
		}
	}
	return nil
}

// list is a list of words as the tables hold it.
func list(words []string) string {
	b, err := json.Marshal(words)
	if err != nil {
		panic(err) // strings always can be
	}
	return string(b)
}

// at is a time as the tables hold it; 0 is never.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// ms is the inverse of at.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// follow learns what other nodes change.
func (s *Service) follow(ctx context.Context) {
	// What cannot be read now is read when it can be; until then the state stays
	// as it is.
	s.db.Follow(ctx, room, 0, pollEvery, func(_ int64, err error) error {
		if err != nil {
			return err
		}
		return s.refresh(ctx)
	})
}

// tend writes down what was used, and throws away what is over.
func (s *Service) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.flush(ctx) // what fails now is written the next time
			s.sweep(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.flush(last)
			return
		}
	}
}

// flush writes when tokens and sessions were last used, all in one change.
func (s *Service) flush(ctx context.Context) error {
	s.state.mu.RLock()
	tokens, sessions := maps.Clone(s.state.tokenIDs), maps.Clone(s.state.sessionIDs)
	s.state.mu.RUnlock()
	maps.DeleteFunc(tokens, func(_ string, t *token) bool { return !t.dirty.Swap(false) })
	maps.DeleteFunc(sessions, func(_ string, e *session) bool { return !e.dirty.Swap(false) })
	if len(tokens)+len(sessions) == 0 {
		return nil
	}
	err := s.update(ctx, func(tx *store.Tx, n int64) error {
		for id, t := range tokens {
			if _, err := tx.Exec(`UPDATE identity_tokens SET used = $2, generation = $3 WHERE id = $1 AND used < $2`, id, t.used.Load(), n); err != nil {
				return err
			}
		}
		for id, e := range sessions {
			if _, err := tx.Exec(`UPDATE identity_sessions SET seen = $2, generation = $3 WHERE id = $1 AND seen < $2`, id, e.seen.Load(), n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, t := range tokens {
			t.dirty.Store(true)
		}
		for _, e := range sessions {
			e.dirty.Store(true)
		}
	}
	return err
}

// sweep deletes what is long over, here and in the tables.
func (s *Service) sweep(ctx context.Context) error {
	now := s.now()
	s.state.mu.Lock()
	for id, e := range s.state.sessionIDs {
		if s.over(e, now) {
			s.state.forget(id)
		}
	}
	for id, t := range s.state.tokenIDs {
		if now.Sub(t.Expires) > kept {
			delete(s.state.tokens, t.digest)
			delete(s.state.tokenIDs, id)
		}
	}
	s.state.mu.Unlock()
	return s.db.Update(ctx, func(tx *store.Tx) error {
		for _, old := range []struct {
			query string
			time  time.Time
		}{
			{`DELETE FROM identity_sessions WHERE seen < $1`, now.Add(-kept)},
			{`DELETE FROM identity_tokens WHERE expires < $1`, now.Add(-kept)},
			{`DELETE FROM identity_enrolments WHERE expires < $1`, now},
			{`DELETE FROM identity_spent WHERE expires < $1`, now},
			{`DELETE FROM identity_failures WHERE last < $1`, now.Add(-forgiven)},
			{`DELETE FROM identity_addresses WHERE seen < $1`, now.Add(-kept)},
		} {
			if _, err := tx.Exec(old.query, ms(old.time)); err != nil {
				return err
			}
		}
		return nil
	})
}
