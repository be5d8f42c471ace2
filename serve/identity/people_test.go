package identity

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func (b *bench) signedIn(cookie string) error {
	_, err := b.Authenticate(context.Background(), Credentials{Session: cookie})
	return err
}

func TestPasswords(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		ann := b.person(t, "Ann")
		cookie, flow, err := b.Login(t.Context(), " ANN ", passphrase, home)
		ok(t, err)
		if flow != "" {
			t.Error("a second factor is asked of somebody without one")
		}
		p := must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
		if p.ID != ann.ID || p.Method != "password" || !p.Verified.IsZero() {
			t.Errorf("got %+v", p)
		}
		wants(t, b.Verified(p, 0), SecondFactor, "a password alone")
		for _, c := range [][2]string{{"ann", "wrong"}, {"nobody", passphrase}, {"ann", ""}, {"", ""}, {"ann", strings.Repeat("x", 1<<20)}} {
			_, _, err := b.Login(t.Context(), c[0], c[1], home)
			wants(t, err, Invalid, c[0])
		}
		ok(t, b.SetAccount(t.Context(), admin, ann.ID, nil, nil, true))
		wants(t, b.signedIn(cookie), Invalid, "disabled")
		_, _, err = b.Login(t.Context(), "ann", passphrase, home)
		wants(t, err, Invalid, "disabled")
	})
}

// The enrolment secret works once, for three days, and nobody else learns the
// password.
func TestEnrolment(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		a, secret, err := b.CreatePerson(t.Context(), admin, "ann", nil, nil)
		ok(t, err)
		_, _, err = b.CreatePerson(t.Context(), admin, "ANN", nil, nil)
		if !errors.Is(err, ErrInput) {
			t.Errorf("a second of one name: %v", err)
		}
		_, _, err = b.Login(t.Context(), "ann", "", home)
		wants(t, err, Invalid, "before enrolment")
		_, _, err = b.EnrolPassword(t.Context(), secret, "too short", "", "", home)
		if !errors.Is(err, ErrInput) {
			t.Errorf("a short password: %v", err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 4 {
			wg.Go(func() {
				if _, _, err := b.EnrolPassword(t.Context(), secret, passphrase, "", "", home); err == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d enrolled with one secret", won)
		}
		again := must(b.Reenrol(t.Context(), admin, a.ID))(t)
		_, _, err = b.Login(t.Context(), "ann", passphrase, home)
		wants(t, err, Invalid, "the old password after a new enrolment")
		b.advance(enrolFor)
		_, _, err = b.EnrolPassword(t.Context(), again, passphrase, "", "", home)
		wants(t, err, Expired, "after three days")
	})
}

func TestSecondFactor(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		_, seed, recovery := b.seeded(t, "ann", "security_admin")
		if len(recovery) != 10 {
			t.Fatalf("%d recovery codes", len(recovery))
		}
		login := func() string {
			t.Helper()
			cookie, flow, err := b.Login(t.Context(), "ann", passphrase, home)
			ok(t, err)
			if cookie != "" {
				t.Fatal("in without the second factor")
			}
			return flow
		}
		flow, code := login(), b.code(seed)
		_, err := b.LoginCode(t.Context(), flow, "000000", home)
		wants(t, err, Invalid, "a wrong code")
		cookie := must(b.LoginCode(t.Context(), flow, code, home))(t)
		p := must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
		ok(t, b.Verified(p, time.Minute))
		_, err = b.LoginCode(t.Context(), flow, b.totpAhead(seed), home)
		wants(t, err, Invalid, "a flow that has ended")
		_, err = b.LoginCode(t.Context(), login(), code, home)
		wants(t, err, Invalid, "a code for the second time")
		// Drift: the step before the clock's is older than the last one used, the
		// one after it is good, two after it is not.
		_, err = b.LoginCode(t.Context(), login(), totp(seed, b.Now().Unix()/30-1), home)
		wants(t, err, Invalid, "an earlier step")
		_, err = b.LoginCode(t.Context(), login(), totp(seed, b.Now().Unix()/30+2), home)
		wants(t, err, Invalid, "two steps ahead")
		must(b.LoginCode(t.Context(), login(), b.totpAhead(seed), home))(t)
		must(b.LoginCode(t.Context(), login(), strings.ToUpper(recovery[0]), home))(t)
		_, err = b.LoginCode(t.Context(), login(), recovery[0], home)
		wants(t, err, Invalid, "a recovery code for the second time")

		// Step up: Verified ages, and is renewed with another cookie.
		b.advance(20 * time.Minute)
		p = must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
		wants(t, b.Verified(p, 10*time.Minute), SecondFactor, "after 20 minutes")
		_, err = b.ConfirmCode(t.Context(), cookie, "000000", home)
		wants(t, err, Invalid, "a step up with a wrong code")
		rotated := must(b.ConfirmCode(t.Context(), cookie, b.code(seed), home))(t)
		wants(t, b.signedIn(cookie), Invalid, "the cookie from before the step up")
		p = must(b.Authenticate(t.Context(), Credentials{Session: rotated}))(t)
		ok(t, b.Verified(p, 10*time.Minute))

		b.advance(flowLife)
		flow = login()
		b.advance(flowLife)
		_, err = b.LoginCode(t.Context(), flow, b.code(seed), home)
		wants(t, err, Expired, "a flow of ten minutes ago")
		_, err = b.LoginCode(t.Context(), flow+"x", b.code(seed), home)
		wants(t, err, Invalid, "a flow that was touched")
	})
}

