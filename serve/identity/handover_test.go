package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// The challenge of RFC 7636, appendix B.
const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

func TestHandOver(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		ann, seed, _ := b.seeded(t, "ann", "security_admin")
		in := func() string {
			t.Helper()
			b.advance(time.Minute) // the next code is another
			_, flow, err := b.Login(t.Context(), "ann", passphrase, home)
			ok(t, err)
			return must(b.LoginCode(t.Context(), flow, b.code(seed), home))(t)
		}
		browser := in()
		began := must(b.Current(browser))(t)
		created := b.Sessions(ann.ID)[0].Created
		b.advance(time.Minute)
		code := must(b.HandOver(t.Context(), browser, challenge, home))(t)
		if last := b.log.last(); !strings.Contains(last, "session.handover") {
			t.Errorf("recorded: %s", last)
		}
		terminal := Client{From: home.From, Agent: "redoubt login"}
		_, err := b.TakeOver(t.Context(), code, verifier+"x", terminal)
		wants(t, err, Invalid, "another program")
		_, err = b.TakeOver(t.Context(), code, challenge, terminal)
		wants(t, err, Invalid, "who knows the challenge alone")

		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []string
		for range 4 {
			wg.Go(func() {
				if cookie, err := b.TakeOver(t.Context(), code, verifier, terminal); err == nil {
					mu.Lock()
					won = append(won, cookie)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d sessions for one code", len(won))
		}
		p := must(b.Authenticate(t.Context(), Credentials{Session: won[0]}))(t)
		if p.ID != ann.ID || p.Method != "password" || p.Credential == began.Credential || !p.Verified.Equal(began.Verified) {
			t.Errorf("the program is %+v, and the browser %+v", p, began)
		}
		for _, s := range b.Sessions(ann.ID) {
			if s.ID == p.Credential && (s.Agent != "redoubt login" || !s.Created.Equal(created)) {
				t.Errorf("the session %+v of a browser's of %v", s, created)
			}
		}
		// Each is one of its own: either may end.
		ok(t, b.Logout(t.Context(), browser))
		ok(t, b.signedIn(won[0]))
		// In use, it lives for 12 hours from the browser's login, a minute ago.
		for range 24 {
			b.advance(29 * time.Minute)
			ok(t, b.signedIn(won[0]))
		}
		b.advance(23 * time.Minute)
		wants(t, b.signedIn(won[0]), Expired, "when the browser's would")

		browser = in()
		b.advance(handOverFresh + time.Second)
		_, err = b.MayHandOver(browser)
		wants(t, err, SecondFactor, "a factor of some minutes ago")
		_, err = b.HandOver(t.Context(), browser, challenge, home)
		wants(t, err, SecondFactor, "a factor of some minutes ago")
		browser = must(b.ConfirmCode(t.Context(), browser, b.code(seed), home))(t)
		if p := must(b.MayHandOver(browser))(t); p.ID != ann.ID {
			t.Errorf("it is %+v", p)
		}
		for _, bad := range []string{"", challenge[1:], challenge + "A", strings.Repeat("=", 43), verifier + "\n"} {
			if _, err := b.HandOver(t.Context(), browser, bad, home); !errors.Is(err, ErrInput) {
				t.Errorf("the challenge %q: %v", bad, err)
			}
		}
		code = must(b.HandOver(t.Context(), browser, challenge, home))(t)
		b.advance(handOverLife)
		_, err = b.TakeOver(t.Context(), code, verifier, terminal)
		wants(t, err, Expired, "after a minute")

		code = must(b.HandOver(t.Context(), browser, challenge, home))(t)
		ok(t, b.Logout(t.Context(), browser))
		_, err = b.TakeOver(t.Context(), code, verifier, terminal)
		wants(t, err, Invalid, "of a session that has ended")

		browser = in()
		code = must(b.HandOver(t.Context(), browser, challenge, home))(t)
		ok(t, b.SetAccount(t.Context(), admin, ann.ID, ann.Roles, nil, true))
		_, err = b.TakeOver(t.Context(), code, verifier, terminal)
		wants(t, err, Invalid, "of somebody disabled")
		_, err = b.HandOver(t.Context(), browser, challenge, home)
		wants(t, err, Invalid, "by somebody disabled")
	})
}

// Who has no second factor is not asked for one, unless he administers.
func TestHandOverWithoutSecondFactor(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann")
		browser, _, err := b.Login(t.Context(), "ann", passphrase, home)
		ok(t, err)
		code := must(b.HandOver(t.Context(), browser, challenge, home))(t)
		// The code of one purpose is none of another.
		_, err = b.LoginCode(t.Context(), code, "000000", home)
		wants(t, err, Invalid, "a handover as a login")
		ok(t, b.signedIn(must(b.TakeOver(t.Context(), code, verifier, home))(t)))
		ok(t, b.SetAccount(t.Context(), admin, ann.ID, []string{"model_admin"}, nil, false))
		_, err = b.HandOver(t.Context(), browser, challenge, home)
		wants(t, err, SecondFactor, "an administrator without")
	})
}

// Who comes by single sign-on hands over what the issuer said of him.
func TestHandOverOfStrangers(t *testing.T) {
	b, m, _ := ssoSetUp(t, nil)
	for _, c := range []struct {
		claims map[string]any
		late   time.Duration
		want   Kind
	}{
		{map[string]any{"sub": "s1", "roles": "ml-admins", "amr": []string{"mfa"}}, 0, ""},
		{map[string]any{"sub": "s1", "roles": "ml-admins", "amr": []string{"mfa"}}, handOverFresh + time.Second, SecondFactor},
		{map[string]any{"sub": "s1", "roles": "ml-admins"}, 0, SecondFactor},
		{map[string]any{"sub": "s2", "roles": "users"}, time.Minute, ""},
	} {
		m.claims = c.claims
		flow, back := b.visitTo(t, m, false)
		browser, _, err := b.FinishSignOn(t.Context(), flow, back, home)
		ok(t, err)
		b.advance(c.late)
		code, err := b.HandOver(t.Context(), browser, challenge, home)
		if c.want != "" {
			wants(t, err, c.want, fmt.Sprint(c.claims, c.late))
			continue
		}
		ok(t, err)
		taken := must(b.TakeOver(t.Context(), code, verifier, home))(t)
		program, one := must(b.Authenticate(t.Context(), Credentials{Session: taken}))(t), must(b.Current(browser))(t)
		one.Credential = program.Credential
		if !reflect.DeepEqual(program, one) {
			t.Errorf("the program is %+v, and the browser %+v", program, one)
		}
	}
}

func TestHandOverCode(t *testing.T) {
	sum := sha256.Sum256([]byte(verifier))
	if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != challenge {
		t.Errorf("the challenge is %s", got)
	}
	a, b := HandOverCode(challenge), HandOverCode(challenge+"x")
	if len(a) != 9 || a[4] != '-' || a == b {
		t.Errorf("the codes %s and %s", a, b)
	}
}
