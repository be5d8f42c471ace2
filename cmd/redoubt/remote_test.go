package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/remote/remotetest"
)

// The real binary against a real server. It stands outside the scripts, which
// have none; "redoubt" is on their path.
func TestAssessEndpoint(t *testing.T) {
	rt := orttest.Runtime(t)
	dir := t.TempDir()
	makeFiles(t, rt, dir)
	l, err := model.Open(t.Context(), rt, filepath.Join(dir, "net.onnx"), model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &remotetest.Server{Model: l, Sample: l.Sample(), Softmax: true, Token: "s3cret"}
	web := httptest.NewTLSServer(s)
	defer web.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	// run gives the exit code, and what was printed.
	run := func(args ...string) (int, string, string) {
		t.Helper()
		cmd := exec.Command("redoubt", append([]string{"assess"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REDOUBT_ORT="+rt.Path(), "TOKEN=s3cret")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // its exit code is the answer
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	url := web.URL + "/v2/models/net"
	usual := []string{url, "--data", "data.npz", "--limit", "60", "--eps", "0.05", "-q", "--ca", "ca.pem", "--token", "env:TOKEN", "--rate", "0"}
	leave := []string{"--i-am-authorised", "Jane Doe, ticket 4711"}
	with := func(more ...string) []string { return append(append(append([]string{}, usual...), leave...), more...) }

	t.Run("refused without leave", func(t *testing.T) {
		code, _, errs := run(usual...)
		if code != 2 || !strings.Contains(errs, "--i-am-authorised") || s.Samples() != 0 {
			t.Errorf("code %d after %d queries: %s", code, s.Samples(), errs)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		before := s.Samples()
		code, out, errs := run(with("--dry-run", "--rate", "50", "--json", "never.json")...)
		if code != 0 || s.Samples()-before != 5 || !strings.Contains(out, "square linf 0.05") || !strings.Contains(out, "at 50 queries a second") {
			t.Errorf("code %d after %d queries: %s %s", code, s.Samples()-before, out, errs)
		}
		if _, err := os.Stat(filepath.Join(dir, "never.json")); err == nil {
			t.Error("a dry run wrote a report")
		}
	})
	t.Run("to the end", func(t *testing.T) {
		before := s.Samples()
		code, out, errs := run(with("--query-budget", "0", "--queries", "100", "--json", "a.json", "--html", "a.html", "--sarif", "a.sarif")...)
		if code != 0 {
			t.Fatalf("code %d: %s", code, errs)
		}
		a, text := readAssessment(t, dir, "a.json")
		r := a.Model.Remote
		if r == nil || r.Queries != s.Samples()-before || r.Authorisation != "Jane Doe, ticket 4711" || r.BudgetSpent || a.Model.SHA256 != "" || a.Model.Access != "scores" {
			t.Errorf("the server answered %d: %+v", s.Samples()-before, a.Model)
		}
		if !a.Model.Characteristics.OutputIsProbability || a.Threats[0].RobustAccuracy >= a.CleanAccuracy {
			t.Errorf("robust %v of %v, probabilities %v", a.Threats[0].RobustAccuracy, a.CleanAccuracy, a.Model.Characteristics.OutputIsProbability)
		}
		page, err := os.ReadFile(filepath.Join(dir, "a.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{out, string(page), text} {
			if !strings.Contains(s, "Jane Doe, ticket 4711") || !strings.Contains(s, url) {
				t.Error("a report does not name address and leave")
			}
			if strings.Contains(s, "s3cret") {
				t.Error("a report shows the token")
			}
		}
	})
	t.Run("spent budget", func(t *testing.T) {
		before := s.Samples()
		code, out, errs := run(with("--query-budget", "600", "--json", "b.json", "--gate", "robust_accuracy[linf@0.05]>=0")...)
		if code != 3 || !strings.Contains(errs, "budget of 600") || s.Samples()-before > 600 {
			t.Fatalf("code %d after %d queries: %s", code, s.Samples()-before, errs)
		}
		a, _ := readAssessment(t, dir, "b.json")
		if !a.Model.Remote.BudgetSpent || !strings.Contains(out, "budget-spent") {
			t.Errorf("the report does not say so: %+v", a.Model.Remote)
		}
		code, _, _ = run(with("--query-budget", "600", "--gate", "robust_accuracy[linf@0.05]>=0.99")...)
		if code != 1 {
			t.Errorf("code %d although a gate failed for certain", code)
		}
		code, _, errs = run(with("--query-budget", "70")...)
		if code != 2 || !strings.Contains(errs, "--limit") {
			t.Errorf("too small a budget: code %d: %s", code, errs)
		}
	})
	t.Run("labels", func(t *testing.T) {
		s.Labels = true
		defer func() { s.Labels = false }()
		code, out, errs := run(with("--query-budget", "0", "--queries", "100", "--eps", "0.2", "--limit", "20")...)
		if code != 0 || !strings.Contains(out, "geoda") || strings.Contains(out, "square") {
			t.Errorf("code %d: %s %s", code, out, errs)
		}
	})
	t.Run("plain json", func(t *testing.T) {
		args := with("--dry-run", "--request", `{"instances": $x}`, "--response", "predictions[*].scores")
		args[0] = web.URL + "/v1/models/net:predict"
		if code, out, errs := run(args...); code != 0 || !strings.Contains(out, "3 classes") {
			t.Errorf("code %d: %s %s", code, out, errs)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		for want, args := range map[string][]string{
			"env:NAME":    with("--token", "hunter2"),
			"--cert":      with("--key", "k.pem"),
			"is a file":   {"net.onnx", "--data", "data.npz", "--eps", "0.1", "--rate", "5"},
			"certificate": {url, "--data", "data.npz", "--eps", "0.1", "--i-am-authorised", "me"},
			"unprotected": {"http://example.com/v2/models/net", "--data", "data.npz", "--eps", "0.1", "--i-am-authorised", "me"},
		} {
			if code, _, errs := run(args...); code != 2 || !strings.Contains(errs, want) || strings.Contains(errs, "hunter2") {
				t.Errorf("code %d, want 2 and %q: %s", code, want, errs)
			}
		}
	})
}

func readAssessment(t *testing.T, dir, name string) (*redoubt.Assessment, string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	a := &redoubt.Assessment{}
	if err := json.Unmarshal(b, a); err != nil {
		t.Fatal(err)
	}
	return a, string(b)
}
