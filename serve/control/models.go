package control

import (
	"context"
	"net/http"
	"time"

	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

type modelList struct {
	Models []modelStatus `json:"models"`
}

// modelStatus is what a reader of a model sees of it.
type modelStatus struct {
	*policy.Model
	Versions []versionStatus `json:"versions"`
}

type versionStatus struct {
	Version string `json:"version"`
	Digest  string `json:"digest,omitempty" doc:"SHA-256 of the file."`
	Ready   bool   `json:"ready"`
}

// models are what is served.
func (a *API) models() {
	add(a, http.MethodGet, "/models", "list-models", "List the models that the caller may read", func(ctx context.Context, _ *nothing) (*body[modelList], error) {
		list := modelList{Models: []modelStatus{}}
		c := callerOf(ctx)
		a.cfg.Gateway.Use(func(models []*gateway.Model) {
			for _, m := range models {
				d := a.cfg.Engine.Decide(policy.Request{
					Principal: c.Principal, Action: policy.Read,
					Resource: policy.Resource{Kind: policy.KindModel, Name: m.Name, Model: &m.Model},
					Context:  policy.Context{Time: time.Now(), From: c.from, Path: c.path},
				})
				if d.Allowed {
					list.Models = append(list.Models, statusOf(ctx, m))
				}
			}
		})
		return &body[modelList]{list}, nil
	})
}

func statusOf(ctx context.Context, m *gateway.Model) modelStatus {
	s := modelStatus{Model: &m.Model}
	for _, v := range m.Versions {
		s.Versions = append(s.Versions, versionStatus{v.Name, string(v.Digest), v.Refused == "" && v.Engine.Ready(ctx) == nil})
	}
	return s
}
