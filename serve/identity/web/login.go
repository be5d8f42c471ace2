package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

func (p *pages) login(w http.ResponseWriter, r *http.Request) error {
	return p.showLogin(w, r.FormValue("return"), "", nil)
}

func (p *pages) showLogin(w http.ResponseWriter, to, name string, err error) error {
	data := map[string]any{"Return": identity.LocalPath(to), "Name": name, "SignOns": p.who.SignOns()}
	if err != nil {
		status, text := explain(err)
		data["Error"] = text
		w.WriteHeader(status)
	}
	return p.show(w, "login", "Sign in", data)
}

func (p *pages) postLogin(w http.ResponseWriter, r *http.Request) error {
	name, to := r.PostFormValue("username"), r.PostFormValue("return")
	session, flow, err := p.who.Login(r.Context(), name, r.PostFormValue("password"), p.client(r))
	if err != nil {
		return p.showLogin(w, to, name, err)
	}
	if flow == "" {
		return p.welcome(w, r, session, to)
	}
	set(w, flowCookie, flow)
	return p.show(w, "second", "Second step", map[string]any{"Return": identity.LocalPath(to)})
}

func (p *pages) postSecond(w http.ResponseWriter, r *http.Request) error {
	to := r.PostFormValue("return")
	session, err := p.who.LoginCode(r.Context(), cookie(r, flowCookie), r.PostFormValue("code"), p.client(r))
	if err == nil {
		return p.welcome(w, r, session, to)
	}
	status, text := explain(err)
	w.WriteHeader(status)
	return p.show(w, "second", "Second step", map[string]any{"Return": identity.LocalPath(to), "Error": text})
}

func (p *pages) confirm(w http.ResponseWriter, r *http.Request) error {
	return p.showConfirm(w, r, nil)
}

func (p *pages) showConfirm(w http.ResponseWriter, r *http.Request, failed error) error {
	who, _, err := p.current(r)
	if err != nil {
		return err
	}
	a, err := p.who.Account(who.ID)
	if err != nil {
		return err
	}
	data := map[string]any{"Return": identity.LocalPath(r.FormValue("return")), "SecondFactor": a.SecondFactor}
	if issuer, _, ok := strings.Cut(strings.TrimPrefix(who.ID, "oidc:"), "#"); ok {
		data["Issuer"] = issuer
	}
	if failed != nil {
		status, text := explain(failed)
		data["Error"] = text
		w.WriteHeader(status)
	}
	return p.show(w, "confirm", "Confirm that it is you", data)
}

func (p *pages) postConfirm(w http.ResponseWriter, r *http.Request) error {
	session, err := p.who.ConfirmCode(r.Context(), cookie(r, identity.Cookie), r.PostFormValue("code"), p.client(r))
	if err != nil {
		return p.showConfirm(w, r, err)
	}
	return p.welcome(w, r, session, r.PostFormValue("return"))
}

// asked is what the script sends.
type asked struct {
	Return, Secret, Name string
	Confirm              bool
	Response             json.RawMessage
}

// read reads what the script sends, which only a script of these pages can: forms
// of other sites have no such type.
func read(r *http.Request) (a asked, err error) {
	if r.Header.Get("Content-Type") != "application/json" {
		return a, errNotScript
	}
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return a, errors.Join(errNotScript, err)
	}
	return a, nil
}

var errNotScript = &identity.Error{Kind: identity.Invalid, Cause: errors.New("it is not what the pages' script sends")}

// answer answers the script.
func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// offer gives the script what the browser is to ask its authenticator.
func offer(w http.ResponseWriter, options json.RawMessage, flow string, err error) error {
	if err != nil {
		return err
	}
	set(w, flowCookie, flow)
	return answer(w, options)
}

func (p *pages) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	options, flow, err := p.who.BeginPasskey()
	return offer(w, options, flow, err)
}

func (p *pages) finishPasskey(w http.ResponseWriter, r *http.Request) error {
	a, err := read(r)
	if err != nil {
		return err
	}
	session := ""
	if a.Confirm {
		session = cookie(r, identity.Cookie)
	}
	session, err = p.who.FinishPasskey(r.Context(), cookie(r, flowCookie), a.Response, session, p.client(r))
	if err != nil {
		return err
	}
	set(w, identity.Cookie, session)
	set(w, flowCookie, "")
	return answer(w, map[string]any{"to": p.after(a.Return)})
}

func (p *pages) signOn(w http.ResponseWriter, r *http.Request) error {
	address, flow, err := p.who.BeginSignOn(r.Context(), r.FormValue("issuer"), r.FormValue("return"), r.FormValue("again") != "")
	if err != nil {
		return err
	}
	set(w, flowCookie, flow)
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

func (p *pages) callback(w http.ResponseWriter, r *http.Request) error {
	session, to, err := p.who.FinishSignOn(r.Context(), cookie(r, flowCookie), r.URL.Query(), p.client(r))
	if err != nil {
		return p.showLogin(w, "", "", err)
	}
	return p.welcome(w, r, session, to)
}

func (p *pages) logout(w http.ResponseWriter, r *http.Request) error {
	if session := cookie(r, identity.Cookie); session != "" {
		// Whatever becomes of it, the browser forgets the session; one that has
		// ended already is what was asked for.
		err := p.who.Logout(r.Context(), session)
		set(w, identity.Cookie, "")
		var refused *identity.Error
		if errors.As(err, &refused) && refused.Kind == identity.Unavailable {
			return err
		}
	}
	http.Redirect(w, r, "/auth/login", http.StatusSeeOther)
	return nil
}
