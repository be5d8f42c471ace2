package limit

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// The random tests try the same cases each time; -rapid.seed and -rapid.checks
// try others, and more.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.seed", "1"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// server is a real redis-server in a temporary folder.
type server struct {
	socket string
	cmd    *exec.Cmd
	done   chan error
}

func startRedis(t testing.TB) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		need.Missing(t, "redis", "redis-server (Debian: apt-get install redis-server)")
	}
	s := &server{socket: filepath.Join(t.TempDir(), "redis.sock")}
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket))
	need.DieTogether(s.cmd, syscall.SIGKILL)
	s.done = make(chan error, 1)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.done <- s.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !s.answers(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
}

func (s *server) answers() bool {
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		return false
	}
	defer c.Close()
	reply := make([]byte, 7)
	_, err = io.WriteString(c, "PING\r\n")
	_, err2 := io.ReadFull(c, reply)
	return err == nil && err2 == nil && string(reply) == "+PONG\r\n"
}

func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.done
		s.cmd = nil
	}
}

func (s *server) client(t testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket})
	t.Cleanup(func() { c.Close() })
	return c
}

func newRedis(t testing.TB, s *server, nodes int, log *slog.Logger) *Redis {
	t.Helper()
	return configured(t, RedisConfig{URL: "unix://" + s.socket, Nodes: nodes, Timeout: 5 * time.Second, Logger: log})
}

func configured(t testing.TB, cfg RedisConfig) *Redis {
	t.Helper()
	r, err := NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// Several nodes with several goroutines each allow together what there is, not
// one call more or less.
func TestRedisIsExact(t *testing.T) {
	s := startRedis(t)
	limits := []Limit{{300, 24 * time.Hour}, {100_000, time.Hour}}
	var allowed, charged atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		r := newRedis(t, s, 3, nil)
		for g := range 4 {
			wg.Go(func() {
				for range 100 {
					a := r.Take(context.Background(), []Bucket{
						{Name: "principal", Key: "a", Limits: limits},
						{Name: "model", Key: fmt.Sprint(g), Limits: []Limit{{1000, 24 * time.Hour}}, Shared: true},
					})
					if a.Allowed {
						allowed.Add(1)
						charged.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := allowed.Load(); n != 300 {
		t.Errorf("%d calls, want 300", n)
	}
	// The models were charged for what was allowed and nothing else.
	left := 0
	r := newRedis(t, s, 3, nil)
	for g := range 4 {
		left += r.Take(t.Context(), []Bucket{{Name: "model", Key: fmt.Sprint(g), Limits: []Limit{{1000, 24 * time.Hour}}}}).States[0].Remaining
	}
	if left != 4*1000-4-300 && left != 4*1000-4-300+1 { // one may have returned meanwhile
		t.Errorf("%d calls are left to the models", left)
	}
}

// Redis and memory give the same answers, but for the time that passes between.
func TestRedisLikeMemory(t *testing.T) {
	r, m := newRedis(t, startRedis(t), 1, nil), NewMemory(MemoryConfig{})
	buckets := []Bucket{
		{Name: "principal", Key: "a", Limits: []Limit{{7, time.Hour}, {9, 24 * time.Hour}}},
		{Name: "model", Key: "a", Limits: []Limit{{1 << 20, 24 * time.Hour}}, Shared: true},
	}
	for i := range 9 {
		a, b := r.Take(t.Context(), buckets), m.Take(t.Context(), buckets)
		if a.Allowed != b.Allowed || a.Refused != b.Refused || (a.RetryAfter-b.RetryAfter).Abs() > 10*time.Second {
			t.Fatalf("call %d\n%+v\n%+v", i, a, b)
		}
		for j := range a.States {
			x, y := a.States[j], b.States[j]
			if x.Remaining != y.Remaining || x.Limit != y.Limit || x.Bucket != y.Bucket || x.Shared != y.Shared || (x.Reset-y.Reset).Abs() > 10*time.Second {
				t.Fatalf("call %d\n%+v\n%+v", i, x, y)
			}
		}
	}
}

// A window gives back by the server's clock, and its key goes when it is empty.
func TestRedisWindowRunsOut(t *testing.T) {
	s := startRedis(t)
	r := newRedis(t, s, 1, nil)
	buckets := []Bucket{{Name: "principal", Key: "a", Limits: []Limit{{2, 300 * time.Millisecond}}}}
	r.Take(t.Context(), buckets)
	r.Take(t.Context(), buckets)
	a := r.Take(t.Context(), buckets)
	if a.Allowed || a.RetryAfter <= 0 || a.RetryAfter > 150*time.Millisecond {
		t.Fatalf("%+v", a)
	}
	time.Sleep(a.RetryAfter + time.Millisecond)
	if a := r.Take(t.Context(), buckets); !a.Allowed {
		t.Errorf("refused after RetryAfter: %+v", a)
	}
	c := s.client(t)
	for deadline := time.Now().Add(10 * time.Second); c.DBSize(t.Context()).Val() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the key stays")
		}
	}
}

// Redis is killed and started again: the node goes on with its share, says so
// once, and comes back by itself.
func TestRedisLost(t *testing.T) {
	s := startRedis(t)
	var log bytes.Buffer
	r := newRedis(t, s, 2, slog.New(slog.NewTextHandler(&log, nil)))
	take := func(key string, n int) (allowed int) {
		for range n {
			if r.Take(t.Context(), []Bucket{{Name: "principal", Key: key, Limits: []Limit{{10, 24 * time.Hour}}}}).Allowed {
				allowed++
			}
		}
		return allowed
	}
	if n := take("a", 20); n != 10 {
		t.Fatalf("%d calls with Redis", n)
	}
	s.kill()
	if n := take("b", 20); n != 5 {
		t.Errorf("%d calls without Redis, want half of 10", n)
	}
	if n := strings.Count(log.String(), "Redis is lost"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
	s.start(t)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "Redis is back"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never back")
		}
		take("c", 1)
	}
	if n := take("d", 20); n != 10 {
		t.Errorf("%d calls with Redis again", n)
	}
}

// A Redis that hangs costs the calls under way their patience, and the next
// nothing.
func TestRedisHangs(t *testing.T) {
	s := startRedis(t)
	r := configured(t, RedisConfig{URL: "unix://" + s.socket, Timeout: 100 * time.Millisecond})
	buckets := []Bucket{{Name: "principal", Key: "a", Limits: []Limit{{1000, time.Hour}}}}
	r.Take(t.Context(), buckets)
	s.cmd.Process.Signal(syscall.SIGSTOP)
	defer s.cmd.Process.Signal(syscall.SIGCONT)
	began := time.Now()
	for range 100 {
		if !r.Take(t.Context(), buckets).Allowed {
			t.Fatal("refused")
		}
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("100 calls took %v", d)
	}
}

func TestRedisAddress(t *testing.T) {
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://user:hunter2@[::1:6379"} {
		_, err := NewRedis(RedisConfig{URL: url})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func BenchmarkRedis(b *testing.B) {
	r := newRedis(b, startRedis(b), 1, nil)
	limits := []Limit{{100_000, 24 * time.Hour}}
	buckets := []Bucket{
		{Name: "principal", Key: "user:4f1c", Limits: limits}, {Name: "model", Key: "loans", Limits: limits},
		{Name: "address", Key: "192.0.2.1", Limits: limits}, {Name: "global", Limits: limits},
	}
	for b.Loop() {
		r.Take(b.Context(), buckets)
	}
}
