package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/vault"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

var (
	key = []byte("0123456789abcdef0123456789abcdef")
	now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
)

// record is an audit log that a test looks into.
type record struct {
	mu     sync.Mutex
	events []redoubt.Event
	fails  error
}

func (r *record) keep(_ context.Context, e redoubt.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails == nil {
		r.events = append(r.events, e)
	}
	return r.fails
}

func (r *record) last(t *testing.T, action string, outcome redoubt.Outcome) redoubt.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		t.Fatal("nothing was recorded")
	}
	e := r.events[len(r.events)-1]
	if e.Action != action || e.Outcome != outcome {
		t.Fatalf("recorded %s, %s instead of %s, %s", e.Action, e.Outcome, action, outcome)
	}
	return e
}

func open(t testing.TB, db *store.DB, r *record) *vault.Vault {
	t.Helper()
	v, err := vault.Open(t.Context(), db, vault.Config{Key: key, Record: r.keep, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func person(text string) vault.Value {
	return vault.Value{Tenant: "shop", Type: "PERSON", Subject: "4711", Text: text}
}

func grant(to string, types ...string) vault.Grant {
	return vault.Grant{To: to, Tenant: "shop", Types: types, Until: now.Add(time.Hour)}
}

var why = vault.Reader{Name: "support", Reason: "ticket 12"}

func TestVault(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		var r record
		db := storetest.Open(t, url)
		v := open(t, db, &r)
		ctx := t.Context()
		tokens, err := v.Tokens(ctx, "pipeline", []vault.Value{person("Ada Byron"), person("Ada Byron"), {Tenant: "shop", Type: "US_SSN", Text: "078-05-1120"}, {Tenant: "bank", Type: "PERSON", Text: "Ada Byron"}})
		if err != nil {
			t.Fatal(err)
		}
		if tokens[0] != tokens[1] || tokens[0] == tokens[3] || !vault.IsToken(tokens[0]) {
			t.Errorf("%q", tokens)
		}
		if e := r.last(t, "vault.add", redoubt.Allowed); e.Details["values"] != "3" {
			t.Errorf("%v", e.Details)
		}
		if again, err := open(t, db, &r).Tokens(ctx, "pipeline", []vault.Value{person("Ada Byron")}); err != nil || again[0] != tokens[0] {
			t.Errorf("%q, %v", again, err)
		}

		t.Run("no grant", func(t *testing.T) {
			if _, err := v.Reveal(ctx, why, tokens[:1]); !errors.Is(err, vault.ErrDenied) {
				t.Error(err)
			}
			if e := r.last(t, "vault.reveal", redoubt.Denied); e.Actor != "support" || !strings.Contains(e.Reason, "ticket 12") {
				t.Errorf("%+v", e)
			}
		})
		if err := v.Grant(ctx, "dpo", grant("support", "PERSON")); err != nil {
			t.Fatal(err)
		}
		t.Run("granted", func(t *testing.T) {
			got, err := v.Reveal(ctx, why, tokens[:2])
			if err != nil || got[0].Text != "Ada Byron" || got[1] != got[0] {
				t.Errorf("%+v, %v", got, err)
			}
			if e := r.last(t, "vault.reveal", redoubt.Allowed); e.Reason != "ticket 12" || e.Details["values"] != "2" {
				t.Errorf("%+v", e)
			}
		})
		for i, what := range map[int]string{2: "another type", 3: "another tenant"} {
			t.Run(what, func(t *testing.T) {
				if got, err := v.Reveal(ctx, why, []string{tokens[0], tokens[i]}); !errors.Is(err, vault.ErrDenied) || got != nil {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		t.Run("another reader", func(t *testing.T) {
			if _, err := v.Reveal(ctx, vault.Reader{Name: "sales", Reason: "curious"}, tokens[:1]); !errors.Is(err, vault.ErrDenied) {
				t.Error(err)
			}
		})
		t.Run("session", func(t *testing.T) {
			s := v.Session(why)
			before := len(r.events)
			for range 3 {
				if got, err := s.Reveal(ctx, tokens[:1]); err != nil || got[0].Text != "Ada Byron" {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			if e := r.last(t, "vault.reveal", redoubt.Allowed); len(r.events) != before+1 || e.Details["values"] != "up to 10000" {
				t.Errorf("%d entries, the last %+v", len(r.events)-before, e)
			}
			if _, err := s.Reveal(ctx, tokens[2:3]); !errors.Is(err, vault.ErrDenied) {
				t.Error(err)
			}
			r.last(t, "vault.reveal", redoubt.Denied)
			if err := s.Close(ctx); err != nil {
				t.Error(err)
			}
			if e := r.last(t, "vault.reveal", redoubt.Allowed); e.Details["values"] != "3 in all" {
				t.Errorf("%+v", e)
			}
			if err := s.Close(ctx); err != nil || len(r.events) != before+3 {
				t.Error(err)
			}
			r.fails = errors.New("disk full")
			defer func() { r.fails = nil }()
			if got, err := s.Reveal(ctx, tokens[:1]); err == nil || got != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
		t.Run("not recorded", func(t *testing.T) {
			r.fails = errors.New("disk full")
			defer func() { r.fails = nil }()
			if got, err := v.Reveal(ctx, why, tokens[:1]); err == nil || got != nil {
				t.Errorf("%v, %v", got, err)
			}
			if err := v.Grant(ctx, "dpo", grant("sales", "*")); err == nil {
				t.Error("granted")
			}
		})
		t.Run("time is over", func(t *testing.T) {
			now = now.Add(2 * time.Hour)
			defer func() { now = now.Add(-2 * time.Hour) }()
			if _, err := v.Reveal(ctx, why, tokens[:1]); !errors.Is(err, vault.ErrDenied) {
				t.Error(err)
			}
		})
		t.Run("revoked", func(t *testing.T) {
			if err := v.Grant(ctx, "dpo", grant("temp", "*")); err != nil {
				t.Fatal(err)
			}
			temp := vault.Reader{Name: "temp", Reason: "x"}
			if _, err := v.Reveal(ctx, temp, tokens[:3]); err != nil {
				t.Error(err)
			}
			if n, err := v.Revoke(ctx, "dpo", "temp", "shop"); n != 1 || err != nil {
				t.Error(n, err)
			}
			if _, err := v.Reveal(ctx, temp, tokens[:1]); !errors.Is(err, vault.ErrDenied) {
				t.Error(err)
			}
			if all, err := v.Grants(ctx); err != nil || len(all) != 1 || all[0].By != "dpo" {
				t.Error(all, err)
			}
		})
		t.Run("erased", func(t *testing.T) {
			if n, err := v.Erase(ctx, "dpo", "shop", "4711"); n != 1 || err != nil {
				t.Error(n, err)
			}
			if e := r.last(t, "vault.erase", redoubt.Allowed); strings.Contains(e.Resource, "4711") {
				t.Errorf("%+v: names the subject", e)
			}
			if got, err := v.Reveal(ctx, why, tokens[:1]); err != nil || got[0] != (vault.Value{}) {
				t.Error(got, err)
			}
		})
	})
}

// Rows that somebody exchanged or edited are refused, whichever field it was.
func TestAltered(t *testing.T) {
	var r record
	db := storetest.Open(t, storetest.SQLite(t))
	v := open(t, db, &r)
	ctx := t.Context()
	if err := v.Grant(ctx, "dpo", grant("support", "*")); err != nil {
		t.Fatal(err)
	}
	for _, column := range []string{"token", "tenant", "type", "subject", "sealed"} {
		t.Run(column, func(t *testing.T) {
			tokens, err := v.Tokens(ctx, "p", []vault.Value{
				{Tenant: "shop", Type: "PERSON", Subject: column + "1", Text: "Ada"}, {Tenant: "shop", Type: "TITLE", Subject: column + "2", Text: "Dr"}})
			if err != nil {
				t.Fatal(err)
			}
			update(t, db, `UPDATE vault_tokens SET `+column+` = (SELECT `+column+` FROM vault_tokens WHERE token = $1) || 'A' WHERE token = $2`, tokens[1], tokens[0])
			if column == "token" {
				tokens[0] = tokens[1] + "A" // what the row is called now
			}
			if column == "tenant" {
				if err := v.Grant(ctx, "dpo", vault.Grant{To: "support", Tenant: "shopA", Types: []string{"*"}, Until: now.Add(time.Hour)}); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := v.Reveal(ctx, why, tokens[:1]); err == nil || !strings.Contains(err.Error(), "altered") {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func update(t *testing.T, db *store.DB, query string, args ...any) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(query, args...)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d rows", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The database holds neither values nor subjects.
func TestAtRest(t *testing.T) {
	var r record
	db := storetest.Open(t, storetest.SQLite(t))
	if _, err := open(t, db, &r).Tokens(t.Context(), "p", []vault.Value{{Tenant: "shop", Type: "PERSON", Subject: "subject-4711", Text: "Ada Byron"}}); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir() + "/copy.db"
	if err := db.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "PERSON") {
		t.Fatal("this is not the database")
	}
	for _, secret := range []string{"Ada", "Byron", "subject-4711"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("%q is in the database", secret)
		}
	}
}

func TestManyWriters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		var r record
		db := storetest.Open(t, url)
		nodes := []*vault.Vault{open(t, db, &r), open(t, db, &r)}
		var mu sync.Mutex
		seen := map[string]string{}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 20 {
					text := fmt.Sprint("person ", j)
					tokens, err := nodes[i%2].Tokens(t.Context(), "p", []vault.Value{person(text)})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if was := seen[text]; was != "" && was != tokens[0] {
						t.Errorf("%s has two tokens", text)
					}
					seen[text] = tokens[0]
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
}

func TestRefused(t *testing.T) {
	var r record
	db := storetest.Open(t, storetest.SQLite(t))
	v := open(t, db, &r)
	ctx := t.Context()
	if _, err := vault.Open(ctx, db, vault.Config{Key: []byte("another key another key another k"), Record: r.keep}); err == nil {
		t.Error("a key of 33 bytes")
	}
	if _, err := vault.Open(ctx, db, vault.Config{Key: []byte("another key another key another "), Record: r.keep}); !errors.Is(err, vault.ErrKey) {
		t.Error(err)
	}
	if _, err := vault.Open(ctx, db, vault.Config{Key: key}); err == nil {
		t.Error("no record")
	}
	for _, x := range []vault.Value{{}, {Type: "PERSON", Text: strings.Repeat("x", vault.MaxText+1)}, {Type: "PERSON\x00"}, {Type: strings.Repeat("x", 300)}, {Type: "\xff"}} {
		if _, err := v.Tokens(ctx, "p", []vault.Value{x}); err == nil {
			t.Errorf("%.40q", x)
		}
	}
	if _, err := v.Tokens(ctx, "p", make([]vault.Value, vault.MaxBatch+1)); err == nil {
		t.Error("too many")
	}
	for _, g := range []vault.Grant{{}, {To: "a", Types: []string{"*"}}, {To: "a", Types: []string{"*"}, Until: now.Add(400 * 24 * time.Hour)}, {To: "a", Until: now.Add(time.Hour)}} {
		if err := v.Grant(ctx, "dpo", g); err == nil {
			t.Errorf("%+v", g)
		}
	}
	if _, err := v.Reveal(ctx, vault.Reader{Name: "a"}, nil); err == nil {
		t.Error("no reason")
	}
	if _, err := v.Erase(ctx, "dpo", "shop", ""); err == nil {
		t.Error("nobody was erased")
	}
}
