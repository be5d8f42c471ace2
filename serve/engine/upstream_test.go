package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

func runtimeOf(t testing.TB) *ort.Runtime { return orttest.Runtime(t) }

func upstream(t testing.TB, cfg UpstreamConfig) *Upstream {
	t.Helper()
	cfg.Name = "ours"
	u, err := NewUpstream(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// Each way to an upstream gives the answers that the model gives here: REST in
// JSON and in binary form, gRPC, all over TLS with a token; and from an upstream
// of an upstream.
func TestUpstream(t *testing.T) {
	engines := fixtures(t)
	plain := httptest.NewTLSServer(&server{engines: engines, token: "secret"})
	defer plain.Close()
	binary := httptest.NewTLSServer(&server{engines: engines, token: "secret", extensions: []string{"binary_tensor_data"}})
	defer binary.Close()
	roots := x509.NewCertPool()
	roots.AddCert(plain.Certificate())
	trust := &tls.Config{RootCAs: roots}
	over := (&server{engines: engines, token: "secret"}).overGRPC(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: plain.TLS.Certificates})))
	second := upstream(t, UpstreamConfig{URL: binary.URL + "/v2/models/simple/versions/1", TLS: trust, Token: "secret"})
	chain := httptest.NewServer(&server{engines: map[string]engine{"again": second}, extensions: []string{"binary_tensor_data"}})
	defer chain.Close()

	for name, cfg := range map[string]UpstreamConfig{
		"JSON":                {URL: plain.URL + "/v2/models/simple", TLS: trust, Token: "secret"},
		"binary":              {URL: binary.URL + "/v2/models/simple", TLS: trust, Token: "secret"},
		"binary, but not us":  {URL: binary.URL + "/v2/models/simple/", TLS: trust, Token: "secret", JSON: true},
		"gRPC":                {URL: "grpcs://" + over + "/simple/1", TLS: trust, Token: "secret"},
		"through one of ours": {URL: chain.URL + "/v2/models/again"},
	} {
		u := upstream(t, cfg)
		if err := u.Ready(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m, err := u.Metadata(t.Context())
		want, _ := engines["simple"].Metadata(t.Context())
		if err != nil || m.Name != "ours" || !reflect.DeepEqual(m.Inputs, want.Inputs) || !reflect.DeepEqual(m.Outputs, want.Outputs) {
			t.Errorf("%s: %v %+v, want %+v", name, err, m, want)
			continue
		}
		a, err := u.Infer(t.Context(), pair(5, 3))
		if err == nil {
			a.ModelName = "m"
		}
		checkPair(t, 5, 3, a, err)
		q := pair(5, 3)
		q.Outputs = []oip.Output{{Name: "OUTPUT1"}}
		if a, err := u.Infer(t.Context(), q); err != nil || len(a.Outputs) != 1 || a.Outputs[0].Name != "OUTPUT1" {
			t.Errorf("%s: %v %v, want OUTPUT1 alone", name, a, err)
		}
		if s := u.Statistics(); s.Inference.Success.Count != 2 {
			t.Errorf("%s: statistics %+v", name, s)
		}
	}
}

// What JSON cannot hold is refused before it is sent to a server that takes
// JSON only, and text comes through.
func TestUpstreamInJSON(t *testing.T) {
	web := httptest.NewServer(&server{engines: fixtures(t)})
	defer web.Close()
	half := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/identity_fp16"})
	q := &oip.Request{Inputs: []oip.Tensor{{Name: "INPUT0", Datatype: oip.FP16, Shape: []int64{1, 1}, Raw: []byte{1, 2}}}}
	if _, err := half.Infer(t.Context(), q); code(err) != oip.Unsupported {
		t.Errorf("FP16: error %v, want unsupported", err)
	}
	word := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple_identity"})
	q.Inputs[0] = oip.Tensor{Name: "INPUT0", Datatype: oip.BYTES, Shape: []int64{1, 2}, Strings: [][]byte{[]byte("é\"\n"), {}}}
	a, err := word.Infer(t.Context(), q)
	if err != nil || string(a.Outputs[0].Strings[0]) != "é\"\n" || len(a.Outputs[0].Strings[1]) != 0 {
		t.Errorf("%v %v", a, err)
	}
	q.Inputs[0].Strings[0] = []byte{0xff}
	if _, err := word.Infer(t.Context(), q); code(err) != oip.Unsupported {
		t.Errorf("bytes that are no text: error %v, want unsupported", err)
	}
}

