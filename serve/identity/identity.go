// Package identity establishes who calls: people with passwords, one-time codes
// and passkeys, or by the single sign-on of their company; programs with API
// tokens, with JSON Web Tokens of issuers that are trusted, or with client
// certificates; and the operating system's user who runs the server.
//
//	who, err := identity.Open(ctx, identity.Config{Store: db, Recorder: log, Key: key, Origin: "https://models.example"})
//	if err != nil {
//		return err
//	}
//	defer who.Close()
//	principal, err := who.Authenticate(ctx, identity.Credentials{Authorization: r.Header.Get("Authorization")})
//	var refused *identity.Error
//	if errors.As(err, &refused) {
//		// the client is told refused.Kind, the log err
//	}
//
// What a principal may do is not decided here.
//
// # Promises
//
// The database holds no password, token, session id or recovery code, only their
// hashes, and seeds of one-time codes only sealed. Checking a token, a session or
// a cached JWT needs no database: each node holds what it needs in memory, learns
// within a second or two what others change, and goes on with what it knows when
// the database is lost. What an administrator changes, and every login, is handed
// to the [Recorder] first, and does not happen if that fails.
//
// Nothing tells the names that exist from those that do not: the answer and the
// work are the same. Guessing slows down without end, but nobody can be kept out:
// where an account has signed in before, attempts from elsewhere do not count,
// and a passkey is not guessed.
package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

// Recorder is the audit log. What is recorded is durable when it returns nil.
type Recorder interface {
	Record(context.Context, redoubt.Event) error
}

// Config says what a [Service] works with. Store, Recorder and Key are required.
type Config struct {
	Store    *store.DB
	Recorder Recorder
	// Key, of 32 bytes, seals what must be kept but not read: seeds of one-time
	// codes, and flows that are in a browser's hands. Nodes that share a store
	// share it. Without it, seeds are lost.
	Key []byte
	// Origin is where browsers find the pages, such as https://models.example:
	// what passkeys and single sign-on are bound to. Without it there is neither.
	Origin string
	// Service is the name that people see in their authenticators: "Redoubt" if
	// empty.
	Service string
	// Issuers are whose tokens and logins are trusted.
	Issuers []Issuer
	// Certificates say what client certificates are worth. One that no rule
	// matches proves who calls, and gives no role.
	Certificates []CertificateRule
	// Revoked are serial numbers of certificates that are refused, in
	// hexadecimal, whoever issued them.
	Revoked []string
	// CRLs are files of revocation lists in PEM or DER form, read again when
	// they change.
	CRLs []string
	// JWTKey, of 32 bytes or more, signs the tokens of [Service.IssueJWT] and
	// lets them in. Without it there are none.
	JWTKey []byte
	// Idle and Absolute bound a browser's session: 30 minutes since it was last
	// used, and 12 hours, if zero.
	Idle, Absolute time.Duration
	// Hashes is how many passwords are hashed at once, each with 19 MiB: 2 if
	// zero.
	Hashes int
	// Now is the clock: time.Now if nil.
	Now func() time.Time
}

// Service knows who is who. Its methods may be called from several goroutines.
type Service struct {
	cfg      Config
	db       *store.DB
	now      func() time.Time
	state    state
	hasher   *hasher
	seeds    sealer
	flows    sealer
	passkeys *webauthn.WebAuthn // nil without an origin
	issuers  []*issuer
	jwts     jwtCache
	crls     *crls
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// Open makes the tables where there are none, reads them, and keeps up with
// them until Close.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if err := s.db.Migrate(ctx, migrations); err != nil {
		return nil, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	// Not the caller's context: that bounds opening only.
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Go(func() { s.follow(ctx) })
	s.running.Go(func() { s.tend(ctx) })
	return s, nil
}

