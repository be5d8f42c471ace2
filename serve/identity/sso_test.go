package identity

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func ssoSetUp(t *testing.T, edit func(*Issuer)) (*bench, *mockIssuer, *mockIssuer) {
	one, two := newMockIssuer(t, newKey(t, "k1", "RS256")), newMockIssuer(t, newKey(t, "k1", "RS256"))
	b := over(t, func(c *Config) {
		for _, m := range []*mockIssuer{one, two} {
			i := Issuer{URL: m.URL, Name: "Mock", ClientID: "redoubt", ClientSecret: "sesame", RolesClaim: "roles", GroupsClaim: "groups",
				Roles: map[string][]string{"ml-admins": {"model_admin"}, "users": {"model_user"}}}
			if edit != nil {
				edit(&i)
			}
			c.Issuers = append(c.Issuers, i)
		}
	})
	one.now, two.now = b.Now, b.Now
	return b, one, two
}

// visit goes to an issuer and comes back.
func (b *bench) visitTo(t *testing.T, m *mockIssuer, again bool) (flow string, back url.Values) {
	t.Helper()
	address, flow, err := b.BeginSignOn(t.Context(), m.URL, "/account", again)
	ok(t, err)
	return flow, m.authorise(address)
}

func TestSignOn(t *testing.T) {
	b, m, _ := ssoSetUp(t, nil)
	m.claims = map[string]any{"sub": "s1", "email": "ann@example.com", "preferred_username": "ann", "roles": []string{"ml-admins", "other"}, "groups": []string{"users"}, "amr": []string{"pwd", "mfa"}}
	flow, back := b.visitTo(t, m, false)
	cookie, ret, err := b.FinishSignOn(t.Context(), flow, back, home)
	ok(t, err)
	p := must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
	if ret != "/account" || p.ID != "oidc:"+m.URL+"#s1" || p.Name != "ann" || p.Method != "oidc" || !slices.Equal(p.Roles, []string{"model_admin", "model_user"}) || !slices.Equal(p.Groups, []string{"users"}) {
		t.Errorf("got %+v, to %s", p, ret)
	}
	ok(t, b.Verified(p, time.Minute))
	_, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	if err == nil {
		t.Error("a visit ended twice")
	}
	// Roles are those of the last login; without a word of a second factor an
	// administrator is not let in.
	delete(m.claims, "amr")
	flow, back = b.visitTo(t, m, false)
	cookie, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	ok(t, err)
	wants(t, b.signedIn(cookie), SecondFactor, "an administrator without mfa")
	m.claims["roles"] = "users"
	flow, back = b.visitTo(t, m, false)
	cookie, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	ok(t, err)
	if p := must(b.Current(cookie))(t); !slices.Equal(p.Roles, []string{"model_user"}) {
		t.Errorf("roles %v", p.Roles)
	}
	// Disabled here is disabled, whatever the issuer says.
	a := must(b.Account(p.ID))(t)
	ok(t, b.SetAccount(t.Context(), admin, a.ID, a.Roles, a.Groups, true))
	wants(t, b.signedIn(cookie), Invalid, "disabled")
	flow, back = b.visitTo(t, m, false)
	_, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	wants(t, err, Invalid, "a login of somebody disabled")
	if err := b.SetAccount(t.Context(), admin, a.ID, []string{"model_admin"}, nil, false); err == nil {
		t.Error("gave a stranger roles of ours")
	}
	// Who leaves is disabled, although his roles are his issuer's.
	ok(t, b.SetAccount(t.Context(), admin, a.ID, a.Roles, a.Groups, false))
	ok(t, b.RemoveAccount(t.Context(), admin, a.ID))
	if left := must(b.Account(a.ID))(t); !left.Disabled {
		t.Errorf("removed, and %+v", left)
	}
}

// An issuer that demands a second factor of all who sign in and does not say so: its
// administrators are let in, as fresh as it says that they signed in, and its access
// tokens show none.
func TestSecondFactorAlways(t *testing.T) {
	b, m, other := ssoSetUp(t, func(i *Issuer) { i.SecondFactorAlways, i.Audience = true, "models" })
	signIn := func() redoubt.Principal {
		flow, back := b.visitTo(t, m, false)
		cookie, _, err := b.FinishSignOn(t.Context(), flow, back, home)
		ok(t, err)
		return must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
	}
	m.claims = map[string]any{"sub": "s1", "roles": "ml-admins"}
	ok(t, b.Verified(signIn(), time.Minute))
	m.idToken = func(_, c map[string]any) string { delete(c, "auth_time"); return "" }
	p := signIn()
	ok(t, b.Verified(p, 0))
	wants(t, b.Verified(p, time.Minute), SecondFactor, "nobody said when")

	now := b.Now().Unix()
	k := other.keys[0]
	p = must(b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + k.sign(t, k.header(), map[string]any{
		"iss": other.URL, "aud": "models", "sub": "s2", "iat": now, "exp": now + 300, "auth_time": now, "roles": "users"})}))(t)
	wants(t, b.Verified(p, 0), SecondFactor, "an access token")
}