// What reaches the server is made anew: no id, parameter or header of the
// client's but those named in the configuration.
func TestUpstreamSeesNothingElse(t *testing.T) {
	var seen []byte
	var header http.Header
	s := &server{engines: fixtures(t)}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			seen, _ = io.ReadAll(r.Body)
			header = r.Header.Clone()
			r.Body = io.NopCloser(bytes.NewReader(seen))
		}
		return false
	}
	web := httptest.NewServer(s)
	defer web.Close()
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple", Parameters: []string{"priority"}, Token: "secret"})
	q := pair(1, 2)
	q.ID = "evil"
	q.Parameters = oip.Parameters{"evil": "evil", "priority": int64(3)}
	q.Inputs[0].Parameters = oip.Parameters{"evil": true}
	a, err := u.Infer(t.Context(), q)
	if err != nil || a.ID != "evil" {
		t.Fatal(a, err)
	}
	if strings.Contains(string(seen), "evil") || !strings.Contains(string(seen), `"parameters":{"priority":3}`) {
		t.Errorf("the server saw %s", seen)
	}
	want := []string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent"}
	for name := range maps.Keys(header) {
		if !strings.Contains(strings.Join(want, " "), name) {
			t.Errorf("the server saw the header %s: %v", name, header[name])
		}
	}
}

// What a server says or does wrong becomes an error of ours that tells nothing
// of the server.
func TestUpstreamFaults(t *testing.T) {
	const answer = `{"model_name":"simple","outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[1],"data":[%s]}]}`
	refuse := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	s := &server{engines: fixtures(t)}
	var fault func(http.ResponseWriter)
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		fault(w)
		return true
	}
	web := httptest.NewServer(s)
	defer web.Close()
	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter)
		code  oip.Code
		says  string // what the client gets of it
	}{
		{"bad request", refuse(400, `{"error":"unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,8]"}`), oip.BadInput, "for model 'ours'. Expected [-1,16], got [1,8]"},
		{"bad request with a path", refuse(400, `{"error":"cannot read /models/simple/1/model.onnx at 10.1.2.3:8000 (0x7ffe) \u001b[31m"}`), oip.BadInput, "cannot read ... at ... ... ..."},
		{"validation", refuse(422, `{"detail":[{"msg":"field required"}]}`), oip.BadInput, "field required"},
		{"bad request without a reason", refuse(400, `<html>secret</html>`), oip.BadInput, "status 400"},
		{"our token", refuse(401, `{"error":"secret"}`), oip.Unavailable, "not ready"},
		{"no such model", refuse(404, `{"error":"secret"}`), oip.Unavailable, "not ready"},
		{"too large", refuse(413, `secret`), oip.TooLarge, "larger"},
		{"too often", refuse(429, `secret`), oip.Unavailable, "not ready"},
		{"broken", refuse(500, `{"error":"secret trace"}`), oip.Internal, "failed"},
		{"not offered", refuse(501, `secret`), oip.Unsupported, "does not offer"},
		{"late", refuse(504, `secret`), oip.Deadline, "too long"},
		{"redirect", func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) }, oip.Internal, "failed"},
		{"not JSON", refuse(200, `secret`), oip.Internal, "not understood"},
		{"no elements", refuse(200, fmt.Sprintf(answer, "")), oip.Internal, "not understood"},
		{"element of another type", refuse(200, fmt.Sprintf(answer, `"secret"`)), oip.Internal, "not understood"},
		{"binary size beyond the body", func(w http.ResponseWriter) {
			w.Header().Set("Inference-Header-Content-Length", "1000000")
			_, _ = io.WriteString(w, "{}")
		}, oip.Internal, "not understood"},
		{"an output of another type than declared", refuse(200, `{"model_name":"simple","outputs":[{"name":"OUTPUT1","datatype":"FP32","shape":[1],"data":[1]}]}`), oip.Internal, "not understood"},
		{"an output is missing", refuse(200, fmt.Sprintf(answer, "1")), oip.Internal, "not understood"},
		{"too long an answer", refuse(200, strings.Repeat(" ", 5000)), oip.Internal, "not understood"},
		{"compressed bomb", func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "secret")
		}, oip.Internal, "not understood"},
		{"cut short", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"model`)
		}, oip.Internal, "not understood"},
	} {
		fault = c.fault
		u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple", MaxResponse: 4000})
		q := pair(1, 2)
		q.Outputs = []oip.Output{{Name: "OUTPUT1"}}
		_, err := u.Infer(t.Context(), q)
		e := oip.Classify(err)
		if e == nil || e.Code != c.code || !strings.Contains(e.Message, c.says) || strings.Contains(e.Message, "secret") {
			t.Errorf("%s: %v %v, want %v that says %q", c.name, oip.Classify(err).Code, err, c.code, c.says)
		}
	}
}

