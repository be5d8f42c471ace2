package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people knows tokens by heart.
type people map[string]redoubt.Principal

func (p people) Authenticate(_ context.Context, c identity.Credentials) (redoubt.Principal, error) {
	token, ok := strings.CutPrefix(c.Authorization, "Bearer ")
	if !ok {
		return redoubt.Principal{}, &identity.Error{Kind: identity.Missing}
	}
	if who, ok := p[token]; ok {
		return who, nil
	}
	return redoubt.Principal{}, &identity.Error{Kind: identity.Invalid, Cause: errors.New("secret cause")}
}

// roles lets a role do what it says, such as "loans:invoke".
type roles struct{ clearance policy.Clearance }

func (r roles) Decide(q policy.Request) policy.Decision {
	may := slices.ContainsFunc(q.Principal.Roles, func(role string) bool {
		return role == q.Resource.Name+":"+string(q.Action) || role == "*:"+string(q.Action)
	})
	return policy.Decision{Allowed: may, Why: "no role permits it", Clearance: r.clearance.Narrow(q.Resource.Model.Clearance)}
}

// diary keeps entries in memory, or refuses them.
type diary struct {
	mu      sync.Mutex
	entries []redoubt.Event
	broken  bool
	// Where there are these, it says that an entry has come, and waits.
	come, wait chan struct{}
}

func (d *diary) Write(ctx context.Context, e redoubt.Event) error   { return d.Record(ctx, e) }
func (d *diary) Enqueue(ctx context.Context, e redoubt.Event) error { return d.Record(ctx, e) }

func (d *diary) Record(ctx context.Context, e redoubt.Event) error {
	if d.wait != nil {
		d.come <- struct{}{}
		select {
		case <-d.wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return errors.New("disk full")
	}
	d.entries = append(d.entries, e)
	return nil
}

func (d *diary) last(t *testing.T) redoubt.Event {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.entries) == 0 {
		t.Fatal("nothing is on record")
	}
	return d.entries[len(d.entries)-1]
}

// scorer is a model of two features and three classes: scores are
// probabilities, and the label is beside them.
type scorer struct{ fail func(*oip.Request) error }

func (s *scorer) Metadata(context.Context) (*oip.Metadata, error) {
	return &oip.Metadata{
		Platform: "onnxruntime_onnx",
		Inputs:   []oip.TensorMetadata{{Name: "x", Datatype: oip.FP32, Shape: []int64{-1, 2}}},
		Outputs:  []oip.TensorMetadata{{Name: "label", Datatype: oip.INT64, Shape: []int64{-1}}, {Name: "p", Datatype: oip.FP32, Shape: []int64{-1, 3}}},
	}, nil
}

func (s *scorer) Infer(_ context.Context, q *oip.Request) (*oip.Response, error) {
	if s.fail != nil {
		if err := s.fail(q); err != nil {
			return nil, err
		}
	}
	x := floats(q.Inputs[0].Raw)
	n := len(x) / 2
	var labels []int64
	var p []float32
	for i := range n {
		z := []float64{float64(x[2*i]), float64(x[2*i+1]), 0}
		sum, best := 0.0, 0
		for j, v := range z {
			sum += math.Exp(v)
			if v > z[best] {
				best = j
			}
		}
		for _, v := range z {
			p = append(p, float32(math.Exp(v)/sum))
		}
		labels = append(labels, int64(best))
	}
	a := &oip.Response{}
	for _, out := range []oip.Tensor{
		{Name: "label", Datatype: oip.INT64, Shape: []int64{int64(n)}, Raw: raw(labels)},
		{Name: "p", Datatype: oip.FP32, Shape: []int64{int64(n), 3}, Raw: raw(p)},
	} {
		if wanted, _ := q.Wants(out.Name); wanted {
			a.Outputs = append(a.Outputs, out)
		}
	}
	return a, nil
}

func (s *scorer) Ready(context.Context) error { return nil }
func (s *scorer) Close() error                { return nil }

func raw(v any) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, v)
	return b.Bytes()
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// reader is a model of one text.
type reader struct{ scorer }

