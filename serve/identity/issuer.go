package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// Issuer is somebody whose word about people and programs is trusted: an
// identity provider that speaks OpenID Connect. URL is required, and Audience or
// ClientID or both.
type Issuer struct {
	// URL is the issuer's name, to the letter as its tokens have it.
	URL string
	// Name is what the login page calls it.
	Name string
	// Algorithm is how it signs: RS256 if empty, ES256 or EdDSA. One issuer has
	// one.
	Algorithm string
	// Audience is what its access tokens for us say under aud. Without it they
	// are refused.
	Audience string
	// Types are the values of the header typ with which its tokens are taken for
	// access tokens: "at+jwt" (RFC 9068) if nil. Some issuers give "JWT" to
	// whatever they sign, and an empty one is "".
	Types []string
	// ClientID and ClientSecret are what it knows us by for single sign-on, and
	// Scopes what is asked of it, besides openid: profile if nil.
	ClientID, ClientSecret string
	Scopes                 []string
	// RolesClaim and GroupsClaim are where its tokens say what somebody is, with
	// dots between names that lie in each other, such as realm_access.roles.
	RolesClaim, GroupsClaim string
	// Roles says which of our roles its words give, those of either claim. What
	// is not listed gives none.
	Roles map[string][]string
	// SecondFactor are the values of amr or acr with which it says that a second
	// factor was shown: "mfa" if nil.
	SecondFactor []string
	// SecondFactorAlways says that it demands a second factor of all who sign in, for
	// issuers whose tokens do not tell (Dex, Google). It holds for sign-ins alone:
	// access tokens are given to programs too, with nobody there.
	SecondFactorAlways bool
	// Leeway is by how much its clock may differ: 30 seconds if zero, at most two
	// minutes.
	Leeway time.Duration
	// SignInEvery is for how long after they signed in last the API tokens of its
	// people work, and with the roles that they had then: 30 days if zero.
	SignInEvery time.Duration
	// KeysURL is where its keys are, for issuers without discovery.
	KeysURL string
	// KeysMaxAge is for how long its keys are believed while it cannot be
	// reached: a day if zero.
	KeysMaxAge time.Duration
	// TLS is for issuers with an authority of their own.
	TLS *tls.Config
}

// signInEvery is how often people sign in unless it is configured.
const signInEvery = 30 * 24 * time.Hour

// issuer is an Issuer at work.
type issuer struct {
	Issuer
	*source
}

// issuerOf is whose word a stranger is known by; nil for other accounts, and where
// that issuer is not configured.
func (s *Service) issuerOf(id string) *issuer {
	url, stranger := strings.CutPrefix(id, oidcPrefix)
	if !stranger {
		return nil
	}
	url, _, _ = strings.Cut(url, "#") // which no issuer has in its name
	for _, i := range s.issuers {
		if i.URL == url {
			return i
		}
	}
	return nil
}

