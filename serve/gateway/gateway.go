// Package gateway puts models on the network behind guards.
//
// A call comes over REST with JSON, REST with binary tensors, gRPC, or as named
// features or text. Each transport makes a [Call] of it; from there on all take
// the same way: through [Guards], in their order, to the model's [Engine], and
// back through the same guards. The engine is given typed tensors, encoded
// afresh, and never a client's bytes.
//
//	g, err := gateway.New(gateway.Config{Identity: people, Policy: rules, Limits: rates, Record: log})
//	offer, err := gateway.NewOffer(ctx, gateway.Terms{}, models)
//	g.Offer(offer)
//	srv := &http.Server{Handler: g.Handler()}
//	rpc := g.Server()  // gRPC
//
// A guard is a file of this package and a line of Guards. It calls the next one
// or returns an error, an [oip.Error] when the client shall know why. What is
// undecided is refused: an error of any other kind is answered with "internal
// error", logged, and never shown.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Authenticator says who calls.
type Authenticator interface {
	Authenticate(ctx context.Context, c identity.Credentials) (redoubt.Principal, error)
}

// Decider says who may. It is asked once a call.
type Decider interface {
	Decide(q policy.Request) policy.Decision
}

// Recorder keeps what was done and refused. Record returns when the entry is
// durable, Write when it survives the process and soon will be, Enqueue when it
// soon will be.
type Recorder interface {
	Record(ctx context.Context, e redoubt.Event) error
	Write(ctx context.Context, e redoubt.Event) error
	Enqueue(ctx context.Context, e redoubt.Event) error
}

// Config is what a gateway is joined of. Identity, Policy, Limits and Record are
// required.
type Config struct {
	Identity Authenticator
	Policy   Decider
	Limits   limit.Taker
	Record   Recorder
	// Version is what the server says of itself; "" by default.
	Version string
	// Metrics counts; nil for nobody.
	Metrics *Metrics
	// Tracer has a span for each call; nil for none.
	Tracer trace.Tracer
	Logger *slog.Logger
}

// Wait is how far the entry of an inference must have come in the log before the
// inference is answered.
type Wait string

// What to wait for; "" is Write.
const (
	Flush Wait = "flush" // it is on the disk, and survives the machine
	Write Wait = "write" // the operating system has it, and it survives the process
	None  Wait = "none"  // it is in memory
)

// Waits lists them.
var Waits = []Wait{Flush, Write, None}

// Terms are what holds for all models, and may change while calls go on.
type Terms struct {
	// Wait is what an inference waits for before it is answered. Models marked
	// sensitive wait for [Flush] all the same.
	Wait Wait
	// Everyone bounds all calls together, each principal those of a principal to
	// all models, Address those of one network address before anyone is
	// authenticated.
	Everyone, Principal, Address []limit.Limit
	// Concurrent bounds the calls that are under way at once, whose bodies are in
	// memory; 0 means 256.
	Concurrent int
	// Each bounds those of one caller, so that nobody takes all places; 0 means a
	// quarter of Concurrent.
	Each int
	// Bodies bounds the bytes of the bodies that something is made of at once, from
	// when all of a body has arrived until it is answered: tensors, runs and answers
	// take some ten times as much memory. The others wait for their turn, but not those
	// of less than 64 KiB; no caller has more than half. 0 means 256 MiB.
	Bodies int64
	// BodyTime bounds how long a client takes to send the body of a call, which
	// has its place among the concurrent ones meanwhile; 0 means 30 seconds.
	BodyTime time.Duration
	// AnswerTime bounds how long it takes to read the answer; 0 means 30 seconds.
	AnswerTime time.Duration
	// Headers says how limits are told.
	Headers limit.Headers
	// Filter switches on the browsers' old filter against cross-site scripting,
	// which some checklists still ask for: "X-XSS-Protection: 1; mode=block".
	Filter bool
	// Name is what the server calls itself; "redoubt" by default. Some clients'
	// samples insist on "triton".
	Name string
}

// Gateway guards models. It is safe for concurrent use.
type Gateway struct {
	cfg       Config
	offer     atomic.Pointer[Offer]
	ready     atomic.Bool
	health    *health.Server // the same over gRPC
	strangers strangers
	origin    http.CrossOriginProtection

	infer Infer             // all guards, and the engine
	enter func(Infer) Infer // the guards that every call passes
}

// New joins a gateway, which offers nothing yet.
func New(cfg Config) (*Gateway, error) {
	if cfg.Identity == nil || cfg.Policy == nil || cfg.Limits == nil || cfg.Record == nil {
		return nil, errors.New("make a gateway: it needs to know who calls, who may, how often, and where to write it down")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	g := &Gateway{cfg: cfg, health: health.NewServer()}
	nothing, err := NewOffer(context.Background(), Terms{}, nil)
	if err != nil {
		return nil, err
	}
	g.offer.Store(nothing)
	g.enter = func(next Infer) Infer { return g.wrap(next, func(guard *Guard) bool { return !guard.Body }) }
	g.infer = g.enter(g.wrap(g.answer, func(guard *Guard) bool { return guard.Body }))
	g.SetReady(true)
	return g, nil
}

// SetReady says whether the gateway wants new calls: false from the moment a
// shutdown begins, so that load balancers look elsewhere while calls under way
// are finished.
func (g *Gateway) SetReady(ready bool) {
	g.ready.Store(ready)
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, service := range []string{"", oippb.GRPCInferenceService_ServiceDesc.ServiceName} {
		g.health.SetServingStatus(service, status)
	}
}

// Ready reports whether the gateway wants new calls.
func (g *Gateway) Ready() bool { return g.ready.Load() }

// Call is one call on its way.
type Call struct {
	ID   string // of the request; every answer and log line has it
	Path Path
	// Action is what is to be done: an inference is "invoke".
	Action policy.Action
	// Model and Version are what was asked for, "" for the default version and
	// for calls that concern no model.
	Model, Version string
	From           netip.Addr
	Credentials    identity.Credentials
	// Traceparent is the trace that the client began, as the W3C writes it; "" for
	// none. It is believed
	// only to name the trace.
	Traceparent string

	// Served is what the gateway has by that name; nil if nothing.
	Served *Served
	// Principal is set by the guard authenticate, Decision by permit, Limits by
	// limit, Request by decode.
	Principal redoubt.Principal
	Decision  policy.Decision
	Limits    limit.Answer
	Request   *oip.Request
	// Details are facts for the record.
	Details map[string]string

	// general says that the call concerns no model, or all that the caller may see.
	// An empty name does not: over gRPC, clients choose it.
	general bool
	// asks is set where something is asked about the model, and not of it.
	asks bool
	// offer is what was on offer when the call came: it sees no other.
	offer *Offer
	// read decodes the body, within limits, when its turn has come.
	read func(s *Served, lim oip.Limits) (*oip.Request, error)
	// at is the guard that the call has come to, "model" behind them all.
	at string
	// turn ends the turn of a large body; nil where there is none.
	turn func()
}

// Note adds a fact to what is recorded of the call.
func (c *Call) Note(name, value string) {
	if c.Details == nil {
		c.Details = map[string]string{}
	}
	c.Details[name] = value
}

// Path is how a call came.
type Path string

// The paths.
const (
	REST    Path = "rest"
	Binary  Path = "binary"
	GRPC    Path = "grpc"
	Predict Path = "predict"
)

// Infer answers a call.
type Infer func(ctx context.Context, c *Call) (*oip.Response, error)

// Guard stands between a call and the model.
type Guard struct {
	Name string
	Doc  string // one sentence
	// Body guards look at what a call says, and stand before inferences only; the
	// others stand before everything.
	Body bool
	wrap func(g *Gateway, next Infer) Infer
}

// Guards lists them in order, the outermost first.
var Guards = []*Guard{
	record,
	authenticate,
	permit,
	limits,
	decode,
	schema,
	content,
	personal,
	normalise,
	detect,
	disclose,
	shadow,
}

// wrap puts those guards around next that are wanted.
func (g *Gateway) wrap(next Infer, wanted func(*Guard) bool) Infer {
	next = reached("model", next)
	for i := len(Guards) - 1; i >= 0; i-- {
		if wanted(Guards[i]) {
			next = reached(Guards[i].Name, Guards[i].wrap(g, next))
		}
	}
	return next
}

// reached notes how far a call has come.
func reached(guard string, next Infer) Infer {
	return func(ctx context.Context, c *Call) (*oip.Response, error) {
		c.at = guard
		return next(ctx, c)
	}
}

// ask asks the model.
func ask(ctx context.Context, c *Call) (*oip.Response, error) {
	a, err := c.Served.Engine.Infer(ctx, c.Request)
	if err != nil {
		return nil, err
	}
	a.ID, a.ModelName = c.Request.ID, c.Model
	if a.ModelVersion == "" {
		a.ModelVersion = c.Served.Version
	}
	return a, nil
}

// deadline is the time a call may take.
func (c *Call) deadline() time.Duration {
	if s := c.offer.find(c.Model, c.Version); s != nil && s.Model.Settings.Timeout > 0 {
		return s.Model.Settings.Timeout
	}
	return callTime
}

const callTime = 30 * time.Second // unless a model says otherwise

func (g *Gateway) bodyTime() time.Duration {
	if t := g.offer.Load().terms.BodyTime; t > 0 {
		return t
	}
	return 30 * time.Second
}
