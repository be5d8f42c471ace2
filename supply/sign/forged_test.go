package sign

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// Statements that the right key has signed and that still are not manifests.
func TestForgedManifests(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"a": "0123456789ab", "b": "x"})
	s := &Signer{Key: newKey(t, "p256")}
	p := &Policy{Keys: []crypto.PublicKey{s.Key.Public()}, Legacy: true}
	files := manifestOf(t, Hashing{}, dir)
	pieces := manifestOf(t, Hashing{ShardSize: 5}, dir)
	root := func(st *statement, d []Resource) { st.Subject[0].Digest["sha256"] = string(rootOf(d)) }
	// with rewrites the resources and keeps the root digest in step with them.
	with := func(m *Manifest, edit func(r []map[string]any) []map[string]any) *statement {
		st, err := m.statement(false)
		mustNot(t, err)
		var body map[string]any
		mustNot(t, json.Unmarshal(st.Predicate, &body))
		var list []map[string]any
		for _, r := range body["resources"].([]any) {
			list = append(list, r.(map[string]any))
		}
		list = edit(list)
		body["resources"] = list
		var digests []Resource
		for _, r := range list {
			digests = append(digests, Resource{Digest: r["digest"].(string)})
		}
		st.Predicate, err = json.Marshal(body)
		mustNot(t, err)
		root(st, digests)
		return st
	}
	rename := func(from, to string) func([]map[string]any) []map[string]any {
		return func(list []map[string]any) []map[string]any {
			for _, r := range list {
				if r["name"] == from {
					r["name"] = to
				}
			}
			return list
		}
	}
	same := func(list []map[string]any) []map[string]any { return list }
	serialization := func(m *Manifest, from, to string) *statement {
		st := with(m, same)
		if !bytes.Contains(st.Predicate, []byte(from)) {
			t.Fatalf("no %s in %s", from, st.Predicate)
		}
		st.Predicate = bytes.Replace(st.Predicate, []byte(from), []byte(to), 1)
		return st
	}
	off := with(files, same)
	root(off, nil)
	two := with(files, same)
	two.Subject = append(two.Subject, two.Subject[0])
	for name, st := range map[string]*statement{
		"root of others":      off,
		"two subjects":        two,
		"no resources":        with(files, func([]map[string]any) []map[string]any { return nil }),
		"a file twice":        with(files, rename("b", "a")),
		"up":                  with(files, rename("a", "../a")),
		"absolute":            with(files, rename("a", "/a")),
		"not normal":          with(files, rename("a", "./a")),
		"a dot among others":  with(files, rename("a", ".")),
		"another hash":        serialization(files, `"hash_type":"sha256"`, `"hash_type":"blake3"`),
		"an unknown hash":     serialization(files, `"hash_type":"sha256"`, `"hash_type":"md5"`),
		"an unknown method":   serialization(files, `"files"`, `"tensors"`),
		"a size of files":     serialization(files, `"method":"files"`, `"method":"files","shard_size":5`),
		"half a size":         serialization(pieces, `"shard_size":5`, `"shard_size":5.5`),
		"another size":        serialization(pieces, `"shard_size":5`, `"shard_size":7`),
		"a pattern ignored":   serialization(files, `".git"`, `"*"`),
		"everything ignored":  serialization(files, `".git"`, `"."`),
		"unknown member":      serialization(files, `"method":"files"`, `"method":"files","lenient":true`),
		"no word on links":    serialization(files, `"allow_symlinks":false,`, ``),
		"a range spelt oddly": with(pieces, rename("a:0:5", "a:00:5")),
		"no range":            with(pieces, rename("a:0:5", "a")),
		"a piece out of step": with(pieces, rename("a:0:5", "a:1:5")),
		"a piece too long":    with(pieces, rename("a:0:5", "a:0:6")),
		"a piece missing":     with(pieces, func(l []map[string]any) []map[string]any { return l[1:] }),
		"a piece twice, a hole": with(pieces, func(l []map[string]any) []map[string]any {
			return append(rename("a:5:10", "a:0:4")(l), map[string]any{"name": "a:0:1", "algorithm": "sha256", "digest": l[0]["digest"]})
		}),
		"a short digest": with(files, func(l []map[string]any) []map[string]any {
			l[0]["digest"] = "00"
			return l
		}),
		"a digest in capitals": with(files, func(l []map[string]any) []map[string]any {
			l[0]["digest"] = strings.ToUpper(l[0]["digest"].(string))
			return l
		}),
	} {
		b, err := s.writeBundle(st)
		mustNot(t, err)
		if _, err := p.Open(b); !errors.Is(err, Format) {
			t.Errorf("%s: %v, want %s", name, err, Format)
		}
	}
	for name, st := range map[string]*statement{"files": with(files, same), "pieces": with(pieces, same)} {
		b, err := s.writeBundle(st)
		mustNot(t, err)
		if _, err := p.Verify(t.Context(), dir, b); err != nil {
			t.Errorf("%s, untouched: %v", name, err)
		}
	}
}

