package storetest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// Postgres is a PostgreSQL server in a temporary folder, reached through a Unix
// socket that only the user who runs the tests can open.
type Postgres struct {
	bin, dir string
	owner    *syscall.Credential // nil where the tests run as an ordinary user
	process  *os.Process
	done     chan struct{}
	names    atomic.Int64
}

// StartPostgres starts a server of the test's own, which it may stop and start
// again.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := newPostgres(t)
	t.Cleanup(p.remove)
	return p
}

// newPostgres makes a cluster and starts it; without PostgreSQL the test is
// skipped.
func newPostgres(t testing.TB) *Postgres {
	t.Helper()
	bin := binaries()
	if bin == "" {
		need.Missing(t, "postgres", "a PostgreSQL server (Debian: apt-get install postgresql)")
	}
	dir, err := os.MkdirTemp("", "redoubt-pg-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Postgres{bin: bin, dir: dir}
	if err := p.init(); err != nil {
		os.RemoveAll(dir)
		t.Fatal(err)
	}
	p.Start(t)
	return p
}

// binaries is the folder of the newest PostgreSQL of this machine, "" for none:
// Debian keeps them off the path.
func binaries() string {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(found) == 0 {
		return ""
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
}

// init makes the cluster. PostgreSQL refuses to run as root, so that root lends
// it another user.
func (p *Postgres) init() error {
	if os.Geteuid() == 0 {
		owner, err := unprivileged()
		if err != nil {
			return err
		}
		p.owner = owner
		if err := os.Chown(p.dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	cmd := p.command("initdb", "--no-sync", "--auth=trust", "--username=redoubt", "--encoding=UTF8", "--locale=C", "--pgdata", filepath.Join(p.dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("neither postgres nor nobody is a user of this machine, and PostgreSQL refuses to run as root")
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	// Should the tests be killed, the server ends at once too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner}
	need.DieTogether(cmd, syscall.SIGQUIT)
	return cmd
}

// Start starts a server that was stopped.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	var log bytes.Buffer
	// What a crash of the machine would lose, these tests do not look at.
	cmd := p.command("postgres", "-D", "data", "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "full_page_writes=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60", "-c", "log_min_messages=fatal")
	cmd.Stdout, cmd.Stderr = &log, &log
	started := make(chan error)
	p.done = make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.process = cmd.Process
		started <- nil
		cmd.Wait() // it is told to end, or its log below says why it did
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := p.await(); err != nil {
		p.Stop()
		t.Fatalf("start PostgreSQL: %v: %s", err, &log)
	}
}

func (p *Postgres) await() error {
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = db.Ping(); err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-p.done:
			return err
		default:
		}
	}
}

// Stop ends the server at once, as a crash would: connections break.
func (p *Postgres) Stop() {
	if p.process != nil {
		p.process.Signal(syscall.SIGQUIT) // fails only if it has ended
		<-p.done
		p.process = nil
	}
}

func (p *Postgres) remove() {
	p.Stop()
	if err := os.RemoveAll(p.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err) // a test machine that fills up is worse than a red test
	}
}

func (p *Postgres) url(database string) string {
	return fmt.Sprintf("postgres://redoubt@/%s?host=%s", database, p.dir)
}

// Database makes an empty database and returns its address. It stays until the
// server ends.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("test%d", p.names.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	return p.url(name)
}
