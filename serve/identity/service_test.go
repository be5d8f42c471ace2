package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

// clock is a clock that tests move.
type clock struct {
	mu   sync.Mutex
	hand time.Time
}

func newClock() *clock { return &clock{hand: time.Date(2026, 3, 1, 12, 0, 7, 0, time.UTC)} }

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.hand }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.hand = c.hand.Add(d) }

// journal is a recorder that remembers, and may fail.
type journal struct {
	mu     sync.Mutex
	events []redoubt.Event
	broken error
}

func (j *journal) Record(_ context.Context, e redoubt.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	j.events = append(j.events, e)
	return nil
}

// last is the last event as one line.
func (j *journal) last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.events) == 0 {
		return ""
	}
	e := j.events[len(j.events)-1]
	return fmt.Sprintf("%s %s %s by %s: %s", e.Action, e.Outcome, e.Resource, e.Actor, e.Reason)
}

// bench is a service under test.
type bench struct {
	*Service
	*clock
	log *journal
	db  *store.DB
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

var admin = redoubt.Principal{ID: "local:0", Method: "socket"}

var home = Client{From: netip.MustParseAddr("192.0.2.1"), Agent: "Test/1"}

func setUp(t testing.TB, db *store.DB, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{clock: newClock(), log: &journal{}, db: db}
	cfg := Config{Store: db, Recorder: b.log, Key: testKey, Origin: "https://models.example", Now: b.clock.Now}
	if edit != nil {
		edit(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	b.Service = s
	return b
}

// each runs a test against a service over every database.
func eachStore(t *testing.T, edit func(*Config), test func(t *testing.T, b *bench)) {
	t.Helper()
	storetest.Run(t, func(t *testing.T, db *store.DB) { test(t, setUp(t, db, edit)) })
}

// over is a service over SQLite.
func over(t testing.TB, edit func(*Config)) *bench {
	t.Helper()
	return setUp(t, storetest.Open(t, storetest.SQLite(t)), edit)
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kind is the kind of a refusal, "" for none.
func kind(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if err != nil {
		return Kind("no refusal: " + err.Error())
	}
	return ""
}

func wants(t testing.TB, err error, want Kind, what string) {
	t.Helper()
	if got := kind(err); got != want {
		t.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

const passphrase = "walrus under a violet lamp"

// person makes somebody with a password.
func (b *bench) person(t testing.TB, name string, roles ...string) Account {
	t.Helper()
	a, secret, err := b.CreatePerson(t.Context(), admin, name, nil, nil)
	ok(t, err)
	_, _, err = b.EnrolPassword(t.Context(), secret, passphrase, "", "", home)
	ok(t, err)
	if len(roles) > 0 {
		ok(t, b.SetAccount(t.Context(), admin, a.ID, roles, nil, false))
	}
	return must(b.Account(a.ID))(t)
}

// seeded is person with one-time codes, whose seed it returns.
func (b *bench) seeded(t testing.TB, name string, roles ...string) (a Account, seed []byte, recovery []string) {
	t.Helper()
	a, secret, err := b.CreatePerson(t.Context(), admin, name, roles, nil)
	ok(t, err)
	e := must(b.Enrolment(t.Context(), secret))(t)
	var data seeding
	_, err = b.openFlow("totp", e.Flow, &data)
	ok(t, err)
	_, recovery, err = b.EnrolPassword(t.Context(), secret, passphrase, e.Flow, totp(data.Seed, b.Now().Unix()/30), home)
	ok(t, err)
	b.advance(30 * time.Second) // its code is spent
	return must(b.Account(a.ID))(t), data.Seed, recovery
}

func (b *bench) code(seed []byte) string { return totp(seed, b.Now().Unix()/30) }

func TestOpenRefuses(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	for want, edit := range map[string]func(*Config){
		"a recorder are required": func(c *Config) { c.Recorder = nil },
		"32 are required":         func(c *Config) { c.Key = testKey[:31] },
		"32 or more are required": func(c *Config) { c.JWTKey = testKey[:31] },
		"not of the form https":   func(c *Config) { c.Origin = "https://models.example/x" },
		"is not https":            func(c *Config) { c.Origin = "http://models.example" },
		"not let in":              func(c *Config) { c.Issuers = []Issuer{{URL: "https://i.example", Audience: "a", Algorithm: "HS256"}} },
		"nothing of it":           func(c *Config) { c.Issuers = []Issuer{{URL: "https://i.example"}} },
		"without":                 func(c *Config) { c.Issuers = []Issuer{{URL: "http://i.example", Audience: "a"}} },
		"stands twice": func(c *Config) {
			c.Issuers = []Issuer{{URL: "https://i.example", Audience: "a"}, {URL: "https://i.example", Audience: "b"}}
		},
		"as its ID tokens are": func(c *Config) { c.Issuers = []Issuer{{URL: "https://i.example", Audience: "a", ClientID: "a"}} },
		"hexadecimal":          func(c *Config) { c.Revoked = []string{"xyz"} },
		"read revocations":     func(c *Config) { c.CRLs = []string{t.TempDir() + "/none"} },
	} {
		cfg := Config{Store: db, Recorder: &journal{}, Key: testKey}
		edit(&cfg)
		s, err := Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		if want == "without" {
			want = "is not https"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestOneKindOfCredentials(t *testing.T) {
	b := over(t, nil)
	for what, c := range map[string]struct {
		c    Credentials
		want Kind
	}{
		"nothing":          {Credentials{}, Missing},
		"two":              {Credentials{Authorization: "Bearer x", Session: "y"}, Invalid},
		"local and token":  {Credentials{Authorization: "Bearer x", Local: true}, Invalid},
		"basic":            {Credentials{Authorization: "Basic dTpw"}, Invalid},
		"scheme only":      {Credentials{Authorization: "Bearer"}, Invalid},
		"another user":     {Credentials{Local: true, UID: 4242}, Invalid},
		"a long session":   {Credentials{Session: strings.Repeat("x", 1<<20)}, Invalid},
		"an unknown token": {Credentials{Authorization: "Bearer " + newSecret()}, Invalid},
	} {
		p, err := b.Authenticate(t.Context(), c.c)
		wants(t, err, c.want, what)
		if p.ID != "" {
			t.Errorf("%s: let in as %s", what, p.ID)
		}
	}
	p := must(b.Authenticate(t.Context(), Credentials{Local: true, UID: 0}))(t)
	if p.ID != "local:0" || p.Method != "socket" {
		t.Errorf("root is %+v", p)
	}
}

// What cannot be recorded does not happen.
func TestTheLogComesFirst(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann")
		tok, secret, err := b.CreateToken(t.Context(), admin, Token{Account: ann.ID, Name: "x"})
		ok(t, err)
		before := len(b.Accounts())
		b.log.broken = errors.New("disk full")
		_, _, err = b.CreatePerson(t.Context(), admin, "bob", nil, nil)
		wants(t, err, Unavailable, "create")
		wants(t, b.SetAccount(t.Context(), admin, ann.ID, nil, nil, true), Unavailable, "disable")
		wants(t, b.RevokeToken(t.Context(), admin, tok.ID), Unavailable, "revoke")
		_, _, err = b.CreateToken(t.Context(), admin, Token{Account: ann.ID, Name: "y"})
		wants(t, err, Unavailable, "token")
		_, _, err = b.Login(t.Context(), "ann", passphrase, home)
		wants(t, err, Unavailable, "login")
		_, _, err = b.Login(t.Context(), "ann", "wrong", home)
		wants(t, err, Unavailable, "failed login")
		if len(b.Accounts()) != before || len(b.Tokens(ann.ID)) != 1 {
			t.Error("something changed without an entry")
		}
		_, err = b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + secret})
		ok(t, err)
	})
}

// A change on one node is seen on the others, and a node that lost the database
// goes on with what it knows.
func TestNodes(t *testing.T) {
	pg := storetest.StartPostgres(t)
	url := pg.Database(t)
	a := setUp(t, storetest.Open(t, url), nil)
	b := setUp(t, storetest.Open(t, url), nil)
	svc := must(a.CreateService(t.Context(), admin, "batch", []string{"model_user"}, nil))(t)
	tok, secret, err := a.CreateToken(t.Context(), admin, Token{Account: svc.ID, Name: "x"})
	ok(t, err)
	in := func(n *bench) error {
		_, err := n.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + secret})
		return err
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for start := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Since(start) > 5*time.Second {
				t.Fatal(what)
			}
		}
	}
	await("the token never reached the other node", func() bool { return in(b) == nil })
	start := time.Now()
	ok(t, a.RevokeToken(t.Context(), admin, tok.ID))
	wants(t, in(a), Invalid, "revoked here")
	await("the revocation never reached the other node", func() bool { return in(b) != nil })
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("a revocation took %v to the other node, more than 2 s", d)
	}
	_, secret, err = a.CreateToken(t.Context(), admin, Token{Account: svc.ID, Name: "y"})
	ok(t, err)
	await("the second token never came", func() bool { return in(b) == nil })

	pg.Stop()
	ok(t, in(a))
	ok(t, in(b))
	_, _, err = a.Login(t.Context(), "ann", passphrase, home)
	wants(t, err, Unavailable, "a login without the database")
	_, err = a.CreateService(t.Context(), admin, "more", nil, nil)
	wants(t, err, Unavailable, "a change without the database")
	pg.Start(t)
	_, err = b.CreateService(t.Context(), admin, "again", nil, nil)
	ok(t, err)
	await("the change after the outage never came", func() bool { _, err := a.Account("again"); return err == nil })
}
