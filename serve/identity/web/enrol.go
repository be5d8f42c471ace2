package web

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"rsc.io/qr"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

func (p *pages) enrol(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, "enrol", "Welcome", nil)
}

func (p *pages) postEnrol(w http.ResponseWriter, r *http.Request) error {
	return p.setup(w, r, nil)
}

// setup shows how to set an account up, with codes made anew.
func (p *pages) setup(w http.ResponseWriter, r *http.Request, failed error) error {
	secret := strings.TrimSpace(r.PostFormValue("secret"))
	e, err := p.who.Enrolment(r.Context(), secret)
	if err != nil {
		status, _ := explain(err)
		w.WriteHeader(status)
		return p.show(w, "enrol", "Welcome", map[string]any{"Error": "This enrolment is not valid: it works once, and for three days. Ask for another."})
	}
	data, err := seed(e.TOTP)
	if err != nil {
		return err
	}
	data["Secret"], data["Flow"], data["Name"], data["Required"] = secret, e.Flow, e.Account.Name, e.Required
	if failed != nil {
		status, text := explain(failed)
		data["Error"] = text
		w.WriteHeader(status)
	}
	return p.show(w, "setup", "Set up your account", data)
}

func (p *pages) enrolPassword(w http.ResponseWriter, r *http.Request) error {
	session, codes, err := p.who.EnrolPassword(r.Context(), r.PostFormValue("secret"), r.PostFormValue("password"), r.PostFormValue("flow"), r.PostFormValue("code"), p.client(r))
	if errors.Is(err, identity.ErrInput) {
		return p.setup(w, r, err)
	}
	if err != nil {
		return err
	}
	set(w, identity.Cookie, session)
	if codes == nil {
		http.Redirect(w, r, p.Home, http.StatusSeeOther)
		return nil
	}
	return p.show(w, "codes", "Recovery codes", map[string]any{"Codes": codes, "To": p.Home})
}

func (p *pages) enrolPasskeyBegin(w http.ResponseWriter, r *http.Request) error {
	a, err := read(r)
	if err != nil {
		return err
	}
	options, flow, err := p.who.EnrolNewPasskey(r.Context(), a.Secret)
	return offer(w, options, flow, err)
}

func (p *pages) enrolPasskeyFinish(w http.ResponseWriter, r *http.Request) error {
	a, err := read(r)
	if err != nil {
		return err
	}
	session, codes, err := p.who.EnrolPasskey(r.Context(), a.Secret, cookie(r, flowCookie), a.Response, a.Name, p.client(r))
	if err != nil {
		return err
	}
	set(w, identity.Cookie, session)
	set(w, flowCookie, "")
	return answer(w, map[string]any{"codes": codes, "to": p.Home})
}

// seed is what a page shows of an address for authenticators: a QR code, and the
// seed to be typed.
func seed(address string) (map[string]any, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	image, err := picture(address)
	return map[string]any{"QR": image, "Seed": u.Query().Get("secret")}, err
}

// image is a QR code as the path of an SVG.
type image struct {
	Size int // modules along a side, the quiet zone included
	Path template.HTMLAttr
}

// quiet is the margin that ISO/IEC 18004 asks for, in modules.
const quiet = 4

func picture(text string) (image, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return image{}, err
	}
	var b strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				b.WriteString("M" + strconv.Itoa(x+quiet) + " " + strconv.Itoa(y+quiet) + "h1v1h-1z")
			}
		}
	}
	return image{code.Size + 2*quiet, template.HTMLAttr(`d="` + b.String() + `"`)}, nil
}
