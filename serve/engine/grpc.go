package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// rpc speaks to a server over gRPC.
type rpc struct {
	cfg           *UpstreamConfig
	conn          *grpc.ClientConn
	client        oippb.GRPCInferenceServiceClient
	name, version string
}

func newGRPC(u *url.URL, cfg *UpstreamConfig) (wire, string, error) {
	name, version, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if name == "" || strings.Contains(version, "/") {
		return nil, "", errors.New("its path is not /NAME or /NAME/VERSION")
	}
	creds := insecure.NewCredentials()
	if u.Scheme == "grpcs" {
		creds = credentials.NewTLS(cfg.TLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+u.Host,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("redoubt"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(int(min(cfg.MaxResponse, math.MaxInt32))), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, "", err
	}
	return &rpc{cfg: cfg, conn: conn, client: oippb.NewGRPCInferenceServiceClient(conn), name: name, version: version}, name, nil
}

func (r *rpc) close() error { return r.conn.Close() }

func (r *rpc) with(ctx context.Context) context.Context {
	if t := traceparent(ctx); t != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", t)
	}
	if r.cfg.Token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.cfg.Token)
}

// refusal makes an error of a status.
func (r *rpc) refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	kinds := map[codes.Code]oip.Code{
		codes.InvalidArgument: oip.BadInput, codes.OutOfRange: oip.BadInput, codes.FailedPrecondition: oip.BadInput, codes.Unimplemented: oip.Unsupported,
		codes.DeadlineExceeded: oip.Deadline, codes.NotFound: oip.Unavailable, codes.Unavailable: oip.Unavailable,
		codes.Unauthenticated: oip.Unavailable, codes.PermissionDenied: oip.Unavailable, codes.ResourceExhausted: oip.Unavailable,
	}
	s := status.Convert(err)
	kind := kinds[s.Code()]
	if s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "larger than max") {
		kind = oip.TooLarge // a message, as every gRPC library says it; not the server's time
	}
	e := r.cfg.refusal(kind, s.Message(), r.name)
	e.Err = fmt.Errorf("status %v: %w", s.Code(), e.Err)
	return e
}

func (r *rpc) describe(ctx context.Context) (*described, error) {
	m, err := r.client.ModelMetadata(r.with(ctx), &oippb.ModelMetadataRequest{Name: r.name, Version: r.version})
	if err != nil {
		return nil, r.refusal(ctx, err)
	}
	d := &described{metadata: oip.MetadataFromGRPC(m), binary: true}
	if err := checkDescription(d.metadata); err != nil {
		return nil, wrongAnswer(err)
	}
	return d, nil
}

func (r *rpc) prepare(q *oip.Request, _ *described) (func(context.Context) (*oip.Response, error), error) {
	q.Model, q.Version = r.name, r.version
	m := oip.RequestToGRPC(q)
	return func(ctx context.Context) (*oip.Response, error) { return r.infer(ctx, m) }, nil
}

func (r *rpc) infer(ctx context.Context, q *oippb.ModelInferRequest) (*oip.Response, error) {
	m, err := r.client.ModelInfer(r.with(ctx), q)
	switch {
	case err != nil && r.tooLong(q, err):
		return nil, wrongAnswer(err)
	case err != nil:
		return nil, r.refusal(ctx, err)
	}
	a, err := oip.ResponseFromGRPC(m)
	if err != nil {
		return nil, wrongAnswer(err)
	}
	return a, nil
}

// tooLong reports whether an error says that the answer to q is longer than is taken. The
// library says so in the words that a server has for a request.
func (r *rpc) tooLong(q *oippb.ModelInferRequest, err error) bool {
	ours := fmt.Sprintf("vs. %d)", r.cfg.MaxResponse)
	return strings.HasSuffix(status.Convert(err).Message(), ours) && int64(proto.Size(q)) <= r.cfg.MaxResponse
}

func (r *rpc) ready(ctx context.Context) error {
	m, err := r.client.ModelReady(r.with(ctx), &oippb.ModelReadyRequest{Name: r.name, Version: r.version})
	if err != nil {
		return r.refusal(ctx, err)
	}
	if !m.Ready {
		return r.cfg.refusal(oip.Unavailable, "not ready", r.name)
	}
	return nil
}
