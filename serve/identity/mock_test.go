package identity

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mockIssuer is an OpenID Connect provider with real keys that tests can make
// misbehave.
type mockIssuer struct {
	*httptest.Server
	t       testing.TB
	now     func() time.Time
	broken  atomic.Bool
	jwks    atomic.Pointer[string] // instead of the true ones; "" redirects
	fetches atomic.Int64

	mu    sync.Mutex
	keys  []*signingKey
	codes map[string]url.Values // to what they were asked with
	// edit changes what is discovered, idToken what is signed; nil for nothing.
	edit    func(metadata map[string]any)
	idToken func(header, claims map[string]any) string
	claims  map[string]any // of whoever signs in
	issuer  string         // the iss of responses
}

func newMockIssuer(t testing.TB, keys ...*signingKey) *mockIssuer {
	m := &mockIssuer{t: t, keys: keys, codes: map[string]url.Values{}, now: time.Now, claims: map[string]any{"sub": "s1"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", m.discovery)
	mux.HandleFunc("/keys", m.keySet)
	mux.HandleFunc("/token", m.token)
	m.Server = httptest.NewServer(mux)
	m.issuer = m.URL
	t.Cleanup(m.Close)
	return m
}

func (m *mockIssuer) setKeys(keys ...*signingKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = keys
}

func (m *mockIssuer) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if m.broken.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	json.NewEncoder(w).Encode(v)
}

func (m *mockIssuer) discovery(w http.ResponseWriter, r *http.Request) {
	md := map[string]any{
		"issuer": m.URL, "jwks_uri": m.URL + "/keys", "authorization_endpoint": m.URL + "/authorise", "token_endpoint": m.URL + "/token",
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.edit != nil {
		m.edit(md)
	}
	m.answer(w, md)
}

func (m *mockIssuer) keySet(w http.ResponseWriter, r *http.Request) {
	m.fetches.Add(1)
	if doc := m.jwks.Load(); doc != nil {
		if *doc == "" {
			http.Redirect(w, r, m.URL+"/.well-known/openid-configuration", http.StatusFound)
			return
		}
		w.Write([]byte(*doc))
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []any{map[string]any{"kty": "RSA", "use": "enc", "kid": "enc", "n": "AQAB", "e": "AQAB"}}
	for _, k := range m.keys {
		list = append(list, k.jwk(m.t))
	}
	m.answer(w, map[string]any{"keys": list})
}

// authorise is the visit of a browser: what its address led to comes back as the
// query of the callback.
func (m *mockIssuer) authorise(address string) url.Values {
	u, err := url.Parse(address)
	ok(m.t, err)
	q := u.Query()
	m.mu.Lock()
	defer m.mu.Unlock()
	code := "code" + q.Get("state")
	m.codes[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {m.issuer}}
}

// token exchanges a code once, for the verifier it was asked with (RFC 7636).
func (m *mockIssuer) token(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.codes[r.FormValue("code")]
	delete(m.codes, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	client, secret, _ := r.BasicAuth()
	if client == "" {
		client, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if q == nil || q.Get("code_challenge_method") != "S256" || b64(sum[:]) != q.Get("code_challenge") || r.FormValue("redirect_uri") != q.Get("redirect_uri") || client != q.Get("client_id") || secret != "sesame" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	now, k := m.now().Unix(), m.keys[0]
	header := map[string]any{"alg": k.alg, "kid": k.kid}
	access := sha256.Sum256([]byte("access"))
	claims := with(m.claims, "iss", m.URL, "aud", client, "iat", now, "exp", now+300, "nonce", q.Get("nonce"), "at_hash", b64(access[:16]))
	if q.Has("max_age") {
		claims["auth_time"] = now
	}
	token := ""
	if m.idToken != nil {
		token = m.idToken(header, claims)
	}
	if token == "" {
		token = k.sign(m.t, header, claims)
	}
	m.answer(w, map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": token})
}
