package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// Secure begins the answer to any request: it gives the request an id, which is
// the client's if that is a decent one, and sets the headers that tell browsers
// to be careful. The context it returns has the id and the address.
func Secure(w http.ResponseWriter, r *http.Request) context.Context {
	id := requestID(sole(r.Header.Values("X-Request-Id")))
	// As Header.Set does, with one array for all the values instead of one each.
	v := [...]string{id, "nosniff", "DENY", "default-src 'none'; frame-ancestors 'none'", "no-referrer", "no-store", "0", "max-age=31536000; includeSubDomains"}
	h := w.Header()
	h["X-Request-Id"] = v[0:1:1]
	h["X-Content-Type-Options"] = v[1:2:2]
	h["X-Frame-Options"] = v[2:3:3]
	h["Content-Security-Policy"] = v[3:4:4]
	h["Referrer-Policy"] = v[4:5:5]
	h["Cache-Control"] = v[5:6:6]
	h["X-Xss-Protection"] = v[6:7:7]
	if r.TLS != nil {
		h["Strict-Transport-Security"] = v[7:8:8]
	}
	return context.WithValue(r.Context(), idKey{}, request{id, r.RemoteAddr})
}

type idKey struct{}

// request is what a context knows of its request.
type request struct{ id, remote string }

// RequestID is the id that Secure gave the request of a context.
func RequestID(ctx context.Context) string {
	r, _ := ctx.Value(idKey{}).(request)
	return r.id
}

// From is the address that the request of a context came from; the zero address
// where there is none.
func From(ctx context.Context) netip.Addr {
	r, _ := ctx.Value(idKey{}).(request)
	return addressOf(r.remote)
}

// requestID is the client's name for its request if it is a decent one, else a
// new one. The record has an id of its own for each entry: two requests of one
// name are told apart.
func requestID(given string) string {
	if len(given) <= 64 && nameable(given) {
		return given
	}
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Credentials are what a request over HTTP came with.
func Credentials(r *http.Request) identity.Credentials {
	return identity.Credentials{
		Authorization: one(r.Header.Values("Authorization")), Session: session(r),
		Peer: r.TLS, From: addressOf(r.RemoteAddr),
	}
}

// one is the only value of a header. Several are made into one that nothing
// accepts, because what one program reads first another reads last.
func one(values []string) string {
	if len(values) > 1 {
		return "ambiguous"
	}
	return strings.Join(values, "")
}

// sole is the value of a header that stands there once.
func sole(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// session is the value of the session's cookie.
func session(r *http.Request) string {
	var values []string
	for _, c := range r.CookiesNamed(identity.Cookie) {
		values = append(values, c.Value)
	}
	return one(values)
}

// addressOf is the address that a connection came from, without its port. What
// proxies claim in headers is not believed.
func addressOf(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
