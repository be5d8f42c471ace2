package engine

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// server answers the protocol for some engines, without any guard: a model
// server such as upstreams are, to be asked by tests and by real clients.
type server struct {
	oippb.UnimplementedGRPCInferenceServiceServer
	engines    map[string]engine
	name       string
	token      string // wanted of every call, unless empty
	extensions []string
	// fault may answer in the server's place.
	fault func(w http.ResponseWriter, r *http.Request) bool
	// record names a folder for the requests that clients send, by their ids.
	record string
}

type engine interface {
	Metadata(context.Context) (*oip.Metadata, error)
	Infer(context.Context, *oip.Request) (*oip.Response, error)
	Ready(context.Context) error
	Close() error
}

var (
	_ engine = (*Local)(nil)
	_ engine = (*Upstream)(nil)
)

func (s *server) authorised(given string) bool {
	return s.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte("Bearer "+s.token)) == 1
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

var modelPath = regexp.MustCompile(`^/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer|stats))?$`)

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.authorised(r.Header.Get("Authorization")) {
		oip.WriteError(w, oip.Errorf(oip.Unauthenticated, "no such token"), "")
		return
	}
	if s.fault != nil && s.fault(w, r) {
		return
	}
	switch r.Method + " " + strings.TrimSuffix(r.URL.Path, "/") {
	case "GET /v2":
		send(w, oip.ServerMetadata{Name: s.name, Version: "1", Extensions: s.extensions})
		return
	case "GET /v2/health/live":
		send(w, map[string]bool{"live": true})
		return
	case "GET /v2/health/ready":
		send(w, map[string]bool{"ready": true})
		return
	case "POST /v2/repository/index":
		index := []map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(s.engines)) {
			index = append(index, map[string]string{"name": name, "version": "1", "state": "READY", "reason": ""})
		}
		send(w, index)
		return
	}
	part := modelPath.FindStringSubmatch(r.URL.Path)
	if part == nil {
		oip.WriteError(w, oip.Errorf(oip.Unsupported, "not offered"), "")
		return
	}
	e, err := s.engine(part[1])
	if err == nil {
		err = s.model(w, r, e, part[1], part[3])
	}
	if err != nil {
		oip.WriteError(w, err, "")
	}
}

func (s *server) engine(name string) (engine, error) {
	if e, ok := s.engines[name]; ok {
		return e, nil
	}
	return nil, oip.Errorf(oip.NotFound, "Request for unknown model: %q is not found", name)
}

func (s *server) model(w http.ResponseWriter, r *http.Request, e engine, name, verb string) error {
	m, err := e.Metadata(r.Context())
	if err != nil {
		return err
	}
	switch verb {
	case "":
		send(w, m)
	case "ready":
		if err := e.Ready(r.Context()); err != nil {
			return err
		}
		send(w, map[string]any{"name": name, "ready": true})
	case "stats":
		l, ok := e.(*Local)
		if !ok {
			return oip.Errorf(oip.Unsupported, "not offered")
		}
		send(w, map[string]any{"model_stats": []any{l.Statistics()}})
	case "infer":
		return s.infer(w, r, e, m)
	}
	return nil
}

func (s *server) infer(w http.ResponseWriter, r *http.Request, e engine, m *oip.Metadata) error {
	var wire []byte
	if s.record != "" {
		r.Header.Del("Authorization")
		var err error
		if wire, err = httputil.DumpRequest(r, true); err != nil {
			return err
		}
	}
	q, err := oip.ReadRequest(r, m, oip.Limits{})
	if err != nil {
		return err
	}
	s.keep(q.ID, ".http", wire)
	a, err := e.Infer(r.Context(), q)
	if err != nil {
		return err
	}
	return oip.WriteResponse(w, r, q, a)
}

// keep writes what a client sent into a file named by its request.
func (s *server) keep(id, suffix string, wire []byte) {
	if s.record == "" || !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(id) {
		return
	}
	if err := os.WriteFile(filepath.Join(s.record, id+suffix), wire, 0o644); err != nil {
		panic(err) // a recording by hand
	}
}

func (s *server) allowed(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if !s.authorised(strings.Join(md.Get("authorization"), "")) {
		return oip.Errorf(oip.Unauthenticated, "no such token")
	}
	return nil
}

func (s *server) ServerLive(context.Context, *oippb.ServerLiveRequest) (*oippb.ServerLiveResponse, error) {
	return &oippb.ServerLiveResponse{Live: true}, nil
}

func (s *server) ServerReady(context.Context, *oippb.ServerReadyRequest) (*oippb.ServerReadyResponse, error) {
	return &oippb.ServerReadyResponse{Ready: true}, nil
}

func (s *server) ServerMetadata(context.Context, *oippb.ServerMetadataRequest) (*oippb.ServerMetadataResponse, error) {
	return &oippb.ServerMetadataResponse{Name: s.name, Version: "1", Extensions: s.extensions}, nil
}

func (s *server) ModelReady(ctx context.Context, m *oippb.ModelReadyRequest) (*oippb.ModelReadyResponse, error) {
	if err := s.allowed(ctx); err != nil {
		return nil, err
	}
	e, err := s.engine(m.Name)
	return &oippb.ModelReadyResponse{Ready: err == nil && e.Ready(ctx) == nil}, nil
}

