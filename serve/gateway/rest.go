package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// extensions are the parts of the protocol beside its core that are offered.
var extensions = []string{"binary_tensor_data", "parameters", "model_configuration", "statistics"}

// refusedExtensions are parts of Triton's protocol that no caller is given: they
// name memory, files and settings of the server, and have been the way in. Models
// are loaded by deploying a version, not by a request of this protocol.
var refusedExtensions = []string{"systemsharedmemory", "cudasharedmemory", "trace", "logging", "load", "unload"}

// Handler serves the protocol over REST, /v2, and the predictions by name,
// /api/v1/models/NAME/predict. Every other path is unknown.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := Secure(w, r)
		if g.offer.Load().terms.Filter {
			w.Header().Set("X-XSS-Protection", "1; mode=block")
		}
		t := &transport{g: g, ctx: ctx, w: w, r: r, id: RequestID(ctx)}
		e, err := t.find()
		if err == nil {
			err = g.sameOrigin(r)
		}
		if err == nil {
			err = e.serve(t)
		}
		if err != nil {
			t.fail(err)
		}
	})
}

// sameOrigin refuses what a page from elsewhere makes a browser send: with it
// comes the user's cookie.
func (g *Gateway) sameOrigin(r *http.Request) error {
	if g.origin.Check(r) != nil {
		return oip.Errorf(oip.Denied, "requests from pages of other origins are refused")
	}
	return nil
}

// transport is one request over REST.
type transport struct {
	g              *Gateway
	ctx            context.Context // the request's, with its id
	w              http.ResponseWriter
	r              *http.Request
	id             string
	model, version string // of the path
}

// find reads the path, and from it the model and the version. It knows a fixed set of
// paths, and for each its method: what is spelt in another way, with a dot or an escaped
// slash, is none of them. Where only the method is wrong, the header says which is right
// (RFC 9110, 15.5.6). HEAD is answered as GET is, of which net/http leaves the body out:
// some balancers ask for health so.
func (t *transport) find() (*endpoint, error) {
	h, r := t.w.Header(), t.r
	path := r.URL.EscapedPath()
	if strings.ContainsAny(path, "%;\\") || strings.Contains(path, "//") || r.URL.Path != path {
		return nil, oip.Errorf(oip.BadInput, "the path holds characters that no path here has")
	}
	parts := strings.Split(path[min(1, len(path)):], "/")
	if len(parts) > 1 && parts[0] == "v2" && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1] // "/v2/" is "/v2"
	}
	for i := range endpoints {
		e := &endpoints[i]
		model, version, ok := e.match(parts)
		if !ok {
			continue
		}
		if r.Method != e.method && (r.Method != "HEAD" || e.method != "GET") {
			if h.Add("Allow", e.method); e.method == "GET" {
				h.Add("Allow", "HEAD")
			}
			continue
		}
		h.Del("Allow") // of an endpoint that only looks like it
		t.model, t.version = model, version
		return e, nil
	}
	if h.Get("Allow") != "" {
		return nil, oip.Errorf(oip.BadMethod, "method %s is not allowed here", clip(r.Method))
	}
	for _, p := range parts {
		for _, refused := range refusedExtensions {
			if p == refused {
				return nil, oip.Errorf(oip.Unsupported, "this part of the protocol is not offered")
			}
		}
	}
	return nil, oip.Errorf(oip.NotFound, "there is nothing at this path")
}

// endpoint is a method and a path, in which {model} and {version} stand for one
// part each.
type endpoint struct {
	method string
	path   []string
	serve  func(*transport) error
}

// endpoints lists all there are.
var endpoints = []endpoint{
	{"GET", parts("v2/health/live"), (*transport).live},
	{"GET", parts("v2/health/ready"), (*transport).ready},
	{"GET", parts("v2"), (*transport).server},
	{"GET", parts("v2/models"), (*transport).list},
	{"POST", parts("v2/repository/index"), (*transport).index},
	{"GET", parts("v2/models/stats"), (*transport).statistics},
	{"GET", parts("v2/models/{model}"), (*transport).metadata},
	{"GET", parts("v2/models/{model}/versions/{version}"), (*transport).metadata},
	{"GET", parts("v2/models/{model}/ready"), (*transport).modelReady},
	{"GET", parts("v2/models/{model}/versions/{version}/ready"), (*transport).modelReady},
	{"GET", parts("v2/models/{model}/config"), (*transport).config},
	{"GET", parts("v2/models/{model}/versions/{version}/config"), (*transport).config},
	{"GET", parts("v2/models/{model}/stats"), (*transport).statistics},
	{"GET", parts("v2/models/{model}/versions/{version}/stats"), (*transport).statistics},
	{"POST", parts("v2/models/{model}/infer"), (*transport).infer},
	{"POST", parts("v2/models/{model}/versions/{version}/infer"), (*transport).infer},
	{"POST", parts("api/v1/models/{model}/predict"), (*transport).predict},
	{"POST", parts("api/v1/models/{model}/versions/{version}/predict"), (*transport).predict},
}

