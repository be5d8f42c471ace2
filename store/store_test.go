package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

var accounts = store.Migrations{Room: "bank", Steps: []string{
	`CREATE TABLE accounts (name TEXT PRIMARY KEY, balance BIGINT NOT NULL, open BOOLEAN NOT NULL, seal BYTEA)`,
	`INSERT INTO accounts VALUES ('a', 100, TRUE, NULL); INSERT INTO accounts VALUES ('b', 100, FALSE, NULL)`,
}}

func migrate(t *testing.T, db *store.DB, m store.Migrations) {
	t.Helper()
	if err := db.Migrate(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func balance(t *testing.T, db *store.DB, name string) (n int) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT balance FROM accounts WHERE name = $1`, name).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The dialect that the package comment promises.
func TestOneDialect(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		migrate(t, db, accounts)
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		seal := []byte{0, 1, 0xff}
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			// Placeholders count by number, not by place.
			n, err := tx.Exec(`UPDATE accounts SET balance = $2, seal = $3, open = $4 WHERE name = $1`, "a", int64(1)<<62, seal, false)
			if err == nil && n != 1 {
				t.Errorf("changed %d rows, want 1", n)
			}
			if err != nil {
				return err
			}
			if n, err = tx.Exec(`INSERT INTO accounts VALUES ($1, 5, TRUE, NULL) ON CONFLICT (name) DO NOTHING`, "a"); err == nil && n != 0 {
				t.Errorf("a second account of one name: %d rows", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(t.Context(), func(tx *store.Tx) error {
			var n int64
			var got []byte
			var open bool
			if err := tx.QueryRow(`SELECT balance, seal, open FROM accounts WHERE name = $1`, "a").Scan(&n, &got, &open); err != nil {
				return err
			}
			if n != 1<<62 || string(got) != string(seal) || open {
				t.Errorf("got %d %x %v", n, got, open)
			}
			if err := tx.QueryRow(`SELECT 1 FROM accounts WHERE name = 'nobody'`).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("no rows: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// What one transaction takes from an account, no other takes too: the law that
// fails under any weaker isolation, for each reads both accounts and changes one.
func TestTransactionsAreSerialisable(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		migrate(t, db, accounts)
		var wg sync.WaitGroup
		var mu sync.Mutex
		granted := 0
		for i := range 12 {
			name := []string{"a", "b"}[i%2]
			wg.Go(func() {
				ok := false
				err := db.Update(t.Context(), func(tx *store.Tx) error {
					ok = false
					var sum int
					if err := tx.QueryRow(`SELECT SUM(balance) FROM accounts`).Scan(&sum); err != nil {
						return err
					}
					if sum < 60 {
						return nil // together they may not go below 0
					}
					ok = true
					_, err := tx.Exec(`UPDATE accounts SET balance = balance - 60 WHERE name = $1`, name)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if ok {
					granted++
				}
			})
		}
		wg.Wait()
		if sum := balance(t, db, "a") + balance(t, db, "b"); granted != 3 || sum != 20 {
			t.Errorf("%d withdrawals of 60 from 200 leave %d, want 3 and 20", granted, sum)
		}
	})
}

func TestErrorsRollBack(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		migrate(t, db, accounts)
		broken := errors.New("broken")
		calls := 0
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			calls++
			if _, err := tx.Exec(`UPDATE accounts SET balance = 0`); err != nil {
				return err
			}
			return broken
		})
		if !errors.Is(err, broken) || calls != 1 || balance(t, db, "a") != 100 {
			t.Errorf("%v after %d calls, balance %d", err, calls, balance(t, db, "a"))
		}
		func() {
			defer func() { recover() }()
			db.Update(t.Context(), func(tx *store.Tx) error {
				tx.Exec(`UPDATE accounts SET balance = 0`)
				panic("bug")
			})
		}()
		if n := balance(t, db, "a"); n != 100 {
			t.Errorf("a panic left %d", n)
		}
	})
}

func TestViewCannotWrite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		migrate(t, db, accounts)
		err := db.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE accounts SET balance = 0`)
			return err
		})
		if err == nil || balance(t, db, "a") != 100 {
			t.Errorf("wrote in a view: %v", err)
		}
	})
}

