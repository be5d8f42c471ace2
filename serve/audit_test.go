package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

func publicKey(t *testing.T, path string) note.Verifier {
	t.Helper()
	v, err := audit.ReadVerifier(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Two gateways: one witnesses the other, over TLS, and they note each other's
// checkpoints through the store that they share. What one of them then writes anew,
// with its own key, both find.
func TestWitnessedAndNoted(t *testing.T) {
	base := t.TempDir()
	shared := "sqlite:" + filepath.Join(base, "shared.db")
	key := filepath.Join(base, "sealing.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	logged := filepath.Join(base, "logged")
	if err := os.Mkdir(logged, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Key(filepath.Join(logged, auditKey), "node/one"); err != nil {
		t.Fatal(err)
	}
	both := func(c *Config) {
		c.Store, c.Key, c.Audit.Every = shared, "file:"+key, 20*time.Millisecond
	}
	watcher, token := started(t, func(c *Config) {
		both(c)
		c.Audit.Name, c.Audit.Watches = "node/two", []string{filepath.Join(logged, auditKey+".pub")}
	})
	cfg := *watcher.cfg
	cfg.Data, cfg.Listen, cfg.Audit.Name, cfg.Audit.Watches = logged, Listen{REST: "127.0.0.1:0", GRPC: off, Admin: off}, "node/one", nil
	cfg.Audit.Witnesses = []Witness{{
		URL: "https://" + watcher.Address("rest") + "/witness", Key: filepath.Join(watcher.cfg.Data, "witness.key.pub"), CA: watcher.Certificate().File(),
	}}
	s, err := startLogging(t, nil, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := callerOf(t, s, token)
	for range 5 {
		if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody); code != http.StatusOK {
			t.Fatal(code, body)
		}
	}
	own, other := publicKey(t, filepath.Join(logged, auditKey+".pub")), publicKey(t, filepath.Join(watcher.cfg.Data, "witness.key.pub"))
	trust := audit.Trust{Key: own, Witnesses: []note.Verifier{other}, Quorum: 1}
	eventually(t, "a witnessed checkpoint of what was done", func() bool {
		r, err := audit.Verify(t.Context(), s.auditDir(), trust)
		return err == nil && r.Witnessed > 5
	})
	var noted []audit.Checkpoint
	eventually(t, "a note in the other's log", func() bool {
		var err error
		if noted, err = audit.NotedIn(t.Context(), watcher.auditDir(), "node/one"); err != nil {
			t.Fatal(err)
		}
		return len(noted) > 0 && noted[len(noted)-1].Size > 5
	})
	if back, err := audit.NotedIn(t.Context(), s.auditDir(), "node/two"); err != nil || len(back) == 0 {
		t.Errorf("%d notes of the witness's log, %v", len(back), err)
	}
	proved, err := audit.Prove(t.Context(), s.auditDir(), 3, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proved.Check(own, trust.Witnesses, 1); err != nil {
		t.Error(err)
	}
	if a := c.ask("POST", "/witness/add-checkpoint", ""); a.status != http.StatusNotFound {
		t.Errorf("a server that watches nobody answers %d %s", a.status, a.body)
	}

	// The log is written anew by somebody who has its key.
	anew := filepath.Join(base, "anew")
	signer, err := audit.Key(filepath.Join(logged, auditKey), "node/one")
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(anew, audit.Config{Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	for range noted[len(noted)-1].Size + 5 {
		if err := l.Record(t.Context(), audit.Noted(noted[0])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Verify(t.Context(), anew, audit.Trust{Key: own}); err != nil {
		t.Errorf("with the key alone: %v", err)
	}
	if _, err := audit.Verify(t.Context(), anew, audit.Trust{Key: own, Checkpoints: noted}); err == nil {
		t.Error("what was written anew fits what the other has noted")
	}
}

// The log is read, proved, held and erased through the API.
func TestAuditOperations(t *testing.T) {
	s, token := started(t, nil)
	invoke := callerOf(t, s, token)
	a := invoke.ask("POST", "/v2/models/simple/infer", simpleBody, "Content-Type", "application/json")
	request := a.header.Get("X-Request-Id")
	ann, _ := person(t, s, "ann", "model_user", true)
	_, auditor := person(t, s, "auditor", "auditor", true)
	_, admin := person(t, s, "administrator", "security_admin", true)
	c := callerOf(t, s, "")
	as := func(session, method, path, body string, into any) answered {
		t.Helper()
		a := c.ask(method, "/api/v1/audit"+path, body, "Cookie", "__Host-redoubt="+session, "Content-Type", "application/json")
		if into != nil {
			if err := json.Unmarshal([]byte(a.body), into); err != nil {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
		}
		return a
	}
	var found eventsOf
	as(auditor, "GET", "/events?action=model.invoke&request="+request, "", &found)
	if len(found.Events) != 1 || found.Events[0].Request != request || found.More {
		t.Errorf("%+v", found)
	}
	as(auditor, "GET", "/events?limit=2", "", &found)
	if len(found.Events) != 2 || !found.More {
		t.Errorf("%+v", found)
	}
	var p struct{ Proof string }
	eventually(t, "a proof", func() bool { return as(auditor, "GET", "/proofs/2", "", &p).status == http.StatusOK })
	var read audit.Proof
	if err := read.UnmarshalText([]byte(p.Proof)); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Check(publicKey(t, filepath.Join(s.cfg.Data, auditKey+".pub")), nil, 0); err != nil {
		t.Error(err)
	}
	if a := as(auditor, "GET", "/proofs/1000000", "", nil); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	subject := fmt.Sprintf(`{"subject":%q,"reason":"asked"}`, ann.ID)
	for _, step := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/holds", `{"id":"case-1","reason":"litigation","subject":"` + ann.ID + `"}`, 204},
		{"POST", "/holds", `{"id":"case-1","reason":"again"}`, 409},
		{"POST", "/erasures", subject, 409},
		{"DELETE", "/holds/case-1?reason=settled", "", 204},
		{"DELETE", "/holds/case-1?reason=settled", "", 404},
		{"POST", "/erasures", subject, 204},
		{"POST", "/erasures", subject, 404},
	} {
		if a := as(admin, step.method, step.path, step.body, nil); a.status != step.want {
			t.Errorf("%s %s: %d %s, want %d", step.method, step.path, a.status, a.body, step.want)
		}
	}
	as(auditor, "GET", "/events?limit=1000", "", &found)
	text := fmt.Sprint(found.Events)
	if strings.Contains(text, ann.ID) || !strings.Contains(text, "erased:") {
		t.Error("what was told of ann is still there, or never was")
	}
	for _, want := range []string{"audit.hold", "audit.release", "audit.erase", "audit.read", "server.start"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not on record", want)
		}
	}
}

// eventsOf is an answer of list-events.
type eventsOf struct {
	Events []struct{ Action, Request, Actor, Resource string }
	More   bool
}

// What is older than the configuration keeps goes, a file at a time.
func TestKeep(t *testing.T) {
	s, token := started(t, func(c *Config) { c.Audit.Keep, c.Audit.Every = time.Millisecond, 20*time.Millisecond })
	c := callerOf(t, s, token)
	for range 5 {
		c.rest("POST", "/v2/models/simple/infer", simpleBody)
	}
	time.Sleep(100 * time.Millisecond)
	// All is in one file, which is still written: nothing may go.
	if r, err := audit.Verify(t.Context(), s.auditDir(), audit.Trust{Key: publicKey(t, filepath.Join(s.cfg.Data, auditKey+".pub"))}); err != nil || r.Pruned != 0 || r.Entries < 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A log says when it was begun and ended, by which configuration.
func TestStartAndStop(t *testing.T) {
	s, _ := started(t, nil)
	if err := s.closeAll(); err != nil {
		t.Fatal(err)
	}
	var got []redoubt.Event
	for e, err := range audit.Read(t.Context(), s.auditDir(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	first, last := got[0], got[len(got)-1]
	if first.Action != "server.start" || last.Action != "server.stop" || !strings.HasPrefix(first.After, "sha256:") || first.After != last.After || first.Actor != operator() {
		t.Errorf("first %+v\nlast %+v", first, last)
	}
}
