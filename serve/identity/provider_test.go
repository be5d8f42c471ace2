package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// glewlwyd is one, an OpenID Connect provider that others wrote, with people
// of whom one has one-time codes.
type glewlwyd struct {
	t    *testing.T
	base string
}

const providerSeed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func startProvider(t *testing.T) *glewlwyd {
	path, err := exec.LookPath("glewlwyd")
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		need.Missing(t, "glewlwyd", "Glewlwyd (Debian: .ci/run says how to get it)")
	}
	dir, usr := t.TempDir(), filepath.Dir(filepath.Dir(path))
	script, err := os.ReadFile(filepath.Join(usr, "share/dbconfig-common/data/glewlwyd/install/sqlite3"))
	ok(t, err)
	db, err := sql.Open("sqlite", filepath.Join(dir, "db"))
	ok(t, err)
	_, err = db.Exec(string(script))
	ok(t, err)
	// Teams are several words.
	_, err = db.Exec(`UPDATE g_user_module_instance SET gumi_parameters = json_set(gumi_parameters, '$.data-format', json('{"team":{"multiple":true,"read":true,"write":true}}'))`)
	ok(t, err)
	ok(t, db.Close())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ok(t, l.Close())
	p := &glewlwyd{t, "http://127.0.0.1:" + port}
	config := fmt.Sprintf(`port=%s
bind_address="127.0.0.1"
external_url="%s"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_expiration=3600
session_key="GLEWLWYD2_SESSION_ID"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
hash_algorithm="SHA512"
user_module_path="%[3]s/user"
client_module_path="%[3]s/client"
user_auth_scheme_module_path="%[3]s/scheme"
plugin_module_path="%[3]s/plugin"
database = { type = "sqlite3"; path = "%[4]s"; };
`, port, p.base, filepath.Join(usr, "lib/glewlwyd"), filepath.Join(dir, "db"))
	file := filepath.Join(dir, "conf")
	ok(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(path, "--config-file="+file)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ok(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the provider: %s", &said)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(p.base + "/api/config")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it does not start: %v", err)
		}
	}
	p.setUp()
	return p
}

func (p *glewlwyd) setUp() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(p.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ok(p.t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ok(p.t, err)
	type object = map[string]any
	pair := []object{{"scheme_type": "otp", "scheme_name": "otp"}}
	boss := p.browser()
	for _, step := range []struct {
		method, path string
		body         object
	}{
		{"POST", "/auth/", object{"username": "admin", "password": "password"}},
		{"POST", "/mod/plugin/", object{"module": "oidc", "name": "oidc", "display_name": "oidc", "parameters": object{
			"iss": p.issuer(), "jwt-type": "ecdsa", "jwt-key-size": "256",
			"key":                   string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
			"cert":                  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
			"access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600, "refresh-token-rolling": true,
			"allow-non-oidc": false, "auth-type-code-enabled": true, "auth-type-refresh-enabled": false, "auth-type-implicit-enabled": false,
			"auth-type-token-enabled": false, "auth-type-id-token-enabled": true, "auth-type-none-enabled": false, "auth-type-password-enabled": false,
			"auth-type-client-enabled": false, "auth-type-device-enabled": false, "pkce-allowed": true, "pkce-required": true, "pkce-method-plain-allowed": false,
			"subject-type": "public", "jwks-show": true, "oauth-as-iss-id": true, "name-claim": "mandatory",
			"claims": []object{{"name": "groups", "user-property": "team", "type": "string", "mandatory": true}}, "request-parameter-allow": false,
		}}},
		{"POST", "/mod/scheme/", object{"module": "otp", "name": "otp", "display_name": "otp", "expiration": 600, "max_use": 0, "allow_user_register": true, "parameters": object{
			"issuer": "test", "secret-minimum-size": 16, "otp-length": 6, "hotp-allow": false, "hotp-window": 0, "totp-allow": true, "totp-window": 1, "totp-start-offset": 0}}},
		{"PUT", "/scope/openid", object{"display_name": "openid", "password_required": true, "password_max_age": 0, "scheme": object{}}},
		{"POST", "/scope/", object{"name": "two", "display_name": "two", "password_required": true, "password_max_age": 0,
			"scheme": object{"otp": pair}, "scheme_required": object{"otp": 1}}},
		{"POST", "/client/", object{"client_id": "redoubt", "name": "Redoubt", "password": "sesame", "confidential": true, "enabled": true, "scope": []string{},
			"redirect_uri": []string{"https://models.example" + CallbackPath}, "authorization_type": []string{"code"}, "token_endpoint_auth_method": []string{"client_secret_basic"}}},
		{"POST", "/user/", object{"username": "ann", "name": "Ann", "password": passphrase, "team": []string{"scientists", "others"}, "enabled": true, "scope": []string{"openid", "g_profile"}}},
		{"POST", "/user/", object{"username": "eva", "name": "Eva", "password": passphrase, "team": []string{"leads"}, "enabled": true, "scope": []string{"openid", "two", "g_profile"}}},
		{"POST", "/delegate/eva/profile/scheme/register/", object{"username": "eva", "scheme_type": "otp", "scheme_name": "otp", "value": object{
			"type": "TOTP", "secret": providerSeed, "time_step_size": 30, "start_offset": 0}}},
	} {
		p.api(boss, step.method, step.path, step.body)
	}
}

func (p *glewlwyd) issuer() string { return p.base + "/api/oidc" }

// browser keeps cookies and does not follow where it is sent.
func (p *glewlwyd) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	ok(p.t, err)
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (p *glewlwyd) api(b *http.Client, method, path string, body any) {
	p.t.Helper()
	text, err := json.Marshal(body)
	ok(p.t, err)
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+"/api"+path, bytes.NewReader(text))
	ok(p.t, err)
	r.Header.Set("Content-Type", "application/json")
	res, err := b.Do(r)
	ok(p.t, err)
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: status %d: %s", method, path, res.StatusCode, said)
	}
}

