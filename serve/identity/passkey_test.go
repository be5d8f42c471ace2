package identity

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
)

// key is an authenticator with one passkey.
type key struct {
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	cred virtualwebauthn.Credential
}

// newCredential has a key whose coordinates both fill their 32 bytes: the library
// drops zeros before them, one time in 128, and no authenticator does.
func newCredential() virtualwebauthn.Credential {
	const whole = 77 // bytes of such a key in COSE
	for {
		if c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}

func newPasskey(a Account, o virtualwebauthn.AuthenticatorOptions) *key {
	o.UserHandle = []byte(a.ID)
	return &key{
		rp:   virtualwebauthn.RelyingParty{ID: "models.example", Name: "Redoubt", Origin: "https://models.example"},
		auth: virtualwebauthn.NewAuthenticatorWithOptions(o),
		cred: newCredential(),
	}
}

func (k *key) create(t *testing.T, options json.RawMessage) []byte {
	t.Helper()
	o := must(virtualwebauthn.ParseAttestationOptions(string(options)))(t)
	return []byte(virtualwebauthn.CreateAttestationResponse(k.rp, k.auth, k.cred, *o))
}

func (k *key) answer(t *testing.T, options json.RawMessage) []byte {
	t.Helper()
	o := must(virtualwebauthn.ParseAssertionOptions(string(options)))(t)
	return []byte(virtualwebauthn.CreateAssertionResponse(k.rp, k.auth, k.cred, *o))
}

// holderOf makes somebody with a passkey and no password.
func (b *bench) holderOf(t *testing.T, name string, roles ...string) (Account, *key, string) {
	t.Helper()
	a, secret, err := b.CreatePerson(t.Context(), admin, name, roles, nil)
	ok(t, err)
	options, flow, err := b.EnrolNewPasskey(t.Context(), secret)
	ok(t, err)
	k := newPasskey(a, virtualwebauthn.AuthenticatorOptions{})
	cookie, recovery, err := b.EnrolPasskey(t.Context(), secret, flow, k.create(t, options), "", home)
	ok(t, err)
	if len(recovery) != 10 {
		t.Errorf("%d recovery codes", len(recovery))
	}
	return a, k, cookie
}

func TestPasskeys(t *testing.T) {
	t.Parallel()
	eachStore(t, nil, func(t *testing.T, b *bench) {
		a, k, cookie := b.holderOf(t, "ann", "security_admin")
		ok(t, b.signedIn(cookie))
		// An authenticator that does not count, as those that synchronise.
		options, flow, err := b.BeginPasskey()
		ok(t, err)
		answer := k.answer(t, options)
		must(b.FinishPasskey(t.Context(), flow, answer, "", home))(t)
		_, err = b.FinishPasskey(t.Context(), flow, answer, "", home)
		wants(t, err, Invalid, "a challenge for the second time, without a counter")
		k.cred.Counter = 5
		options, flow, err = b.BeginPasskey()
		ok(t, err)
		answer = k.answer(t, options)
		in := must(b.FinishPasskey(t.Context(), flow, answer, "", home))(t)
		p := must(b.Current(in))(t)
		if p.ID != a.ID || p.Method != "passkey" {
			t.Errorf("got %+v", p)
		}
		ok(t, b.Verified(p, time.Minute))
		_, err = b.FinishPasskey(t.Context(), flow, answer, "", home)
		wants(t, err, Invalid, "a challenge for the second time")

		// Step up with another cookie, and only of the session's owner.
		b.advance(15 * time.Minute)
		options, flow, err = b.BeginPasskey()
		ok(t, err)
		k.cred.Counter = 6
		up := must(b.FinishPasskey(t.Context(), flow, k.answer(t, options), in, home))(t)
		wants(t, b.signedIn(in), Invalid, "the cookie before the step up")
		ok(t, b.Verified(must(b.Current(up))(t), time.Minute))
		_, other, _ := b.holderOf(t, "bob")
		options, flow, err = b.BeginPasskey()
		ok(t, err)
		other.cred.Counter = 1
		_, err = b.FinishPasskey(t.Context(), flow, other.answer(t, options), up, home)
		wants(t, err, Invalid, "a step up with another's passkey")

		// A second, which keeps the account when the first goes.
		options, flow, err = b.BeginNewPasskey(t.Context(), up)
		ok(t, err)
		second := newPasskey(a, virtualwebauthn.AuthenticatorOptions{})
		if codes := must(b.AddPasskey(t.Context(), up, flow, second.create(t, options), "spare"))(t); codes != nil {
			t.Error("new recovery codes with a second factor")
		}
		factors, _, err := b.Factors(t.Context(), a.ID)
		ok(t, err)
		ok(t, b.RemoveFactor(t.Context(), up, factors[0].ID))
		if err := b.RemoveFactor(t.Context(), up, factors[1].ID); !errors.Is(err, ErrInput) {
			t.Errorf("removed the last: %v", err)
		}
		options, flow, err = b.BeginPasskey()
		ok(t, err)
		_, err = b.FinishPasskey(t.Context(), flow, k.answer(t, options), "", home)
		wants(t, err, Invalid, "a passkey that was removed")
	})
}

// Who has only passkeys, and loses them, comes back with a recovery code; who has
// a password needs both.
func TestRecoveryWithoutPasskey(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		a, _, cookie := b.holderOf(t, "ann", "model_admin")
		codes := must(b.NewRecovery(t.Context(), cookie))(t)
		_, _, others := b.seeded(t, "bob")
		for what, c := range map[string][2]string{"another's": {"ann", others[0]}, "nobody's": {"nobody", codes[0]}, "no code": {"ann", "aaaa-bbbb-cccc-dddd"}, "with a password": {"bob", others[0]}} {
			_, _, err := b.Login(t.Context(), c[0], c[1], home)
			wants(t, err, Invalid, what)
		}
		in, flow, err := b.Login(t.Context(), "ann", strings.ToUpper(codes[0]), home)
		ok(t, err)
		if p := must(b.Authenticate(t.Context(), Credentials{Session: in}))(t); flow != "" || p.ID != a.ID {
			t.Errorf("got %+v", p)
		}
		_, _, err = b.Login(t.Context(), "ann", codes[0], home)
		wants(t, err, Invalid, "for the second time")
		ok(t, b.SetAccount(t.Context(), admin, a.ID, nil, nil, true))
		_, _, err = b.Login(t.Context(), "ann", codes[1], home)
		wants(t, err, Invalid, "disabled")
	})
}

