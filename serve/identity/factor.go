package identity

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

const (
	// mostFactors is how many an account may have.
	mostFactors = 10
	// freshFor is how recently a second factor must have been shown by who
	// changes factors.
	freshFor = 10 * time.Minute
)

// Factor is something a person signs in with besides a password.
type Factor struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // "totp" or "passkey"
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"`
}

// factor is a Factor with what checks it.
type factor struct {
	Factor
	data []byte // sealed
}

func readFactors(tx *store.Tx, account, kind string) (out []factor, err error) {
	return out, each(tx, func(rows *sql.Rows) error {
		var f factor
		var created, used int64
		if err := rows.Scan(&f.ID, &f.Kind, &f.Name, &f.data, &created, &used); err != nil {
			return err
		}
		f.Created, f.Used = at(created), at(used)
		out = append(out, f)
		return nil
	}, `SELECT id, kind, name, data, created, used FROM identity_factors WHERE account = $1 AND kind LIKE $2 ORDER BY created, id`, account, kind)
}

// Factors lists what a person signs in with, and how many recovery codes are
// left.
func (s *Service) Factors(ctx context.Context, account string) (factors []Factor, recovery int, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		found, err := readFactors(tx, account, "%")
		if err != nil {
			return err
		}
		factors = []Factor{}
		for _, f := range found {
			factors = append(factors, f.Factor)
		}
		return tx.QueryRow(`SELECT COUNT(*) FROM identity_recovery WHERE account = $1`, account).Scan(&recovery)
	})
	return factors, recovery, unavailable(err)
}

// fresh is the session of somebody who may change factors now: who has shown one
// lately, or has none yet and signed in lately.
func (s *Service) fresh(cookie string) (*session, *Account, error) {
	e, a, err := s.session(cookie)
	if err != nil {
		return nil, nil, err
	}
	since := e.Verified
	if !a.SecondFactor {
		since = e.Created
	}
	if since.IsZero() || s.now().Sub(since) > freshFor {
		return nil, nil, refuse(SecondFactor, "%s changes factors", a.ID)
	}
	return e, a, nil
}

// insertFactor stores a factor, and recovery codes with the first.
func (s *Service) insertFactor(tx *store.Tx, generation int64, account, kind, name string, secret []byte, step int64) (recovery []string, err error) {
	var have int
	if err := tx.QueryRow(`SELECT COUNT(*) FROM identity_factors WHERE account = $1`, account).Scan(&have); err != nil {
		return nil, err
	}
	if have >= mostFactors {
		return nil, input("%d factors are enough: remove one first", have)
	}
	if have == 0 {
		if recovery, err = newRecovery(tx, account); err != nil {
			return nil, err
		}
	}
	id := newID("factor:")
	if _, err := tx.Exec(`INSERT INTO identity_factors VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`,
		id, account, kind, name, s.seeds.seal(secret, account+" "+id), step, ms(s.now())); err != nil {
		return nil, err
	}
	_, err = tx.Exec(`UPDATE identity_accounts SET second = TRUE, generation = $2 WHERE id = $1`, account, generation)
	return recovery, err
}

// own is an event of somebody at his own account.
func own(e *session, a *Account, action string) redoubt.Event {
	return entry(e.principal(a), action, a.ID)
}

// seeding is a seed of one-time codes that nobody has proved to have.
type seeding struct{ Seed []byte }

// BeginTOTP makes a seed of one-time codes for the person of a session: an
// otpauth address for authenticators, and a flow to end it with.
func (s *Service) BeginTOTP(cookie string) (address, flow string, err error) {
	_, a, err := s.fresh(cookie)
	if err != nil {
		return "", "", err
	}
	return s.beginTOTP(a)
}

func (s *Service) beginTOTP(a *Account) (address, flow string, err error) {
	if !isUser(a.ID) {
		return "", "", input("%s signs in elsewhere", excerpt(a.ID))
	}
	seed := newSeed()
	flow, err = s.sealFlow("totp", a.ID, seeding{seed})
	return totpURL(s.cfg.Service, a.Name, seed), flow, err
}

// AddTOTP ends what BeginTOTP began, with a code that shows that the seed has
// arrived. With the first factor come recovery codes, to be shown once.
func (s *Service) AddTOTP(ctx context.Context, cookie, flow, code string) (recovery []string, err error) {
	e, a, err := s.fresh(cookie)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, own(e, a, "factor.create"), func(tx *store.Tx, n int64) error {
		recovery, err = s.insertTOTP(tx, n, a, flow, code)
		return err
	})
	return recovery, err
}

func (s *Service) insertTOTP(tx *store.Tx, generation int64, a *Account, flow, code string) ([]string, error) {
	var data seeding
	f, err := s.openFlow("totp", flow, &data)
	if err != nil {
		return nil, err
	}
	step := matchTOTP(data.Seed, code, s.now())
	switch {
	case f.Account != a.ID:
		return nil, refuse(Invalid, "a seed of another account")
	case step == 0:
		return nil, input("the code does not match: look whether the clock of the authenticator is right")
	}
	if err := f.spend(tx); err != nil {
		return nil, err
	}
	return s.insertFactor(tx, generation, a.ID, "totp", "One-time codes", data.Seed, step)
}

