package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

func key(t *testing.T, name string) (signer note.Signer, verifier note.Verifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	signer, err := audit.Key(path, name)
	if err != nil {
		t.Fatal(err)
	}
	if verifier, err = audit.ReadVerifier(path + ".pub"); err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

// grow adds entries to the log of a folder, and returns what it signs.
func grow(t *testing.T, dir string, signer note.Signer, n int) audit.Checkpoint {
	t.Helper()
	l, err := audit.Open(dir, audit.Config{Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := l.Record(t.Context(), redoubt.Event{Action: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Checkpoint()
}

// watched is a witness of a log, over HTTP, and how the log asks it.
func watched(t *testing.T, log note.Verifier) (*Server, *Remote, string) {
	t.Helper()
	secret, _, err := note.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	signer, public, err := audit.Cosigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := audit.ReadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: t.TempDir(), Signer: signer, Logs: []note.Verifier{log}}
	h := httptest.NewServer(http.StripPrefix("/w", s))
	t.Cleanup(h.Close)
	return s, &Remote{URL: h.URL + "/w/", Key: verifier, Client: h.Client()}, public
}

// A log is witnessed as it grows, by a process that begins anew as well, and what
// it signs is a cosignature as another implementation reads them.
func TestWitnessed(t *testing.T) {
	signer, log := key(t, "log.example")
	dir := filepath.Join(t.TempDir(), "log")
	s, w, public := watched(t, log)
	independent, err := fnote.NewVerifierForCosignatureV1(public)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{1, 1, 5, 0, 20} {
		c, err := w.Cosign(t.Context(), dir, grow(t, dir, signer, n))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(log, []note.Verifier{w.Key}, 1); err != nil {
			t.Error(err)
		}
		if opened, err := note.Open(c.Note, note.VerifierList(independent)); err != nil || len(opened.Sigs) != 1 {
			t.Errorf("%+v, %v", opened, err)
		}
		if err := audit.KeepWitnessed(dir, c); err != nil {
			t.Fatal(err)
		}
		if i == 2 { // both forget what they do not keep on the disk
			w = &Remote{URL: w.URL, Key: w.Key, Client: w.Client}
			h := httptest.NewServer(&Server{Dir: s.Dir, Signer: s.Signer, Logs: s.Logs})
			defer h.Close()
			w.URL = h.URL
		}
	}
	r, err := audit.Verify(t.Context(), dir, audit.Trust{Key: log, Witnesses: []note.Verifier{w.Key}, Quorum: 1})
	if err != nil || r.Witnessed != 27 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What a log does that is dishonest: the witness signs nothing, and keeps what it
// saw.
func TestForked(t *testing.T) {
	signer, log := key(t, "log.example")
	base := t.TempDir()
	dir := filepath.Join(base, "log")
	s, w, _ := watched(t, log)
	early := grow(t, dir, signer, 5)
	if err := os.CopyFS(filepath.Join(base, "fork"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	seen := grow(t, dir, signer, 10)
	if _, err := w.Cosign(t.Context(), dir, seen); err != nil {
		t.Fatal(err)
	}
	fork := filepath.Join(base, "fork")
	other := grow(t, fork, signer, 10) // as long, and other
	longer := grow(t, fork, signer, 10)
	fresh := &Remote{URL: w.URL, Key: w.Key, Client: w.Client}
	for what, c := range map[string]struct {
		dir string
		c   audit.Checkpoint
		w   *Remote
	}{
		"an earlier state": {dir, early, w}, "an earlier state, asked anew": {dir, early, fresh},
		"a fork as long": {fork, other, w}, "a longer fork": {fork, longer, w}, "a longer fork, asked anew": {fork, longer, fresh},
	} {
		if _, err := c.w.Cosign(t.Context(), c.dir, c.c); err == nil {
			t.Errorf("%s is witnessed", what)
		}
		if kept, err := s.newest("log.example"); err != nil || kept.Size != 15 || kept.Root != seen.Root {
			t.Errorf("%s: the witness now knows %+v, %v", what, kept, err)
		}
	}
}

// Each refusal has the status that the protocol gives it.
func TestStatus(t *testing.T) {
	signer, log := key(t, "log.example")
	dir := filepath.Join(t.TempDir(), "log")
	_, w, _ := watched(t, log)
	c := grow(t, dir, signer, 3)
	stranger, _ := key(t, "log.example")
	unknown, _ := key(t, "other.example")
	body := func(from int64, c audit.Checkpoint) string {
		g := audit.Growth{From: from, To: c}
		b, err := g.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, q := range []struct {
		what, body string
		want       int
	}{
		{"nothing", "", 400},
		{"no checkpoint", "old 0\n\nhello\n", 400},
		{"a size that is none", strings.Replace(body(0, c), "old 0", "old 00", 1), 400},
		{"an old size that is larger", body(4, c), 400},
		{"another log", body(0, grow(t, t.TempDir(), unknown, 1)), 404},
		{"another key", body(0, grow(t, t.TempDir(), stranger, 1)), 403},
		{"a size it has not seen", body(2, c), 409},
		{"a proof where none is due", strings.Replace(body(0, c), "old 0\n", "old 0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", 1), 422},
		{"too much", strings.Repeat("x", maxRequest+1), 400},
		{"a first checkpoint", body(0, c), 200},
		{"the same again, as if it were the first", body(0, c), 409},
		{"the same again", body(3, c), 200},
		{"a longer one with a proof that is none", strings.Replace(body(3, grow(t, dir, signer, 2)), "old 3\n", "old 3\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", 1), 422},
	} {
		a, err := w.Client.Post(w.URL+"add-checkpoint", "", strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		if a.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != q.want {
			t.Errorf("%s: %d %s, want %d", q.what, a.StatusCode, b, q.want)
		}
		if a.StatusCode == 409 && (a.Header.Get("Content-Type") != "text/x.tlog.size" || !bytes.HasSuffix(b, []byte("\n"))) {
			t.Errorf("%s: %q %q", q.what, a.Header.Get("Content-Type"), b)
		}
	}
	a, err := w.Client.Get(w.URL + "add-checkpoint")
	if err != nil || a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v %v", a, err)
	}
	a.Body.Close()
}

// Two at once: one of them is signed, and the other told the size.
func TestRace(t *testing.T) {
	signer, log := key(t, "log.example")
	dir := filepath.Join(t.TempDir(), "log")
	s, w, _ := watched(t, log)
	c := grow(t, dir, signer, 3)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r := &Remote{URL: w.URL, Key: w.Key, Client: w.Client}
			if _, err := r.Cosign(context.Background(), dir, c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if kept, err := s.newest("log.example"); err != nil || kept.Size != 3 {
		t.Error(kept, err)
	}
}