func (s *server) ModelMetadata(ctx context.Context, m *oippb.ModelMetadataRequest) (*oippb.ModelMetadataResponse, error) {
	if err := s.allowed(ctx); err != nil {
		return nil, err
	}
	e, err := s.engine(m.Name)
	if err != nil {
		return nil, err
	}
	d, err := e.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return oip.MetadataToGRPC(d), nil
}

func (s *server) ModelInfer(ctx context.Context, m *oippb.ModelInferRequest) (*oippb.ModelInferResponse, error) {
	if err := s.allowed(ctx); err != nil {
		return nil, err
	}
	q, err := oip.RequestFromGRPC(m)
	if err != nil {
		return nil, err
	}
	if s.record != "" {
		wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return nil, err
		}
		s.keep(q.ID, ".pb", wire)
	}
	e, err := s.engine(q.Model)
	if err != nil {
		return nil, err
	}
	a, err := e.Infer(ctx, q)
	if err != nil {
		return nil, err
	}
	return oip.ResponseToGRPC(a, q), nil
}

func (s *server) ModelStreamInfer(stream oippb.GRPCInferenceService_ModelStreamInferServer) error {
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		out := &oippb.ModelStreamInferResponse{}
		if out.InferResponse, err = s.ModelInfer(stream.Context(), m); err != nil {
			out.ErrorMessage = oip.Classify(err).Message
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func (s *server) ModelStatistics(ctx context.Context, m *oippb.ModelStatisticsRequest) (*oippb.ModelStatisticsResponse, error) {
	l, ok := s.engines[m.Name].(*Local)
	if !ok {
		return nil, oip.Errorf(oip.NotFound, "Request for unknown model: %q is not found", m.Name)
	}
	return &oippb.ModelStatisticsResponse{ModelStats: []*oippb.ModelStatistics{oip.StatisticsToGRPC(l.Statistics())}}, nil
}

// overGRPC serves on a free port, or on the one given, and returns the address.
func (s *server) overGRPC(t testing.TB, address string, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(16<<20))...)
	oippb.RegisterGRPCInferenceServiceServer(g, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l) // ends with Stop
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

// fixtures are the models that the examples of Triton's clients ask.
func fixtures(t testing.TB) map[string]engine {
	words := func(name string) *onnx.Value { return value(name, onnx.String, "batch", 16) }
	cast := func(from, to string, elem onnx.DataType) *onnx.Node {
		return onnx.NewNode("Cast", list(from), list(to), onnx.IntAttr("to", int64(elem)))
	}
	identity := func(elem onnx.DataType) *onnx.Model {
		return graph(list(value("INPUT0", elem, "batch", "k")), list(value("OUTPUT0", elem, "batch", "k")),
			list(onnx.NewNode("Identity", list("INPUT0"), list("OUTPUT0"))))
	}
	out := map[string]engine{}
	for name, m := range map[string]*onnx.Model{
		"simple": simple(),
		"simple_string": graph(list(words("INPUT0"), words("INPUT1")), list(words("OUTPUT0"), words("OUTPUT1")),
			list(cast("INPUT0", "a", onnx.Int32), cast("INPUT1", "b", onnx.Int32), onnx.NewNode("Add", list("a", "b"), list("sum")),
				onnx.NewNode("Sub", list("a", "b"), list("difference")), cast("sum", "OUTPUT0", onnx.String), cast("difference", "OUTPUT1", onnx.String))),
		"simple_identity": identity(onnx.String),
		"identity_fp32":   identity(onnx.Float),
		"identity_fp16":   identity(onnx.Float16),
	} {
		l, err := New(t.Context(), runtimeOf(t), m, LocalConfig{Name: name, Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		out[name] = l
	}
	return out
}

var (
	listen     = flag.String("listen", "", "serve the models of the clients' examples over REST on this address until interrupted")
	listenGRPC = flag.String("listen-grpc", "127.0.0.1:0", "with -listen: the address for gRPC")
	record     = flag.String("record", "", "with -listen: keep the requests in this folder, in files named by their ids")
)

// TestServe serves the fixtures, until interrupted for bench/clients, which
// records what real clients send:
//
//	go test ./serve/engine -run TestServe -timeout 0 -listen 127.0.0.1:8000 -listen-grpc 127.0.0.1:8001
func TestServe(t *testing.T) {
	s := &server{engines: fixtures(t), name: "triton", token: "secret", extensions: []string{"binary_tensor_data", "statistics"}, record: *record}
	s.overGRPC(t, *listenGRPC)
	l, err := net.Listen("tcp", cmp.Or(*listen, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { _ = web.Close() })
	if *listen == "" {
		go func() {
			defer stop()
			a, err := http.Get("http://" + l.Addr().String() + "/v2/health/ready")
			if err != nil {
				t.Error(err)
				return
			}
			a.Body.Close()
			if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusUnauthorized {
				t.Errorf("it answers with %d", a.StatusCode)
			}
		}()
	}
	if err := web.Serve(l); err != http.ErrServerClosed {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
