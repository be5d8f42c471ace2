// Package web is the pages on which people sign in: enrolment, login, account and
// logout, under /auth/.
//
//	mux.Handle("/auth/", web.Handler(web.Config{Identity: who}))
//
// They work without scripts but for passkeys, load nothing from elsewhere, and
// allow no inline script or style. Requests that change something and come from
// another site are refused ([http.CrossOriginProtection]); secrets are in bodies,
// cookies and fragments, never in what servers log.
package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"net/http"
	"net/netip"
	"path"
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
)

//go:embed pages static
var files embed.FS

// flowCookie holds what is half done; see identity's flows.
const flowCookie = "__Host-redoubt-flow"

// longestBody bounds what a form or a script sends, in bytes.
const longestBody = 128 << 10

// Config is what the pages are about. Identity is required.
type Config struct {
	Identity *identity.Service
	// From is the address a request came from: the peer's if nil. A gateway
	// behind a proxy that it trusts knows better.
	From func(*http.Request) netip.Addr
	// Home is where people go who did not come for anything: the account page if
	// empty.
	Home string
}

// pages are the parts of the handler.
type pages struct {
	Config
	who   *identity.Service
	views map[string]*template.Template
}

// Handler serves the pages, whose paths begin with /auth/. They are to be reached
// at identity.Config.Origin, over TLS.
func Handler(cfg Config) http.Handler {
	if cfg.From == nil {
		cfg.From = peer
	}
	if cfg.Home == "" {
		cfg.Home = "/auth/account"
	}
	p := &pages{cfg, cfg.Identity, map[string]*template.Template{}}
	for _, name := range []string{"login", "second", "confirm", "enrol", "setup", "account", "totp", "codes", "token", "handover", "error"} {
		p.views[name] = template.Must(template.ParseFS(files, "pages/layout.html", "pages/"+name+".html"))
	}
	mux := http.NewServeMux()
	for _, name := range []string{"auth.css", "auth.js"} { // and no listing of them
		mux.HandleFunc("GET /auth/static/"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, files, "static/"+name)
		})
	}
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /auth/login":                   p.login,
		"POST /auth/login":                  p.postLogin,
		"POST /auth/second":                 p.postSecond,
		"GET /auth/confirm":                 p.confirm,
		"POST /auth/confirm":                p.postConfirm,
		"POST /auth/passkey/begin":          p.beginPasskey,
		"POST /auth/passkey/finish":         p.finishPasskey,
		"GET /auth/signon":                  p.signOn,
		"GET " + identity.CallbackPath:      p.callback,
		"GET /auth/enrol":                   p.enrol,
		"POST /auth/enrol":                  p.postEnrol,
		"POST /auth/enrol/password":         p.enrolPassword,
		"POST /auth/enrol/passkey/begin":    p.enrolPasskeyBegin,
		"POST /auth/enrol/passkey/finish":   p.enrolPasskeyFinish,
		"GET /auth/account":                 p.account,
		"POST /auth/account/totp":           p.beginTOTP,
		"POST /auth/account/totp/add":       p.addTOTP,
		"POST /auth/account/passkey/begin":  p.newPasskeyBegin,
		"POST /auth/account/passkey/finish": p.newPasskeyFinish,
		"POST /auth/account/remove":         p.removeFactor,
		"POST /auth/account/recovery":       p.recovery,
		"POST /auth/account/password":       p.password,
		"POST /auth/account/session":        p.endSession,
		"POST /auth/account/token":          p.createToken,
		"POST /auth/account/revoke":         p.revokeToken,
		"GET " + identity.HandOverPath:      p.handOver,
		"POST " + identity.HandOverPath:     p.postHandOver,
		"POST " + identity.TakeOverPath:     p.takeOver,
		"POST /auth/logout":                 p.logout,
	} {
		mux.HandleFunc(pattern, p.page(h))
	}
	mux.HandleFunc(elsewhere, func(w http.ResponseWriter, r *http.Request) { p.missed(mux, w, r) })
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.refuse(w, http.StatusForbidden, "This came from the page of another site. Begin again here.")
	}))
	return harden(origin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if escaped := r.URL.EscapedPath(); path.Clean(escaped) != escaped { // which the mux would lead elsewhere
			p.missed(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})))
}

// elsewhere is the pattern of what no page has.
const elsewhere = "/auth/"

