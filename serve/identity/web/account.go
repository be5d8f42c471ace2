package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// confirmed is for how long what a second factor confirmed lets tokens be made.
const confirmed = 10 * time.Minute

func (p *pages) account(w http.ResponseWriter, r *http.Request) error {
	return p.showAccount(w, r, nil)
}

func (p *pages) showAccount(w http.ResponseWriter, r *http.Request, failed error) error {
	who, _, err := p.current(r)
	if err != nil {
		return err
	}
	a, err := p.who.Account(who.ID)
	if err != nil {
		return err
	}
	factors, codes, err := p.who.Factors(r.Context(), who.ID)
	if err != nil {
		return err
	}
	data := map[string]any{
		"Account": a, "Factors": factors, "Codes": codes, "Sessions": p.who.Sessions(who.ID), "Tokens": p.who.Tokens(who.ID),
		"This": who.Credential, "Own": strings.HasPrefix(who.ID, "user:"),
		// Somebody whose role asks for a second factor he has yet to set up.
		"Missing": !a.SecondFactor && who.Verified.IsZero() && (slices.Contains(a.Roles, "model_admin") || slices.Contains(a.Roles, "security_admin")),
	}
	if failed != nil {
		status, text := explain(failed)
		data["Error"] = text
		w.WriteHeader(status)
	}
	return p.show(w, "account", "Your account", data)
}

// done goes back to the account page, or tells what was wrong there.
func (p *pages) done(w http.ResponseWriter, r *http.Request, err error) error {
	if status, _ := explain(err); err != nil && status == http.StatusBadRequest {
		return p.showAccount(w, r, err)
	}
	if err == nil {
		http.Redirect(w, r, "/auth/account", http.StatusSeeOther)
	}
	return err
}

func (p *pages) beginTOTP(w http.ResponseWriter, r *http.Request) error {
	return p.showTOTP(w, r, nil)
}

func (p *pages) showTOTP(w http.ResponseWriter, r *http.Request, failed error) error {
	address, flow, err := p.who.BeginTOTP(cookie(r, identity.Cookie))
	if err != nil {
		return err
	}
	data, err := seed(address)
	if err != nil {
		return err
	}
	data["Flow"] = flow
	if failed != nil {
		status, text := explain(failed)
		data["Error"] = text
		w.WriteHeader(status)
	}
	return p.show(w, "totp", "One-time codes", data)
}

func (p *pages) addTOTP(w http.ResponseWriter, r *http.Request) error {
	codes, err := p.who.AddTOTP(r.Context(), cookie(r, identity.Cookie), r.PostFormValue("flow"), r.PostFormValue("code"))
	if status, _ := explain(err); err != nil && status == http.StatusBadRequest {
		return p.showTOTP(w, r, err)
	}
	if err != nil || codes == nil {
		return p.done(w, r, err)
	}
	return p.show(w, "codes", "Recovery codes", map[string]any{"Codes": codes, "To": "/auth/account"})
}

func (p *pages) newPasskeyBegin(w http.ResponseWriter, r *http.Request) error {
	options, flow, err := p.who.BeginNewPasskey(r.Context(), cookie(r, identity.Cookie))
	return offer(w, options, flow, err)
}

func (p *pages) newPasskeyFinish(w http.ResponseWriter, r *http.Request) error {
	a, err := read(r)
	if err != nil {
		return err
	}
	codes, err := p.who.AddPasskey(r.Context(), cookie(r, identity.Cookie), cookie(r, flowCookie), a.Response, a.Name)
	if err != nil {
		return err
	}
	set(w, flowCookie, "")
	return answer(w, map[string]any{"codes": codes, "to": "/auth/account"})
}

func (p *pages) removeFactor(w http.ResponseWriter, r *http.Request) error {
	return p.done(w, r, p.who.RemoveFactor(r.Context(), cookie(r, identity.Cookie), r.PostFormValue("id")))
}

func (p *pages) recovery(w http.ResponseWriter, r *http.Request) error {
	codes, err := p.who.NewRecovery(r.Context(), cookie(r, identity.Cookie))
	if err != nil {
		return p.done(w, r, err)
	}
	return p.show(w, "codes", "Recovery codes", map[string]any{"Codes": codes, "To": "/auth/account"})
}

func (p *pages) password(w http.ResponseWriter, r *http.Request) error {
	return p.done(w, r, p.who.SetPassword(r.Context(), cookie(r, identity.Cookie), r.PostFormValue("password")))
}

func (p *pages) endSession(w http.ResponseWriter, r *http.Request) error {
	who, _, err := p.current(r)
	if err != nil {
		return err
	}
	id := r.PostFormValue("id")
	if !slices.ContainsFunc(p.who.Sessions(who.ID), func(s identity.Session) bool { return s.ID == id }) {
		return &identity.Error{Kind: identity.Invalid} // another's, or none
	}
	return p.done(w, r, p.who.EndSession(r.Context(), who, id))
}

func (p *pages) createToken(w http.ResponseWriter, r *http.Request) error {
	who, session, err := p.current(r)
	if err != nil {
		return err
	}
	a, err := p.who.Account(who.ID)
	if err != nil {
		return err
	}
	if a.SecondFactor || !strings.HasPrefix(who.ID, "user:") {
		if err := p.who.Verified(who, confirmed); err != nil {
			return err
		}
	}
	// Not only the page's rule: an administrator without a second factor gets no
	// token either.
	if _, err := p.who.Authenticate(r.Context(), identity.Credentials{Session: session}); err != nil {
		return err
	}
	t := identity.Token{Account: who.ID, Name: r.PostFormValue("name")}
	if scopes := strings.Fields(r.PostFormValue("scopes")); len(scopes) > 0 {
		t.Scopes = scopes // an empty list would allow nothing
	}
	t, secret, err := p.who.CreateToken(r.Context(), who, t)
	if err != nil {
		return p.done(w, r, err)
	}
	return p.show(w, "token", "New token", map[string]any{"Token": t, "Secret": secret})
}

func (p *pages) revokeToken(w http.ResponseWriter, r *http.Request) error {
	who, _, err := p.current(r)
	if err != nil {
		return err
	}
	id := r.PostFormValue("id")
	if !slices.ContainsFunc(p.who.Tokens(who.ID), func(t identity.Token) bool { return t.ID == id }) {
		return &identity.Error{Kind: identity.Invalid} // another's, or none
	}
	return p.done(w, r, p.who.RevokeToken(r.Context(), who, id))
}
