package serve

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// ask sends a request through a client's library, and follows nothing.
func (c *caller) ask(method, path, body string, headers ...string) answered {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.s.Address("rest")+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := c.http.Transport.RoundTrip(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
	}
	return answered{a.StatusCode, a.Header, string(b)}
}

// routes are the paths of the gateway and of the pages with their methods. Those
// of the control API are read from its own description.
func routes(t *testing.T, c *caller) map[string][]string {
	all := map[string][]string{
		"/nothing": {}, "/v2/nothing": {}, "/auth/nothing": {}, "/api/v1/nothing": {}, "/api/v1/openapi.json": {"GET"},
		"/v2": {"GET"}, "/v2/health/live": {"GET"}, "/v2/health/ready": {"GET"}, "/v2/models": {"GET"}, "/v2/models/stats": {"GET"}, "/v2/repository/index": {"POST"},
		"/v2/models/simple": {"GET"}, "/v2/models/simple/ready": {"GET"}, "/v2/models/simple/config": {"GET"}, "/v2/models/simple/stats": {"GET"}, "/v2/models/simple/infer": {"POST"},
		"/v2/models/simple/versions/1": {"GET"}, "/v2/models/simple/versions/1/ready": {"GET"}, "/v2/models/simple/versions/1/config": {"GET"},
		"/v2/models/simple/versions/1/stats": {"GET"}, "/v2/models/simple/versions/1/infer": {"POST"},
		"/api/v1/models/simple/predict": {"POST"}, "/api/v1/models/simple/versions/1/predict": {"POST"},
		"/auth/login": {"GET", "POST"}, "/auth/second": {"POST"}, "/auth/confirm": {"GET", "POST"}, "/auth/signon": {"GET"}, "/auth/callback": {"GET"}, "/auth/enrol": {"GET", "POST"},
		"/auth/enrol/password": {"POST"}, "/auth/account": {"GET"}, "/auth/account/token": {"POST"}, "/auth/account/revoke": {"POST"}, "/auth/logout": {"POST"}, "/auth/static/auth.css": {"GET"},
	}
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(c.ask("GET", "/api/v1/openapi.json", "").body), &doc); err != nil || len(doc.Paths) < 10 {
		t.Fatalf("%d paths, %v", len(doc.Paths), err)
	}
	for path, methods := range doc.Paths {
		path = strings.NewReplacer("{id}", "x", "{grant}", "x", "{model}", "simple").Replace(path)
		for m := range methods {
			all[path] = append(all[path], strings.ToUpper(m))
		}
	}
	return all
}

// Every path is asked with every method, by a stranger and with a token. What
// there is not is refused, in the form of its path; a stranger gets in nowhere
// but to where one signs in.
func TestMethods(t *testing.T) {
	s, token := started(t, nil)
	known, stranger := callerOf(t, s, token), callerOf(t, s, "")
	public := map[string]bool{"/v2/health/live": true, "/v2/health/ready": true, "/auth/login": true, "/auth/enrol": true, "/auth/static/auth.css": true}
	for path, methods := range routes(t, known) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			exists := false
			for _, m := range methods {
				// HEAD is answered where GET is; it tells no more.
				exists = exists || m == method || method == "HEAD" && m == "GET"
			}
			for _, c := range []*caller{known, stranger} {
				a := c.ask(method, path, "")
				what := method + " " + path
				if c == stranger {
					what += " by a stranger"
				}
				switch {
				case !exists && a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed,
					!exists && len(methods) > 0 && a.status == http.StatusNotFound,
					exists && a.status == http.StatusMethodNotAllowed:
					t.Errorf("%s: %d, and the methods are %v", what, a.status, methods)
				case exists && c == stranger && !public[path] && !strings.HasPrefix(path, "/auth/") && a.status != http.StatusUnauthorized:
					t.Errorf("%s: %d", what, a.status)
				case a.status >= 500:
					t.Errorf("%s: %d %s", what, a.status, a.body)
				}
				if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
					t.Errorf("%s: nothing says what is allowed", what)
				}
				if a.header.Get("X-Request-Id") == "" {
					t.Errorf("%s: no id", what)
				}
				if a.status >= 400 && method != "HEAD" {
					a.shaped(t, what, path)
				}
			}
		}
	}
}