// Envelopes around a good statement that say more than the signature covers.
func TestForgedEnvelopes(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	s := &Signer{Key: newKey(t, "p256")}
	p := &Policy{Keys: []crypto.PublicKey{s.Key.Public()}, Legacy: true}
	good := signed(t, s, manifestOf(t, Hashing{}, model))
	entries := within(parse(t, readFile(t, "testdata/history/v1.1.0-sigstore/model.sig")))
	envelope := func(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }
	for name, edit := range map[string]func(b map[string]any){
		"a second signature": func(b map[string]any) {
			list := envelope(b)["signatures"].([]any)
			envelope(b)["signatures"] = append(list, list[0])
		},
		"a log entry":   func(b map[string]any) { within(b)["tlogEntries"] = entries["tlogEntries"] },
		"a timestamp":   func(b map[string]any) { within(b)["timestampVerificationData"] = entries["timestampVerificationData"] },
		"a certificate": func(b map[string]any) { within(b)["certificate"] = entries["certificate"] },
		"a line break in base64": func(b map[string]any) {
			envelope(b)["payload"] = envelope(b)["payload"].(string)[:4] + "\n" + envelope(b)["payload"].(string)[4:]
		},
		"base64 without padding": func(b map[string]any) {
			envelope(b)["payload"] = strings.TrimRight(envelope(b)["payload"].(string)+"=", "=") + "A"
		},
		"another type of payload": func(b map[string]any) { envelope(b)["payloadType"] = "application/json" },
		"another media type":      func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1" },
		"a message signature":     func(b map[string]any) { b["messageSignature"] = map[string]any{} },
	} {
		b := parse(t, good)
		edit(b)
		raw, err := json.Marshal(b)
		mustNot(t, err)
		if _, err := p.Open(raw); !errors.Is(err, Format) {
			t.Errorf("%s: %v, want %s", name, err, Format)
		}
	}
	for name, raw := range map[string][]byte{
		"a name twice":          bytes.Replace(good, []byte(`"payloadType"`), []byte(`"payloadType": "x", "payloadType"`), 1),
		"a name in other case":  bytes.Replace(good, []byte(`"payloadType"`), []byte(`"PayloadType"`), 1),
		"more after the bundle": append(bytes.Clone(good), '{', '}'),
		"too large":             append(bytes.Clone(good), bytes.Repeat([]byte(" "), MaxBundle)...),
	} {
		if _, err := p.Open(raw); !errors.Is(err, Format) {
			t.Errorf("%s: %v, want %s", name, err, Format)
		}
	}
}

// A signature in the way of the old format counts for the old format only.
func TestOldWayNewFormat(t *testing.T) {
	model := filepath.Join(write(t, t.TempDir(), example), "weights.bin")
	key := newKey(t, "p256")
	b, err := readBundle(signed(t, &Signer{Key: key}, manifestOf(t, Hashing{}, model)))
	mustNot(t, err)
	b.Envelope.Signatures[0].Sig, err = signMessage(key, paeLegacy(b.Envelope.Payload))
	mustNot(t, err)
	raw, err := json.Marshal(b)
	mustNot(t, err)
	for legacy, want := range map[bool]error{true: Signature, false: Format} {
		p := &Policy{Keys: []crypto.PublicKey{key.Public()}, Legacy: legacy}
		if _, err := p.Open(raw); !errors.Is(err, want) {
			t.Errorf("old format allowed: %v: %v, want %s", legacy, err, want)
		}
	}
}

// A log entry and a timestamp of one signature are not those of another.
func TestWitnessesOfOthers(t *testing.T) {
	p := inHistory(t)
	b, err := readBundle(readFile(t, "testdata/history/v1.1.0-sigstore/model.sig"))
	mustNot(t, err)
	leaf, err := (&chain{Certificates: []certificate{*b.Material.Certificate}}).parse()
	mustNot(t, err)
	entry := &b.Material.Log[0]
	mustNot(t, entry.about(b.Envelope, leaf[0]))
	other := *b.Envelope
	other.Signatures = []dsseSignature{{Sig: bytes.Clone(b.Envelope.Signatures[0].Sig)}}
	other.Signatures[0].Sig[10] ^= 1
	if entry.about(&other, leaf[0]) == nil {
		t.Error("the entry is taken for that of another signature")
	}
	stamp := b.Material.Stamps.RFC3161[0].Signed
	if _, err := p.Sigstore.Root.stamped(stamp, other.Signatures[0].Sig); err == nil {
		t.Error("the timestamp is taken for that of another signature")
	}
	// The time within, a minute later: the signature covers a digest of it.
	later := bytes.Replace(stamp, []byte("20251010021220Z"), []byte("20251010021320Z"), 1)
	if bytes.Equal(later, stamp) {
		t.Fatal("no time in the timestamp")
	}
	if _, err := p.Sigstore.Root.stamped(later, b.Envelope.Signatures[0].Sig); err == nil {
		t.Error("a timestamp with another time is accepted")
	}
	if _, err := p.Sigstore.Root.stamped(append(bytes.Clone(stamp), 0), b.Envelope.Signatures[0].Sig); err == nil {
		t.Error("a timestamp with more behind it is accepted")
	}
}
