package web

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"go.uber.org/goleak"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

// journal remembers what was recorded.
type journal struct {
	mu     sync.Mutex
	events []redoubt.Event
}

func (j *journal) Record(_ context.Context, e redoubt.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return nil
}

var admin = redoubt.Principal{ID: "local:0", Method: "socket"}

// ahead is a clock that tests move.
type ahead struct {
	mu sync.Mutex
	by time.Duration
}

func (a *ahead) Now() time.Time { a.mu.Lock(); defer a.mu.Unlock(); return time.Now().Add(a.by) }

func (a *ahead) move(d time.Duration) { a.mu.Lock(); defer a.mu.Unlock(); a.by += d }

func service(t *testing.T, origin string, clock *ahead) *identity.Service {
	t.Helper()
	who, err := identity.Open(t.Context(), identity.Config{
		Store: storetest.Open(t, storetest.SQLite(t)), Recorder: &journal{}, Key: []byte("0123456789abcdef0123456789abcdef"), Origin: origin, Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(who.Close)
	return who
}

// site is the pages over TLS, and a browser without scripts.
type site struct {
	*httptest.Server
	t     *testing.T
	who   *identity.Service
	clock *ahead
	http  *http.Client
}

func newSite(t *testing.T) *site {
	s := &site{t: t, clock: &ahead{}}
	s.who = service(t, "https://models.example", s.clock)
	s.Server = httptest.NewTLSServer(Handler(Config{Identity: s.who}))
	t.Cleanup(s.Close)
	s.http = s.browser()
	return s
}

func (s *site) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Transport: s.Client().Transport, Jar: jar}
}

// get and post return the status and the page after redirects.
func (s *site) get(path string) (int, string) {
	s.t.Helper()
	return s.read(s.http.Get(s.URL + path))
}

func (s *site) post(path string, form ...string) (int, string) {
	s.t.Helper()
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	return s.read(s.http.PostForm(s.URL+path, v))
}

func (s *site) read(res *http.Response, err error) (int, string) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (s *site) want(status int, words string, gotStatus int, page string) {
	s.t.Helper()
	if gotStatus != status || !strings.Contains(page, words) {
		s.t.Fatalf("status %d, want %d with %q:\n%s", gotStatus, status, words, page)
	}
}

func field(t *testing.T, page, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no field %q in\n%s", name, page)
	}
	return m[1]
}

const passphrase = "walrus under a violet lamp"

