package identity

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signingKey is a key of a mock issuer.
type signingKey struct {
	kid, alg string
	key      crypto.Signer
}

func newKey(t testing.TB, kid, alg string) *signingKey {
	t.Helper()
	k := &signingKey{kid: kid, alg: alg}
	var err error
	switch alg {
	case "RS256":
		k.key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.key, err = ed25519.GenerateKey(rand.Reader)
	}
	ok(t, err)
	return k
}

func (k *signingKey) jwk(t testing.TB) map[string]any {
	out := map[string]any{"kid": k.kid, "alg": k.alg, "use": "sig"}
	switch pub := k.key.Public().(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		raw, err := pub.Bytes()
		ok(t, err)
		out["kty"], out["crv"], out["x"], out["y"] = "EC", "P-256", b64(raw[1:33]), b64(raw[33:])
	case ed25519.PublicKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(pub)
	}
	return out
}

// sign signs any header and payload, well formed or not.
func (k *signingKey) sign(t testing.TB, header, payload any) string {
	t.Helper()
	part := func(v any) string {
		if s, ok := v.(string); ok {
			return b64([]byte(s))
		}
		b, err := json.Marshal(v)
		ok(t, err)
		return b64(b)
	}
	text := part(header) + "." + part(payload)
	method := jwt.GetSigningMethod(k.alg)
	sig, err := method.Sign(text, any(k.key))
	ok(t, err)
	return text + "." + b64(sig)
}

func (k *signingKey) header(more ...any) map[string]any {
	h := map[string]any{"alg": k.alg, "kid": k.kid, "typ": "at+jwt"}
	return with(h, more...)
}

// with is a copy with pairs of names and values changed; nil takes one away.
func with(m map[string]any, more ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i+1 < len(more); i += 2 {
		if m[more[i].(string)] = more[i+1]; more[i+1] == nil {
			delete(m, more[i].(string))
		}
	}
	return m
}

// jwtBench is a service that trusts two issuers.
type jwtBench struct {
	*bench
	one, two *mockIssuer
}

func jwtSetUp(t testing.TB, edit func(*Config)) *jwtBench {
	one, two := newMockIssuer(t, newKey(t, "k1", "RS256")), newMockIssuer(t, newKey(t, "k1", "ES256"))
	b := over(t, func(c *Config) {
		c.JWTKey = []byte("another key, of more than 32 bytes")
		c.Issuers = []Issuer{
			{URL: one.URL, Audience: "models", RolesClaim: "realm_access.roles", GroupsClaim: "groups", Roles: map[string][]string{"ml": {"model_user"}}},
			{URL: two.URL, Audience: "models", Algorithm: "ES256", Types: []string{"JWT", ""}},
		}
		if edit != nil {
			edit(c)
		}
	})
	one.now, two.now = b.Now, b.Now
	return &jwtBench{b, one, two}
}

func (b *jwtBench) claims(i *mockIssuer, more ...any) map[string]any {
	now := b.Now().Unix()
	return with(map[string]any{"iss": i.URL, "aud": "models", "sub": "abc", "iat": now, "nbf": now, "exp": now + 300,
		"realm_access": map[string]any{"roles": []string{"ml", "unmapped"}}, "groups": []string{"g1"}}, more...)
}

func (b *jwtBench) auth(token string) (redoubt.Principal, error) {
	return b.Authenticate(context.Background(), Credentials{Authorization: "Bearer " + token})
}

func TestJWT(t *testing.T) {
	b := jwtSetUp(t, nil)
	good := b.one.keys[0].sign(t, b.one.keys[0].header(), b.claims(b.one, "jti", "j1", "email", "boss@example.com"))
	for range 3 {
		p := must(b.auth(good))(t)
		if p.ID != "oidc:"+b.one.URL+"#abc" || p.Method != "jwt" || p.Credential != "j1" || !slices.Equal(p.Roles, []string{"model_user"}) || !slices.Equal(p.Groups, []string{"g1"}) {
			t.Fatalf("got %+v", p)
		}
	}
	if n := b.one.fetches.Load(); n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}
	ok(t, errOf(b.auth(b.two.keys[0].sign(t, b.two.keys[0].header("typ", "JWT"), b.claims(b.two, "aud", []string{"x", "models"})))))
	ok(t, errOf(b.auth(b.two.keys[0].sign(t, b.two.keys[0].header("typ", nil), b.claims(b.two)))))
	b.advance(5*time.Minute + 31*time.Second)
	wants(t, errOf(b.auth(good)), Expired, "after its time")
}

