// Command load sends calls to a gateway at a steady rate, whether it keeps up or
// not (an open loop), and says how long they took.
//
//	go run ./bench/load -url https://127.0.0.1:8443/v2/models/simple/infer -ca tls.crt -rate 1000 -for 30s < body.json
//
// The token is read from the environment variable TOKEN. A call's time begins
// when it was due, not when it was sent: a server that stalls is charged for all
// the calls that wait. With -rate 0 it sends as fast as answers come, by -callers
// at once, which measures throughput. With -watch PID it prints, every minute, how
// the last one went and how much memory that process holds. run.sh has both
// servers and their baseline started.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type load struct {
	url, ca  string
	rate     float64
	duration time.Duration
	callers  int
	header   int
	watched  int

	host    string
	tls     *tls.Config // nil for the clear
	request []byte
	token   string
}

// caller is one connection. It is read and written by hand: the callers are on the
// server's processors, or its neighbours', and should take as little of them as
// they can; the client of net/http takes twice as much.
type caller struct {
	*load
	conn     net.Conn // nil before the first call and after one that failed
	r        *bufio.Reader
	deadline time.Time
}

// outcome is what became of a call.
type outcome struct {
	status int // 0 when there was no answer
	took   time.Duration
}

func main() {
	l := load{token: os.Getenv("TOKEN")}
	flag.StringVar(&l.url, "url", "", "address to post to")
	flag.StringVar(&l.ca, "ca", "", "PEM file of the server's certificate")
	flag.Float64Var(&l.rate, "rate", 0, "calls a second; 0 for as many as the server answers")
	flag.DurationVar(&l.duration, "for", 10*time.Second, "how long")
	flag.IntVar(&l.callers, "callers", 64, "calls at once, at most")
	flag.IntVar(&l.header, "json", 0, "length of the JSON part, for bodies with binary tensors")
	flag.IntVar(&l.watched, "watch", 0, "process whose memory is printed every minute (Linux)")
	flag.Parse()
	if err := l.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func (l *load) run(ctx context.Context) error {
	if err := l.prepare(); err != nil {
		return err
	}
	callers := l.connect(ctx)
	began := time.Now()
	for l.watched > 0 && l.duration > time.Minute {
		// A minute's outcomes at a time, or a long run would measure its own.
		minute := *l
		minute.duration = time.Minute
		from := time.Now()
		outcomes := minute.send(ctx, from, callers)
		held, err := resident(l.watched)
		if err != nil {
			return err
		}
		fmt.Printf("%s after %v: ", held, time.Since(began).Round(time.Second))
		if err := l.print(outcomes, time.Since(from)); err != nil {
			return err
		}
		l.duration -= time.Minute
	}
	from := time.Now()
	outcomes := l.send(ctx, from, callers)
	return l.print(outcomes, time.Since(from))
}

// prepare makes the request, which is the same each time.
func (l *load) prepare() error {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, l.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if l.header > 0 {
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("Inference-Header-Content-Length", fmt.Sprint(l.header))
	}
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return err
	}
	l.request, l.host = b.Bytes(), r.URL.Host
	if r.URL.Port() == "" {
		l.host = net.JoinHostPort(r.URL.Hostname(), r.URL.Scheme)
	}
	if r.URL.Scheme != "https" {
		return nil
	}
	l.tls = &tls.Config{ServerName: r.URL.Hostname()}
	if l.ca != "" {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			return err
		}
		l.tls.RootCAs = x509.NewCertPool()
		if !l.tls.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in " + l.ca)
		}
	}
	return nil
}

// resident is the memory that a process holds, as Linux tells it.
func resident(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", fmt.Errorf("watch process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.Join(strings.Fields(size), " "), nil
		}
	}
	return "", fmt.Errorf("watch process %d: it holds no memory", pid)
}