func (b *bench) totpAhead(seed []byte) string { return totp(seed, b.Now().Unix()/30+1) }

// Of many redemptions of one code at once, one wins.
func TestCodesAreUsedOnce(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		_, seed, recovery := b.seeded(t, "ann")
		for _, code := range []string{b.code(seed), recovery[3]} {
			var flows []string
			for range 4 {
				_, flow, err := b.Login(t.Context(), "ann", passphrase, home)
				ok(t, err)
				flows = append(flows, flow)
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			won := 0
			for _, flow := range flows {
				wg.Go(func() {
					if _, err := b.LoginCode(t.Context(), flow, code, home); err == nil {
						mu.Lock()
						won++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if won != 1 {
				t.Errorf("%d logins with one code", won)
			}
		}
	})
}

// Administrators have a second factor before they have anything else.
func TestAdministratorsNeedTwo(t *testing.T) {
	b := over(t, nil)
	_, secret, err := b.CreatePerson(t.Context(), admin, "root", []string{"model_admin"}, nil)
	ok(t, err)
	if _, _, err := b.EnrolPassword(t.Context(), secret, passphrase, "", "", home); !errors.Is(err, ErrInput) {
		t.Errorf("an administrator enrolled without: %v", err)
	}
	// One who became an administrator later is let in to the pages where he adds
	// one, and nowhere else.
	ann := b.person(t, "ann")
	cookie, _, err := b.Login(t.Context(), "ann", passphrase, home)
	ok(t, err)
	ok(t, b.SetAccount(t.Context(), admin, ann.ID, []string{"security_admin"}, nil, false))
	wants(t, b.signedIn(cookie), SecondFactor, "an administrator with a password")
	p := must(b.Current(cookie))(t)
	if p.ID != ann.ID {
		t.Errorf("current is %+v", p)
	}
	_, flow, err := b.BeginTOTP(cookie)
	ok(t, err)
	var data seeding
	_, err = b.openFlow("totp", flow, &data)
	ok(t, err)
	if _, err := b.AddTOTP(t.Context(), cookie, flow, "12"); !errors.Is(err, ErrInput) {
		t.Errorf("added with a wrong code: %v", err)
	}
	must(b.AddTOTP(t.Context(), cookie, flow, b.code(data.Seed)))(t)
	// Even to remove the factor again, it must be shown.
	factors, left, err := b.Factors(t.Context(), ann.ID)
	ok(t, err)
	if len(factors) != 1 || left != 10 {
		t.Fatalf("%v and %d codes", factors, left)
	}
	wants(t, b.RemoveFactor(t.Context(), cookie, factors[0].ID), SecondFactor, "remove without showing it")
	b.advance(30 * time.Second)
	cookie = must(b.ConfirmCode(t.Context(), cookie, b.code(data.Seed), home))(t)
	ok(t, b.signedIn(cookie))
	if err := b.RemoveFactor(t.Context(), cookie, factors[0].ID); !errors.Is(err, ErrInput) {
		t.Errorf("removed an administrator's last: %v", err)
	}
	ok(t, b.SetPassword(t.Context(), cookie, "another quite long sentence"))
	if codes := must(b.NewRecovery(t.Context(), cookie))(t); len(codes) != 10 {
		t.Errorf("%d codes", len(codes))
	}
	b.advance(freshFor + time.Second)
	wants(t, b.SetPassword(t.Context(), cookie, "yet another long sentence"), SecondFactor, "no longer fresh")
}

func TestSessions(t *testing.T) {
	t.Parallel()
	eachStore(t, nil, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann")
		in := func() string {
			t.Helper()
			cookie, _, err := b.Login(t.Context(), "ann", passphrase, home)
			ok(t, err)
			return cookie
		}
		c := in()
		for range 23 { // in use, it lives for 12 hours
			b.advance(29 * time.Minute)
			ok(t, b.signedIn(c))
		}
		b.advance(29 * time.Minute)
		b.advance(25 * time.Minute)
		wants(t, b.signedIn(c), Expired, "after 12 hours")
		c = in()
		b.advance(30 * time.Minute)
		wants(t, b.signedIn(c), Expired, "idle")
		one, two := in(), in()
		p := must(b.Current(one))(t)
		ok(t, b.EndSession(t.Context(), p, p.Credential))
		wants(t, b.signedIn(one), Invalid, "ended")
		ok(t, b.signedIn(two))
		if n := len(b.Sessions(ann.ID)); n != 1 {
			t.Errorf("%d sessions", n)
		}
		ok(t, b.Logout(t.Context(), two))
		wants(t, b.signedIn(two), Invalid, "logged out")
		var cookies []string
		for range mostSessions + 1 {
			b.advance(time.Second)
			cookies = append(cookies, in())
		}
		wants(t, b.signedIn(cookies[0]), Invalid, "the one not used for longest")
		ok(t, b.signedIn(cookies[1]))
		ok(t, b.sweep(t.Context()))
	})
}

// Guessing slows down; who is known is not kept out; an address that tries many
// names slows down too.
func TestLockout(t *testing.T) {
	t.Parallel()
	eachStore(t, nil, func(t *testing.T, b *bench) {
		b.person(t, "ann")
		_, _, err := b.Login(t.Context(), "ann", passphrase, home)
		ok(t, err)
		thief := Client{From: netip.MustParseAddr("2001:db8::1")}
		guess := func(c Client, name string) error {
			_, _, err := b.Login(t.Context(), name, "not it, not it, not it", c)
			return err
		}
		for _, name := range []string{"ann", "nobody"} { // the same for names that do not exist
			for range freeAccount {
				wants(t, guess(thief, name), Invalid, name)
			}
			err := guess(thief, name)
			wants(t, err, Locked, name)
			var e *Error
			if errors.As(err, &e); e.Wait <= 0 || e.Wait > time.Second {
				t.Errorf("wait %v after the fifth", e.Wait)
			}
		}
		// Even the right password has to wait there, from anywhere new.
		_, _, err = b.Login(t.Context(), "ann", passphrase, Client{From: netip.MustParseAddr("198.51.100.7")})
		wants(t, err, Locked, "the right password elsewhere")
		// But not where ann has signed in before.
		_, _, err = b.Login(t.Context(), "ann", passphrase, home)
		ok(t, err)

		total := time.Duration(0)
		for range 16 {
			b.advance(longestLock)
			total += longestLock
			wants(t, guess(thief, "nobody"), Invalid, "after waiting")
		}
		err = guess(thief, "nobody")
		var e *Error
		if errors.As(err, &e); e == nil || e.Wait != longestLock {
			t.Errorf("after 21 guesses: %v, want %v", err, longestLock)
		}
		b.advance(longestLock)
		// An address that goes through names; its neighbours in the /64 are it.
		for i := range freeAddress + 5 {
			err = guess(Client{From: netip.MustParseAddr("2001:db8:0:1::" + string(rune('a'+i%6)))}, "name"+string(rune('a'+i)))
		}
		wants(t, err, Locked, "many names from one network")
		b.advance(forgiven)
		wants(t, guess(thief, "ann"), Invalid, "a day later")
	})
}

// Attempts count before they are decided: many at once are as many.
func TestLockoutUnderRace(t *testing.T) {
	b := over(t, nil)
	b.person(t, "ann")
	var wg sync.WaitGroup
	var mu sync.Mutex
	tried := 0
	for range 16 {
		wg.Go(func() {
			_, _, err := b.Login(t.Context(), "ann", "not it, not it, not it", Client{From: netip.MustParseAddr("203.0.113.9")})
			if kind(err) == Invalid {
				mu.Lock()
				tried++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if tried > freeAccount {
		t.Errorf("%d of 16 guesses at once were tried, %d are free", tried, freeAccount)
	}
}

// Names that do not exist cost as much as those that do.
func TestNoEnumeration(t *testing.T) {
	b := over(t, nil)
	b.person(t, "ann")
	b.CreatePerson(t.Context(), admin, "unenrolled", nil, nil)
	took := func(name string, i int) time.Duration {
		c := Client{From: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}
		start := time.Now()
		_, _, err := b.Login(t.Context(), name, "not it, not it, not it", c)
		d := time.Since(start)
		if e, want := err.Error(), "the credentials are not valid (a wrong name or password)"; e != want {
			t.Errorf("%s: %q", name, e)
		}
		b.advance(forgiven)
		return d
	}
	var fastest [3]time.Duration
	for i := range 8 {
		for j, name := range []string{"ann", "unenrolled", "nobody"} {
			if d := took(name, i); fastest[j] == 0 || d < fastest[j] {
				fastest[j] = d
			}
		}
	}
	for _, d := range fastest[1:] {
		if d < fastest[0]/2 || d > fastest[0]*2 {
			t.Errorf("the fastest of 8: %v with a password, without %v", fastest[0], d)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	for p, good := range map[string]bool{
		passphrase:                           true,
		"correct horse battery staple":       false,
		"fourteen chars":                     false,
		"fifteen chars!!":                    true,
		"passwordpassword":                   false,
		"Password12345678":                   false,
		"aaaaaaaaaaaaaaaa":                   false,
		"abcabcabcabcabcabc":                 false,
		"12345678901234567890":               false,
		"qwertyuiopasdfghjkl":                false,
		"hildegard-hildegard-1":              false,
		"Hildegard's walrus sings":           true,
		"Redoubt-hildegard-99":               true,
		"\u1e9b\u0323 müller und söhne gmbh": true,
		strings.Repeat("walrus lamp ", 50):   false,
		"\xff\xfe not text but long":         false,
		strings.Repeat("日本語のパスワード", 2)[:45] + "x": true,
	} {
		if err := checkPassword(p, "hildegard", "Redoubt"); (err == nil) != good {
			t.Errorf("%q: %v", p, err)
		}
	}
	if hash := hashPassword("\u1e9b\u0323 and more of it"); !must(verifyPassword(hash, "\u1e69 and more of it"))(t) {
		t.Error("two ways to type one password differ")
	}
}

func TestHashes(t *testing.T) {
	// Made by the reference implementation of argon2: echo -n password | argon2 somesalt -id -t 4 -m 12 -p 4 -l 24
	const reference = "$argon2id$v=19$m=4096,t=4,p=4$c29tZXNhbHQ$FF25czqfTuQ+3zPFCb6WuTTVBaTvszxa"
	if !must(verifyPassword(reference, "password"))(t) || must(verifyPassword(reference, "passwore"))(t) {
		t.Error("the reference's hash is not understood")
	}
	for _, bad := range []string{"", "x", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA", strings.Replace(reference, "4096", "4000000000", 1),
		strings.Replace(reference, "t=4", "t=0", 1), strings.Replace(reference, "p=4", "p=0", 1), strings.Replace(reference, "v=19", "v=16", 1), reference[:50]} {
		if ok, err := verifyPassword(bad, "password"); ok || err == nil {
			t.Errorf("%q: %v %v", bad, ok, err)
		}
	}
	// One made with other parameters is made anew at the next login.
	b := over(t, nil)
	ann := b.person(t, "ann")
	set := func(hash string) {
		ok(t, b.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE identity_accounts SET password = $1 WHERE id = $2`, hash, ann.ID)
			return err
		}))
	}
	set(reference)
	_, _, err := b.Login(t.Context(), "ann", "password", home)
	ok(t, err)
	var hash string
	ok(t, b.db.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT password FROM identity_accounts WHERE id = $1`, ann.ID).Scan(&hash)
	}))
	if outdated(hash) || !must(verifyPassword(hash, "password"))(t) {
		t.Errorf("the hash stays %s", hash)
	}
}

// No more passwords are hashed at once than memory is set aside for, and those
// who wait are bounded.
func TestHashingIsBounded(t *testing.T) {
	h := newHasher(1)
	leave, err := h.enter(t.Context())
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range mostWaiting {
		wg.Go(func() {
			if _, err := h.enter(ctx); err == nil {
				t.Error("a second turn at once")
			}
		})
	}
	for len(h.waiting) < cap(h.waiting) {
		time.Sleep(time.Millisecond)
	}
	_, err = h.enter(t.Context())
	wants(t, err, Unavailable, "a full queue")
	cancel()
	wg.Wait()
	leave()
	leave, err = h.enter(t.Context())
	ok(t, err)
	leave()
}

// The test vectors of RFC 6238, appendix B, for SHA-1: the last six of their
// eight digits.
func TestTOTP(t *testing.T) {
	for at, want := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		if got := totp([]byte("12345678901234567890"), at/30); got != want[2:] {
			t.Errorf("at %d: %s, want %s", at, got, want[2:])
		}
	}
}

// Whoever reads the files finds no secret in them.
func TestNothingSecretIsStored(t *testing.T) {
	url := storetest.SQLite(t)
	b := setUp(t, storetest.Open(t, url), nil)
	_, seed, recovery := b.seeded(t, "ann")
	_, flow, err := b.Login(t.Context(), "ann", passphrase, home)
	ok(t, err)
	cookie := must(b.LoginCode(t.Context(), flow, b.code(seed), home))(t)
	_, secret, err := b.CreateToken(t.Context(), admin, Token{Account: "ann", Name: "n"})
	ok(t, err)
	_, enrolment, err := b.CreatePerson(t.Context(), admin, "bob", nil, nil)
	ok(t, err)
	files, _ := filepath.Glob(strings.TrimPrefix(url, "sqlite:") + "*")
	found := false
	for _, f := range files {
		data, err := os.ReadFile(f)
		ok(t, err)
		found = found || bytes.Contains(data, []byte("ann"))
		for what, s := range map[string]string{"password": passphrase, "seed": string(seed), "recovery code": recovery[0], "the same without dashes": strings.ReplaceAll(recovery[0], "-", ""),
			"cookie": cookie, "token": secret, "enrolment": enrolment} {
			if bytes.Contains(data, []byte(s)) {
				t.Errorf("%s holds the %s", filepath.Base(f), what)
			}
		}
	}
	if !found {
		t.Error("the files do not hold the name either: this test reads the wrong ones")
	}
	for _, e := range b.log.events {
		for _, s := range []string{passphrase, secret, cookie, enrolment} {
			if strings.Contains(e.Before+e.After+e.Reason+e.Credential+e.Resource, s) {
				t.Errorf("%s holds a secret", e.Action)
			}
		}
	}
}

func TestNames(t *testing.T) {
	b := over(t, nil)
	for _, name := range []string{"", " ", "user:x", "a b", "a\x00b", "a/b", strings.Repeat("x", 129), "a\u202eb"} {
		if _, _, err := b.CreatePerson(t.Context(), admin, name, nil, nil); !errors.Is(err, ErrInput) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, bad := range [][]string{{""}, {"a\nb"}, {strings.Repeat("x", 129)}, make([]string, 201)} {
		if _, err := b.CreateService(t.Context(), admin, "x", bad, nil); !errors.Is(err, ErrInput) {
			t.Errorf("roles %.20q: %v", bad, err)
		}
	}
	if err := b.SetAccount(t.Context(), admin, "nobody", nil, nil, true); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	if _, err := b.Reenrol(t.Context(), admin, must(b.CreateService(t.Context(), admin, "svc", nil, nil))(t).ID); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	if p := (redoubt.Principal{ID: "service:x"}); b.Verified(p, time.Minute) != nil {
		t.Error("a second factor is asked of a machine")
	}
}

// Every login, and every one that failed, is an event that names who and whence,
// and not what was typed.
func TestLoginsAreRecorded(t *testing.T) {
	b := over(t, nil)
	ann := b.person(t, "ann")
	for _, c := range []struct{ name, password, want string }{
		{"ann", passphrase, "session.login allowed " + ann.ID + " by " + ann.ID + ": "},
		{"ann", "sesame", "session.login denied " + ann.ID + " by : the credentials are not valid (a wrong name or password)"},
		{"sesame", "ann", "session.login denied  by : the credentials are not valid (a wrong name or password)"},
	} {
		b.Login(t.Context(), c.name, c.password, home)
		if got := b.log.last(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if e := b.log.events[len(b.log.events)-1]; e.From != "192.0.2.1" || !e.Time.Equal(b.Now()) {
			t.Errorf("from %q at %v", e.From, e.Time)
		}
	}
	b.SetAccount(t.Context(), admin, ann.ID, []string{"auditor"}, nil, true)
	if e := b.log.events[len(b.log.events)-1]; e.Actor != "local:0" || e.Before == e.After || !strings.Contains(e.After, `roles=["auditor"] groups=[] disabled=true`) {
		t.Errorf("a change is recorded as %+v", e)
	}
}
