package sign

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

func assessed(sha redoubt.Digest) *redoubt.Assessment {
	certified := 0.3
	return &redoubt.Assessment{
		Schema: redoubt.AssessmentSchema, Model: redoubt.ModelInfo{SHA256: sha}, CleanAccuracy: 0.98,
		Data: redoubt.DataInfo{SHA256: redoubt.DigestBytes([]byte("data"))},
		Threats: []redoubt.ThreatResult{
			{Norm: "linf", Eps: 0.1, RobustAccuracy: 0.9, AttackSuccessRate: 0.08, CertifiedAccuracy: &certified, Reliability: redoubt.Reliability{Verdict: redoubt.Trustworthy}},
			{Norm: "linf", Eps: 0.3, RobustAccuracy: 0.41, AttackSuccessRate: 0.58, Reliability: redoubt.Reliability{Verdict: redoubt.Suspect}},
		},
	}
}

func TestAttestation(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	m := manifestOf(t, Hashing{}, model)
	sha, err := redoubt.DigestFile(model)
	mustNot(t, err)
	a, err := OfAssessment(m, assessed(sha))
	mustNot(t, err)
	want := map[string]float64{
		"clean_accuracy": 0.98, "robust_accuracy[linf@0.1]": 0.9, "attack_success_rate[linf@0.1]": 0.08, "certified_accuracy[linf@0.1]": 0.3,
		"robust_accuracy[linf@0.3]": 0.41, "attack_success_rate[linf@0.3]": 0.58,
	}
	if !maps.Equal(a.Numbers, want) || a.Verdict != redoubt.Suspect || a.File != sha {
		t.Errorf("attestation %+v", a)
	}
	now := time.Now()
	a.Issued, a.Expires = now, now.Add(time.Hour)
	key := newKey(t, "p256")
	bundle, err := (&Signer{Key: key}).Attest("model.onnx", a)
	mustNot(t, err)
	for name, c := range map[string]struct {
		policy  Policy
		subject redoubt.Digest
		want    error
	}{
		"good, by root":    {Policy{}, m.Root(), nil},
		"good, by file":    {Policy{}, sha, nil},
		"another model":    {Policy{}, redoubt.DigestBytes([]byte("x")), Subject},
		"no model":         {Policy{}, "", Subject},
		"expired":          {Policy{Time: now.Add(time.Hour)}, sha, Expiry},
		"before its time":  {Policy{Time: now.Add(-time.Hour)}, sha, Expiry},
		"at the last hour": {Policy{Time: now.Add(time.Hour - 2*time.Second)}, sha, nil},
		"another signer":   {Policy{Keys: []crypto.PublicKey{newKey(t, "p256").Public()}}, sha, Signed},
	} {
		if c.policy.Keys == nil {
			c.policy.Keys = []crypto.PublicKey{key.Public()}
		}
		got, who, err := c.policy.Attestation(bundle, c.subject)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || !maps.Equal(got.Numbers, want) || who.Name != Fingerprint(key.Public())) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	p := &Policy{Keys: []crypto.PublicKey{key.Public()}}
	if _, err := p.Open(bundle); !errors.Is(err, Format) {
		t.Errorf("an attestation taken for a signature: %v", err)
	}
	if _, _, err := p.Attestation(signed(t, &Signer{Key: key}, m), m.Root()); !errors.Is(err, Format) {
		t.Errorf("a signature taken for an attestation: %v", err)
	}
}

