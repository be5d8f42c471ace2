package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	// keysFresh is when keys are fetched anew beside the work, askAgain the least
	// time between two attempts, and keysOld when keys that could not be fetched
	// anew are no longer believed, unless the issuer's setting says otherwise.
	keysFresh = 10 * time.Minute
	askAgain  = time.Minute
	keysOld   = 24 * time.Hour

	fetchTimeout = 10 * time.Second
	longestFetch = 1 << 20 // bytes of any answer of an issuer
)

// source fetches the keys and the addresses of an issuer, and keeps them through
// its outages.
type source struct {
	issuer string
	alg    algorithm
	keysAt string // where its keys are; "" to ask the issuer
	maxAge time.Duration
	client *http.Client
	now    func() time.Time
	stop   context.CancelFunc
	ctx    context.Context // ends with stop

	mu       sync.Mutex
	known    *provider
	fetched  time.Time // when known was
	tried    time.Time
	failed   error         // of the last attempt
	fetching chan struct{} // closed when the attempt under way ends; nil if none
	running  sync.WaitGroup
}

// provider is what an issuer publishes. It is not changed.
type provider struct {
	keys     keySet
	oidc     *oidc.Provider // nil where keysAt is set and nothing was discovered
	metadata struct {
		JWKS           string `json:"jwks_uri"`
		ResponseIssuer bool   `json:"authorization_response_iss_parameter_supported"`
	}
}

// key is the key that a token names, and what it was published with.
func (s *source) key(ctx context.Context, kid string) (any, *provider, error) {
	p, err := s.provider(ctx, func(p *provider) bool { return p.keys.find(kid) != nil })
	if err != nil {
		return nil, nil, err
	}
	key := p.keys.find(kid)
	if key == nil {
		return nil, nil, refuse(Invalid, "%s publishes no key %q", s.issuer, excerpt(kid))
	}
	return key, p, nil
}

// provider is what is known of the issuer. Where that does not satisfy, it is
// asked again, at most once a minute whoever asks.
func (s *source) provider(ctx context.Context, satisfies func(*provider) bool) (*provider, error) {
	s.mu.Lock()
	p := s.current()
	if p != nil && satisfies(p) {
		if s.now().Sub(s.fetched) >= keysFresh {
			s.fetch()
		}
		s.mu.Unlock()
		return p, nil
	}
	s.fetch()
	wait := s.fetching
	s.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, refuse(Unavailable, "wait for %s: %w", s.issuer, ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p = s.current(); p == nil {
		return nil, refuse(Unavailable, "ask %s: %w", s.issuer, errors.Join(s.failed))
	}
	return p, nil
}

// current is what is known, unless it is too old.
func (s *source) current() *provider {
	if s.known == nil || s.now().Sub(s.fetched) > s.maxAge {
		return nil
	}
	return s.known
}

// fetch starts an attempt, unless one is under way or was made lately. It is not
// the caller's: one that gives up would take the others' answer with it.
func (s *source) fetch() {
	if s.fetching != nil || !s.tried.IsZero() && s.now().Sub(s.tried) < askAgain || s.ctx.Err() != nil {
		return
	}
	s.tried, s.fetching = s.now(), make(chan struct{})
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, fetchTimeout)
		defer cancel()
		p, err := s.discover(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed = err; err == nil {
			s.known, s.fetched = p, s.now()
		}
		close(s.fetching)
		s.fetching = nil
	})
}

// discover asks the issuer what it publishes (OpenID Connect Discovery 1.0).
func (s *source) discover(ctx context.Context) (*provider, error) {
	p := new(provider)
	p.metadata.JWKS = s.keysAt
	if s.keysAt == "" {
		var err error
		if p.oidc, err = oidc.NewProvider(oidc.ClientContext(ctx, s.client), s.issuer); err != nil {
			return nil, err
		}
		if err := p.oidc.Claims(&p.metadata); err != nil {
			return nil, err
		}
	}
	if err := confidential(p.metadata.JWKS); err != nil {
		return nil, fmt.Errorf("the address of its keys: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metadata.JWKS, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys: %s", res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, longestKeys+1))
	if err != nil {
		return nil, err
	}
	p.keys, err = parseKeySet(b, s.alg)
	return p, err
}

func (s *source) close() {
	s.stop()
	s.running.Wait()
	s.client.CloseIdleConnections()
}

// confidential accepts https, and http to this machine.
func confidential(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is no address of the form https://HOST/PATH", excerpt(address))
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q is not https: whoever is in between could sign in as anybody", excerpt(address))
}

// bounded limits what is read of any answer, for libraries read all there is.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = &boundedBody{res.Body, longestFetch}
	}
	return res, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", longestFetch)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// CloseIdleConnections passes on what http.Client asks of its transport.
func (b bounded) CloseIdleConnections() {
	if c, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