// The whole way of somebody without scripts: enrol, sign out, sign in, be sent to
// confirm, make a token, revoke it, end a session.
func TestPages(t *testing.T) {
	s := newSite(t)
	a, secret, err := s.who.CreatePerson(t.Context(), admin, "ann", []string{"security_admin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, page := s.get("/auth/account")
	s.want(200, "Sign in with a passkey", status, page) // sent to the login
	status, page = s.post("/auth/enrol", "secret", "nonsense")
	s.want(401, "This enrolment is not valid", status, page)
	status, page = s.post("/auth/enrol", "secret", secret)
	s.want(200, "Set up your account", status, page)
	status, page = s.post("/auth/enrol/password", "secret", secret, "password", passphrase, "flow", field(t, page, "flow"), "code", "")
	s.want(400, "second factor", status, page)
	seed := regexp.MustCompile(`<code>([A-Z2-7]{32})</code>`).FindStringSubmatch(page)[1]
	code := func() string {
		// Someone else's implementation of one-time codes.
		c, err := totp.GenerateCode(seed, s.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.clock.move(30 * time.Second) // the next is another
		return c
	}
	status, page = s.post("/auth/enrol/password", "secret", secret, "password", passphrase, "flow", field(t, page, "flow"), "code", code())
	s.want(200, "Each of these works once", status, page)
	recovery := regexp.MustCompile(`<code>([a-z2-7-]{19})</code>`).FindAllStringSubmatch(page, -1)
	if len(recovery) != 10 {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	status, page = s.get("/auth/account")
	s.want(200, "signed in as <strong>ann</strong>", status, page)
	status, page = s.post("/auth/logout")
	s.want(200, "Sign in with a passkey", status, page)
	status, page = s.get("/auth/account")
	s.want(200, "Sign in with a passkey", status, page)

	status, page = s.post("/auth/login", "username", "ann", "password", "not it, not it, not it")
	s.want(401, "That is not right", status, page)
	status, page = s.post("/auth/login", "username", "ann", "password", passphrase, "return", "//evil.example")
	s.want(200, "recovery code", status, page)
	if to := field(t, page, "return"); to != "/" {
		t.Errorf("it leads to %q", to)
	}
	status, page = s.post("/auth/second", "code", "000000")
	s.want(401, "That is not right", status, page)
	status, page = s.post("/auth/second", "code", recovery[0][1])
	s.want(200, "(9 left)", status, page)

	s.clock.move(20 * time.Minute)
	status, page = s.post("/auth/account/token", "name", "laptop")
	s.want(200, "Confirm that it is you", status, page)
	status, page = s.post("/auth/confirm", "code", code())
	s.want(200, "Your account", status, page)
	status, page = s.post("/auth/account/token", "name", "laptop", "scopes", "everything")
	s.want(400, "A scope is of the form", status, page)
	status, page = s.post("/auth/account/token", "name", "<b>laptop</b>", "scopes", "model:loans:invoke model:x:*")
	s.want(200, "&lt;b&gt;laptop", status, page)
	token := regexp.MustCompile(`rdt_[0-9A-Za-z]{36}`).FindString(page)
	p, err := s.who.Authenticate(t.Context(), identity.Credentials{Authorization: "Bearer " + token})
	if err != nil || p.ID != a.ID || len(p.Scopes) != 2 {
		t.Errorf("the token is %+v (%v)", p, err)
	}
	status, page = s.get("/auth/account")
	s.want(200, "model:loans:invoke", status, page)
	status, page = s.post("/auth/account/revoke", "id", s.who.Tokens(a.ID)[0].ID)
	s.want(200, "None.", status, page)
	if _, err := s.who.Authenticate(t.Context(), identity.Credentials{Authorization: "Bearer " + token}); err == nil {
		t.Error("the token still works")
	}
	status, page = s.post("/auth/account/token", "name", "all", "scopes", " ")
	s.want(200, "It is not shown again", status, page)
	p, err = s.who.Authenticate(t.Context(), identity.Credentials{Authorization: "Bearer " + regexp.MustCompile(`rdt_[0-9A-Za-z]{36}`).FindString(page)})
	if err != nil || p.Scopes != nil {
		t.Errorf("a token for all has the scopes %q (%v)", p.Scopes, err)
	}
	// Nobody ends what is another's.
	other, err := s.who.CreateService(t.Context(), admin, "svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _, err := s.who.CreateToken(t.Context(), admin, identity.Token{Account: other.ID, Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	s.post("/auth/account/revoke", "id", theirs.ID)
	if len(s.who.Tokens(other.ID)) != 1 {
		t.Error("somebody revoked another's token")
	}
	status, page = s.post("/auth/account/session", "id", s.who.Sessions(a.ID)[0].ID)
	s.want(200, "Sign in with a passkey", status, page)
}

// A program at the command line gets a session by way of the browser, where somebody
// signs in first, and allows it.
func TestHandOver(t *testing.T) {
	s := newSite(t)
	_, secret, err := s.who.CreatePerson(t.Context(), admin, "ann", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.post("/auth/enrol/password", "secret", secret, "password", passphrase)
	s.post("/auth/logout")
	const challenge, verifier = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	address := identity.HandOverPath + "?port=18443&state=a%26b&challenge=" + challenge
	status, page := s.get(address)
	s.want(200, "Sign in with a passkey", status, page)
	status, page = s.post("/auth/login", "username", "ann", "password", passphrase, "return", html.UnescapeString(field(t, page, "return")))
	s.want(200, identity.HandOverCode(challenge), status, page)
	s.want(200, "act as <strong>ann</strong>", status, page)

	s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := s.http.Get(s.URL + address)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1:18443;") || strings.Count(csp, "form-action") != 1 {
		t.Errorf("the policy is %s", csp)
	}
	decide := func(form ...string) *url.URL {
		t.Helper()
		v := url.Values{"port": {"18443"}, "state": {"a&b"}, "challenge": {challenge}}
		for i := 0; i < len(form); i += 2 {
			v.Set(form[i], form[i+1])
		}
		res, err := s.http.PostForm(s.URL+identity.HandOverPath, v)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		to, err := res.Location()
		if err != nil {
			t.Fatalf("status %d: %v", res.StatusCode, err)
		}
		return to
	}
	if to := decide().String(); to != "http://127.0.0.1:18443/?error=access_denied&state=a%26b" {
		t.Errorf("not allowed, it leads to %s", to)
	}
	to := decide("allow", "yes")
	if to.Scheme != "http" || to.Host != "127.0.0.1:18443" || to.Path != "/" || to.Query().Get("state") != "a&b" {
		t.Errorf("allowed, it leads to %s", to)
	}
	code, program := to.Query().Get("code"), s.browser()
	take := func(verifier string) *http.Response {
		t.Helper()
		res, err := program.PostForm(s.URL+identity.TakeOverPath, url.Values{"code": {code}, "verifier": {verifier}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := take("another"); res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
		t.Errorf("another program: status %d, %v", res.StatusCode, res.Cookies())
	}
	res = take(verifier)
	if res.StatusCode != http.StatusNoContent || len(res.Cookies()) != 1 {
		t.Fatalf("status %d, %v", res.StatusCode, res.Cookies())
	}
	if p, err := s.who.Authenticate(t.Context(), identity.Credentials{Session: res.Cookies()[0].Value}); err != nil || p.Name != "ann" {
		t.Errorf("the program is %+v (%v)", p, err)
	}
	if res := take(verifier); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("again: status %d", res.StatusCode)
	}

	// Nothing leads elsewhere, and what is not of a program is refused.
	for _, bad := range []string{"port=0", "port=80:80", "port=65536", "port=+80", "port=@evil.example", "port=", "state=", "state=" + strings.Repeat("x", longestState+1), "challenge=short"} {
		name, value, _ := strings.Cut(bad, "=")
		v := url.Values{"port": {"18443"}, "state": {"s"}, "challenge": {challenge}, "allow": {"yes"}}
		v.Set(name, value)
		for _, ask := range []func() (*http.Response, error){
			func() (*http.Response, error) { return s.http.Get(s.URL + identity.HandOverPath + "?" + v.Encode()) },
			func() (*http.Response, error) { return s.http.PostForm(s.URL+identity.HandOverPath, v) },
		} {
			status, page := s.read(ask())
			s.want(400, "copy all of it", status, page)
		}
	}

	// Who has been away for long signs in again when he allows it, and comes back.
	s.clock.move(time.Hour)
	if to := decide("allow", "yes"); to.Path != "/auth/login" || !strings.HasPrefix(to.Query().Get("return"), identity.HandOverPath+"?") {
		t.Errorf("no longer signed in, it leads to %s", to)
	}
}

// What another site may make a browser do, and what it may not.
func TestOtherSitesCannotAct(t *testing.T) {
	s := newSite(t)
	for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		for _, path := range []string{"/auth/login", "/auth/logout", "/auth/passkey/begin", "/auth/account/token", "/auth/enrol", identity.HandOverPath, identity.TakeOverPath} {
			req, err := http.NewRequest("POST", s.URL+path, strings.NewReader("username=ann&password=x"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set(header, value)
			status, _ := s.read(s.http.Do(req))
			if status != http.StatusForbidden {
				t.Errorf("%s with %s: %s: status %d", path, header, value, status)
			}
		}
	}
	for _, path := range []string{"/auth/passkey/finish", "/auth/enrol/passkey/begin", "/auth/account/passkey/finish"} {
		if status, _ := s.post(path, "secret", "x"); status != http.StatusUnauthorized {
			t.Errorf("a form to %s: status %d", path, status)
		}
	}
}

func TestHeadersAndCookies(t *testing.T) {
	s := newSite(t)
	_, secret, err := s.who.CreatePerson(t.Context(), admin, "ann", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := b.PostForm(s.URL+"/auth/enrol/password", url.Values{"secret": {secret}, "password": {passphrase}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	c := res.Cookies()[0]
	if c.Name != "__Host-redoubt" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %v", c)
	}
	for _, path := range []string{"/auth/login", "/auth/enrol", "/auth/static/auth.js", "/auth/static/auth.css", "/auth/nothing"} {
		res, err := s.http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		h := res.Header
		csp := h.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || !strings.Contains(h.Get("Strict-Transport-Security"), "max-age=63072000") ||
			h.Get("Cross-Origin-Opener-Policy") != "same-origin" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, h)
		}
		if strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".css") {
			continue
		}
		if m := regexp.MustCompile(`(?i)<[^>]*\s(style|on[a-z]+)=|<style|<script[^>]*>[^<]|https?://`).FindString(string(body)); m != "" {
			t.Errorf("%s: inline or foreign: %q", path, m)
		}
	}
	for _, path := range []string{"/auth/static/", "/auth/pages/login.html", "/auth/static/../pages/login.html"} {
		if status, page := s.get(path); status == 200 && (strings.Contains(page, "{{") || strings.Contains(page, "auth.css</a>")) {
			t.Errorf("%s is served", path)
		}
	}
	if status, _ := s.post("/auth/login", "username", strings.Repeat("x", longestBody+1)); status == 200 {
		t.Error("a giant form is read")
	}
	if status, _ := s.get("/auth/logout"); status != http.StatusMethodNotAllowed {
		t.Errorf("logout by GET: status %d", status)
	}
}
