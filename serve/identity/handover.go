package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// Where the pages hand sessions over. A program sends its user's browser to
// HandOverPath with the parameters port, on which it listens at 127.0.0.1, state and
// challenge, and gets a request there with state, and with code or error. It sends
// code and verifier to TakeOverPath as a form, and gets a cookie of the name [Cookie].
const (
	HandOverPath = "/auth/handover"
	TakeOverPath = "/auth/takeover"
)

// HandOverCode is what the pages and the program that sent somebody there both show,
// so that he sees whether he allows the one that he runs.
func HandOverCode(challenge string) string {
	sum := sha256.Sum256([]byte("redoubt handover " + challenge))
	text := base32.StdEncoding.EncodeToString(sum[:5])
	return text[:4] + "-" + text[4:]
}

const (
	// handOverFresh is how long ago a second factor may have been shown by whoever
	// hands his session over.
	handOverFresh = 2 * time.Minute
	// handOverLife is for how long the code of a handover works.
	handOverLife = time.Minute
)

// handover is a session that a browser gives to a program of the same user, as an
// authorization server gives its codes to native apps (RFC 8252).
type handover struct {
	// Challenge is the hash of what the program alone knows (RFC 7636, S256).
	Challenge string
	From, To  string // the ids of the browser's session and of the program's
	Verified  int64
}

// MayHandOver is whose session a cookie is, if that person may hand it over to a
// program. An error of kind [SecondFactor] says that he has to show a second factor
// first, for the last time was more than two minutes ago.
func (s *Service) MayHandOver(cookie string) (redoubt.Principal, error) {
	e, a, err := s.handing(cookie)
	if err != nil {
		return redoubt.Principal{}, err
	}
	return e.principal(a), nil
}

func (s *Service) handing(cookie string) (*session, *Account, error) {
	e, a, err := s.session(cookie)
	if err != nil {
		return nil, nil, err
	}
	// A stranger's factors are with his issuer: who showed any there can do so again.
	if a.SecondFactor || a.administers() || !e.Verified.IsZero() {
		err = s.Verified(e.principal(a), handOverFresh)
	}
	return e, a, err
}

// HandOver gives a code with which a program of the person whose session a cookie
// is gets a session of its own, once and within a minute. The program has made up
// a verifier, and challenge is its SHA-256 in base64url (RFC 7636, section 4.2):
// who sees the code on its way can do nothing with it.
func (s *Service) HandOver(ctx context.Context, cookie, challenge string, c Client) (code string, err error) {
	if b, err := base64.RawURLEncoding.Strict().DecodeString(challenge); err != nil || len(b) != sha256.Size || len(challenge) != 43 { // it skips ends of lines
		return "", input("the challenge is not a SHA-256 in base64url")
	}
	e, a, err := s.handing(cookie)
	if err != nil {
		return "", err
	}
	h := handover{Challenge: challenge, From: e.ID, To: newID("session:"), Verified: ms(e.Verified)}
	if code, err = s.sealFor(handOverLife, "handover", a.ID, h); err != nil {
		return "", unavailable(err)
	}
	ev := entry(e.principal(a), "session.handover", h.To)
	ev.From = from(c)
	return code, s.record(ctx, ev)
}

// TakeOver ends what HandOver began: it opens a session for the program that knows
// the verifier. It ends when the browser's would have, if not before, and is one of
// its own otherwise.
func (s *Service) TakeOver(ctx context.Context, code, verifier string, c Client) (cookie string, err error) {
	var h handover
	f, err := s.openFlow("handover", code, &h)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(verifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(h.Challenge)) != 1 {
		err := refuse(Invalid, "the code of a handover was made for another program")
		return "", s.refused(ctx, err, f.Account, "", c)
	}
	if _, err := s.live(f.Account); err != nil {
		return "", s.refused(ctx, err, f.Account, "", c)
	}
	s.state.mu.RLock()
	e := s.state.sessionIDs[h.From]
	s.state.mu.RUnlock()
	if e == nil || e.Account != f.Account || s.over(e, s.now()) {
		return "", s.refused(ctx, refuse(Invalid, "%s has ended", h.From), f.Account, "", c)
	}
	given := Session{ID: h.To, Account: f.Account, Method: e.Method, Created: e.Created, Verified: at(h.Verified)}
	return s.open(ctx, given, c, f.spend)
}
