package sign

import (
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inHistory is a policy of everybody who signed the reference implementation's
// models.
func inHistory(t testing.TB) *Policy {
	t.Helper()
	key, err := ParsePublicKey(readFile(t, "testdata/history/keys/signing-key-pub.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ParseCertificates(readFile(t, "testdata/history/keys/ca-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := ParseTrustedRoot(readFile(t, "testdata/trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	return &Policy{
		Keys: []crypto.PublicKey{key}, Roots: roots, Legacy: true,
		Sigstore: &Sigstore{Root: trusted, Identity: "stefanb@us.ibm.com", Issuer: "https://sigstore.verify.ibm.com/oauth2"},
		Time:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Ignore:   []string{"model.sig", "ignore-me"},
	}
}

// Every model that a version of the reference implementation signed and keeps.
func TestHistory(t *testing.T) {
	sigs, err := filepath.Glob("testdata/history/*/model.sig")
	if err != nil || len(sigs) != 13 {
		t.Fatalf("found %d signed models, want 13 (%v)", len(sigs), err)
	}
	p := inHistory(t)
	for _, sig := range sigs {
		dir := filepath.Dir(sig)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			model := dir
			if only := filepath.Join(dir, "signme-1"); strings.HasSuffix(dir, "elliptic-key") && !strings.Contains(dir, "v1.0.1") && !strings.Contains(dir, "v1.1.0") {
				model = only // a model of one file, which they call "."
			}
			bundle := readFile(t, sig)
			v, err := p.Verify(t.Context(), model, bundle)
			if err != nil {
				t.Fatal(err)
			}
			if legacy := strings.Contains(dir, "v0.2.0"); v.Manifest.Legacy != legacy {
				t.Errorf("legacy is %v, want %v", v.Manifest.Legacy, legacy)
			}
			if method, _, _ := strings.Cut(dir[strings.Index(dir, "-")+1:], "/"); !strings.HasSuffix(method, v.By.Method) {
				t.Errorf("method %q in %s", v.By.Method, dir)
			}
			for _, name := range v.Manifest.Paths() {
				path := filepath.Join(dir, name)
				if name == "." {
					path = model
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := v.Manifest.Check(name, f); err != nil {
					t.Error(err)
				}
				f.Close()
			}
			if _, err := (&Policy{}).Verify(t.Context(), model, bundle); !errors.Is(err, Signed) {
				t.Errorf("a policy that names nobody: %v, want an error of kind %s", err, Signed)
			}
			strict := *p
			strict.Legacy = false
			if _, err := strict.Verify(t.Context(), model, bundle); (err != nil) != v.Manifest.Legacy {
				t.Errorf("without leave for the old format: %v", err)
			}
		})
	}
}

// The vectors of the specification: test-vectors/v1.0.
func TestVectors(t *testing.T) {
	p := inHistory(t)
	vectors := map[string]error{
		"valid/key":         nil,
		"valid/certificate": nil,
		"valid/sigstore":    nil,

		"invalid/empty":                         Format,
		"invalid/missing-envelope":              Format,
		"invalid/missing-tlog-entries":          Format,
		"invalid/missing-verification-material": Format,
		// Its signature is not one; that the predicate is wrong shows beneath.
		"invalid-payload/wrong-predicate": Signature,
	}
	files, err := filepath.Glob("testdata/oms/*/*.json")
	if err != nil || len(files) != len(vectors) {
		t.Fatalf("%d vectors, want %d (%v)", len(files), len(vectors), err)
	}
	for name, want := range vectors {
		v, err := p.Open(readFile(t, filepath.Join("testdata/oms", name+".bundle.json")))
		if !errors.Is(err, want) || want == nil && (err != nil || v.Manifest.Root() == "") {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	b, err := readBundle(readFile(t, "testdata/oms/invalid-payload/wrong-predicate.bundle.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := readStatement(b.Envelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.manifest(true); !errors.Is(err, Format) {
		t.Errorf("wrong predicate: %v, want %s", err, Format)
	}
}

// The certificates of 2025 are valid until 2035, and not a day longer.
func TestCertificateTimes(t *testing.T) {
	p := inHistory(t)
	bundle := readFile(t, "testdata/history/v1.1.0-certificate/model.sig")
	for year, ok := range map[int]bool{2024: false, 2026: true, 2036: false} {
		p.Time = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		if _, err := p.Open(bundle); (err == nil) != ok || err != nil && !errors.Is(err, Certificate) {
			t.Errorf("%d: %v", year, err)
		}
	}
	p = inHistory(t)
	p.Roots = []*x509.Certificate{}
	if _, err := p.Open(bundle); !errors.Is(err, Signed) {
		t.Errorf("without roots: %v", err)
	}
	p = inHistory(t)
	p.Names = []string{"somebody else"}
	if _, err := p.Open(bundle); !errors.Is(err, Signed) {
		t.Errorf("another name: %v", err)
	}
}
