package serve

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/watch/audit"
)

// roots trusts a server's certificate.
func roots(t testing.TB, s *Server) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.Certificate().File())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// dial opens a connection that speaks a protocol, "http/1.1" or "h2", to write
// bytes to that no client's library would send.
func dial(t testing.TB, s *Server, listener, protocol string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.Address(listener), &tls.Config{RootCAs: roots(t, s), NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// raw sends bytes and reads all answers until the server closes; the last
// request should ask it to.
func raw(t testing.TB, s *Server, request string) []answered {
	t.Helper()
	c := dial(t, s, "rest", "http/1.1")
	// Written from the side: the server may answer, and close, before the end.
	go io.WriteString(c, request)
	var all []answered
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		body, _ := io.ReadAll(r.Body)
		all = append(all, answered{r.StatusCode, r.Header, string(body)})
		if r.Close {
			return all
		}
	}
}

// answered is one answer.
type answered struct {
	status int
	header http.Header
	body   string
}

// shaped checks what every refusal has: a request's id, headers for browsers, and
// the form of errors at its path.
func (a answered) shaped(t *testing.T, what, path string) {
	t.Helper()
	id := a.header.Get("X-Request-Id")
	if id == "" || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("X-Frame-Options") != "DENY" ||
		a.header.Get("Strict-Transport-Security") == "" || a.header.Get("Content-Security-Policy") == "" {
		t.Errorf("%s: headers are missing: %v", what, a.header)
	}
	var problem struct {
		Error, Title, Instance string
		Status                 int
	}
	switch {
	case strings.HasPrefix(path, "/auth/"):
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, "<html") {
			t.Errorf("%s: no page: %d %v %.100q", what, a.status, a.header, a.body)
		}
		return
	case strings.HasPrefix(path, "/api/v1/") && !strings.HasSuffix(path, "predict"), a.header.Get("Content-Type") == "application/problem+json":
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.header.Get("Content-Type") != "application/problem+json" || !strings.HasPrefix(path, "/api/v1/") {
			t.Errorf("%s: no problem: %d %v %.100q", what, a.status, a.header, a.body)
		}
	default:
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.header.Get("Content-Type") != "application/json" || problem.Error == "" {
			t.Errorf("%s: no error: %d %v %.100q", what, a.status, a.header, a.body)
		}
	}
	if problem.Status != a.status || problem.Instance != id || problem.Title == "" {
		t.Errorf("%s: %d with id %s and the problem %+v", what, a.status, id, problem)
	}
}

// inference is a request for the model simple, with further header lines, each
// with its end, and a body that follows the headers as it stands.
func inference(token, lines, body string) string {
	return "POST /v2/models/simple/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n" + lines + "\r\n" + body
}

