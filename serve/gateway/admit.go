package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// Admit establishes who calls, for what is served beside the gateway at the same
// address: within the same limit on how often an address may try, and with a
// refusal entered in the same way, under the name of the action that was tried
// and the path that it came by. The context is one of [Secure].
func (g *Gateway) Admit(ctx context.Context, action string, path Path, c identity.Credentials) (redoubt.Principal, error) {
	began := time.Now()
	_, err := g.attempt(ctx, g.offer.Load(), c)
	var p redoubt.Principal
	if err == nil {
		p, err = g.identify(ctx, c)
	}
	if err == nil {
		return p, nil
	}
	g.cfg.Metrics.observe(&Call{Path: path, offer: g.offer.Load(), at: authenticate.Name}, err, time.Since(began))
	e := redoubt.Event{Time: began, Action: action, From: c.From.String(), Request: RequestID(ctx), Details: map[string]string{"path": string(path)}}
	e.Outcome, e.Reason = outcome(err)
	if failed := g.writeStranger(ctx, c.From, e); failed != nil {
		return p, failed
	}
	return p, err
}

// attempt takes one from what the address of a caller has left, unless it was
// taken for this call before.
func (g *Gateway) attempt(ctx context.Context, o *Offer, c identity.Credentials) (limit.Answer, error) {
	if taken, ok := ctx.Value(takenKey{}).(*atomic.Bool); ok && taken.CompareAndSwap(true, false) {
		return limit.Answer{}, nil
	}
	if len(o.terms.Address) == 0 || c.Local {
		return limit.Answer{}, nil
	}
	a := g.cfg.Limits.Take(ctx, []limit.Bucket{{Name: "address", Key: networkOf(c.From).String(), Limits: o.terms.Address}})
	if !a.Allowed {
		return a, tooOften(a)
	}
	return limit.Answer{}, nil
}

// takenKey is where a stream of gRPC keeps whether the attempt of its next call
// was counted already.
type takenKey struct{}

// open methods tell that the server is there, and nothing else.
var open = map[string]bool{
	oippb.GRPCInferenceService_ServerLive_FullMethodName:  true,
	oippb.GRPCInferenceService_ServerReady_FullMethodName: true,
	grpc_health_v1.Health_Check_FullMethodName:            true,
}

// bounded gives a call over gRPC its time from the first header on, so that a
// message that never ends does. A stream of calls may last: it is its messages
// that are bounded.
func (g *Gateway) bounded(ctx context.Context, info *tap.Info) (context.Context, error) {
	if info.FullMethodName == oippb.GRPCInferenceService_ModelStreamInfer_FullMethodName {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.bodyTime()+g.offer.Load().longest)
	context.AfterFunc(ctx, cancel)
	return ctx, nil
}

// admitted is a service whose methods establish who calls before they read a
// message, and whose answers all have the request's id, also where the message is
// too large or no message at all. Methods of one message are made streams of one
// message for it: gRPC calls the others only after it has read theirs.
func (g *Gateway) admitted(d grpc.ServiceDesc) *grpc.ServiceDesc {
	methods, streams := d.Methods, d.Streams
	d.Methods, d.Streams = nil, nil
	for _, m := range methods {
		d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: m.MethodName, Handler: g.entrance(open["/"+d.ServiceName+"/"+m.MethodName], actionOf(m.MethodName), func(srv any, stream grpc.ServerStream) error {
			answer, err := m.Handler(srv, stream.Context(), stream.RecvMsg, nil)
			if err != nil {
				return err
			}
			return stream.SendMsg(answer)
		})})
	}
	for _, s := range streams {
		s.Handler = g.entrance(false, actionOf(s.StreamName), s.Handler)
		d.Streams = append(d.Streams, s)
	}
	return &d
}

// unknown answers a method that there is not.
func (g *Gateway) unknown(srv any, stream grpc.ServerStream) error {
	return g.entrance(false, actionOf(""), func(any, grpc.ServerStream) error {
		return status(oip.Errorf(oip.Unsupported, "this method is not offered"))
	})(srv, stream)
}

// actionOf is what the record calls a method.
func actionOf(method string) string {
	if method == "ModelInfer" || method == "ModelStreamInfer" {
		return "model.invoke"
	}
	return "model.describe"
}

// entrance lets in those whom somebody knows.
func (g *Gateway) entrance(open bool, action string, enter grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		ctx := stream.Context()
		md, _ := metadata.FromIncomingContext(ctx)
		id := requestID(sole(md.Get("x-request-id")))
		if err := stream.SetHeader(metadata.Pairs("x-request-id", id)); err != nil {
			return err // the client is gone
		}
		ctx = context.WithValue(ctx, idKey{}, request{id: id})
		if !open {
			who, taken := credentialsOf(ctx, md), &atomic.Bool{}
			// The model stands in the message: where any is open, its guard decides.
			if who.Authorization != "" || who.Peer != nil && len(who.Peer.PeerCertificates) > 0 || !g.offer.Load().opens("") {
				if _, err := g.Admit(ctx, action, GRPC, who); err != nil {
					return status(err)
				}
				taken.Store(true)
			}
			ctx = context.WithValue(ctx, takenKey{}, taken)
		}
		return enter(srv, entered{stream, ctx})
	}
}

// entered is a stream with what is known of its caller.
type entered struct {
	grpc.ServerStream
	ctx context.Context
}

func (s entered) Context() context.Context { return s.ctx }
