package serve

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// connection is a caller's to the gRPC listener, for methods that his client
// does not know.
func (c *caller) invoke(ctx context.Context, method string, in, out any, options ...grpc.CallOption) (metadata.MD, error) {
	var header metadata.MD
	err := c.conn.Invoke(ctx, method, in, out, append(options, grpc.Header(&header))...)
	return header, err
}

// as adds metadata to a call, and no token.
func as(t *testing.T, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), pairs...)
}

const inferMethod = "/inference.GRPCInferenceService/ModelInfer"

// Refusals over gRPC have a code, a sentence and the request's id, whoever
// refuses: the protocol's code, the gateway or gRPC itself.
func TestGRPCRefusals(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	mine := "authorization"
	bearer := "Bearer " + token
	large := &oippb.ModelInferRequest{ModelName: "simple", RawInputContents: [][]byte{make([]byte, 11<<20)}}
	for name, call := range map[string]struct {
		ctx     context.Context
		method  string
		in      any
		options []grpc.CallOption
		want    codes.Code
	}{
		"nobody":                  {as(t), inferMethod, &oippb.ModelInferRequest{}, nil, codes.Unauthenticated},
		"a wrong token":           {as(t, mine, "Bearer rdt_wrong"), inferMethod, &oippb.ModelInferRequest{}, nil, codes.Unauthenticated},
		"two tokens":              {as(t, mine, bearer, mine, bearer), inferMethod, &oippb.ModelInferRequest{}, nil, codes.Unauthenticated},
		"binary metadata":         {as(t, "authorization-bin", bearer), inferMethod, &oippb.ModelInferRequest{}, nil, codes.Unauthenticated},
		"upper case metadata":     {as(t, "Authorization", bearer), inferMethod, &oippb.ModelInferRequest{ModelName: "none"}, nil, codes.PermissionDenied}, // made lower case by clients
		"nothing in it":           {as(t, mine, bearer), inferMethod, &oippb.ModelInferRequest{ModelName: "simple"}, nil, codes.InvalidArgument},
		"too large":               {as(t, mine, bearer), inferMethod, large, nil, codes.ResourceExhausted},
		"too large when unpacked": {as(t, mine, bearer), inferMethod, large, []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, codes.ResourceExhausted},
		"too large when inflated": {as(t, mine, bearer), inferMethod, large, []grpc.CallOption{grpc.UseCompressor("deflate")}, codes.ResourceExhausted},
		"no model":                {as(t, mine, bearer), inferMethod, &oippb.ModelInferRequest{}, nil, codes.PermissionDenied},
		"readiness of no model":   {as(t, mine, bearer), "/inference.GRPCInferenceService/ModelReady", &oippb.ModelReadyRequest{}, nil, codes.PermissionDenied},
		"metadata of no model":    {as(t, mine, bearer), "/inference.GRPCInferenceService/ModelMetadata", &oippb.ModelMetadataRequest{}, nil, codes.PermissionDenied},
		"configuration of none":   {as(t, mine, bearer), "/inference.GRPCInferenceService/ModelConfig", &oippb.ModelConfigRequest{}, nil, codes.PermissionDenied},
		"reflection":              {as(t, mine, bearer), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"reflection for nobody":   {as(t), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &oippb.ServerLiveRequest{}, nil, codes.Unauthenticated},
		"channelz":                {as(t, mine, bearer), "/grpc.channelz.v1.Channelz/GetServers", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"shared memory":           {as(t, mine, bearer), "/inference.GRPCInferenceService/SystemSharedMemoryRegister", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"another spelling":        {as(t, mine, bearer), "/inference.GRPCInferenceService/modelInfer", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"a slash more":            {as(t, mine, bearer), "//inference.GRPCInferenceService/ModelInfer", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"load":                    {as(t, mine, bearer), "/inference.GRPCInferenceService/RepositoryModelLoad", &oippb.ServerLiveRequest{}, nil, codes.Unimplemented},
		"watching over health":    {as(t), "/grpc.health.v1.Health/List", &oippb.ServerLiveRequest{}, nil, codes.Unauthenticated},
	} {
		out := &oippb.ModelInferResponse{}
		header, err := c.invoke(call.ctx, call.method, call.in, out, call.options...)
		if status.Code(err) != call.want {
			t.Errorf("%s: %v, want %v", name, err, call.want)
		}
		if id := header.Get("x-request-id"); len(id) != 1 || len(id[0]) != 32 {
			t.Errorf("%s: the request is called %q (%v)", name, id, err)
		}
	}
	header, _ := c.invoke(as(t, mine, bearer, "x-request-id", "mine-1"), inferMethod, &oippb.ModelInferRequest{}, &oippb.ModelInferResponse{})
	if id := header.Get("x-request-id"); len(id) != 1 || id[0] != "mine-1" {
		t.Errorf("a request with an id of its own is called %q", id)
	}
	for _, timeout := range []time.Duration{time.Nanosecond, time.Microsecond} {
		ctx, cancel := context.WithTimeout(c.context(), timeout)
		if _, err := c.rpc.ModelInfer(ctx, &oippb.ModelInferRequest{ModelName: "simple"}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a deadline of %v: %v", timeout, err)
		}
		cancel()
	}
}

// overHTTP2 is a caller's way to the server that speaks nothing else.
func overHTTP2(c *caller) *http.Transport {
	only := new(http.Protocols)
	only.SetHTTP2(true)
	return &http.Transport{TLSClientConfig: c.http.Transport.(*http.Transport).TLSClientConfig.Clone(), Protocols: only}
}

// Bytes that are no message, and requests that are not gRPC, by hand.
func TestGRPCByHand(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	transport := overHTTP2(c)
	t.Cleanup(transport.CloseIdleConnections)
	// That bytes are no message is "internal" in gRPC's own list of codes.
	for name, r := range map[string]struct {
		kind, body string
		headers    []string
		status     int
		code       codes.Code // if it is gRPC that answers
	}{
		"JSON":                      {"application/json", "{}", nil, 415, codes.InvalidArgument},
		"no type":                   {"", "{}", nil, 415, codes.InvalidArgument},
		"garbage":                   {"application/grpc", "\x00\x00\x00\x00\x03\xff\xff\xff", nil, 200, codes.Internal},
		"a message that ends early": {"application/grpc", "\x00\x00\x00\x01\x00abc", nil, 200, codes.Internal},
		"4 GB are announced":        {"application/grpc", "\x00\xff\xff\xff\xff", nil, 200, codes.ResourceExhausted},
		"no such compression":       {"application/grpc", "\x01\x00\x00\x00\x01a", []string{"grpc-encoding", "snappy"}, 200, codes.Unimplemented},
		"compressed in no way":      {"application/grpc", "\x01\x00\x00\x00\x01a", nil, 200, codes.Internal},
		"compressed garbage":        {"application/grpc", "\x01\x00\x00\x00\x01a", []string{"grpc-encoding", "gzip"}, 200, codes.Internal},
		"a codec nobody has":        {"application/grpc+json", "\x00\x00\x00\x00\x02{}", nil, 200, codes.Internal},
		"a timeout that is none":    {"application/grpc", "\x00\x00\x00\x00\x00", []string{"grpc-timeout", "soon"}, 400, codes.Internal},
		"two messages":              {"application/grpc", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", nil, 200, codes.Internal},
	} {
		q, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+s.Address("grpc")+inferMethod, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", r.kind)
		q.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(r.headers); i += 2 {
			q.Header.Set(r.headers[i], r.headers[i+1])
		}
		a, err := transport.RoundTrip(q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var rest bytes.Buffer
		rest.ReadFrom(a.Body)
		a.Body.Close()
		code := a.Header.Get("Grpc-Status") + a.Trailer.Get("Grpc-Status")
		message := a.Header.Get("Grpc-Message") + a.Trailer.Get("Grpc-Message")
		if a.StatusCode != r.status || code != fmt.Sprint(int(r.code)) {
			t.Errorf("%s: %d, code %s %q; want %d, %d", name, a.StatusCode, code, message, r.status, r.code)
		}
	}
}

// Attempts count against the limit of an address over gRPC and at the control
// API as they do over REST.
func TestAttemptsAreLimited(t *testing.T) {
	s, _ := started(t, func(c *Config) { c.Limits.Address = "6/hour" })
	c := callerOf(t, s, "rdt_wrong")
	for i := range 9 {
		var refused bool
		switch i % 3 {
		case 0:
			code, _ := c.rest("GET", "/v2", "")
			refused = code == http.StatusTooManyRequests
		case 1:
			code, _ := c.rest("GET", "/api/v1/me", "")
			refused = code == http.StatusTooManyRequests
		case 2:
			_, err := c.rpc.ModelInfer(c.context(), &oippb.ModelInferRequest{})
			refused = status.Code(err) == codes.ResourceExhausted
		}
		if refused != (i >= 6) {
			t.Errorf("attempt %d: refused for being one too many: %v", i, refused)
		}
	}
}

// A thousand calls at once over one connection are answered; half of them that
// are given up leave nothing behind.
func TestManyStreams(t *testing.T) {
	s, token := started(t, func(c *Config) { c.Limits.Concurrent = 2000 })
	c := callerOf(t, s, token)
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if i%2 == 0 {
				ways["grpc"](c, "simple")
				return
			}
			ctx, cancel := context.WithCancel(c.context())
			stream, err := c.rpc.ModelStreamInfer(ctx)
			cancel()
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.Canceled {
				t.Errorf("given up: %v", err)
			}
		})
	}
	all.Wait()
}

// A stream that stands sees that its token was revoked.
func TestRevokedInAStream(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	stream, err := c.rpc.ModelStreamInfer(c.context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		if err := stream.Send(&oippb.ModelInferRequest{ModelName: "simple"}); err != nil {
			t.Fatal(err)
		}
		a, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return a.GetErrorMessage()
	}
	before := ask()
	for _, k := range s.Identity().Tokens("") {
		if err := s.Identity().RevokeToken(t.Context(), redoubt.Principal{ID: "local:0", Method: "socket"}, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	if after := ask(); before == after || !strings.Contains(after, "credentials") {
		t.Errorf("%q, then %q", before, after)
	}
}
