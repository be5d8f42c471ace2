package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/serve"
	"github.com/redoubt-ml/redoubt/serve/identity"
)

const loginPhrase = "correct horse battery staple, twice over"

// gatewayFor starts a server with an administrator who has a password and one-time
// codes, and returns its address, its certificate and the seed of the codes.
func gatewayFor(t *testing.T) (address, ca, seed string) {
	t.Helper()
	cfg := &serve.Config{
		Data: t.TempDir(), Listen: serve.Listen{REST: "127.0.0.1:0", GRPC: "off", Admin: "off"},
		Models: []serve.Model{{Name: "german", Path: need.Data(t, "models/tabular/german_mlp.onnx")}},
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s, err := serve.Start(ctx, cfg, serve.Options{Runtime: orttest.Runtime(t)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	_, secret, err := s.Identity().CreatePerson(t.Context(), redoubt.Principal{ID: "local:0"}, "boss", []string{"security_admin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Identity().Enrolment(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := otp.NewKeyFromURL(e.TOTP)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Identity().EnrolPassword(t.Context(), secret, loginPhrase, e.Flow, codeAt(t, key.Secret(), -30*time.Second), identity.Client{From: netip.MustParseAddr("127.0.0.1")}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.Address("rest"))
	return "https://localhost:" + port, s.Certificate().File(), key.Secret()
}

func codeAt(t *testing.T, seed string, from time.Duration) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, time.Now().Add(from))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// typing is standard input that holds lines.
func typing(t *testing.T, lines ...string) *typed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &typed{in: f}
}

// loginFor is gatewayFor, and a login there of somebody who has never signed in.
func loginFor(t *testing.T) (address, ca, seed string, l *login) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	address, ca, seed = gatewayFor(t)
	l, err := (&client{server: address, ca: ca}).newLogin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.http.CloseIdleConnections)
	return address, ca, seed, l
}

// Who administers signs in from afar, administers, and signs out.
func TestLogin(t *testing.T) {
	address, ca, seed, l := loginFor(t)
	list := func() (int, error) {
		var all struct{ Accounts []struct{ Name string } }
		err := (&client{server: address, ca: ca}).do(t.Context(), "GET", "/accounts", nil, &all)
		return len(all.Accounts), err
	}
	if _, err := list(); err == nil || !strings.Contains(err.Error(), "redoubt login "+address) {
		t.Errorf("nobody signed in: %v", err)
	}
	for what, lines := range map[string][]string{"a wrong password": {"wrong"}, "a wrong code": {loginPhrase, "000000"}} {
		if err := l.begin(t.Context(), "boss", typing(t, lines...)); err == nil || !strings.Contains(err.Error(), "is not right") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := l.begin(t.Context(), "boss", typing(t)); err == nil || !strings.Contains(err.Error(), "read the password") {
		t.Errorf("nothing typed: %v", err)
	}
	if _, err := os.Stat(l.file); err == nil {
		t.Error("a session is kept although nobody signed in")
	}
	if err := l.begin(t.Context(), "", typing(t, "boss", loginPhrase, codeAt(t, seed, 0))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(l.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the session's file: %v, %v", info, err)
	}
	if n, err := list(); err != nil || n == 0 {
		t.Errorf("%d accounts, %v", n, err)
	}
	if err := (&client{server: address, ca: ca}).do(t.Context(), "POST", "/accounts", map[string]any{"kind": "service", "name": "robot"}, nil); err != nil {
		t.Errorf("a change with a fresh second factor: %v", err)
	}
	if err := l.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := list(); err == nil {
		t.Error("signed out, and still let in")
	}
	if err := l.end(t.Context()); err == nil || !strings.Contains(err.Error(), "nobody is signed in") {
		t.Errorf("signed out twice: %v", err)
	}
	// A session that has ended says what to do.
	if err := os.WriteFile(l.file, []byte("OVER\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := list(); err == nil || !strings.Contains(err.Error(), "sign in again with 'redoubt login "+address) {
		t.Errorf("a session that has ended: %v", err)
	}
}

// A browser signs in, is asked, allows it, and comes back to the program.
func TestLoginInBrowser(t *testing.T) {
	address, ca, seed, l := loginFor(t)
	transport, err := (&client{server: address, ca: ca}).transport()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: transport, Jar: jar, Timeout: time.Minute}
	page := func(res *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	asked := ""
	seen := make(chan string, 1)
	// decide does what somebody does in the browser.
	decide := func(allow string) func(string) error {
		return func(to string) error {
			asked = to
			u, err := url.Parse(to)
			if err != nil {
				return err
			}
			go func() {
				if allow == "nobody" {
					res, err := http.Get("http://127.0.0.1:" + u.Query().Get("port") + "/?state=guessed&code=x")
					seen <- page(res, err)
					return
				}
				first := page(browser.Get(to))
				if strings.Contains(first, "Sign in with a passkey") {
					back := u.RequestURI()
					page(browser.PostForm(address+"/auth/login", url.Values{"username": {"boss"}, "password": {loginPhrase}, "return": {back}}))
					first = page(browser.PostForm(address+"/auth/second", url.Values{"code": {codeAt(t, seed, 0)}, "return": {back}}))
				}
				if code := identity.HandOverCode(u.Query().Get("challenge")); !strings.Contains(first, code) {
					t.Errorf("the page does not show %s:\n%s", code, first)
				}
				form := u.Query()
				if allow != "" {
					form.Set("allow", allow)
				}
				seen <- page(browser.PostForm(address+identity.HandOverPath, form))
			}()
			return errors.New("a browser that is not there") // which is told, and no obstacle
		}
	}
	if err := l.browse(t.Context(), 0, decide("")); err == nil || !strings.Contains(err.Error(), "not allowed in the browser") {
		t.Errorf("not allowed: %v", err)
	}
	if got := <-seen; !strings.Contains(got, "Nobody is signed in") {
		t.Errorf("the browser shows %q", got)
	}
	if _, err := os.Stat(l.file); err == nil {
		t.Error("a session is kept although nobody signed in")
	}
	// What does not know the state is not listened to.
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.browse(short, 0, decide("nobody")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("somebody else's answer: %v", err)
	}
	if got := <-seen; !strings.Contains(got, "not the answer") {
		t.Errorf("somebody else sees %q", got)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.browse(t.Context(), port, decide("yes")); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; !strings.Contains(got, "You may close this page") {
		t.Errorf("the browser shows %q", got)
	}
	if !strings.Contains(asked, fmt.Sprintf("port=%d&", port)) {
		t.Errorf("it comes back at %s", asked)
	}
	if info, err := os.Stat(l.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the session's file: %v, %v", info, err)
	}
	if err := (&client{server: address, ca: ca}).do(t.Context(), "POST", "/accounts", map[string]any{"kind": "service", "name": "robot"}, nil); err != nil {
		t.Errorf("a change with a fresh second factor: %v", err)
	}
	// The program's session ends without the browser's.
	if err := l.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := page(browser.Get(address + "/auth/account")); !strings.Contains(got, "signed in as <strong>boss") {
		t.Error("the browser is signed out too")
	}
}

func freePort() (int, error) {
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	_, port, _ := strings.Cut(address, ":")
	return strconv.Atoi(port)
}