func (r *reader) Metadata(context.Context) (*oip.Metadata, error) {
	return &oip.Metadata{
		Inputs:  []oip.TensorMetadata{{Name: "text_input", Datatype: oip.BYTES, Shape: []int64{-1}}},
		Outputs: []oip.TensorMetadata{{Name: "length", Datatype: oip.INT64, Shape: []int64{-1}}},
	}, nil
}

func (r *reader) Infer(_ context.Context, q *oip.Request) (*oip.Response, error) {
	var lengths []int64
	for _, s := range q.Inputs[0].Strings {
		lengths = append(lengths, int64(len(s)))
	}
	return &oip.Response{Outputs: []oip.Tensor{{Name: "length", Datatype: oip.INT64, Shape: []int64{int64(len(lengths))}, Raw: raw(lengths)}}}, nil
}

// house is a gateway with everything around it.
type house struct {
	*gateway.Gateway
	diary *diary
	http  *httptest.Server
	rpc   oippb.GRPCInferenceServiceClient
	conn  *grpc.ClientConn // of rpc
}

var everybody = people{
	"user":      {ID: "user:1", Name: "una", Roles: []string{"loans:invoke", "text:invoke"}, Method: "token", Credential: "t1"},
	"developer": {ID: "user:2", Roles: []string{"*:invoke", "*:read"}},
	"auditor":   {ID: "user:3"},
}

func build(t *testing.T, cfg gateway.Config, models ...*gateway.Model) *house {
	t.Helper()
	return buildOn(t, gateway.Terms{}, cfg, models...)
}

// buildOn is build with terms.
func buildOn(t *testing.T, terms gateway.Terms, cfg gateway.Config, models ...*gateway.Model) *house {
	t.Helper()
	h := &house{diary: &diary{}}
	if cfg.Identity == nil {
		cfg.Identity = everybody
	}
	if cfg.Policy == nil {
		cfg.Policy = roles{}
	}
	if cfg.Limits == nil {
		cfg.Limits = limit.NewMemory(limit.MemoryConfig{})
	}
	cfg.Record = h.diary
	var err error
	if h.Gateway, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	offer, err := gateway.NewOffer(t.Context(), terms, models)
	if err != nil {
		t.Fatal(err)
	}
	h.Offer(offer)
	h.http = httptest.NewServer(h.Handler())
	t.Cleanup(h.http.Close)
	pipe := bufconn.Listen(1 << 20)
	s := h.Server(insecure.NewCredentials(), 0)
	done := make(chan error, 1)
	go func() { done <- s.Serve(pipe) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // before it began, where a test was quick
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("passthrough:///pipe", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h.rpc, h.conn = oippb.NewGRPCInferenceServiceClient(conn), conn
	return h
}

func loans() *gateway.Model {
	return &gateway.Model{Model: policy.Model{Name: "loans"}, Versions: []gateway.Version{{Name: "2", Engine: &scorer{}, Digest: "d2"}, {Name: "1", Engine: &scorer{}}}}
}

func texts() *gateway.Model {
	return &gateway.Model{Model: policy.Model{Name: "text"}, Versions: []gateway.Version{{Name: "1", Engine: &reader{}}}}
}

// ask sends a request over REST and returns the status, the body and the headers.
func (h *house) ask(t *testing.T, token, method, path, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.http.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if method == "POST" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := h.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b), answer.Header
}

const row = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`

// way is one of the paths to a model.
type way struct {
	name string
	ask  func(t *testing.T, h *house, token, model string) (oip.Code, bool)
}

// ways are all there are. Each asks for the same and tells the kind of error, or
// true for an answer.
var ways = []way{
	{"rest", func(t *testing.T, h *house, token, model string) (oip.Code, bool) {
		code, body, _ := h.ask(t, token, "POST", "/v2/models/"+model+"/infer", row)
		return kindOf(t, code, body)
	}},
	{"binary", func(t *testing.T, h *house, token, model string) (oip.Code, bool) {
		head := `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}`
		code, body, _ := h.ask(t, token, "POST", "/v2/models/"+model+"/infer", head+string(raw([]float32{1, 2})),
			"Inference-Header-Content-Length", fmt.Sprint(len(head)), "Content-Type", "application/octet-stream")
		return kindOf(t, code, body)
	}},
	{"grpc", func(t *testing.T, h *house, token, model string) (oip.Code, bool) {
		_, err := h.rpc.ModelInfer(as(t, token), &oippb.ModelInferRequest{ModelName: model,
			Inputs:           []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}}},
			RawInputContents: [][]byte{raw([]float32{1, 2})}})
		if err == nil {
			return 0, true
		}
		for code := oip.Internal; code <= oip.Cancelled; code++ {
			if code.GRPC() == status.Code(err) && code != oip.TooLarge { // which shares Limited's
				return code, false
			}
		}
		t.Errorf("gRPC status %v is of no kind", err)
		return 0, false
	}},
	{"predict", func(t *testing.T, h *house, token, model string) (oip.Code, bool) {
		code, body, _ := h.ask(t, token, "POST", "/api/v1/models/"+model+"/predict", `{"features":{"x":[1,2]}}`)
		return kindOf(t, code, body)
	}},
}

func as(t *testing.T, token string) context.Context {
	if token == "" {
		return t.Context()
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

func kindOf(t *testing.T, status int, body string) (oip.Code, bool) {
	t.Helper()
	if status == 200 {
		return 0, true
	}
	var e struct{ Error, Type, Instance string }
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == "" || e.Instance == "" {
		t.Errorf("status %d has the body %q", status, body)
	}
	for code := oip.Internal; code <= oip.Cancelled; code++ {
		if code.HTTPStatus() == status {
			return code, false
		}
	}
	t.Errorf("status %d is of no kind", status)
	return 0, false
}

// The same call is decided in the same way on every path, and every decision is
// on record.
func TestEveryWayDecidesTheSame(t *testing.T) {
	h := build(t, gateway.Config{}, loans(), texts())
	for _, c := range []struct {
		token, model string
		want         oip.Code
		ok           bool
	}{
		{"user", "loans", 0, true},
		{"developer", "loans", 0, true},
		{"auditor", "loans", oip.Denied, false},
		{"", "loans", oip.Unauthenticated, false},
		{"stranger", "loans", oip.Unauthenticated, false},
		{"user", "other", oip.Denied, false},        // may not, so does not learn that there is none
		{"developer", "other", oip.NotFound, false}, // may call any
		{"user", "text", oip.BadInput, false},       // takes no x
	} {
		for _, w := range ways {
			before := len(h.diary.entries)
			code, ok := w.ask(t, h, c.token, c.model)
			if ok != c.ok || code != c.want && !(w.name == "predict" && code == oip.Unprocessable && c.want == oip.BadInput) {
				t.Errorf("%s as %q to %s: %v, answered %v; want %v, %v", w.name, c.token, c.model, code, ok, c.want, c.ok)
			}
			if len(h.diary.entries) != before+1 {
				t.Errorf("%s as %q to %s: %d entries", w.name, c.token, c.model, len(h.diary.entries)-before)
				continue
			}
			e := h.diary.last(t)
			if want := map[bool]redoubt.Outcome{true: redoubt.Allowed, false: redoubt.Denied}[c.ok]; e.Outcome != want || e.Action != "model.invoke" {
				t.Errorf("%s as %q to %s is recorded as %s %s", w.name, c.token, c.model, e.Action, e.Outcome)
			}
			if e.Actor != everybody[c.token].ID || e.Request == "" {
				t.Errorf("recorded actor %q of %q, request %q", e.Actor, c.token, e.Request)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	h := build(t, gateway.Config{}, loans(), texts())
	code, body, head := h.ask(t, "user", "POST", "/v2/models/loans/infer", `{"id":"q7","inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2],[3,0]]}],"outputs":[{"name":"label"}]}`, "X-Request-Id", "mine-1")
	if want := `"model_name":"loans","model_version":"2"`; code != 200 || !strings.Contains(body, want) || !strings.Contains(body, `"id":"q7"`) || !strings.Contains(body, `"data":[1,0]`) || strings.Contains(body, `"p"`) {
		t.Errorf("%d %s", code, body)
	}
	if head.Get("Content-Type") != "application/json" || head.Get("X-Request-Id") != "mine-1" {
		t.Errorf("headers %v", head)
	}
	if e := h.diary.last(t); e.Details["version"] != "2" || e.Details["digest"] != "d2" || e.Resource != "model:loans" || e.Credential != "t1" {
		t.Errorf("entry %+v", e)
	}
	code, body, _ = h.ask(t, "user", "POST", "/v2/models/loans/versions/1/infer", row)
	if code != 200 || !strings.Contains(body, `"model_version":"1"`) {
		t.Errorf("version 1: %d %s", code, body)
	}
	code, body, _ = h.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":[{"x":[1,2]},{"x":[3,0]}]}`)
	if code != 200 || !strings.Contains(body, `"predictions":[{"outputs":{"label":1,`) {
		t.Errorf("predict: %d %s", code, body)
	}
	if code, body, _ := h.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":{"y":[1,2]}}`); code != 422 || !strings.Contains(body, `the model has no feature \"y\"; it takes \"x\" (`) {
		t.Errorf("a feature that is none: %d %s", code, body)
	}
	code, body, _ = h.ask(t, "user", "POST", "/api/v1/models/text/predict", `{"text":"hello"}`)
	if code != 200 || !strings.Contains(body, `"prediction":5`) {
		t.Errorf("text: %d %s", code, body)
	}
	for path, want := range map[string]string{
		"/v2":                                `{"name":"redoubt"`,
		"/v2/":                               `{"name":"redoubt"`,
		"/v2/models":                         `{"models":["loans","text"]}`,
		"/v2/models/loans":                   `"versions":["2","1"]`,
		"/v2/models/loans/ready":             `{"name":"loans","ready":true}`,
		"/v2/models/loans/versions/1":        `"inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]}]`,
		"/v2/health/live":                    `{"live":true}`,
		"/v2/health/ready":                   `{"ready":true}`,
		"/v2/models/loans/versions/1/config": `{"error":"una may not read this model`,
	} {
		if _, body, _ := h.ask(t, "user", "GET", path, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	if _, body, _ := h.ask(t, "developer", "GET", "/v2/models/loans/config", ""); !strings.Contains(body, `"data_type":"TYPE_FP32"`) {
		t.Errorf("config: %s", body)
	}
	if _, body, _ := h.ask(t, "auditor", "GET", "/v2/models", ""); body != `{"models":[]}` {
		t.Errorf("an auditor sees %s", body)
	}
}

// Triton's client compresses its messages in two ways.
func TestCompressedOverGRPC(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	q := &oippb.ModelInferRequest{ModelName: "loans",
		Inputs:           []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1000, 2}}},
		RawInputContents: [][]byte{make([]byte, 8000)}}
	for _, coding := range []string{"gzip", "deflate"} {
		a, err := h.rpc.ModelInfer(as(t, "user"), q, grpc.UseCompressor(coding))
		if err != nil || len(a.RawOutputContents) != 2 || len(a.RawOutputContents[1]) != 12000 {
			t.Errorf("%s: %v", coding, err)
		}
	}
}

