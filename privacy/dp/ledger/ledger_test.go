package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) {
	child() // of the crash test; does not return there
	goleak.VerifyTestMain(storetest.M{M: m})
}

func open(t testing.TB, db *store.DB) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func budget(epsilon, delta float64) Budget {
	return Budget{Dataset: "visits", Unit: "patient", Adjacency: dp.AddRemove, Guarantee: dp.Guarantee{Epsilon: epsilon, Delta: delta}}
}

func pure(epsilon float64) []account.Step {
	return []account.Step{{Mechanism: account.Point{Guarantee: dp.Guarantee{Epsilon: epsilon}}, Times: 1}}
}

func gaussian(sigma float64, times int) []account.Step {
	return []account.Step{{Mechanism: account.Gaussian{StdDev: sigma, Clip: 1}, Times: times}}
}

func request(key string, steps []account.Step) Request {
	return Request{Dataset: "visits", Unit: "patient", Adjacency: dp.AddRemove, By: "alice", Key: key, Steps: steps}
}

func create(t testing.TB, l *Ledger, b Budget) {
	t.Helper()
	if err := l.Create(t.Context(), b, "root"); err != nil {
		t.Fatal(err)
	}
}

func verified(t testing.TB, l *Ledger) Balance {
	t.Helper()
	head, err := l.Verify(t.Context(), "visits", "patient")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Show(t.Context(), "visits", "patient")
	if err != nil {
		t.Fatal(err)
	}
	if b.Head != head {
		t.Errorf("head of the account %s, of its history %s", b.Head, head)
	}
	return b
}

func TestReserveCommitRefund(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		l, ctx := open(t, db), t.Context()
		if _, err := l.Reserve(ctx, request("a", pure(1))); !errors.Is(err, ErrNone) {
			t.Errorf("reserve without a budget: %v, want ErrNone", err)
		}
		create(t, l, budget(1, 0))
		if err := l.Create(ctx, budget(2, 0), "root"); err == nil {
			t.Error("a budget was made anew")
		}
		first, err := l.Reserve(ctx, request("a", pure(0.6)))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := l.Reserve(ctx, request("a", pure(0.6))); err != nil || again.ID != first.ID {
			t.Errorf("the same key: %v, %v, want reservation %s", again.ID, err, first.ID)
		}
		if _, err := l.Reserve(ctx, request("a", pure(0.1))); err == nil {
			t.Error("a key was used for something else")
		}
		if _, err := l.Reserve(ctx, request("b", pure(0.5))); !errors.Is(err, ErrExhausted) {
			t.Errorf("reserve 0.5 of 0.4: %v, want ErrExhausted", err)
		}
		if err := l.Refund(ctx, first.ID, "bob", "mine"); err == nil {
			t.Error("another refunded it before it expired")
		}
		if err := l.Refund(ctx, first.ID, "alice", "query was wrong"); err != nil {
			t.Error(err)
		}
		if err := l.Commit(ctx, first.ID); !errors.Is(err, ErrEnded) {
			t.Errorf("commit what was refunded: %v, want ErrEnded", err)
		}
		second, err := l.Reserve(ctx, request("b", pure(1)))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(ctx, second.ID); err != nil {
			t.Error(err)
		}
		if err := l.Commit(ctx, second.ID); !errors.Is(err, ErrEnded) {
			t.Errorf("commit twice: %v, want ErrEnded", err)
		}
		if err := l.Refund(ctx, second.ID, "alice", "changed my mind"); !errors.Is(err, ErrEnded) {
			t.Errorf("refund what was committed: %v, want ErrEnded", err)
		}
		if err := l.Commit(ctx, "nothing"); !errors.Is(err, ErrNone) {
			t.Errorf("commit nothing: %v, want ErrNone", err)
		}
		b := verified(t, l)
		if b.Spent != 1 || b.Pure != 0 || b.Entries != 5 || len(b.Spenders) != 2 {
			t.Errorf("balance %+v, want epsilon 1 spent in 5 entries, by two lines", b)
		}
		n := 0
		for e, err := range l.History(ctx, "visits", "patient", 0) {
			if n++; err != nil || e.Number != int64(n) {
				t.Fatalf("entry %d: %+v, %v", n, e, err)
			}
		}
		if n != 5 {
			t.Errorf("%d entries in the history, want 5", n)
		}
	})
}

