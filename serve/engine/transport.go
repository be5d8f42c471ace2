package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

// transport asks one server over HTTP/1.1, each call on a connection of its own and in
// the goroutine that makes it: what goes over the line is net/http's, but for its
// Transport, which has two more goroutines for a connection, and wakes both for each
// call.
//
// It makes connections with care: where a server answers in less time than it takes to
// make one, calls that come together and would each make their own keep it from
// answering, and more come together. They wait for one that is given back, first come
// first served.
//
// Connections are used in turn, so that those which a burst of calls has needed are there
// for the next one, as long as there are calls enough for all.
//
// Nothing is sent twice: a call fails if the server closes its connection just then.
// A connection is therefore looked at before it is used, and closed when no call has
// used it for idleConnection.
type transport struct {
	address string
	dialer  net.Dialer
	tls     *tls.Config // nil for the clear
	most    int         // connections at once

	mu            sync.Mutex
	open, dialing int
	patience      time.Duration // of who waits for a connection
	idle          []*connection // the one used last is at the end, and is used last
	waiting       []*waiter     // for one, the first for the longest time
	sweep, grow   *time.Timer   // run while there are idle ones, and while some wait
	closed        bool
}

// waiter is a call that waits for a connection.
type waiter struct {
	since time.Time
	turn  chan turn // holds one
}

// turn is what a waiter gets: a connection, why there is none, or leave to make one.
type turn struct {
	connection *connection
	err        error
}

// A call waits for the connection of another, if there are others, as long as it took to
// make the last one, within these bounds, and then makes its own: whatever comes of it,
// it took no more than twice as long as had been best.
const (
	leastPatience = time.Millisecond / 2
	mostPatience  = 5 * time.Millisecond
)

// idleConnection is how long a connection is kept without a call. It is less than
// servers wait (uvicorn, under MLServer and KServe, five seconds): a call that is sent
// just when its connection is closed fails, for nothing is asked twice.
const idleConnection = 4 * time.Second

// mostHeader bounds the head of an answer, with those that announce it.
const mostHeader = 64 << 10

// atOnce is how long a body may be to be sent before the answer is read. A server may
// answer and close, or not read on, before it has read a longer one, while a socket's
// memory takes what is shorter.
const atOnce = 32 << 10

func newTransport(u *url.URL, cfg *UpstreamConfig) *transport {
	port := u.Port()
	if port == "" {
		port = u.Scheme // which net.Dial knows by name
	}
	t := &transport{
		address: net.JoinHostPort(u.Hostname(), port),
		dialer:  net.Dialer{Timeout: min(cfg.Timeout, 10*time.Second)},
		most:    cfg.Connections, patience: mostPatience,
	}
	if u.Scheme == "https" {
		t.tls = cfg.TLS.Clone()
		t.tls.NextProtos = []string{"http/1.1"}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
		if t.tls.ClientSessionCache == nil {
			t.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0) // to resume is cheaper than to begin
		}
	}
	return t
}

// RoundTrip implements http.RoundTripper, for requests to the server that the
// transport was made for. The connection is used again once the answer's body is read
// to its end, and closed if that is closed before.
func (t *transport) RoundTrip(q *http.Request) (*http.Response, error) {
	ctx := q.Context()
	c, err := t.take(ctx)
	if err != nil {
		return nil, err
	}
	r := &trip{transport: t, connection: c, query: q, sent: make(chan error, 1)}
	r.stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(longAgo) })
	a, err := r.answer()
	if err != nil {
		r.end(false)
		return nil, err
	}
	a.Body = &answerBody{body: a.Body, trip: r, last: a.Close || a.StatusCode == http.StatusSwitchingProtocols}
	return a, nil
}

// take is an idle connection, one that another call gives back, or a new one.
func (t *transport) take(ctx context.Context) (*connection, error) {
	for {
		c, err := t.next(ctx)
		if err != nil {
			return nil, err
		}
		if c == nil {
			return t.dial(ctx)
		}
		if c.usable() {
			return c, nil
		}
		t.drop(c)
	}
}

// next is a connection that calls have used before, or nil for leave to make one.
func (t *transport) next(ctx context.Context) (*connection, error) {
	t.mu.Lock()
	if len(t.idle) > 0 {
		c := t.idle[0]
		t.idle = slices.Delete(t.idle, 0, 1)
		t.mu.Unlock()
		return c, nil
	}
	if t.open+t.dialing == 0 {
		t.dialing++
		t.mu.Unlock()
		return nil, nil
	}
	w := &waiter{since: time.Now(), turn: make(chan turn, 1)}
	t.waiting = append(t.waiting, w)
	if t.grow == nil {
		t.grow = time.AfterFunc(t.patience, t.let)
	}
	t.mu.Unlock()
	select {
	case got := <-w.turn:
		return got.connection, got.err
	case <-ctx.Done():
		t.leave(w)
		return nil, ctx.Err()
	}
}

// leave lets a waiter go, and what it was given meanwhile to the next.
func (t *transport) leave(w *waiter) {
	t.mu.Lock()
	i := slices.Index(t.waiting, w)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i >= 0 {
		return
	}
	if got := <-w.turn; got.connection != nil {
		t.put(got.connection)
	} else if got.err == nil {
		t.mu.Lock()
		t.dialing--
		t.mu.Unlock()
	}
}

