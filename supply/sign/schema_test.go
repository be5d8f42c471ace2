package sign

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What we write satisfies the specification's four schemas (section 10), and so
// do its own valid vectors.
func TestSchemas(t *testing.T) {
	c := jsonschema.NewCompiler()
	schemas, err := filepath.Glob("testdata/schemas/*.json")
	if err != nil || len(schemas) != 4 {
		t.Fatal("found", schemas, err)
	}
	for _, path := range schemas {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(readFile(t, path)))
		mustNot(t, err)
		mustNot(t, c.AddResource(doc.(map[string]any)["$id"].(string), doc))
	}
	valid := func(name, id string, b []byte) {
		t.Helper()
		s, err := c.Compile("https://model_signing/" + id + "/v1.0/schema")
		mustNot(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		mustNot(t, err)
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	all := map[string][]byte{}
	for _, name := range []string{"key", "certificate", "sigstore"} {
		all[name] = readFile(t, "testdata/oms/valid/"+name+".bundle.json")
	}
	dir := write(t, t.TempDir(), example)
	key := newKey(t, "p256")
	_, chain := certify(t, key, func(*x509.Certificate) {})
	all["ours by key"] = signed(t, &Signer{Key: key}, manifestOf(t, Hashing{}, dir))
	all["ours by certificate"] = signed(t, &Signer{Key: key, Chain: chain}, manifestOf(t, Hashing{ShardSize: 9, Algorithm: BLAKE3}, dir))
	all["ours by ML-DSA"] = signed(t, &Signer{Key: newKey(t, "ml-dsa-65")}, manifestOf(t, Hashing{}, filepath.Join(dir, "empty")))
	for name, b := range all {
		valid(name, "bundle", b)
		var bundle struct {
			DSSE struct{ Payload []byte } `json:"dsseEnvelope"`
		}
		mustNot(t, json.Unmarshal(b, &bundle))
		valid(name, "statement", bundle.DSSE.Payload)
	}
}
