package control

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/registry"
)

type registeredModel struct {
	Name     string              `json:"name"`
	Versions []registeredVersion `json:"versions"`
	Aliases  map[string]string   `json:"aliases"`
	Canary   *registry.Canary    `json:"canary,omitempty"`
	Shadow   string              `json:"shadow,omitempty"`
}

type registeredVersion struct {
	Version      string         `json:"version"`
	Stage        registry.Stage `json:"stage"`
	File         string         `json:"file"`
	Digest       string         `json:"digest" doc:"SHA-256 of the file."`
	Size         int64          `json:"size"`
	Pushed       time.Time      `json:"pushed"`
	By           string         `json:"by"`
	Signatures   int            `json:"signatures"`
	Attestations int            `json:"attestations"`
	Routed       bool           `json:"routed" doc:"Whether calls are routed to it."`
	Refused      string         `json:"refused,omitempty" doc:"Which requirement failed, if they are not."`
	Until        time.Time      `json:"until,omitzero" doc:"When what it was admitted by expires."`
}

type newVersion struct {
	File         string         `json:"file" minLength:"1" maxLength:"255" doc:"The name of the file, for people."`
	Digest       string         `json:"digest" doc:"SHA-256 of the weights, which were put before."`
	Stage        registry.Stage `json:"stage,omitempty" enum:"dev,staging,production,archived" doc:"Production if nothing is there, and else staging, by default."`
	Signatures   []string       `json:"signatures" maxItems:"16" doc:"Bundles, in base64."`
	Attestations []string       `json:"attestations,omitempty" maxItems:"16" doc:"Bundles, in base64."`
}

// deployed is the answer to a push.
type deployed struct {
	Model    string   `json:"model"`
	Version  string   `json:"version"`
	Stage    string   `json:"stage"`
	Endpoint string   `json:"endpoint" doc:"Where the version is called."`
	Digest   string   `json:"digest"`
	Level    string   `json:"level" doc:"The most that callers see of its answers."`
	Features []string `json:"features" doc:"What guards it."`
	Refused  string   `json:"refused,omitempty" doc:"Why calls are not routed to it."`
}

type modelPath struct {
	Model string `path:"model"`
}

type versionPath struct {
	Model   string `path:"model"`
	Version string `path:"version" doc:"A number or an alias."`
}

// registered are the models that are pushed.
func (a *API) registered() {
	a.weights()
	add(a, http.MethodGet, "/models/{model}", "get-model", "Show a model that was pushed, and its versions", func(ctx context.Context, in *modelPath) (*body[registeredModel], error) {
		m, err := a.registeredModel(ctx, policy.Read, in.Model)
		if err != nil {
			return nil, err
		}
		return &body[registeredModel]{a.describe(m)}, nil
	})
	add(a, http.MethodPost, "/models/{model}/versions", "push-version", "Add a version, whose weights were put before", a.push)
	add(a, http.MethodPut, "/models/{model}/versions/{version}/stage", "promote-version", "Move a version to a stage", func(ctx context.Context, in *struct {
		Model   string `path:"model"`
		Version string `path:"version"`
		Body    struct {
			Stage registry.Stage `json:"stage" enum:"dev,staging,production,archived"`
		}
	}) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.Promote(ctx, ch, in.Model, in.Version, in.Body.Stage)
		})
	})
	add(a, http.MethodPost, "/models/{model}/rollback", "rollback-model", "Put the version back into production that was there before", func(ctx context.Context, in *modelPath) (*body[versionName], error) {
		var v string
		_, err := a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) (err error) {
			v, err = r.Rollback(ctx, ch, in.Model)
			return err
		})
		return &body[versionName]{versionName{v}}, err
	})
	add(a, http.MethodPut, "/models/{model}/aliases/{alias}", "set-alias", "Give a version a further name", func(ctx context.Context, in *struct {
		Model string `path:"model"`
		Alias string `path:"alias"`
		Body  versionName
	}) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetAlias(ctx, ch, in.Model, in.Alias, in.Body.Version)
		})
	})
	add(a, http.MethodDelete, "/models/{model}/aliases/{alias}", "delete-alias", "Take a name away", func(ctx context.Context, in *struct {
		Model string `path:"model"`
		Alias string `path:"alias"`
	}) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetAlias(ctx, ch, in.Model, in.Alias, "")
		})
	})
	add(a, http.MethodPut, "/models/{model}/canary", "set-canary", "Have a version answer a share of the calls", func(ctx context.Context, in *struct {
		Model string `path:"model"`
		Body  registry.Canary
	}) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetCanary(ctx, ch, in.Model, &in.Body)
		})
	})
	add(a, http.MethodDelete, "/models/{model}/canary", "end-canary", "End the canary", func(ctx context.Context, in *modelPath) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetCanary(ctx, ch, in.Model, nil)
		})
	})
	add(a, http.MethodPut, "/models/{model}/shadow", "set-shadow", "Have a version answer without being heard", func(ctx context.Context, in *struct {
		Model string `path:"model"`
		Body  versionName
	}) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetShadow(ctx, ch, in.Model, in.Body.Version)
		})
	})
	add(a, http.MethodDelete, "/models/{model}/shadow", "end-shadow", "End the shadow", func(ctx context.Context, in *modelPath) (*nothing, error) {
		return a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.SetShadow(ctx, ch, in.Model, "")
		})
	})
	add(a, http.MethodDelete, "/models/{model}/versions/{version}", "delete-version", "Delete a version", func(ctx context.Context, in *versionPath) (*nothing, error) {
		return a.alter(ctx, policy.Delete, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.Delete(ctx, ch, in.Model, in.Version)
		})
	})
	add(a, http.MethodDelete, "/models/{model}", "delete-model", "Delete a model that was pushed", func(ctx context.Context, in *modelPath) (*nothing, error) {
		return a.alter(ctx, policy.Delete, in.Model, func(r *registry.Registry, ch registry.Change) error {
			return r.Delete(ctx, ch, in.Model, "")
		})
	})
}

