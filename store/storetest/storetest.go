// Package storetest runs tests against the databases that package store speaks
// to: SQLite in a temporary folder, and a real PostgreSQL that the first test to
// need it starts and that all tests of a binary share, with a database each.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }
//
//	func TestTransfer(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, db *store.DB) { ... })
//	}
package storetest

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/store"
)

// shared is the server of this test binary.
var shared struct {
	sync.Mutex
	server *Postgres
}

// M is a testing.M that stops the shared server after the tests.
type M struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (m M) Run() int {
	code := m.M.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.remove()
		shared.server = nil
	}
	return code
}

// Run runs a test against an empty database of every kind.
func Run(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	Each(t, func(t *testing.T, url string) { test(t, Open(t, url)) })
}

// Each runs a test with the address of an empty database of every kind, for
// tests that open it themselves, or more than once.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, sharedServer(t).Database(t)) })
}

// SQLite is the address of an SQLite database that does not exist yet.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func sharedServer(t testing.TB) *Postgres {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		shared.server = newPostgres(t)
	}
	return shared.server
}