func chunked(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// What is sent so that two servers would see two different requests is refused,
// or read in the one way that RFC 9112 allows.
func TestSmuggling(t *testing.T) {
	s, token := started(t, func(c *Config) { c.Limits.HeaderTime, c.Limits.BodyTime = time.Second, time.Second })
	length := fmt.Sprintf("Content-Length: %d\r\n", len(simpleBody))
	get := func(lines string) string {
		return "GET /v2/health/live HTTP/1.1\r\n" + lines + "Connection: close\r\n\r\n"
	}
	for name, c := range map[string]struct {
		request string
		want    int // status of the only answer
	}{
		"plain":                           {inference(token, length, simpleBody), 200},
		"chunked":                         {inference(token, "Transfer-Encoding: chunked\r\n", chunked(simpleBody, 100)), 200},
		"length and chunked":              {inference(token, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked(simpleBody, 100)), 200}, // 6.1: the length is ignored
		"length longer than chunks":       {inference(token, "Content-Length: 9999\r\nTransfer-Encoding: chunked\r\n", chunked(simpleBody, 100)+"GET /v2 HTTP/1.1\r\n\r\n"), 200},
		"same length twice":               {inference(token, length+length, simpleBody), 200}, // 6.3: may be taken as one
		"two lengths":                     {inference(token, length+"Content-Length: 5\r\n", simpleBody), 400},
		"two lengths in one":              {inference(token, fmt.Sprintf("Content-Length: %d, 5\r\n", len(simpleBody)), simpleBody), 400},
		"length with a sign":              {inference(token, fmt.Sprintf("Content-Length: +%d\r\n", len(simpleBody)), simpleBody), 400},
		"length in hexadecimal":           {inference(token, fmt.Sprintf("Content-Length: 0x%x\r\n", len(simpleBody)), simpleBody), 400},
		"length below zero":               {inference(token, "Content-Length: -1\r\n", simpleBody), 400},
		"length beyond 63 bits":           {inference(token, "Content-Length: 9223372036854775808\r\n", simpleBody), 400},
		"length that is too long":         {inference(token, "Content-Length: 9223372036854775807\r\n", simpleBody), 413},
		"coding nobody knows":             {inference(token, "Transfer-Encoding: xchunked\r\n", chunked(simpleBody, 100)), 501},
		"coding with a tab":               {inference(token, "Transfer-Encoding: \tchunked\r\n", chunked(simpleBody, 100)), 200},
		"chunked not last":                {inference(token, "Transfer-Encoding: chunked, identity\r\n", chunked(simpleBody, 100)), 501},
		"chunked twice":                   {inference(token, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked(simpleBody, 100)), 501},
		"space before the colon":          {inference(token, "Transfer-Encoding : chunked\r\n", chunked(simpleBody, 100)), 400},
		"name with a control":             {inference(token, "X\x0bA: b\r\n"+length, simpleBody), 400},
		"value with a zero":               {inference(token, "X-A: a\x00b\r\n"+length, simpleBody), 400},
		"chunk size with a sign":          {inference(token, "Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk size that overflows":       {inference(token, "Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk longer than its size":      {inference(token, "Transfer-Encoding: chunked\r\n", "3\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk extension":                 {inference(token, "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x;a=b;\"c\r\n%s\r\n0\r\n\r\n", len(simpleBody), simpleBody)), 200}, // 7.1.1: ignored
		"chunk extension of 64 KB":        {inference(token, "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x;%s\r\n%s\r\n0\r\n\r\n", len(simpleBody), strings.Repeat("a", 64<<10), simpleBody)), 400},
		"chunk extensions without an end": {inference(token, "Transfer-Encoding: chunked\r\n", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\n \r\n", 1000)+"0\r\n\r\n"), 400},
		"folded header":                   {inference(token, "X-A: b\r\n\tTransfer-Encoding: chunked\r\n"+length, simpleBody), 200}, // 5.2: one value
		"line feeds alone":                {strings.ReplaceAll(inference(token, length, ""), "\r\n", "\n") + simpleBody, 200},       // 2.2
		"carriage returns alone":          {"GET /v2/health/live HTTP/1.1\rHost: localhost\r\r", 400},
		"no host":                         {get(""), 400},
		"two hosts":                       {get("Host: localhost\r\nHost: other\r\n"), 400},
		"host with a path":                {get("Host: localhost/v2\r\n"), 400},
		"another host":                    {get("Host: other.example\r\n"), 200},
		"host with a dot at its end":      {get("Host: localhost.\r\n"), 200},
		"version nobody knows":            {"GET /v2/health/live HTTP/3.0\r\nHost: localhost\r\n\r\n", 505},
		"preface of HTTP/2":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
		"headers of 64 KB":                {get("Host: localhost\r\nX-A: " + strings.Repeat("a", 64<<10) + "\r\n"), 431},
		"10,000 headers":                  {get("Host: localhost\r\n" + strings.Repeat("a: b\r\n", 10_000)), 431},
		"a line without an end":           {"GET /" + strings.Repeat("a", 1<<20), 431},
		"expectation nobody knows":        {get("Host: localhost\r\nExpect: wonders\r\n"), 417},
		"other protocol wished":           {get("Host: localhost\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), 200}, // RFC 9113, 3.1: ignored
	} {
		all := raw(t, s, c.request)
		if len(all) != 1 || all[0].status != c.want {
			t.Errorf("%s: %d answers, %+.200v; want %d", name, len(all), all, c.want)
			continue
		}
		if c.want != http.StatusOK {
			all[0].shaped(t, name, "/")
		}
	}
}

// A client that sends the whole of a long body before it reads gets the answer that
// refuses it, and not a connection that is gone.
func TestRefusedBodies(t *testing.T) {
	s, token := started(t, nil)
	long := strings.Repeat(" ", 11<<20)
	for name, c := range map[string]struct {
		token, lines, body string
		want               int
	}{
		"nobody knows the caller": {"rdt_nothing", fmt.Sprintf("Content-Length: %d\r\n", len(long)), long, 401},
		"larger than may be":      {token, fmt.Sprintf("Content-Length: %d\r\n", len(long)), long, 413},
		"in chunks":               {token, "Transfer-Encoding: chunked\r\n", chunked(long, 1<<20), 413},
		"no type that is read":    {token, fmt.Sprintf("Content-Type: text/html\r\nContent-Length: %d\r\n", len(long)), long, 415},
	} {
		conn := dial(t, s, "rest", "http/1.1")
		if _, err := io.WriteString(conn, inference(c.token, c.lines, c.body)); err != nil {
			t.Errorf("%s: %v before all was sent", name, err)
			continue
		}
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(a.Body)
		if err != nil || a.StatusCode != c.want || !a.Close {
			t.Errorf("%s: %d %.200s, %v, closed %v; want %d and the end", name, a.StatusCode, body, err, a.Close, c.want)
			continue
		}
		answered{a.StatusCode, a.Header, string(body)}.shaped(t, name, "/v2/models/simple/infer")
	}
	// Who sends no more is waited for a while, and no longer.
	began := time.Now()
	if all := raw(t, s, inference("rdt_nothing", "Content-Length: 1000000\r\n", "{")); len(all) != 1 || all[0].status != 401 || time.Since(began) > 3*time.Second {
		t.Errorf("a body that does not come: %+.200v after %v", all, time.Since(began))
	}
}

// The whole address in the request line names the same thing, whatever host
// stands there (RFC 9112, 3.2.2).
func TestAbsoluteForm(t *testing.T) {
	s, _ := started(t, nil)
	for target, want := range map[string]int{
		"https://other.example/v2/health/live": 200, "https://other.example/v2": 401, "http://169.254.169.254/latest": 404,
		"https://other.example//v2": 400, "*": 404, "v2/health/live": 400,
	} {
		all := raw(t, s, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if len(all) != 1 || all[0].status != want {
			t.Errorf("GET %s: %+.300v, want %d", target, all, want)
		}
	}
	for target, method := range map[string]string{"*": "OPTIONS", "other.example:443": "CONNECT"} {
		all := raw(t, s, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if len(all) != 1 || all[0].status < 400 {
			t.Fatalf("%s %s: %+v", method, target, all)
		}
		all[0].shaped(t, method, "/")
	}
}

// A path has one spelling. Another one is refused, and led nowhere.
func TestPaths(t *testing.T) {
	s, token := started(t, nil)
	for _, path := range []string{
		"//v2", "/v2//models/simple", "/v2/models//simple/infer", "/v2/models/simple/infer/", "/./v2", "/v2/.", "/v2/..", "/v2/../v2", "/v2/models/simple/../simple/infer",
		"/v2/models/simple%2finfer", "/v2/models/simple%2Finfer", "/v2/%6dodels/simple/infer", "/v2/models/%2e%2e/infer", "/v2/models/simple%00/infer",
		"/v2/models/simple;x=y/infer", "/v2/models/simple/infer;", "/v2/models/simple/infer%3fx", "/v2/models/simple/infer%23", "/v2/models/simple/infer#x",
		"/V2/models/simple/infer", "/v2/Models/simple/infer", "/v2/models/simple/INFER", "/v2/models/Simple/infer", "/v2/models/simple/infer\\", "/v2\\models\\simple\\infer",
		"/api/v1/models//predict", "/api/v1//models/simple/predict", "/api/v1/models/simple%2fpredict", "/api/v1/models/../models/simple/predict",
		"/api/v1", "/api", "/api/v1/", "/api//v1/me", "/api/v1/me/", "/api/v1/./me", "/api/v1/x/../me", "/api/v1/%6de%2f", "/api/v1/accounts/%2e%2e", "/api/v1/accounts/..", "/API/v1/me", "/api/V1/me",
		"/auth", "/auth/", "/auth//login", "/auth/./login", "/auth/x/../login", "/auth/static/", "/auth/static/../../x", "/auth/login/", "/auth/static/auth.css/", "/auth/%2e%2e/v2",
		"/", "/metrics", "/livez", "/readyz", "/debug/pprof/", "/v2/repository/models/simple/load", "/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging",
	} {
		for _, method := range []string{"GET", "POST"} {
			all := raw(t, s, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if len(all) != 1 || all[0].status < 400 || all[0].header.Get("Location") != "" {
				t.Errorf("%s %s: %+.300v", method, path, all)
			} else if !strings.ContainsAny(path, "\x00") {
				all[0].shaped(t, method+" "+path, path)
			}
		}
	}
}

// Nothing is believed of what proxies add to a request, nor of headers that only
// look like those that count.
func TestHeadersThatDoNotCount(t *testing.T) {
	s, token := started(t, func(c *Config) { c.Limits.Address = "1000/hour" })
	length := fmt.Sprintf("Content-Length: %d\r\n", len(simpleBody))
	for _, lines := range []string{
		"X_Request_Id: forged\r\nX-Request_Id: forged\r\n", "Content_Length: 5\r\n", "Transfer_Encoding: chunked\r\n", "Inference_Header_Content_Length: 3\r\n",
		"X-Forwarded-For: 203.0.113.7\r\nX-Real-Ip: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\n", "X-Forwarded-Host: other.example\r\nX-Forwarded-Proto: http\r\n",
		"X-Original-Url: /v2/health/live\r\nX-Rewrite-Url: /v2/health/live\r\nX-Forwarded-Uri: /v2/health/live\r\nX-Forwarded-Prefix: /x\r\n",
		"X-Http-Method-Override: GET\r\nX-Http-Method: GET\r\n", "User-Agent: kube-probe/1.30\r\n", "X-Request-Id: one\r\nX-Request-Id: two\r\n", "X-Request-Id: a b\"<script>\r\n",
	} {
		all := raw(t, s, inference(token, lines+length, simpleBody))
		if len(all) != 1 || all[0].status != 200 {
			t.Errorf("%q: %+.200v", lines, all)
			continue
		}
		if id := all[0].header.Get("X-Request-Id"); len(id) != 32 {
			t.Errorf("%q: the request is called %q", lines, id)
		}
		if all[0].header.Get("Location") != "" {
			t.Errorf("%q: %v", lines, all[0].header)
		}
		stranger := raw(t, s, "GET /v2/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+lines+"\r\n")
		if len(stranger) != 1 || stranger[0].status != 401 {
			t.Errorf("%q without credentials: %+.200v", lines, stranger)
		}
	}
	for _, twice := range []string{"Authorization: Bearer " + token, "Authorization: Bearer nothing", "Cookie: __Host-redoubt=x"} {
		if all := raw(t, s, inference(token, twice+"\r\n"+length, simpleBody)); len(all) != 1 || all[0].status != 401 {
			t.Errorf("with %s as well: %+.200v", twice, all)
		}
	}
	for e, err := range audit.Read(t.Context(), filepath.Join(s.cfg.Data, "audit"), audit.Filter{Action: "model."}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.From != "127.0.0.1" || e.Request == "forged" || e.Request == "ambiguous" {
			t.Errorf("the log believes %+v", e)
		}
	}
}

// 3 MB that come in chunks of six bytes cost what 3 MB cost.
func TestSmallChunks(t *testing.T) {
	s, token := started(t, nil)
	body := simpleBody[:len(simpleBody)-1] + strings.Repeat(" ", 3<<20) + "}"
	var sent int
	took := heapFor(func() {
		request := inference(token, "Transfer-Encoding: chunked\r\n", chunked(body, 6))
		sent = len(request)
		if all := raw(t, s, request); len(all) != 1 || all[0].status != 200 {
			t.Errorf("%+.200v", all)
		}
	})
	t.Logf("%d bytes on the wire, %d allocated", sent, took)
	if took > 30*uint64(sent) {
		t.Errorf("%d bytes took %d", sent, took)
	}
}

// Who is slow is cut off, with and without an account, in each thing that a
// client may be slow at.
func TestSlowClients(t *testing.T) {
	const patience = 200 * time.Millisecond
	s, token := started(t, func(c *Config) {
		c.Limits.HeaderTime, c.Limits.BodyTime, c.Limits.AnswerTime = patience, patience, patience
		c.Models[0].Timeout = patience
	})
	const large = 75_000 // rows, of 128 bytes in and as many out
	head := fmt.Sprintf(`{"inputs":[{"name":"INPUT0","shape":[%d,16],"datatype":"INT32","parameters":{"binary_data_size":%d}},{"name":"INPUT1","shape":[%d,16],"datatype":"INT32","parameters":{"binary_data_size":%[2]d}}],"parameters":{"binary_data_output":true}}`, large, large*64, large)
	for name, c := range map[string]struct {
		listener, protocol, begin, drip string
		want                            string // of the answer, if one comes
	}{
		"handshake":            {"rest", "", "\x16\x03\x01", "", ""},
		"headers":              {"rest", "http/1.1", "GET /v2 HTTP/1.1\r\nHost: localhost\r\n", "a: b\r\n", ""},
		"body":                 {"rest", "http/1.1", inference(token, "Content-Length: 100000\r\n", ""), " ", "400"},
		"body of a stranger":   {"rest", "http/1.1", inference("rdt_wrong", "Content-Length: 100000\r\n", ""), " ", "401"},
		"body without a path":  {"rest", "http/1.1", "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", " ", "404"},
		"chunks":               {"rest", "http/1.1", inference(token, "Transfer-Encoding: chunked\r\n", ""), "1\r\n \r\n", "400"},
		"body of an operation": {"rest", "http/1.1", "POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", " ", "408"},
		"body of a page":       {"rest", "http/1.1", "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n", "a", ""},
		"handshake of gRPC":    {"grpc", "", "\x16\x03\x01", "", ""},
		"metrics":              {"admin", "", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n", "a: b\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conn net.Conn
			var err error
			if c.protocol != "" {
				conn = dial(t, s, c.listener, c.protocol)
			} else if conn, err = net.Dial("tcp", s.Address(c.listener)); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			closed, got := make(chan struct{}), make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(conn)
				got <- b
				close(closed)
			}()
			began := time.Now()
			io.WriteString(conn, c.begin)
			for tick := time.NewTicker(patience / 10); ; {
				select {
				case <-closed:
					tick.Stop()
				case <-tick.C:
					io.WriteString(conn, c.drip) // fails once the server has closed
					if time.Since(began) > 14*time.Second {
						t.Fatal("still open")
					}
					continue
				}
				break
			}
			if answer := <-got; c.want != "" && !bytes.Contains(answer[:min(len(answer), 20)], []byte(c.want)) {
				t.Errorf("answered %.100q, want %s", answer, c.want)
			}
			t.Logf("closed after %v", time.Since(began))
		})
	}
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		request := inference(token, fmt.Sprintf("Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n", len(head), len(head)+2*large*64), head+strings.Repeat("\x01\x00\x00\x00", 2*large*16))
		conn := dial(t, s, "rest", "http/1.1")
		for try := 1; ; try++ {
			if err := conn.NetConn().(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			_, err := io.WriteString(conn, request)
			if err == nil {
				break
			}
			// A busy machine may need longer for a body of 10 MB than it is given.
			if try == 20 {
				t.Fatal(err)
			}
			conn = dial(t, s, "rest", "http/1.1")
		}
		time.Sleep(6 * patience) // more than all times together
		conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 20)
		began := time.Now()
		n, err := io.Copy(io.Discard, conn)
		if n >= 2*large*64 || time.Since(began) > 10*time.Second {
			t.Errorf("%d of %d bytes came after all that time, in %v (%v)", n, 2*large*64, time.Since(began), err)
		}
	})
}