// TestFilterKeepsItsPromise fills budgets with whatever is admitted and has
// another accountant say what that comes to.
func TestFilterKeepsItsPromise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, b := range []Budget{budget(1, 1e-6), budget(8, 1e-5), budget(0.3, 1e-9), budget(2, 0)} {
		rho, err := rhoFor(b.half())
		if err != nil {
			t.Fatal(err)
		}
		for mix := range 4 { // all pure, all Gaussian, both, failing
			s := state{Budget: b, Rho: rho}
			plan := account.Plan{Adjacency: b.Adjacency}
			for refused := 0; refused < 50; {
				var steps []account.Step
				switch {
				case mix == 0 || mix == 2 && rng.IntN(2) == 0:
					steps = pure(b.Epsilon * (0.01 + 0.2*rng.Float64()))
				case mix == 3:
					steps = []account.Step{{Mechanism: account.Point{Guarantee: dp.Guarantee{Epsilon: b.Epsilon / 20, Delta: b.Delta * rng.Float64() / 20}}, Times: 1}}
				default:
					steps = gaussian((5+20*rng.Float64())/b.Epsilon, 1)
				}
				c, err := charge(b.Adjacency, steps)
				if err != nil {
					t.Fatal(err)
				}
				if s.add(c, nil) != nil {
					refused++
				} else {
					plan.Steps = append(plan.Steps, steps...)
				}
			}
			if mix == 1 && b.Delta == 0 != (len(plan.Steps) == 0) {
				t.Errorf("budget %v: %d Gaussian releases admitted", b.Guarantee, len(plan.Steps))
			}
			if len(plan.Steps) == 0 {
				continue
			}
			got, err := account.PLD{}.Epsilon(plan, b.Delta)
			if err != nil {
				t.Fatal(err)
			}
			if got.Lower > b.Epsilon {
				t.Errorf("budget %v, mix %d: %d releases were admitted that come to epsilon %v", b.Guarantee, mix, len(plan.Steps), got)
			}
			if worth, err := s.worth(); err != nil || worth < got.Lower || worth > b.Epsilon*(1+1e-9) {
				t.Errorf("budget %v, mix %d: spent epsilon is said to be %v (%v), and is %v", b.Guarantee, mix, worth, err, got)
			}
		}
	}
}

func TestComposed(t *testing.T) {
	l := open(t, storetest.Open(t, storetest.SQLite(t)))
	b := budget(3, 1e-5)
	b.Rule = Composed
	create(t, l, b)
	run := []account.Step{{Mechanism: account.Gaussian{StdDev: 1.1, Clip: 1, Sampler: account.Poisson{Rate: 256.0 / 60000}}, Times: 14062}}
	r, err := l.Reserve(t.Context(), request("training", run))
	if err != nil {
		t.Fatal(err)
	}
	if b := verified(t, l); math.Abs(b.Spent-2.3817) > 0.001 { // privacy.md 2.1, row 2
		t.Errorf("a training run was charged epsilon %v, want 2.3817", b.Spent)
	}
	if _, err := l.Reserve(t.Context(), request("training again", run)); !errors.Is(err, ErrExhausted) {
		t.Errorf("a second run: %v, want ErrExhausted", err)
	}
	if err := l.Refund(t.Context(), r.ID, "alice", "diverged before the first step"); err != nil {
		t.Error(err)
	}
	if b := verified(t, l); b.Spent != 0 {
		t.Errorf("after the refund epsilon %v is spent, want 0", b.Spent)
	}
	// Under the filter sampling does not amplify, and the run is refused.
	l = open(t, storetest.Open(t, storetest.SQLite(t)))
	create(t, l, budget(3, 1e-5))
	if _, err := l.Reserve(t.Context(), request("training", run)); !errors.Is(err, ErrExhausted) {
		t.Errorf("under the filter: %v, want ErrExhausted", err)
	}
}