// RemoveFactor takes a factor away. The last of somebody who must have one, or
// who has no password, stays.
func (s *Service) RemoveFactor(ctx context.Context, cookie, id string) error {
	e, a, err := s.fresh(cookie)
	if err != nil {
		return err
	}
	ev := own(e, a, "factor.delete")
	ev.Details = map[string]string{"factor": excerpt(id)}
	return s.change(ctx, ev, func(tx *store.Tx, n int64) error {
		factors, err := readFactors(tx, a.ID, "%")
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(factors), func(f factor) bool { return f.ID == id })
		if len(left) == len(factors) {
			return input("there is no factor %q", excerpt(id))
		}
		var password string
		if err := tx.QueryRow(`SELECT password FROM identity_accounts WHERE id = $1`, a.ID).Scan(&password); err != nil {
			return err
		}
		passkey := slices.ContainsFunc(left, func(f factor) bool { return f.Kind == "passkey" })
		if password == "" && !passkey || a.administers() && len(left) == 0 {
			return input("it is the last you can sign in with: add another first")
		}
		if _, err := tx.Exec(`DELETE FROM identity_factors WHERE id = $1`, id); err != nil {
			return err
		}
		if len(left) == 0 {
			if _, err := tx.Exec(`DELETE FROM identity_recovery WHERE account = $1`, a.ID); err != nil {
				return err
			}
		}
		_, err = tx.Exec(`UPDATE identity_accounts SET second = $2, generation = $3 WHERE id = $1`, a.ID, len(left) > 0, n)
		return err
	})
}

// NewRecovery replaces the recovery codes, which are shown once.
func (s *Service) NewRecovery(ctx context.Context, cookie string) (codes []string, err error) {
	e, a, err := s.fresh(cookie)
	if err != nil {
		return nil, err
	}
	if !a.SecondFactor {
		return nil, input("recovery codes stand in for a second factor: add one first")
	}
	err = s.change(ctx, own(e, a, "recovery.create"), func(tx *store.Tx, _ int64) error {
		codes, err = newRecovery(tx, a.ID)
		return err
	})
	return codes, err
}

// SetPassword gives the person of a session another password, and ends all other
// sessions.
func (s *Service) SetPassword(ctx context.Context, cookie, password string) error {
	e, a, err := s.fresh(cookie)
	if err != nil {
		return err
	}
	hash, err := s.newPassword(ctx, a, password)
	if err != nil {
		return err
	}
	return s.change(ctx, own(e, a, "password.change"), func(tx *store.Tx, n int64) error {
		if _, err := tx.Exec(`UPDATE identity_accounts SET password = $2 WHERE id = $1`, a.ID, hash); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE identity_sessions SET ended = TRUE, generation = $3 WHERE account = $1 AND id <> $2 AND NOT ended`, a.ID, e.ID, n)
		return err
	})
}

// newPassword checks and hashes.
func (s *Service) newPassword(ctx context.Context, a *Account, password string) (string, error) {
	if !isUser(a.ID) {
		return "", input("%s signs in elsewhere, and has no password here", excerpt(a.ID))
	}
	if err := checkPassword(password, a.Name, s.cfg.Service); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, password)
}

// Enrolment is somebody who is about to enrol.
type Enrolment struct {
	Account Account
	// TOTP is the address that authenticators read, and Flow ends it.
	TOTP, Flow string
	// Required says that a second factor must be set up.
	Required bool
}

// Enrolment looks an enrolment secret up and prepares one-time codes.
func (s *Service) Enrolment(ctx context.Context, secret string) (Enrolment, error) {
	a, err := s.enrolling(ctx, secret)
	if err != nil {
		return Enrolment{}, err
	}
	address, flow, err := s.beginTOTP(a)
	return Enrolment{*a, address, flow, a.administers()}, err
}

// enrolling is the account of an enrolment secret.
func (s *Service) enrolling(ctx context.Context, secret string) (a *Account, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		id, err := s.enrolled(tx, secret)
		if err != nil {
			return err
		}
		a, err = s.live(id)
		return err
	})
	return a, unavailable(err)
}

// EnrolPassword sets a password and, where code is not empty, one-time codes;
// it spends the secret, and signs in. With a factor come recovery codes, to be
// shown once.
func (s *Service) EnrolPassword(ctx context.Context, secret, password, flow, code string, c Client) (cookie string, recovery []string, err error) {
	a, err := s.enrolling(ctx, secret)
	if err != nil {
		return "", nil, err
	}
	if code == "" && a.administers() {
		return "", nil, input("who administers has a second factor: set up one-time codes, or take a passkey")
	}
	hash, err := s.newPassword(ctx, a, password)
	if err != nil {
		return "", nil, err
	}
	err = s.enrol(ctx, a, secret, c, func(tx *store.Tx, n int64) error {
		if _, err := tx.Exec(`UPDATE identity_accounts SET password = $2, generation = $3 WHERE id = $1`, a.ID, hash, n); err != nil {
			return err
		}
		if code == "" {
			return nil
		}
		recovery, err = s.insertTOTP(tx, n, a, flow, code)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	var verified time.Time
	if code != "" {
		verified = s.now()
	}
	cookie, err = s.begin(ctx, a.ID, "password", verified, c)
	return cookie, recovery, err
}

// enrol spends an enrolment secret on what do does.
func (s *Service) enrol(ctx context.Context, a *Account, secret string, c Client, do func(tx *store.Tx, generation int64) error) error {
	ev := entry(redoubt.Principal{ID: a.ID, Method: "enrolment"}, "account.enrol", a.ID)
	ev.From = from(c)
	return s.change(ctx, ev, func(tx *store.Tx, n int64) error {
		id, err := s.enrolled(tx, secret)
		if err != nil {
			return err
		}
		if id != a.ID {
			return errors.New("an enrolment changed hands")
		}
		if _, err := tx.Exec(`DELETE FROM identity_enrolments WHERE account = $1`, a.ID); err != nil {
			return err
		}
		return do(tx, n)
	})
}
