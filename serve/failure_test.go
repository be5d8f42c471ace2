package serve

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// redisServer is a real one, at a socket in a temporary folder.
type redisServer struct {
	socket string
	cmd    *exec.Cmd
	done   chan error
}

func (r *redisServer) start(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		need.Missing(t, "redis", "redis-server (Debian: apt-get install redis-server)")
	}
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(r.socket))
	need.DieTogether(r.cmd, syscall.SIGKILL)
	begun := make(chan error)
	r.done = make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		begun <- err
		if err == nil {
			r.done <- r.cmd.Wait()
		}
	}()
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	eventually(t, "Redis to start", func() bool {
		c, err := net.Dial("unix", r.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *redisServer) kill() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		<-r.done
		r.cmd = nil
	}
}

// Redis is killed under load and comes back. Two nodes count together, each for
// itself with its share, and together again; at no time is a call refused because
// nobody can count, or let through beyond what a node may by itself.
func TestRedisLost(t *testing.T) {
	r := &redisServer{socket: filepath.Join(t.TempDir(), "redis.sock")}
	r.start(t)
	t.Cleanup(r.kill)
	t.Setenv("REDIS", "unix://"+r.socket)
	t.Setenv("SEALING", strings.Repeat("5a", 32))
	store := filepath.Join(t.TempDir(), "shared.db")
	shared := func(c *Config) {
		c.Store, c.Key = "sqlite:"+store, "env:SEALING"
		c.Limits.Redis, c.Limits.Nodes = "env:REDIS", 2
		c.Limits.Address, c.Limits.Principal = "100000/hour", ""
		c.Models[0].Limits = "20/hour"
	}
	one, token := started(t, shared)
	two := node(t, shared)
	c, d := callerOf(t, one, token), callerOf(t, two, token)
	eventually(t, "the other node to know the token", func() bool {
		code, _ := d.rest("GET", "/v2", "")
		return code == http.StatusOK
	})
	count := func(c *caller, tries int) (allowed int) {
		for range tries {
			switch code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code {
			case http.StatusOK:
				allowed++
			case http.StatusTooManyRequests:
			default:
				t.Errorf("%d %s", code, body)
			}
		}
		return allowed
	}
	if a, b := count(c, 15), count(d, 15); a+b != 20 {
		t.Errorf("together %d and %d calls of 20 were let through", a, b)
	}
	r.kill()
	// A half of the limit each, since they were two when they last agreed.
	if a, b := count(c, 15), count(d, 15); a > 10 || b > 10 || a == 0 || b == 0 {
		t.Errorf("without Redis %d and %d calls were let through, want up to 10 each", a, b)
	}
	r.start(t)
	eventually(t, "the nodes to count together again", func() bool {
		return count(c, 1)+count(d, 1) > 0 // the new Redis knows of none
	})
	if a, b := count(c, 30), count(d, 30); a+b > 20 || a+b < 15 {
		t.Errorf("after it came back, %d and %d calls of 20 were let through", a, b)
	}
}

// An identity provider goes away under load. Tokens that its known keys signed go
// on until they expire; a key that nobody has seen lets nobody in, and does not
// hold up those who are known.
func TestIdentityProviderLost(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	var provider *httptest.Server
	provider = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]any{"issuer": provider.URL, "jwks_uri": provider.URL + "/keys", "authorization_endpoint": provider.URL + "/authorize", "token_endpoint": provider.URL + "/token"})
		case "/keys":
			json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "one", "x": base64.RawURLEncoding.EncodeToString(public)}}})
		default:
			http.NotFound(w, r)
		}
	}))
	provider.StartTLS()
	t.Cleanup(provider.Close)
	ca := filepath.Join(t.TempDir(), "idp.pem")
	writePEM(t, ca, provider.Certificate().Raw)
	s, token := started(t, func(c *Config) {
		c.Identity.Issuers = []Issuer{{URL: provider.URL, Name: "idp", Algorithm: "EdDSA", Audience: "gateway", RolesClaim: "roles", Roles: map[string][]string{"scoring": {"model_user"}}, CA: ca}}
	})
	sign := func(kid string, life time.Duration) string {
		j := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": provider.URL, "sub": "ann", "aud": "gateway", "roles": []string{"scoring"}, "jti": kid + life.String(),
			"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(life).Unix(),
		})
		j.Header["kid"], j.Header["typ"] = kid, "at+jwt"
		text, err := j.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	known := callerOf(t, s, sign("one", time.Hour))
	for name, way := range ways {
		if !way(known, "simple") {
			t.Errorf("%s with the provider there: refused", name)
		}
	}
	provider.Close()
	before := asked.Load()
	for name, way := range ways {
		if !way(known, "simple") || !way(callerOf(t, s, sign("one", 2*time.Hour)), "simple") {
			t.Errorf("%s without the provider: refused", name)
		}
	}
	unknown := callerOf(t, s, sign("two", time.Hour))
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 10 {
				if code, body := unknown.rest("GET", "/v2", ""); code != http.StatusUnauthorized && code != http.StatusServiceUnavailable {
					t.Errorf("a key that nobody has seen: %d %s", code, body)
				}
			}
		})
		clients.Go(func() {
			for range 10 {
				began := time.Now()
				if !ways["rest"](known, "simple") || time.Since(began) > 5*time.Second {
					t.Errorf("somebody who is known waited %v", time.Since(began))
				}
			}
		})
	}
	clients.Wait()
	if code, body := callerOf(t, s, sign("one", -time.Hour)).rest("GET", "/v2", ""); code != http.StatusUnauthorized {
		t.Errorf("expired: %d %s", code, body)
	}
	if !ways["rest"](callerOf(t, s, token), "simple") {
		t.Error("our own token is refused")
	}
	if asked.Load() != before {
		t.Error("the provider was not gone")
	}
}