// Nobody tells us who has left a company: what its people made works while they
// sign in, and only while we trust the issuer.
func TestTokensOfPeopleWhoLeave(t *testing.T) {
	const day = 24 * time.Hour
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		m := newMockIssuer(t, newKey(t, "k1", "RS256"))
		m.claims = map[string]any{"sub": "s1"}
		trust := func(c *Config) {
			c.Issuers = []Issuer{{URL: m.URL, ClientID: "redoubt", ClientSecret: "sesame"}}
		}
		b := setUp(t, db, trust)
		m.now = b.Now
		signIn := func(b *bench) string {
			flow, back := b.visitTo(t, m, false)
			cookie, _, err := b.FinishSignOn(t.Context(), flow, back, home)
			ok(t, err)
			return cookie
		}
		signIn(b)
		id := "oidc:" + m.URL + "#s1"
		_, secret, err := b.CreateToken(t.Context(), admin, Token{Account: id, Name: "laptop", Expires: b.Now().Add(300 * day)})
		ok(t, err)
		by := func(b *bench) error {
			return errOf(b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + secret}))
		}
		b.advance(30*day - time.Second)
		ok(t, by(b))
		b.advance(time.Second)
		wants(t, by(b), Expired, "30 days after the last sign-in")
		signIn(b)
		ok(t, by(b))
		if a := must(b.Account(id))(t); !a.Vouched.Equal(b.Now().Truncate(time.Millisecond)) {
			t.Errorf("signed in at %v, not at %v", a.Vouched, b.Now())
		}
		b.advance(59 * time.Minute)
		before := b.state.generation
		cookie := signIn(b)
		if after := b.state.generation; after != before+1 { // of the session
			t.Errorf("a sign-in within the hour made %d changes", after-before)
		}

		hourly := setUp(t, db, func(c *Config) { trust(c); c.Issuers[0].SignInEvery = time.Hour })
		hourly.clock.hand = b.Now()
		ok(t, by(hourly))
		hourly.advance(time.Minute)
		wants(t, by(hourly), Expired, "an hour after the last sign-in")
		m.now = hourly.Now
		signIn(hourly)
		hourly.advance(30 * time.Minute)
		signIn(hourly)
		hourly.advance(59 * time.Minute)
		ok(t, by(hourly))
		m.now = b.Now

		without := setUp(t, db, func(c *Config) {
			c.Issuers = []Issuer{{URL: m.URL + "/other", ClientID: "redoubt", ClientSecret: "sesame"}}
		})
		without.clock.hand = b.Now()
		wants(t, by(without), Invalid, "a token of an issuer that is not configured")
		wants(t, without.signedIn(cookie), Invalid, "a session of an issuer that is not configured")
		ok(t, b.signedIn(cookie))
	})
}

// Tokens of people who sign in work on after the upgrade that began to ask.
func TestVouchedOfOlderDatabases(t *testing.T) {
	storetest.Run(t, func(t *testing.T, db *store.DB) {
		ok(t, db.Migrate(t.Context(), store.Migrations{Room: room, Steps: migrations.Steps[:1]}))
		ok(t, db.Update(t.Context(), func(tx *store.Tx) error {
			for id, login := range map[string]any{"oidc:https://i#came": nil, "oidc:https://i#stayed": nil, "user:ours": "ours"} {
				if _, err := tx.Exec(`INSERT INTO identity_accounts VALUES ($1, $2, 'n', '[]', '[]', FALSE, '', FALSE, 1000, 1)`, id, login); err != nil {
					return err
				}
			}
			for _, created := range []int64{2000, 3000} {
				digest := sha256.Sum256([]byte{byte(created)})
				if _, err := tx.Exec(`INSERT INTO identity_sessions VALUES ($1, $2, 'oidc:https://i#came', 'oidc', '', '', $3, 0, $3, FALSE, 1)`, fmt.Sprint("session:", created), digest[:], created); err != nil {
					return err
				}
			}
			return nil
		}))
		b := setUp(t, db, nil)
		for id, want := range map[string]int64{"oidc:https://i#came": 3000, "oidc:https://i#stayed": 1000, "user:ours": 0} {
			if a := must(b.Account(id))(t); ms(a.Vouched) != want {
				t.Errorf("%s was vouched for at %v, not at %d", id, a.Vouched, want)
			}
		}
	})
}