// TestConcurrent has four nodes make 10,000 reservations at once, of a budget
// that reaches for half of them.
func TestConcurrent(t *testing.T) {
	total := 10_000
	if testing.Short() {
		total = 400
	}
	storetest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		nodes := make([]*Ledger, 4)
		for i := range nodes {
			nodes[i] = open(t, storetest.Open(t, url))
		}
		cost := 1.0 / 1024
		create(t, nodes[0], budget(float64(total/2)*cost, 0))
		var wg sync.WaitGroup
		var admitted, refused, committed, refunded atomic.Int64
		for i := range total {
			wg.Go(func() {
				l := nodes[i%len(nodes)]
				r, err := l.Reserve(ctx, request(fmt.Sprint(i), pure(cost)))
				switch {
				case errors.Is(err, ErrExhausted):
					refused.Add(1)
					return
				case err != nil:
					t.Error(err)
					return
				}
				admitted.Add(1)
				switch i % 8 {
				case 0: // two callers want to draw noise for it: one may
					errs := make(chan error)
					for _, l := range nodes[:2] {
						go func() { errs <- l.Commit(ctx, r.ID) }()
					}
					a, b := <-errs, <-errs
					if (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), ErrEnded) {
						t.Errorf("two commits of one reservation: %v and %v", a, b)
					}
					committed.Add(1)
				case 1: // one commits and another refunds: one may
					errs := make(chan error, 1)
					go func() { errs <- nodes[(i+1)%4].Refund(ctx, r.ID, "alice", "") }()
					commit := l.Commit(ctx, r.ID)
					if refund := <-errs; (commit == nil) == (refund == nil) {
						t.Errorf("a commit and a refund of one reservation: %v and %v", commit, refund)
					}
					if commit == nil {
						committed.Add(1)
					} else {
						refunded.Add(1)
					}
				}
			})
		}
		wg.Wait()
		b := verified(t, nodes[3])
		held := admitted.Load() - refunded.Load()
		if held > int64(total/2) || b.Charge.Epsilon != held*units(cost, epsilonUnit) {
			t.Errorf("%d reservations held, %d admitted, %d refunded of a budget for %d: charge %+v", held, admitted.Load(), refunded.Load(), total/2, b.Charge)
		}
		if admitted.Load()+refused.Load() != int64(total) || refused.Load() == 0 {
			t.Errorf("%d admitted and %d refused of %d", admitted.Load(), refused.Load(), total)
		}
		count := map[string]int64{}
		for _, s := range b.Spenders {
			count[s.Status] = s.Count
		}
		if count["committed"] != committed.Load() || count["refunded"] != refunded.Load() {
			t.Errorf("the ledger says %v, want %d committed and %d refunded", count, committed.Load(), refunded.Load())
		}
	})
}

// TestClock has clocks jump: a reservation ends once, whatever they say.
func TestClock(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		l, ctx := open(t, db), t.Context()
		now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		l.Now = func() time.Time { return now }
		create(t, l, budget(1, 0))
		r, err := l.Reserve(ctx, request("a", pure(0.7)))
		if err != nil {
			t.Fatal(err)
		}
		now = now.AddDate(1, 0, 0)
		if err := l.Commit(ctx, r.ID); !errors.Is(err, ErrExpired) {
			t.Errorf("commit after a year: %v, want ErrExpired", err)
		}
		if _, err := l.Reserve(ctx, request("b", pure(0.7))); !errors.Is(err, ErrExhausted) {
			t.Errorf("an expired reservation was counted as free: %v", err)
		}
		if err := l.Refund(ctx, r.ID, "bob", "alice has left"); err != nil {
			t.Errorf("another refunds what has expired: %v", err)
		}
		now = now.AddDate(-5, 0, 0) // back, before all of it
		if err := l.Commit(ctx, r.ID); !errors.Is(err, ErrEnded) {
			t.Errorf("commit what was refunded, by a clock of before: %v, want ErrEnded", err)
		}
		r, err = l.Reserve(ctx, request("b", pure(0.7)))
		if err != nil {
			t.Fatal(err)
		}
		now = now.AddDate(-20, 0, 0)
		if err := l.Commit(ctx, r.ID); err != nil {
			t.Error(err)
		}
		if b := verified(t, l); math.Abs(b.Spent-0.7) > 1e-12 {
			t.Errorf("epsilon %v spent, want 0.7", b.Spent)
		}
	})
}