// missed answers where there is no page, or none with this method.
func (p *pages) missed(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	other := *r
	for _, other.Method = range []string{http.MethodGet, http.MethodPost} {
		if _, pattern := mux.Handler(&other); pattern != elsewhere && strings.HasSuffix(pattern, " "+r.URL.EscapedPath()) {
			w.Header().Add("Allow", other.Method)
		}
	}
	if w.Header().Get("Allow") != "" {
		p.refuse(w, http.StatusMethodNotAllowed, "This page cannot be asked in this way.")
		return
	}
	p.refuse(w, http.StatusNotFound, "There is no such page.")
}

// refuse shows that something is not done.
func (p *pages) refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	p.show(w, "error", "That did not work", map[string]any{"Text": text})
}

// harden sets the headers that every page has.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=()")
		h.Set("Cache-Control", "no-store")
		if strings.HasPrefix(r.URL.Path, "/auth/static/") {
			h.Set("Cache-Control", "no-cache")
		}
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
		}
		next.ServeHTTP(w, r)
	})
}

func peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a Unix socket has none
	}
	return at.Addr()
}

func (p *pages) client(r *http.Request) identity.Client {
	return identity.Client{From: p.From(r), Agent: r.UserAgent()}
}

// page runs a handler and shows its error.
func (p *pages) page(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, longestBody)
		err := h(w, r)
		if err == nil {
			return
		}
		status, text := explain(err)
		var refused *identity.Error
		errors.As(err, &refused)
		switch {
		case r.Header.Get("Content-Type") == "application/json":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, fmt.Sprintf(`{"error":%q}`, text))
		case r.Method == http.MethodGet && refused != nil && (refused.Kind == identity.Missing || refused.Kind == identity.Invalid || refused.Kind == identity.Expired):
			// Who is not signed in does so, and comes back.
			http.Redirect(w, r, "/auth/login?return="+template.URLQueryEscaper(r.URL.Path), http.StatusSeeOther)
		case refused != nil && refused.Kind == identity.SecondFactor:
			http.Redirect(w, r, "/auth/confirm", http.StatusSeeOther)
		default:
			p.refuse(w, status, text)
		}
	}
}

// explain is what the person is told, and the status.
func explain(err error) (status int, text string) {
	var refused *identity.Error
	if errors.As(err, &refused) {
		switch refused.Kind {
		case identity.Locked:
			return http.StatusTooManyRequests, fmt.Sprintf("Too many attempts. Wait %.0f seconds before the next.", math.Ceil(refused.Wait.Seconds()))
		case identity.Unavailable:
			return http.StatusServiceUnavailable, "This is not possible at the moment. Try again later."
		case identity.Expired:
			return http.StatusUnauthorized, "This has expired. Begin again."
		case identity.SecondFactor:
			return http.StatusForbidden, "Confirm with your second factor first."
		}
		return http.StatusUnauthorized, "That is not right. Check what you entered, or begin again."
	}
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return http.StatusRequestEntityTooLarge, "That is too much at once."
	}
	if errors.Is(err, identity.ErrInput) {
		text = strings.TrimPrefix(err.Error(), identity.ErrInput.Error()+": ")
		return http.StatusBadRequest, strings.ToUpper(text[:1]) + text[1:] + "."
	}
	return http.StatusInternalServerError, "Something broke. Try again."
}

// show renders a page.
func (p *pages) show(w http.ResponseWriter, view, title string, data map[string]any) error {
	if data == nil {
		data = map[string]any{}
	}
	data["Title"] = title
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return p.views[view].ExecuteTemplate(w, "layout", data)
}

// cookie reads a cookie; "" where there is none.
func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// set sets or, with "", deletes a cookie.
func set(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	} else if name == flowCookie {
		c.MaxAge = 600
	}
	http.SetCookie(w, c)
}

// welcome gives somebody who has signed in the session, and leads on.
func (p *pages) welcome(w http.ResponseWriter, r *http.Request, session, to string) error {
	set(w, identity.Cookie, session)
	set(w, flowCookie, "")
	http.Redirect(w, r, p.after(to), http.StatusSeeOther)
	return nil
}

// after is where somebody wanted to go, or home.
func (p *pages) after(to string) string {
	if to = identity.LocalPath(to); to == "/" {
		return p.Home
	}
	return to
}

// current is who is signed in.
func (p *pages) current(r *http.Request) (redoubt.Principal, string, error) {
	session := cookie(r, identity.Cookie)
	if session == "" {
		return redoubt.Principal{}, "", &identity.Error{Kind: identity.Missing}
	}
	who, err := p.who.Current(session)
	return who, session, err
}
