// Package control is the API behind the verbs and the console: accounts, tokens,
// permissions, policies, reviews and models, under /api/v1.
//
//	api := control.New(control.Config{Identity: people, Policy: rules, ...})
//	http.Handle("/api/v1/", api.Handler())
//
// It is described by itself, as OpenAPI 3.1, at /api/v1/openapi.json. Errors are
// problems (RFC 9457) with the request's id under "instance". Each operation asks
// the policies first, and what it changes is on record before it happens.
//
// A file of this package holds the operations on one kind of thing; operations
// lists the files.
package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	pathpkg "path"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
	"github.com/redoubt-ml/redoubt/serve/registry"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// Config is what the operations work on. All but BodyTime, Logger and Version are
// required.
type Config struct {
	Identity *identity.Service
	Engine   *policy.Engine
	Keeper   *admin.Keeper
	Gateway  *gateway.Gateway
	Log      *audit.Log
	// Registry keeps pushed models; nil where there are none. Refresh has its changes
	// hold, and Configured tells names that are not for it. Limited says that callers
	// are limited whatever the model.
	Registry   *registry.Registry
	Refresh    func(ctx context.Context) error
	Configured func(name string) bool
	Limited    bool
	// Origin is where browsers find the pages, such as https://models.example.
	Origin string
	// BodyTime bounds how long a client takes to send a body; 0 means 5 seconds.
	BodyTime time.Duration
	Logger   *slog.Logger
	Version  string
}

// API answers the operations.
type API struct {
	cfg    Config
	mux    *http.ServeMux
	huma   huma.API
	origin http.CrossOriginProtection
}

// operations lists the kinds of thing.
var operations = []func(*API){
	(*API).accounts,
	(*API).tokens,
	(*API).models,
	(*API).registered,
	(*API).grants,
	(*API).policies,
	(*API).reviews,
	(*API).record,
}

// New makes the API.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, mux: http.NewServeMux()}
	described := huma.DefaultConfig("Redoubt", cfg.Version)
	described.OpenAPIPath = "/api/v1/openapi"
	described.DocsPath, described.SchemasPath = "", "" // a page with scripts from elsewhere
	described.CreateHooks = nil                        // no links to schemas in answers
	strict := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: readJSON}
	described.Formats = map[string]huma.Format{"application/json": strict, "json": strict} // and what ends with +json
	described.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	described.Security = []map[string][]string{{"token": {}}}
	described.Transformers = append(described.Transformers, func(ctx huma.Context, _ string, v any) (any, error) {
		if p, ok := v.(*huma.ErrorModel); ok {
			p.Instance = gateway.RequestID(ctx.Context())
			for _, detail := range p.Errors {
				detail.Value = nil // the client knows what it sent, and others read logs
			}
		}
		return v, nil
	})
	a.huma = humago.New(a.mux, described)
	for _, add := range operations {
		add(a)
	}
	return a
}

// maxBody bounds a request in bytes.
const maxBody = 1 << 20

// Handler serves the API to whoever can be authenticated.
func (a *API) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := gateway.Secure(w, r)
		r = r.WithContext(ctx)
		most := int64(maxBody)
		if uploads(r) {
			most = registry.MaxWeights
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if err := a.reaches(w, r); err != nil {
			a.fail(w, r, err)
			return
		}
		if a.origin.Check(r) != nil {
			a.fail(w, r, huma.Error403Forbidden("requests from pages of other origins are refused"))
			return
		}
		c := credentials(r)
		who, err := a.cfg.Gateway.Admit(ctx, "api.call", gateway.Path(path(c)), c)
		if err != nil {
			a.fail(w, r, a.problem(ctx, err))
			return
		}
		ctx = context.WithValue(ctx, callerKey{}, caller{who, c.From, path(c)})
		ctx = context.WithValue(ctx, uploadKey{}, upload{r.Body, http.NewResponseController(w)})
		a.mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// reaches reports why no operation answers a request. A path that the mux would
// have spelt otherwise is unknown, not led elsewhere.
func (a *API) reaches(w http.ResponseWriter, r *http.Request) error {
	if p := r.URL.EscapedPath(); pathpkg.Clean(p) != p {
		return huma.Error404NotFound("there is nothing at this path")
	}
	if _, pattern := a.mux.Handler(r); pattern != "" {
		return nil
	}
	other := *r
	for _, other.Method = range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, pattern := a.mux.Handler(&other); pattern != "" {
			w.Header().Add("Allow", other.Method)
		}
	}
	if w.Header().Get("Allow") != "" {
		return huma.Error405MethodNotAllowed("this method is not allowed here")
	}
	return huma.Error404NotFound("there is nothing at this path")
}

// fail answers where no operation was reached.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if err := huma.WriteErr(a.huma, humago.NewContext(&huma.Operation{}, r, w), status(err), err.Error()); err != nil {
		a.cfg.Logger.Debug("an answer was not taken", "error", err.Error())
	}
}

func status(err error) int {
	var s huma.StatusError
	if errors.As(err, &s) {
		return s.GetStatus()
	}
	return http.StatusInternalServerError
}

// caller is who called, and how.
type caller struct {
	redoubt.Principal
	from netip.Addr
	path string
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller) // nobody, who may do nothing
	return c
}

