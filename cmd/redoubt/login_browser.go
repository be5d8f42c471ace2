package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// browsing is for how long somebody may take in the browser.
const browsing = 10 * time.Minute

// browse signs in by way of the user's browser, where passkeys and single sign-on
// are: it listens at the port (any if 0), sends the browser to the server, and waits
// for it to be sent here with a code, for which the server gives a session (RFC 8252,
// section 7.3, with the proof of RFC 7636).
func (l *login) browse(ctx context.Context, port int, open func(address string) error) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen for the browser: %w", err)
	}
	v := &visit{login: l, host: listener.Addr().String(), state: rand.Text(), verifier: rand.Text() + rand.Text(), over: make(chan error, 1)}
	server := &http.Server{Handler: v, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute + 10*time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		// The page that tells how it went is to reach the browser.
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(rest) != nil {
			_ = server.Close()
		}
	}()
	sum := sha256.Sum256([]byte(v.verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	_, at, _ := net.SplitHostPort(v.host)
	address := l.base + identity.HandOverPath + "?" + url.Values{"port": {at}, "state": {v.state}, "challenge": {challenge}}.Encode()
	fmt.Fprintf(os.Stderr, "In a browser on this machine, allow the code %s at\n\n  %s\n\n", identity.HandOverCode(challenge), address)
	if err := open(address); err != nil {
		fmt.Fprintf(os.Stderr, "No browser could be opened (%v): open the address yourself.\n", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, browsing, fmt.Errorf("nobody signed in within %v", browsing))
	defer cancel()
	select {
	case err = <-v.over:
		return err
	case <-ctx.Done():
		return fmt.Errorf("sign in at %s: %w", l.base, context.Cause(ctx))
	}
}

// visit is a login that is under way in a browser.
type visit struct {
	*login
	host, state, verifier string
	over                  chan error // holds how it ended
}

// ServeHTTP takes the request that the server sends the browser to make. Whatever
// does not know the state is another's, and changes nothing.
func (v *visit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	q := r.URL.Query()
	if r.Host != v.host || r.URL.Path != "/" || r.Method != http.MethodGet || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(v.state)) != 1 {
		http.Error(w, "This is not the answer that redoubt login waits for.", http.StatusBadRequest)
		return
	}
	err := errors.New("it was not allowed in the browser")
	if q.Get("error") == "" {
		err = v.take(r.Context(), q.Get("code"))
	}
	if err != nil {
		err = fmt.Errorf("sign in at %s: %w", v.base, err)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "Nobody is signed in at the command line: see there.\n")
	} else {
		_, _ = io.WriteString(w, "Signed in. You may close this page, and go on at the command line.\n")
	}
	select {
	case v.over <- err:
	default: // it has ended before
	}
}

// take has the server give the session, and keeps it.
func (v *visit) take(ctx context.Context, code string) error {
	cookies, err := v.post(ctx, identity.TakeOverPath, url.Values{"code": {code}, "verifier": {v.verifier}}, "")
	if err != nil {
		return err
	}
	return v.keep(cookies[identity.Cookie])
}

// openBrowser opens an address in the browser that BROWSER names, or in the user's.
func openBrowser(address string) error {
	var cmd *exec.Cmd
	switch name := os.Getenv("BROWSER"); {
	case name != "":
		cmd = exec.Command(name, address)
	case runtime.GOOS == "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", address)
	case runtime.GOOS == "darwin":
		cmd = exec.Command("open", address)
	default:
		cmd = exec.Command("xdg-open", address)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
