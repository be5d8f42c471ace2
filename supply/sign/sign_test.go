package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// write makes files of a folder.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// example is a model of several files, with names that sort otherwise by folder
// than by code point.
var example = map[string]string{
	"config.json": `{"layers": 3}`, "weights.bin": strings.Repeat("0123456789", 1000), "a/b": "1", "a-b": "2", "a/c/d": "3",
	"empty": "", "ünï": "4", "colon:0:5": "hello", ".git/config": "left out", "sub/.git": "signed",
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	k, err := GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func manifestOf(t testing.TB, h Hashing, model string) *Manifest {
	t.Helper()
	m, err := h.Manifest(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func signed(t testing.TB, s *Signer, m *Manifest) []byte {
	t.Helper()
	b, err := s.Sign(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// certify is a root and a certificate for the key beneath an authority in
// between.
func certify(t testing.TB, key crypto.Signer, edit func(leaf *x509.Certificate)) (roots, chain []*x509.Certificate) {
	t.Helper()
	issue := func(serial int64, name string, ca bool, pub crypto.PublicKey, parent *x509.Certificate, by crypto.Signer) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageCertSign,
		}
		if !ca {
			c.KeyUsage, c.ExtKeyUsage, c.EmailAddresses = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, []string{"model@example.org"}
			edit(c)
		}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	rootKey, midKey := newKey(t, "p384"), newKey(t, "p256")
	root := issue(1, "root", true, rootKey.Public(), nil, rootKey)
	mid := issue(2, "middle", true, midKey.Public(), root, rootKey)
	return []*x509.Certificate{root}, []*x509.Certificate{issue(3, "models", false, key.Public(), mid, midKey), mid}
}

// Every kind of key, hash and serialization, over a folder and over a file:
// signed, verified, and refused after a change.
func TestSignVerify(t *testing.T) {
	for _, kind := range KeyKinds() {
		key := newKey(t, kind)
		for _, h := range []Hashing{{}, {Algorithm: BLAKE2b}, {Algorithm: BLAKE3}, {ShardSize: 7}, {Algorithm: BLAKE3, ShardSize: 1 << 20}, {Ignore: []string{"a"}}} {
			dir := write(t, t.TempDir(), example)
			for _, model := range []string{dir, filepath.Join(dir, "weights.bin")} {
				bundle := signed(t, &Signer{Key: key}, manifestOf(t, h, model))
				p := &Policy{Keys: []crypto.PublicKey{newKey(t, "p256").Public(), key.Public()}}
				v, err := p.Verify(t.Context(), model, bundle)
				if err != nil {
					t.Fatalf("%s, %+v: %v", kind, h, err)
				}
				if v.By.Method != "key" || v.By.Name != Fingerprint(key.Public()) {
					t.Errorf("signed by %+v", v.By)
				}
				for _, other := range []*Policy{{Keys: []crypto.PublicKey{newKey(t, kind).Public()}}, {}} {
					if _, err := other.Verify(t.Context(), model, bundle); !errors.Is(err, Signed) {
						t.Errorf("by another's key: %v, want %s", err, Signed)
					}
				}
				write(t, dir, map[string]string{"weights.bin": strings.Repeat("0123456789", 999) + "0123456788"})
				if _, err := p.Verify(t.Context(), model, bundle); !errors.Is(err, Files) {
					t.Errorf("changed weights: %v, want %s", err, Files)
				}
				write(t, dir, example)
			}
		}
	}
}

// The root digest of the two-file model in the specification's appendix A is that
// of its test vectors.
func TestRoot(t *testing.T) {
	m := &Manifest{Algorithm: SHA256, Resources: []Resource{
		{Path: "config.json", Digest: "bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc"},
		{Path: "weights.bin", Digest: "32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028"},
	}}
	if got := m.Root(); got != "92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4" {
		t.Errorf("root digest %s", got)
	}
}

func TestChangedFolders(t *testing.T) {
	key := newKey(t, "p256")
	sign := func(t *testing.T) (string, []byte) {
		dir := write(t, t.TempDir(), example)
		return dir, signed(t, &Signer{Key: key}, manifestOf(t, Hashing{Ignore: []string{"model.sig"}}, dir))
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		policy Policy
		want   error
	}{
		"untouched":          {func(*testing.T, string) {}, Policy{}, nil},
		"the bundle":         {func(t *testing.T, d string) { write(t, d, map[string]string{"model.sig": "x"}) }, Policy{}, nil},
		"ignored by default": {func(t *testing.T, d string) { write(t, d, map[string]string{".github/x": "x"}) }, Policy{}, nil},
		"further file":       {func(t *testing.T, d string) { write(t, d, map[string]string{"a/x": "x"}) }, Policy{}, Files},
		"further file, allowed": {func(t *testing.T, d string) {
			write(t, d, map[string]string{"a/x": "x", "more/y": "y"})
			mustNot(t, os.Symlink("/etc/passwd", filepath.Join(d, "link")))
		}, Policy{Unsigned: true}, nil},
		"changed, further files allowed": {func(t *testing.T, d string) { write(t, d, map[string]string{"a/b": "x"}) }, Policy{Unsigned: true}, Files},
		"ignored by the policy":          {func(t *testing.T, d string) { write(t, d, map[string]string{"a/x": "x"}) }, Policy{Ignore: []string{"a/x"}}, nil},
		"signed, ignored by the policy":  {func(*testing.T, string) {}, Policy{Ignore: []string{"a"}}, Files},
		"removed":                        {func(t *testing.T, d string) { mustNot(t, os.Remove(filepath.Join(d, "a/b"))) }, Policy{}, Files},
		"renamed":                        {func(t *testing.T, d string) { mustNot(t, os.Rename(filepath.Join(d, "a/b"), filepath.Join(d, "a/B"))) }, Policy{}, Files},
		"emptied":                        {func(t *testing.T, d string) { mustNot(t, os.Truncate(filepath.Join(d, "a/b"), 0)) }, Policy{}, Files},
		"file for a link": {func(t *testing.T, d string) {
			mustNot(t, os.Remove(filepath.Join(d, "a/b")))
			write(t, d, map[string]string{".git/b": "1"})
			mustNot(t, os.Symlink("../.git/b", filepath.Join(d, "a/b")))
		}, Policy{Links: true}, Files}, // the signer did not follow links
		"dangling link": {func(t *testing.T, d string) { mustNot(t, os.Symlink("nowhere", filepath.Join(d, "link"))) }, Policy{Links: true}, Files},
		"pipe":          {func(t *testing.T, d string) { mustNot(t, syscall.Mkfifo(filepath.Join(d, "pipe"), 0o644)) }, Policy{}, Files},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bundle := sign(t)
			c.change(t, dir)
			c.policy.Keys = []crypto.PublicKey{key.Public()}
			if _, err := c.policy.Verify(t.Context(), dir, bundle); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func mustNot(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinks(t *testing.T) {
	key := newKey(t, "p256")
	dir := write(t, t.TempDir(), map[string]string{"blobs/1": "one", "blobs/2": "two"})
	mustNot(t, os.Symlink("blobs/1", filepath.Join(dir, "weights")))
	mustNot(t, os.Symlink("blobs", filepath.Join(dir, "folder")))
	if _, err := (Hashing{}).Manifest(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("links not allowed: %v", err)
	}
	m := manifestOf(t, Hashing{FollowLinks: true}, dir)
	if want := []string{"blobs/1", "blobs/2", "folder/1", "folder/2", "weights"}; !slices.Equal(m.Paths(), want) {
		t.Errorf("paths %v, want %v", m.Paths(), want)
	}
	bundle := signed(t, &Signer{Key: key}, m)
	for allowed, want := range map[bool]error{true: nil, false: Files} {
		p := &Policy{Keys: []crypto.PublicKey{key.Public()}, Links: allowed}
		if _, err := p.Verify(t.Context(), dir, bundle); !errors.Is(err, want) {
			t.Errorf("the verifier allows links: %v: %v, want %v", allowed, err, want)
		}
	}
	outside := write(t, t.TempDir(), map[string]string{"secret": "x"})
	for target, word := range map[string]string{"..": "", "/etc": "", filepath.Join(outside, "secret"): "", "../" + filepath.Base(outside) + "/secret": "", ".": "leads back", "missing": ""} {
		bad := write(t, t.TempDir(), map[string]string{"x": "y"})
		mustNot(t, os.Symlink(target, filepath.Join(bad, "link")))
		if _, err := (Hashing{FollowLinks: true}).Manifest(t.Context(), bad); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("link to %s: %v", target, err)
		}
	}
}

func TestRefusedModels(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{".gitignore": "x"})
	bad := write(t, t.TempDir(), map[string]string{"x": "y"})
	mustNot(t, os.WriteFile(filepath.Join(bad, "\xff"), nil, 0o644))
	deep := t.TempDir()
	mustNot(t, os.MkdirAll(filepath.Join(deep, strings.Repeat("d/", 70)), 0o755))
	sparse := write(t, t.TempDir(), map[string]string{"big": ""})
	mustNot(t, os.Truncate(filepath.Join(sparse, "big"), 1<<40))
	for name, c := range map[string]struct {
		h     Hashing
		model string
	}{
		"nothing but ignored files": {Hashing{}, dir},
		"a name that is not UTF-8":  {Hashing{}, bad},
		"too deep":                  {Hashing{}, deep},
		"not there":                 {Hashing{}, filepath.Join(dir, "missing")},
		"a device":                  {Hashing{}, "/dev/zero"},
		"an unknown hash":           {Hashing{Algorithm: "md5"}, filepath.Join(bad, "x")},
		"too many pieces":           {Hashing{ShardSize: 1}, sparse},
		"a pattern":                 {Hashing{Ignore: []string{"*.bin"}}, bad},
		"out of the model":          {Hashing{Ignore: []string{"../x"}}, bad},
	} {
		if _, err := c.h.Manifest(t.Context(), c.model); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

// What Check has agreed to is what was signed, in whole files and in pieces.
func TestCheck(t *testing.T) {
	dir := write(t, t.TempDir(), example)
	for _, h := range []Hashing{{}, {ShardSize: 999}} {
		m := manifestOf(t, h, dir)
		content := example["weights.bin"]
		var copied bytes.Buffer
		if err := m.Check("weights.bin", io.TeeReader(strings.NewReader(content), &copied)); err != nil || copied.String() != content {
			t.Errorf("%+v: %v, %d bytes", h, err, copied.Len())
		}
		for _, bad := range []string{content[1:], content[:len(content)-1], content + "0", "", strings.Replace(content, "1", "2", 1)} {
			if err := m.Check("weights.bin", strings.NewReader(bad)); !errors.Is(err, Files) {
				t.Errorf("%+v: %d bytes that were not signed: %v", h, len(bad), err)
			}
		}
		if err := m.Check("other", strings.NewReader(content)); !errors.Is(err, Files) {
			t.Errorf("another name: %v", err)
		}
	}
}

func TestCertificates(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	m := manifestOf(t, Hashing{}, model)
	key := newKey(t, "p521")
	now := time.Now()
	for name, c := range map[string]struct {
		edit func(*x509.Certificate)
		at   time.Time
		want error
	}{
		"good":         {func(*x509.Certificate) {}, now, nil},
		"any usage":    {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, now, nil},
		"expired":      {func(*x509.Certificate) {}, now.Add(2 * time.Hour), Certificate},
		"not valid":    {func(*x509.Certificate) {}, now.Add(-2 * time.Hour), Certificate},
		"another name": {func(c *x509.Certificate) { c.EmailAddresses = []string{"other@example.org"} }, now, Signed},
	} {
		roots, chain := certify(t, key, c.edit)
		bundle := signed(t, &Signer{Key: key, Chain: chain}, m)
		p := &Policy{Roots: roots, Names: []string{"model@example.org"}, Time: c.at}
		v, err := p.Verify(t.Context(), model, bundle)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || v.By.Name != "CN=models" || v.By.Issuer != "CN=middle") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		others, _ := certify(t, key, c.edit)
		p.Roots = others
		if _, err := p.Verify(t.Context(), model, bundle); !errors.Is(err, Certificate) {
			t.Errorf("%s: another root: %v", name, err)
		}
		long := signed(t, &Signer{Key: key, Chain: append(slices.Clone(chain), others...)}, m)
		p.Roots = roots
		if _, err := p.Verify(t.Context(), model, long); !errors.Is(err, Certificate) {
			t.Errorf("%s: a certificate that is not part of the chain: %v", name, err)
		}
	}
	for name, edit := range map[string]func(*x509.Certificate){
		"for servers":   func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"for agreement": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement },
		"for nothing":   func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = 0, nil },
	} {
		roots, chain := certify(t, key, edit)
		if _, err := (&Signer{Key: key, Chain: chain}).Sign(m); err == nil {
			t.Errorf("a certificate %s signs", name)
		}
		if _, _, err := (&Policy{Roots: roots}).byCertificate(&bundle{Material: material{Chain: chainOf(chain)}, Envelope: &envelope{}}); !errors.Is(err, Certificate) {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}
	_, chain := certify(t, newKey(t, "p256"), func(*x509.Certificate) {})
	if _, err := (&Signer{Key: key, Chain: chain}).Sign(m); err == nil {
		t.Error("a key signs with another's certificate")
	}
}

func chainOf(certs []*x509.Certificate) *chain {
	c := &chain{}
	for _, x := range certs {
		c.Certificates = append(c.Certificates, certificate{x.Raw})
	}
	return c
}

func TestKeys(t *testing.T) {
	for _, kind := range KeyKinds() {
		key := newKey(t, kind)
		for _, pass := range []string{"", "correct horse"} {
			text, err := MarshalPrivateKey(key, pass)
			mustNot(t, err)
			got, err := ParsePrivateKey(text, pass)
			if err != nil || Fingerprint(got.Public()) != Fingerprint(key.Public()) {
				t.Errorf("%s with passphrase %q: %v", kind, pass, err)
			}
			if pass == "" {
				continue
			}
			for _, wrong := range []string{"", "incorrect"} {
				if _, err := ParsePrivateKey(text, wrong); err == nil {
					t.Errorf("%s: read with passphrase %q", kind, wrong)
				}
			}
		}
		text, err := MarshalPublicKey(key.Public())
		mustNot(t, err)
		got, err := ParsePublicKey(text)
		if err != nil || Fingerprint(got) != Fingerprint(key.Public()) {
			t.Errorf("%s: public key: %v", kind, err)
		}
		if _, err := ParsePrivateKey(text, ""); err == nil {
			t.Errorf("%s: a public key is read as a private one", kind)
		}
	}
	if _, err := GenerateKey("rsa"); err == nil {
		t.Error("made a key of kind rsa")
	}
}

// A hint may be the fingerprint of the key in PEM or in DER, and must be one of
// the policy's keys'.
func TestHints(t *testing.T) {
	key := newKey(t, "p256")
	text, err := MarshalPublicKey(key.Public())
	mustNot(t, err)
	block, _ := pem.Decode(text)
	for hint, want := range map[string]bool{hexSum(text): true, hexSum(block.Bytes): true, hexSum(nil): false} {
		if got := (&keyHint{Hint: hint}).names(key.Public()); got != want {
			t.Errorf("hint %s: %v, want %v", hint, got, want)
		}
	}
}

func TestEmptyPolicyAndSigner(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	m := manifestOf(t, Hashing{}, model)
	if _, err := (&Signer{}).Sign(m); err == nil {
		t.Error("signed without a key")
	}
	if _, err := (&Signer{Key: newKey(t, "p256")}).Sign(&Manifest{Algorithm: SHA256}); err == nil {
		t.Error("signed an empty manifest")
	}
	m.Legacy = true
	if _, err := (&Signer{Key: newKey(t, "p256")}).Sign(m); err == nil {
		t.Error("wrote the old format")
	}
}

// A file that changes its size while the model is read, or becomes a link, is
// noticed.
func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shorter": func(p string) error { return os.Truncate(p, 3<<20) },
		"longer":  func(p string) error { return os.Truncate(p, 5<<20) },
		"a link": func(p string) error {
			other := p + ".other"
			return errors.Join(os.WriteFile(other, make([]byte, 4<<20), 0o644), os.Remove(p), os.Symlink(filepath.Base(other), p))
		},
	} {
		// By the first report of progress a file is open, and with one reader the
		// next is not.
		for _, which := range []int{0, 1} {
			dir := write(t, t.TempDir(), map[string]string{"a": strings.Repeat("x", 4<<20), "b": strings.Repeat("y", 4<<20)})
			list, err := Hashing{}.list(dir)
			mustNot(t, err)
			mustNot(t, list.root.Close())
			victim := filepath.Join(dir, list.files[which].path)
			if which == 0 && name == "a link" {
				continue // an open file stays what it was
			}
			changed := false
			h := Hashing{Workers: 1, Progress: func(int64, int64) {
				if !changed {
					changed = true
					mustNot(t, change(victim))
				}
			}}
			if _, err := h.Manifest(t.Context(), dir); !errors.Is(err, errChanged) {
				t.Errorf("%s, file %d: %v, want %v", name, which, err, errChanged)
			}
		}
	}
}

func TestInterrupted(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"a": strings.Repeat("x", 8<<20)})
	ctx, stop := context.WithCancel(t.Context())
	h := Hashing{Progress: func(int64, int64) { stop() }}
	if _, err := h.Manifest(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