type versionName struct {
	Version string `json:"version" minLength:"1" doc:"A number or an alias."`
}

// permitModel asks whether the caller may do something to a model. Of a model that
// does not exist yet, policies know the name.
func (a *API) permitModel(ctx context.Context, action policy.Action, name string) error {
	m := &policy.Model{Name: name}
	a.cfg.Gateway.Use(func(models []*gateway.Model) {
		for _, known := range models {
			if known.Name == name {
				m = &known.Model
			}
		}
	})
	if err := a.allow(ctx, action, policy.Resource{Kind: policy.KindModel, Name: name, Model: m}); err != nil {
		return err
	}
	switch {
	case a.cfg.Registry == nil:
		return huma.Error409Conflict("this server has no registry: name keys in its configuration under registry")
	case a.cfg.Configured(name):
		return huma.Error409Conflict("the server's configuration names this model: it is changed there")
	}
	return nil
}

// alter makes a change to a model and has it hold.
func (a *API) alter(ctx context.Context, action policy.Action, model string, do func(*registry.Registry, registry.Change) error) (*nothing, error) {
	if err := a.permitModel(ctx, action, model); err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	if err := do(a.cfg.Registry, registry.Change{By: c.Principal, From: c.from, Request: gateway.RequestID(ctx)}); err != nil {
		return nil, refusalOf(err)
	}
	// Also when the caller has gone away: what is on record holds.
	return nil, a.cfg.Refresh(context.WithoutCancel(ctx))
}

// refusalOf is what a client is told of an error of the registry.
func refusalOf(err error) error {
	var refused *registry.Refusal
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, registry.ErrStale):
		return huma.Error409Conflict(err.Error())
	case registry.Lost(err):
		return huma.Error503ServiceUnavailable("the key service is not available: try again later")
	case errors.As(err, &refused): // before ErrInput, of which weights may be
		return huma.Error422UnprocessableEntity("not admitted: " + refused.Error())
	case errors.Is(err, registry.ErrInput):
		return huma.Error422UnprocessableEntity(err.Error())
	}
	return err
}

func (a *API) push(ctx context.Context, in *struct {
	Model string `path:"model"`
	Body  newVersion
}) (*body[deployed], error) {
	v := registry.Version{File: in.Body.File, Digest: redoubt.Digest(in.Body.Digest), Stage: in.Body.Stage}
	for _, f := range []struct {
		texts []string
		to    *[][]byte
	}{{in.Body.Signatures, &v.Signatures}, {in.Body.Attestations, &v.Attestations}} {
		for _, text := range f.texts {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, huma.Error422UnprocessableEntity("a signature or attestation is not in base64")
			}
			*f.to = append(*f.to, b)
		}
	}
	var made *registry.Version
	if _, err := a.alter(ctx, policy.Deploy, in.Model, func(r *registry.Registry, ch registry.Change) (err error) {
		made, err = r.Push(ctx, ch, in.Model, v)
		return err
	}); err != nil {
		return nil, err
	}
	return &body[deployed]{a.deployed(in.Model, made)}, nil
}