func TestOverGRPC(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	ctx := as(t, "developer")
	meta, err := h.rpc.ModelMetadata(ctx, &oippb.ModelMetadataRequest{Name: "loans"})
	if err != nil || meta.Name != "loans" || len(meta.Outputs) != 2 {
		t.Errorf("metadata %v, %v", meta, err)
	}
	ready, err := h.rpc.ModelReady(ctx, &oippb.ModelReadyRequest{Name: "loans", Version: "1"})
	if err != nil || !ready.Ready {
		t.Errorf("ready %v, %v", ready, err)
	}
	config, err := h.rpc.ModelConfig(ctx, &oippb.ModelConfigRequest{Name: "loans"})
	if err != nil || config.GetConfig().GetInput()[0].DataType != oippb.DataType_TYPE_FP32 {
		t.Errorf("config %v, %v", config, err)
	}
	index, err := h.rpc.RepositoryIndex(ctx, &oippb.RepositoryIndexRequest{})
	if err != nil || len(index.Models) != 2 || index.Models[0].Version != "2" || index.Models[1].Version != "1" || index.Models[1].Name != "loans" {
		t.Errorf("index %v, %v", index, err)
	}
	if _, err := h.rpc.RepositoryModelLoad(ctx, &oippb.RepositoryModelLoadRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("load: %v", err)
	}
	// Strangers learn that the server lives, and no more.
	if live, err := h.rpc.ServerLive(t.Context(), &oippb.ServerLiveRequest{}); err != nil || !live.Live {
		t.Errorf("live %v, %v", live, err)
	}
	if _, err := h.rpc.ServerMetadata(t.Context(), &oippb.ServerMetadataRequest{}); status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "secret cause") {
		t.Errorf("metadata for a stranger: %v", err)
	}
	stream, err := h.rpc.ModelStreamInfer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loans", "none", "loans"} {
		q := &oippb.ModelInferRequest{ModelName: name, Id: name, RawInputContents: [][]byte{raw([]float32{1, 2})},
			Inputs: []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}}}}
		if err := stream.Send(q); err != nil {
			t.Fatal(err)
		}
		a, err := stream.Recv()
		if err != nil || (a.ErrorMessage == "") != (name == "loans") || a.InferResponse.Id != name {
			t.Errorf("stream to %s: %v, %v", name, a, err)
		}
		if p := a.GetInferResponse().GetParameters()["triton_final_response"]; !p.GetBoolParam() {
			t.Errorf("stream to %s: the answer does not say that it is the last: %v", name, a)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the end of the stream is %v", err)
	}
}

// What paths there are is a fixed list; everything else is refused, in the shape
// that clients read.
func TestPaths(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/v2/nothing", 404}, {"GET", "/V2/models/loans", 404},
		{"GET", "/v2/models/loans/infer", 405}, {"DELETE", "/v2/models/loans", 405}, {"PUT", "/v2/models/loans/infer", 405},
		{"OPTIONS", "/v2", 405}, {"TRACE", "/v2", 405},
		{"GET", "/v2//models/loans", 400}, {"GET", "/v2/models/lo%61ns", 400}, {"GET", "/v2/models/..%2floans", 400},
		{"GET", "/v2/models/loans;x=1", 400}, {"GET", "/v2/./models/loans", 404}, {"GET", "/v2/models/../models/loans", 404},
		{"GET", "/v2/models/.hidden", 404}, {"GET", "/v2/systemsharedmemory/status", 501}, {"POST", "/v2/cudasharedmemory/region/x/register", 501},
		{"GET", "/v2/trace/setting", 501}, {"POST", "/v2/logging", 501}, {"POST", "/v2/repository/models/loans/load", 501},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, h.http.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = "//" + r.URL.Host + c.path // as it is, not cleaned
		r.Header.Set("Authorization", "Bearer developer")
		a, err := h.http.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.StatusCode, b, c.want)
		}
		if a.Header.Get("X-Request-Id") == "" || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("X-Frame-Options") != "DENY" || a.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %s: headers %v", c.method, c.path, a.Header)
		}
		if !strings.HasPrefix(string(b), `{"error":"`) || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: body %s", c.method, c.path, b)
		}
	}
}

// unread fails when a byte of it is wanted.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// Who may not call does not make the server read.
func TestBodiesAreReadLast(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	for _, token := range []string{"", "auditor", "stranger"} {
		r := httptest.NewRequest("POST", "/v2/models/loans/infer", unread{t})
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		if w.Code != 401 && w.Code != 403 {
			t.Errorf("%q: %d", token, w.Code)
		}
	}
}

func TestTwoCredentialsAreNone(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	code, _, head := h.ask(t, "user", "GET", "/v2", "", "Authorization", "Bearer developer")
	if code != 401 || head.Get("WWW-Authenticate") == "" {
		t.Errorf("%d %v", code, head)
	}
}

// A page of another origin cannot use its visitor's session.
func TestOtherOriginsAreRefused(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	if code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row, "Sec-Fetch-Site", "cross-site"); code != 403 {
		t.Errorf("%d", code)
	}
}

// What cannot be recorded does not happen, and is not answered.
func TestNoRecordNoAnswer(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := build(t, gateway.Config{Metrics: gateway.NewMetrics(registry)}, loans())
	h.diary.broken = true
	for _, w := range ways {
		if code, ok := w.ask(t, h, "user", "loans"); ok || code != oip.Unavailable {
			t.Errorf("%s: %v, answered %v", w.name, code, ok)
		}
	}
	want := fmt.Sprintf(`# HELP redoubt_gateway_errors_total Calls that ended with an error, by the guard that ended them; model where they had passed all.
# TYPE redoubt_gateway_errors_total counter
redoubt_gateway_errors_total{code="unavailable",guard="record",model="loans"} %d
`, len(ways))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "redoubt_gateway_errors_total"); err != nil {
		t.Error(err)
	}
}

// A log that hangs holds a call for as long as a call may take, and does not lose
// what a client did who has gone meanwhile.
func TestHangingLog(t *testing.T) {
	m := loans()
	m.Settings.Timeout = 50 * time.Millisecond
	h := build(t, gateway.Config{}, m)
	h.diary.come, h.diary.wait = make(chan struct{}, 1), make(chan struct{})
	answered := make(chan int)
	go func() {
		code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
		answered <- code
	}()
	select {
	case code := <-answered:
		if code != 503 {
			t.Errorf("%d while the log hangs, want 503", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("a call hangs with the log")
		close(h.diary.wait)
		<-answered
		return
	}
	<-h.diary.come

	m = loans()
	h = build(t, gateway.Config{}, m)
	h.diary.come, h.diary.wait = make(chan struct{}, 1), make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", h.http.URL+"/v2/models/loans/infer", strings.NewReader(row))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer user"}, "Content-Type": {"application/json"}}
	go func() {
		<-h.diary.come
		leave()
	}()
	if a, err := h.http.Client().Do(r); err == nil {
		a.Body.Close()
		t.Fatal("answered before it was on record")
	}
	time.Sleep(50 * time.Millisecond) // for the server to see that he has gone
	close(h.diary.wait)
	h.http.Close() // waits for the call
	if e := h.diary.last(t); e.Action != "model.invoke" || e.Actor != "user:1" {
		t.Errorf("recorded %+v", e)
	}
}

// Neither a crash nor an error of the engine's is told to the client.
func TestInternalErrorsStayInside(t *testing.T) {
	for name, fail := range map[string]func(*oip.Request) error{
		"error":    func(*oip.Request) error { return errors.New("secret at 10.0.0.7") },
		"panic":    func(*oip.Request) error { panic("secret") },
		"deadline": func(*oip.Request) error { return fmt.Errorf("secret: %w", context.DeadlineExceeded) },
	} {
		m := loans()
		m.Versions[0].Engine = &scorer{fail: fail}
		h := build(t, gateway.Config{}, m)
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
		if want := map[string]int{"error": 500, "panic": 500, "deadline": 504}[name]; code != want || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", name, code, body)
		}
		if e := h.diary.last(t); e.Outcome != redoubt.Failed || strings.Contains(fmt.Sprint(e), "secret") {
			t.Errorf("%s: recorded %+v", name, e)
		}
		_, err := h.rpc.ModelInfer(as(t, "user"), &oippb.ModelInferRequest{ModelName: "loans",
			Inputs:           []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}}},
			RawInputContents: [][]byte{raw([]float32{1, 2})}})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s over gRPC: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	perModel, err := limit.ParseLimits("3/hour")
	if err != nil {
		t.Fatal(err)
	}
	m := loans()
	m.Settings.Limits = perModel
	h := build(t, gateway.Config{}, m)
	for i, w := range ways[:3] { // any way takes from the same
		if code, ok := w.ask(t, h, "user", "loans"); !ok {
			t.Errorf("call %d: %v", i, code)
		}
	}
	for _, w := range ways {
		if code, ok := w.ask(t, h, "user", "loans"); ok || code != oip.Limited {
			t.Errorf("%s: %v, answered %v", w.name, code, ok)
		}
	}
	_, _, head := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
	if head.Get("Retry-After") == "" || head.Get("RateLimit") == "" {
		t.Errorf("headers %v", head)
	}
	if _, ok := ways[0].ask(t, h, "developer", "loans"); !ok {
		t.Error("one caller's limit bound another")
	}
}

// Strangers cannot fill the log.
func TestStrangersAreCounted(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	for range 50 {
		h.ask(t, "stranger", "GET", "/v2", "")
	}
	if n := len(h.diary.entries); n != 10 {
		t.Errorf("%d entries of 50 attempts", n)
	}
}

func TestConcurrency(t *testing.T) {
	m, started, release := loans(), make(chan bool), make(chan bool)
	m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
	h := buildOn(t, gateway.Terms{Concurrent: 1}, gateway.Config{}, m)
	first := make(chan int)
	go func() {
		code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
		first <- code
	}()
	<-started
	code, body, head := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
	if code != 503 || head.Get("Retry-After") == "" {
		t.Errorf("%d %s", code, body)
	}
	close(release)
	if code := <-first; code != 200 {
		t.Errorf("the first call: %d", code)
	}
}

// One caller cannot take the places of others.
func TestConcurrencyOfEach(t *testing.T) {
	m, started, release := loans(), make(chan bool), make(chan bool)
	m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
	h := buildOn(t, gateway.Terms{Concurrent: 4, Each: 1}, gateway.Config{}, m)
	codes := make(chan int)
	call := func(token string) {
		code, _, _ := h.ask(t, token, "POST", "/v2/models/loans/infer", row)
		codes <- code
	}
	go call("user")
	<-started
	for _, w := range ways {
		if code, ok := w.ask(t, h, "user", "loans"); ok || code != oip.Limited {
			t.Errorf("%s, a second call: %v, answered %v", w.name, code, ok)
		}
	}
	if _, _, head := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); head.Get("Retry-After") == "" {
		t.Errorf("headers %v", head)
	}
	go call("developer")
	<-started
	close(release)
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("%d", code)
		}
	}
	go call("user") // whose place is free again
	<-started
	if code := <-codes; code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

// A model's own time limit holds for its calls.
func TestTimeout(t *testing.T) {
	m := loans()
	m.Settings.Timeout = 20 * time.Millisecond
	m.Versions[0].Engine = &slow{}
	h := build(t, gateway.Config{}, m)
	if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); code != 504 {
		t.Errorf("%d %s", code, body)
	}
}

// slow answers when its caller's time is over.
type slow struct{ scorer }

func (s *slow) Infer(ctx context.Context, _ *oip.Request) (*oip.Response, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(10 * time.Second):
		return nil, errors.New("nobody bounded the call")
	}
}

// A call keeps the offer that it began with, and tells when it is done with it.
func TestOfferIsReplaced(t *testing.T) {
	m, started, release := loans(), make(chan bool), make(chan bool)
	m.Versions[0].Engine = &scorer{fail: func(*oip.Request) error { started <- true; <-release; return nil }}
	h := build(t, gateway.Config{}, m)
	first := make(chan int)
	go func() {
		code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
		first <- code
	}()
	<-started
	next, err := gateway.NewOffer(t.Context(), gateway.Terms{}, []*gateway.Model{texts()})
	if err != nil {
		t.Fatal(err)
	}
	idle := h.Offer(next)
	if code, body, _ := h.ask(t, "developer", "POST", "/v2/models/loans/infer", row); code != 404 {
		t.Errorf("the model that is gone: %d %s", code, body)
	}
	select {
	case <-idle:
		t.Error("idle while a call is under way")
	default:
	}
	close(release)
	if code := <-first; code != 200 {
		t.Errorf("the call under way: %d", code)
	}
	select {
	case <-idle:
	case <-time.After(10 * time.Second):
		t.Error("not idle after the last call")
	}
}

func TestDrainingIsNotReady(t *testing.T) {
	h := build(t, gateway.Config{}, loans())
	health := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "inference.GRPCInferenceService"} {
			a, err := grpc_health_v1.NewHealthClient(h.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || a.Status != want {
				t.Errorf("health of %q over gRPC: %v, %v; want %v", service, a, err, want)
			}
		}
	}
	health(grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetReady(false)
	health(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if code, _, _ := h.ask(t, "", "GET", "/v2/health/ready", ""); code != 503 {
		t.Errorf("ready: %d", code)
	}
	if code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); code != 200 {
		t.Errorf("a call under way: %d", code)
	}
}

// counting is a model that keeps statistics.
type counting struct{ scorer }

func (*counting) Statistics() *oip.Statistics { return &oip.Statistics{InferenceCount: 7} }

