package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// What ids begin with.
const (
	userPrefix        = "user:"
	servicePrefix     = "service:"
	oidcPrefix        = "oidc:"
	certificatePrefix = "certificate:"
	localPrefix       = "local:"
)

const (
	// enrolFor is how long a link for a new person works.
	enrolFor = 72 * time.Hour
	// mostWords bounds the roles and groups of an account, and longestWord each
	// of them, in bytes.
	mostWords   = 200
	longestWord = 128
)

// Account is a person, a service account, or a stranger who has signed in
// through an issuer.
type Account struct {
	ID string `json:"id"` // see [redoubt.Principal.ID]
	// Name is what a person signs in with, and is unique among people and
	// services; for strangers it is what their issuer calls them.
	Name string `json:"name"`
	// Roles and Groups of strangers are those of their last login.
	Roles  []string `json:"roles"`
	Groups []string `json:"groups"`
	// Disabled accounts have no sessions, and their tokens are refused.
	Disabled bool `json:"disabled"`
	// SecondFactor says whether the person has one: a passkey or one-time codes.
	SecondFactor bool      `json:"second_factor"`
	Created      time.Time `json:"created"`
	// Vouched is when the issuer of a stranger sent it here last, to the hour;
	// zero for people and services of ours.
	Vouched time.Time `json:"vouched,omitzero"`
}

// administers reports whether the account may do what asks for a second factor
// always.
func (a *Account) administers() bool {
	return slices.Contains(a.Roles, "model_admin") || slices.Contains(a.Roles, "security_admin")
}

func (a *Account) principal() redoubt.Principal {
	return redoubt.Principal{ID: a.ID, Name: a.Name, Roles: a.Roles, Groups: a.Groups}
}

func (a *Account) String() string {
	return fmt.Sprintf("name=%q roles=%q groups=%q disabled=%v", a.Name, a.Roles, a.Groups, a.Disabled)
}

// Accounts lists all accounts, by id.
func (s *Service) Accounts() []Account {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	out := make([]Account, 0, len(s.state.accounts))
	for _, id := range slices.Sorted(maps.Keys(s.state.accounts)) {
		out = append(out, *s.state.accounts[id])
	}
	return out
}

// Account is the account with an id, or of a person or service with a name.
func (s *Service) Account(idOrName string) (Account, error) {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	id := idOrName
	if !strings.Contains(id, ":") {
		id = s.state.logins[fold(id)]
	}
	if a := s.state.accounts[id]; a != nil {
		return *a, nil
	}
	return Account{}, input("there is no account %q", excerpt(idOrName))
}

// CreatePerson makes an account for a person and a secret with which that person
// enrols, once and within three days: whoever makes an account never knows its
// password.
func (s *Service) CreatePerson(ctx context.Context, by redoubt.Principal, name string, roles, groups []string) (a Account, enrolment string, err error) {
	a, err = s.create(ctx, by, userPrefix, name, roles, groups, func(tx *store.Tx, id string) error {
		enrolment, err = s.enrolment(tx, id)
		return err
	})
	return a, enrolment, err
}

// CreateService makes a service account, which has tokens only.
func (s *Service) CreateService(ctx context.Context, by redoubt.Principal, name string, roles, groups []string) (Account, error) {
	return s.create(ctx, by, servicePrefix, name, roles, groups, func(*store.Tx, string) error { return nil })
}

func (s *Service) create(ctx context.Context, by redoubt.Principal, prefix, name string, roles, groups []string, more func(tx *store.Tx, id string) error) (Account, error) {
	login := fold(name)
	if err := errors.Join(checkName(login), checkWords("role", roles), checkWords("group", groups)); err != nil {
		return Account{}, err
	}
	a := Account{ID: newID(prefix), Name: login, Roles: words(roles), Groups: words(groups), Created: s.now().UTC().Truncate(time.Millisecond)}
	e := entry(by, "account.create", a.ID)
	e.After = a.String()
	err := s.change(ctx, e, func(tx *store.Tx, generation int64) error {
		n, err := tx.Exec(`INSERT INTO identity_accounts (id, login, name, roles, teams, disabled, password, second, created, generation)
			VALUES ($1, $2, $3, $4, $5, FALSE, '', FALSE, $6, $7) ON CONFLICT (login) DO NOTHING`,
			a.ID, login, a.Name, list(a.Roles), list(a.Groups), ms(a.Created), generation)
		if err != nil {
			return err
		}
		if n == 0 {
			return input("there is an account %q already", login)
		}
		return more(tx, a.ID)
	})
	return a, err
}

// SetAccount gives an account other roles and groups, or disables or enables it.
// Disabling ends its sessions and revokes its tokens for good.
func (s *Service) SetAccount(ctx context.Context, by redoubt.Principal, id string, roles, groups []string, disabled bool) error {
	old, err := s.Account(id)
	if err != nil {
		return err
	}
	if err := errors.Join(checkWords("role", roles), checkWords("group", groups)); err != nil {
		return err
	}
	a := old
	a.Roles, a.Groups, a.Disabled = words(roles), words(groups), disabled
	if strings.HasPrefix(a.ID, oidcPrefix) && (!slices.Equal(a.Roles, old.Roles) || !slices.Equal(a.Groups, old.Groups)) {
		return input("the roles and groups of %s are its issuer's: change them there", excerpt(a.ID))
	}
	e := entry(by, "account.change", a.ID)
	e.Before, e.After = old.String(), a.String()
	return s.change(ctx, e, func(tx *store.Tx, n int64) error {
		_, err := tx.Exec(`UPDATE identity_accounts SET roles = $2, teams = $3, disabled = $4, generation = $5 WHERE id = $1`,
			a.ID, list(a.Roles), list(a.Groups), disabled, n)
		if err != nil || !disabled {
			return err
		}
		return s.expel(tx, a.ID, n)
	})
}

