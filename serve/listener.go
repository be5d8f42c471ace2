package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// greeter is a listener that makes the handshakes of TLS before it hands a connection
// over, as net/http does after it took one. So it can put a connection of HTTP/1.1
// behind [shaped], which is no *tls.Conn.
type greeter struct {
	net.Listener
	config *tls.Config
	within time.Duration // of a handshake
	failed func(from net.Addr, err error)

	arrived chan arrival
	closed  chan struct{}
	closing sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	greeted map[net.Conn]bool // those whose handshake is under way; nil at the end
}

type arrival struct {
	conn net.Conn
	err  error
}

func greet(l net.Listener, config *tls.Config, within time.Duration, failed func(net.Addr, error)) *greeter {
	g := &greeter{
		Listener: l, config: config, within: within, failed: failed,
		arrived: make(chan arrival), closed: make(chan struct{}), greeted: map[net.Conn]bool{},
	}
	g.running.Go(g.take)
	return g
}

// Accept implements [net.Listener].
func (g *greeter) Accept() (net.Conn, error) {
	select {
	case a := <-g.arrived:
		return a.conn, a.err
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. It ends handshakes that are under way.
func (g *greeter) Close() error {
	err := net.ErrClosed
	g.closing.Do(func() {
		close(g.closed)
		err = g.Listener.Close()
		g.mu.Lock()
		for c := range g.greeted {
			c.Close()
		}
		g.greeted = nil
		g.mu.Unlock()
		g.running.Wait()
	})
	return err
}

// take takes connections until there are no more. An error, such as that of too many
// open files, waits until somebody hears of it.
func (g *greeter) take() {
	for {
		c, err := g.Listener.Accept()
		switch {
		case err == nil:
			g.running.Go(func() { g.shake(c) })
		case !g.deliver(arrival{err: err}), errors.Is(err, net.ErrClosed):
			return
		}
	}
}

// deliver hands over, unless the listener is closed.
func (g *greeter) deliver(a arrival) bool {
	select {
	case g.arrived <- a:
		return true
	case <-g.closed:
		return false
	}
}

// shake makes the handshake with a client.
func (g *greeter) shake(c net.Conn) {
	if !g.begin(c) {
		c.Close()
		return
	}
	t := tls.Server(c, g.config)
	ctx, cancel := context.WithTimeout(context.Background(), g.within)
	defer cancel()
	err := t.HandshakeContext(ctx)
	g.end(c)
	if err != nil {
		g.failed(c.RemoteAddr(), err)
		g.redirect(c, err)
		c.Close()
		return
	}
	var out net.Conn = t
	if p := t.ConnectionState().NegotiatedProtocol; p == "" || p == "http/1.1" {
		out = &shaped{Conn: t}
	}
	if !g.deliver(arrival{conn: out}) {
		t.Close()
	}
}

func (g *greeter) begin(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.greeted == nil {
		return false
	}
	g.greeted[c] = true
	return true
}

func (g *greeter) end(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.greeted, c)
}

// redirect tells a client that began with HTTP instead of TLS what to do.
func (g *greeter) redirect(c net.Conn, err error) {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return
	}
	switch string(record.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(refusal(http.StatusBadRequest, "this address speaks HTTPS: begin it with https://", c.RemoteAddr(), nil)) // he may be gone
	}
}

// shaped is a connection of HTTP/1.1 on which also those errors have a request's id and
// the form of all others that net/http answers before a handler sees the request: what
// is no HTTP, headers that are too long, codings and versions that nobody knows.
type shaped struct {
	*tls.Conn
	// handled says that a handler has the request that came last.
	handled atomic.Bool
}

// shapedKey is where the context of a connection keeps it.
type shapedKey struct{}

// shapeOwn has a server that listens through a greeter tell its connections which of
// their answers are its handlers'.
func shapeOwn(srv *http.Server) {
	next := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(shapedKey{}).(*shaped); ok {
			c.handled.Store(true)
		}
		next.ServeHTTP(w, r)
	})
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*shaped); ok {
			return context.WithValue(ctx, shapedKey{}, c)
		}
		return ctx
	}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*shaped); ok && state == http.StateIdle { // all of an answer is written
			c.handled.Store(false)
		}
	}
}

// Write writes an answer, or in the place of one that is net/http's own another.
func (c *shaped) Write(p []byte) (int, error) {
	if c.handled.Load() {
		return c.Conn.Write(p)
	}
	status := statusOf(p)
	if status < 400 {
		return c.Conn.Write(p)
	}
	state := c.ConnectionState()
	if _, err := c.Conn.Write(refusal(status, ownErrors[status], c.RemoteAddr(), &state)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ownErrors are what net/http refuses by itself, and why.
var ownErrors = map[int]string{
	http.StatusBadRequest:                  "the request is not one of HTTP/1.1 (RFC 9112): look at its first line, its headers and how its length is told",
	http.StatusExpectationFailed:           "this expectation cannot be met: leave the header Expect out",
	http.StatusRequestHeaderFieldsTooLarge: fmt.Sprintf("the first line and the headers are longer than %d bytes", maxHeaders),
	http.StatusNotImplemented:              "this transfer coding is not read: tell the length, or send chunks",
	http.StatusHTTPVersionNotSupported:     "this version of HTTP is not spoken: use 1.1 or 2",
}

// statusOf is the status of an answer that b begins with; 0 for no answer.
func statusOf(b []byte) int {
	rest, ok := bytes.CutPrefix(b, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 {
		return 0
	}
	n, err := strconv.Atoi(string(rest[:3]))
	if err != nil {
		return 0
	}
	return n
}

// refusal is an answer as a handler would give it, after which the connection ends.
func refusal(status int, why string, to net.Addr, state *tls.ConnectionState) []byte {
	a := &answer{http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Close: true}, bytes.Buffer{}}
	r := &http.Request{Header: http.Header{}, RemoteAddr: to.String(), TLS: state}
	id := gateway.RequestID(gateway.Secure(a, r.WithContext(context.Background())))
	oip.WriteStatus(a, status, why, id)
	a.Response.Body, a.ContentLength = io.NopCloser(&a.body), int64(a.body.Len())
	var out bytes.Buffer
	_ = a.Response.Write(&out) // a buffer takes all
	return out.Bytes()
}

// answer is an [http.ResponseWriter] that keeps what is written.
type answer struct {
	http.Response
	body bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.Response.Header }
func (a *answer) WriteHeader(status int)      { a.StatusCode = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