// signedIn is the browser of somebody who has signed in there, and lets the client
// have some scopes.
func (p *glewlwyd) signedIn(name, scopes string, code bool) *http.Client {
	p.t.Helper()
	b := p.browser()
	p.api(b, "POST", "/auth/", map[string]any{"username": name, "password": passphrase})
	if code {
		seed, err := base32.StdEncoding.DecodeString(providerSeed)
		ok(p.t, err)
		digits := totp(seed, time.Now().Unix()/30)
		p.api(b, "POST", "/auth/", map[string]any{"username": name, "scheme_type": "otp", "scheme_name": "otp", "value": map[string]any{"value": digits}})
	}
	p.api(b, "PUT", "/auth/grant/redoubt", map[string]any{"scope": scopes})
	return b
}

// visit goes where the gateway sends a browser, and returns what the provider sends
// back, by way of the page on which it asks who is there.
func (p *glewlwyd) visit(b *http.Client, address string) url.Values {
	p.t.Helper()
	for range 2 {
		res, err := b.Get(address)
		ok(p.t, err)
		res.Body.Close()
		to, err := res.Location()
		if err != nil {
			p.t.Fatalf("%s: status %d, and nowhere to go", address, res.StatusCode)
		}
		if to.Host == "models.example" && to.Path == CallbackPath {
			return to.Query()
		}
		if !strings.HasSuffix(to.Path, "/login.html") {
			p.t.Fatalf("it leads to %s", to)
		}
		address = to.Query().Get("callback_url") + "&g_continue"
	}
	p.t.Fatal("it asks who is there again")
	return nil
}

// People sign in through a provider that others wrote.
func TestProvider(t *testing.T) {
	p := startProvider(t)
	configured := func(scopes ...string) *bench {
		b := over(t, func(c *Config) {
			c.Now = time.Now // the provider's
			c.Issuers = []Issuer{{URL: p.issuer(), Name: "Glewlwyd", Algorithm: "ES256", ClientID: "redoubt", ClientSecret: "sesame", Scopes: scopes,
				GroupsClaim: "groups", Roles: map[string][]string{"scientists": {"model_user"}, "leads": {"model_admin"}}, SecondFactor: []string{"otp"}}}
		})
		return b
	}
	begin := func(b *bench, again bool) (address, flow string) {
		t.Helper()
		address, flow, err := b.BeginSignOn(t.Context(), p.issuer(), "/account", again)
		ok(t, err)
		return address, flow
	}

	b := configured("two")
	ann, eva := p.signedIn("ann", "openid", false), p.signedIn("eva", "openid two", true)
	address, flow := begin(b, false)
	back := p.visit(ann, address)
	if back.Get("iss") != p.issuer() || back.Get("code") == "" {
		t.Fatalf("it sends back %v", back)
	}
	cookie, ret, err := b.FinishSignOn(t.Context(), flow, back, home)
	ok(t, err)
	who := must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
	if ret != "/account" || !strings.HasPrefix(who.ID, "oidc:"+p.issuer()+"#") || who.Name != "Ann" || !slices.Equal(who.Roles, []string{"model_user"}) ||
		!slices.Equal(who.Groups, []string{"others", "scientists"}) || !who.Verified.IsZero() {
		t.Errorf("got %+v, to %s", who, ret)
	}
	_, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	wants(t, err, Invalid, "a code for the second time")

	// Two factors: whoever administers is let in, and is not fresh, since this provider
	// does not tell when they were shown.
	address, flow = begin(b, false)
	cookie, _, err = b.FinishSignOn(t.Context(), flow, p.visit(eva, address), home)
	ok(t, err)
	who = must(b.Authenticate(t.Context(), Credentials{Session: cookie}))(t)
	if who.Name != "Eva" || !slices.Equal(who.Roles, []string{"model_admin"}) {
		t.Errorf("got %+v", who)
	}
	ok(t, b.Verified(who, 0))
	wants(t, b.Verified(who, time.Hour), SecondFactor, "nobody said when")
	address, flow = begin(b, true)
	if back = p.visit(eva, address); back.Get("code") == "" {
		t.Errorf("a step up sends back %v", back)
	}
	_, _, err = b.FinishSignOn(t.Context(), flow, back, home)
	wants(t, err, Invalid, "a step up that nobody dates")

	// The same person with one factor.
	one := p.signedIn("eva", "openid", false)
	b = configured("profile")
	address, flow = begin(b, false)
	cookie, _, err = b.FinishSignOn(t.Context(), flow, p.visit(one, address), home)
	ok(t, err)
	wants(t, b.signedIn(cookie), SecondFactor, "an administrator with a password alone")

	// The provider holds us to what we promised: the verifier of this visit.
	address, _ = begin(b, false)
	_, other := begin(b, false)
	back = p.visit(one, address)
	_, _, err = b.FinishSignOn(t.Context(), other, back, home)
	wants(t, err, Invalid, "the answer to another visit")
	var v visit
	_, err = b.openFlow("visit", other, &v)
	ok(t, err)
	back.Set("state", v.State) // as somebody would who can write it
	_, _, err = b.FinishSignOn(t.Context(), other, back, home)
	wants(t, err, Invalid, "a code that was given to another verifier")
	if !strings.Contains(err.Error(), "refuses the code") {
		t.Errorf("it was not the provider who refused: %v", err)
	}
}
