package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// scripted is a server whose connections are served by a function each, and that
// counts them.
func scripted(t *testing.T, serve func(n int, c net.Conn, in *bufio.Reader)) (string, *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	count := new(atomic.Int32)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(count.Add(1))
			all.Go(func() {
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return "http://" + l.Addr().String(), count
}

// transportTo is one that the test ends with.
func transportTo(t *testing.T, address string, cfg UpstreamConfig) *transport {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	cfg.defaults()
	tr := newTransport(u, &cfg)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// ask posts a body, and returns the status and what is answered.
func ask(ctx context.Context, tr *transport, address string, body []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // or a fault would hang the test
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	a, err := tr.RoundTrip(q)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	return fmt.Sprint(a.StatusCode, " ", string(text)), err
}

// swallow reads a request.
func swallow(in *bufio.Reader) (string, error) {
	q, err := http.ReadRequest(in)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(q.Body)
	return string(body), err
}

// counted is how many connections a transport believes to have.
func (t *transport) counted() (open, dialing, idle, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open, t.dialing, len(t.idle), len(t.waiting)
}

// Answers of every form are read as they are meant, and the connection serves the next
// call where it may.
func TestTransportAnswers(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
		again              bool // on the same connection
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok", true},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "200 ok", true},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", "204 ", true},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 ", true},
		{"announced", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok", true},
		{"refused", "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", "400 no", true},
		{"last", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", "200 ok", false},
		{"old", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok", false},
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "101 ", false},
		{"more than an answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign", "200 ok", false},
		{"body without leave", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nforeign", "204 ", false},
	} {
		address, connections := scripted(t, func(_ int, conn net.Conn, in *bufio.Reader) {
			for {
				if _, err := swallow(in); err != nil {
					return
				}
				io.WriteString(conn, c.answer)
			}
		})
		tr := transportTo(t, address, UpstreamConfig{})
		for range 3 {
			if got, err := ask(t.Context(), tr, address, []byte("q")); err != nil || got != c.want {
				t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
			}
		}
		want := int32(3)
		if c.again {
			want = 1
		}
		if n := connections.Load(); n != want {
			t.Errorf("%s: %d connections for three calls, want %d", c.name, n, want)
		}
	}
}

// What is no answer is an error, and costs no more than its bound.
func TestTransportFaults(t *testing.T) {
	long := strings.Repeat("x", mostHeader)
	for name, answer := range map[string]string{
		"nothing":            "",
		"half":               "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"half a head":        "HTTP/1.1 200 OK\r\nConte",
		"no head":            "hello\r\n\r\n",
		"long field":         "HTTP/1.1 200 OK\r\nX: " + long + "\r\n\r\n",
		"long status":        "HTTP/1.1 200 " + long + "\r\n\r\n",
		"many fields":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", mostHeader/6) + "\r\n",
		"announced for ever": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", mostHeader/28) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
	} {
		address, _ := scripted(t, func(_ int, conn net.Conn, in *bufio.Reader) {
			if _, err := swallow(in); err == nil {
				io.WriteString(conn, answer)
			}
		})
		tr := transportTo(t, address, UpstreamConfig{})
		if got, err := ask(t.Context(), tr, address, []byte("q")); err == nil {
			t.Errorf("%s: answered %.40q", name, got)
		}
		if open, dialing, idle, waiting := tr.counted(); open+dialing+idle+waiting != 0 {
			t.Errorf("%s: %d open, %d made, %d idle, %d wait", name, open, dialing, idle, waiting)
		}
	}
}

// secured is how a server and its client speak TLS.
func secured(t *testing.T) (server, client *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.TLS, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// A connection that the server has closed, or on which it has sent what nobody asked
// for, is not used again, also where TLS has read that already.
func TestTransportLooks(t *testing.T) {
	server, client := secured(t)
	const answer, foreign = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign"
	for _, secure := range []bool{false, true} {
		for name, then := range map[string]func(net.Conn){
			"closes":       func(c net.Conn) { c.Close() },
			"goes on":      func(c net.Conn) { io.WriteString(c, foreign) },
			"goes on late": func(c net.Conn) { time.Sleep(50 * time.Millisecond); io.WriteString(c, foreign) },
		} {
			did := make(chan bool, 9)
			address, connections := scripted(t, func(_ int, c net.Conn, in *bufio.Reader) {
				if secure {
					c = tls.Server(c, server)
					in = bufio.NewReader(c)
				}
				if _, err := swallow(in); err != nil {
					return
				}
				io.WriteString(c, answer)
				then(c)
				did <- true
				_, _ = swallow(in)
			})
			if secure {
				address = "https" + strings.TrimPrefix(address, "http")
			}
			tr := transportTo(t, address, UpstreamConfig{TLS: client})
			for range 3 {
				if got, err := ask(t.Context(), tr, address, []byte("q")); err != nil || got != "200 ok" {
					t.Errorf("TLS %v, the server %s: %q, %v", secure, name, got, err)
				}
				select {
				case <-did:
				case <-time.After(20 * time.Second):
					t.Fatalf("TLS %v, the server %s: it was not asked", secure, name)
				}
				time.Sleep(10 * time.Millisecond) // for it to arrive
			}
			if n := connections.Load(); n != 3 {
				t.Errorf("TLS %v, the server %s: %d connections for three calls", secure, name, n)
			}
		}
	}
}

// Records that came with the answer, and lie in TLS's own memory, are seen too.
func TestTransportSeesWhatTLSHolds(t *testing.T) {
	server, client := secured(t)
	address, connections := scripted(t, func(_ int, raw net.Conn, _ *bufio.Reader) {
		joined := &joining{Conn: raw}
		c := tls.Server(joined, server)
		if _, err := swallow(bufio.NewReader(c)); err != nil {
			return
		}
		joined.hold = true // two records in one segment
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign")
		joined.flush()
		_, _ = c.Read(make([]byte, 1))
	})
	address = "https" + strings.TrimPrefix(address, "http")
	tr := transportTo(t, address, UpstreamConfig{TLS: client})
	for range 3 {
		if got, err := ask(t.Context(), tr, address, []byte("q")); err != nil || got != "200 ok" {
			t.Errorf("answered %q, %v", got, err)
		}
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections for three calls", n)
	}
}

type joining struct {
	net.Conn
	hold bool
	held []byte
}

func (j *joining) Write(b []byte) (int, error) {
	if !j.hold {
		return j.Conn.Write(b)
	}
	j.held = append(j.held, b...)
	return len(b), nil
}

func (j *joining) flush() { j.Conn.Write(j.held) }

// A server may answer before it has read a long body, and read no more of it.
func TestTransportEarlyAnswer(t *testing.T) {
	for _, closes := range []bool{false, true} {
		over := make(chan struct{})
		address, _ := scripted(t, func(_ int, c net.Conn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong")
			if closes {
				c.(*net.TCPConn).CloseWrite()
			}
			<-over
		})
		tr := transportTo(t, address, UpstreamConfig{})
		if got, err := ask(t.Context(), tr, address, make([]byte, 32<<20)); err != nil || got != "413 long" {
			t.Errorf("answered %q, %v", got, err)
		}
		close(over)
		if open, _, idle, _ := tr.counted(); open+idle != 0 {
			t.Errorf("%d connections are open, %d idle: the body is half sent", open, idle)
		}
	}
}

// A call whose context ends returns, in each of its phases, and leaves no connection
// that another could be answered on.
func TestTransportEnds(t *testing.T) {
	for name, serve := range map[string]func(c net.Conn, in *bufio.Reader){
		"does not read":    func(net.Conn, *bufio.Reader) {},
		"does not answer":  func(_ net.Conn, in *bufio.Reader) { swallow(in) },
		"begins an answer": func(c net.Conn, in *bufio.Reader) { swallow(in); io.WriteString(c, "HTTP/1.1 200 OK\r\n") },
		"does not go on": func(c net.Conn, in *bufio.Reader) {
			swallow(in)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin")
		},
		"announces an answer": func(c net.Conn, in *bufio.Reader) { swallow(in); io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n") },
	} {
		for _, size := range []int{10, 32 << 20} {
			over := make(chan struct{})
			address, _ := scripted(t, func(_ int, c net.Conn, in *bufio.Reader) { serve(c, in); <-over })
			tr := transportTo(t, address, UpstreamConfig{Connections: 1})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			second, cancelSecond := context.WithTimeout(t.Context(), 20*time.Millisecond)
			var both sync.WaitGroup
			both.Go(func() {
				if got, err := ask(ctx, tr, address, make([]byte, size)); err == nil {
					t.Errorf("the server %s: answered %q", name, got)
				}
			})
			both.Go(func() { // that waits for the same connection, or has it
				if _, err := ask(second, tr, address, []byte("q")); err == nil {
					t.Errorf("the server %s: the second call was answered", name)
				}
			})
			both.Wait()
			cancel()
			cancelSecond()
			close(over)
			if open, dialing, idle, waiting := tr.counted(); open+dialing+idle+waiting != 0 {
				t.Errorf("the server %s: %d open, %d made, %d idle, %d wait", name, open, dialing, idle, waiting)
			}
		}
	}
}

// Many calls share a few connections, no more than allowed, each gets its own answer,
// and who waits gets what another gives back.
func TestTransportShares(t *testing.T) {
	var at, most atomic.Int32
	address, connections := scripted(t, func(n int, c net.Conn, in *bufio.Reader) {
		for k := 0; ; k++ {
			body, err := swallow(in)
			if err != nil {
				return
			}
			if now := at.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Millisecond)
			at.Add(-1)
			last := ""
			if n%3 == 0 && k == 9 {
				last = "Connection: close\r\n"
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", last, len(body), body)
			if last != "" {
				return
			}
		}
	})
	tr := transportTo(t, address, UpstreamConfig{Connections: 4})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for k := range 20 {
				mine := fmt.Sprint(i, "/", k)
				if got, err := ask(t.Context(), tr, address, []byte(mine)); err != nil || got != "200 "+mine {
					t.Errorf("call %s: %q, %v", mine, got, err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 4 {
		t.Errorf("%d calls at once, want 4 at most", most.Load())
	}
	open, dialing, idle, waiting := tr.counted()
	if open != idle || open > 4 || dialing+waiting != 0 {
		t.Errorf("%d open, %d made, %d idle, %d wait, after %d connections", open, dialing, idle, waiting, connections.Load())
	}
}

// What calls at once have needed is used in turn by those that come one by one.
func TestTransportTakesTurns(t *testing.T) {
	const n = 4
	var together sync.WaitGroup
	together.Add(n)
	address, connections := scripted(t, func(n int, c net.Conn, in *bufio.Reader) {
		for first := true; ; first = false {
			if _, err := swallow(in); err != nil {
				return
			}
			if first {
				together.Done()
				together.Wait()
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
	})
	tr := transportTo(t, address, UpstreamConfig{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if got, err := ask(t.Context(), tr, address, nil); err != nil {
				t.Error(got, err)
			}
		})
	}
	all.Wait()
	used := map[string]int{}
	for range 3 * n {
		got, err := ask(t.Context(), tr, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		used[got]++
	}
	if len(used) != n || connections.Load() != n {
		t.Errorf("%d connections, of which calls used %v", connections.Load(), used)
	}
	for who, times := range used {
		if times != 3 {
			t.Errorf("%s was used %d times, want 3", who, times)
		}
	}
}

// A call waits for another's connection no longer than it takes to make one.
func TestTransportPatience(t *testing.T) {
	for _, c := range []struct{ takes, least, most time.Duration }{
		{0, leastPatience, mostPatience},
		{3 * time.Millisecond, 3 * time.Millisecond, mostPatience},
		{20 * time.Millisecond, mostPatience, mostPatience},
	} {
		address, _ := scripted(t, func(_ int, c net.Conn, in *bufio.Reader) {})
		tr := transportTo(t, address, UpstreamConfig{})
		if tr.patience != mostPatience {
			t.Errorf("patience %v before anything is known", tr.patience)
		}
		tr.dialer.ControlContext = func(context.Context, string, string, syscall.RawConn) error {
			time.Sleep(c.takes)
			return nil
		}
		made, err := tr.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if tr.patience < c.least || tr.patience > c.most {
			t.Errorf("patience %v, want %v to %v, for a connection that takes %v", tr.patience, c.least, c.most, c.takes)
		}
		tr.drop(made)
	}
}

// A call that waits has the connection that is given back, however many come at once.
func TestTransportWaits(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	cfg := UpstreamConfig{}
	cfg.defaults()
	tr := newTransport(u, &cfg)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	tr.open, tr.dialing = 1, 2 // so that none is made beside
	got := make(chan *connection)
	for range 3 {
		go func() {
			c, err := tr.next(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- c
			tr.put(c)
		}()
	}
	for {
		if _, _, _, waiting := tr.counted(); waiting == 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.next(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a call that has ended", err)
	}
	one := &connection{raw: a}
	tr.put(one)
	for range 3 {
		if c := <-got; c != one {
			t.Errorf("a waiter got %v", c)
		}
	}
	for {
		if _, _, idle, _ := tr.counted(); idle == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// What comes to a waiter who has just gone is kept for the next.
	tr.idle = nil
	for _, came := range []turn{{connection: one}, {err: io.EOF}, {}} {
		w := &waiter{turn: make(chan turn, 1)}
		w.turn <- came
		tr.leave(w)
	}
	if open, dialing, idle, _ := tr.counted(); open != 1 || dialing != 1 || idle != 1 {
		t.Errorf("%d open, %d made, %d idle after three waiters left", open, dialing, idle)
	}
	tr.idle, tr.open, tr.dialing = nil, 0, 0
	tr.sweep.Stop()
}

// Where nothing listens, all who wait learn it from the one who has tried.
func TestTransportNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	tr := transportTo(t, address, UpstreamConfig{})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got, err := ask(t.Context(), tr, address, []byte("q")); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answered %q, %v", got, err)
			}
		})
	}
	all.Wait()
	if open, dialing, idle, waiting := tr.counted(); open+dialing+idle+waiting != 0 {
		t.Errorf("%d open, %d made, %d idle, %d wait", open, dialing, idle, waiting)
	}
}

// A small request is sent in one write, though its body is in parts.
func TestTransportWritesOnce(t *testing.T) {
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://host/", io.MultiReader(strings.NewReader("the "), strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	q.ContentLength = 8
	var w writes
	if err := (&trip{connection: &connection{out: bufio.NewWriter(&w)}, query: q}).send(); err != nil {
		t.Fatal(err)
	}
	if len(w) != 1 || !strings.HasSuffix(w[0], "\r\n\r\nthe body") {
		t.Errorf("written %q", []string(w))
	}
}

type writes []string

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, string(b))
	return len(b), nil
}

// The end of a call that has its answer already does not reach the next on its
// connection.
func TestTransportEndsLate(t *testing.T) {
	address, connections := scripted(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, err := swallow(in); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	tr := transportTo(t, address, UpstreamConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("q"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := tr.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	time.Sleep(20 * time.Millisecond) // for what follows from it
	if body, err := io.ReadAll(a.Body); string(body) != "ok" {
		t.Errorf("answered %q, %v", body, err)
	}
	a.Body.Close()
	if got, err := ask(t.Context(), tr, address, []byte("q")); err != nil || got != "200 ok" {
		t.Errorf("the next call: %q, %v", got, err)
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want two", n)
	}
}