// A remembered token does not outlive a change of accounts.
func TestJWTIsForgotten(t *testing.T) {
	b := jwtSetUp(t, nil)
	good := b.one.keys[0].sign(t, b.one.keys[0].header(), b.claims(b.one))
	p := must(b.auth(good))(t)
	ok(t, b.meet(t.Context(), p, &flow{digest: digest{1}, Expires: 1 << 50}, home))
	ok(t, errOf(b.auth(good)))
	ok(t, b.SetAccount(t.Context(), admin, p.ID, p.Roles, p.Groups, true))
	wants(t, errOf(b.auth(good)), Invalid, "disabled")
}

// The corpus of what must not be let in. Each is signed with the issuer's true
// key unless it says otherwise, so that only the one thing is wrong.
func TestJWTCorpus(t *testing.T) {
	b := jwtSetUp(t, nil)
	listener, hits := trap(t)
	k, other := b.one.keys[0], newKey(t, "k1", "RS256")
	sign := func(header, claims any) string { return k.sign(t, header, claims) }
	good := b.claims(b.one)
	goodToken := sign(k.header(), good)
	ok(t, errOf(b.auth(goodToken)))
	part := strings.Split(goodToken, ".")
	der, err := x509.MarshalPKIXPublicKey(k.key.Public())
	ok(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hmac := func(key []byte, header, claims any) string {
		h, _ := json.Marshal(header)
		c, _ := json.Marshal(claims)
		text := b64(h) + "." + b64(c)
		sig, err := jwt.SigningMethodHS256.Sign(text, key)
		ok(t, err)
		return text + "." + b64(sig)
	}
	body := func(s string) string { // the good claims with something put before
		j, _ := json.Marshal(good)
		return "{" + s + "," + string(j[1:])
	}
	now := b.Now().Unix()
	cases := map[string]string{
		"empty":                   "",
		"two parts":               part[0] + "." + part[1],
		"four parts":              goodToken + ".x",
		"a megabyte of dots":      strings.Repeat(".", 1<<20),
		"8 kB of dots":            strings.Repeat(".", longestJWT),
		"a megabyte":              goodToken + strings.Repeat("A", 1<<20),
		"no signature":            part[0] + "." + part[1] + ".",
		"white space":             part[0] + "." + part[1] + ".\n" + part[2],
		"padding":                 goodToken + "==",
		"standard base64":         part[0] + "+." + part[1] + "." + part[2],
		"bits after the end":      loose(goodToken),
		"another key":             other.sign(t, k.header(), good),
		"another payload":         part[0] + "." + b64([]byte(body(`"x":1`))) + "." + part[2],
		"HS256 with the public":   hmac(public, k.header("alg", "HS256"), good),
		"HS256 with its DER":      hmac(der, k.header("alg", "HS256"), good),
		"HS256 with nothing":      hmac([]byte{}, k.header("alg", "HS256"), good),
		"HS256 with our key":      hmac([]byte("another key, of more than 32 bytes"), k.header("alg", "HS256"), good),
		"the other issuer's key":  b.two.keys[0].sign(t, b.two.keys[0].header(), good),
		"mix-up of one kid":       b.two.keys[0].sign(t, b.two.keys[0].header("typ", "JWT"), b.claims(b.two, "iss", b.one.URL)),
		"our own issuer":          sign(k.header(), with(good, "iss", "https://models.example")),
		"an unknown issuer":       sign(k.header(), with(good, "iss", "https://evil.example")),
		"the issuer with a slash": sign(k.header(), with(good, "iss", b.one.URL+"/")),
		"no issuer":               sign(k.header(), with(good, "iss", nil)),
		"the issuer in a list":    sign(k.header(), with(good, "iss", []string{b.one.URL})),
		"no audience":             sign(k.header(), with(good, "aud", nil)),
		"another audience":        sign(k.header(), with(good, "aud", "other")),
		"other audiences":         sign(k.header(), with(good, "aud", []string{"other", "model"})),
		"an audience of numbers":  sign(k.header(), with(good, "aud", []any{"models", 1})),
		"an audience object":      sign(k.header(), with(good, "aud", map[string]any{"models": 1})),
		"no subject":              sign(k.header(), with(good, "sub", nil)),
		"a subject of number":     sign(k.header(), with(good, "sub", 7)),
		"a long subject":          sign(k.header(), with(good, "sub", strings.Repeat("x", 256))),
		"no expiry":               sign(k.header(), with(good, "exp", nil)),
		"expiry as text":          sign(k.header(), with(good, "exp", "99999999999")),
		"expiry null":             sign(k.header(), body(`"exp":null`)),
		"expiry 1e20":             sign(k.header(), with(good, "exp", 1e20)),
		"expiry 1e999":            sign(k.header(), strings.Replace(body(`"x":1`), fmt.Sprint(now+300), "1e999", 1)),
		"expiry below zero":       sign(k.header(), with(good, "exp", -1)),
		"from the future":         sign(k.header(), with(good, "iat", now+120)),
		"not before the future":   sign(k.header(), with(good, "nbf", now+120)),
		"not before as text":      sign(k.header(), with(good, "nbf", "soon")),
		"two expiries":            sign(k.header(), body(`"exp":99999999999`)),
		"two subjects":            sign(k.header(), body(`"sub":"admin"`)),
		"two by escapes":          sign(k.header(), body(`"\u0073ub":"admin"`)),
		"two nested":              sign(k.header(), body(`"x":{"a":1,"a":2}`)),
		"something after":         sign(k.header(), body(`"x":1`)+"{}"),
		"no object":               sign(k.header(), `["iss"]`),
		"no JSON":                 sign(k.header(), "foo"),
		"not UTF-8":               sign(k.header(), body("\"x\":\"\xff\"")),
		"deep":                    sign(k.header(), body(`"x":`+strings.Repeat("[", 1500)+strings.Repeat("]", 1500))),
		"nested":                  sign(k.header(), `"`+goodToken+`"`),
		"content type JWT":        sign(k.header("cty", "JWT"), good),
		"embedded key":            other.sign(t, k.header("jwk", other.jwk(t)), good),
		"jku":                     other.sign(t, k.header("jku", "http://"+listener+"/jku"), good),
		"x5u":                     other.sign(t, k.header("x5u", "http://"+listener+"/x5u"), good),
		"jku beside a true key":   sign(k.header("jku", "http://"+listener+"/jku"), good),
		"x5c":                     sign(k.header("x5c", []string{b64(der)}), good),
		"crit":                    sign(k.header("crit", []string{"exp"}), good),
		"crit unknown":            sign(k.header("crit", []string{"x"}, "x", 1), good),
		"b64 false":               sign(k.header("b64", false), good),
		"zip":                     sign(k.header("zip", "DEF"), good),
		"two algorithms":          sign(`{"alg":"none","alg":"RS256","kid":"k1","typ":"at+jwt"}`, good),
		"no algorithm":            sign(k.header("alg", nil), good),
		"algorithm of number":     sign(k.header("alg", 1), good),
		"an ID token":             sign(k.header("typ", "JWT"), good),
		"an ID token by nonce":    sign(k.header(), with(good, "nonce", "n")),
		"an ID token by at_hash":  sign(k.header(), with(good, "at_hash", "n")),
		"a logout token":          sign(k.header("typ", "logout+jwt"), good),
		"a logout token by event": sign(k.header(), with(good, "events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}})),
		"Keycloak's ID token":     sign(k.header(), with(good, "typ", "ID")),
		"Keycloak's refresh":      sign(k.header(), with(good, "typ", "Refresh")),
		"Cognito's ID token":      sign(k.header(), with(good, "token_use", "id")),
		"type of number":          sign(k.header("typ", 1), good),
		"no kid among several":    sign(k.header("kid", "k2"), good),
		"kid a path":              sign(k.header("kid", "../../dev/null"), good),
		"kid SQL":                 sign(k.header("kid", "k1' OR '1'='1"), good),
		"kid null byte":           sign(k.header("kid", "k1\x00"), good),
		"kid of number":           sign(k.header("kid", 1), good),
		"kid of 64 kB":            sign(k.header("kid", strings.Repeat("k", 64<<10)), good),
		"kid of 6 kB":             sign(k.header("kid", strings.Repeat("k", 6<<10)), good),
		"many roles":              sign(k.header(), with(good, "groups", slices.Repeat([]string{"g"}, 1)[0:1], "realm_access", map[string]any{"roles": []any{1}})),
		"psychic signature":       psychic(t, b, 0),
		"psychic order":           psychic(t, b, 1),
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", "none ", "", "null", "n\u00f6ne"} {
		h, _ := json.Marshal(k.header("alg", none))
		c, _ := json.Marshal(good)
		cases["alg "+none] = b64(h) + "." + b64(c) + "."
		cases["alg "+none+" with a signature"] = b64(h) + "." + b64(c) + "." + part[2]
	}
	for _, alg := range []string{"RS384", "RS512", "PS256", "HS384", "ES384", "RS256 ", "rs256", "RSA", "A128KW", "PBES2-HS256+A128KW"} {
		cases["alg "+alg] = sign(k.header("alg", alg), good)
	}
	for what, token := range cases {
		p, err := b.auth(token)
		if want := Invalid; kind(err) != want {
			t.Errorf("%s: %q (%v), want %q", what, kind(err), err, want)
		}
		if p.ID != "" {
			t.Errorf("%s: let in as %s", what, p.ID)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections to where a token pointed", n)
	}
	ok(t, errOf(b.auth(goodToken)))
	t.Logf("%d tokens were refused", len(cases))
}

// loose is a token whose last letter has bits beyond the signature's.
func loose(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(token) - 1
	return token[:end] + string(alphabet[strings.IndexByte(alphabet, token[end])+1])
}

// psychic is a token of the second issuer signed with r = s = 0, or with r = 0
// and the curve's order (CVE-2022-21449).
func psychic(t *testing.T, b *jwtBench, kind int) string {
	k := b.two.keys[0]
	token := k.sign(t, k.header("typ", "JWT"), b.claims(b.two))
	sig := make([]byte, 64)
	if kind == 1 {
		elliptic.P256().Params().N.FillBytes(sig[32:])
	}
	return token[:strings.LastIndexByte(token, '.')+1] + b64(sig)
}

// trap listens where nobody should come.
func trap(t *testing.T) (address string, hits *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	hits = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), hits
}

// Keys are fetched once for many, once a minute for unknown ids, kept through an
// outage, and dropped when they are withdrawn or too old.
func TestKeys(t *testing.T) {
	b := jwtSetUp(t, nil)
	i, k := b.one, b.one.keys[0]
	token := func(k *signingKey, sub string) string {
		return k.sign(t, k.header(), b.claims(i, "sub", sub))
	}
	var wg sync.WaitGroup
	for n := range 8 {
		raw := token(k, fmt.Sprint(n))
		wg.Go(func() {
			if _, err := b.auth(raw); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for 8 callers", n)
	}
	// Rotation: the new key is found at the first token that names it, though not
	// within a minute of the last attempt.
	next := newKey(t, "k2", "RS256")
	i.setKeys(next)
	old := token(k, "old")
	ok(t, errOf(b.auth(old)))
	for range 20 {
		wants(t, errOf(b.auth(token(next, "x"))), Invalid, "within the minute")
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for unknown ids within a minute", n)
	}
	b.advance(askAgain - time.Second)
	old = token(k, "remembered a second ago")
	ok(t, errOf(b.auth(old)))
	b.advance(time.Second)
	ok(t, errOf(b.auth(token(next, "y"))))
	wants(t, errOf(b.auth(old)), Invalid, "a withdrawn key, though the token was remembered")
	// An outage: what is known lasts for a day. An unknown id cannot be decided,
	// and is refused.
	i.broken.Store(true)
	b.advance(23 * time.Hour)
	ok(t, errOf(b.auth(token(next, "z"))))
	wants(t, errOf(b.auth(token(k, "z"))), Invalid, "an unknown key in an outage")
	b.advance(2 * time.Hour)
	wants(t, errOf(b.auth(token(next, "late"))), Unavailable, "keys of 25 hours ago")
	i.broken.Store(false)
	b.advance(askAgain)
	ok(t, errOf(b.auth(token(next, "back"))))
	// What an issuer in trouble publishes is not believed.
	twin := newKey(t, "k2", "RS256")
	twins, err := json.Marshal(map[string]any{"keys": []any{next.jwk(t), twin.jwk(t)}})
	ok(t, err)
	for what, doc := range map[string]string{
		"growth":     `{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, mostKeys) + `{}]}`,
		"a giant":    `{"keys":[],"x":"` + strings.Repeat("x", 2<<20) + `"}`,
		"no keys":    `{"keys":[]}`,
		"two of one": string(twins),
		"a secret":   `{"keys":[{"kty":"oct","kid":"k2","k":"AAAA"}]}`,
		"a redirect": "",
	} {
		i.jwks.Store(&doc)
		b.advance(askAgain)
		wants(t, errOf(b.auth(token(k, what))), Invalid, what)
		ok(t, errOf(b.auth(token(next, what))))
	}
}

func TestIssuedTokens(t *testing.T) {
	b := jwtSetUp(t, nil)
	svc := must(b.CreateService(t.Context(), admin, "svc", []string{"model_user"}, nil))(t)
	_, secret, err := b.CreateToken(t.Context(), admin, Token{Account: "svc", Name: "n", Scopes: []string{"model:loans:*"}})
	ok(t, err)
	by := must(b.auth(secret))(t)
	token, expires, err := b.IssueJWT(t.Context(), by, svc.ID, "loans", "invoke", "model_user")
	ok(t, err)
	p := must(b.auth(token))(t)
	if p.ID != svc.ID || p.Method != "jwt" || !slices.Equal(p.Scopes, []string{"model:loans:invoke"}) || !slices.Equal(p.Roles, []string{"model_user"}) {
		t.Errorf("got %+v", p)
	}
	// As another program reads it.
	read, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return b.cfg.JWTKey, nil }, jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("redoubt"), jwt.WithTimeFunc(b.Now))
	ok(t, err)
	c := read.Claims.(jwt.MapClaims)
	if c["model_name"] != "loans" || c["access_level"] != "invoke" || c["role"] != "model_user" || expires.Sub(b.Now()) != time.Hour {
		t.Errorf("claims %v until %v", c, expires)
	}
	for _, bad := range [][3]string{{"other", "invoke", "model_user"}, {"*", "invoke", "model_user"}, {"loans", "invoke", "model_admin"}, {"", "x", "model_user"}, {"a:b", "x", "model_user"}} {
		if _, _, err := b.IssueJWT(t.Context(), by, svc.ID, bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("issued for %v", bad)
		}
	}
	// Somebody else gives it by the name, and nobody gives it to whom he does not know.
	given, _, err := b.IssueJWT(t.Context(), admin, "svc", "other", "invoke", "model_user")
	ok(t, err)
	if p := must(b.auth(given))(t); p.ID != svc.ID || !slices.Equal(p.Scopes, []string{"model:other:invoke"}) {
		t.Errorf("got %+v", p)
	}
	for _, account := range []string{"", "nobody", "local:0", "certificate:x"} {
		if _, _, err := b.IssueJWT(t.Context(), admin, account, "loans", "invoke", "model_user"); err == nil {
			t.Errorf("issued for %q", account)
		}
	}
	ok(t, b.SetAccount(t.Context(), admin, svc.ID, []string{"auditor"}, nil, false))
	wants(t, errOf(b.auth(token)), Invalid, "the role is gone")
	ok(t, b.SetAccount(t.Context(), admin, svc.ID, []string{"model_user"}, nil, false))
	ok(t, errOf(b.auth(token)))
	b.advance(time.Hour)
	wants(t, errOf(b.auth(token)), Expired, "after an hour")
	plain := over(t, nil)
	if _, _, err := plain.IssueJWT(t.Context(), by, svc.ID, "loans", "invoke", "model_user"); err == nil {
		t.Error("issued without a key")
	}
}

// wycheproof reads one of Google's collections of vectors.
func wycheproof(t *testing.T, name string, to any) {
	t.Helper()
	f, err := os.Open(need.Data(t, "vectors/wycheproof_"+name+"_test.json.gz"))
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	b, err := io.ReadAll(z)
	ok(t, err)
	ok(t, json.Unmarshal(b, to))
}

type vectors struct {
	TestGroups []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []struct {
			TcId    int
			Comment string
			Jws     json.RawMessage
			Result  string
			Flags   []string
		}
	}
}

// verifyWith verifies a vector's signature with its keys, under every algorithm
// that is let in.
func verifyWith(keys []byte, jws json.RawMessage) bool {
	if !bytes.Contains(keys, []byte(`"keys"`)) {
		keys = []byte(`{"keys":[` + string(keys) + `]}`)
	}
	var compact string
	if json.Unmarshal(jws, &compact) != nil {
		return false // the JSON form
	}
	s, err := parseSigned(compact)
	if err != nil {
		return false
	}
	for _, a := range algorithms {
		set, err := parseKeySet(keys, a)
		if err != nil || s.alg != a.name {
			continue
		}
		key := set.find(s.kid)
		if key == nil {
			continue
		}
		if a.method.Verify(s.text, s.signature, key) == nil {
			return true
		}
	}
	return false
}

func TestWycheproof(t *testing.T) {
	for _, name := range []string{"json_web_signature", "json_web_key"} {
		var v vectors
		wycheproof(t, name, &v)
		n, accepted := 0, 0
		for _, g := range v.TestGroups {
			keys := g.Public
			if keys == nil {
				keys = g.Private // of shared keys, which no issuer may publish
			}
			// What is valid under an algorithm that is not let in is refused too.
			ours := false
			for _, a := range algorithms {
				ours = ours || bytes.Contains(g.Public, []byte(`"alg": "`+a.name+`"`)) || bytes.Contains(g.Public, []byte(`"alg":"`+a.name+`"`))
			}
			for _, c := range g.Tests {
				n++
				got, want := verifyWith(keys, c.Jws), c.Result == "valid" && ours
				if got != want {
					t.Errorf("%s %d (%s, %s): verified %v, want %v", name, c.TcId, g.Comment, c.Comment, got, want)
				}
				if got {
					accepted++
				}
			}
		}
		t.Logf("%s: %d vectors, %d verified", name, n, accepted)
		if n < 26 || accepted == 0 {
			t.Errorf("%s: %d vectors and %d verified are too few to mean anything", name, n, accepted)
		}
	}
}

// Ed25519 as JSON Web Signature: RFC 8037, appendix A.4.
func TestEdDSA(t *testing.T) {
	const key = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	const jws = `"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"`
	if !verifyWith([]byte(key), json.RawMessage(jws)) {
		t.Error("the RFC's signature is refused")
	}
	if verifyWith([]byte(key), json.RawMessage(strings.Replace(jws, "hgyY", "hgyZ", 1))) {
		t.Error("another is not")
	}
}

func FuzzSigned(f *testing.F) {
	f.Add("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7")
	f.Add("e30.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := parseSigned(raw)
		if err != nil {
			return
		}
		// What is read is canonical: no other text means the same.
		if !strings.HasSuffix(raw, b64(s.payload)+"."+b64(s.signature)) || s.text+"."+b64(s.signature) != raw {
			t.Errorf("%q has another form", raw)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"a","aud":["b"],"exp":1e3,"x":{"y":null}}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte(`[[[]]]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseClaims(b)
		if err != nil {
			return
		}
		var std map[string]any
		if err := json.Unmarshal(b, &std); err != nil || len(std) != len(c) {
			t.Errorf("%q: encoding/json reads %v (%v)", b, std, err)
		}
		c.valid("a", "b", time.Unix(0, 0), 0)
		c.path("x.y.z")
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range algorithms {
			if set, err := parseKeySet(b, a); err == nil && len(set) == 0 {
				t.Error("an empty set")
			}
		}
	})
}

func BenchmarkJWT(b *testing.B) {
	s := jwtSetUp(b, nil)
	token := s.one.keys[0].sign(b, s.one.keys[0].header(), s.claims(s.one))
	ok(b, errOf(s.auth(token)))
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.auth(token)
		}
	})
	b.Run("RS256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.verifyJWT(b.Context(), token, s.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func b64Decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }
