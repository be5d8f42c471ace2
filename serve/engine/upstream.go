package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// UpstreamConfig says how to reach a model on another server.
type UpstreamConfig struct {
	// URL is the model's address. Required. Over REST it is
	// https://HOST/v2/models/NAME or .../versions/VERSION, with any path before
	// /v2; over gRPC it is grpcs://HOST:PORT/NAME or .../NAME/VERSION. http and
	// grpc are the same without TLS.
	URL string
	// Name and Version are what the model is called here.
	Name, Version string
	// TLS holds the authorities to trust and a client certificate; nil means the
	// system's authorities. At least TLS 1.2 is spoken.
	TLS *tls.Config
	// Token, unless empty, is sent as a bearer token. It is refused without TLS
	// but to this machine.
	Token string
	// Timeout bounds a call; 0 means 30 seconds.
	Timeout time.Duration
	// Connections is the most connections at once over REST; 0 means 64.
	// Further calls wait for one.
	Connections int
	// MaxResponse bounds an answer in bytes; 0 means 64 MiB.
	MaxResponse int64
	// JSON forbids binary tensors over REST even if the server offers them.
	JSON bool
	// Parameters names the parameters that are passed on, of requests, inputs
	// and outputs; others stay where they are.
	Parameters []string
	// Failures is how many calls in a row must fail before the server is left
	// alone for Pause, which doubles to 30 seconds while it goes on; 0 means 5
	// failures and one second.
	Failures int
	Pause    time.Duration
}

func (c *UpstreamConfig) defaults() {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Connections <= 0 {
		c.Connections = 64
	}
	if c.MaxResponse <= 0 {
		c.MaxResponse = 64 << 20
	}
	if c.Failures <= 0 {
		c.Failures = 5
	}
	if c.Pause <= 0 {
		c.Pause = time.Second
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{}
	}
	c.TLS = c.TLS.Clone()
	c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
}

// Upstream is a model on another server of the Open Inference Protocol. Nothing
// is asked twice: a call that fails may have been answered.
type Upstream struct {
	cfg     UpstreamConfig
	remote  string // the model's name there
	wire    wire
	circuit circuit
	known   atomic.Pointer[described]
	asking  chan struct{} // holds one while the server is asked about itself
	stats   counters
}

// wire is a way to speak the protocol. Its errors are [*oip.Error] or of the
// network.
type wire interface {
	describe(ctx context.Context) (*described, error)
	// prepare encodes a request; what it returns sends it. An error of its own
	// says that the wire cannot carry the request.
	prepare(q *oip.Request, d *described) (func(context.Context) (*oip.Response, error), error)
	ready(ctx context.Context) error
	close() error
}

// described is what a server says of a model and itself.
type described struct {
	metadata *oip.Metadata
	binary   bool // it takes binary tensors
	at       time.Time
}

const (
	fresh    = time.Minute     // that a description is believed
	askAgain = 5 * time.Second // after the server did not answer, so that not every call waits for it
)

// NewUpstream prepares to ask a server. It does not ask yet: the server may
// start later.
func NewUpstream(cfg UpstreamConfig) (*Upstream, error) {
	cfg.defaults()
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("prepare upstream %q: want an address such as https://host/v2/models/NAME or grpcs://host:port/NAME", redacted(cfg.URL))
	}
	plain := u.Scheme == "http" || u.Scheme == "grpc"
	if plain && cfg.Token != "" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("prepare upstream %s: a token would cross the network in clear: use %ss", u, u.Scheme)
	}
	up := &Upstream{cfg: cfg, asking: make(chan struct{}, 1)}
	up.circuit = circuit{limit: cfg.Failures, pause: cfg.Pause}
	up.stats.init(1)
	switch u.Scheme {
	case "http", "https":
		up.wire, up.remote, err = newREST(u, &up.cfg)
	case "grpc", "grpcs":
		up.wire, up.remote, err = newGRPC(u, &up.cfg)
	default:
		err = errors.New("its scheme is not https, http, grpcs or grpc")
	}
	if err != nil {
		return nil, fmt.Errorf("prepare upstream %s: %w", u, err)
	}
	return up, nil
}

