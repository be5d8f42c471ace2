package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redoubt-ml/redoubt"
)

const (
	// issuedLife is how long a token that we issue lives.
	issuedLife     = time.Hour
	issuedAudience = "redoubt"
)

// issuedBy is the name in the tokens that we issue.
func (s *Service) issuedBy() string {
	if s.cfg.Origin == "" {
		return "redoubt"
	}
	return s.cfg.Origin
}

// IssueJWT gives an account (by id or name) a token for one model that lives for an
// hour: it allows the action level ("invoke", "read", ..., or "*") as one of the
// account's own roles. Whoever asks with a credential that has scopes gives no more
// than these. Services behind the gateway that know Config.JWTKey can verify it
// themselves. An hour is also how long they take it after it was revoked: here,
// it ends with the account and with the role.
func (s *Service) IssueJWT(ctx context.Context, by redoubt.Principal, account, model, level, role string) (token string, expires time.Time, err error) {
	scope := "model:" + model + ":" + level
	a, err := s.Account(account)
	switch {
	case len(s.cfg.JWTKey) == 0:
		return "", expires, input("tokens are not issued here: configure identity.jwt_key, to sign them with")
	case err != nil:
		return "", expires, err
	case a.Disabled || !isUser(a.ID) && !strings.HasPrefix(a.ID, servicePrefix):
		return "", expires, input("%s is disabled, or its issuer's", excerpt(a.ID))
	case !slices.Contains(a.Roles, role):
		return "", expires, input("%s does not have the role %q of its own", a.ID, excerpt(role))
	}
	if err := errors.Join(checkScope(scope), narrower([]string{scope}, by.Scopes)); err != nil {
		return "", expires, err
	}
	now := s.now()
	expires = now.Add(issuedLife)
	id := newID("jwt:")
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": s.issuedBy(), "aud": issuedAudience, "sub": a.ID, "jti": id,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(),
		"model_name": model, "access_level": level, "role": role,
	})
	t.Header["typ"] = "at+jwt"
	if token, err = t.SignedString(s.cfg.JWTKey); err != nil {
		return "", expires, unavailable(err)
	}
	e := entry(by, "token.issue", id)
	e.Details = map[string]string{"account": a.ID, "scope": scope, "role": role, "expires": expires.UTC().Format(time.RFC3339)}
	if err := s.record(ctx, e); err != nil {
		return "", expires, err
	}
	return token, expires, nil
}

// verifyOwn verifies a token of IssueJWT. Only these are signed with a shared
// key, and no issuer's key is ever tried as one.
func (s *Service) verifyOwn(t *signed, c claims, now time.Time) (p redoubt.Principal, err error) {
	if len(s.cfg.JWTKey) == 0 || t.alg != "HS256" || !strings.EqualFold(t.typ, "at+jwt") {
		return p, errors.New("it is none of ours")
	}
	if err := jwt.SigningMethodHS256.Verify(t.text, t.signature, s.cfg.JWTKey); err != nil {
		return p, err
	}
	if err := c.valid(s.issuedBy(), issuedAudience, now, 0); err != nil {
		return p, err
	}
	a, err := s.live(c.text("sub"))
	if err != nil {
		return p, err
	}
	role, scope := c.text("role"), "model:"+c.text("model_name")+":"+c.text("access_level")
	if !slices.Contains(a.Roles, role) {
		return p, errors.New("the account no longer has the role")
	}
	if err := checkScope(scope); err != nil {
		return p, err
	}
	p = a.principal()
	p.Roles, p.Scopes = []string{role}, []string{scope}
	return p, nil
}
