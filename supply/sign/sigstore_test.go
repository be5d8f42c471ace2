package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// What is wrong with a signature by Sigstore, one thing at a time, and what is
// said of it.
func TestSigstoreRefuses(t *testing.T) {
	bundle := readFile(t, "testdata/history/v1.1.0-sigstore/model.sig")
	other := readFile(t, "testdata/history/v1.0.1-sigstore/model.sig")
	if v, err := inHistory(t).Open(bundle); err != nil || !v.By.Time.Equal(time.Unix(1760062340, 0)) {
		t.Fatalf("the good one: %v", err)
	}
	for name, c := range map[string]struct {
		edit func(p *Policy, b map[string]any)
		want error
	}{
		"another identity": {func(p *Policy, _ map[string]any) { p.Sigstore.Identity = "x@us.ibm.com" }, Signed},
		"another issuer":   {func(p *Policy, _ map[string]any) { p.Sigstore.Issuer = "https://accounts.google.com" }, Signed},
		"no policy":        {func(p *Policy, _ map[string]any) { p.Sigstore = nil }, Signed},
		"no authority":     {func(p *Policy, _ map[string]any) { p.Sigstore.Root.authorities = nil }, Certificate},
		"the authority's time is over": {func(p *Policy, _ map[string]any) {
			for i := range p.Sigstore.Root.authorities {
				p.Sigstore.Root.authorities[i].end = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
			}
		}, Certificate},
		"no log of certificates": {func(p *Policy, _ map[string]any) { clear(p.Sigstore.Root.certLogs) }, Certificate},
		"another log of certificates": {func(p *Policy, _ map[string]any) {
			for _, l := range p.Sigstore.Root.certLogs {
				l.key = newKey(t, "p256").Public()
			}
		}, Certificate},
		"no log": {func(p *Policy, _ map[string]any) { clear(p.Sigstore.Root.logs) }, Log},
		"another log": {func(p *Policy, _ map[string]any) {
			for _, l := range p.Sigstore.Root.logs {
				l.key = newKey(t, "p256").Public()
			}
		}, Log},
		"the log's time is over": {func(p *Policy, _ map[string]any) {
			for _, l := range p.Sigstore.Root.logs {
				l.end = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
			}
		}, Log},
		"no stamping authority":     {func(p *Policy, _ map[string]any) { p.Sigstore.Root.stampers = nil }, Log},
		"entry of another bundle":   {func(_ *Policy, b map[string]any) { within(b)["tlogEntries"] = within(parse(t, other))["tlogEntries"] }, Log},
		"content of another bundle": {func(_ *Policy, b map[string]any) { b["dsseEnvelope"] = parse(t, other)["dsseEnvelope"] }, Log},
		"certificate of another bundle": {func(_ *Policy, b map[string]any) {
			within(b)["certificate"] = within(parse(t, other))["certificate"]
		}, Log},
		"all but the certificate of another bundle": {func(_ *Policy, b map[string]any) {
			b["dsseEnvelope"] = parse(t, other)["dsseEnvelope"]
			within(b)["tlogEntries"] = within(parse(t, other))["tlogEntries"]
		}, Log},
		"a proof in a tree of its own": {func(_ *Policy, b map[string]any) {
			e := within(b)["tlogEntries"].([]any)[0].(map[string]any)
			body, err := base64.StdEncoding.DecodeString(e["canonicalizedBody"].(string))
			mustNot(t, err)
			root := tlog.RecordHash(body)
			proof := e["inclusionProof"].(map[string]any)
			proof["logIndex"], proof["treeSize"], proof["hashes"] = "0", "1", []any{}
			proof["rootHash"] = base64.StdEncoding.EncodeToString(root[:])
		}, Log},
		"too many entries": {func(_ *Policy, b map[string]any) {
			e := within(b)["tlogEntries"].([]any)
			for range 8 {
				e = append(e, e[0])
			}
			within(b)["tlogEntries"] = e
		}, Log},
	} {
		p, b := inHistory(t), parse(t, bundle)
		c.edit(p, b)
		raw, err := json.Marshal(b)
		mustNot(t, err)
		if _, err := p.Open(raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	p := inHistory(t)
	p.Sigstore.Identity = ""
	if _, err := p.Open(bundle); err == nil {
		t.Error("a policy without an identity accepts")
	}
}

func parse(t *testing.T, b []byte) (out map[string]any) {
	t.Helper()
	mustNot(t, json.Unmarshal(b, &out))
	return out
}

func within(b map[string]any) map[string]any { return b["verificationMaterial"].(map[string]any) }

func TestTrustedRoot(t *testing.T) {
	good := readFile(t, "testdata/trusted_root.json")
	r, err := ParseTrustedRoot(good)
	if err != nil || len(r.logs) != 1 || len(r.certLogs) != 2 || len(r.authorities) != 2 || len(r.stampers) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, bad := range map[string][]byte{
		"not JSON":            []byte("x"),
		"another document":    []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`),
		"id of another key":   bytes.Replace(good, []byte("wNI9atQGlz"), []byte("wNI9atQGl0"), 1),
		"damaged certificate": bytes.Replace(good, []byte("MIIB+DCC"), []byte("MIIB+DCA"), 1),
		"too large":           make([]byte, maxTrustedRoot+1),
	} {
		if _, err := ParseTrustedRoot(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