// While a server says nothing of itself, what it said last holds, and not every call
// waits for it to say something.
func TestUpstreamKeepsSilent(t *testing.T) {
	s := &server{engines: fixtures(t)}
	var silent atomic.Bool
	var asked atomic.Int32
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if silent.Load() && r.Method == http.MethodGet {
			asked.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	web := httptest.NewServer(s)
	defer web.Close()
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple"})
	first, err := u.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	silent.Store(true)
	old := *u.known.Load()
	old.at = time.Now().Add(-2 * fresh)
	u.known.Store(&old)
	for range 5 {
		if m, err := u.Metadata(t.Context()); err != nil || m != first {
			t.Errorf("metadata %v, %v; want what was said before", m, err)
		}
		if _, err := u.Infer(t.Context(), pair(1, 2)); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times about itself, want once", n)
	}
}

// An answer over gRPC that is too long is the server's fault, and no fault of the request.
func TestUpstreamAnswersAtLength(t *testing.T) {
	verbose := func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		a, err := next(ctx, q)
		if m, ok := a.(*oippb.ModelInferResponse); ok {
			m.Id = strings.Repeat("a", 5000)
		}
		return a, err
	}
	over := (&server{engines: fixtures(t)}).overGRPC(t, "127.0.0.1:0", grpc.UnaryInterceptor(verbose))
	u := upstream(t, UpstreamConfig{URL: "grpc://" + over + "/simple", MaxResponse: 4000})
	if _, err := u.Infer(t.Context(), pair(1, 2)); code(err) != oip.Internal || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("%v (%v), want an answer that is not understood", err, code(err))
	}
}

// What a server tells beside the outputs that it declares reaches nobody.
func TestUpstreamAnswersMore(t *testing.T) {
	s := &server{engines: fixtures(t)}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		_, _ = io.WriteString(w, `{"model_name":"simple","outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[1,1],"data":[3]},{"name":"logits","datatype":"FP32","shape":[1],"data":[0.5]}]}`)
		return true
	}
	web := httptest.NewServer(s)
	defer web.Close()
	a, err := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple"}).Infer(t.Context(), pair(1, 2))
	if err != nil || len(a.Outputs) != 1 || a.Outputs[0].Name != "OUTPUT0" {
		t.Errorf("answer %+v, error %v: want OUTPUT0 alone", a, err)
	}
}

// Requests that the server cannot digest do not close it to others, and neither
// do those that no wire can carry.
func TestPoisonDoesNotOpenTheCircuit(t *testing.T) {
	s := &server{engines: fixtures(t)}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.WriteHeader(500)
		}
		return r.Method == http.MethodPost
	}
	web := httptest.NewServer(s)
	defer web.Close()
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple_identity", Failures: 2})
	word := func(w string) *oip.Request {
		return &oip.Request{Inputs: []oip.Tensor{{Name: "INPUT0", Datatype: oip.BYTES, Shape: []int64{1, 1}, Strings: [][]byte{[]byte(w)}}}}
	}
	for range 5 {
		if _, err := u.Infer(t.Context(), word("poison")); code(err) != oip.Internal {
			t.Errorf("error %v, want internal", err)
		}
	}
	u.circuit.report(false)
	if _, err := u.Infer(t.Context(), word("\xff")); code(err) != oip.Unsupported || u.circuit.failures != 1 {
		t.Errorf("error %v; what was never sent counts as a success", err)
	}

	over := (&server{engines: fixtures(t)}).overGRPC(t, "127.0.0.1:0")
	g := upstream(t, UpstreamConfig{URL: "grpc://" + over + "/simple_identity", Failures: 1})
	if _, err := g.Infer(t.Context(), word(strings.Repeat("a", 17<<20))); code(err) != oip.TooLarge || g.circuit.open() {
		t.Errorf("a message too large for the server: error %v, circuit open %v", err, g.circuit.open())
	}
}

