package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/redoubt-ml/redoubt/ml/model"
)

// Limits on what a server can make us wait for.
const (
	attempts       = 5
	firstPause     = 500 * time.Millisecond // doubled with each attempt
	longestPause   = 2 * time.Minute        // that a server may ask for
	defaultTimeout = 30 * time.Second
)

// Account is what was asked of an endpoint.
type Account struct {
	Queries  int64 // samples put to it, those sent again included, those refused not
	Requests int64 // sent, of every kind
	Refused  int64 // requests answered with status 4xx
	Retried  int64 // requests sent again after a failure
}

// client sends requests to one host: within budget and rate, again where that
// may help, and never elsewhere.
type client struct {
	http          *http.Client
	token, header string
	budget        int64
	rate          float64
	// wait and now are the clock; tests have another.
	wait func(context.Context, time.Duration) error
	now  func() time.Time

	mu    sync.Mutex
	tally Account
	ready time.Time // when the rate allows the next sample
}

// call is one request: samples to infer, or a question without any.
type call struct {
	method, url string
	header      map[string]string
	body        []byte
	rows        int   // samples in it
	limit       int64 // of the answer, in bytes
}

// reply is what came back with status 200.
type reply struct {
	header http.Header
	body   []byte
}

func newClient(cfg Config) (*client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	var err error
	if t.TLSClientConfig, err = cfg.tls(); err != nil {
		return nil, err
	}
	t.MaxResponseHeaderBytes = 64 << 10
	c := &client{
		http: &http.Client{
			Transport: t, Timeout: cfg.Timeout,
			// Samples and token are for the host that was named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		token: cfg.Token, header: cfg.Header, budget: cfg.Budget, rate: cfg.Rate,
		wait: sleep, now: time.Now,
	}
	if c.http.Timeout == 0 {
		c.http.Timeout = defaultTimeout
	}
	if strings.ContainsFunc(c.token, unicode.IsControl) {
		return nil, errors.New("the token holds a control character, such as a line break in its middle")
	}
	return c, nil
}

func (c *Config) tls() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read authorities to trust: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read authorities to trust: %s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Cert == "" && c.Key == "" {
		return out, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate to show: %w", err)
	}
	out.Certificates = []tls.Certificate{pair}
	return out, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *client) account() Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tally
}

func (c *client) left() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget - c.tally.Queries, c.budget > 0
}

// admit spends queries before they are sent, and waits for the rate to allow
// them.
func (c *client) admit(ctx context.Context, rows int, again bool) error {
	c.mu.Lock()
	if c.budget > 0 && c.tally.Queries+int64(rows) > c.budget {
		spent := c.tally.Queries
		c.mu.Unlock()
		return fmt.Errorf("ask the endpoint about %d samples after %d of %d: %w", rows, spent, c.budget, model.ErrBudget)
	}
	c.tally.Queries += int64(rows)
	c.tally.Requests++
	if again {
		c.tally.Retried++
	}
	var pause time.Duration
	if c.rate > 0 && rows > 0 {
		now := c.now()
		if c.ready.Before(now) {
			c.ready = now
		}
		pause = c.ready.Sub(now)
		c.ready = c.ready.Add(time.Duration(float64(rows) / c.rate * float64(time.Second)))
	}
	c.mu.Unlock()
	if pause <= 0 {
		return ctx.Err()
	}
	return c.wait(ctx, pause)
}

// refuse takes back the queries of a request that the server did not take.
func (c *client) refuse(rows int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Queries -= int64(rows)
	c.tally.Refused++
}

// do sends a request until it is answered, refused, or has failed too often.
// Only failures that pass are tried again: no connection, a line that breaks,
// and statuses 429, 502, 503 and 504.
func (c *client) do(ctx context.Context, q *call) (*reply, error) {
	for n := 1; ; n++ {
		if err := c.admit(ctx, q.rows, n > 1); err != nil {
			return nil, err
		}
		r, pause, err := c.once(ctx, q)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if pause < 0 {
			return nil, err
		}
		if n == attempts {
			return nil, fmt.Errorf("%w (tried %d times)", err, attempts)
		}
		if pause > longestPause {
			return nil, fmt.Errorf("%w: the server asks to wait %v: come back then, with --resume to go on", err, pause.Round(time.Second))
		}
		if pause == 0 {
			// Full jitter over the upper half, so that clients that failed
			// together do not come back together. It decides no result.
			pause = firstPause << (n - 1)
			pause = pause/2 + rand.N(pause/2)
		}
		if err := c.wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// once sends a request. After a failure, pause says how long to wait before the
// next attempt: as the server asks, 0 for as we like, or below 0 for never.
func (c *client) once(ctx context.Context, q *call) (r *reply, pause time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, -1, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "redoubt")
	for k, v := range q.header {
		req.Header[k] = []string{v}
	}
	switch {
	case c.token != "" && c.header == "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	case c.token != "":
		req.Header.Set(c.header, c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, hopeless(err), err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, c.patience(res), c.refusal(q, res)
	}
	if res.ContentLength > q.limit {
		return nil, -1, fmt.Errorf("%s answers with %d bytes, more than the %d that this request is worth", q.url, res.ContentLength, q.limit)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, q.limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read the answer of %s: %w", q.url, err)
	}
	if int64(len(body)) > q.limit {
		return nil, -1, fmt.Errorf("%s answers with more than the %d bytes that this request is worth", q.url, q.limit)
	}
	return &reply{res.Header, body}, 0, nil
}

// hopeless is below 0 for failures that another attempt will meet again.
func hopeless(err error) time.Duration {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	if errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid) || errors.As(err, &record) {
		return -1
	}
	return 0
}

// patience is how long a server that did not answer wants to be left alone.
func (c *client) patience(res *http.Response) time.Duration {
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return -1
	}
	after := res.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(after, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(at.Sub(c.now()), 0)
	}
	return 0
}

// refusal is a status other than 200.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// mayBeSize reports whether a smaller request may be taken: servers refuse
// batches beyond their configured size with any of these.
func (r *refusal) mayBeSize() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusInternalServerError:
		return true
	}
	return false
}

func (c *client) refusal(q *call, res *http.Response) error {
	if res.StatusCode/100 == 4 {
		c.refuse(q.rows)
	}
	text := fmt.Sprintf("%s %s: %d %s", q.method, q.url, res.StatusCode, http.StatusText(res.StatusCode))
	b, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // a part will do
	var said struct{ Error string }
	if json.Unmarshal(b, &said) != nil || said.Error == "" {
		said.Error = string(b)
	}
	if c.token != "" {
		said.Error = strings.ReplaceAll(said.Error, c.token, "[token]")
	}
	if said.Error != "" {
		text += fmt.Sprintf(" (%q)", excerpt(said.Error))
	}
	switch {
	case res.StatusCode/100 == 3:
		text += fmt.Sprintf(": it points to %q, which is not followed: give the right address", excerpt(res.Header.Get("Location")))
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		text += ": give the right token with --token env:NAME or file:PATH"
	}
	return &refusal{res.StatusCode, text}
}

// excerpt is the beginning of what a server said.
func excerpt(s string) string {
	const most = 200
	if r := []rune(strings.TrimSpace(s)); len(r) > most {
		return string(r[:most]) + "..."
	}
	return strings.TrimSpace(s)
}