// redacted leaves out what might be a password.
func redacted(address string) string {
	if i := strings.LastIndex(address, "@"); i >= 0 {
		return "..." + address[i:]
	}
	return address
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Metadata is what the server says of the model, under the name that it has
// here. It is asked for again after a minute; while the server does not answer,
// what it said last holds.
func (u *Upstream) Metadata(ctx context.Context) (*oip.Metadata, error) {
	d, err := u.describe(ctx)
	if err != nil {
		return nil, err
	}
	return d.metadata, nil
}

func (u *Upstream) describe(ctx context.Context) (*described, error) {
	known := u.known.Load()
	if known != nil && time.Since(known.at) < fresh {
		return known, nil
	}
	if known != nil && len(u.asking) > 0 {
		return known, nil // somebody asks already, and this will do until he knows
	}
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	case <-ctx.Done():
		return nil, oip.Classify(ctx.Err())
	}
	if again := u.known.Load(); again != known {
		return again, nil // somebody else has asked
	}
	var d *described
	err := u.call(ctx, func(ctx context.Context) (err error) {
		d, err = u.wire.describe(ctx)
		return err
	})
	if err != nil {
		if known != nil && ctx.Err() == nil {
			still := *known
			still.at = time.Now().Add(askAgain - fresh)
			u.known.Store(&still)
			return &still, nil
		}
		return nil, err
	}
	d.metadata.Name, d.metadata.Versions, d.at = u.cfg.Name, nil, time.Now()
	if u.cfg.Version != "" {
		d.metadata.Versions = []string{u.cfg.Version}
	}
	u.known.Store(d)
	return d, nil
}

// Infer asks the server, with a request made anew of the checked tensors.
func (u *Upstream) Infer(ctx context.Context, q *oip.Request) (*oip.Response, error) {
	start := time.Now()
	a, err := u.infer(ctx, q)
	u.stats.answered(start, err)
	return a, err
}

