package sign

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayChange lists the parts of a bundle that may be changed without notice, and
// why. TestEveryField fails for every other, and for one that is listed here and
// does not.
var mayChange = map[string]string{
	"set dsseEnvelope.signatures.0.keyid":                                       "a hint by DSSE's definition: nothing is decided by it",
	"remove dsseEnvelope.signatures.0.keyid":                                    "may be absent (section 4.1)",
	"remove verificationMaterial.tlogEntries":                                   "of a key or a certificate: empty and absent are one (section 11.1)",
	"remove verificationMaterial.publicKey.keyDetails":                          "beside rawBytes in old bundles: the policy's key is what counts",
	"remove verificationMaterial.timestampVerificationData":                     "a further witness of the time that the log vouches for",
	"remove verificationMaterial.timestampVerificationData.rfc3161Timestamps":   "as above",
	"remove verificationMaterial.timestampVerificationData.rfc3161Timestamps.0": "as above",
}

// mutable is a bundle with a policy under which it opens.
type mutable struct {
	bundle []byte
	policy *Policy
	model  string
}

// cases are bundles of every method and age, and of what is newer than them.
func cases(t *testing.T) map[string]mutable {
	t.Helper()
	out := map[string]mutable{}
	sigs, err := filepath.Glob("testdata/history/*/model.sig")
	if err != nil || len(sigs) == 0 {
		t.Fatal("no signed models", err)
	}
	for _, s := range sigs {
		out[filepath.Base(filepath.Dir(s))] = mutable{readFile(t, s), inHistory(t), filepath.Dir(s)}
	}
	dir := write(t, t.TempDir(), map[string]string{"a": "one", "b/c": "two and a half"})
	for kind, h := range map[string]Hashing{"ml-dsa-65": {Algorithm: BLAKE3}, "p521": {Algorithm: BLAKE2b, ShardSize: 5}} {
		key := newKey(t, kind)
		p := &Policy{Keys: []crypto.PublicKey{key.Public()}}
		out[kind] = mutable{signed(t, &Signer{Key: key}, manifestOf(t, h, dir)), p, dir}
	}
	return out
}

// One bit of one byte of a bundle, changed anywhere: refused.
func TestEveryByteOfABundle(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 97
	}
	for name, c := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, p := c.bundle, c.policy
			if _, err := p.Open(good); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(good); i += step {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << (i % 7)
				if i%3 == 0 {
					bad[i] = good[i] ^ 0x20 // the other case of a letter
				}
				if _, err := p.Open(bad); err == nil {
					t.Errorf("byte %d from %q to %q: accepted", i, good[i], bad[i])
				}
			}
		})
	}
}

// Every value of a bundle and of what is within it, removed and replaced.
func TestEveryField(t *testing.T) {
	used := map[string]bool{}
	for name, c := range cases(t) {
		t.Run(name, func(t *testing.T) {
			good, p := c.bundle, c.policy
			for what, bad := range mutants(t, good) {
				_, err := p.Open(bad)
				if err == nil && mayChange[what] == "" {
					t.Errorf("%s: accepted", what)
				}
				if err == nil {
					used[what] = true
				}
			}
		})
	}
	for what := range mayChange {
		if !used[what] {
			t.Errorf("%q is listed and is refused", what)
		}
	}
}

// mutants are the changes of a JSON document, a field at a time, by name. Fields
// that hold a document in base64 are also changed within.
func mutants(t *testing.T, doc []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var paths [][]any
	var walk func(v any, at []any)
	walk = func(v any, at []any) {
		if len(at) > 0 {
			paths = append(paths, slices.Clone(at))
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k], append(at, k))
			}
		case []any:
			for i := range v {
				walk(v[i], append(at, i))
			}
		}
	}
	parse := func() (v any) {
		mustNot(t, json.Unmarshal(doc, &v))
		return v
	}
	walk(parse(), nil)
	add := func(what string, at []any, edit func(parent any, key any, old any) any) {
		v := edited(parse(), at, edit)
		b, err := json.Marshal(v)
		mustNot(t, err)
		out[what+" "+dotted(at)] = b
	}
	for _, at := range paths {
		add("remove", at, func(parent, key, old any) any { return removed{} })
		add("double", at, func(parent, key, old any) any { return []any{old, old} })
		add("set", at, func(parent, key, old any) any { return replaced(old) })
		edited(parse(), at, func(parent, key, old any) any {
			text, _ := old.(string)
			if inner, err := base64.StdEncoding.DecodeString(text); err == nil && bytes.HasPrefix(inner, []byte("{")) && json.Valid(inner) {
				for what, b := range mutants(t, inner) {
					add(what+" within", at, func(_, _, _ any) any { return base64.StdEncoding.EncodeToString(b) })
				}
			}
			return old
		})
	}
	return out
}

type removed struct{}

// edited applies an edit to the value at a path.
func edited(v any, at []any, edit func(parent, key, old any) any) any {
	switch parent := v.(type) {
	case map[string]any:
		key := at[0].(string)
		next := any(nil)
		if len(at) == 1 {
			next = edit(parent, key, parent[key])
		} else {
			next = edited(parent[key], at[1:], edit)
		}
		if _, gone := next.(removed); gone {
			delete(parent, key)
		} else {
			parent[key] = next
		}
	case []any:
		i := at[0].(int)
		next := any(nil)
		if len(at) == 1 {
			next = edit(parent, i, parent[i])
		} else {
			next = edited(parent[i], at[1:], edit)
		}
		if _, gone := next.(removed); gone {
			return slices.Delete(parent, i, i+1)
		}
		parent[i] = next
	}
	return v
}

// replaced is another value of the same kind, one that reads as well as the old.
func replaced(v any) any {
	switch v := v.(type) {
	case string:
		if raw, err := base64.StdEncoding.DecodeString(v); err == nil && len(raw) > 8 {
			raw[len(raw)/2] ^= 1
			return base64.StdEncoding.EncodeToString(raw)
		}
		if v != "" && strings.Trim(v, "0123456789") == "" {
			return v + "1"
		}
		return v + "x"
	case float64:
		return v + 1
	case bool:
		return !v
	case nil:
		return "x"
	}
	return map[string]any{"other": 1}
}

func dotted(at []any) string {
	var parts []string
	for _, p := range at {
		parts = append(parts, fmt.Sprint(p))
	}
	return strings.Join(parts, ".")
}

// One bit of one byte of a file of the model, changed anywhere: refused.
func TestEveryByteOfAModel(t *testing.T) {
	for name, c := range cases(t) {
		p, bundle := c.policy, c.bundle
		v, err := p.Open(bundle)
		if err != nil {
			t.Fatal(err)
		}
		if v.Manifest.nameless() {
			continue // it is among the others under its name
		}
		dir := t.TempDir()
		mustNot(t, os.CopyFS(dir, os.DirFS(c.model)))
		for _, file := range v.Manifest.Paths() {
			at := filepath.Join(dir, file)
			good := readFile(t, at)
			for i := range good {
				bad := bytes.Clone(good)
				bad[i] ^= 1
				mustNot(t, os.WriteFile(at, bad, 0o644))
				if _, err := p.Verify(t.Context(), dir, bundle); err == nil {
					t.Errorf("%s: byte %d of %s: accepted", name, i, file)
				}
			}
			mustNot(t, os.WriteFile(at, good, 0o644))
		}
		if _, err := p.Verify(t.Context(), dir, bundle); err != nil {
			t.Error(name, err)
		}
	}
}