// A call is made once, whatever becomes of it.
func TestUpstreamAsksOnce(t *testing.T) {
	var calls atomic.Int64
	s := &server{engines: fixtures(t)}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		calls.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close() // read whole, perhaps answered, and gone
		}
		return true
	}
	web := httptest.NewServer(s)
	defer web.Close()
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple"})
	if _, err := u.Infer(t.Context(), pair(1, 2)); code(err) != oip.Unavailable || calls.Load() != 1 {
		t.Errorf("error %v after %d calls, want unavailable after one", err, calls.Load())
	}
}

// A server that hangs costs no more than the timeout, and a client that leaves
// does not count against it.
func TestUpstreamDeadlines(t *testing.T) {
	release := make(chan struct{})
	s := &server{engines: fixtures(t)}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	}
	web := httptest.NewServer(s)
	defer web.Close()
	defer close(release)
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple", Timeout: 50 * time.Millisecond, Failures: 1})
	if _, err := u.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
	defer leave()
	if _, err := u.Infer(ctx, pair(1, 2)); code(err) != oip.Deadline || u.circuit.open() {
		t.Errorf("the client's deadline: error %v, circuit open %v", err, u.circuit.open())
	}
	if _, err := u.Infer(t.Context(), pair(1, 2)); code(err) != oip.Deadline || !u.circuit.open() {
		t.Errorf("the server's: error %v, circuit open %v", err, u.circuit.open())
	}
}

// The circuit opens after failures in a row, lets one call through after its
// pause, and closes when that succeeds.
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &circuit{limit: 3, pause: time.Second}
		fail := func() {
			if !c.allow() {
				t.Fatal("refused")
			}
			c.report(false)
		}
		fail()
		fail()
		c.report(true)
		fail()
		fail()
		if !c.allow() {
			t.Fatal("open after two failures in a row")
		}
		c.report(false)
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if c.allow() || !c.open() {
				t.Fatal("closed after three failures")
			}
			time.Sleep(pause*time.Second - time.Millisecond)
			if c.allow() {
				t.Fatalf("allowed before %d seconds", pause)
			}
			time.Sleep(time.Millisecond)
			if !c.allow() {
				t.Fatalf("refused after %d seconds", pause)
			}
			if c.allow() {
				t.Fatalf("a second call allowed after %d seconds", pause)
			}
			c.report(false)
		}
		time.Sleep(time.Minute)
		if !c.allow() {
			t.Fatal("refused after a pause")
		}
		c.forget()
		if !c.allow() {
			t.Fatal("refused after a client left")
		}
		c.report(true)
		for range 2 {
			if !c.allow() {
				t.Fatal("open after a success")
			}
		}
	})
}

// A server that is away is left alone, what it said of its model holds, and it
// is asked again when it is back.
func TestUpstreamComesBack(t *testing.T) {
	s := &server{engines: fixtures(t)}
	var away atomic.Bool
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if away.Load() {
			w.WriteHeader(503)
		}
		return away.Load()
	}
	web := httptest.NewServer(s)
	defer web.Close()
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple", Failures: 2, Pause: time.Millisecond})
	a, err := u.Infer(t.Context(), pair(1, 2))
	if err != nil {
		t.Fatal(a, err)
	}
	away.Store(true)
	old := *u.known.Load()
	old.at = old.at.Add(-time.Hour)
	u.known.Store(&old)
	for range 20 {
		if _, err := u.Infer(t.Context(), pair(1, 2)); code(err) != oip.Unavailable {
			t.Fatalf("error %v, want unavailable", err)
		}
	}
	if _, err := u.Metadata(t.Context()); err != nil {
		t.Errorf("what it said last is forgotten: %v", err)
	}
	if code(u.Ready(t.Context())) != oip.Unavailable {
		t.Error("ready although away")
	}
	away.Store(false)
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := u.Infer(t.Context(), pair(1, 2)); err == nil {
			break
		} else if time.Since(start) > 40*time.Second {
			t.Fatal(err)
		}
	}
}

