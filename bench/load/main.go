//go:build linux

// Command load sends calls to a gateway at a steady rate, whether it keeps up or
// not (an open loop), and says how long they took.
//
//	go run ./bench/load -url https://127.0.0.1:8443/v2/models/simple/infer -ca tls.crt -rate 1000 -for 30s < body.json
//
// The token is read from the environment variable TOKEN. A call's time begins
// when it was due, not when it was sent: a server that stalls is charged for all
// the calls that wait. How late the calls were sent that had a connection is printed
// beside, for that is the fault of this command or of who has its processor. With
// -rate 0 it sends as fast as answers come, by -callers at once, which measures
// throughput. With -watch PID it prints, every minute, how the last one went and how
// much memory that process holds, with -servers PID,PID how busy their processors were.
// run.sh has the servers started.
package main

import (
	"bytes"
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
	"time"

	"golang.org/x/sys/unix"
)

type load struct {
	url, ca  string
	rate     float64
	duration time.Duration
	callers  int
	header   int
	watched  int
	servers  []int

	address *net.TCPAddr
	tls     *tls.Config // nil for the clear
	request []byte
	token   string

	poll   int // of epoll, which says who has got something
	events [64]unix.EpollEvent
	ready  []*caller
	all    []*caller
	idle   []*caller // those who make no call, in the order in which they became idle
}

func main() {
	l := load{token: os.Getenv("TOKEN")}
	flag.StringVar(&l.url, "url", "", "address to post to")
	flag.StringVar(&l.ca, "ca", "", "PEM file of the server's certificate")
	flag.Float64Var(&l.rate, "rate", 0, "calls a second; 0 for as many as the server answers")
	flag.DurationVar(&l.duration, "for", 10*time.Second, "how long")
	flag.IntVar(&l.callers, "callers", 64, "calls at once, at most")
	flag.IntVar(&l.header, "json", 0, "length of the JSON part, for bodies with binary tensors")
	flag.IntVar(&l.watched, "watch", 0, "process whose memory is printed every minute")
	flag.Func("servers", "processes, with commas, whose processors' use is printed", func(list string) error {
		for pid := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(pid)
			if err != nil {
				return err
			}
			l.servers = append(l.servers, n)
		}
		return nil
	})
	flag.Parse()
	if err := l.run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func (l *load) run() error {
	if err := l.prepare(); err != nil {
		return err
	}
	if err := l.connect(); err != nil {
		return err
	}
	began := time.Now()
	for l.watched > 0 && l.duration > time.Minute {
		// A minute's outcomes at a time, or a long run would measure its own.
		from := time.Now()
		outcomes, err := l.send(from, time.Minute)
		if err != nil {
			return err
		}
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
	before, err := spend(l.servers)
	if err != nil {
		return err
	}
	from := time.Now()
	outcomes, err := l.send(from, l.duration)
	if err != nil {
		return err
	}
	took := time.Since(from)
	if len(l.servers) > 0 {
		busy, stolen, err := before.busy(l.servers)
		if err != nil {
			return err
		}
		fmt.Printf("processors %.0f %% busy, %.1f %% stolen\n", 100*busy, 100*stolen)
	}
	return l.print(outcomes, took)
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
	l.request = b.Bytes()
	port := r.URL.Port()
	if port == "" {
		port = r.URL.Scheme
	}
	if l.address, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(r.URL.Hostname(), port)); err != nil {
		return err
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

// print says how it went. Calls that are refused are cheaper than those that are
// answered: a measurement with some of both is none, and an error.
func (l *load) print(outcomes []outcome, took time.Duration) error {
	status, times, late := map[int]int{}, []time.Duration{}, []time.Duration{}
	for _, o := range outcomes {
		status[o.status]++
		late = append(late, o.late)
		if o.status == http.StatusOK {
			times = append(times, o.took)
		}
	}
	slices.Sort(times)
	slices.Sort(late)
	fmt.Printf("%d calls in %.1f s, %.0f a second; status %v\n", len(outcomes), took.Seconds(), float64(len(times))/took.Seconds(), status)
	fmt.Printf("p50 %v  p90 %v  p99 %v  p99.9 %v  max %v\n", at(times, .5), at(times, .9), at(times, .99), at(times, .999), at(times, 1))
	if l.rate > 0 {
		fmt.Printf("sent late by p50 %v  p99 %v\n", at(late, .5), at(late, .99))
	}
	if others := len(outcomes) - len(times); others > 0 {
		return fmt.Errorf("%d of %d calls were not answered with 200", others, len(outcomes))
	}
	return nil
}

// at is the quantile q of sorted times.
func at(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[min(int(q*float64(len(times))), len(times)-1)].Round(10 * time.Microsecond)
}