// A view sees one state although others write between its queries.
func TestViewIsOneState(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		migrate(t, db, accounts)
		err := db.View(t.Context(), func(tx *store.Tx) error {
			var before, after, generation int64
			if err := tx.QueryRow(`SELECT balance FROM accounts WHERE name = 'a'`).Scan(&before); err != nil {
				return err
			}
			if err := db.Update(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.Exec(`UPDATE accounts SET balance = 7`); err != nil {
					return err
				}
				return tx.Bump("bank")
			}); err != nil {
				return err
			}
			if err := tx.QueryRow(`SELECT balance FROM accounts WHERE name = 'a'`).Scan(&after); err != nil {
				return err
			}
			generation, err := tx.Generation("bank")
			if before != after || generation != 0 {
				t.Errorf("read %d, then %d of generation %d", before, after, generation)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestMigrations(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		// Several nodes start at once, as after an update.
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				db, err := store.Open(t.Context(), url)
				if err == nil {
					err = errors.Join(db.Migrate(t.Context(), accounts), db.Close())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		db := storetest.Open(t, url)

		more := store.Migrations{Room: "bank", Steps: append(accounts.Steps[:2:2], `UPDATE accounts SET balance = 1`, `UPDATE nowhere SET x = 1`)}
		if err := db.Migrate(t.Context(), more); err == nil || balance(t, db, "a") != 100 {
			t.Errorf("a step failed (%v), and one before it stayed: %d", err, balance(t, db, "a"))
		}
		more.Steps = more.Steps[:3]
		migrate(t, db, more)
		migrate(t, db, more)
		if n := balance(t, db, "a"); n != 1 {
			t.Errorf("balance %d after the third step, want 1", n)
		}
		if err := db.Migrate(t.Context(), accounts); !errors.Is(err, store.ErrNewer) {
			t.Errorf("an older program: %v", err)
		}
		edited := store.Migrations{Room: "bank", Steps: []string{accounts.Steps[0], `UPDATE accounts SET balance = 2`, more.Steps[2]}}
		if err := db.Migrate(t.Context(), edited); err == nil || !strings.Contains(err.Error(), "step 2 differs") {
			t.Errorf("an edited step: %v", err)
		}
		migrate(t, db, store.Migrations{Room: "other", Steps: []string{`CREATE TABLE other (x BIGINT)`}})
	})
}

func TestGenerations(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		bump := func(fail error) {
			if err := db.Update(t.Context(), func(tx *store.Tx) error { return errors.Join(tx.Bump("bank"), fail) }); !errors.Is(err, fail) {
				t.Fatal(err)
			}
		}
		is := func(room string, want int64) {
			t.Helper()
			if n, err := db.Generation(t.Context(), room); err != nil || n != want {
				t.Errorf("generation of %s: %d (%v), want %d", room, n, err, want)
			}
		}
		is("bank", 0)
		bump(nil)
		bump(nil)
		bump(errors.New("undone"))
		is("bank", 2)
		is("other", 0)
	})
}

func TestFollow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		here, there := storetest.Open(t, url), storetest.Open(t, url)
		ctx, cancel := context.WithCancel(t.Context())
		seen, done := make(chan int64), make(chan struct{})
		go func() {
			defer close(done)
			tries := 0
			here.Follow(ctx, "bank", 0, time.Millisecond, func(n int64, err error) error {
				if err != nil {
					t.Error(err)
				}
				if tries++; tries%2 == 1 {
					return errors.New("it will be told again")
				}
				select {
				case seen <- n:
				case <-ctx.Done():
				}
				return nil
			})
		}()
		for want := range int64(3) {
			if err := there.Update(t.Context(), func(tx *store.Tx) error { return tx.Bump("bank") }); err != nil {
				t.Fatal(err)
			}
			if n := <-seen; n != want+1 {
				t.Errorf("saw generation %d, want %d", n, want+1)
			}
		}
		cancel()
		<-done
	})
}