// A server whose certificate is not trusted is not asked, and one that wants a
// client's gets it.
func TestUpstreamTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(&server{engines: fixtures(t)})
	web.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	web.Config.ErrorLog = nil
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	address := web.URL + "/v2/models/simple"
	for name, c := range map[string]struct {
		cfg *tls.Config
		ok  bool
	}{
		"not trusted":           {&tls.Config{Certificates: web.TLS.Certificates}, false},
		"no client certificate": {&tls.Config{RootCAs: roots}, false},
		"both":                  {&tls.Config{RootCAs: roots, Certificates: web.TLS.Certificates}, true},
	} {
		_, err := upstream(t, UpstreamConfig{URL: address, TLS: c.cfg}).Infer(t.Context(), pair(1, 2))
		if c.ok != (err == nil) || err != nil && (code(err) != oip.Unavailable || strings.Contains(err.(*oip.Error).Message, "127.0.0.1")) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Calls at once have a connection each, also where the server would take them on
// one: none waits behind another's answer.
func TestUpstreamConnections(t *testing.T) {
	s := &server{engines: fixtures(t)}
	var both sync.WaitGroup
	both.Add(2)
	var from sync.Map
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/infer") {
			if _, twice := from.LoadOrStore(r.RemoteAddr, true); twice || r.ProtoMajor != 1 {
				t.Errorf("a call came over %s from %s (seen before: %v)", r.Proto, r.RemoteAddr, twice)
			}
			both.Done()
			both.Wait()
		}
		s.ServeHTTP(w, r)
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	u := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple", TLS: &tls.Config{RootCAs: roots}})
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			a, err := u.Infer(t.Context(), pair(5, 3))
			if err == nil {
				a.ModelName = "m"
			}
			checkPair(t, 5, 3, a, err)
		})
	}
	calls.Wait()
}

// A connection without a call is closed by us, before a server that waits five
// seconds does, as uvicorn: else a call could be sent on it just then, and fail.
func TestUpstreamIdle(t *testing.T) {
	t.Parallel()
	web := httptest.NewUnstartedServer(&server{engines: fixtures(t)})
	ends := make(chan error, 16)
	web.Listener = watched{web.Listener, ends}
	web.Config.IdleTimeout = 5 * time.Second
	web.Start()
	defer web.Close()
	if _, err := upstream(t, UpstreamConfig{URL: web.URL + "/v2/models/simple"}).Infer(t.Context(), pair(1, 2)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ends:
		if !errors.Is(err, io.EOF) {
			t.Errorf("the server ended the connection: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody ended the connection")
	}
}

// watched tells how its connections end: by io.EOF if the client closed them.
type watched struct {
	net.Listener
	ends chan<- error
}

func (w watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	return &watchedConn{Conn: c, ends: w.ends}, err
}

type watchedConn struct {
	net.Conn
	ends chan<- error
	last atomic.Value // what Read returned last that was an error
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.last.Store(fmt.Errorf("%w", err)) // of one type
	}
	return n, err
}

func (c *watchedConn) Close() error {
	err, _ := c.last.Load().(error)
	c.ends <- err
	return c.Conn.Close()
}

func TestUpstreamConfigs(t *testing.T) {
	for _, c := range []struct{ url, token, why string }{
		{"", "", "want an address"},
		{"ftp://host/v2/models/m", "", "scheme"},
		{"https://host/models/m", "", "path"},
		{"https://host/v2/models/", "", "path"},
		{"https://host/v2/models/m/infer", "", "path"},
		{"https://user:hunter2@host/v2/models/m", "", "want an address"},
		{"https://host/v2/models/m?x=1", "", "want an address"},
		{"grpcs://host:1", "", "path"},
		{"http://model.example/v2/models/m", "t", "in clear"},
		{"grpc://10.0.0.1:8001/m", "t", "in clear"},
	} {
		_, err := NewUpstream(UpstreamConfig{URL: c.url, Token: c.token})
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one that says %q", c.url, err, c.why)
		}
	}
	// A server that is not there.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	for _, url := range []string{"http://" + address + "/v2/models/m", "grpc://" + address + "/m"} {
		u := upstream(t, UpstreamConfig{URL: url})
		if _, err := u.Infer(t.Context(), pair(1, 2)); code(err) != oip.Unavailable || strings.Contains(err.(*oip.Error).Message, "127.0.0.1") {
			t.Errorf("%s: error %v, want unavailable", url, err)
		}
		if err := u.Ready(t.Context()); code(err) != oip.Unavailable {
			t.Errorf("%s: ready: %v", url, err)
		}
	}
}