// let has those who waited for long enough make connections, so many at once as are
// open, or two.
func (t *transport) let() {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.waiting) && t.open+t.dialing < t.most && t.dialing < max(2, t.open) && time.Since(t.waiting[n].since) >= t.patience {
		t.waiting[n].turn <- turn{}
		t.dialing++
		n++
	}
	t.waiting = slices.Delete(t.waiting, 0, n)
	t.grow = nil
	if len(t.waiting) > 0 {
		t.grow = time.AfterFunc(t.patience, t.let)
	}
}

// dial makes a connection, for which there is leave. If it fails, and there is no other
// to wait for, it does for all who wait.
func (t *transport) dial(ctx context.Context) (*connection, error) {
	began := time.Now()
	c, err := t.connect(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dialing--
	if err == nil {
		t.open++
		t.patience = min(max(time.Since(began), leastPatience), mostPatience)
		return c, nil
	}
	if t.open+t.dialing == 0 && ctx.Err() == nil {
		for _, w := range t.waiting {
			w.turn <- turn{err: err}
		}
		t.waiting = nil
	}
	return nil, err
}

func (t *transport) connect(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, t.dialer.Timeout)
	defer cancel()
	raw, err := t.dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: raw, raw: raw}
	if t.tls != nil {
		secure := tls.Client(raw, t.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		c.Conn = secure
	}
	c.limited.R = c.Conn
	c.in, c.out = bufio.NewReader(&c.limited), bufio.NewWriter(c.Conn)
	return c, nil
}

// put gives a connection to the call that waits longest, or keeps it for the next.
func (t *transport) put(c *connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.waiting) > 0:
		t.waiting[0].turn <- turn{connection: c}
		t.waiting = slices.Delete(t.waiting, 0, 1)
	case t.closed:
		t.open--
		_ = c.raw.Close()
	default:
		c.used = time.Now()
		t.idle = append(t.idle, c)
		if t.sweep == nil {
			t.sweep = time.AfterFunc(idleConnection, t.sweepIdle)
		}
	}
}

// drop closes a connection at once, where Close would have TLS say farewell first.
func (t *transport) drop(c *connection) {
	_ = c.raw.Close()
	t.mu.Lock()
	t.open--
	t.mu.Unlock()
}

// sweepIdle closes the connections that no call has used for too long.
func (t *transport) sweepIdle() {
	t.mu.Lock()
	n := 0
	for n < len(t.idle) && time.Since(t.idle[n].used) >= idleConnection {
		n++
	}
	old := slices.Clone(t.idle[:n])
	t.idle = slices.Delete(t.idle, 0, n)
	t.open -= n
	t.sweep = nil
	if len(t.idle) > 0 {
		t.sweep = time.AfterFunc(idleConnection-time.Since(t.idle[0].used), t.sweepIdle)
	}
	t.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// CloseIdleConnections closes the connections that no call uses, and those in use
// when their calls are over.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	idle := t.idle
	t.idle, t.closed = nil, true
	t.open -= len(idle)
	if t.sweep != nil {
		t.sweep.Stop()
	}
	t.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}

// connection is one to the server.
type connection struct {
	net.Conn          // with TLS, if there is any
	raw      net.Conn // without
	limited  io.LimitedReader
	in       *bufio.Reader // of limited
	out      *bufio.Writer
	used     time.Time
}

// usable reports whether the server has left the connection open, and sent nothing that
// nobody asked for: the next call would take it for its own answer.
func (c *connection) usable() bool {
	if !quiet(c.raw) {
		return false
	}
	if c.Conn == c.raw {
		return true
	}
	// What TLS has read already and not deciphered would come at once.
	if c.raw.SetReadDeadline(longAgo) != nil {
		return false
	}
	_, err := c.in.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded) && c.raw.SetReadDeadline(time.Time{}) == nil
}

var longAgo = time.Unix(1, 0)

// trip is a call on a connection.
type trip struct {
	*transport
	*connection
	query *http.Request
	sent  chan error  // holds one when the query was sent, or could not be
	stop  func() bool // has the end of the context do nothing to the connection any more
	once  sync.Once
}

// answer sends the query and reads what is answered, up to its body.
func (r *trip) answer() (*http.Response, error) {
	var unsent error
	if r.query.ContentLength > atOnce {
		go func() { r.sent <- r.send() }()
	} else {
		unsent = r.send()
		r.sent <- unsent
	}
	r.limited.N = mostHeader
	a, err := http.ReadResponse(r.in, r.query)
	for err == nil && a.StatusCode < 200 && a.StatusCode != http.StatusSwitchingProtocols { // it is announced
		a, err = http.ReadResponse(r.in, r.query)
	}
	r.limited.N = math.MaxInt64 // who reads the body has limits of his own
	if err != nil && unsent != nil {
		return nil, unsent // which tells more
	}
	return a, err
}

func (r *trip) send() error {
	// In hiding its type, for Write would send the head by itself.
	if err := r.query.Write(struct{ *bufio.Writer }{r.out}); err != nil {
		return err
	}
	return r.out.Flush()
}

// end gives the connection back, if it is as it was, or closes it.
func (r *trip) end(whole bool) {
	r.once.Do(func() {
		whole = r.stop() && whole && r.in.Buffered() == 0
		select {
		case err := <-r.sent:
			whole = whole && err == nil
		default: // it is being sent still
			whole = false
		}
		if whole {
			r.put(r.connection)
		} else {
			r.drop(r.connection)
		}
	})
}

// answerBody is the body of an answer, with whose end the call ends.
type answerBody struct {
	trip *trip
	body io.Reader
	last bool // the server closes the connection after it
	err  error
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.err = err
		b.trip.end(err == io.EOF && !b.last)
	}
	return n, err
}

func (b *answerBody) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	b.trip.end(false)
	return nil
}