// TestAltered plants what a thief of budget would do with SQL.
func TestAltered(t *testing.T) {
	for name, sql := range map[string]string{
		"spent less":         `UPDATE privacy_accounts SET state = replace(state, '"epsilon":700000000', '"epsilon":100000000')`,
		"a greater budget":   `UPDATE privacy_accounts SET state = replace(state, '"epsilon":1,', '"epsilon":9,')`,
		"a greater rho":      `UPDATE privacy_accounts SET state = replace(state, '"rho":0,"spent"', '"rho":900,"spent"')`,
		"a row uncommitted":  `UPDATE privacy_reservations SET status = 'reserved' WHERE status = 'committed'`,
		"a row gone":         `DELETE FROM privacy_reservations WHERE status = 'reserved'`,
		"an entry gone":      `DELETE FROM privacy_entries WHERE number = 3`,
		"the last gone":      `DELETE FROM privacy_entries WHERE number = 4`,
		"an entry changed":   `UPDATE privacy_entries SET body = replace(body, 'alice', 'bob') WHERE number = 2`,
		"and its hash":       `UPDATE privacy_entries SET hash = '00' WHERE number = 3`,
		"an entry no entry":  `UPDATE privacy_entries SET body = '[' WHERE number = 3`,
		"an entry moved":     `UPDATE privacy_entries SET number = 7 WHERE number = 3`,
		"another's head":     `UPDATE privacy_accounts SET head = 'beef'`,
		"entries from ahead": `UPDATE privacy_accounts SET entries = 3`,
	} {
		db := storetest.Open(t, storetest.SQLite(t))
		l := open(t, db)
		create(t, l, budget(1, 0))
		r, err := l.Reserve(t.Context(), request("a", pure(0.5)))
		_, err2 := l.Reserve(t.Context(), request("b", pure(0.2)))
		if err := errors.Join(err, err2, l.Commit(t.Context(), r.ID)); err != nil {
			t.Fatal(err)
		}
		verified(t, l)
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			n, err := tx.Exec(sql)
			if n == 0 {
				t.Errorf("%s: the fault was not planted", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Verify(t.Context(), "visits", "patient"); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: %v, want ErrAltered", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	l := open(t, storetest.Open(t, storetest.SQLite(t)))
	for want, b := range map[string]Budget{
		"epsilon 0":    budget(0, 0),
		"epsilon -1":   budget(-1, 0),
		"epsilon NaN":  budget(math.NaN(), 0),
		"epsilon +Inf": budget(math.Inf(1), 0),
		"epsilon 1e+":  budget(1e9, 0),
		"delta 0.5":    budget(1, 0.5),
		"delta -":      budget(1, -1e-6),
		"delta 1e-20":  budget(1, 1e-20),
		"no adjacency": {Dataset: "d", Unit: "u", Guarantee: dp.Guarantee{Epsilon: 1}},
		"no data set":  {Unit: "u", Adjacency: dp.Replace, Guarantee: dp.Guarantee{Epsilon: 1}},
		"unit: must":   {Dataset: "d", Unit: "u\x00", Adjacency: dp.Replace, Guarantee: dp.Guarantee{Epsilon: 1}},
		"rule 7":       {Dataset: "d", Unit: "u", Adjacency: dp.Replace, Guarantee: dp.Guarantee{Epsilon: 1}, Rule: 7},
	} {
		if err := l.Create(t.Context(), b, "root"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("create: %v, want %q", err, want)
		}
	}
	create(t, l, budget(1, 1e-6))
	for want, change := range map[string]func(*Request){
		"no steps":      func(r *Request) { r.Steps = nil },
		"no mechanism":  func(r *Request) { r.Steps = []account.Step{{Times: 1}} },
		"no key":        func(r *Request) { r.Key = "" },
		"hold of":       func(r *Request) { r.Hold = -1 },
		"purpose: must": func(r *Request) { r.Purpose = strings.Repeat("x", 2000) },
		"neighbours":    func(r *Request) { r.Adjacency = dp.Replace },
		"not in the":    func(r *Request) { r.Unit = "visit" },
		"epsilon NaN":   func(r *Request) { r.Steps = pure(math.NaN()) },
		"runs 0 times":  func(r *Request) { r.Steps = gaussian(1, 0) },
		"not reach":     func(r *Request) { r.Steps = gaussian(0.01, 1e9) },
	} {
		r := request("k", gaussian(50, 1))
		change(&r)
		if _, err := l.Reserve(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reserve: %v, want %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Reserve(ctx, request("k", pure(0.1))); !errors.Is(err, context.Canceled) {
		t.Errorf("reserve after the end: %v", err)
	}
	if b := verified(t, l); b.Entries != 1 {
		t.Errorf("%d entries, want the creation only", b.Entries)
	}
}

func TestStepsKeep(t *testing.T) {
	for _, m := range []account.Mechanism{
		account.Gaussian{StdDev: 1.5, Clip: 2, Sampler: account.Poisson{Rate: 0.25}},
		account.Gaussian{StdDev: 1.5, Clip: 2, Sampler: account.CappedPoisson{Rate: 0.25, Cap: 30, Of: 100}},
		account.Gaussian{StdDev: 1.5, Clip: 2, Sampler: account.FixedSize{Batch: 3, Of: 12}},
		account.Laplace{Scale: 3, Clip: 1}, account.DiscreteGaussian{Sigma: 2.5, Clip: 3}, account.DiscreteLaplace{Scale: 2.5, Clip: 3},
		account.RandomisedResponse{Epsilon: 1, Options: 3}, account.Exponential{Epsilon: 0.5},
		account.Point{Guarantee: dp.Guarantee{Epsilon: 1, Delta: 1e-7}},
	} {
		want := account.Step{Mechanism: m, Times: 7}
		e, err := encodeStep(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.step(); err != nil || got != want {
			t.Errorf("%+v was kept as %+v (%v)", want, got, err)
		}
	}
}