func TestSignOnStepUp(t *testing.T) {
	b, m, _ := ssoSetUp(t, nil)
	m.claims = map[string]any{"sub": "s1", "acr": "mfa"}
	address, flow, err := b.BeginSignOn(t.Context(), m.URL, "/", true)
	ok(t, err)
	if u := must(url.Parse(address))(t); u.Query().Get("prompt") != "login" || u.Query().Get("max_age") != "1" || u.Query().Get("code_challenge_method") != "S256" {
		t.Errorf("asked with %s", address)
	}
	ok(t, errOf2(b.FinishSignOn(t.Context(), flow, m.authorise(address), home)))
	for what, edit := range map[string]func(h, c map[string]any) string{
		"an old login":   func(_, c map[string]any) string { c["auth_time"] = b.Now().Add(-time.Hour).Unix(); return "" },
		"no word of one": func(_, c map[string]any) string { delete(c, "auth_time"); return "" },
	} {
		m.idToken = edit
		flow, back := b.visitTo(t, m, true)
		wants(t, errOf2(b.FinishSignOn(t.Context(), flow, back, home)), Invalid, what)
	}
}

// A provider that misbehaves. Its key is the true one unless said otherwise.
// A factor of which the issuer does not say when it was shown lets an administrator
// in, and is not fresh: he may have been signed in there for days.
func TestSignOnWithoutAuthTime(t *testing.T) {
	b, m, _ := ssoSetUp(t, nil)
	m.claims = map[string]any{"sub": "s1", "roles": "ml-admins", "amr": []string{"mfa"}}
	for what, c := range map[string]struct {
		edit  func(h, c map[string]any) string
		fresh bool
	}{
		"without":        {func(_, c map[string]any) string { delete(c, "auth_time"); return "" }, false},
		"hours ago":      {func(_, c map[string]any) string { c["auth_time"] = b.Now().Add(-3 * time.Hour).Unix(); return "" }, false},
		"a moment ago":   {func(_, c map[string]any) string { c["auth_time"] = b.Now().Add(-time.Second).Unix(); return "" }, true},
		"without a word": {nil, true},
	} {
		m.idToken = c.edit
		flow, back := b.visitTo(t, m, false)
		cookie, _, err := b.FinishSignOn(t.Context(), flow, back, home)
		ok(t, err)
		p := must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
		ok(t, b.Verified(p, 0))
		if fresh := b.Verified(p, 5*time.Minute) == nil; fresh != c.fresh {
			t.Errorf("%s: fresh %v", what, fresh)
		}
	}
}

// An issuer that has somebody's groups fetched elsewhere, as Entra ID does of those
// who are in hundreds, leaves open what a policy forbids a group.
func TestGroupsElsewhere(t *testing.T) {
	b, m, _ := ssoSetUp(t, nil)
	for what, c := range map[string]struct {
		claims map[string]any
		let    bool
	}{
		"overage":         {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, false},
		"of roles":        {map[string]any{"_claim_names": map[string]any{"roles": "src1"}}, false},
		"hasgroups":       {map[string]any{"hasgroups": true}, false},
		"of another name": {map[string]any{"_claim_names": map[string]any{"address": "src1"}, "groups": []string{"users"}}, true},
	} {
		m.claims = with(c.claims, "sub", "s1")
		flow, back := b.visitTo(t, m, false)
		_, _, err := b.FinishSignOn(t.Context(), flow, back, home)
		if c.let {
			ok(t, err)
			continue
		}
		wants(t, err, Invalid, what)
	}
}

