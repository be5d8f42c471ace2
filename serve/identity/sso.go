package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// CallbackPath is where issuers send people back to: register Config.Origin with
// this path at each.
const CallbackPath = "/auth/callback"

// visit is a visit to an issuer.
type visit struct {
	Issuer, State, Nonce, Verifier, Return string
	// Again is when somebody who is signed in was sent to show his factors again,
	// in seconds; 0 for a login.
	Again int64
}

// SignOns lists the issuers with single sign-on, by URL and name.
func (s *Service) SignOns() [][2]string {
	var out [][2]string
	for _, i := range s.issuers {
		if i.ClientID != "" {
			out = append(out, [2]string{i.URL, i.Name})
		}
	}
	return out
}

func (s *Service) signOn(issuerURL string) (*issuer, error) {
	for _, i := range s.issuers {
		if i.URL == issuerURL && i.ClientID != "" {
			return i, nil
		}
	}
	return nil, input("there is no single sign-on through %q", excerpt(issuerURL))
}

// BeginSignOn says where to send a browser for single sign-on, and gives a flow
// to keep in a cookie until it comes back. Where it is to go then is ret, a path
// of these pages. With again, the issuer is to ask for its factors although it
// knows the person: a step up.
func (s *Service) BeginSignOn(ctx context.Context, issuerURL, ret string, again bool) (address, flow string, err error) {
	i, err := s.signOn(issuerURL)
	if err != nil {
		return "", "", err
	}
	p, err := i.provider(ctx, func(*provider) bool { return true })
	if err != nil {
		return "", "", err
	}
	v := visit{Issuer: i.URL, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: LocalPath(ret)}
	opts := []oauth2.AuthCodeOption{oidc.Nonce(v.Nonce), oauth2.S256ChallengeOption(v.Verifier)}
	if again {
		v.Again = s.now().Unix()
		// Some refuse 0, which would say the same.
		opts = append(opts, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "1"))
	} else {
		// Whoever is asked how old a login may be says when it was (section 2).
		opts = append(opts, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(s.cfg.Absolute/time.Second), 10)))
	}
	if flow, err = s.sealFlow("visit", "", v); err != nil {
		return "", "", unavailable(err)
	}
	address = s.oauth(i, p).AuthCodeURL(v.State, opts...)
	return address, flow, nil
}

func (s *Service) oauth(i *issuer, p *provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: i.ClientID, ClientSecret: i.ClientSecret, Endpoint: p.oidc.Endpoint(),
		RedirectURL: s.cfg.Origin + CallbackPath, Scopes: append([]string{oidc.ScopeOpenID}, i.Scopes...),
	}
}

// LocalPath is a path of these pages, or "/" for whatever would lead elsewhere.
func LocalPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t\x00") {
		return "/"
	}
	return path
}

// FinishSignOn ends what BeginSignOn began with what the issuer sent back in the
// query, and returns a cookie, and the path to go to.
func (s *Service) FinishSignOn(ctx context.Context, flow string, query url.Values, c Client) (cookie, ret string, err error) {
	var v visit
	f, err := s.openFlow("visit", flow, &v)
	if err != nil {
		return "", "", err
	}
	p, err := s.identify(ctx, &v, query)
	if err != nil {
		return "", "", s.refused(ctx, unavailable(err), "", "oidc", c)
	}
	if err := s.meet(ctx, p, f, c); err != nil {
		return "", "", err
	}
	cookie, err = s.begin(ctx, p.ID, "oidc", p.Verified, c)
	return cookie, v.Return, err
}

// identify exchanges the code of a visit for an ID token, and says whom it is
// about.
func (s *Service) identify(ctx context.Context, v *visit, query url.Values) (none redoubt.Principal, err error) {
	i, err := s.signOn(v.Issuer)
	if err != nil {
		return none, err
	}
	provider, err := i.provider(ctx, func(*provider) bool { return true })
	if err != nil {
		return none, err
	}
	if err := checkResponse(v, provider, query); err != nil {
		return none, refuse(Invalid, "single sign-on through %s: %w", i.URL, err)
	}
	ctx = oidc.ClientContext(ctx, i.client)
	tokens, err := s.oauth(i, provider).Exchange(ctx, query.Get("code"), oauth2.VerifierOption(v.Verifier))
	if err != nil {
		var said *oauth2.RetrieveError
		if errors.As(err, &said) && said.ErrorCode != "" {
			return none, refuse(Invalid, "%s refuses the code: %s", i.URL, excerpt(said.ErrorCode))
		}
		return none, refuse(Unavailable, "exchange a code at %s: %s", i.URL, excerpt(err.Error()))
	}
	raw, _ := tokens.Extra("id_token").(string)
	return i.idToken(ctx, raw, tokens.AccessToken, v, s)
}