func (u *Upstream) infer(ctx context.Context, q *oip.Request) (*oip.Response, error) {
	d, err := u.describe(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(q, d.metadata); err != nil {
		return nil, err
	}
	send, err := u.wire.prepare(u.anew(q, d.binary), d)
	if err != nil {
		return nil, err
	}
	var a *oip.Response
	start := time.Now()
	err = u.call(ctx, func(ctx context.Context) (err error) {
		a, err = send(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := u.complete(a, q, d.metadata); err != nil {
		return nil, err
	}
	u.stats.ran(1, 0, time.Since(start), 0)
	a.ModelName, a.ModelVersion, a.ID, a.Parameters = u.cfg.Name, u.cfg.Version, q.ID, nil
	return a, nil
}

// anew makes the request that is sent: the tensors, and of all else only what
// the configuration passes on.
func (u *Upstream) anew(q *oip.Request, binary bool) *oip.Request {
	out := &oip.Request{Inputs: slices.Clone(q.Inputs), Parameters: u.passed(q.Parameters), BinaryOutput: binary}
	for i := range out.Inputs {
		out.Inputs[i].Parameters = u.passed(q.Inputs[i].Parameters)
	}
	for _, o := range q.Outputs {
		out.Outputs = append(out.Outputs, oip.Output{Name: o.Name, Binary: binary})
	}
	return out
}

func (u *Upstream) passed(p oip.Parameters) oip.Parameters {
	var out oip.Parameters
	for _, name := range u.cfg.Parameters {
		if v, ok := p[name]; ok {
			if out == nil {
				out = oip.Parameters{}
			}
			out[name] = v
		}
	}
	return out
}

// complete checks that an answer holds what was asked for, of the types that the
// server declares, and drops the rest: what clients may see of an output is settled by
// its name and type.
func (u *Upstream) complete(a *oip.Response, q *oip.Request, m *oip.Metadata) error {
	for _, o := range q.Outputs {
		if a.Output(o.Name) == nil {
			return wrongAnswer(fmt.Errorf("output %q is missing from the answer", o.Name))
		}
	}
	declared := func(name string) *oip.TensorMetadata {
		if i := slices.IndexFunc(m.Outputs, func(t oip.TensorMetadata) bool { return t.Name == name }); i >= 0 {
			return &m.Outputs[i]
		}
		return nil
	}
	a.Outputs = slices.DeleteFunc(a.Outputs, func(t oip.Tensor) bool {
		wanted, _ := q.Wants(t.Name)
		return !wanted || len(m.Outputs) > 0 && declared(t.Name) == nil
	})
	for i := range a.Outputs {
		t := &a.Outputs[i]
		if d := declared(t.Name); d != nil && d.Datatype != t.Datatype {
			return wrongAnswer(fmt.Errorf("output %q is %s, and declared as %s", t.Name, t.Datatype, d.Datatype))
		}
		t.Parameters = u.passed(t.Parameters)
	}
	return nil
}

// call makes one call, within the timeout, unless the circuit is open.
func (u *Upstream) call(ctx context.Context, do func(context.Context) error) error {
	if !u.circuit.allow() {
		return errLeftAlone
	}
	within, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	err := do(within)
	if ctx.Err() != nil {
		u.circuit.forget()
		return &oip.Error{Code: oip.Classify(ctx.Err()).Code, Message: oip.Classify(ctx.Err()).Message, Err: err}
	}
	e := u.classify(within, err)
	u.circuit.report(e == nil || !failure(e.Code))
	if e == nil {
		return nil
	}
	return e
}

var errLeftAlone = oip.Errorf(oip.Unavailable, "the model's server has failed repeatedly and is left alone for a moment")

// failure reports whether an error speaks against the server. One that answers,
// wrongly perhaps, is there: who sends what it cannot digest must not close it
// to others.
func failure(c oip.Code) bool { return c == oip.Unavailable || c == oip.Deadline }

// traceparent names the span that a call to the server belongs to, in the form of
// the W3C's trace context; "" where calls are not traced. It is the one thing of
// a call, beside its tensors, that the server is told.
func traceparent(ctx context.Context) string {
	s := trace.SpanContextFromContext(ctx)
	if !s.IsValid() {
		return ""
	}
	return "00-" + s.TraceID().String() + "-" + s.SpanID().String() + "-" + (s.TraceFlags() & trace.FlagsSampled).String()
}

// classify makes an error of the server's for our client.
func (u *Upstream) classify(ctx context.Context, err error) *oip.Error {
	var e *oip.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case ctx.Err() != nil:
		return &oip.Error{Code: oip.Deadline, Message: "the model's server took too long", Err: err}
	}
	return &oip.Error{Code: oip.Unavailable, Message: "the model's server cannot be reached", Err: err}
}

// Ready asks the server whether the model is ready. While the circuit is open
// it is not.
func (u *Upstream) Ready(ctx context.Context) error {
	if u.circuit.open() {
		return errLeftAlone
	}
	within, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	if err := u.wire.ready(within); err != nil {
		return u.classify(within, err)
	}
	return nil
}

// Statistics are the counts since the start, as this side sees them.
func (u *Upstream) Statistics() *oip.Statistics {
	s := u.stats.read()
	s.Name, s.Version = u.cfg.Name, u.cfg.Version
	return s
}

// Close closes the connections that no call uses. Calls under way end first, or
// fail with [oip.Unavailable] where they are over gRPC.
func (u *Upstream) Close() error { return u.wire.close() }

// checkDescription refuses metadata that no request could be held against.
func checkDescription(m *oip.Metadata) error {
	const most = 1024
	if len(m.Inputs) > most || len(m.Outputs) > most {
		return fmt.Errorf("it declares more than %d tensors", most)
	}
	seen := map[string]bool{}
	for i, t := range slices.Concat(m.Inputs, m.Outputs) {
		key := fmt.Sprint(i < len(m.Inputs), t.Name)
		if t.Name == "" || seen[key] || !t.Datatype.Known() || len(t.Shape) > 64 || slices.ContainsFunc(t.Shape, func(d int64) bool { return d < -1 }) {
			return fmt.Errorf("it declares a tensor %q of type %q and shape %v", t.Name, t.Datatype, t.Shape)
		}
		seen[key] = true
	}
	return nil
}