func newService(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Recorder == nil {
		return nil, errors.New("a store and a recorder are required")
	}
	if len(cfg.Key) != 32 {
		return nil, fmt.Errorf("the key has %d bytes, 32 are required", len(cfg.Key))
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Service == "" {
		cfg.Service = "Redoubt"
	}
	if cfg.Idle == 0 {
		cfg.Idle = 30 * time.Minute
	}
	if cfg.Absolute == 0 {
		cfg.Absolute = 12 * time.Hour
	}
	if cfg.Hashes == 0 {
		cfg.Hashes = 2
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, db: cfg.Store, now: cfg.Now, hasher: newHasher(cfg.Hashes)}
	s.state.init()
	var err error
	if s.seeds, err = newSealer(cfg.Key, "seeds"); err != nil {
		return nil, err
	}
	if s.flows, err = newSealer(cfg.Key, "flows"); err != nil {
		return nil, err
	}
	if s.passkeys, err = relyingParty(cfg.Origin, cfg.Service); err != nil {
		return nil, err
	}
	if s.issuers, err = newIssuers(cfg); err != nil {
		return nil, err
	}
	s.crls, err = newCRLs(cfg)
	return s, err
}

// Check reports what cannot be meant of the settings, but Store, Recorder and Key.
// It reads the revocation lists that CRLs names, and asks nobody.
func (cfg Config) Check() error {
	if n := len(cfg.JWTKey); n != 0 && n < 32 {
		return fmt.Errorf("the key that signs tokens has %d bytes, 32 or more are required", n)
	}
	if cfg.Origin != "" {
		if _, err := origin(cfg.Origin); err != nil {
			return err
		}
	}
	for _, r := range cfg.Certificates {
		if err := r.check(); err != nil {
			return err
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if _, err := newCRLs(cfg); err != nil {
		return err
	}
	issuers, err := newIssuers(cfg)
	for _, i := range issuers {
		i.close()
	}
	return err
}

// Close stops keeping up. What was used last is written first, where the
// database answers.
func (s *Service) Close() {
	s.stop()
	s.running.Wait()
	for _, i := range s.issuers {
		i.close()
	}
}

// Credentials are what a call came with, whatever it came through.
type Credentials struct {
	// Authorization is the header of that name, or gRPC's metadata.
	Authorization string
	// Session is the value of the cookie named [Cookie].
	Session string
	// Peer is the state of the TLS connection, whose client certificate, if any,
	// was verified.
	Peer *tls.ConnectionState
	// Local says that the call came through the server's Unix socket, from the
	// user UID, as [PeerUID] tells.
	Local bool
	UID   uint32
	// From is the address it came from.
	From netip.Addr
}

// Authenticate says who calls. Errors are of type [*Error]. Several kinds of
// credentials at once are refused: what one proxy reads and another does not is
// how gateways were passed by.
func (s *Service) Authenticate(ctx context.Context, c Credentials) (redoubt.Principal, error) {
	certified := c.Peer != nil && len(c.Peer.PeerCertificates) > 0
	kinds := 0
	for _, given := range []bool{c.Authorization != "", c.Session != "", certified, c.Local} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return redoubt.Principal{}, &Error{Kind: Missing}
	case kinds > 1:
		return redoubt.Principal{}, refuse(Invalid, "several kinds of credentials at once: send one")
	case c.Local:
		return local(c.UID)
	case certified:
		return s.byCertificate(c.Peer)
	case c.Session != "":
		return s.bySession(c.Session)
	}
	scheme, value, _ := strings.Cut(c.Authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || value == "" {
		return redoubt.Principal{}, refuse(Invalid, "the authorization is not of the form: Bearer TOKEN")
	}
	if strings.HasPrefix(value, tokenPrefix) {
		return s.byToken(value)
	}
	return s.byJWT(ctx, value)
}

// Verified is nil if the principal showed a second factor, within the given time
// unless that is zero; otherwise it is an [*Error] of kind [SecondFactor]. It is
// asked of people only: service accounts and machines have one factor, and who
// can open the server's socket could open its database too. A token of a person
// never shows a second factor.
func (s *Service) Verified(p redoubt.Principal, within time.Duration) error {
	for _, machine := range []string{servicePrefix, certificatePrefix, localPrefix} {
		if strings.HasPrefix(p.ID, machine) {
			return nil
		}
	}
	if p.Verified.IsZero() || within > 0 && s.now().Sub(p.Verified) > within {
		return &Error{Kind: SecondFactor}
	}
	return nil
}

// record writes an entry, and refuses to go on without it.
func (s *Service) record(ctx context.Context, e redoubt.Event) error {
	e.Time = s.now().UTC()
	if err := s.cfg.Recorder.Record(ctx, e); err != nil {
		return refuse(Unavailable, "record %s: %w", e.Action, err)
	}
	return nil
}

// entry is an event by somebody to something.
func entry(by redoubt.Principal, action, resource string) redoubt.Event {
	return redoubt.Event{Action: action, Outcome: redoubt.Allowed, Actor: by.ID, Method: by.Method, Credential: by.Credential, Resource: resource}
}

// change records what is about to be done, does it, and learns it. The entry
// comes first: what cannot be recorded does not happen.
func (s *Service) change(ctx context.Context, e redoubt.Event, do func(tx *store.Tx, generation int64) error) error {
	if err := s.record(ctx, e); err != nil {
		return err
	}
	if err := s.update(ctx, do); err != nil {
		e.Outcome, e.Reason = redoubt.Failed, "it was not done: the request was not accepted or the database failed"
		return errors.Join(err, s.record(ctx, e))
	}
	return nil
}

// update changes the tables under a new generation, and learns the change.
func (s *Service) update(ctx context.Context, do func(tx *store.Tx, generation int64) error) error {
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Bump(room); err != nil {
			return err
		}
		n, err := tx.Generation(room)
		if err != nil {
			return err
		}
		return do(tx, n)
	})
	if err != nil {
		return unavailable(err)
	}
	return unavailable(s.refresh(ctx))
}

// origin checks the address of the pages.
func origin(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the origin %q is not of the form https://HOST[:PORT]", address)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && u.Hostname() == "localhost") {
		return nil, fmt.Errorf("the origin %q is not https, without which browsers keep no secret", address)
	}
	return u, nil
}
