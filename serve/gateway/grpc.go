package gateway

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Server serves the protocol over gRPC with the given transport security. Who
// calls is established before a message is read, and everything else as over
// REST. Most bounds a message in bytes, whatever the model; 0 means 10 MiB.
func (g *Gateway) Server(security credentials.TransportCredentials, most int) *grpc.Server {
	if most == 0 {
		most = maxBody
	}
	s := grpc.NewServer(
		grpc.Creds(security),
		grpc.InTapHandle(g.bounded),
		grpc.UnknownServiceHandler(g.unknown),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(most),
		grpc.MaxConcurrentStreams(256),
		grpc.MaxHeaderListSize(32<<10),
		grpc.ConnectionTimeout(min(10*time.Second, g.bodyTime())),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute}),
	)
	s.RegisterService(g.admitted(oippb.GRPCInferenceService_ServiceDesc), &rpc{g: g})
	s.RegisterService(g.admitted(grpc_health_v1.Health_ServiceDesc), g.health)
	return s
}

func credentialsOf(ctx context.Context, md metadata.MD) identity.Credentials {
	c := identity.Credentials{Authorization: one(md.Get("authorization")), From: peerAddress(ctx)}
	if p, ok := peer.FromContext(ctx); ok {
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			c.Peer = &t.State
		}
	}
	return c
}

func peerAddress(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return addressOf(p.Addr.String())
	}
	return netip.Addr{}
}

// rpc is the gRPC service.
type rpc struct {
	oippb.UnimplementedGRPCInferenceServiceServer
	g *Gateway
}

func (s *rpc) call(ctx context.Context, action policy.Action, model, version string) *Call {
	md, _ := metadata.FromIncomingContext(ctx)
	return &Call{
		ID: RequestID(ctx), Path: GRPC, Action: action, Model: model, Version: version,
		From: peerAddress(ctx), Credentials: credentialsOf(ctx, md), Traceparent: one(md.Get("traceparent")),
	}
}

// about is a call that concerns no model, or all.
func (s *rpc) about(ctx context.Context, action policy.Action) *Call {
	c := s.call(ctx, action, "", "")
	c.general = true
	return c
}

// finish sends the headers of an answer, and makes of an error what the client
// may see.
func (s *rpc) finish(ctx context.Context, c *Call, err error) error {
	h := http.Header{}
	if len(c.Limits.States) > 0 {
		c.offer.terms.Headers.Write(h, c.Limits)
	}
	md := metadata.MD{}
	for name, values := range h {
		md.Set(strings.ToLower(name), values...)
	}
	if failed := grpc.SetHeader(ctx, md); failed != nil {
		s.g.cfg.Logger.Debug("headers were not sent", "request", c.ID, "error", failed.Error())
	}
	return status(err)
}

func status(err error) error {
	if err == nil {
		return nil
	}
	return oip.Classify(err).GRPCStatus().Err()
}

func (s *rpc) ModelInfer(ctx context.Context, m *oippb.ModelInferRequest) (*oippb.ModelInferResponse, error) {
	c, a, err := s.infer(ctx, m)
	return a, s.finish(ctx, c, err)
}

func (s *rpc) infer(ctx context.Context, m *oippb.ModelInferRequest) (*Call, *oippb.ModelInferResponse, error) {
	c := s.call(ctx, policy.Invoke, m.GetModelName(), m.GetModelVersion())
	c.read = func(_ *Served, lim oip.Limits) (*oip.Request, error) {
		size := int64(proto.Size(m))
		if size > lim.Body {
			return nil, oip.Errorf(oip.TooLarge, "the message is larger than %d bytes", lim.Body)
		}
		if err := lim.Arrived(size); err != nil {
			return nil, err
		}
		return oip.RequestFromGRPC(m)
	}
	defer c.endTurn()
	a, err := s.g.infer(ctx, c)
	if err != nil {
		return c, nil, err
	}
	return c, oip.ResponseToGRPC(a, c.Request), nil
}

// final is what clients of Triton, whose models may answer a message several times, wait
// for: that no more comes for it.
const final = "triton_final_response"

