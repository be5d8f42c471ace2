package sign

import (
	"bufio"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// reference is the reference implementation, in a Python that REDOUBT_MODEL_SIGNING
// names or that is on the path, with what testdata/requirements.txt lists.
type reference struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

type job struct {
	Do        string   `json:"do"`
	Model     string   `json:"model"`
	Signature string   `json:"signature"`
	Key       string   `json:"key"`
	Public    string   `json:"public"`
	Password  string   `json:"password"`
	Chain     []string `json:"chain"`
	Roots     []string `json:"roots"`
	Hash      string   `json:"hash"`
	Shard     int64    `json:"shard"`
	Links     bool     `json:"links"`
	Ignore    []string `json:"ignore"`
	Guess     bool     `json:"guess"`
}

func newReference(t *testing.T) *reference {
	t.Helper()
	python := os.Getenv("REDOUBT_MODEL_SIGNING")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import model_signing").Run(); err != nil {
		need.Missing(t, "model-signing", "a Python with model-signing, named by REDOUBT_MODEL_SIGNING")
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/interop.py")
	in, err := cmd.StdinPipe()
	mustNot(t, err)
	out, err := cmd.StdoutPipe()
	mustNot(t, err)
	cmd.Stderr = os.Stderr
	mustNot(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return &reference{t, in, bufio.NewScanner(out)}
}

// do has the reference do a job, and returns its complaint.
func (r *reference) do(j job) string {
	r.t.Helper()
	mustNot(r.t, json.NewEncoder(r.in).Encode(j))
	if !r.out.Scan() {
		r.t.Fatal("the reference implementation ended")
	}
	var answer struct{ Error string }
	mustNot(r.t, json.Unmarshal(r.out.Bytes(), &answer))
	return answer.Error
}

// keep writes a key, its public key and, where there is one, the chain.
func keep(t *testing.T, key crypto.Signer, password string, chain []*x509.Certificate) job {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, b []byte, err error) string {
		mustNot(t, err)
		mustNot(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		return filepath.Join(dir, name)
	}
	private, err := MarshalPrivateKey(key, password)
	j := job{Key: put("key.pem", private, err), Password: password, Signature: filepath.Join(dir, "model.sig"), Chain: []string{}, Roots: []string{}, Ignore: []string{}}
	public, err := MarshalPublicKey(key.Public())
	j.Public = put("key.pub", public, err)
	for i, c := range chain {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		j.Chain = append(j.Chain, put(string(rune('a'+i))+".pem", text, nil))
	}
	return j
}

// Ours, in its spelling, verify there and theirs here: keys and certificates, files and pieces,
// every hash, with and without ignored files; and what has changed, neither.
func TestReference(t *testing.T) {
	r := newReference(t)
	for name, h := range map[string]Hashing{
		"files": {Algorithm: SHA256}, "blake2b": {Algorithm: BLAKE2b}, "blake3": {Algorithm: BLAKE3},
		"pieces": {Algorithm: SHA256, ShardSize: 7}, "pieces by blake2b": {Algorithm: BLAKE2b, ShardSize: 1000},
		"ignored": {Algorithm: SHA256, Ignore: []string{"a", "empty"}},
	} {
		for _, kind := range []string{"p256", "p384", "p521", "certificate"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				r.t = t
				r.both(h, kind)
			})
		}
	}
}