// connect has every connection made before the clock starts, all at once: dozens of
// TLS handshakes in the first moments would be what the slowest of a hundred calls
// measure.
func (l *load) connect(ctx context.Context) []*caller {
	callers := make([]*caller, l.callers)
	var wg sync.WaitGroup
	for i := range callers {
		callers[i] = &caller{load: l}
		wg.Go(func() { callers[i].call(ctx) })
	}
	wg.Wait()
	return callers
}

// send makes the calls, each at its time: whoever is free takes the next.
func (l *load) send(ctx context.Context, began time.Time, callers []*caller) []outcome {
	var taken atomic.Int64
	next := func() (due time.Time, more bool) {
		if l.rate == 0 {
			due = time.Now()
		} else {
			due = began.Add(time.Duration(float64(taken.Add(1)-1) / l.rate * float64(time.Second)))
		}
		if due.Sub(began) >= l.duration {
			return due, false
		}
		time.Sleep(time.Until(due))
		return due, true
	}
	var mu sync.Mutex
	var outcomes []outcome
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() {
			var mine []outcome
			for due, more := next(); more; due, more = next() {
				status := c.call(ctx)
				mine = append(mine, outcome{status, time.Since(due)})
			}
			mu.Lock()
			outcomes = append(outcomes, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return outcomes
}

// call sends the request and reads the answer. It returns the status, 0 if there is
// none; then the next call connects anew.
func (c *caller) call(ctx context.Context) int {
	status, err := c.exchange(ctx)
	if err != nil {
		if c.conn != nil {
			c.conn.Close() // it is of no use any more
		}
		c.conn = nil
		return 0
	}
	return status
}

func (c *caller) exchange(ctx context.Context) (status int, err error) {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return 0, err
		}
	}
	// A deadline is a timer, so it is not set for each call.
	if now := time.Now(); now.Sub(c.deadline) > -patience/2 {
		c.deadline = now.Add(patience)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, err
	}
	return c.answer()
}

// patience is how long a call may take, and half of it how long it may at least.
const patience = time.Minute

// answer reads what HTTP/1.1 servers answer to a request with a body: a status, and
// as many bytes as they say.
func (c *caller) answer() (status int, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("status line %q", line)
	}
	length, last := -1, false
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, errors.New("the answer does not say how long it is")
	}
	if _, err := c.r.Discard(length); err != nil {
		return 0, err
	}
	if last {
		c.conn.Close() // as the server said
		c.conn = nil
	}
	return status, nil
}

func (c *caller) dial(ctx context.Context) (err error) {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	if c.tls == nil {
		c.conn, err = dialer.DialContext(ctx, "tcp", c.host)
	} else {
		c.conn, err = (&tls.Dialer{NetDialer: dialer, Config: c.tls}).DialContext(ctx, "tcp", c.host)
	}
	if err != nil {
		c.conn = nil
		return err
	}
	c.r, c.deadline = bufio.NewReader(c.conn), time.Time{}
	return nil
}

// print says how it went. Calls that are refused are cheaper than those that are
// answered: a measurement with some of both is none, and an error.
func (l *load) print(outcomes []outcome, took time.Duration) error {
	status, times := map[int]int{}, []time.Duration{}
	for _, o := range outcomes {
		status[o.status]++
		if o.status == http.StatusOK {
			times = append(times, o.took)
		}
	}
	slices.Sort(times)
	at := func(q float64) time.Duration {
		if len(times) == 0 {
			return 0
		}
		return times[min(int(q*float64(len(times))), len(times)-1)].Round(10 * time.Microsecond)
	}
	fmt.Printf("%d calls in %.1f s, %.0f a second; status %v\n", len(outcomes), took.Seconds(), float64(len(times))/took.Seconds(), status)
	fmt.Printf("p50 %v  p90 %v  p99 %v  p99.9 %v  max %v\n", at(.5), at(.9), at(.99), at(.999), at(1))
	if others := len(outcomes) - len(times); others > 0 {
		return fmt.Errorf("%d of %d calls were not answered with 200", others, len(outcomes))
	}
	return nil
}