func TestSignOnCorpus(t *testing.T) {
	b, m, evil := ssoSetUp(t, nil)
	stranger := newKey(t, "k1", "RS256")
	resign := func(k *signingKey, edit func(h, c map[string]any)) func(h, c map[string]any) string {
		return func(h, c map[string]any) string { edit(h, c); return k.sign(t, h, c) }
	}
	set := func(name string, v any) func(h, c map[string]any) string {
		return resign(m.keys[0], func(_, c map[string]any) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		})
	}
	now := b.Now().Unix()
	for what, edit := range map[string]func(h, c map[string]any) string{
		"iss":               set("iss", evil.URL),
		"aud":               set("aud", "other"),
		"several aud":       set("aud", []string{"redoubt", "other"}),
		"azp":               set("azp", "other"),
		"nonce":             set("nonce", "other"),
		"no nonce":          set("nonce", nil),
		"sub":               set("sub", nil),
		"exp":               set("exp", now-60),
		"no exp":            set("exp", nil),
		"no iat":            set("iat", nil),
		"iat in the future": set("iat", now+3600),
		"at_hash":           set("at_hash", "AAAA"),
		"amr of numbers":    set("amr", 1),
		"a logout token":    set("events", map[string]any{"x": 1}),
		"kid":               resign(m.keys[0], func(h, _ map[string]any) { h["kid"] = "k9" }),
		"another key":       resign(stranger, func(_, _ map[string]any) {}),
		"an access token":   resign(m.keys[0], func(h, _ map[string]any) { h["typ"] = "at+jwt" }),
		"jku":               resign(m.keys[0], func(h, _ map[string]any) { h["jku"] = evil.URL + "/keys" }),
		"none": func(h, c map[string]any) string {
			h["alg"] = "none"
			token := m.keys[0].sign(t, h, c)
			return token[:strings.LastIndexByte(token, '.')+1]
		},
		"nothing": func(_, _ map[string]any) string { return "x" },
	} {
		m.idToken = edit
		flow, back := b.visitTo(t, m, false)
		cookie, _, err := b.FinishSignOn(t.Context(), flow, back, home)
		wants(t, err, Invalid, what)
		if cookie != "" {
			t.Errorf("%s: a cookie", what)
		}
	}
	m.idToken = nil
	for what, edit := range map[string]func(q url.Values){
		"state":          func(q url.Values) { q.Set("state", "x") },
		"no state":       func(q url.Values) { q.Del("state") },
		"code":           func(q url.Values) { q.Set("code", "x") },
		"no code":        func(q url.Values) { q.Del("code") },
		"mix-up":         func(q url.Values) { q.Set("iss", evil.URL) },
		"an empty iss":   func(q url.Values) { q.Set("iss", "") },
		"an error":       func(q url.Values) { q.Set("error", "access_denied") },
		"two states":     func(q url.Values) { q.Add("state", q.Get("state")) },
		"another's code": func(q url.Values) { _, other := b.visitTo(t, m, false); q.Set("code", other.Get("code")) },
	} {
		flow, back := b.visitTo(t, m, false)
		edit(back)
		wants(t, errOf2(b.FinishSignOn(t.Context(), flow, back, home)), Invalid, what)
	}
	// Whoever is lured to another's callback has no flow of it.
	_, back := b.visitTo(t, m, false)
	own, _ := b.visitTo(t, m, false)
	wants(t, errOf2(b.FinishSignOn(t.Context(), own, back, home)), Invalid, "another browser's answer")
	wants(t, errOf2(b.FinishSignOn(t.Context(), "", back, home)), Invalid, "no flow")
	flow, back := b.visitTo(t, m, false)
	ok(t, errOf2(b.FinishSignOn(t.Context(), flow, back, home)))
	// Rotation.
	m.setKeys(newKey(t, "k2", "RS256"))
	b.advance(askAgain)
	flow, back = b.visitTo(t, m, false)
	ok(t, errOf2(b.FinishSignOn(t.Context(), flow, back, home)))
}

func TestDiscoveryIsHeldToTheIssuer(t *testing.T) {
	t.Parallel()
	for what, edit := range map[string]func(md map[string]any){
		"another issuer":  func(md map[string]any) { md["issuer"] = "https://evil.example" },
		"a slash":         func(md map[string]any) { md["issuer"] = md["issuer"].(string) + "/" },
		"keys over http":  func(md map[string]any) { md["jwks_uri"] = "http://evil.example/keys" },
		"keys in a file":  func(md map[string]any) { md["jwks_uri"] = "file:///etc/passwd" },
		"no keys":         func(md map[string]any) { delete(md, "jwks_uri") },
		"a giant of text": func(md map[string]any) { md["x"] = strings.Repeat("x", 2<<20) },
	} {
		b, m, _ := ssoSetUp(t, nil)
		m.edit = edit
		wants(t, errOf2(b.BeginSignOn(t.Context(), m.URL, "/", false)), Unavailable, what)
	}
	b, m, _ := ssoSetUp(t, nil)
	m.edit = func(md map[string]any) { md["authorization_response_iss_parameter_supported"] = true }
	flow, back := b.visitTo(t, m, false)
	back.Del("iss")
	wants(t, errOf2(b.FinishSignOn(t.Context(), flow, back, home)), Invalid, "no iss although it is promised")
	m.Close()
	fresh, down, _ := ssoSetUp(t, nil)
	down.Close()
	wants(t, errOf2(fresh.BeginSignOn(t.Context(), down.URL, "/", false)), Unavailable, "an issuer that is gone")
	if err := errOf2(fresh.BeginSignOn(t.Context(), "https://evil.example", "/", false)); err == nil {
		t.Error("an issuer that is not configured")
	}
}

func TestNoOpenRedirect(t *testing.T) {
	for _, bad := range []string{"", "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/x\r\nSet-Cookie: a", "javascript:alert(1)", "evil.example", "http:/evil", "/\t/evil.example", "/%zz"} {
		if got := LocalPath(bad); got != "/" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
	if got := LocalPath("/auth/account?x=1#y"); got != "/auth/account?x=1#y" {
		t.Errorf("got %q", got)
	}
}
