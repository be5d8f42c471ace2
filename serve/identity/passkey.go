package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/redoubt-ml/redoubt/store"
)

// longestResponse bounds what a browser says about a passkey, in bytes.
const longestResponse = 64 << 10

// relyingParty is what passkeys are bound to: the host of the pages, and nothing
// beside it.
func relyingParty(address, name string) (*webauthn.WebAuthn, error) {
	if address == "" {
		return nil, nil
	}
	u, err := origin(address)
	if err != nil {
		return nil, err
	}
	return webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: name, RPOrigins: []string{address},
		// Anonymous: which make of authenticator people have is not asked.
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			// Kept on the authenticator, so that no name need be typed; and
			// unlocked by its owner, so that it is two factors.
			ResidentKey:      protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired,
		},
	})
}

// holder is an account as the library sees it.
type holder struct {
	account     *Account
	credentials []webauthn.Credential
	factors     []string // their ids
}

func (h *holder) WebAuthnID() []byte                         { return []byte(h.account.ID) }
func (h *holder) WebAuthnName() string                       { return h.account.Name }
func (h *holder) WebAuthnDisplayName() string                { return h.account.Name }
func (h *holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

func (s *Service) holder(tx *store.Tx, account string) (*holder, error) {
	a, err := s.live(account)
	if err != nil {
		return nil, err
	}
	factors, err := readFactors(tx, account, "passkey")
	if err != nil {
		return nil, err
	}
	h := &holder{account: a}
	for _, f := range factors {
		var c webauthn.Credential
		// Sealed although public: who can write the table cannot add a passkey.
		b, err := s.seeds.open(f.data, account+" "+f.ID)
		if err != nil {
			return nil, refuse(Unavailable, "open %s: the key is not the one it was sealed with", f.ID)
		}
		if err := json.Unmarshal(b, &c); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.ID, err)
		}
		h.credentials, h.factors = append(h.credentials, c), append(h.factors, f.ID)
	}
	return h, nil
}

var errNoOrigin = fmt.Errorf("%w: there are no passkeys without an origin: configure the address of the pages", ErrInput)

// BeginPasskey asks a browser for a passkey of anybody who has one here: options
// for navigator.credentials.get, and a flow to end it with.
func (s *Service) BeginPasskey() (options json.RawMessage, flow string, err error) {
	if s.passkeys == nil {
		return nil, "", errNoOrigin
	}
	o, data, err := s.passkeys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, "", unavailable(err)
	}
	return s.ceremony("passkey", "", o, data)
}

func (s *Service) ceremony(kind, account string, options any, data *webauthn.SessionData) (json.RawMessage, string, error) {
	b, err := json.Marshal(options)
	if err != nil {
		return nil, "", unavailable(err)
	}
	flow, err := s.sealFlow(kind, account, data)
	return b, flow, unavailable(err)
}

// FinishPasskey ends what BeginPasskey began with what the browser answered. It
// signs in, or, where cookie is a session, confirms it (a step up), and returns
// the cookie to set.
func (s *Service) FinishPasskey(ctx context.Context, flow string, response []byte, cookie string, c Client) (string, error) {
	var current *session
	if cookie != "" {
		e, _, err := s.session(cookie)
		if err != nil {
			return "", err
		}
		current = e
	}
	account, err := s.checkPasskey(ctx, flow, response)
	if err == nil && current != nil && current.Account != account {
		err = refuse(Invalid, "a passkey of another account than the session's")
	}
	if err != nil {
		return "", s.refused(ctx, err, account, "passkey", c)
	}
	if current != nil {
		return s.confirm(ctx, current, c)
	}
	return s.begin(ctx, account, "passkey", s.now(), c)
}

// checkPasskey verifies an assertion, spends its challenge, and moves the counter
// on, all at once.
func (s *Service) checkPasskey(ctx context.Context, sealed string, response []byte) (account string, err error) {
	if s.passkeys == nil {
		return "", errNoOrigin
	}
	var data webauthn.SessionData
	f, err := s.openFlow("passkey", sealed, &data)
	if err != nil {
		return "", err
	}
	if len(response) > longestResponse {
		return "", refuse(Invalid, "an answer of %d bytes", len(response))
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return "", refuse(Invalid, "read a passkey's answer: %w", detail(err))
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		var h *holder
		find := func(_, handle []byte) (webauthn.User, error) {
			if !isUser(string(handle)) {
				return nil, errors.New("no handle of ours")
			}
			h, err = s.holder(tx, string(handle))
			return h, err
		}
		_, used, err := s.passkeys.ValidatePasskeyLogin(find, data, parsed)
		if err != nil {
			return refuse(Invalid, "verify a passkey: %w", detail(err))
		}
		account = h.account.ID
		if used.Authenticator.CloneWarning {
			return refuse(Invalid, "a passkey whose counter went back: it may have been copied")
		}
		if err := f.spend(tx); err != nil {
			return err
		}
		return s.usePasskey(tx, h, used)
	})
	return account, unavailable(err)
}

