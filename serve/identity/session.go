package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// Cookie is the name of the cookie that holds a session: set it Secure, HttpOnly,
// SameSite=Lax and with the path /, as its prefix demands of browsers (RFC
// 6265bis, section 4.1.3).
const Cookie = "__Host-redoubt"

// mostSessions is how many a person may have; the one not used for longest makes
// room.
const mostSessions = 20

// Session is a browser that somebody signed in with.
type Session struct {
	ID       string    `json:"id"` // [redoubt.Principal.Credential] of what it does
	Account  string    `json:"account"`
	Method   string    `json:"method"` // see [redoubt.Principal.Method]
	Agent    string    `json:"agent"`  // what the browser calls itself
	From     string    `json:"from"`
	Created  time.Time `json:"created"`
	Verified time.Time `json:"verified,omitzero"`
	Seen     time.Time `json:"seen"` // when it was used last, to the minute
}

// Client is where a login comes from.
type Client struct {
	From  netip.Addr
	Agent string // the header User-Agent; its beginning is kept
}

// bySession finds a session and holds its owner to the second factor that
// administrators must have shown.
func (s *Service) bySession(cookie string) (redoubt.Principal, error) {
	e, a, err := s.session(cookie)
	if err != nil {
		return redoubt.Principal{}, err
	}
	if a.administers() && e.Verified.IsZero() {
		return redoubt.Principal{}, refuse(SecondFactor, "%s administers", a.ID)
	}
	return e.principal(a), nil
}

func (e *session) principal(a *Account) redoubt.Principal {
	p := a.principal()
	p.Method, p.Credential, p.Verified = e.Method, e.ID, e.Verified
	return p
}

// session is the session of a cookie, in use.
func (s *Service) session(cookie string) (*session, *Account, error) {
	if len(cookie) > 64 {
		return nil, nil, refuse(Invalid, "a session of %d characters", len(cookie))
	}
	sum := sha256.Sum256([]byte(cookie))
	s.state.mu.RLock()
	e := s.state.sessions[sum]
	s.state.mu.RUnlock()
	if e == nil {
		return nil, nil, refuse(Invalid, "no such session")
	}
	a, err := s.live(e.Account)
	if err != nil {
		return nil, nil, err
	}
	now := s.now()
	if s.over(e, now) {
		return nil, nil, refuse(Expired, "%s of %s", e.ID, e.Account)
	}
	if ms := now.UnixMilli(); ms-e.seen.Load() >= 1000 {
		e.seen.Store(ms)
		e.dirty.Store(true)
	}
	return e, a, nil
}

// over reports whether a session has lived, or lain idle, for too long.
func (s *Service) over(e *session, now time.Time) bool {
	return now.Sub(e.Created) >= s.cfg.Absolute || now.Sub(at(e.seen.Load())) >= s.cfg.Idle
}

// begin opens a session for somebody who has proved who he is, and returns its
// cookie.
func (s *Service) begin(ctx context.Context, account, method string, verified time.Time, c Client) (cookie string, err error) {
	e := Session{ID: newID("session:"), Account: account, Method: method, Created: s.now(), Verified: verified}
	return s.open(ctx, e, c, func(*store.Tx) error { return nil })
}

// open opens a session that somebody has a right to, and returns its cookie, after
// what else belongs to the change. The entry is written first.
func (s *Service) open(ctx context.Context, e Session, c Client, first func(*store.Tx) error) (cookie string, err error) {
	cookie = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(cookie))
	ev := redoubt.Event{Action: "session.login", Outcome: redoubt.Allowed, Actor: e.Account, Method: e.Method, Credential: e.ID, From: from(c), Resource: e.Account}
	return cookie, s.change(ctx, ev, func(tx *store.Tx, n int64) error {
		if err := first(tx); err != nil {
			return err
		}
		if err := s.makeRoom(tx, e.Account, n); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO identity_sessions VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10)`,
			e.ID, sum[:], e.Account, e.Method, agent(c), from(c), ms(e.Created), ms(e.Verified), ms(s.now()), n)
		return err
	})
}

// makeRoom ends the sessions beyond those that an account may have.
func (s *Service) makeRoom(tx *store.Tx, account string, generation int64) error {
	_, err := tx.Exec(`UPDATE identity_sessions SET ended = TRUE, generation = $2 WHERE NOT ended AND account = $1 AND id NOT IN
		(SELECT id FROM identity_sessions WHERE NOT ended AND account = $1 ORDER BY seen DESC, id LIMIT $3)`, account, generation, mostSessions-1)
	return err
}

// confirm gives a session whose owner showed a second factor a new cookie, so
// that one planted before is worth nothing after.
func (s *Service) confirm(ctx context.Context, e *session, c Client) (cookie string, err error) {
	cookie = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(cookie))
	ev := redoubt.Event{Action: "session.confirm", Outcome: redoubt.Allowed, Actor: e.Account, Method: e.Method, Credential: e.ID, From: from(c), Resource: e.Account}
	return cookie, s.change(ctx, ev, func(tx *store.Tx, n int64) error {
		changed, err := tx.Exec(`UPDATE identity_sessions SET digest = $2, verified = $3, generation = $4 WHERE id = $1 AND NOT ended AND digest = $5`,
			e.ID, sum[:], ms(s.now()), n, e.digest[:])
		if err == nil && changed == 0 {
			return refuse(Invalid, "%s has ended", e.ID)
		}
		return err
	})
}

// Current is whose session a cookie is. Unlike [Service.Authenticate] it lets in
// administrators who have yet to show a second factor: it is for the pages on
// which they do, and for nothing else.
func (s *Service) Current(cookie string) (redoubt.Principal, error) {
	e, a, err := s.session(cookie)
	if err != nil {
		return redoubt.Principal{}, err
	}
	return e.principal(a), nil
}

// Sessions lists the open sessions of an account, the last used first.
func (s *Service) Sessions(account string) []Session {
	s.state.mu.RLock()
	all := slices.Collect(maps.Values(s.state.sessionIDs))
	s.state.mu.RUnlock()
	out, now := []Session{}, s.now()
	for _, e := range all {
		if e.Account == account && !s.over(e, now) {
			shown := e.Session
			shown.Seen = at(e.seen.Load()).Truncate(time.Minute)
			out = append(out, shown)
		}
	}
	slices.SortFunc(out, func(a, b Session) int {
		if c := b.Seen.Compare(a.Seen); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// EndSession signs a session out, at once on this node and within two seconds on
// others.
func (s *Service) EndSession(ctx context.Context, by redoubt.Principal, id string) error {
	return s.change(ctx, entry(by, "session.end", id), func(tx *store.Tx, n int64) error {
		changed, err := tx.Exec(`UPDATE identity_sessions SET ended = TRUE, generation = $2 WHERE id = $1 AND NOT ended`, id, n)
		if err == nil && changed == 0 {
			return input("there is no session %q", excerpt(id))
		}
		return err
	})
}

func from(c Client) string {
	if !c.From.IsValid() {
		return ""
	}
	return c.From.Unmap().WithZone("").String()
}

// agent is the beginning of what the browser calls itself, without what would
// not be text.
func agent(c Client) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(c.Agent, ""))
	return excerpt(clean)
}