// checkResponse checks what came back before anything is done with it: that this
// browser began the visit (state), and that the answer is of the issuer that was
// visited (RFC 9207).
func checkResponse(v *visit, p *provider, query url.Values) error {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return errors.New("a parameter stands twice in the answer")
		}
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(v.State)) != 1 {
		return errors.New("the answer is not for this visit")
	}
	if query.Has("iss") || p.metadata.ResponseIssuer {
		if query.Get("iss") != v.Issuer {
			return errors.New("the answer is of another issuer")
		}
	}
	if e := query.Get("error"); e != "" {
		return errors.New("it answers " + excerpt(e))
	}
	if query.Get("code") == "" {
		return errors.New("it answers without a code")
	}
	return nil
}

// idToken verifies an ID token (OpenID Connect Core 1.0, section 3.1.3.7).
func (i *issuer) idToken(ctx context.Context, raw, access string, v *visit, s *Service) (none redoubt.Principal, err error) {
	t, err := parseSigned(raw)
	if err != nil {
		return none, refuse(Invalid, "an ID token: %w", err)
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return none, refuse(Invalid, "an ID token: %w", err)
	}
	if _, err := i.verify(ctx, t); err != nil {
		return none, err
	}
	if err := i.checkID(c, t, access, v, s.now()); err != nil {
		return none, refuse(Invalid, "an ID token: %w", err)
	}
	p, err := i.principal(c)
	if err == nil && p.Verified.IsZero() && i.SecondFactorAlways {
		p.Verified, err = shown(c)
	}
	if err != nil {
		return none, refuse(Invalid, "an ID token: %w", err)
	}
	return p, nil
}

func (i *issuer) checkID(c claims, t *signed, access string, v *visit, now time.Time) error {
	if err := c.valid(i.URL, i.ClientID, now, i.Leeway); err != nil {
		return err
	}
	if _, ok := c["iat"]; !ok {
		return errors.New("it does not say when it was issued")
	}
	if to, _ := c.texts("aud"); len(to) > 1 && c.text("azp") == "" || c["azp"] != nil && c.text("azp") != i.ClientID {
		return errors.New("it was given to another client")
	}
	if subtle.ConstantTimeCompare([]byte(c.text("nonce")), []byte(v.Nonce)) != 1 {
		return errors.New("it is not of this visit")
	}
	if typ := strings.ToLower(t.typ); typ != "" && typ != "jwt" || c["events"] != nil {
		return errors.New("it is of another type")
	}
	if hash := c.text("at_hash"); hash != "" && hash != i.alg.halfHash(access) {
		return errors.New("it is about another access token")
	}
	if v.Again != 0 {
		if at, ok, err := c.time("auth_time"); err != nil || !ok || at.Add(i.Leeway).Before(time.Unix(v.Again, 0)) {
			return errors.New("it does not say that factors were shown again: have the issuer send auth_time")
		}
	}
	return nil
}

// halfHash is the left half of a hash of the algorithm's size, which binds an
// access token to an ID token (section 3.1.3.6).
func (a algorithm) halfHash(token string) string {
	if a.name == "EdDSA" { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// vouchedEvery is how exactly it is known at least when a stranger signed in last:
// what changes an account makes all nodes read it again.
const vouchedEvery = time.Hour

// meet writes down who came, and when: strangers get an account, so that they can
// be disabled, and those who came before the roles that they have now.
func (s *Service) meet(ctx context.Context, p redoubt.Principal, f *flow, c Client) error {
	if err := s.welcome(p.ID); err != nil {
		return s.refused(ctx, err, p.ID, "oidc", c)
	}
	s.state.mu.RLock()
	old := s.state.accounts[p.ID]
	s.state.mu.RUnlock()
	now := s.now()
	same := old != nil && old.Name == p.Name && slices.Equal(old.Roles, p.Roles) && slices.Equal(old.Groups, p.Groups)
	if same && now.Sub(old.Vouched) < min(vouchedEvery, s.issuerOf(p.ID).SignInEvery/24) {
		return unavailable(s.db.Update(ctx, f.spend))
	}
	a := Account{ID: p.ID, Name: p.Name, Roles: p.Roles, Groups: p.Groups, Created: now, Vouched: now}
	e := entry(p, "account.meet", p.ID)
	e.From, e.After = from(c), a.String()
	if old != nil {
		e.Before = old.String()
	}
	return s.change(ctx, e, func(tx *store.Tx, n int64) error {
		if err := f.spend(tx); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO identity_accounts (id, login, name, roles, teams, disabled, password, second, created, vouched, generation)
			VALUES ($1, NULL, $2, $3, $4, FALSE, '', FALSE, $5, $5, $6)
			ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, roles = EXCLUDED.roles, teams = EXCLUDED.teams, vouched = EXCLUDED.vouched, generation = EXCLUDED.generation`,
			a.ID, a.Name, list(a.Roles), list(a.Groups), ms(now), n)
		return err
	})
}
