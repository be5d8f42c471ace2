package web

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/serve/identity"
)

var (
	e2e   = flag.Bool("e2e", false, "drive the pages with a real Chromium")
	shots = flag.String("shots", "", "keep pictures of each page in this folder")
)

// A real browser, with the virtual authenticator of its developer tools, enrols a
// passkey, signs out, signs in, steps up and adds one-time codes.
func TestBrowser(t *testing.T) {
	if !*e2e && !need.Demanded("chromium") {
		t.Skip("run with -e2e (make e2e)")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		need.Missing(t, "chromium", "Chromium (Debian: apt-get install chromium)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	origin, clock := "http://localhost:"+port, &ahead{}
	who := service(t, origin, clock)
	srv := &http.Server{Handler: Handler(Config{Identity: who}), ErrorLog: log.New(testWriter{t}, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })

	ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	b := &browser{t, ctx}
	b.do(chromedp.Navigate("about:blank")) // the first starts the browser
	b.ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	defer cancel()

	// What the pages' policy forbids, or a script throws, shows here.
	if err := chromedp.Listen(b.ctx, func(ev any) {
		if s := fmt.Sprintf("%T", ev); strings.HasSuffix(s, "EventExceptionThrown") {
			t.Errorf("a script failed: %+v", ev)
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(b, webauthn.Enable, webauthn.EnableParams{})
	call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})

	a, secret, err := who.CreatePerson(t.Context(), admin, "ann", []string{"security_admin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(origin + "/auth/enrol"))
	b.shoot("enrol")
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(origin+"/auth/enrol#"+secret))
	b.sees("Create a passkey")
	if address := value(b, chromedp.Location()); strings.Contains(address, secret) {
		t.Errorf("the secret stays in the address %s", address)
	}
	b.shoot("setup")
	b.click(`[data-passkey="enrol"]`)
	b.sees("Recovery codes")
	b.shoot("codes")
	b.click(`a.primary`)
	b.sees("signed in as ann")
	b.shoot("account")
	b.click(`form[action="/auth/logout"] button`)
	b.sees("Sign in with a passkey")
	b.shoot("login")
	b.click(`[data-passkey="login"]`)
	b.sees("signed in as ann")
	if got := who.Sessions(a.ID); len(got) != 1 || got[0].Method != "passkey" {
		t.Errorf("sessions %+v", got)
	}
	before := who.Sessions(a.ID)[0].Verified

	clock.move(15 * time.Minute)
	b.click(`form[action="/auth/account/totp"] button`)
	b.sees("Confirm that it is you")
	b.shoot("confirm")
	b.click(`[data-passkey="confirm"]`)
	b.sees("signed in as ann")
	if !who.Sessions(a.ID)[0].Verified.After(before) {
		t.Error("the step up did not renew the session")
	}
	b.click(`form[action="/auth/account/totp"] button`)
	b.sees("Scan this")
	b.shoot("totp")
	b.do(chromedp.Navigate(origin+"/auth/account"), chromedp.SetValue("#name", "laptop"))
	b.click(`form[action="/auth/account/token"] button`)
	b.sees("It is not shown again")
	b.shoot("token")

	// A program of the same computer asks to be let in: the page's policy lets its form
	// lead back there, and to nowhere else.
	answers := make(chan url.Values, 10)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			answers <- r.URL.Query()
		}
		io.WriteString(w, "back at the program")
	}))
	t.Cleanup(program.Close)
	const challenge, verifier = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	_, at, _ := net.SplitHostPort(program.Listener.Addr().String())
	handing := origin + identity.HandOverPath + "?" + url.Values{"port": {at}, "state": {"s"}, "challenge": {challenge}}.Encode()
	clock.move(5 * time.Minute)
	b.do(chromedp.Navigate(handing))
	b.sees("Confirm that it is you")
	b.click(`[data-passkey="confirm"]`)
	b.sees(identity.HandOverCode(challenge))
	b.shoot("handover")
	b.click(`.row button:not(.primary)`)
	b.sees("back at the program")
	if q := <-answers; q.Get("error") != "access_denied" || q.Get("state") != "s" {
		t.Errorf("not allowed: %v", q)
	}
	b.do(chromedp.Navigate(handing))
	b.click(`button[name="allow"]`)
	b.sees("back at the program")
	q := <-answers
	taken, err := who.TakeOver(t.Context(), q.Get("code"), verifier, identity.Client{Agent: "redoubt login"})
	if err != nil {
		t.Fatalf("%v: %v", q, err)
	}
	if p, err := who.Authenticate(t.Context(), identity.Credentials{Session: taken}); err != nil || p.ID != a.ID || p.Method != "passkey" {
		t.Errorf("the program is %+v (%v)", p, err)
	}
	b.do(chromedp.Navigate(origin + "/auth/account"))
	b.sees("redoubt login")
	if cookies := value(b, chromedp.Evaluate[string](`document.cookie`)); cookies != "" {
		t.Errorf("scripts read the cookies %q", cookies)
	}
}

type browser struct {
	t   *testing.T
	ctx context.Context
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// value runs an action that has one.
func value[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// call runs a command of the developer tools.
func call[P, R any](b *browser, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, c, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(selector))
}

// sees waits for words on the page.
func (b *browser) sees(words string) {
	b.t.Helper()
	text := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		// A page that is being replaced has no body for a moment.
		var err error
		text, err = chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
		if err == nil && strings.Contains(text, words) {
			return
		}
	}
	b.t.Fatalf("the page does not say %q, but:\n%s", words, text)
}

// shoot checks that the page fits, light and dark, narrow and wide, and keeps
// pictures where that was asked for.
func (b *browser) shoot(name string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{390, 1280} {
			call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 844, DeviceScaleFactor: 1})
			if value(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`)) {
				b.t.Errorf("%s is wider than %d pixels", name, width)
			}
			if *shots == "" {
				continue
			}
			file := filepath.Join(*shots, fmt.Sprintf("%s-%s-%d.png", name, scheme, width))
			if err := os.WriteFile(file, value(b, chromedp.FullScreenshot(100)), 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// testWriter passes what a server logs to the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }
