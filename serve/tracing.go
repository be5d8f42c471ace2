package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// check reports an endpoint that traces, or the token with them, would not reach
// in secret.
func (t *Tracing) check() error {
	if t.Endpoint == "" {
		if *t != (Tracing{}) {
			return errors.New("there is no endpoint: write one, or leave tracing out")
		}
		return nil
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("endpoint is not of the form https://HOST[:PORT]/v1/traces")
	case u.Scheme == "http" && !onLoopback(u.Hostname()):
		return errors.New("endpoint would be told of calls in the clear: use https, or a collector on this machine")
	case !(t.Sample >= 0 && t.Sample <= 1):
		return fmt.Errorf("sample is %v: it is a share of calls, from 0 to 1", t.Sample)
	}
	return nil
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tracer sends spans to the collector of the configuration; nil if there is none.
func (s *Server) tracer(ctx context.Context) (trace.Tracer, error) {
	t := s.cfg.Tracing
	if t.Endpoint == "" {
		return nil, nil
	}
	token, err := s.cfg.secret("tracing.token", t.Token)
	if err != nil {
		return nil, err
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(t.Endpoint)}
	if strings.HasPrefix(t.Endpoint, "https:") {
		security, err := s.cfg.clientTLS(t.CA, "", "")
		if err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		options = append(options, otlptracehttp.WithTLSClientConfig(security))
	}
	if token != "" {
		options = append(options, otlptracehttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	// A trace that a client began is joined, but whether it is kept is ours to
	// decide, and not by its id, which the client chose: else anyone could fill the
	// collector. What happens within a call follows the call.
	ours := share(t.Sample)
	s.traces = sdk.NewTracerProvider(
		sdk.WithBatcher(quiet{exporter, s.opt.Logger}),
		sdk.WithSampler(sdk.ParentBased(ours, sdk.WithRemoteParentSampled(ours), sdk.WithRemoteParentNotSampled(ours))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", s.cfg.Name), attribute.String("service.version", s.opt.Version))),
	)
	s.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		if err := s.traces.Shutdown(ctx); err != nil {
			s.opt.Logger.Warn("the last traces were not taken", "error", err.Error())
		}
		return nil
	})
	return s.traces.Tracer("github.com/redoubt-ml/redoubt/serve"), nil
}

// flushTime is how long an end waits for the collector.
const flushTime = 3 * time.Second

// share samples that share of calls.
type share float64

func (s share) ShouldSample(sdk.SamplingParameters) sdk.SamplingResult {
	if rand.Float64() < float64(s) {
		return sdk.SamplingResult{Decision: sdk.RecordAndSample}
	}
	return sdk.SamplingResult{Decision: sdk.Drop}
}

func (s share) Description() string { return fmt.Sprintf("share %v", float64(s)) }

// quiet logs where an export fails, and does not tell the SDK, which would tell
// a logger that all programs in the process share.
type quiet struct {
	sdk.SpanExporter
	logger *slog.Logger
}

func (q quiet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := q.SpanExporter.ExportSpans(ctx, spans); err != nil {
		q.logger.Warn("traces were not taken", "spans", len(spans), "error", err.Error())
	}
	return nil
}
