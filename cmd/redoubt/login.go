package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-ml/redoubt/internal/atomicfile"
	"github.com/redoubt-ml/redoubt/serve/identity"
)

// flowCookie holds a login that wants a second factor still.
const flowCookie = "__Host-redoubt-flow"

func newLogin(*app) *cobra.Command {
	c := &client{}
	var name string
	var end, browser bool
	var port int
	cmd := &cobra.Command{
		Use:   "login https://HOST[:PORT]",
		Short: "Sign in at a server, to administer it from here",
		Long: `Sign in at a server, to administer it from here.

Who administers shows a second factor, which no token can: so the verbs with
--server and without --token do what they do as whoever signed in here, with a
password and a one-time code or recovery code, or with --browser in a browser, with
a passkey or through single sign-on. What is dangerous wants a factor that is fresh:
sign in again. The session is kept in a file of this user's alone, and ends when it
was not used for half an hour, after twelve, or with --end.

With --browser the server asks in the browser whether this program may act as who is
signed in there: allow it if both show the same code. The browser must be on this
machine. On another, of which you have a shell, take a --port and forward it there:

  ssh -L 18443:127.0.0.1:18443 HOST redoubt login https://... --browser --port 18443

Where standard input is no terminal, password and code are read from it, a line each.`,
		Example: `  redoubt login https://models.example:8443 --name alice
  redoubt login https://models.example:8443 --browser
  redoubt user list --server https://models.example:8443
  redoubt login https://models.example:8443 --end`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.server = args[0]
			l, err := c.newLogin()
			if err != nil {
				return err
			}
			defer l.http.CloseIdleConnections()
			switch {
			case end:
				return l.end(cmd.Context())
			case browser && name != "":
				return errors.New("--name is for a password: with --browser the browser asks")
			case browser:
				return l.browse(cmd.Context(), port, openBrowser)
			case port != 0:
				return errors.New("--port is for --browser")
			}
			return l.begin(cmd.Context(), name, &typed{in: os.Stdin})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name to sign in with (default: asked for)")
	cmd.Flags().StringVar(&c.ca, "ca", "", "PEM file of the authority of the server's certificate")
	cmd.Flags().BoolVar(&browser, "browser", false, "sign in in a browser: with a passkey, or through single sign-on")
	cmd.Flags().IntVar(&port, "port", 0, "port of 127.0.0.1 at which the browser comes back (default: any)")
	cmd.Flags().BoolVar(&end, "end", false, "sign out")
	return cmd
}

// login signs in at a server and out again.
type login struct {
	http http.Client
	base string // https://HOST
	file string // of the session
}

func (c *client) newLogin() (*login, error) {
	u, err := c.address()
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	file, err := sessionFile(u.Host)
	return &login{
		http: http.Client{
			Transport: transport, Timeout: time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: "https://" + u.Host, file: file,
	}, err
}

// sessionFile is where the session at a host is kept.
func sessionFile(host string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the user's folder for configuration: %w", err)
	}
	return filepath.Join(dir, "redoubt", "sessions", strings.NewReplacer(":", "_", "/", "_", `\`, "_").Replace(host)), nil
}

// readSession is the session at a host, or "".
func readSession(host string) (string, error) {
	file, err := sessionFile(host)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

func (l *login) begin(ctx context.Context, name string, ask *typed) error {
	var err error
	if name == "" {
		if name, err = ask.line("name: "); err != nil {
			return err
		}
	}
	password, err := ask.secret("password: ")
	if err != nil {
		return err
	}
	cookies, err := l.post(ctx, "/auth/login", url.Values{"username": {name}, "password": {password}}, "")
	if err != nil {
		return err
	}
	session, flow := cookies[identity.Cookie], cookies[flowCookie]
	if session == "" && flow != "" {
		code, err := ask.secret("code: ")
		if err != nil {
			return err
		}
		if cookies, err = l.post(ctx, "/auth/second", url.Values{"code": {code}}, flowCookie+"="+flow); err != nil {
			return err
		}
		session = cookies[identity.Cookie]
	}
	return l.keep(session)
}

// keep keeps the session that a server gave.
func (l *login) keep(session string) error {
	if session == "" {
		return fmt.Errorf("%s gave no session: is it a gateway of Redoubt's?", l.base)
	}
	if err := os.MkdirAll(filepath.Dir(l.file), 0o700); err != nil {
		return err
	}
	if err := atomicfile.Replace(l.file, []byte(session+"\n")); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "signed in at %s\n", l.base)
	return nil
}

// end signs out, and forgets the session whatever the server says.
func (l *login) end(ctx context.Context) error {
	b, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nobody is signed in at %s from here", l.base)
	}
	if err != nil {
		return err
	}
	_, err = l.post(ctx, "/auth/logout", nil, identity.Cookie+"="+strings.TrimSpace(string(b)))
	return errors.Join(err, os.Remove(l.file))
}

// post sends a form of the pages, and returns the cookies that are set.
func (l *login) post(ctx context.Context, path string, form url.Values, cookie string) (map[string]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "redoubt login")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	a, err := l.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", l.base, err)
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(a.Body, maxAnswer)); err != nil {
		return nil, fmt.Errorf("sign in at %s: %w", l.base, err)
	}
	switch {
	case path == identity.TakeOverPath && a.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("the browser came too late, or again: begin anew")
	case a.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("sign in at %s: the name, the password or the code is not right, or the code was used (with a passkey, or through single sign-on: --browser)", l.base)
	case a.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("sign in at %s: too many attempts: wait before the next", l.base)
	case a.StatusCode >= 400:
		return nil, fmt.Errorf("sign in at %s: the server answered with status %d (request %s)", l.base, a.StatusCode, a.Header.Get("X-Request-Id"))
	}
	cookies := map[string]string{}
	for _, c := range a.Cookies() {
		cookies[c.Name] = c.Value
	}
	return cookies, nil
}

// typed is what somebody types, or what stands in a file or a pipe in place of it.
type typed struct {
	in     *os.File
	reader *bufio.Reader
}

func (t *typed) line(prompt string) (string, error) {
	if term.IsTerminal(int(t.in.Fd())) {
		fmt.Fprint(os.Stderr, prompt)
	}
	if t.reader == nil {
		t.reader = bufio.NewReader(t.in)
	}
	text, err := t.reader.ReadString('\n')
	if text = strings.TrimRight(text, "\r\n"); text != "" {
		return text, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("it ends")
	}
	return "", fmt.Errorf("read the %s from standard input: %w", strings.TrimSuffix(prompt, ": "), err)
}

// secret is a line that the terminal does not show.
func (t *typed) secret(prompt string) (string, error) {
	if !term.IsTerminal(int(t.in.Fd())) {
		return t.line(prompt)
	}
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(int(t.in.Fd()))
	fmt.Fprintln(os.Stderr)
	return string(b), err
}
