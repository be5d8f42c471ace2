//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// open is a load on a server over TLS, with its callers connected.
func open(t *testing.T, rate float64, handler http.HandlerFunc) *load {
	t.Helper()
	srv := httptest.NewTLSServer(handler)
	t.Cleanup(srv.Close)
	l := &load{rate: rate, callers: 4, address: srv.Listener.Addr().(*net.TCPAddr)}
	l.tls = &tls.Config{ServerName: "example.com", RootCAs: x509.NewCertPool()}
	l.tls.RootCAs.AddCert(srv.Certificate())
	l.request = []byte("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody")
	if err := l.connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range l.all {
			if c.conn != nil {
				c.hangUp()
			}
		}
	})
	return l
}

func count(outcomes []outcome) map[int]int {
	n := map[int]int{}
	for _, o := range outcomes {
		n[o.status]++
	}
	return n
}

// Every call is sent once and counted once, and its time is the server's, whether
// the answer comes in one piece or in two, and whether the server keeps the
// connection or not.
func TestSend(t *testing.T) {
	var asked atomic.Int64
	l := open(t, 200, func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); string(b) != "body" || err != nil {
			t.Errorf("body %q, %v", b, err)
		}
		w.Header().Set("Content-Length", "6")
		switch asked.Add(1) % 4 {
		case 1:
			w.Header().Set("Connection", "close")
		case 2:
			w.WriteHeader(http.StatusTooManyRequests)
		}
		io.WriteString(w, "ans")
		w.(http.Flusher).Flush()
		time.Sleep(5 * time.Millisecond)
		io.WriteString(w, "wer")
	})
	outcomes, err := l.send(time.Now(), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(outcomes); n[200] != 75 || n[429] != 25 || asked.Load() != 100 {
		t.Errorf("outcomes %v of %d calls, want 75 of 200 and 25 of 429", n, asked.Load())
	}
	for _, o := range outcomes {
		if o.took < 5*time.Millisecond {
			t.Errorf("a call took %v, and the server 5ms", o.took)
		}
	}
	if err := l.print(outcomes, time.Second); err == nil || !strings.Contains(err.Error(), "25 of 100") {
		t.Errorf("refused calls: %v", err)
	}
}

// A server that stalls is charged for the calls that were due meanwhile, and the
// generator is not.
func TestSendStalled(t *testing.T) {
	var asked atomic.Int64
	l := open(t, 400, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 4 { // all the connections that there are
			time.Sleep(300 * time.Millisecond)
		}
	})
	outcomes, err := l.send(time.Now(), 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	slow, late := 0, 0
	for _, o := range outcomes {
		if o.took > 100*time.Millisecond {
			slow++
		}
		if o.late > 100*time.Millisecond {
			late++
		}
	}
	if len(outcomes) != 160 || slow < 70 || late > slow/2 {
		t.Errorf("of %d calls %d took more than 100ms, and %d were sent late; want 160, some 80 and hardly any", len(outcomes), slow, late)
	}
}

func TestSendAsMany(t *testing.T) {
	var under, most atomic.Int64
	l := open(t, 0, func(w http.ResponseWriter, r *http.Request) {
		n := under.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(10 * time.Millisecond)
		under.Add(-1)
	})
	outcomes, err := l.send(time.Now(), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(outcomes); n[200] != len(outcomes) || len(outcomes) < 8 || most.Load() != 4 {
		t.Errorf("outcomes %v, at once %d; want four at once", n, most.Load())
	}
}

// What is no answer of a length that is told is one call without an answer, and the
// next has a connection of its own.
func TestSendUnanswered(t *testing.T) {
	var asked atomic.Int64
	l := open(t, 100, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.(http.Flusher).Flush() // chunked
		}
	})
	outcomes, err := l.send(time.Now(), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(outcomes); n[0] != 2 || n[200] != 18 {
		t.Errorf("outcomes %v, want 2 without an answer and 18 of 200", n)
	}
}