// RemoveAccount is what is done when somebody leaves: the account is disabled, and
// loses the roles and groups that it was given here. Those that an issuer gives
// are the issuer's to take: here they end with the account.
func (s *Service) RemoveAccount(ctx context.Context, by redoubt.Principal, id string) error {
	a, err := s.Account(id)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(a.ID, oidcPrefix) {
		a.Roles, a.Groups = nil, nil
	}
	return s.SetAccount(ctx, by, a.ID, a.Roles, a.Groups, true)
}

// expel ends what gives access to an account.
func (s *Service) expel(tx *store.Tx, id string, generation int64) error {
	for _, q := range []string{
		`UPDATE identity_sessions SET ended = TRUE, generation = $2 WHERE account = $1 AND NOT ended`,
		`UPDATE identity_tokens SET revoked = TRUE, generation = $2 WHERE account = $1 AND NOT revoked`,
	} {
		if _, err := tx.Exec(q, id, generation); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`DELETE FROM identity_enrolments WHERE account = $1`, id)
	return err
}

// Reenrol takes the password and all factors of a person away and ends the
// sessions, for somebody who lost them, and returns a secret to enrol with anew.
// Make sure who asks: this is how accounts are taken over.
func (s *Service) Reenrol(ctx context.Context, by redoubt.Principal, id string) (enrolment string, err error) {
	a, err := s.Account(id)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(a.ID, userPrefix) {
		return "", input("%s is no person of ours, and has nothing to enrol", excerpt(a.ID))
	}
	err = s.change(ctx, entry(by, "account.reenrol", a.ID), func(tx *store.Tx, n int64) error {
		if err := s.expel(tx, a.ID, n); err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM identity_factors WHERE account = $1`, `DELETE FROM identity_recovery WHERE account = $1`} {
			if _, err := tx.Exec(q, a.ID); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`UPDATE identity_accounts SET password = '', second = FALSE, generation = $2 WHERE id = $1`, a.ID, n); err != nil {
			return err
		}
		enrolment, err = s.enrolment(tx, a.ID)
		return err
	})
	return enrolment, err
}

// enrolment makes the secret that a person enrols with.
func (s *Service) enrolment(tx *store.Tx, id string) (string, error) {
	secret := rand.Text()
	sum := sha256.Sum256([]byte(secret))
	_, err := tx.Exec(`INSERT INTO identity_enrolments VALUES ($1, $2, $3)`, sum[:], id, ms(s.now().Add(enrolFor)))
	return secret, err
}

// live is an account that may be used.
func (s *Service) live(id string) (*Account, error) {
	s.state.mu.RLock()
	a := s.state.accounts[id]
	s.state.mu.RUnlock()
	if a == nil {
		return nil, refuse(Invalid, "there is no account %s", excerpt(id))
	}
	if err := s.usable(a); err != nil {
		return nil, err
	}
	return a, nil
}

// usable refuses an account that is disabled, and a stranger of an issuer that is
// not configured any more.
func (s *Service) usable(a *Account) error {
	if a.Disabled {
		return refuse(Invalid, "%s is disabled", a.ID)
	}
	if strings.HasPrefix(a.ID, oidcPrefix) && s.issuerOf(a.ID) == nil {
		return refuse(Invalid, "%s is of an issuer that is not configured", a.ID)
	}
	return nil
}

// enrolled is the account of an enrolment secret, within a transaction that may
// delete it.
func (s *Service) enrolled(tx *store.Tx, secret string) (id string, err error) {
	sum := sha256.Sum256([]byte(secret))
	var expires int64
	err = tx.QueryRow(`SELECT account, expires FROM identity_enrolments WHERE digest = $1`, sum[:]).Scan(&id, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", refuse(Invalid, "no such enrolment")
	case err == nil && !s.now().Before(at(expires)):
		return "", refuse(Expired, "an enrolment of %s", id)
	}
	return id, err
}

// newID is an id that was never given: 80 random bits.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:16]) }

// fold is how names are compared: compatibility forms (Unicode NFKC) of lower
// case.
func fold(name string) string { return strings.ToLower(norm.NFKC.String(strings.TrimSpace(name))) }

// checkName keeps names apart from ids, and to what reads as it is.
func checkName(name string) error {
	if name == "" || len(name) > 128 {
		return input("a name has 1 to 128 bytes")
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+@", r) {
			return input("a name has letters, digits and ._-+@, not %q", r)
		}
	}
	return nil
}

func checkWords(what string, words []string) error {
	if len(words) > mostWords {
		return input("%d %ss, more than %d", len(words), what, mostWords)
	}
	for _, w := range words {
		if w == "" || len(w) > longestWord || strings.ContainsFunc(w, unicode.IsControl) {
			return input("a %s is a word of 1 to %d bytes, not %q", what, longestWord, excerpt(w))
		}
	}
	return nil
}

// words is a sorted list without repetitions, and never nil.
func words(w []string) []string {
	w = append([]string{}, w...)
	slices.Sort(w)
	return slices.Compact(w)
}

// excerpt is the beginning of what somebody sent, for a message.
func excerpt(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
