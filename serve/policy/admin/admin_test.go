package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// office is a keeper with a real database and a real log.
type office struct {
	*Keeper
	engine *policy.Engine
	log    *audit.Log
	dir    string
	people []Account
	models []*policy.Model
}

func open(t *testing.T, db *store.DB) *office {
	t.Helper()
	o := &office{
		dir: t.TempDir(),
		people: []Account{
			{Principal: redoubt.Principal{ID: "user:a"}}, {Principal: redoubt.Principal{ID: "user:b"}}, {Principal: redoubt.Principal{ID: "user:c"}},
			{Principal: redoubt.Principal{ID: "user:gone", Groups: []string{"old"}}, Disabled: true},
			{Principal: redoubt.Principal{ID: "user:member", Groups: []string{"team"}}},
		},
		models: []*policy.Model{{Name: "loans", Groups: []string{"credit"}}, {Name: "churn"}},
	}
	var err error
	if o.log, err = audit.Open(o.dir, audit.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.log.Close() })
	if o.engine, err = policy.New(policy.Settings{}, policy.State{}); err != nil {
		t.Fatal(err)
	}
	o.Keeper, err = Open(t.Context(), Config{
		DB: db, Engine: o.engine, Log: o.log,
		People: func(context.Context) ([]Account, error) { return o.people, nil },
		Models: func(context.Context) ([]*policy.Model, error) { return o.models, nil },
		Past: func(ctx context.Context, since time.Time) iter.Seq2[redoubt.Event, error] {
			return audit.Read(ctx, o.dir, audit.Filter{From: since})
		},
		Now: func() time.Time { return noon },
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) events(t *testing.T) (out []redoubt.Event) {
	t.Helper()
	for e, err := range audit.Read(t.Context(), o.dir, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func by(reason string) Change {
	return Change{By: redoubt.Principal{ID: "user:boss", Roles: []string{"security_admin"}, Verified: noon, Method: "passkey"}, Reason: reason, Request: "r1"}
}

func (o *office) may(id string, a policy.Action, groups ...string) bool {
	return o.engine.Decide(ask(redoubt.Principal{ID: id, Groups: groups}, a, o.models[0], noon)).Allowed
}

func (o *office) grant(t *testing.T, g policy.Grant) policy.Grant {
	t.Helper()
	g, err := o.Grant(t.Context(), by("needed"), g)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGrants(t *testing.T) { storetest.Run(t, testGrants) }

func testGrants(t *testing.T, db *store.DB) {
	o := open(t, db)
	g := o.grant(t, policy.Grant{Subject: "user:a", Role: "model_user", On: "model:loans"})
	if !o.may("user:a", policy.Invoke) || o.may("user:b", policy.Invoke) {
		t.Error("the grant does not hold, or holds for another")
	}
	if g.ID == "" || g.By != "user:boss" || g.Reason != "needed" || !g.Created.Equal(noon) {
		t.Errorf("%+v", g)
	}
	all, err := o.Grants(t.Context())
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], g) {
		t.Errorf("%+v, %v", all, err)
	}
	if err := o.Revoke(t.Context(), by("done"), g.ID); err != nil {
		t.Fatal(err)
	}
	if o.may("user:a", policy.Invoke) {
		t.Error("a grant that was taken away holds")
	}
	if err := o.Revoke(t.Context(), by("done"), g.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	e := o.events(t)
	if len(e) != 2 || e[0].Action != "grant.create" || e[0].After != text(g) || e[0].Reason != "needed" || e[1].Action != "grant.delete" || e[1].Before != text(g) || e[1].Actor != "user:boss" {
		t.Errorf("%+v", e)
	}
}

func TestChangesRefused(t *testing.T) {
	o := open(t, storetest.Open(t, storetest.SQLite(t)))
	grant := policy.Grant{Subject: "user:a", Role: "model_user", On: "*"}
	stale, self, team := by("x"), by("x"), by("x")
	stale.By.Verified = noon.Add(-time.Hour)
	team.By.Groups = []string{"team"}
	for what, do := range map[string]func() error{
		"no reason": func() error { _, err := o.Grant(t.Context(), by(" "), grant); return err },
		"a mere user": func() error {
			_, err := o.Grant(t.Context(), Change{By: redoubt.Principal{ID: "user:a"}, Reason: "x"}, grant)
			return err
		},
		"no step-up": func() error { _, err := o.Grant(t.Context(), stale, grant); return err },
		"to himself": func() error { g := grant; g.Subject = "user:boss"; _, err := o.Grant(t.Context(), self, g); return err },
		"to his group": func() error {
			g := grant
			g.Subject = "group:team"
			_, err := o.Grant(t.Context(), team, g)
			return err
		},
		"a role unknown": func() error { g := grant; g.Role = "root"; _, err := o.Grant(t.Context(), by("x"), g); return err },
		"a bad document": func() error { _, err := o.SetDocument(t.Context(), by("x"), "d", "permit;", ""); return err },
		"a document by a user": func() error {
			_, err := o.SetDocument(t.Context(), Change{By: redoubt.Principal{ID: "user:a"}, Reason: "x"}, "d", "permit (principal, action, resource);", "")
			return err
		},
		"leaving by a user": func() error {
			_, err := o.Leave(t.Context(), Change{By: redoubt.Principal{ID: "user:a"}, Reason: "x"}, "user:b")
			return err
		},
	} {
		if err := do(); err == nil {
			t.Errorf("%s: done", what)
		}
	}
	if all, err := o.Grants(t.Context()); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	var refused *Refused
	if _, err := o.Grant(t.Context(), stale, grant); !errors.As(err, &refused) || refused.Decision.Needs != policy.StepUp {
		t.Error(err)
	}
	for _, e := range o.events(t) {
		if e.Outcome != redoubt.Denied || e.Reason == "" {
			t.Errorf("%+v", e)
		}
	}
	if len(o.events(t)) != 7 {
		t.Errorf("%d refusals are logged, want 7", len(o.events(t)))
	}
}

// What cannot be logged is not done.
func TestLogComesFirst(t *testing.T) {
	o := open(t, storetest.Open(t, storetest.SQLite(t)))
	if err := o.log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Grant(t.Context(), by("x"), policy.Grant{Subject: "user:a", Role: "model_user", On: "*"}); !errors.Is(err, audit.ErrClosed) {
		t.Error(err)
	}
	if all, err := o.Grants(t.Context()); err != nil || len(all) != 0 || o.may("user:a", policy.Invoke) {
		t.Error(all, err)
	}
}

func TestDocuments(t *testing.T) { storetest.Run(t, testDocuments) }

func testDocuments(t *testing.T, db *store.DB) {
	o := open(t, db)
	night := `forbid (principal, action, resource is Model) when { context.time.toTime() < duration("8h") };`
	v1, err := o.SetDocument(t.Context(), by("rule 12"), "hours", night, "")
	if err != nil || v1.Version != 1 {
		t.Fatal(v1, err)
	}
	if _, err := o.SetDocument(t.Context(), by("x"), "hours", night, ""); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	v2, err := o.SetDocument(t.Context(), by("rule 13"), "hours", strings.ReplaceAll(night, "8h", "9h"), ETag(v1))
	if err != nil || v2.Version != 2 {
		t.Fatal(v2, err)
	}
	if err := o.DeleteDocument(t.Context(), by("x"), "hours", ETag(v1)); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if err := o.DeleteDocument(t.Context(), by("repealed"), "hours", ETag(v2)); err != nil {
		t.Fatal(err)
	}
	if err := o.DeleteDocument(t.Context(), by("x"), "hours", ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	v4, err := o.SetDocument(t.Context(), by("again"), "hours", night, "")
	if err != nil || v4.Version != 4 {
		t.Fatal(v4, err)
	}
	versions, err := o.Versions(t.Context(), "hours")
	if err != nil || len(versions) != 4 || versions[2].Text != "" || versions[2].Reason != "repealed" || !reflect.DeepEqual(versions[1], v2) {
		t.Errorf("%+v, %v", versions, err)
	}
	if _, err := o.Versions(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if all, err := o.Documents(t.Context()); err != nil || !reflect.DeepEqual(all, []policy.Document{v4}) {
		t.Error(all, err)
	}
	// Another node has the same state.
	if p := open(t, db); !reflect.DeepEqual(mustRead(t, p), mustRead(t, o)) {
		t.Error("another node reads another state")
	}
	e := o.events(t)
	if len(e) != 4 || e[1].Before != v1.Text || e[1].After != v2.Text || e[2].Action != "policy.delete" {
		t.Errorf("%+v", e)
	}
}

func mustRead(t *testing.T, o *office) *state {
	t.Helper()
	s, err := o.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Two nodes on one database: what one changes the other decides by, and of two
// changes at the same time one is told to look again.
func TestTwoNodes(t *testing.T) { storetest.Run(t, testTwoNodes) }

func testTwoNodes(t *testing.T, db *store.DB) {
	a, b := open(t, db), open(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.Run(ctx, func(err error) { t.Error(err) }) })
	defer wg.Wait()
	defer cancel()
	g := a.grant(t, policy.Grant{Subject: "user:a", Role: "model_user", On: "*"})
	within := func(want bool) {
		t.Helper()
		for began := time.Now(); b.may("user:a", policy.Invoke) != want; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 5*time.Second { // two are promised, and the machine may be busy
				t.Fatal("not seen in time")
			}
		}
	}
	within(true)
	if err := a.Revoke(t.Context(), by("x"), g.ID); err != nil {
		t.Fatal(err)
	}
	within(false)

	var grants sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 20 {
		o := []*office{a, b}[i%2]
		grants.Go(func() {
			_, err := o.Grant(t.Context(), by("x"), policy.Grant{Subject: fmt.Sprint("user:", i), Role: "model_user", On: "*"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if !errors.Is(err, ErrStale) {
				t.Error(err)
			}
		})
	}
	grants.Wait()
	all, err := a.Grants(t.Context())
	if err != nil || len(all) != done {
		t.Errorf("%d grants, %d were told to be done, %v", len(all), done, err)
	}
	// The log has every one as done, and those that were not as failed too.
	created, failed := 0, 0
	for _, e := range slices.Concat(a.events(t), b.events(t)) {
		if e.Action == "grant.create" && e.Outcome == redoubt.Failed {
			failed++
		} else if e.Action == "grant.create" {
			created++
		}
	}
	if created-failed != done+1 {
		t.Errorf("the log has %d grants and %d failures; %d were made", created, failed, done+1)
	}
}

func TestLeave(t *testing.T) { storetest.Run(t, testLeave) }

func testLeave(t *testing.T, db *store.DB) {
	o := open(t, db)
	mine := []policy.Grant{
		o.grant(t, policy.Grant{Subject: "user:a", Role: "model_admin", On: "*"}),
		o.grant(t, policy.Grant{Subject: "user:a", Permission: "model:loans:read"}),
	}
	other := o.grant(t, policy.Grant{Subject: "user:b", Role: "model_user", On: "*"})
	taken, err := o.Leave(t.Context(), by("left the company"), "user:a")
	slices.SortFunc(mine, func(a, b policy.Grant) int { return strings.Compare(a.ID, b.ID) })
	if err != nil || !reflect.DeepEqual(taken, mine) {
		t.Errorf("%+v, %v; want %+v", taken, err, mine)
	}
	if all, err := o.Grants(t.Context()); err != nil || !reflect.DeepEqual(all, []policy.Grant{other}) || o.may("user:a", policy.Read) {
		t.Error(all, err)
	}
	e := o.events(t)[3]
	if e.Resource != "user:a" || e.Before != text(mine) || e.Details["grants"] != "2" {
		t.Errorf("%+v", e)
	}
}

// meanwhile is a log that has something happen when it is first told of a
// change.
type meanwhile struct {
	*audit.Log
	do func()
}

func (m *meanwhile) Record(ctx context.Context, e redoubt.Event) error {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.Log.Record(ctx, e)
}

// What another node grants between the planning of a change and its writing is
// not missed: the change is refused, and logged as failed.
func TestOvertaken(t *testing.T) { storetest.Run(t, testOvertaken) }

func testOvertaken(t *testing.T, db *store.DB) {
	a, b := open(t, db), open(t, db)
	a.grant(t, policy.Grant{Subject: "user:a", Role: "model_user", On: "*"})
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.cfg.Log = &meanwhile{a.log, func() {
		b.grant(t, policy.Grant{Subject: "user:a", Role: "model_admin", On: "*"})
	}}
	if _, err := a.Leave(t.Context(), by("left"), "user:a"); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	if all, err := a.Grants(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if e := a.events(t); e[len(e)-1].Outcome != redoubt.Failed {
		t.Errorf("%+v", e[len(e)-1])
	}
	if taken, err := a.Leave(t.Context(), by("left"), "user:a"); err != nil || len(taken) != 2 {
		t.Errorf("%+v, %v", taken, err)
	}
}
