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
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

type load struct {
	url, ca  string
	rate     float64
	duration time.Duration
	callers  int
	header   int
	watched  int

	client *http.Client
	body   []byte
	token  string
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
	var err error
	if l.body, err = io.ReadAll(os.Stdin); err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: l.callers, MaxConnsPerHost: l.callers}
	if l.ca != "" {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in " + l.ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	l.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	l.connect(ctx)
	began := time.Now()
	for l.watched > 0 && l.duration > time.Minute {
		// A minute's outcomes at a time, or a long run would measure its own.
		minute := *l
		minute.duration = time.Minute
		from := time.Now()
		outcomes := minute.send(ctx, from)
		held, err := resident(l.watched)
		if err != nil {
			return err
		}
		fmt.Printf("%s after %v: ", held, time.Since(began).Round(time.Second))
		l.print(outcomes, time.Since(from))
		l.duration -= time.Minute
	}
	from := time.Now()
	outcomes := l.send(ctx, from)
	l.print(outcomes, time.Since(from))
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

// connect has every connection made before the clock starts, all at once so that
// none is used twice: dozens of TLS handshakes in the first moments would be what
// the slowest of a hundred calls measure.
func (l *load) connect(ctx context.Context) {
	var callers sync.WaitGroup
	for range l.callers {
		callers.Go(func() { l.call(ctx) })
	}
	callers.Wait()
}

// send makes the calls, each at its time, by as many callers as it takes.
func (l *load) send(ctx context.Context, began time.Time) []outcome {
	due := make(chan time.Time, l.callers)
	go func() {
		defer close(due)
		for i := 0; time.Since(began) < l.duration; i++ {
			at := time.Now()
			if l.rate > 0 {
				at = began.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
				time.Sleep(time.Until(at))
			}
			due <- at
		}
	}()
	var mu sync.Mutex
	var outcomes []outcome
	var callers sync.WaitGroup
	for range l.callers {
		callers.Go(func() {
			var mine []outcome
			for at := range due {
				if l.rate == 0 {
					at = time.Now()
				}
				status := l.call(ctx)
				mine = append(mine, outcome{status, time.Since(at)})
			}
			mu.Lock()
			outcomes = append(outcomes, mine...)
			mu.Unlock()
		})
	}
	callers.Wait()
	return outcomes
}

func (l *load) call(ctx context.Context) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(l.body))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	if l.header > 0 {
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("Inference-Header-Content-Length", fmt.Sprint(l.header))
	}
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	a, err := l.client.Do(r)
	if err != nil {
		return 0
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		return 0
	}
	return a.StatusCode
}

func (l *load) print(outcomes []outcome, took time.Duration) {
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
}
