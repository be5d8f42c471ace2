package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve"
)

func TestPersonalData(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "mask.yaml")
	if err := os.WriteFile(policy, []byte("types: {CREDIT_CARD: {method: partial}}\ndefault: {method: token}"), 0o600); err != nil {
		t.Fatal(err)
	}
	no := false
	d, err := newPersonalData(serve.Personal{Names: &no, Policy: policy, Key: strings.Repeat("0a", 32)})
	if err != nil {
		t.Fatal(err)
	}
	out, types, err := d.Mask(t.Context(), []byte("card 4000001234567899, mail ada@lovelace.org, card 4000001234567899"))
	if err != nil || !strings.HasPrefix(string(out), "card ************7899, mail [EMAIL_ADDRESS:") || strings.Join(types, " ") != "CREDIT_CARD EMAIL_ADDRESS" {
		t.Errorf("%s, %s, %v", out, types, err)
	}
	if out, types, err := d.Mask(t.Context(), []byte("nothing \xff here")); err != nil || types != nil || string(out) != "nothing \xff here" {
		t.Errorf("%s, %s, %v", out, types, err)
	}
	for _, tc := range []struct {
		name string
		p    serve.Personal
		want string
	}{
		{"type", serve.Personal{Types: []string{"CREDITCARD"}}, "nothing finds it"},
		{"no key", serve.Personal{Policy: policy}, "needs a key"},
		{"bad key", serve.Personal{Policy: policy, Key: "xyz"}, "64 hexadecimal digits"},
		{"no policy", serve.Personal{Policy: policy + ".not"}, "no such file"},
	} {
		if _, err := newPersonalData(tc.p); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if err := os.WriteFile(policy, []byte("default: {method: vault}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newPersonalData(serve.Personal{Policy: policy}); err == nil || !strings.Contains(err.Error(), "use token") {
		t.Error(err)
	}
}

func TestLogMask(t *testing.T) {
	hide, err := newLogMask()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                                     "",
		"loans: score 0.98 at 12:00, 10.1.2.3": "loans: score 0.98 at 12:00, 10.1.2.3",
		"card 4000001234567899 is refused":     "card ************7899 is refused",
		"account DE89370400440532013000":       "account [IBAN_CODE]",
		"write to ada@lovelace.org":            "write to a**@lovelace.org",
		"f81d4fae-7dec-41d0-a765-00a0c91e6bf6": "f81d4fae-7dec-41d0-a765-00a0c91e6bf6",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"linf@0.3 and model:loans:invoke":                                         "linf@0.3 and model:loans:invoke",
	} {
		if got := hide(text); got != want {
			t.Errorf("%q became %q instead of %q", text, got, want)
		}
	}
}

// One random id in very many may be masked: a log in which ids are not found again
// is of no use.
func TestLogMaskLeavesIDs(t *testing.T) {
	hide, err := newLogMask()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	lost := 0
	for range 100_000 {
		id := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xffff, r.Uint32()&0xffff, r.Uint64()&0xffffffffffff)
		hex := fmt.Sprintf("sha256:%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
		number := fmt.Sprint("took ", r.Uint32(), " rows ", r.IntN(1000))
		for _, s := range []string{id, hex, number} {
			if got := hide(s); got != s {
				if lost++; lost < 5 {
					t.Logf("%s became %s", s, got)
				}
			}
		}
	}
	if lost > 3 {
		t.Errorf("%d of 300,000 texts without personal data were masked", lost)
	}
}

// What was found harmless once is not looked at again, what was masked is masked
// every time, and neither many texts nor long ones are kept.
func TestLogMaskRemembers(t *testing.T) {
	asked := 0
	hide := remembered(func(s string) string {
		asked++
		return strings.ReplaceAll(s, "secret", "******")
	})
	for range 3 {
		for _, c := range [][2]string{{"rest", "rest"}, {"a secret", "a ******"}, {strings.Repeat("x", 1000), strings.Repeat("x", 1000)}} {
			if got := hide(c[0]); got != c[1] {
				t.Errorf("%.20q became %.20q", c[0], got)
			}
		}
	}
	if asked != 1+3+3 {
		t.Errorf("asked %d times, want 7", asked)
	}
	for i := range 10_000 {
		if s := fmt.Sprint("secret ", i); hide(s) == s || hide(s[1:]) != s[1:] {
			t.Fatalf("%q was not told apart", s)
		}
	}
}
