package identity

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

func isUser(id string) bool { return strings.HasPrefix(id, userPrefix) }

// Login checks a name and a password. Where the person has a second factor, it
// returns a flow for [Service.LoginCode] and no cookie: showing a passkey instead
// is [Service.FinishPasskey]. Somebody without a password, who has lost his
// passkeys, gives a recovery code in its place. It answers unknown names, disabled
// people and wrong passwords alike, and in the same time.
func (s *Service) Login(ctx context.Context, name, password string, c Client) (cookie, flow string, err error) {
	login := fold(name)
	g := guesses("password "+login, c)
	id, recovered, err := s.checkLogin(ctx, login, password, g)
	if err != nil {
		return "", "", s.refused(ctx, err, id, "password", c)
	}
	a, err := s.live(id)
	if err != nil {
		return "", "", s.refused(ctx, err, id, "password", c)
	}
	if recovered {
		if err := s.record(ctx, redoubt.Event{Action: "recovery.use", Outcome: redoubt.Allowed, Actor: id, From: from(c), Resource: id}); err != nil {
			return "", "", err
		}
		cookie, err = s.begin(ctx, id, "password", s.now(), c)
		return cookie, "", err
	}
	if a.SecondFactor {
		flow, err = s.sealFlow("second", id, struct{}{})
		return "", flow, err
	}
	cookie, err = s.begin(ctx, id, "password", time.Time{}, c)
	return cookie, "", err
}

// checkLogin is the account that a password belongs to, or a recovery code in
// its place. The id is returned with an error too, where there is one.
func (s *Service) checkLogin(ctx context.Context, login, password string, g guess) (id string, recovered bool, err error) {
	if err := s.try(ctx, g); err != nil {
		return "", false, err
	}
	var hash string
	var disabled bool
	err = s.db.View(ctx, func(tx *store.Tx) error {
		id, hash, disabled = "", "", false
		err := tx.QueryRow(`SELECT id, password, disabled FROM identity_accounts WHERE login = $1`, login).Scan(&id, &hash, &disabled)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // a hash of nobody is checked all the same
		}
		return err
	})
	if err != nil {
		return id, false, unavailable(err)
	}
	ok, err := s.hasher.verify(ctx, hash, password)
	if err != nil {
		return id, false, unavailable(err)
	}
	if !ok && recoveryCode(password) != "" {
		recovered, err = s.redeem(ctx, id, hash != "" || disabled, password)
		ok = recovered
	}
	switch {
	case err != nil:
		return id, false, err
	case !ok || disabled:
		return id, false, refuse(Invalid, "a wrong name or password")
	}
	fresh := ""
	if !recovered && outdated(hash) {
		if fresh, err = s.hasher.hash(ctx, password); err != nil {
			return id, false, err
		}
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if fresh != "" {
			if _, err := tx.Exec(`UPDATE identity_accounts SET password = $2 WHERE id = $1 AND password = $3`, id, fresh, hash); err != nil {
				return err
			}
		}
		return s.succeeded(tx, g)
	})
	return id, recovered, unavailable(err)
}

// redeem takes a recovery code of an account without a password. For others, and
// for nobody, it does the same work in vain.
func (s *Service) redeem(ctx context.Context, id string, vain bool, code string) (ok bool, err error) {
	if vain {
		id = ""
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		_, err := s.takeCode(tx, id, code)
		return err
	})
	var r *Error
	if errors.As(err, &r) && r.Kind == Invalid {
		return false, nil
	}
	return err == nil, unavailable(err)
}

// LoginCode ends a login with a one-time code, or with a recovery code.
func (s *Service) LoginCode(ctx context.Context, flow, code string, c Client) (cookie string, err error) {
	f, err := s.openFlow("second", flow, new(struct{}))
	if err != nil {
		return "", err
	}
	if _, err := s.live(f.Account); err != nil {
		return "", err
	}
	if err := s.checkCode(ctx, f.Account, code, c, f); err != nil {
		return "", s.refused(ctx, err, f.Account, "password", c)
	}
	return s.begin(ctx, f.Account, "password", s.now(), c)
}

// ConfirmCode is a step up: who is signed in shows a code again, and gets another
// cookie in place of the one he has.
func (s *Service) ConfirmCode(ctx context.Context, cookie, code string, c Client) (string, error) {
	e, a, err := s.session(cookie)
	if err != nil {
		return "", err
	}
	if err := s.checkCode(ctx, a.ID, code, c, nil); err != nil {
		return "", s.refused(ctx, err, a.ID, e.Method, c)
	}
	return s.confirm(ctx, e, c)
}

// checkCode takes a code, and spends the flow that it ends, if any.
func (s *Service) checkCode(ctx context.Context, account, code string, c Client, f *flow) error {
	g := guesses("code "+account, c)
	if err := s.try(ctx, g); err != nil {
		return err
	}
	kind := ""
	err := s.db.Update(ctx, func(tx *store.Tx) (err error) {
		if f != nil {
			if err := f.spend(tx); err != nil {
				return err
			}
		}
		if kind, err = s.takeCode(tx, account, code); err != nil {
			return err
		}
		return s.succeeded(tx, g)
	})
	if err == nil && kind == "recovery" {
		err = s.record(ctx, redoubt.Event{Action: "recovery.use", Outcome: redoubt.Allowed, Actor: account, From: from(c), Resource: account})
	}
	return unavailable(err)
}

// refused records a login that failed and returns its error; where it cannot be
// recorded, that too.
func (s *Service) refused(ctx context.Context, err error, account, method string, c Client) error {
	e := redoubt.Event{Action: "session.login", Outcome: redoubt.Denied, Method: method, From: from(c), Resource: account}
	var r *Error
	if errors.As(err, &r) {
		e.Reason = r.Error()
		if r.Kind == Unavailable {
			e.Outcome = redoubt.Failed
		}
	}
	if failed := s.record(ctx, e); failed != nil {
		return failed
	}
	return err
}

// Logout ends the session of a cookie.
func (s *Service) Logout(ctx context.Context, cookie string) error {
	e, a, err := s.session(cookie)
	if err != nil {
		return err
	}
	return s.EndSession(ctx, e.principal(a), e.ID)
}
