package policy

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// The corpus of Cedar, whose answers are those of its reference in Rust: what
// the index leaves out changes no decision, no reason and no error.
func TestIndexAgainstCorpus(t *testing.T) {
	type corpusCase struct {
		Policies, Entities string
		Requests           []struct {
			Principal, Action, Resource cedar.EntityUID
			Context                     cedar.Record
			Decision                    cedar.Decision
			Reason, Errors              []cedar.PolicyID
		}
	}
	files := corpus(t)
	requests, left := 0, 0
	for name, data := range files {
		if !strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".entities.json") {
			continue
		}
		var c corpusCase
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		entities := cedar.EntityMap{}
		if err := json.Unmarshal(files[c.Entities], &entities); err != nil {
			t.Fatal(err)
		}
		list, err := cedar.NewPolicyListFromBytes(name, files[c.Policies])
		if err != nil {
			t.Fatal(err)
		}
		var rules []*rule
		for i, p := range list {
			rules = append(rules, &rule{id: fmt.Sprint("policy", i), policy: p})
		}
		x := newIndex(rules)
		for _, r := range c.Requests {
			requests++
			request := cedar.Request{Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: r.Context}
			found := x.find(entities, &request).policies
			decision, diagnostic := cedar.Authorize(found, entities, request)
			seen := map[cedar.PolicyID]bool{}
			for id := range found.All() {
				seen[id] = true
			}
			left += len(list) - len(seen)
			var reasons, failed []cedar.PolicyID
			for _, d := range diagnostic.Reasons {
				reasons = append(reasons, d.PolicyID)
			}
			for _, d := range diagnostic.Errors {
				failed = append(failed, d.PolicyID)
			}
			if decision != r.Decision || !same(reasons, r.Reason) || !same(failed, r.Errors) {
				t.Fatalf("%s: %v by %v, errors %v; want %v by %v, errors %v", name, decision, reasons, failed, r.Decision, r.Reason, r.Errors)
			}
		}
	}
	if requests < 1000 || left == 0 {
		t.Errorf("%d requests, %d policies left out: the corpus did not try the index", requests, left)
	}
	t.Logf("%d requests, %d policies left out", requests, left)
}

func same(a, b []cedar.PolicyID) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// corpus is the archive that comes with the module of Cedar. It is read in
// part when tests are to be short.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil {
		need.Missing(t, "cedar", "the sources of cedar-go, which hold its corpus")
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "corpus-tests.tar.gz"))
	if err != nil {
		need.Missing(t, "cedar", "the corpus of cedar-go")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		// The names begin with a digest: a sample of them is one of the cases.
		base := filepath.Base(h.Name)
		if testing.Short() && base[0] != 'a' {
			continue
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
