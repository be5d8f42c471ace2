package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// handing is what a program asks for that wants a session: where it listens, on the
// computer of the browser, and what it is to be told there.
type handing struct{ port, state, challenge string }

// longestState bounds what a program may have repeated to it, in bytes.
const longestState = 128

func readHanding(r *http.Request) (handing, error) {
	h := handing{r.FormValue("port"), r.FormValue("state"), r.FormValue("challenge")}
	n, err := strconv.ParseUint(h.port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != h.port || h.state == "" || len(h.state) > longestState || len(h.challenge) != 43 {
		return h, fmt.Errorf("%w: this is not an address that redoubt login shows: copy all of it", identity.ErrInput)
	}
	return h, nil
}

// back is where the program listens, with what it is told.
func (h handing) back(name, value string) string {
	q := url.Values{"state": {h.state}, name: {value}}
	return (&url.URL{Scheme: "http", Host: h.host(), Path: "/", RawQuery: q.Encode()}).String()
}

func (h handing) host() string { return net.JoinHostPort("127.0.0.1", h.port) }

func (h handing) path() string {
	q := url.Values{"port": {h.port}, "state": {h.state}, "challenge": {h.challenge}}
	return identity.HandOverPath + "?" + q.Encode()
}

// prove leads somebody who has yet to sign in, or to show a second factor, to where he
// does, and back.
func (h handing) prove(w http.ResponseWriter, r *http.Request, err error) error {
	var refused *identity.Error
	if !errors.As(err, &refused) || refused.Kind == identity.Unavailable {
		return err
	}
	at := "/auth/login"
	if refused.Kind == identity.SecondFactor {
		at = "/auth/confirm"
	}
	http.Redirect(w, r, at+"?return="+url.QueryEscape(h.path()), http.StatusSeeOther)
	return nil
}

// handOver asks whether a program gets a session.
func (p *pages) handOver(w http.ResponseWriter, r *http.Request) error {
	h, err := readHanding(r)
	if err != nil {
		return err
	}
	who, err := p.who.MayHandOver(cookie(r, identity.Cookie))
	if err != nil {
		return h.prove(w, r, err)
	}
	// Browsers hold where a form leads on to against this too.
	policy := w.Header().Get("Content-Security-Policy")
	w.Header().Set("Content-Security-Policy", strings.Replace(policy, "form-action 'self'", "form-action 'self' http://"+h.host(), 1))
	return p.show(w, "handover", "Sign in at the command line", map[string]any{
		"Name": who.Name, "Code": identity.HandOverCode(h.challenge), "Port": h.port, "State": h.state, "Challenge": h.challenge,
	})
}

// postHandOver sends the browser back to the program, with what was decided.
func (p *pages) postHandOver(w http.ResponseWriter, r *http.Request) error {
	h, err := readHanding(r)
	if err != nil {
		return err
	}
	if r.PostFormValue("allow") == "" {
		http.Redirect(w, r, h.back("error", "access_denied"), http.StatusSeeOther)
		return nil
	}
	code, err := p.who.HandOver(r.Context(), cookie(r, identity.Cookie), h.challenge, p.client(r))
	if err != nil {
		return h.prove(w, r, err)
	}
	http.Redirect(w, r, h.back("code", code), http.StatusSeeOther)
	return nil
}

// takeOver gives the program its session.
func (p *pages) takeOver(w http.ResponseWriter, r *http.Request) error {
	session, err := p.who.TakeOver(r.Context(), r.PostFormValue("code"), r.PostFormValue("verifier"), p.client(r))
	if err != nil {
		return err
	}
	set(w, identity.Cookie, session)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
