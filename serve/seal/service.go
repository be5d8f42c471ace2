package seal

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// service asks a key service over HTTP.
type service struct {
	client *http.Client
	base   string // https://HOST[:PORT]
	// sign completes a request with what authenticates it.
	sign func(ctx context.Context, r *http.Request, body []byte) error
	// about reports whether an answer of status 400 is about the data, and not about
	// us; nil where it always is.
	about func(body []byte) bool
}

const (
	serviceTime = 10 * time.Second
	maxAnswer   = 1 << 20
)

// newService takes the settings ca, a file of authorities, and endpoint, another
// address than the usual one.
func (u *uri) newService(base string) (*service, error) {
	if other := u.take("endpoint"); other != "" {
		base = other
	}
	at, err := url.Parse(base)
	if err != nil || at.Host == "" || at.User != nil || at.RawQuery != "" {
		return nil, fmt.Errorf("the address %q is not of the form https://HOST:PORT", base)
	}
	if ip := net.ParseIP(at.Hostname()); at.Scheme != "https" && (at.Scheme != "http" || ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the address %q is not https: keys do not travel in the clear", base)
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := u.take("ca"); ca != "" {
		pem, err := os.ReadFile(u.path(ca))
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		security.RootCAs = x509.NewCertPool()
		if !security.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", ca)
		}
	}
	return &service{base: strings.TrimSuffix(base, "/"), client: &http.Client{
		Timeout:   serviceTime,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: security, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the service points elsewhere, which is not followed: name the address itself")
		},
	}}, nil
}

// post sends a JSON object, and reads one. Every failure but a refusal of the data
// is an ErrUnavailable.
func (s *service) post(ctx context.Context, path string, headers map[string]string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	if err := s.sign(ctx, r, body); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	a, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: read the answer: %w", ErrUnavailable, err)
	}
	switch {
	case a.StatusCode == http.StatusOK:
	case a.StatusCode == http.StatusBadRequest && (s.about == nil || s.about(text)):
		return fmt.Errorf("the service refuses it: %s", excerpt(text))
	default:
		return fmt.Errorf("%w: it answers with status %d: %s", ErrUnavailable, a.StatusCode, excerpt(text))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%w: its answer is not of the form expected", ErrUnavailable)
	}
	return nil
}

// excerpt is what a service says of an error, on a line.
func excerpt(b []byte) string {
	text := []rune(strings.Join(strings.Fields(string(b)), " "))
	return string(text[:min(len(text), 300)])
}

// bearer signs with a token that is read anew each time.
func bearer(token secret) func(context.Context, *http.Request, []byte) error {
	return func(_ context.Context, r *http.Request, _ []byte) error {
		t, err := token.read()
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+t)
		}
		return err
	}
}

// loggedIn signs with tokens that a login gives, which are kept for as long as they
// hold.
func loggedIn(s *service, login func(context.Context) (*oauth2.Token, error)) func(context.Context, *http.Request, []byte) error {
	source := oauth2.ReuseTokenSource(nil, loginSource{s, login})
	return func(_ context.Context, r *http.Request, _ []byte) error {
		t, err := source.Token()
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		t.SetAuthHeader(r)
		return nil
	}
}

type loginSource struct {
	service *service
	login   func(context.Context) (*oauth2.Token, error)
}

// Token is not bound to the call that happens to need it: others wait for it.
func (l loginSource) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), serviceTime)
	defer cancel()
	return l.login(context.WithValue(ctx, oauth2.HTTPClient, l.service.client))
}
