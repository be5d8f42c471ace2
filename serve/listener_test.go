package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What comes after a good request on the same connection is refused in the same form,
// and what a handler answers stays as it is, whatever it looks like.
func TestOwnErrorsOfHTTP(t *testing.T) {
	const looks = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
	s, _ := started(t, nil)
	handler := s.rest.Handler
	srv := &http.Server{TLSConfig: s.listenerTLS(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/looks" {
			handler.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(2*len(looks)))
		for range 2 { // each goes out by itself
			io.WriteString(w, looks)
			http.NewResponseController(w).Flush()
		}
	})}
	shapeOwn(srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listeners["rest"] = l // where the helpers of these tests look
	done := make(chan error)
	go func() { done <- srv.Serve(greet(l, srv.TLSConfig, time.Second, func(net.Addr, error) {})) }()
	t.Cleanup(func() { srv.Close(); <-done })

	live := "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
	all := raw(t, s, live+"GET /looks HTTP/1.1\r\nHost: localhost\r\n\r\n"+live+"no request\r\n\r\n")
	if len(all) != 4 || all[0].status != 200 || all[1].body != looks+looks || all[2].status != 200 || all[3].status != 400 {
		t.Fatalf("%+.300v", all)
	}
	all[3].shaped(t, "no request", "/")
}

// A client that does not speak TLS is told so, one that says nothing is not waited for
// when the server ends, and one that is slow only as long as headers may take.
func TestHandshakes(t *testing.T) {
	s, _ := started(t, func(c *Config) { c.Limits.HeaderTime = 300 * time.Millisecond })
	open := func() net.Conn {
		c, err := net.Dial("tcp", s.Address("rest"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	c := open()
	io.WriteString(c, "GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != 400 || !strings.Contains(string(body), "https://") || a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d %s %v", a.StatusCode, body, err)
	}
	ends := func(what string, c net.Conn, within time.Duration) {
		t.Helper()
		began := time.Now()
		if b, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") || len(b) > 0 || time.Since(began) > within {
			t.Errorf("%s: %q, %v after %v", what, b, err, time.Since(began))
		}
	}
	ends("one that says nothing", open(), 10*time.Second)
	c = open()
	io.WriteString(c, "\x00\x01 no protocol at all")
	ends("one that speaks neither", c, 10*time.Second)

	s, _ = started(t, func(c *Config) { c.Limits.HeaderTime = time.Minute })
	c = open()
	if code, _ := callerOf(t, s, "").rest("GET", "/v2/health/live", ""); code != 200 {
		t.Errorf("%d beside a handshake that does not go on", code)
	}
	began := time.Now()
	if err := s.closeAll(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	ends("one when the server ends", c, 10*time.Second)
}
