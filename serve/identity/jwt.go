package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
)

const (
	// jwtRemembered is for how long a verified token is not verified again, and
	// mostJWTs how many are remembered.
	jwtRemembered = time.Minute
	mostJWTs      = 10_000
)

// jwtCache remembers verified tokens by their hash. What it says holds until
// an account changes or the issuer publishes other keys.
type jwtCache struct {
	mu      sync.Mutex
	entries map[digest]verifiedJWT
}

type verifiedJWT struct {
	principal redoubt.Principal
	until     time.Time
	revision  int64
	source    *source   // nil for our own
	provider  *provider // whose key verified it
}

func (c *jwtCache) find(sum digest, now time.Time, revision int64) (redoubt.Principal, bool) {
	c.mu.Lock()
	v, ok := c.entries[sum]
	c.mu.Unlock()
	if !ok || v.revision != revision || !now.Before(v.until) {
		return redoubt.Principal{}, false
	}
	if v.source != nil {
		v.source.mu.Lock()
		defer v.source.mu.Unlock()
		if v.source.current() != v.provider {
			return redoubt.Principal{}, false // a key may have been withdrawn
		}
	}
	return v.principal, true
}

func (c *jwtCache) keep(sum digest, v verifiedJWT) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= mostJWTs {
		c.entries = make(map[digest]verifiedJWT)
	}
	c.entries[sum] = v
}

// byJWT verifies a JSON Web Token of an issuer, or of our own.
func (s *Service) byJWT(ctx context.Context, raw string) (redoubt.Principal, error) {
	if len(raw) > longestJWT {
		return redoubt.Principal{}, refuse(Invalid, "a token of %d bytes, more than %d", len(raw), longestJWT)
	}
	sum, now := sha256.Sum256([]byte(raw)), s.now()
	s.state.mu.RLock()
	revision := s.state.revision
	s.state.mu.RUnlock()
	if p, ok := s.jwts.find(sum, now, revision); ok {
		return p, nil
	}
	v, err := s.verifyJWT(ctx, raw, now)
	if err != nil {
		var e *Error
		if errors.Is(err, errExpired) {
			return redoubt.Principal{}, refuse(Expired, "a JSON Web Token")
		}
		if !errors.As(err, &e) {
			err = refuse(Invalid, "a JSON Web Token: %w", err)
		}
		return redoubt.Principal{}, err
	}
	v.revision = revision
	s.jwts.keep(sum, v)
	return v.principal, nil
}

func (s *Service) verifyJWT(ctx context.Context, raw string, now time.Time) (v verifiedJWT, err error) {
	t, err := parseSigned(raw)
	if err != nil {
		return v, err
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		return v, err
	}
	if t.alg == "HS256" {
		v.principal, err = s.verifyOwn(t, c, now)
	} else {
		v, err = s.verifyIssued(ctx, t, c, now)
	}
	if err != nil {
		return v, err
	}
	exp, _, err := c.time("exp")
	v.until = now.Add(jwtRemembered)
	if exp.Before(v.until) {
		v.until = exp
	}
	v.principal.Method = "jwt"
	if v.principal.Credential = excerpt(c.text("jti")); v.principal.Credential == "" {
		v.principal.Credential = "jwt"
	}
	return v, err
}

// verifyIssued verifies an access token of an issuer that the token names, and
// that is then held to it.
func (s *Service) verifyIssued(ctx context.Context, t *signed, c claims, now time.Time) (v verifiedJWT, err error) {
	for _, i := range s.issuers {
		if i.Audience == "" || i.URL != c.text("iss") {
			continue
		}
		v.source = i.source
		if v.provider, err = i.verify(ctx, t); err != nil {
			return v, err
		}
		if err := c.valid(i.URL, i.Audience, now, i.Leeway); err != nil {
			return v, err
		}
		if err := i.accessToken(t, c); err != nil {
			return v, err
		}
		if v.principal, err = i.principal(c); err != nil {
			return v, err
		}
		return v, s.welcome(v.principal.ID)
	}
	return v, errors.New("it is from no issuer that is trusted")
}

// welcome refuses a stranger whose account here was disabled; one without an
// account is welcome.
func (s *Service) welcome(id string) error {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	if a := s.state.accounts[id]; a != nil && a.Disabled {
		return refuse(Invalid, "%s is disabled", excerpt(id))
	}
	return nil
}