// What cannot be judged later is not attested.
func TestRefusedAttestations(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	m := manifestOf(t, Hashing{}, model)
	s := &Signer{Key: newKey(t, "p256")}
	good := func() *Attestation {
		a, err := OfLineage(m, map[string]redoubt.Digest{"train": redoubt.DigestBytes(nil)})
		mustNot(t, err)
		a.Issued, a.Expires = time.Now(), time.Now().Add(time.Hour)
		return a
	}
	if _, err := s.Attest("m", good()); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Attestation){
		"no expiry":         func(a *Attestation) { a.Expires = time.Time{} },
		"no issue":          func(a *Attestation) { a.Issued = time.Time{} },
		"expired at once":   func(a *Attestation) { a.Expires = a.Issued },
		"unknown kind":      func(a *Attestation) { a.Kind = "opinion" },
		"verdict":           func(a *Attestation) { a.Verdict = "fine" },
		"subject":           func(a *Attestation) { a.Subject = "x" },
		"file of another":   func(a *Attestation) { a.File = redoubt.DigestBytes([]byte("x")) },
		"digest of data":    func(a *Attestation) { a.Data["train"] = "abc" },
		"verdict of a scan": func(a *Attestation) { a.Kind, a.Verdict = Scan, redoubt.Suspect },
	} {
		a := good()
		edit(a)
		if _, err := s.Attest("m", a); err == nil {
			t.Errorf("%s: attested", name)
		}
	}
	if _, err := OfAssessment(m, assessed(redoubt.DigestBytes([]byte("other")))); err == nil {
		t.Error("the assessment of another model is attested")
	}
	if _, err := OfAssessment(manifestOf(t, Hashing{Algorithm: BLAKE3}, model), assessed("")); err == nil {
		t.Error("a root that others would not compute is attested")
	}
	if _, err := OfLineage(m, nil); err == nil {
		t.Error("lineage without data is attested")
	}
}

func TestScanAttestation(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"a": "1", "b": "2"})
	m := manifestOf(t, Hashing{}, dir)
	file := func(content, verdict string) string {
		return fmt.Sprintf(`{"path":"x","format":"onnx","sha256":%q,"verdict":%q,"findings":[]}`, redoubt.DigestBytes([]byte(content)), verdict)
	}
	for _, c := range []struct {
		files   []string
		verdict string
	}{
		{[]string{file("1", "safe"), file("2", "safe")}, "safe"},
		{[]string{file("1", "safe"), file("2", "unproven")}, "unproven"},
		{[]string{file("2", "unsafe"), file("1", "unproven")}, "unsafe"},
		{[]string{file("1", "safe")}, ""},                                       // one was not scanned
		{[]string{file("1", "safe"), file("2", "safe"), file("3", "safe")}, ""}, // one is of another model
		{[]string{file("1", "safe"), file("2", "fine")}, ""},
		{[]string{file("1", "safe"), `{"path":"b","verdict":"safe"}`}, ""},
	} {
		doc := `{"schema":"redoubt.scan/v1","files":[` + strings.Join(c.files, ",") + `]}`
		a, err := OfScan(m, []byte(doc))
		if (err == nil) != (c.verdict != "") || err == nil && a.Verdict != c.verdict {
			t.Errorf("%s: %v, want verdict %q", doc, err, c.verdict)
		}
	}
	if _, err := OfScan(m, []byte(`{"schema":"other"}`)); err == nil {
		t.Error("another document is attested as a scan")
	}
}

// One changed value of a signed attestation: refused.
func TestEveryFieldOfAnAttestation(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	m := manifestOf(t, Hashing{}, model)
	sha, err := redoubt.DigestFile(model)
	mustNot(t, err)
	a, err := OfAssessment(m, assessed(sha))
	mustNot(t, err)
	a.Issued, a.Expires = time.Now(), time.Now().Add(time.Hour)
	key := newKey(t, "p384")
	bundle, err := (&Signer{Key: key}).Attest("model.onnx", a)
	mustNot(t, err)
	p := &Policy{Keys: []crypto.PublicKey{key.Public()}}
	n := 0
	for what, bad := range mutants(t, bundle) {
		n++
		if _, _, err := p.Attestation(bad, m.Root()); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if n < 50 {
		t.Errorf("only %d changes were tried", n)
	}
	if !json.Valid(bundle) {
		t.Error("the bundle is not JSON")
	}
}
