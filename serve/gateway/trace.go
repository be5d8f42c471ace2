package gateway

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// Traces hold a span for each call, and in it one for the time that the model
// took. Their attributes are the labels of the metrics: nothing in them is about
// the caller or chosen by him, but the id of a trace that he began.

// begin opens the span of a call, in the trace that its client began, if any. Of
// the W3C's headers only traceparent is read: tracestate is others' business, and
// is not passed on.
func (g *Gateway) begin(ctx context.Context, c *Call) (context.Context, trace.Span) {
	if g.cfg.Tracer == nil {
		return ctx, nil
	}
	if c.Traceparent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": c.Traceparent})
	}
	return g.cfg.Tracer.Start(ctx, c.event(), trace.WithSpanKind(trace.SpanKindServer))
}

// end closes the span of a call with what became of it.
func (c *Call) end(span trace.Span, err error) {
	if span == nil {
		return
	}
	defer span.End()
	if !span.IsRecording() {
		return
	}
	code := "ok"
	if err != nil {
		code = oip.Classify(err).Code.String()
		span.SetStatus(codes.Error, code)
	}
	span.SetAttributes(attribute.String("redoubt.path", string(c.Path)), attribute.String("redoubt.code", code))
	if c.Served != nil {
		span.SetAttributes(attribute.String("redoubt.model", c.Served.Model.Name), attribute.String("redoubt.version", c.Served.Version))
	}
}

// answer is the end of the way.
func (g *Gateway) answer(ctx context.Context, c *Call) (*oip.Response, error) {
	if g.cfg.Tracer == nil {
		return ask(ctx, c)
	}
	ctx, span := g.cfg.Tracer.Start(ctx, "engine", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	a, err := ask(ctx, c)
	if err != nil {
		span.SetStatus(codes.Error, oip.Classify(err).Code.String())
	}
	return a, err
}

// logger writes lines that name the call, and its trace if there is one.
func (g *Gateway) logger(ctx context.Context, c *Call) *slog.Logger {
	l := g.cfg.Logger.With("request", c.ID)
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		l = l.With("trace", s.TraceID().String())
	}
	return l
}