// uid is where ConnContext keeps who is at the other end of a socket.
type uid struct{}

// ConnContext tells the API who is at the other end of a Unix socket; it is the
// ConnContext of the server that listens there.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	id, err := identity.PeerUID(c)
	if err != nil {
		return ctx // a caller without credentials
	}
	return context.WithValue(ctx, uid{}, id)
}

func credentials(r *http.Request) identity.Credentials {
	c := gateway.Credentials(r)
	if id, ok := r.Context().Value(uid{}).(uint32); ok {
		c.Local, c.UID = true, id
	}
	return c
}

func path(c identity.Credentials) string {
	if c.Local {
		return "socket"
	}
	return "api"
}

// recordTime bounds how long a refusal waits for room in a log whose disk is slow.
const recordTime = 10 * time.Second

// allow asks the policies, and records a refusal, and who looks into the log: that is
// as telling as what stands in it (PCI DSS 4.0, 10.2.1.3).
func (a *API) allow(ctx context.Context, action policy.Action, r policy.Resource) error {
	c := callerOf(ctx)
	d := a.cfg.Engine.Decide(policy.Request{
		Principal: c.Principal, Action: action, Resource: r,
		Context: policy.Context{Time: time.Now(), From: c.from, Path: c.path},
	})
	if d.Allowed && (r.Kind != policy.KindAudit || action != policy.Read) {
		return nil
	}
	e := by(ctx)
	e.Action, e.Outcome, e.Reason = string(r.Kind)+"."+string(action), redoubt.Denied, d.Why
	e.Resource = string(r.Kind) + ":" + r.Name
	if d.Allowed {
		e.Outcome, e.Reason = redoubt.Allowed, ""
	}
	// The client may be gone: the entry is written all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	err := a.cfg.Log.Enqueue(ctx, e)
	if err != nil {
		a.cfg.Logger.Error("a decision cannot be recorded", "error", err.Error())
	}
	switch {
	case d.Allowed && err != nil:
		return unrecorded()
	case d.Allowed:
		return nil
	}
	return forbidden(d)
}

// forbidden is what a caller is told of a refusal: what he can do about it.
func forbidden(d policy.Decision) error {
	switch d.Needs {
	case policy.SecondFactor:
		return huma.Error403Forbidden("a second factor is required: sign in with one")
	case policy.StepUp:
		return huma.Error403Forbidden("a fresh second factor is required: confirm it and try again")
	}
	return huma.Error403Forbidden("you may not do this, or there is nothing of this name")
}

// change is who makes a change to permissions, and why.
func change(ctx context.Context, reason string) admin.Change {
	c := callerOf(ctx)
	return admin.Change{By: c.Principal, Reason: reason, From: c.from, Path: c.path, Request: gateway.RequestID(ctx)}
}

// add adds an operation. What its function returns as an error that is no
// problem is one: input is told, everything else is logged and not told.
func add[I, O any](a *API, method, path, id, summary string, do func(ctx context.Context, in *I) (*O, error)) {
	huma.Register(a.huma, huma.Operation{
		OperationID: id, Method: method, Path: "/api/v1" + path, Summary: summary, BodyReadTimeout: a.cfg.BodyTime,
	}, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// unrecorded is what a client is told while the log cannot be written.
func unrecorded() error {
	return huma.Error503ServiceUnavailable("this cannot be recorded, so it is refused: tell the operator")
}

// problem is what a client is told of an error.
func (a *API) problem(ctx context.Context, err error) error {
	var told huma.StatusError
	var refused *identity.Error
	var denied *admin.Refused
	var said *oip.Error
	switch {
	case errors.Is(err, audit.ErrLost), errors.Is(err, audit.ErrFull): // whatever it was about
		a.cfg.Logger.Error("an operation cannot be recorded, and is refused", "request", gateway.RequestID(ctx), "error", err.Error())
		return unrecorded()
	case errors.As(err, &denied):
		return forbidden(denied.Decision)
	case errors.Is(err, admin.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.As(err, &told):
		return told
	case errors.Is(err, identity.ErrInput), errors.Is(err, admin.ErrInput):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, admin.ErrStale):
		return huma.Error412PreconditionFailed(err.Error())
	case errors.As(err, &refused):
		switch refused.Kind {
		case identity.Unavailable:
			a.cfg.Logger.Error("identity is unavailable", "request", gateway.RequestID(ctx), "error", err.Error())
			return huma.Error503ServiceUnavailable(string(refused.Kind))
		case identity.Locked:
			return huma.Error429TooManyRequests(string(refused.Kind))
		case identity.SecondFactor:
			return huma.Error403Forbidden(string(refused.Kind))
		}
		return huma.Error401Unauthorized(string(refused.Kind))
	case errors.As(err, &said) && said.Code != oip.Internal: // by the gateway, which lets callers in
		return huma.NewError(said.Code.HTTPStatus(), said.Message)
	}
	a.cfg.Logger.Error("an operation failed", "request", gateway.RequestID(ctx), "error", err.Error())
	return huma.Error500InternalServerError("internal error")
}

// body is an answer.
type body[T any] struct{ Body T }

// nothing is the answer of an operation that has none.
type nothing struct{}