func writePEM(t *testing.T, path string, der []byte) {
	t.Helper()
	text := "-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The disk of the log is full under load, which a limit on the size of files
// stands for. Nothing is answered that is not on record, administration is refused
// at once, and when there is room again all goes on, with the chain whole.
func TestLogLost(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) })
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	_, boss := person(t, s, "boss", "security_admin", true)
	dir := filepath.Join(s.cfg.Data, "audit")
	answers := map[string]bool{} // that were given, by the request's id
	var mu sync.Mutex
	done := make(chan struct{})
	var clients sync.WaitGroup
	var refused atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				a := c.ask("POST", "/v2/models/simple/infer", simpleBody, "Content-Type", "application/json")
				switch a.status {
				case http.StatusOK:
					mu.Lock()
					answers[a.header.Get("X-Request-Id")] = true
					mu.Unlock()
				case http.StatusServiceUnavailable:
					refused.Add(1)
					a.shaped(t, "an inference", "/v2")
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			}
		})
	}
	given := func() int { mu.Lock(); defer mu.Unlock(); return len(answers) }
	eventually(t, "answers", func() bool { return given() > 20 })
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "refusals", func() bool { return refused.Load() > 20 })
	during := given()
	if _, err := s.Identity().CreateService(t.Context(), socketUser, "unrecorded", nil, nil); err == nil {
		t.Error("an account was made without a record")
	}
	if _, _, err := s.Identity().CreateToken(t.Context(), socketUser, identity.Token{Account: s.Identity().Tokens("")[0].Account, Name: "unrecorded"}); err == nil {
		t.Error("a token was made without a record")
	}
	for path, body := range map[string]string{
		"/accounts": `{"kind":"service","name":"unrecorded"}`, "/grants": `{"subject":"ci","role":"model_user","on":"*","reason":"r"}`, "/audit/holds": `{"id":"h","reason":"r"}`,
	} {
		a := callerOf(t, s, "").ask("POST", "/api/v1"+path, body, "Cookie", identity.Cookie+"="+boss, "Content-Type", "application/json")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot be recorded") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if n := refused.Load(); n == 0 || given() != during {
		t.Errorf("%d answers while nothing could be recorded", given()-during)
	}
	if a := readyz(t, s); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "audit") {
		t.Errorf("ready without a log: %+v", a)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	eventually(t, "answers again", func() bool { return given() > during+20 })
	eventually(t, "administration again", func() bool {
		_, err := s.Identity().CreateService(t.Context(), socketUser, "recorded", nil, nil)
		return err == nil
	})
	close(done)
	clients.Wait()
	if a := readyz(t, s); a.status != http.StatusOK {
		t.Errorf("not ready again: %+v", a)
	}
	s.log.Record(t.Context(), redoubt.Event{Action: "test.end", Outcome: redoubt.Allowed})
	for e, err := range audit.Read(t.Context(), dir, audit.Filter{Action: "model.", Outcome: redoubt.Allowed}) {
		if err != nil {
			t.Fatal(err)
		}
		delete(answers, e.Request)
	}
	if len(answers) > 0 {
		t.Errorf("%d answers are not on record", len(answers))
	}
	if report, err := audit.Verify(t.Context(), dir, audit.Trust{}); err != nil {
		t.Errorf("%+v, %v", report, err)
	}
}

func readyz(t *testing.T, s *Server) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Address("admin")+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{a.StatusCode, a.Header, string(b)}
}

// Another process holds the database locked. Calls go on from memory, a change
// fails within its time, and works when the lock is gone.
func TestDatabaseLocked(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	db, err := sql.Open("sqlite", filepath.Join(s.cfg.Data, "redoubt.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	for name, way := range ways {
		if !way(c, "simple") {
			t.Errorf("%s while the database is locked: refused", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if _, err := s.Identity().CreateService(ctx, socketUser, "late", nil, nil); err == nil || time.Since(began) > 8*time.Second {
		t.Errorf("a change while the database is locked: %v after %v", err, time.Since(began))
	}
	if _, err := lock.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "changes to be possible again", func() bool {
		_, err := s.Identity().CreateService(t.Context(), socketUser, "again", nil, nil)
		return err == nil
	})
}
