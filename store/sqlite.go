package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// openSQLite opens a file twice: with one connection that writes, for SQLite
// lets only one write at a time and a queue in Go is fairer than its lock, and
// with several that cannot write.
func openSQLite(path string) (*DB, error) {
	if path == "" || path == ":memory:" {
		return nil, errors.New("an SQLite database is a file: give its path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	d := &DB{kind: dialect{
		// Writers take the lock as they begin (_txlock): they never find out
		// at the end that another was faster. SQLite knows no weaker isolation.
		write:    sql.TxOptions{},
		read:     sql.TxOptions{},
		conflict: busy,
		backup:   vacuum,
	}}
	if d.write, err = sql.Open("sqlite", sqliteDSN(path, "immediate", "query_only(0)")); err != nil {
		return nil, err
	}
	if d.read, err = sql.Open("sqlite", sqliteDSN(path, "deferred", "query_only(1)")); err != nil {
		d.write.Close()
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	d.read.SetMaxOpenConns(max(4, runtime.NumCPU()))
	return d, nil
}

// private makes the file, or sees to it that only its owner may read it. The
// journal beside it takes its mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return f.Chmod(0o600)
	}
	return nil
}

func sqliteDSN(path, lock string, more ...string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": append([]string{
		"busy_timeout(5000)", // for other processes: a backup, an administrator's shell
		"journal_mode(WAL)",
		"synchronous(FULL)", // what is committed survives a loss of power
		"foreign_keys(1)",
		"trusted_schema(0)",
	}, more...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// busy reports whether another process held the lock for longer than the
// timeout, or had changed what a reader wants to write.
func busy(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff // the primary code; the rest tells causes apart
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// vacuum writes a copy beside path and gives it its name when it is whole.
func vacuum(ctx context.Context, d *DB, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: name a new file", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	part := filepath.Join(dir, "part")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		return err
	}
	// The connection that writes, for the others are forbidden to.
	if _, err := d.write.ExecContext(ctx, `VACUUM INTO $1`, part); err != nil {
		return err
	}
	if err := flush(part); err != nil {
		return err
	}
	return os.Link(part, path) // unlike a rename, never over a file that came meanwhile
}

func flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