func parts(path string) []string { return strings.Split(path, "/") }

func (e *endpoint) match(parts []string) (model, version string, ok bool) {
	if len(parts) != len(e.path) {
		return "", "", false
	}
	for i, want := range e.path {
		switch part := parts[i]; want {
		case "{model}":
			model = part
		case "{version}":
			version = part
		case part:
		default:
			return "", "", false
		}
	}
	return model, version, (model == "" || nameable(model)) && (version == "" || nameable(version))
}

// call makes a call of the request.
func (t *transport) call(path Path, action policy.Action) *Call {
	return &Call{
		ID: t.id, Path: path, Action: action, Model: t.model, Version: t.version,
		From:        addressOf(t.r.RemoteAddr),
		Credentials: Credentials(t.r),
		general:     t.model == "", // of a path that has none
		Traceparent: one(t.r.Header.Values("Traceparent")),
	}
}

func (t *transport) infer() error {
	path := REST
	if t.r.Header.Get("Inference-Header-Content-Length") != "" {
		path = Binary
	}
	c := t.call(path, policy.Invoke)
	c.read = func(s *Served, lim oip.Limits) (*oip.Request, error) {
		t.hurry(c)
		return oip.ReadRequest(t.r, s.Metadata, lim)
	}
	defer c.endTurn()
	a, err := t.g.infer(t.ctx, c)
	t.limited(c)
	if err != nil {
		return err
	}
	err = oip.WriteResponse(t.w, t.r, c.Request, a)
	if refused := (*oip.Error)(nil); errors.As(err, &refused) {
		return refused
	}
	if err != nil { // a part of the answer is on its way: there is nobody to tell
		t.g.cfg.Logger.Info("an answer was not taken", "request", t.id, "error", err.Error())
	}
	return nil
}

// hurry bounds the time that the client takes to send the body and, after the
// model's, to take the answer.
func (t *transport) hurry(c *Call) {
	body, control := t.g.bodyTime(), http.NewResponseController(t.w)
	// A writer that cannot do it is none of a network.
	_ = control.SetReadDeadline(time.Now().Add(body))
	_ = control.SetWriteDeadline(time.Now().Add(body + c.deadline() + cmp.Or(c.offer.terms.AnswerTime, 30*time.Second)))
}

// limited tells the client what it has left.
func (t *transport) limited(c *Call) {
	if len(c.Limits.States) > 0 {
		c.offer.terms.Headers.Write(t.w.Header(), c.Limits)
	}
}

func (t *transport) write(body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode an answer: %w", err)
	}
	t.w.Header().Set("Content-Type", "application/json") // to the letter: KServe's client compares
	_, _ = t.w.Write(b)                                  // the client may be gone
	return nil
}

func (t *transport) fail(err error) {
	e := oip.Classify(err)
	switch e.Code {
	case oip.Unauthenticated:
		t.w.Header().Set("WWW-Authenticate", `Bearer realm="redoubt"`)
	case oip.Unavailable:
		t.w.Header().Set("Retry-After", "1")
	case oip.Limited:
		if t.w.Header().Get("Retry-After") == "" { // of no rate
			t.w.Header().Set("Retry-After", "1")
		}
	}
	oip.WriteError(t.w, err, t.id)
}

func (t *transport) live() error { return t.write(map[string]bool{"live": true}) }

func (t *transport) ready() error {
	if !t.g.ready.Load() {
		return oip.Errorf(oip.Unavailable, "the server is not ready")
	}
	return t.write(map[string]bool{"ready": true})
}

// clip shortens what a client sent for an error message.
func clip(s string) string {
	if len(s) > 16 {
		return s[:16] + "..."
	}
	return s
}