func newIssuers(cfg Config) ([]*issuer, error) {
	var out []*issuer
	for _, i := range cfg.Issuers {
		if slices.ContainsFunc(out, func(o *issuer) bool { return o.URL == i.URL }) {
			return out, fmt.Errorf("issuer %s stands twice", i.URL)
		}
		n, err := newIssuer(i, cfg)
		if err != nil {
			return out, fmt.Errorf("issuer %q: %w", i.URL, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func newIssuer(i Issuer, cfg Config) (*issuer, error) {
	if i.Algorithm == "" {
		i.Algorithm = "RS256"
	}
	if i.Types == nil {
		i.Types = []string{"at+jwt"}
	}
	if i.SecondFactor == nil {
		i.SecondFactor = []string{"mfa"}
	}
	if i.Scopes == nil {
		i.Scopes = []string{"profile"}
	}
	if i.SignInEvery == 0 {
		i.SignInEvery = signInEvery
	}
	if i.Leeway == 0 {
		i.Leeway = 30 * time.Second
	}
	if i.KeysMaxAge == 0 {
		i.KeysMaxAge = keysOld
	}
	if i.Name == "" {
		i.Name = i.URL
	}
	n := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == i.Algorithm })
	switch {
	case n < 0:
		return nil, fmt.Errorf("it signs with %s, which is not let in: RS256, ES256 and EdDSA are", i.Algorithm)
	case i.Audience == "" && i.ClientID == "":
		return nil, errors.New("neither an audience nor a client id: nothing of it would be let in")
	case i.Audience == i.ClientID:
		return nil, errors.New("its access tokens are for the client id, as its ID tokens are: have it issue them for an audience of their own")
	case i.Leeway < 0 || i.Leeway > 2*time.Minute:
		return nil, fmt.Errorf("a leeway of %v is not within two minutes", i.Leeway)
	case i.SignInEvery < 0:
		return nil, fmt.Errorf("its people cannot sign in every %v", i.SignInEvery)
	case len(i.URL) > 250 || strings.Contains(i.URL, "#"):
		return nil, errors.New("its name is too long, or has a #")
	case i.ClientID != "" && (cfg.Origin == "" || i.KeysURL != ""):
		return nil, errors.New("single sign-on needs the origin of our pages, and an issuer that can be discovered")
	}
	if err := confidential(i.URL); err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if i.TLS != nil {
		t.TLSClientConfig = i.TLS.Clone()
	}
	t.MaxResponseHeaderBytes = 64 << 10
	ctx, stop := context.WithCancel(context.Background())
	return &issuer{i, &source{
		issuer: i.URL, alg: algorithms[n], keysAt: i.KeysURL, maxAge: i.KeysMaxAge, now: cfg.Now, ctx: ctx, stop: stop,
		client: &http.Client{Transport: bounded{t}, Timeout: fetchTimeout,
			// Keys come from the issuer, and from nobody it points to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}, nil
}

// verify checks a signature with the issuer's key, and returns what it was
// published with.
func (i *issuer) verify(ctx context.Context, t *signed) (*provider, error) {
	if t.alg != i.alg.name {
		return nil, refuse(Invalid, "a token of %s signed with %q, not with %s", i.URL, excerpt(t.alg), i.alg.name)
	}
	key, p, err := i.key(ctx, t.kid)
	if err != nil {
		return nil, err
	}
	if err := i.alg.method.Verify(t.text, t.signature, key); err != nil {
		return nil, refuse(Invalid, "a token that is not signed by %s: %w", i.URL, err)
	}
	return p, nil
}

// accessToken refuses the other tokens that issuers sign: those about a login
// (OpenID Connect Core 1.0, section 2) and a logout (Back-Channel Logout 1.0,
// section 2.4), and those of Keycloak that say so themselves.
func (i *issuer) accessToken(t *signed, c claims) error {
	typ := strings.ToLower(strings.TrimPrefix(strings.ToLower(t.typ), "application/"))
	if !slices.ContainsFunc(i.Types, func(ok string) bool { return strings.EqualFold(ok, typ) }) {
		return fmt.Errorf("its type is %q, not among %q", excerpt(t.typ), i.Types)
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "events"} {
		if _, ok := c[name]; ok {
			return fmt.Errorf("it has %q: it is no access token", name)
		}
	}
	if kind := c.text("typ") + c.text("token_use"); kind != "" && kind != "Bearer" && kind != "access" {
		return fmt.Errorf("it says that it is of the kind %q", excerpt(kind))
	}
	return nil
}

// principal is whom a token is about. E-mail addresses and names are for people
// to read: they are given to others.
func (i *issuer) principal(c claims) (redoubt.Principal, error) {
	p := redoubt.Principal{ID: oidcPrefix + i.URL + "#" + c.text("sub"), Method: "oidc"}
	for _, name := range []string{"preferred_username", "name", "email", "sub"} {
		if p.Name = excerpt(c.text(name)); p.Name != "" {
			break
		}
	}
	for _, name := range []string{i.RolesClaim, i.GroupsClaim} {
		if c.elsewhere(name) { // a policy may forbid what a group may not
			return p, fmt.Errorf("it leaves out %q, for there are too many: have the issuer send those that are assigned to this application", name)
		}
	}
	theirs, err := c.path(i.RolesClaim)
	if err != nil {
		return p, err
	}
	groups, err := c.path(i.GroupsClaim)
	if err != nil {
		return p, err
	}
	p.Roles, p.Groups = []string{}, words(groups)
	for _, word := range slices.Concat(theirs, groups) {
		p.Roles = append(p.Roles, i.Roles[word]...)
	}
	p.Roles = words(p.Roles)
	if err := errors.Join(checkWords("role", p.Roles), checkWords("group", p.Groups)); err != nil {
		return p, err
	}
	p.Verified, err = i.verified(c)
	return p, err
}

// elsewhere reports whether a token says that a claim has to be fetched somewhere
// else (OpenID Connect Core 1.0, section 5.6.2), as Entra ID does when somebody is
// in many groups.
func (c claims) elsewhere(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	names, _ := c["_claim_names"].(claims)
	_, named := names[path]
	_, begun := names[first]
	return path != "" && (named || begun || path == "groups" && c["hasgroups"] != nil)
}

// longAgo is for how long ago a second factor counts as shown of which an issuer
// does not say when: it lets its owner in, and is never fresh.
const longAgo = 365 * 24 * time.Hour

// verified is when a second factor was shown, if the issuer says so. When the token
// was issued tells nothing: people are signed in there for days.
func (i *issuer) verified(c claims) (time.Time, error) {
	amr, err := c.texts("amr")
	if err != nil {
		return time.Time{}, err
	}
	if !slices.ContainsFunc(append(amr, c.text("acr")), func(v string) bool { return v != "" && slices.Contains(i.SecondFactor, v) }) {
		return time.Time{}, nil
	}
	return shown(c)
}

// shown is when the factors were shown that a token is about.
func shown(c claims) (time.Time, error) {
	t, ok, err := c.time("auth_time")
	if err == nil && (!ok || t.Unix() <= 0) { // as Glewlwyd has it
		t, _, err = c.time("iat")
		t = t.Add(-longAgo)
	}
	return t, err
}

// path is the list under a name, or under names within each other. A name that
// has dots itself is found as it is.
func (c claims) path(name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	if _, ok := c[name]; ok {
		return c.texts(name)
	}
	first, rest, nested := strings.Cut(name, ".")
	inner, ok := c[first].(claims)
	if !nested || !ok {
		return nil, nil
	}
	return inner.path(rest)
}
