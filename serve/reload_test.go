package serve

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// changed is a copy of what a server runs with, changed.
func changed(s *Server, change func(*Config)) func() (*Config, error) {
	return func() (*Config, error) {
		c := *s.current.Load()
		c.Models = slices.Clone(c.Models)
		change(&c)
		return &c, c.Check()
	}
}

// reloads are the entries of the log about reloads.
func reloads(t *testing.T, s *Server) []redoubt.Event {
	t.Helper()
	var list []redoubt.Event
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{Action: "config.reload"}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// engineOf is the engine of a model's default version.
func engineOf(s *Server, model string) (e gateway.Engine) {
	s.gateway.Use(func(models []*gateway.Model) {
		for _, m := range models {
			if m.Name == model {
				e = m.Versions[0].Engine
			}
		}
	})
	return e
}

// What a configuration says of models, limits, headers, policies and certificates
// holds from the reload on, and each is on record.
func TestReloadChanges(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	reload := func(change func(*Config)) {
		t.Helper()
		if err := s.Reload(t.Context(), changed(s, change)); err != nil {
			t.Fatal(err)
		}
	}
	infer := func(model string) (int, string) {
		t.Helper()
		return c.rest("POST", "/v2/models/"+model+"/infer", simpleBody)
	}
	by := redoubt.Principal{ID: "local:0"}
	a, err := s.Identity().CreateService(t.Context(), by, "all", []string{"model_user"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.token = tokenOf(t, s, a.ID)

	old := engineOf(s, "simple")
	reload(func(c *Config) {
		c.Models = append(c.Models, Model{Name: "more", Path: c.Models[0].Path})
		c.Models[0].Limits = "2/hour"
		c.Headers.XRateLimit = true
	})
	if engineOf(s, "simple") != old {
		t.Error("an engine was opened again though only its limits changed")
	}
	for i, want := range []int{200, 200, 429} {
		if code, body := infer("simple"); code != want {
			t.Errorf("call %d under the new limit: %d %s", i, code, body)
		}
	}
	if code, body := infer("more"); code != 200 {
		t.Errorf("the model that was added: %d %s", code, body)
	}

	more := engineOf(s, "more")
	reload(func(c *Config) {
		c.Models = c.Models[:1]
		c.Models[0].Limits = ""
		c.Models[0].MaxBatch = 1
		c.Policy.Roles = []string{"visitor"}
	})
	if code, body := infer("more"); code != 404 {
		t.Errorf("the model that was taken away: %d %s", code, body)
	}
	if code, body := infer("simple"); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if engineOf(s, "simple") == old {
		t.Error("the engine is the old one though its settings changed")
	}
	for name, e := range map[string]gateway.Engine{"that was taken away": more, "that was replaced": old} {
		eventually(t, "the engine "+name+" to be closed", func() bool { return e.Ready(t.Context()) != nil })
	}
	if _, err := s.Identity().CreateService(t.Context(), by, "guest", []string{"visitor"}, nil); err != nil {
		t.Errorf("a role that was added: %v", err)
	}

	before := s.Certificate().Fingerprint()
	reload(func(c *Config) { c.TLS.Hosts = []string{"localhost", "127.0.0.1", "models.example"} })
	if s.Certificate().Fingerprint() == before {
		t.Error("the certificate is the old one")
	}
	if code, body := callerOf(t, s, token).rest("GET", "/v2", ""); code != http.StatusOK {
		t.Errorf("a new client: %d %s", code, body)
	}

	var got []string
	for _, e := range reloads(t, s) {
		got = append(got, fmt.Sprint(e.Outcome, e.Details, strings.HasPrefix(e.After, "sha256:") && e.Before != e.After))
	}
	want := []string{"allowedmap[added:more changed:simple] true", "allowedmap[changed:simple removed:more] true", "allowedmap[] true"}
	if !slices.Equal(got, want) {
		t.Errorf("on record: %q", got)
	}
	if err := s.closeAll(); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), changed(s, func(*Config) {})); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a reload after the end: %v", err)
	}
}

// A file that is put in the place of a model is another version of it.
func TestReloadReadsModelsAgain(t *testing.T) {
	s, token := started(t, nil)
	old := engineOf(s, "simple")
	path := s.cfg.Models[0].Path
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The same graph under another name: field 2 of the graph.
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), "simple", "sample", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), changed(s, func(*Config) {})); err != nil {
		t.Fatal(err)
	}
	if engineOf(s, "simple") == old {
		t.Error("the old file is served")
	}
	if code, body := callerOf(t, s, token).rest("POST", "/v2/models/simple/infer", simpleBody); code != 200 {
		t.Errorf("%d %s", code, body)
	}
}

// What is wrong in any part changes nothing, and says why: to the caller and in
// the log.
func TestReloadKeepsTheLastGood(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.onnx")
	if err := os.WriteFile(broken, []byte("no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	was, engine, certificate := s.current.Load(), engineOf(s, "simple"), s.Certificate()
	wrong := map[string]func(*Config){
		"listen":           func(c *Config) { c.Listen.REST = "127.0.0.1:1" },
		"data":             func(c *Config) { c.Data = dir },
		"store":            func(c *Config) { c.Store = "sqlite:" + dir },
		"identity":         func(c *Config) { c.Identity.Origin = "https://elsewhere.example" },
		"limits.redis":     func(c *Config) { c.Limits.Redis = "env:REDIS" },
		"limits.principal": func(c *Config) { c.Limits.Principal = "often" },
		"tls.key":          func(c *Config) { c.TLS.Certificate, c.TLS.Key = dir+"/tls.crt", dir+"/tls.key" },
		"tls.clients":      func(c *Config) { c.TLS.Clients = broken },
		"broken.onnx":      func(c *Config) { c.Models = append(c.Models, Model{Name: "b", Path: broken}) },
		"none.onnx":        func(c *Config) { c.Models = append(c.Models, Model{Name: "b", Path: dir + "/none.onnx"}) },
		"INPUT7":           func(c *Config) { c.Models[0].Inputs = map[string]Rule{"INPUT7": {}} },
		"max_body":         func(c *Config) { c.Models[0].MaxBody = 1 << 30 },
		"models: none":     func(c *Config) { c.Models = nil },
		"NOT_THERE": func(c *Config) {
			c.Models[0] = Model{Name: "u", Upstream: "https://127.0.0.1:1/v2/models/u", Token: "env:NOT_THERE"}
		},
		"cannot be reached":  func(c *Config) { c.Models[0] = Model{Name: "u", Upstream: "https://127.0.0.1:1/v2/models/u"} },
		"role \"a role\" is": func(c *Config) { c.Policy.Roles = []string{"a role"} },
	}
	for want, change := range wrong {
		err := s.Reload(t.Context(), changed(s, func(c *Config) {
			c.Models = append(c.Models, Model{Name: "added", Path: c.Models[0].Path})
			c.Limits.Everyone, c.Policy.MachinesDeploy = "1/hour", true
			change(c)
		}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if s.current.Load() != was || engineOf(s, "simple") != engine || s.Certificate() != certificate || len(s.gateway.Models()) != 1 {
		t.Error("something of a refused configuration holds")
	}
	for range 3 {
		if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code != 200 {
			t.Errorf("%d %s", code, body)
		}
	}
	entries := reloads(t, s)
	if len(entries) != len(wrong) {
		t.Fatalf("%d entries of %d failures", len(entries), len(wrong))
	}
	for _, e := range entries {
		if e.Outcome != redoubt.Failed || !slices.ContainsFunc(slices.Collect(maps.Keys(wrong)), func(w string) bool { return strings.Contains(e.Reason, w) }) {
			t.Errorf("on record: %+v", e)
		}
	}
}

// Models come, go and change while clients call on every path, and no call fails.
func TestReloadUnderLoad(t *testing.T) {
	s, token := started(t, nil)
	var clients sync.WaitGroup
	var calls atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	for name, way := range ways {
		c := callerOf(t, s, token)
		if !way(c, "simple") { // on a connection that stays, for it will not know the next certificate
			t.Errorf("%s was refused", name)
		}
		clients.Go(func() {
			for ctx.Err() == nil {
				if !way(c, "simple") {
					t.Errorf("%s was refused", name)
				}
				calls.Add(1)
			}
		})
	}
	rounds := 12
	for i := range rounds {
		at := calls.Load()
		err := s.Reload(t.Context(), changed(s, func(c *Config) {
			m := &c.Models[0]
			m.MaxBatch, m.Limits = 1+i, fmt.Sprintf("%d/hour", 1000000+i) // another engine each time
			m.Clearance = []string{"", "round=2"}[i%2]
			c.Limits.Concurrent = 100 + i
			c.TLS.Hosts = []string{"localhost", "127.0.0.1", fmt.Sprintf("h%d.example", i%3)}
			if c.Models = c.Models[:1]; i%2 == 0 {
				c.Models = append(c.Models, Model{Name: "other", Path: m.Path})
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "calls between reloads", func() bool { return calls.Load() > at+20 })
	}
	stop()
	clients.Wait()
	t.Logf("%d calls, %d reloads", calls.Load(), rounds)
	if n := len(s.engines); n != 1 {
		t.Errorf("%d engines are open", n)
	}
}

// Authorities of client certificates change with the next connection: one that
// shows a certificate of none of them is refused while any are named.
func TestReloadOfClientAuthorities(t *testing.T) {
	own := t.TempDir()
	authority, err := gateway.OwnCertificate(own, []string{"client.example"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(authority.File(), filepath.Join(own, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	s, token := started(t, func(c *Config) { c.TLS.Clients = authority.File() })
	c := callerOf(t, s, token)
	client := c.http.Transport.(*http.Transport)
	client.TLSClientConfig.Certificates = []tls.Certificate{pair}
	client.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	if code, body := c.rest("GET", "/v2", ""); code == 200 {
		t.Errorf("a certificate that is for servers only was taken from a client: %s", body)
	}
	if err := s.Reload(t.Context(), changed(s, func(c *Config) { c.TLS.Clients = "" })); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	if code, body := c.rest("GET", "/v2", ""); code != 200 {
		t.Errorf("without authorities, when no certificate is asked for: %d %s", code, body)
	}
}

// What an upstream server was asked with holds as long as nothing of it has changed.
func TestUpstreamKept(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	secured := func(host string) {
		pair, err := gateway.OwnCertificate(t.TempDir(), []string{host})
		if err != nil {
			t.Fatal(err)
		}
		pem, err := os.ReadFile(pair.File())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ca, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secured("one.example")
	t.Setenv("UPSTREAM", "one")
	c := &Config{Limits: Limits{Concurrent: 10}, Models: []Model{{Name: "m", Token: "env:UPSTREAM", Timeout: time.Second, CA: ca}}}
	v := Version{Version: "1", Upstream: "https://h/v2/models/m"}
	key := func() string {
		k, _, err := c.upstreamEngine(&c.Models[0], v)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before := key()
	if again := key(); again != before {
		t.Error("nothing has changed, and it is asked anew")
	}
	for what, change := range map[string]func(){
		"the address":     func() { v.Upstream = "https://h/v2/models/n" },
		"the token":       func() { t.Setenv("UPSTREAM", "two") },
		"the timeout":     func() { c.Models[0].Timeout = time.Minute },
		"the authorities": func() { secured("two.example") },
		"how many call":   func() { c.Limits.Concurrent = 20 },
	} {
		change()
		if after := key(); after == before {
			t.Errorf("%s: changed, and it is asked as before", what)
		} else {
			before = after
		}
	}
}
