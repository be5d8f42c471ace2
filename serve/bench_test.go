package serve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/serve/engine"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// simple is Triton's fixture: two vectors of 16 numbers in, their sum and
// difference out.
func simple(t testing.TB) string {
	value := func(name string) *onnx.Value {
		dims := []onnx.Dim{{Size: -1, Symbol: "n"}, {Size: 16}}
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: onnx.Int32, HasShape: true, Dims: dims}}}
	}
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{
		Name:    "simple",
		Inputs:  []*onnx.Value{value("INPUT0"), value("INPUT1")},
		Outputs: []*onnx.Value{value("OUTPUT0"), value("OUTPUT1")},
		Nodes: []*onnx.Node{
			onnx.NewNode("Add", []string{"INPUT0", "INPUT1"}, []string{"OUTPUT0"}),
			onnx.NewNode("Sub", []string{"INPUT0", "INPUT1"}, []string{"OUTPUT1"}),
		},
	}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "simple.onnx")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const simpleBody = `{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"INT32","data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]},` +
	`{"name":"INPUT1","shape":[1,16],"datatype":"INT32","data":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}]}`

// started is a server on loopback with an account that may call the model, and
// the token of that account.
func started(t testing.TB, change func(*Config)) (*Server, string) {
	t.Helper()
	return startedWith(t, nil, change)
}

// startedWith is started with a logger.
func startedWith(t testing.TB, logger *slog.Logger, change func(*Config)) (*Server, string) {
	t.Helper()
	cfg := &Config{
		Data: t.TempDir(), Listen: Listen{REST: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Limits: Limits{Address: "10000000/hour", Principal: "10000000/hour"},
		Models: []Model{{Name: "simple", Path: simple(t), Limits: "10000000/hour, 10000000/day"}},
	}
	if change != nil {
		change(cfg)
	}
	s, err := startLogging(t, logger, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, userOf(t, s, "ci")
}

// userOf makes an account that may call the model, and returns its token.
func userOf(t testing.TB, s *Server, name string) string {
	t.Helper()
	a, err := s.Identity().CreateService(t.Context(), redoubt.Principal{ID: "local:0"}, name, []string{"model_user"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tokenOf(t, s, a.ID, "model:simple:invoke")
}

// tokenOf is a token of an account, bounded by scopes if there are any.
func tokenOf(t testing.TB, s *Server, account string, scopes ...string) string {
	t.Helper()
	_, token, err := s.Identity().CreateToken(t.Context(), redoubt.Principal{ID: "local:0"}, identity.Token{Account: account, Name: "t", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// start starts a server that ends with the test.
func start(t testing.TB, cfg *Config) (*Server, error) { return startLogging(t, nil, cfg) }

func startLogging(t testing.TB, logger *slog.Logger, cfg *Config) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	s, err := Start(t.Context(), cfg, Options{Runtime: orttest.Runtime(t), Logger: logger})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := s.closeAll(); err != nil {
			t.Error(err)
		}
	})
	return s, nil
}

// cpu is the processor time that this process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare is what a gateway is held against: a handler that reads a request, asks
// ONNX Runtime and writes the answer, for everybody.
func bare(t testing.TB) http.Handler {
	e, err := engine.Open(t.Context(), orttest.Runtime(t), simple(t), engine.LocalConfig{Name: "simple", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := oip.ReadRequest(r, nil, oip.Limits{})
		if err == nil {
			var a *oip.Response
			if a, err = e.Infer(r.Context(), q); err == nil {
				err = oip.WriteResponse(w, r, q, a)
			}
		}
		if err != nil {
			oip.WriteError(w, err, "")
		}
	})
}

// What the guards cost: the same calls through them and past them, without a
// network, by 32 callers a processor. The metric cpu-us/op counts the processor
// time of all threads; run it with GOGC=400, which redoubt serve sets.
func BenchmarkGuards(b *testing.B) {
	for _, wait := range gateway.Waits {
		s, token := started(b, func(c *Config) { c.Audit.Wait = string(wait) })
		b.Run(fmt.Sprintf("gateway/wait=%v", wait), func(b *testing.B) { serveAll(b, s.gateway.Handler(), token) })
	}
	s, token := started(b, func(c *Config) {
		c.Audit.Wait = string(gateway.None)
		c.Tracing = Tracing{Endpoint: "http://127.0.0.1:1/v1/traces"} // a hundredth of the calls
	})
	b.Run("gateway/wait=none/traced", func(b *testing.B) { serveAll(b, s.gateway.Handler(), token) })
	b.Run("bare", func(b *testing.B) { serveAll(b, bare(b), "") })
}

func serveAll(b *testing.B, h http.Handler, token string) {
	before := cpu()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("POST", "/v2/models/simple/infer", strings.NewReader(simpleBody))
			r.Header.Set("Content-Type", "application/json")
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				b.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	})
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// Throughput on loopback with 64 clients over TLS, client and server in one
// process.
func BenchmarkThroughput(b *testing.B) {
	for _, wait := range gateway.Waits {
		s, token := started(b, func(c *Config) { c.Audit.Wait = string(wait) })
		pem, err := os.ReadFile(s.Certificate().File())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("gateway/wait=%v", wait), func(b *testing.B) { callAll(b, s.Address("rest"), pem, token) })
	}
	dir := b.TempDir()
	cert, err := gateway.OwnCertificate(dir, []string{"127.0.0.1"})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: bare(b), TLSConfig: cert.Config(nil)}
	var done sync.WaitGroup
	done.Go(func() { srv.ServeTLS(l, "", "") })
	b.Cleanup(func() { srv.Close(); done.Wait() })
	pem, err := os.ReadFile(cert.File())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) { callAll(b, l.Addr().String(), pem, "") })
}

func callAll(b *testing.B, address string, pem []byte, token string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	work := make(chan struct{})
	var callers sync.WaitGroup
	b.ResetTimer()
	before := cpu()
	for range 64 {
		callers.Go(func() {
			for range work {
				r, err := http.NewRequestWithContext(b.Context(), "POST", "https://"+address+"/v2/models/simple/infer", bytes.NewReader([]byte(simpleBody)))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				a, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, a.Body)
				a.Body.Close()
				if a.StatusCode != http.StatusOK {
					b.Errorf("status %d", a.StatusCode)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	callers.Wait()
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
