package serve

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// sink is a collector of traces: it takes OTLP from those with its token, over
// HTTPS or in the clear.
type sink struct {
	address, ca string
	mu          sync.Mutex
	spans       []*traces.Span
}

func collect(t *testing.T, plain bool) *sink {
	t.Helper()
	s := &sink{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" || r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		q := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(b, q)
		}
		if err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, rs := range q.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				s.spans = append(s.spans, ss.Spans...)
			}
		}
	}))
	t.Setenv("COLLECTOR", "t0ken")
	t.Cleanup(srv.Close)
	if plain {
		srv.Start()
		s.address = srv.URL + "/v1/traces"
		return s
	}
	srv.StartTLS()
	s.address, s.ca = srv.URL+"/v1/traces", filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(s.ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sink) to(sample float64) func(*Config) {
	return func(c *Config) {
		c.Tracing = Tracing{Endpoint: s.address, Sample: sample, Token: "env:COLLECTOR", CA: s.ca}
	}
}

// taken are the spans that servers have sent.
func (s *sink) taken(t *testing.T, servers ...*Server) []*traces.Span {
	t.Helper()
	for _, srv := range servers {
		if err := srv.traces.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spans
}

const (
	clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan  = "00f067aa0ba902b7"
	clientWord  = "00-" + clientTrace + "-" + clientSpan + "-00" // of a client that does not trace itself
)

// One trace goes from the client through a gateway and the gateway behind it, over
// REST and over gRPC, and tells nothing of who called with what.
func TestTrace(t *testing.T) {
	for _, scheme := range []string{"rest", "grpc"} {
		t.Run(scheme, func(t *testing.T) {
			s := collect(t, false)
			behind, token := started(t, s.to(1))
			t.Setenv("BEHIND", token)
			address := "https://" + behind.Address("rest") + "/v2/models/simple"
			if scheme == "grpc" {
				address = "grpcs://" + behind.Address("grpc") + "/simple"
			}
			front, mine := started(t, func(c *Config) {
				s.to(1)(c)
				c.Models = []Model{{Name: "simple", Upstream: address, Token: "env:BEHIND", CA: behind.Certificate().File()}}
			})
			c := callerOf(t, front, mine)
			if scheme == "rest" {
				code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody, "Traceparent", clientWord, "Tracestate", "who=hunter2", "X-Request-Id", "hunter2")
				if code != 200 {
					t.Fatalf("%d %s", code, body)
				}
			} else {
				ctx := metadata.AppendToOutgoingContext(c.context(), "traceparent", clientWord, "tracestate", "who=hunter2", "x-request-id", "hunter2")
				ones := bytes.Repeat([]byte{1, 0, 0, 0}, 16)
				q := &oippb.ModelInferRequest{ModelName: "simple", Id: "hunter2", RawInputContents: [][]byte{ones, ones}}
				for _, name := range []string{"INPUT0", "INPUT1"} {
					q.Inputs = append(q.Inputs, &oippb.ModelInferRequest_InferInputTensor{Name: name, Datatype: "INT32", Shape: []int64{1, 16}})
				}
				if _, err := c.rpc.ModelInfer(ctx, q); err != nil {
					t.Fatal(err)
				}
			}
			var chain []string // from the client's span on
			parent := clientSpan
			spans := s.taken(t, front, behind)
			for {
				i := slices.IndexFunc(spans, func(s *traces.Span) bool {
					return hex.EncodeToString(s.ParentSpanId) == parent && (s.Name != "model.invoke" || attributes(s)["redoubt.code"] == "ok") && !strings.HasPrefix(s.Name, "model.read")
				})
				if i < 0 {
					break
				}
				span := spans[i]
				if hex.EncodeToString(span.TraceId) != clientTrace || span.TraceState != "" {
					t.Errorf("span %s is of trace %x, state %q", span.Name, span.TraceId, span.TraceState)
				}
				chain, parent = append(chain, span.Name+" "+fmt.Sprint(attributes(span))), hex.EncodeToString(span.SpanId)
				spans = slices.Delete(slices.Clone(spans), i, i+1)
			}
			call := "model.invoke map[redoubt.code:ok redoubt.model:simple redoubt.path:" + map[string]string{"rest": "rest", "grpc": "grpc"}[scheme] + " redoubt.version:1]"
			if scheme == "rest" {
				want := []string{call, "engine map[]", strings.Replace(call, "path:rest", "path:binary", 1), "engine map[]"}
				if !slices.Equal(chain, want) {
					t.Errorf("%q\nwant %q", chain, want)
				}
			} else if want := []string{call, "engine map[]", call, "engine map[]"}; !slices.Equal(chain, want) {
				t.Errorf("%q\nwant %q", chain, want)
			}
			for _, span := range s.taken(t) {
				if text := span.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "service:") || strings.Contains(text, "127.0.0.1") {
					t.Errorf("a span tells of the caller: %s", text)
				}
			}
		})
	}
}

func attributes(s *traces.Span) map[string]string {
	m := map[string]string{}
	for _, a := range s.Attributes {
		m[a.Key] = a.Value.GetStringValue()
	}
	return m
}

// Which calls are traced is the server's to decide: a client cannot have all of
// its own kept, neither by its flag nor by the id of its trace.
func TestTracesAreSampled(t *testing.T) {
	s := collect(t, true)
	srv, token := started(t, s.to(0.2))
	c := callerOf(t, srv, token)
	const calls = 400
	for range calls {
		c.rest("GET", "/v2", "", "Traceparent", "00-00000000000000000000000000000001-00f067aa0ba902b7-01")
	}
	// Binomial with n = 400, p = 0.2: mean 80, deviation 8. Outside of 8 deviations
	// by chance less often than once in 10^12 runs.
	if n := len(s.taken(t, srv)); n < 16 || n > 144 {
		t.Errorf("%d of %d calls were traced, want about 80", n, calls)
	}
}

// A line of the log names the request and the trace, and a collector that is lost
// costs no call.
func TestLogNamesTheTrace(t *testing.T) {
	s := collect(t, false)
	t.Setenv("COLLECTOR", "wrong")
	var text bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&text, nil))
	srv, token := startedWith(t, logger, func(c *Config) {
		s.to(1)(c)
		c.Models = append(c.Models, Model{Name: "far", Path: c.Models[0].Path})
	})
	// A call that fails for want of its model.
	engineOf(srv, "simple").Close()
	c := callerOf(t, srv, token)
	if code, body := c.rest("POST", "/v2/models/simple/infer", simpleBody, "Traceparent", clientWord, "X-Request-Id", "mine"); code != 503 {
		t.Errorf("%d %s", code, body)
	}
	if n := len(s.taken(t, srv)); n != 0 {
		t.Errorf("%d spans were taken without the token", n)
	}
	lines := map[string]map[string]any{}
	for line := range strings.Lines(text.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines[fmt.Sprint(m["msg"])] = m
	}
	if m := lines["a call failed"]; m["request"] != "mine" || m["trace"] != clientTrace {
		t.Errorf("%v", m)
	}
	if lines["traces were not taken"] == nil {
		t.Errorf("nothing about the collector among %v", slices.Sorted(maps.Keys(lines)))
	}
}
