package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// suite is what every provider's key does.
func suite(t *testing.T, k Key) {
	t.Helper()
	ctx := t.Context()
	data, here, there := make([]byte, keySize), loans.associated(), Place{"model", "rival", "loans"}.associated()
	rand.Read(data)
	wrapped, err := k.Wrap(ctx, data, here)
	if err != nil {
		t.Fatalf("wrap: %v", err)
	}
	if len(wrapped) > maxWrapped || bytes.Contains(wrapped, data) || len(k.ID()) > maxKeyID || k.ID() == "" {
		t.Errorf("the key %s wraps into %d bytes", k.ID(), len(wrapped))
	}
	got, err := k.Unwrap(ctx, wrapped, here)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("unwrap: %x, want %x: %v", got, data, err)
	}
	if again, err := k.Wrap(ctx, data, here); err != nil || bytes.Equal(again, wrapped) {
		t.Errorf("wrapped twice it is the same: %v", err)
	}
	refused := func(what string, wrapped, associated []byte) {
		t.Helper()
		if got, err := k.Unwrap(ctx, wrapped, associated); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %x, %v; want a refusal", what, got, err)
		}
	}
	refused("the place of another tenant", wrapped, there)
	refused("no place", wrapped, nil)
	for _, at := range []int{0, len(wrapped) / 2, len(wrapped) - 1} {
		b := bytes.Clone(wrapped)
		b[at] ^= 1
		if got, err := k.Unwrap(ctx, b, here); err == nil {
			t.Errorf("with byte %d flipped it unwraps as %x", at, got)
		}
	}
	refused("cut short", wrapped[:len(wrapped)-1], here)
	refused("nothing", nil, here)

	s := &Sealer{Keys: []Key{k}}
	path := filepath.Join(t.TempDir(), "f.sealed")
	if err := s.SealFile(ctx, path, strings.NewReader("content"), loans); err != nil {
		t.Fatal(err)
	}
	if err := s.Rotate(ctx, path); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened(ctx, &Sealer{Keys: []Key{k}}, b, loans); err != nil || string(got) != "content" {
		t.Errorf("a file: %q %v", got, err)
	}
}

// cannot is what a key does whose service is lost.
func cannot(t *testing.T, k Key, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serviceTime)
	defer cancel()
	if _, err := k.Wrap(ctx, make([]byte, keySize), loans.associated()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%s: wrap: %v, want ErrUnavailable", what, err)
	}
	if _, err := k.Unwrap(ctx, bytes.Repeat([]byte("vault:v1:"), 10), loans.associated()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%s: unwrap: %v, want ErrUnavailable", what, err)
	}
}

func open(t testing.TB, text string) Key {
	t.Helper()
	k, err := OpenKey(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryProviderIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Providers {
		if seen[p.Scheme] || p.Doc == "" || !strings.HasPrefix(p.Form, p.Scheme+":") || (p.shelf == nil) == (p.open == nil) {
			t.Errorf("%+v", p)
		}
		seen[p.Scheme] = true
	}
}

func TestFileKey(t *testing.T) {
	k, text := newKey(t)
	suite(t, k)
	path := strings.TrimPrefix(text, "file:")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", st.Mode(), err)
	}
	if err := MakeKey(text, ""); err == nil || !strings.Contains(err.Error(), "there is a key already") {
		t.Errorf("a second key over the first: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	cannot(t, k, "a key that others may read")
	if _, err := OpenKey(text, ""); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others may read it: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	cannot(t, k, "a key that is gone")
	// Relative to a folder.
	dir := t.TempDir()
	if err := MakeKey("file:keys/kek.json", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey("file:keys/kek.json", dir); err != nil {
		t.Error(err)
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	t.Setenv("TOKEN", "t")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("text", "no keyset")
	write("public", `{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.HmacKey","value":"EgQIAxAgGiDQ9Bdq0kX3Cn0w2Q2zXQ3Y9J0c0xq0v0b0b0b0b0b0bw==","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`)
	for text, want := range map[string]string{
		"":                                  "begins with one of file, keyring, pkcs11",
		"kek.json":                          "no URI",
		"rot13:x":                           "no URI",
		"file:":                             "of the form file:PATH",
		"file:gone":                         "redoubt seal key new",
		"file:text":                         "no keyset",
		"file:public":                       "not for authenticated encryption",
		"file:text?mode=600":                "no keyset",
		"keyring:x":                         "keyring:SERVICE/NAME",
		"pkcs11:token=a;object=b":           "module-path",
		"pkcs11:token=a;id=b?module-path=x": `"id=b"`,
		"pkcs11:token=a;object=b?module-path=" + dir + "/text":                                     "no PKCS #11 module",
		"openbao://host?token=env:TOKEN":                                                           "MOUNT/KEY",
		"openbao://host/transit/k?token=s.verysecret":                                              "env:NAME or file:PATH",
		"openbao://host/transit/k?token=env:TOKEN&endpoint=http://10.0.0.1":                        "not https",
		"openbao://host/transit/k?token=env:TOKEN&endpoint=https://u:p@host":                       "not of the form",
		"openbao://host/transit/k?token=env:TOKEN&ca=" + dir + "/text":                             "no certificate",
		"openbao://host/transit/k?token=env:TOKEN&colour=red":                                      `no setting "colour"`,
		"azure://v.vault.azure.net/secrets/x":                                                      "azure://VAULT",
		"azure://v.vault.azure.net/keys/x":                                                         "token, or tenant",
		"azure://v.vault.azure.net/keys/x?tenant=t&client_id=i&client_secret=s":                    "env:NAME or file:PATH",
		"azure://v.vault.azure.net/keys/x?tenant=t&client_id=i&client_secret=env:S&login=http://x": "not https",
		"aws:alias/x":   "aws:arn:aws:kms",
		"gcp:projects/": "gcp:projects/P",
		"gcp:projects/p/locations/l/keyRings/r/cryptoKeys/k": "needs credentials",
	} {
		_, err := OpenKey(text, dir)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "verysecret") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if err := MakeKey("gcp:projects/p/locations/l/keyRings/r/cryptoKeys/k", ""); err == nil || !strings.Contains(err.Error(), "own means") {
		t.Errorf("make a key of Google's: %v", err)
	}
	if err := RotateKey("aws:arn:aws:kms:eu-west-1:111122223333:key/x", ""); err == nil || !strings.Contains(err.Error(), "no keyset") {
		t.Errorf("rotate a key of Amazon's: %v", err)
	}
}
