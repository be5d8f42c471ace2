package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

// PostgreSQL is lost under load: what is known goes on, nothing changes, and when
// it is back everything works again. Two nodes share it, and see one another's
// changes.
func TestDatabaseLost(t *testing.T) {
	pg := storetest.StartPostgres(t)
	t.Setenv("DATABASE", pg.Database(t))
	t.Setenv("SEALING", strings.Repeat("5a", 32))
	shared := func(c *Config) { c.Store, c.Key = "env:DATABASE", "env:SEALING" }
	one, token := started(t, shared)
	two := node(t, shared)
	c, d := callerOf(t, one, token), callerOf(t, two, token)
	if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	eventually(t, "the other node to know the token", func() bool {
		code, _ := d.rest("GET", "/v2", "")
		return code == http.StatusOK
	})

	pg.Stop()
	for name, way := range ways {
		if !way(c, "simple") || !way(d, "simple") {
			t.Errorf("%s while the database is lost: refused", name)
		}
	}
	by := redoubt.Principal{ID: "local:0", Method: "socket"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := one.Identity().CreateService(ctx, by, "late", nil, nil); err == nil {
		t.Error("an account was made without a database")
	}

	pg.Start(t)
	var id string
	eventually(t, "changes to be possible again", func() bool {
		a, err := one.Identity().CreateService(t.Context(), by, "again", []string{"model_user"}, nil)
		id = a.ID
		return err == nil
	})
	_, fresh, err := one.Identity().CreateToken(t.Context(), by, identity.Token{Account: id, Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	e := callerOf(t, two, fresh)
	eventually(t, "the other node to know a new token", func() bool {
		code, _ := e.rest("GET", "/v2", "")
		return code == http.StatusOK
	})
	// A revocation is seen by both.
	for _, k := range one.Identity().Tokens(id) {
		if err := one.Identity().RevokeToken(t.Context(), by, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	eventually(t, "the other node to know of a revocation", func() bool {
		code, _ := e.rest("GET", "/v2", "")
		return code == http.StatusUnauthorized
	})
	t.Logf("a revocation was seen after %v", time.Since(began))
}

// node is another server of the same configuration.
func node(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := &Config{
		Data: t.TempDir(), Listen: Listen{REST: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Models: []Model{{Name: "simple", Path: simple(t)}},
	}
	change(cfg)
	s, err := start(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for what takes two seconds at most, and five times as long on
// a busy machine.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// Another server behind this one goes away: 503, and nothing about it.
func TestUpstreamLost(t *testing.T) {
	behind, token := started(t, nil)
	t.Setenv("BEHIND", token)
	front, mine := started(t, func(c *Config) {
		c.Models = []Model{{Name: "simple", Upstream: "https://" + behind.Address("rest") + "/v2/models/simple", Token: "env:BEHIND", CA: behind.Certificate().File()}}
	})
	c := callerOf(t, front, mine)
	for name, way := range ways {
		if !way(c, "simple") {
			t.Errorf("%s to an upstream model: refused", name)
		}
	}
	behind.rest.Close()
	for range 8 { // until its circuit is open, and after
		code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody)
		if code != http.StatusServiceUnavailable || strings.Contains(body, behind.Address("rest")) {
			t.Errorf("%d %s", code, body)
		}
	}
	a, err := http.Get("http://" + front.Address("admin") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready without its upstream: %d", a.StatusCode)
	}
}

// An upstream server that is away when this one starts keeps none of the other models
// from being served, and its own is as soon as it is there.
func TestUpstreamLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s, _ := started(t, func(c *Config) {
		c.Models = append(c.Models, Model{Name: "far", Upstream: "http://" + address + "/v2/models/far"})
	})
	a, err := s.Identity().CreateService(t.Context(), redoubt.Principal{ID: "local:0"}, "both", []string{"model_user"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := callerOf(t, s, tokenOf(t, s, a.ID))
	if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code != http.StatusOK {
		t.Errorf("the model that is here: %d %s", code, body)
	}
	const body = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`
	for _, path := range []string{"", "/ready", "/infer"} {
		method := "GET"
		if path == "/infer" {
			method = "POST"
		}
		if code, said := c.rest(method, "/v2/models/far"+path, body); code != http.StatusServiceUnavailable || !strings.Contains(said, `"error"`) {
			t.Errorf("%s of the model that is away: %d %s", path, code, said)
		}
	}
	if m, err := c.rpc.ModelReady(c.context(), &oippb.ModelReadyRequest{Name: "far"}); err != nil || m.Ready {
		t.Errorf("ready over gRPC: %v, %v", m, err)
	}
	if _, err := c.rpc.ModelMetadata(c.context(), &oippb.ModelMetadataRequest{Name: "far"}); status.Code(err) != codes.Unavailable {
		t.Errorf("metadata over gRPC: %v", err)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	far := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"name":"far","platform":"p","inputs":[{"name":"x","datatype":"FP32","shape":[1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}`
		if r.Method == "POST" {
			answer = `{"model_name":"far","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[7]}]}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	far.Listener.Close()
	far.Listener = l
	far.Start()
	defer far.Close()
	eventually(t, "the model whose server has come", func() bool {
		code, said := c.rest("POST", "/v2/models/far/infer", body)
		return code == http.StatusOK && strings.Contains(said, `"data":[7]`)
	})
	if code, said := c.rest("POST", "/v2/models/far/infer", strings.Replace(body, `"x"`, `"z"`, 1)); code != http.StatusBadRequest || !strings.Contains(said, "unexpected inference input 'z'") {
		t.Errorf("an input that it does not have: %d %s", code, said)
	}
	if code, said := c.rest("GET", "/v2/models/far", ""); code != http.StatusOK || !strings.Contains(said, `"versions":["1"]`) {
		t.Errorf("metadata: %d %s", code, said)
	}
}

// A slow upstream server is asked by as many as may call at once: nobody waits for
// another's answer.
func TestSlowUpstream(t *testing.T) {
	const callers = 100
	var came atomic.Int64
	all := make(chan struct{})
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"name":"server","version":"1","extensions":[]}`
		switch r.URL.Path {
		case "/v2/models/slow":
			answer = `{"name":"slow","platform":"","inputs":[{"name":"x","datatype":"FP32","shape":[1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}`
		case "/v2/models/slow/infer":
			if came.Add(1) == callers {
				close(all)
			}
			select {
			case <-all:
			case <-r.Context().Done():
			}
			answer = `{"model_name":"slow","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}`
		}
		fmt.Fprint(w, answer)
	}))
	defer behind.Close()
	front, token := started(t, func(c *Config) {
		c.Limits.Concurrent, c.Limits.ConcurrentEach = callers, callers
		c.Models = []Model{{Name: "simple", Upstream: behind.URL + "/v2/models/slow", Timeout: 10 * time.Second}}
	})
	c := callerOf(t, front, token)
	var calls sync.WaitGroup
	for range callers {
		calls.Go(func() {
			if code, body := c.rest("POST", "/v2/models/simple/infer", `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`); code != http.StatusOK {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	calls.Wait()
}

// Configurations that cannot be meant are refused before anything is opened, by
// a sentence that names the key.
func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "models",
		"modles: []":          "modles",
		"models: [{name: a}]": "path or an upstream",
		"models: [{name: a, path: x}, {name: a, path: x}]":                          "taken",
		"models: [{name: a, path: x, clearance: most}]":                             "clearance",
		"models: [{name: a, path: x, limits: often}]":                               "limits",
		"models: [{name: a, path: x, inputs: {x: {pattern: '('}}}]":                 "pattern",
		"models: [{name: a, path: x, inputs: {x: {min: 2, max: 1}}}]":               "min 2",
		"models: [{name: a, upstream: 'not a url'}]":                                "upstream",
		"models: [{name: a, path: x}]\nlisten: {rest: here}":                        "listen.rest",
		"models: [{name: a, path: x}]\ntls: {key: k}":                               "certificate and key",
		"models: [{name: a, path: x}]\nlimits: {address: many}":                     "limits.address",
		"models: [{name: a, path: x, versions: [{version: '1', path: y}]}]":         "beside versions",
		"models: [{name: a, path: x}]\ndrain: -1s":                                  "negative",
		"models: [{name: a, path: x}]\ntracing: {sample: 0.5}":                      "tracing: there is no endpoint",
		"models: [{name: a, path: x}]\ntracing: {endpoint: http://far.example}":     "in the clear",
		"models: [{name: a, path: x}]\ntracing: {endpoint: https://h, sample: 2}":   "sample is 2",
		"models: [{name: a, path: x}]\ntls: {acme: {email: a@b.example}}":           "hosts are missing",
		"models: [{name: a, path: x}]\ntls: {acme: {hosts: []}}":                    "hosts are missing",
		"models: [{name: a, path: x}]\ntls: {acme: {hosts: [localhost]}}":           "no full name",
		"models: [{name: a, path: x}]\ntls: {acme: {hosts: [a.b], directory: a.b}}": "directory",
		"models: [{name: a, path: x}]\nkey: 0123456789abcdef":                       "key: a secret is written as",
		"models: [{name: a, upstream: https://h/v2/models/a, token: s3cret}]":       "token: a secret is written as",
		"models: [{name: a, path: x, timeout: -1s}]":                                "negative",
		"models: [{name: a, path: x}]\nidentity: {issuers: [{uri: https://x}]}":     "uri",
		"models: [{name: a, path: x, versions: [{version: '1', path: y}], port: 1":  "yaml",
	} {
		path := filepath.Join(t.TempDir(), "yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

// What is configured of an issuer is what holds: no setting is lost on the way.
func TestIssuerSettings(t *testing.T) {
	t.Setenv("SECRET", "sesame")
	authority, err := gateway.OwnCertificate(t.TempDir(), []string{"i"})
	if err != nil {
		t.Fatal(err)
	}
	in := Issuer{
		URL: "https://i", Name: "n", Algorithm: "ES256", Audience: "a", Types: []string{"JWT"}, ClientID: "c", ClientSecret: "env:SECRET",
		Scopes: []string{"groups"}, RolesClaim: "r", GroupsClaim: "g", Roles: map[string][]string{"w": {"auditor"}},
		SecondFactor: []string{"mfa"}, SecondFactorAlways: true, SignInEvery: time.Hour, KeysURL: "https://i/keys", CA: authority.File(),
	}
	var cfg Config
	cfg.Identity.Issuers = []Issuer{in}
	settings := cfg.identitySettings()
	if err := cfg.openIdentity(&settings); err != nil {
		t.Fatal(err)
	}
	out := settings.Issuers[0]
	from, to := reflect.ValueOf(in), reflect.ValueOf(out)
	for _, f := range reflect.VisibleFields(from.Type()) {
		switch want := from.FieldByIndex(f.Index); {
		case want.IsZero():
			t.Errorf("%s is not tried", f.Name)
		case f.Name == "ClientSecret" && out.ClientSecret == "sesame":
		case f.Name == "CA" && out.TLS != nil && out.TLS.RootCAs != nil:
		case !reflect.DeepEqual(want.Interface(), to.FieldByName(f.Name).Interface()):
			t.Errorf("%s: %v, not %v", f.Name, to.FieldByName(f.Name), want)
		}
	}
}