// ModelStreamInfer answers the messages of a stream in their order, each as a
// call of its own.
func (s *rpc) ModelStreamInfer(stream grpc.BidiStreamingServer[oippb.ModelInferRequest, oippb.ModelStreamInferResponse]) error {
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		_, a, err := s.infer(stream.Context(), m)
		out := &oippb.ModelStreamInferResponse{InferResponse: a}
		if err != nil {
			out.ErrorMessage = oip.Classify(err).GRPCStatus().Message()
			out.InferResponse = &oippb.ModelInferResponse{ModelName: m.GetModelName(), Id: m.GetId()}
		}
		if out.InferResponse.Parameters == nil {
			out.InferResponse.Parameters = map[string]*oippb.InferParameter{}
		}
		out.InferResponse.Parameters[final] = &oippb.InferParameter{ParameterChoice: &oippb.InferParameter_BoolParam{BoolParam: true}}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func (s *rpc) ServerLive(context.Context, *oippb.ServerLiveRequest) (*oippb.ServerLiveResponse, error) {
	return &oippb.ServerLiveResponse{Live: true}, nil
}

func (s *rpc) ServerReady(context.Context, *oippb.ServerReadyRequest) (*oippb.ServerReadyResponse, error) {
	return &oippb.ServerReadyResponse{Ready: s.g.ready.Load()}, nil
}

// tell answers a question about models.
func tell[T any](s *rpc, ctx context.Context, c *Call, ask func(ctx context.Context) (T, error)) (T, error) {
	answer, err := about(s.g, ctx, c, ask)
	return answer, s.finish(ctx, c, err)
}

func (s *rpc) ModelReady(ctx context.Context, m *oippb.ModelReadyRequest) (*oippb.ModelReadyResponse, error) {
	c := s.call(ctx, policy.Invoke, m.GetName(), m.GetVersion())
	return tell(s, ctx, c, func(ctx context.Context) (*oippb.ModelReadyResponse, error) {
		// Not ready is an answer here, which clients wait for.
		return &oippb.ModelReadyResponse{Ready: c.Served.Engine.Ready(ctx) == nil}, nil
	})
}

func (s *rpc) ServerMetadata(ctx context.Context, _ *oippb.ServerMetadataRequest) (*oippb.ServerMetadataResponse, error) {
	return tell(s, ctx, s.about(ctx, policy.Invoke), func(context.Context) (*oippb.ServerMetadataResponse, error) {
		m := s.g.serverMetadata()
		return &oippb.ServerMetadataResponse{Name: m.Name, Version: m.Version, Extensions: m.Extensions}, nil
	})
}

func (s *rpc) ModelMetadata(ctx context.Context, m *oippb.ModelMetadataRequest) (*oippb.ModelMetadataResponse, error) {
	c := s.call(ctx, policy.Invoke, m.GetName(), m.GetVersion())
	return tell(s, ctx, c, func(context.Context) (*oippb.ModelMetadataResponse, error) {
		m, err := c.Served.described()
		if err != nil {
			return nil, err
		}
		return oip.MetadataToGRPC(m), nil
	})
}

func (s *rpc) ModelConfig(ctx context.Context, m *oippb.ModelConfigRequest) (*oippb.ModelConfigResponse, error) {
	c := s.call(ctx, policy.Read, m.GetName(), m.GetVersion())
	return tell(s, ctx, c, func(context.Context) (*oippb.ModelConfigResponse, error) {
		config, err := c.Served.config()
		if err != nil {
			return nil, err
		}
		return &oippb.ModelConfigResponse{Config: oip.ConfigToGRPC(config)}, nil
	})
}

func (s *rpc) ModelStatistics(ctx context.Context, m *oippb.ModelStatisticsRequest) (*oippb.ModelStatisticsResponse, error) {
	c := s.call(ctx, policy.Read, m.GetName(), m.GetVersion())
	c.general = m.GetName() == "" // asks for those of all
	return tell(s, ctx, c, func(context.Context) (*oippb.ModelStatisticsResponse, error) {
		out := &oippb.ModelStatisticsResponse{}
		for _, st := range s.g.statistics(c) {
			out.ModelStats = append(out.ModelStats, oip.StatisticsToGRPC(&st))
		}
		return out, nil
	})
}

func (s *rpc) RepositoryIndex(ctx context.Context, _ *oippb.RepositoryIndexRequest) (*oippb.RepositoryIndexResponse, error) {
	c := s.about(ctx, policy.Read)
	return tell(s, ctx, c, func(ctx context.Context) (*oippb.RepositoryIndexResponse, error) {
		out := &oippb.RepositoryIndexResponse{}
		for _, e := range s.g.index(ctx, c) {
			out.Models = append(out.Models, &oippb.RepositoryIndexResponse_ModelIndex{Name: e.Name, Version: e.Version, State: e.State, Reason: e.Reason})
		}
		return out, nil
	})
}