// usePasskey stores what changes with each use: the counter, and whether it is
// backed up.
func (s *Service) usePasskey(tx *store.Tx, h *holder, used *webauthn.Credential) error {
	for i, c := range h.credentials {
		if string(c.ID) != string(used.ID) {
			continue
		}
		b, err := json.Marshal(used)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE identity_factors SET data = $2, used = $3 WHERE id = $1`, h.factors[i], s.seeds.seal(b, h.account.ID+" "+h.factors[i]), ms(s.now()))
		return err
	}
	return errors.New("a passkey that was verified is gone")
}

// detail is the library's error with what it keeps for developers.
func detail(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%w: %s", err, excerpt(e.DevInfo))
	}
	return err
}

// BeginNewPasskey asks the browser of a session for a new passkey: options for
// navigator.credentials.create, and a flow to end it with.
func (s *Service) BeginNewPasskey(ctx context.Context, cookie string) (options json.RawMessage, flow string, err error) {
	_, a, err := s.fresh(cookie)
	if err != nil {
		return nil, "", err
	}
	return s.beginNewPasskey(ctx, a)
}

// EnrolNewPasskey is BeginNewPasskey for somebody with an enrolment secret.
func (s *Service) EnrolNewPasskey(ctx context.Context, secret string) (options json.RawMessage, flow string, err error) {
	a, err := s.enrolling(ctx, secret)
	if err != nil {
		return nil, "", err
	}
	return s.beginNewPasskey(ctx, a)
}

func (s *Service) beginNewPasskey(ctx context.Context, a *Account) (json.RawMessage, string, error) {
	if s.passkeys == nil {
		return nil, "", errNoOrigin
	}
	if !isUser(a.ID) {
		return nil, "", input("%s signs in elsewhere", excerpt(a.ID))
	}
	var h *holder
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		h, err = s.holder(tx, a.ID)
		return err
	})
	if err != nil {
		return nil, "", unavailable(err)
	}
	// Not two on one authenticator.
	o, data, err := s.passkeys.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.credentials).CredentialDescriptors()))
	if err != nil {
		return nil, "", unavailable(err)
	}
	return s.ceremony("register", a.ID, o, data)
}

// AddPasskey ends what BeginNewPasskey began. With the first factor come
// recovery codes, to be shown once.
func (s *Service) AddPasskey(ctx context.Context, cookie, flow string, response []byte, name string) (recovery []string, err error) {
	e, a, err := s.fresh(cookie)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, own(e, a, "factor.create"), func(tx *store.Tx, n int64) error {
		recovery, err = s.insertPasskey(tx, n, a, flow, response, name)
		return err
	})
	return recovery, err
}

// EnrolPasskey ends what EnrolNewPasskey began: it spends the secret and signs
// in. A passkey is two factors, and needs no password.
func (s *Service) EnrolPasskey(ctx context.Context, secret, flow string, response []byte, name string, c Client) (cookie string, recovery []string, err error) {
	a, err := s.enrolling(ctx, secret)
	if err != nil {
		return "", nil, err
	}
	err = s.enrol(ctx, a, secret, c, func(tx *store.Tx, n int64) error {
		recovery, err = s.insertPasskey(tx, n, a, flow, response, name)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	cookie, err = s.begin(ctx, a.ID, "passkey", s.now(), c)
	return cookie, recovery, err
}

func (s *Service) insertPasskey(tx *store.Tx, generation int64, a *Account, flow string, response []byte, name string) ([]string, error) {
	var data webauthn.SessionData
	f, err := s.openFlow("register", flow, &data)
	if err != nil {
		return nil, err
	}
	if name = strings.TrimSpace(name); name == "" {
		name = "Passkey"
	}
	if err := checkWords("name", []string{name}); err != nil {
		return nil, err
	}
	if f.Account != a.ID || len(response) > longestResponse {
		return nil, refuse(Invalid, "a passkey of another account, or of %d bytes", len(response))
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, refuse(Invalid, "read a new passkey: %w", detail(err))
	}
	h, err := s.holder(tx, a.ID)
	if err != nil {
		return nil, err
	}
	made, err := s.passkeys.CreateCredential(h, data, parsed)
	if err != nil {
		return nil, refuse(Invalid, "verify a new passkey: %w", detail(err))
	}
	if err := f.spend(tx); err != nil {
		return nil, err
	}
	b, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	return s.insertFactor(tx, generation, a.ID, "passkey", name, b, 0)
}
