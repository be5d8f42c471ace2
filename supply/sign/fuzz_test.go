package sign

import (
	"crypto"
	"path/filepath"
	"testing"

	"github.com/redoubt-ml/redoubt"
)

func addFiles(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range files {
		f.Add(readFile(f, path))
	}
}

// No bundle makes the verifier panic, and none but the seeds verifies.
func FuzzBundle(f *testing.F) {
	addFiles(f, "testdata/history/*/model.sig")
	addFiles(f, "testdata/oms/*/*.json")
	p := inHistory(f)
	known := map[redoubt.Digest]bool{}
	for _, pattern := range []string{"testdata/history/*/model.sig", "testdata/oms/valid/*.json"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			v, err := p.Open(readFile(f, path))
			if err != nil {
				f.Fatal(err)
			}
			known[v.Manifest.Root()] = true
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := p.Open(b); err == nil && !known[v.Manifest.Root()] {
			t.Errorf("a forged bundle verifies: %s", b)
		}
	})
}

// What is read as a manifest satisfies its own rules, and is written and read
// again the same.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4"}}],"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[{"name":"signme-1","digest":"bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc","algorithm":"sha256"},{"name":"signme-2","digest":"32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028","algorithm":"sha256"}],"serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":[".git"]}}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"x"}}],"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[{"name":"a:0:7","digest":"00","algorithm":"blake3"}],"serialization":{"method":"shards","shard_size":1e9,"hash_type":"blake3","allow_symlinks":true}}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc"}}],"predicateType":"https://model_signing/Digests/v0.1","predicate":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readStatement(b)
		if err != nil {
			return
		}
		m, err := s.manifest(true)
		if err != nil {
			return
		}
		if err := m.check(); err != nil {
			t.Errorf("read and not valid: %v", err)
		}
		if m.Legacy {
			return
		}
		again, err := m.statement(len(b)%2 == 0)
		if err != nil {
			t.Fatalf("read and not written: %v", err)
		}
		m2, err := again.manifest(false)
		if err != nil || m2.Root() != m.Root() {
			t.Errorf("written and read again: %v", err)
		}
	})
}

func FuzzAttestation(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4"}}],"predicateType":"https://github.com/redoubt-ml/redoubt/attestation/v1/scan","predicate":{"issued":"2026-01-01T00:00:00Z","notAfter":"2026-04-01T00:00:00Z","verdict":"safe","numbers":{"files":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readStatement(b)
		if err != nil {
			return
		}
		if a, err := readAttestation(s); err == nil && (!a.Issued.Before(a.Expires) || !isDigest(a.Subject)) {
			t.Errorf("read and not valid: %+v", a)
		}
	})
}

func FuzzTrustedRoot(f *testing.F) {
	addFiles(f, "testdata/trusted_root.json")
	bundle := readFile(f, "testdata/history/v1.1.0-sigstore/model.sig")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseTrustedRoot(b)
		if err != nil {
			return
		}
		p := inHistory(t)
		p.Sigstore.Root = r
		_, _ = p.Open(bundle) // whatever it says, it does not panic
	})
}

// No timestamp but the seed is one, of this signature.
func FuzzTimestamp(f *testing.F) {
	b, err := readBundle(readFile(f, "testdata/history/v1.1.0-sigstore/model.sig"))
	if err != nil {
		f.Fatal(err)
	}
	seed := b.Material.Stamps.RFC3161[0].Signed
	f.Add([]byte(seed))
	root, sig := inHistory(f).Sigstore.Root, b.Envelope.Signatures[0].Sig
	if _, err := root.stamped(seed, sig); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if _, err := root.stamped(der, sig); err == nil && string(der) != string(seed) {
			t.Errorf("a forged timestamp: %x", der)
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, kind := range []string{"p256", "ml-dsa-65"} {
		key := newKey(f, kind)
		for _, pass := range []string{"", "x"} {
			text, err := MarshalPrivateKey(key, pass)
			mustNot(f, err)
			f.Add(text)
		}
		text, err := MarshalPublicKey(key.Public())
		mustNot(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func() (crypto.PublicKey, error){
			func() (crypto.PublicKey, error) { return ParsePublicKey(b) },
			func() (crypto.PublicKey, error) {
				k, err := ParsePrivateKey(b, "")
				if err != nil {
					return nil, err
				}
				return k.Public(), nil
			},
		} {
			if key, err := parse(); err == nil && Fingerprint(key) == "" {
				t.Errorf("a key that cannot be used was read: %T", key)
			}
		}
	})
}