// Statistics and the index tell of every version, as Triton's do.
func TestEveryVersionIsTold(t *testing.T) {
	m := loans()
	for i := range m.Versions {
		m.Versions[i].Engine = &counting{}
	}
	h := build(t, gateway.Config{}, m)
	for path, want := range map[string][]string{
		"GET /v2/models/stats":                  {`"version":"2"`, `"version":"1"`},
		"GET /v2/models/loans/stats":            {`"version":"2"`, `"version":"1"`},
		"GET /v2/models/loans/versions/1/stats": {`"version":"1"`},
		"POST /v2/repository/index":             {`"version":"2"`, `"version":"1"`},
	} {
		method, path, _ := strings.Cut(path, " ")
		code, body, _ := h.ask(t, "developer", method, path, "")
		if code != 200 || strings.Count(body, `"version"`) != len(want) || slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(body, w) }) {
			t.Errorf("%s: %d %s, want %s", path, code, body, want)
		}
	}
	for model, want := range map[string]int{"": 2, "loans": 2} {
		a, err := h.rpc.ModelStatistics(as(t, "developer"), &oippb.ModelStatisticsRequest{Name: model})
		if err != nil || len(a.ModelStats) != want {
			t.Errorf("statistics of %q over gRPC: %v, %v; want %d versions", model, a, err, want)
		}
	}
}

// changing is a model whose server says what it is told to.
type changing struct {
	scorer
	says *oip.Metadata // nil is away
}

func (c *changing) Metadata(context.Context) (*oip.Metadata, error) {
	if c.says == nil {
		return nil, oip.Errorf(oip.Unavailable, "away")
	}
	return c.says, nil
}

// What an upstream server says of its model holds from when it says so, as long as the
// settings fit it.
func TestModelsThatChange(t *testing.T) {
	usual, err := (&scorer{}).Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	low := 0.0
	e, m := &changing{}, loans()
	m.Versions, m.Settings.Inputs = []gateway.Version{{Name: "1", Engine: e, Later: true}}, map[string]gateway.Rule{"x": {Min: &low}}
	h := build(t, gateway.Config{}, m)
	wide, other := *usual, *usual
	wide.Inputs = []oip.TensorMetadata{{Name: "x", Datatype: oip.FP32, Shape: []int64{-1, 3}}}
	other.Inputs = []oip.TensorMetadata{{Name: "z", Datatype: oip.FP32, Shape: []int64{-1, 2}}}
	for _, c := range []struct {
		name string
		says *oip.Metadata
		code int
		body string
	}{
		{"away", nil, 503, "away"},
		{"there", usual, 200, `"model_name"`},
		{"another shape", &wide, 400, "expected [-1 3]"},
		{"an input that the settings do not speak of", &other, 503, "model 'loans' is not ready"},
		{"there again", usual, 200, `"model_name"`},
	} {
		e.says = c.says
		if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %s, want %d that says %q", c.name, code, body, c.code, c.body)
		}
	}
}

func TestOffersAreChecked(t *testing.T) {
	schema, err := data.ParseSchema([]byte("columns:\n  - {name: a, type: numeric, min: 0, max: 1}\n  - {name: y, type: label}\n"))
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := schema.Rows()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*gateway.Model){
		"one away":      func(m *gateway.Model) { m.Versions[0].Engine = &changing{} },
		"no version":    func(m *gateway.Model) { m.Versions = nil },
		"a bad name":    func(m *gateway.Model) { m.Name = "a/b" },
		"a bad version": func(m *gateway.Model) { m.Versions[0].Name = "" },
		"no such input": func(m *gateway.Model) { m.Settings.Inputs = map[string]gateway.Rule{"z": {}} },
		"no such score": func(m *gateway.Model) { m.Settings.Scores = []string{"z"} },
		"narrow rows":   func(m *gateway.Model) { m.Settings.Rows = narrow },
		"no such table": func(m *gateway.Model) { m.Settings.Rows, m.Settings.Table = narrow, "z" },
	} {
		m := loans()
		change(m)
		if _, err := gateway.NewOffer(t.Context(), gateway.Terms{}, []*gateway.Model{m}); err == nil {
			t.Errorf("%s was offered", name)
		}
	}
	if _, err := gateway.NewOffer(t.Context(), gateway.Terms{}, []*gateway.Model{loans(), loans()}); err == nil {
		t.Error("two models of one name were offered")
	}
}