func (r *reference) both(h Hashing, kind string) {
	t := r.t
	files := map[string]string{}
	for name, content := range example {
		if h.ShardSize > 0 && (strings.Contains(name, ":") || content == "") {
			continue // the reference cannot read the names of their pieces, see TestReferenceDiffers
		}
		files[name] = content
	}
	dir := write(t, t.TempDir(), files)
	curve := kind
	if kind == "certificate" {
		curve = "p384"
	}
	key := newKey(t, curve)
	s, p := &Signer{Key: key, Reference: true}, &Policy{Keys: []crypto.PublicKey{key.Public()}}
	j := keep(t, key, "", nil)
	if kind == "certificate" {
		roots, chain := certify(t, key, func(*x509.Certificate) {})
		j = keep(t, key, "", append(chain, roots...))
		j.Roots = j.Chain[2:]
		j.Chain = j.Chain[:2]
		s.Chain, p.Keys, p.Roots = chain, nil, roots
	}
	j.Model, j.Hash, j.Shard, j.Guess = dir, h.Algorithm, h.ShardSize, true
	j.Ignore = append(j.Ignore, h.Ignore...)

	mustNot(t, os.WriteFile(j.Signature, signed(t, s, manifestOf(t, h, dir)), 0o644))
	j.Do = "verify"
	if e := r.do(j); e != "" {
		t.Errorf("ours is refused there: %s", e)
	}
	write(t, dir, map[string]string{"config.json": `{"layers": 4}`})
	if e := r.do(j); e == "" {
		t.Error("a changed file is accepted there")
	}
	write(t, dir, files)

	j.Do = "sign"
	if e := r.do(j); e != "" {
		t.Fatalf("cannot sign there: %s", e)
	}
	theirs := readFile(t, j.Signature)
	if _, err := p.Verify(t.Context(), dir, theirs); err != nil {
		t.Errorf("theirs is refused here: %v", err)
	}
	write(t, dir, map[string]string{"config.json": `{"layers": 4}`})
	if _, err := p.Verify(t.Context(), dir, theirs); err == nil {
		t.Error("a changed file is accepted here")
	}
}

// Where the two differ: what is said of it in docs/signing.md holds.
func TestReferenceDiffers(t *testing.T) {
	r := newReference(t)
	key := newKey(t, "p256")
	j := keep(t, key, "", nil)
	p := &Policy{Keys: []crypto.PublicKey{key.Public()}}
	j.Hash, j.Guess = SHA256, true
	j.Model = filepath.Join(write(t, t.TempDir(), example), "weights.bin")

	// A model of one file: the specification wants its name, the reference
	// writes ".". Pieces: it calls their hash otherwise. We read both; it reads
	// its own.
	for name, h := range map[string]Hashing{"one file": {}, "pieces": {ShardSize: 64}} {
		j.Do, j.Shard = "sign", h.ShardSize
		if e := r.do(j); e != "" {
			t.Fatal(e)
		}
		v, err := p.Verify(t.Context(), j.Model, readFile(t, j.Signature))
		if err != nil || !v.Manifest.nameless() {
			t.Errorf("%s: theirs is refused here: %v", name, err)
		}
		m := manifestOf(t, h, j.Model)
		j.Do = "verify"
		mustNot(t, os.WriteFile(j.Signature, signed(t, &Signer{Key: key, Reference: true}, m), 0o644))
		if e := r.do(j); e != "" {
			t.Errorf("%s: ours, in its spelling, is refused there: %s", name, e)
		}
		mustNot(t, os.WriteFile(j.Signature, signed(t, &Signer{Key: key}, m), 0o644))
		if e := r.do(j); e == "" {
			t.Errorf("%s: the reference verifies what the specification says: say so in docs/signing.md", name)
		}
	}
}

// The keys and signatures of ML-DSA, and encrypted keys, as OpenSSL reads them.
func TestOpenSSL(t *testing.T) {
	r := newReference(t)
	for _, kind := range []string{"ml-dsa-65", "ml-dsa-87"} {
		key := newKey(t, kind)
		j := keep(t, key, "correct horse", nil)
		dir := write(t, t.TempDir(), example)
		bundle := signed(t, &Signer{Key: key}, manifestOf(t, Hashing{}, dir))
		mustNot(t, os.WriteFile(j.Signature, bundle, 0o644))
		j.Do = "mldsa"
		if e := r.do(j); e != "" {
			t.Errorf("%s: %s", kind, e)
		}
	}
	j := keep(t, newKey(t, "p384"), "correct horse", nil)
	j.Do = "load"
	if e := r.do(j); e != "" {
		t.Errorf("encrypted key: %s", e)
	}
	for _, kind := range []string{"ec", "ml-dsa"} {
		j.Do, j.Hash = "make", kind
		if e := r.do(j); e != "" {
			t.Fatal(e)
		}
		private, err := ParsePrivateKey(readFile(t, j.Key), j.Password)
		mustNot(t, err)
		public, err := ParsePublicKey(readFile(t, j.Public))
		mustNot(t, err)
		if Fingerprint(private.Public()) != Fingerprint(public) {
			t.Errorf("%s: keys made there do not belong together here", kind)
		}
	}
}