// What a passkey's answer must not be. Every other step is right.
func TestPasskeysThatAreRefused(t *testing.T) {
	b := over(t, nil)
	a, k, _ := b.holderOf(t, "ann")
	k.cred.Counter = 50
	try := func(edit func(k *key, options *json.RawMessage, flow *string, answer *[]byte)) error {
		copied := *k
		options, flow, err := b.BeginPasskey()
		ok(t, err)
		copied.cred.Counter = k.cred.Counter + 1
		var answer []byte
		edit(&copied, &options, &flow, &answer)
		if answer == nil {
			answer = copied.answer(t, options)
		}
		cookie, err := b.FinishPasskey(t.Context(), flow, answer, "", home)
		if err == nil {
			k.cred.Counter++ // the next starts from here
		} else if cookie != "" {
			t.Error("a cookie with an error")
		}
		return err
	}
	type options = virtualwebauthn.AuthenticatorOptions
	for what, edit := range map[string]func(k *key, o *json.RawMessage, flow *string, answer *[]byte){
		"another origin":       func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.rp.Origin = "https://evil.example" },
		"a subdomain":          func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.rp.Origin = "https://x.models.example" },
		"http":                 func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.rp.Origin = "http://models.example" },
		"another rp":           func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.rp.ID = "evil.example" },
		"without verification": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.auth.Options.UserNotVerified = true },
		"without presence":     func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.auth.Options.UserNotPresent = true },
		"the counter back":     func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.cred.Counter = 1 },
		"another key": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			id := k.cred.ID
			k.cred = newCredential()
			k.cred.ID, k.cred.Counter = id, 100
		},
		"an unknown id": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			k.cred = newCredential()
		},
		"another handle": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			k.auth.Options.UserHandle = []byte("user:nobody")
		},
		"a strange handle": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			k.auth.Options.UserHandle = []byte("service:x")
		},
		"no handle": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) { k.auth.Options.UserHandle = nil },
		"backed up though not eligible": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			k.auth.Options.BackupState = true
		},
		"eligible now": func(k *key, _ *json.RawMessage, _ *string, _ *[]byte) {
			k.auth.Options.BackupEligible, k.auth.Options.BackupState = true, true
		},
		"another challenge": func(_ *key, o *json.RawMessage, _ *string, _ *[]byte) {
			other, _, err := b.BeginPasskey()
			ok(t, err)
			*o = other
		},
		"another kind of flow": func(_ *key, _ *json.RawMessage, flow *string, _ *[]byte) {
			var err error
			*flow, err = b.sealFlow("register", a.ID, struct{}{})
			ok(t, err)
		},
		"no JSON":    func(_ *key, _ *json.RawMessage, _ *string, answer *[]byte) { *answer = []byte("x") },
		"a megabyte": func(_ *key, _ *json.RawMessage, _ *string, answer *[]byte) { *answer = make([]byte, 1<<20) },
		"cross-origin": func(k *key, o *json.RawMessage, _ *string, answer *[]byte) {
			*answer = edited(t, k.answer(t, *o), `"origin"`, `"crossOrigin":true,"origin"`)
		},
		"another ceremony": func(k *key, o *json.RawMessage, _ *string, answer *[]byte) {
			*answer = edited(t, k.answer(t, *o), "webauthn.get", "webauthn.create")
		},
	} {
		ok(t, try(func(*key, *json.RawMessage, *string, *[]byte) {}))
		wants(t, try(edit), Invalid, what)
	}
	_, stale, err := b.BeginPasskey()
	ok(t, err)
	b.advance(flowLife)
	_, err = b.FinishPasskey(t.Context(), stale, []byte("{}"), "", home)
	wants(t, err, Expired, "a challenge of ten minutes ago")
	if none := over(t, func(c *Config) { c.Origin = "" }); !errors.Is(errOf2(none.BeginPasskey()), ErrInput) {
		t.Error("passkeys without an origin")
	}

	// New passkeys are held to the same.
	for what, edit := range map[string]func(k *key){
		"another origin":       func(k *key) { k.rp.Origin = "https://evil.example" },
		"another rp":           func(k *key) { k.rp.ID = "evil.example" },
		"without verification": func(k *key) { k.auth.Options.UserNotVerified = true },
	} {
		c, secret, err := b.CreatePerson(t.Context(), admin, strings.ReplaceAll(what, " ", ""), nil, nil)
		ok(t, err)
		o, flow, err := b.EnrolNewPasskey(t.Context(), secret)
		ok(t, err)
		bad := newPasskey(c, options{})
		edit(bad)
		_, _, err = b.EnrolPasskey(t.Context(), secret, flow, bad.create(t, o), "", home)
		wants(t, err, Invalid, "a new one: "+what)
	}
}

func errOf2[A, B any](_ A, _ B, err error) error { return err }

// edited is an answer with its client data changed. The signature no longer
// fits, but what is asked here is refused before.
func edited(t *testing.T, answer []byte, from, to string) []byte {
	t.Helper()
	var v map[string]any
	ok(t, json.Unmarshal(answer, &v))
	r := v["response"].(map[string]any)
	data := must(b64Decode(r["clientDataJSON"].(string)))(t)
	if !strings.Contains(string(data), from) {
		t.Fatalf("no %s in %s", from, data)
	}
	r["clientDataJSON"] = b64([]byte(strings.Replace(string(data), from, to, 1)))
	return must(json.Marshal(v))(t)
}
