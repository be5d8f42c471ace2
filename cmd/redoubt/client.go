package main

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
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/serve"
	"github.com/redoubt-ml/redoubt/serve/identity"
)

// client asks the control API of a gateway: that of this machine's user through
// its socket, or any by its address.
type client struct {
	data, server, token, ca string
	session                 string // of whoever signed in, where there is no token
}

// flags adds those of every verb that administers.
func (c *client) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.data, "data", "", "folder of the server on this machine (default: in the user's data directory)")
	f.StringVar(&c.server, "server", "", "address of another server, such as https://models.example:8443")
	f.StringVar(&c.token, "token", "", "token for that server: env:NAME or file:PATH (default: who signed in with 'redoubt login')")
	f.StringVar(&c.ca, "ca", "", "PEM file of the authority of that server's certificate")
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// do asks for an operation. in and out may be nil.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	_, err := c.replace(ctx, method, path, "", in, out)
	return err
}

// replace is do for what has versions: match names the one that is replaced, and
// the tag of the one that the answer is about is returned.
func (c *client) replace(ctx context.Context, method, path, match string, in, out any) (tag string, err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return "", err
		}
		body = bytes.NewReader(b)
	}
	headers := http.Header{"Content-Type": {"application/json"}}
	if match != "" {
		headers.Set("If-Match", match)
	}
	answer, b, err := c.send(ctx, method, path, headers, body, time.Minute)
	if err != nil || out == nil {
		return answer.Get("ETag"), err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return "", fmt.Errorf("read the server's answer: %w", err)
	}
	return answer.Get("ETag"), nil
}

// uploadTime bounds how long a file may take on its way.
const uploadTime = 30 * time.Minute

// upload sends a file as it is.
func (c *client) upload(ctx context.Context, path, file string, bar *progress) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	defer bar.clear()
	r := &told{r: f, tell: bar.bytes("push " + filepath.Base(file)), total: st.Size()}
	_, _, err = c.send(ctx, http.MethodPut, path, http.Header{"Content-Type": {"application/octet-stream"}}, r, uploadTime)
	return err
}

// told tells how much was read.
type told struct {
	r           io.Reader
	tell        func(done, total int64)
	done, total int64
}

func (t *told) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.done += int64(n)
	t.tell(t.done, t.total)
	return n, err
}

// send sends a request and returns the headers and the body of an answer that is no
// refusal.
func (c *client) send(ctx context.Context, method, path string, headers http.Header, body io.Reader, patience time.Duration) (http.Header, []byte, error) {
	transport, base, err := c.connect()
	if err != nil {
		return nil, nil, err
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, base+"/api/v1"+path, body)
	if err != nil {
		return nil, nil, err
	}
	r.Header = headers
	if c.token != "" {
		secret, err := remote.Secret(c.token)
		if err != nil {
			return nil, nil, fmt.Errorf("--token: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	if c.session != "" {
		r.Header.Set("Cookie", identity.Cookie+"="+c.session)
	}
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		return nil, nil, c.unreachable(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if answer.StatusCode >= 300 {
		return nil, nil, c.hint(answer.StatusCode, refused(answer.StatusCode, b))
	}
	return answer.Header, b, nil
}

// address is that of another server.
func (c *client) address() (*url.URL, error) {
	u, err := url.Parse(c.server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s is not of the form https://HOST:PORT", c.server)
	}
	return u, nil
}

// transport is the way to another server.
func (c *client) transport() (*http.Transport, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	if c.ca == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: %s holds no certificate in PEM form", c.ca)
	}
	return t, nil
}

// connect is the way to the server and the beginning of its addresses.
func (c *client) connect() (*http.Transport, string, error) {
	if c.server != "" {
		u, err := c.address()
		if err != nil {
			return nil, "", fmt.Errorf("--server: %w", err)
		}
		if c.token == "" {
			if c.session, err = readSession(u.Host); err != nil {
				return nil, "", err
			}
			if c.session == "" {
				return nil, "", fmt.Errorf("--server needs a --token, env:NAME or file:PATH, or somebody who signed in with 'redoubt login https://%s'", u.Host)
			}
		}
		t, err := c.transport()
		return t, "https://" + u.Host, err
	}
	if c.token != "" || c.ca != "" {
		return nil, "", errors.New("--token and --ca are for --server: the server on this machine knows its user")
	}
	path, err := c.socket()
	if err != nil {
		return nil, "", err
	}
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}, "http://redoubt", nil
}

func (c *client) socket() (string, error) {
	if c.data != "" {
		return serve.SocketPath(c.data), nil
	}
	data, err := serve.DataDir()
	return serve.SocketPath(data), err
}

func (c *client) unreachable(err error) error {
	if c.server != "" {
		return fmt.Errorf("reach %s: %w", c.server, err)
	}
	path, _ := c.socket()
	return fmt.Errorf("no server of this user's answers at %s: start one with 'redoubt serve', or name another with --server or --data (%w)", path, errors.Unwrap(err))
}

// hint says what helps against a refusal that signing in mends.
func (c *client) hint(code int, err error) error {
	second := code == http.StatusForbidden && strings.Contains(err.Error(), "second factor")
	switch {
	case c.session != "" && (second || code == http.StatusUnauthorized):
		return fmt.Errorf("%w: sign in again with 'redoubt login %s'", err, c.server)
	case c.token != "" && second:
		return fmt.Errorf("%w: no token shows one: leave --token out and sign in with 'redoubt login %s'", err, c.server)
	}
	return err
}

// refused is a problem as the server tells it.
func refused(code int, b []byte) error {
	var p struct {
		Title, Detail, Instance string
		Errors                  []struct{ Message, Location string }
	}
	if json.Unmarshal(b, &p) != nil || p.Detail == "" && p.Title == "" {
		return fmt.Errorf("the server answered with status %d", code)
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	for _, e := range p.Errors {
		text += "; " + strings.TrimPrefix(e.Location+": "+e.Message, ": ")
	}
	if p.Instance != "" {
		text += " (request " + p.Instance + ")"
	}
	return errors.New(text)
}
