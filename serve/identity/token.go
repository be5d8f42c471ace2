package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

const (
	// A token is tokenPrefix, tokenRandom letters and digits (178 bits), and
	// tokenSum more that are a checksum of the rest: scanners for secrets that
	// leaked into code can tell it from chance without asking us.
	tokenPrefix = "rdt_"
	tokenRandom = 30
	tokenSum    = 6
	tokenLength = len(tokenPrefix) + tokenRandom + tokenSum

	letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	// tokenLife is how long a token lives unless it says otherwise, and
	// longestLife how long it may.
	tokenLife   = 90 * 24 * time.Hour
	longestLife = 366 * 24 * time.Hour
	mostScopes  = 100
)

// Token is an API token of an account, without its secret.
type Token struct {
	ID      string `json:"id"` // [redoubt.Principal.Credential] of what it does
	Account string `json:"account"`
	Name    string `json:"name"` // what it is for
	// Scopes bound what it may be used for; see [redoubt.Principal.Scopes]. Nil
	// bounds nothing, an empty list allows nothing.
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Used is when it was used last, to the minute; zero if never.
	Used time.Time `json:"used,omitzero"`
}

// CreateToken makes a token for an account and returns its secret, which is not
// kept and cannot be shown again. Account and Name are required; without Expires
// it lives for 90 days, and it never lives longer than a year. Whoever holds a
// token with scopes cannot make one that does more.
func (s *Service) CreateToken(ctx context.Context, by redoubt.Principal, t Token) (Token, string, error) {
	a, err := s.Account(t.Account)
	if err != nil {
		return t, "", err
	}
	if a.Disabled {
		return t, "", input("the account is disabled")
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	if t.Expires.IsZero() {
		t.Expires = now.Add(tokenLife)
	}
	t.ID, t.Account, t.Created, t.Used = newID("token:"), a.ID, now, time.Time{}
	if err := t.check(now, by.Scopes); err != nil {
		return t, "", err
	}
	secret := newSecret()
	sum := sha256.Sum256([]byte(secret))
	e := entry(by, "token.create", t.ID)
	e.Details = map[string]string{"account": t.Account, "scopes": list(t.Scopes), "expires": t.Expires.Format(time.RFC3339)}
	err = s.change(ctx, e, func(tx *store.Tx, n int64) error {
		_, err := tx.Exec(`INSERT INTO identity_tokens VALUES ($1, $2, $3, $4, $5, $6, $7, 0, FALSE, $8)`,
			t.ID, t.Account, t.Name, sum[:], list(t.Scopes), ms(t.Created), ms(t.Expires), n)
		return err
	})
	if err != nil {
		return t, "", err
	}
	return t, secret, nil
}

func (t *Token) check(now time.Time, within []string) error {
	if err := checkWords("name", []string{t.Name}); err != nil {
		return err
	}
	if !t.Expires.After(now) || t.Expires.Sub(now) > longestLife {
		return input("a token expires within a year from now, not at %s", t.Expires.Format(time.RFC3339))
	}
	if len(t.Scopes) > mostScopes {
		return input("%d scopes, more than %d", len(t.Scopes), mostScopes)
	}
	for _, scope := range t.Scopes {
		if err := checkScope(scope); err != nil {
			return err
		}
	}
	return narrower(t.Scopes, within)
}

// checkScope reads model:NAME:ACTION.
func checkScope(scope string) error {
	part := strings.Split(scope, ":")
	if len(part) != 3 || part[0] != "model" || part[1] == "" || part[2] == "" || len(scope) > 2*longestWord || strings.ContainsAny(scope, " \t\r\n") {
		return input("a scope is of the form model:NAME:ACTION, where NAME and ACTION may be *, not %q", excerpt(scope))
	}
	return nil
}

// narrower reports scopes that allow more than others, which are nil where
// nothing is bounded.
func narrower(scopes, within []string) error {
	if within == nil {
		return nil
	}
	if scopes == nil {
		return input("a token without scopes would do more than the credential that makes it")
	}
	for _, scope := range scopes {
		if !slices.ContainsFunc(within, func(w string) bool { return covers(w, scope) }) {
			return input("the scope %q is more than the credential that gives it has", excerpt(scope))
		}
	}
	return nil
}

// covers reports whether one scope allows all that another does.
func covers(wide, scope string) bool {
	w, n := strings.Split(wide, ":"), strings.Split(scope, ":")
	return len(w) == 3 && len(n) == 3 && (w[1] == "*" || w[1] == n[1]) && (w[2] == "*" || w[2] == n[2])
}

// RevokeToken ends a token at once on this node, and within two seconds on
// others.
func (s *Service) RevokeToken(ctx context.Context, by redoubt.Principal, id string) error {
	return s.change(ctx, entry(by, "token.revoke", id), func(tx *store.Tx, n int64) error {
		changed, err := tx.Exec(`UPDATE identity_tokens SET revoked = TRUE, generation = $2 WHERE id = $1 AND NOT revoked`, id, n)
		if err == nil && changed == 0 {
			return input("there is no token %q", excerpt(id))
		}
		return err
	})
}

// Tokens lists the tokens of an account that were not revoked, or those of all
// accounts for "", the oldest first.
func (s *Service) Tokens(account string) []Token {
	s.state.mu.RLock()
	tokens := slices.Collect(maps.Values(s.state.tokenIDs))
	s.state.mu.RUnlock()
	out := []Token{}
	for _, t := range tokens {
		if account == "" || t.Account == account {
			shown := t.Token
			shown.Used = at(t.used.Load()).Truncate(time.Minute)
			out = append(out, shown)
		}
	}
	slices.SortFunc(out, func(a, b Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// byToken costs a hash and two looks into maps.
func (s *Service) byToken(secret string) (redoubt.Principal, error) {
	if len(secret) != tokenLength {
		return redoubt.Principal{}, refuse(Invalid, "a token of %d characters", len(secret))
	}
	var buf [tokenLength]byte
	copy(buf[:], secret)
	// A comparison in constant time has no place here: who can make guesses
	// whose hash begins like another's has found 178 bits already.
	sum := sha256.Sum256(buf[:])
	s.state.mu.RLock()
	t := s.state.tokens[sum]
	var a *Account
	if t != nil {
		a = s.state.accounts[t.Account]
	}
	s.state.mu.RUnlock()
	if a == nil {
		return redoubt.Principal{}, refuse(Invalid, "no such token")
	}
	now := s.now()
	if err := s.usable(a); err != nil {
		return redoubt.Principal{}, err
	}
	if !now.Before(t.Expires) {
		return redoubt.Principal{}, refuse(Expired, "%s of %s", t.ID, a.ID)
	}
	// The one who left the company signs in nowhere any more, and nobody tells us.
	if i := s.issuerOf(a.ID); i != nil && now.Sub(a.Vouched) >= i.SignInEvery {
		return redoubt.Principal{}, refuse(Expired, "%s of %s, who signed in last on %s", t.ID, a.ID, a.Vouched.UTC().Format(time.DateOnly))
	}
	if ms := now.UnixMilli(); ms-t.used.Load() >= tendEvery.Milliseconds() {
		t.used.Store(ms)
		t.dirty.Store(true)
	}
	p := a.principal()
	p.Method, p.Credential, p.Scopes = "token", t.ID, t.Scopes
	return p, nil
}

// newSecret makes a token.
func newSecret() string {
	b := []byte(tokenPrefix)
	for random := make([]byte, 64); len(b) < len(tokenPrefix)+tokenRandom; {
		rand.Read(random) // never fails: crypto/rand
		for _, r := range random {
			// 248 is the largest multiple of 62 in a byte: above it, some letters
			// would come more often.
			if r < 248 && len(b) < len(tokenPrefix)+tokenRandom {
				b = append(b, letters[r%62])
			}
		}
	}
	return string(appendSum(b))
}

// appendSum appends the CRC-32 of a token's beginning, in base 62.
func appendSum(b []byte) []byte {
	var sum [tokenSum]byte
	for i, n := tokenSum-1, crc32.ChecksumIEEE(b); i >= 0; i, n = i-1, n/62 {
		sum[i] = letters[n%62]
	}
	return append(b, sum[:]...)
}

// LooksLikeToken reports whether s has the form and the checksum of an API token:
// what a scanner for leaked secrets asks. It says nothing of whether it works.
func LooksLikeToken(s string) bool {
	if len(s) != tokenLength || !strings.HasPrefix(s, tokenPrefix) {
		return false
	}
	return string(appendSum([]byte(s[:tokenLength-tokenSum]))) == s
}