// deployed tells where a version is called, and what guards it.
func (a *API) deployed(model string, v *registry.Version) deployed {
	d := deployed{
		Model: model, Version: v.Version, Stage: string(v.Stage), Digest: string(v.Digest),
		Endpoint: strings.TrimSuffix(a.cfg.Origin, "/") + "/v2/models/" + model + "/versions/" + v.Version,
		Features: []string{"authorization", "encryption", "integrity", "audit"},
	}
	a.offered(model, func(m *gateway.Model) {
		d.Level = m.Clearance.String()
		if !m.Open {
			d.Features = append(d.Features, "authentication")
		}
		if len(m.Settings.Limits)+len(m.Settings.Total) > 0 || a.cfg.Limited {
			d.Features = append(d.Features, "rate limiting")
		}
		for _, o := range m.Versions {
			if o.Name == v.Version {
				d.Refused = o.Refused
			}
		}
	})
	slices.Sort(d.Features)
	return d
}

// offered calls do with a model as it is offered.
func (a *API) offered(name string, do func(*gateway.Model)) {
	a.cfg.Gateway.Use(func(models []*gateway.Model) {
		for _, m := range models {
			if m.Name == name {
				do(m)
			}
		}
	})
}

func (a *API) registeredModel(ctx context.Context, action policy.Action, name string) (*registry.Model, error) {
	if err := a.permitModel(ctx, action, name); err != nil {
		return nil, err
	}
	m, err := a.cfg.Registry.Model(ctx, name)
	return m, refusalOf(err)
}

func (a *API) describe(m *registry.Model) registeredModel {
	out := registeredModel{Name: m.Name, Aliases: m.Aliases, Canary: m.Canary, Shadow: m.Shadow, Versions: []registeredVersion{}}
	if out.Aliases == nil {
		out.Aliases = map[string]string{}
	}
	for _, v := range m.Versions {
		out.Versions = append(out.Versions, registeredVersion{
			Version: v.Version, Stage: v.Stage, File: v.File, Digest: string(v.Digest), Size: v.Size,
			Pushed: v.Pushed, By: v.By, Signatures: len(v.Signatures), Attestations: len(v.Attestations),
		})
	}
	a.offered(m.Name, func(g *gateway.Model) {
		for i := range out.Versions {
			for _, o := range g.Versions {
				if v := &out.Versions[i]; o.Name == v.Version {
					v.Routed, v.Refused = o.Refused == "", o.Refused
					if o.Until.Year() < 9999 {
						v.Until = o.Until
					}
				}
			}
		}
	})
	return out
}

// upload is the body of a request that is not read into memory.
type upload struct {
	io.Reader
	http *http.ResponseController
}

type uploadKey struct{}

// uploadTime is how long weights may take to arrive.
const uploadTime = 30 * time.Minute

// uploads reports whether a request brings weights, which are larger than any other
// body.
func uploads(r *http.Request) bool {
	parts := strings.Split(r.URL.Path, "/") // "", api, v1, models, NAME, weights, DIGEST
	return r.Method == http.MethodPut && len(parts) == 7 && parts[3] == "models" && parts[5] == "weights"
}

// weights takes the bytes of a version, as they are.
func (a *API) weights() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "put-weights", Method: http.MethodPut, Path: "/api/v1/models/{model}/weights/{digest}",
		Summary: "Put the weights of a version, before it is pushed", MaxBodyBytes: registry.MaxWeights,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {}}},
	}, func(ctx context.Context, in *struct {
		Model  string `path:"model"`
		Digest string `path:"digest" doc:"SHA-256 of the bytes, in lower-case hexadecimal."`
	}) (*nothing, error) {
		if err := a.permitModel(ctx, policy.Deploy, in.Model); err != nil {
			return nil, a.problem(ctx, err)
		}
		u, _ := ctx.Value(uploadKey{}).(upload)
		if u.Reader == nil {
			return nil, huma.Error422UnprocessableEntity("there is no body")
		}
		// A connection that cannot do it has the time of other requests.
		_ = u.http.SetReadDeadline(time.Now().Add(uploadTime))
		_ = u.http.SetWriteDeadline(time.Now().Add(uploadTime))
		err := a.cfg.Registry.PutWeights(ctx, redoubt.Digest(in.Digest), u)
		if err != nil {
			return nil, a.problem(ctx, refusalOf(err))
		}
		return nil, nil
	})
}