func TestFollowTellsOfFailure(t *testing.T) {
	p := storetest.StartPostgres(t)
	db := storetest.Open(t, p.Database(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Stop()
	failed := false
	db.Follow(ctx, "bank", 7, time.Millisecond, func(n int64, err error) error {
		if err != nil && n == 7 && !failed {
			failed = true
			p.Start(t)
		} else if err == nil { // it reads again, and 0 is not 7
			cancel()
		}
		return err
	})
	if !failed {
		t.Error("a lost server was not told of")
	}
}

// A server that was started anew is used at once, although idle connections to
// it are dead.
func TestServerComesBack(t *testing.T) {
	p := storetest.StartPostgres(t)
	db := storetest.Open(t, p.Database(t))
	migrate(t, db, accounts)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { balance(t, db, "a") })
	}
	wg.Wait()
	p.Stop()
	if err := db.Ping(t.Context()); err == nil {
		t.Error("a server that was stopped answers")
	}
	p.Start(t)
	for range 8 {
		balance(t, db, "a")
	}
}

func TestConflictsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, n := time.Now(), 0
		err := store.RetryForTest(t.Context(), func() error { n++; return store.ErrBusyForTest() })
		if !errors.Is(err, store.ErrConflict) || n != 12 || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %d attempts and %v", err, n, time.Since(start))
		}
	})
}

func TestBackup(t *testing.T) {
	url := storetest.SQLite(t)
	db := storetest.Open(t, url)
	migrate(t, db, accounts)
	to := filepath.Join(t.TempDir(), "it's 100% a copy?.db")
	if err := db.Backup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if n := balance(t, storetest.Open(t, to), "a"); n != 100 {
		t.Errorf("the copy holds %d", n)
	}
	if err := db.Backup(t.Context(), to); err == nil {
		t.Error("wrote over a backup")
	}
	for _, path := range []string{to, strings.TrimPrefix(url, "sqlite:"), strings.TrimPrefix(url, "sqlite:") + "-wal"} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", path, st.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(to), ".backup*")); left != nil {
		t.Errorf("left %v", left)
	}
	pg := storetest.Open(t, storetest.StartPostgres(t).Database(t))
	if err := pg.Backup(t.Context(), to+"2"); err == nil || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("backup of PostgreSQL: %v", err)
	}
}

func TestWideFilesAreNarrowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, path)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                        "give its path",
		":memory:":                "give its path",
		"mysql://u:sesame@h/d":    `"mysql" is no kind`,
		t.TempDir():               "is a directory",
		"postgres://u:ses ame@[/": "no URL",
		"postgres://u:sesame@127.0.0.1:1/d?connect_timeout=2": "refused",
	} {
		db, err := store.Open(t.Context(), url)
		if err == nil {
			db.Close()
			t.Errorf("opened %q", url)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("open %q: %v, want %q and no password", url, err, want)
		}
	}
}

func TestRemoteServersMustBeVerified(t *testing.T) {
	for address, want := range map[string]bool{
		"postgres://u@db.example/x":                           true,
		"postgres://u@10.0.0.7/x":                             true,
		"postgres:///x?host=db.example":                       true,
		"postgres://u@db.example/x?sslmode=require":           false,
		"postgres://u@localhost/x":                            false,
		"postgres://u@[::1]/x":                                false,
		"postgres://u@/x?host=/run/postgresql":                false,
		"postgres://u@127.0.0.1:5433/x?connect_timeout=1":     false,
		"postgres://u@localhost/x?host=db.example&user=other": true,
	} {
		got, err := store.WithTLSForTest(address)
		if err != nil || strings.Contains(got, "sslmode=verify-full") != want {
			t.Errorf("%s becomes %s (%v)", address, got, err)
		}
	}
}
