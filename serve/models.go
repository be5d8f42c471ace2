package serve

import (
	"context"
	"fmt"
	"os"
	"regexp"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/engine"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// openModels opens every version of every model.
func (c *Config) openModels(ctx context.Context, rt *ort.Runtime) (models []*gateway.Model, err error) {
	defer func() {
		if err != nil {
			closeModels(models)
			models = nil
		}
	}()
	for i := range c.Models {
		m := &c.Models[i]
		g, err := c.model(m)
		if err != nil {
			return models, fmt.Errorf("model %s: %w", m.Name, err)
		}
		models = append(models, g)
		for _, v := range m.Versions {
			version, err := c.openVersion(ctx, rt, m, v)
			if err != nil {
				return models, fmt.Errorf("model %s, version %s: %w", m.Name, v.Version, err)
			}
			g.Versions = append(g.Versions, version)
		}
	}
	return models, nil
}

func closeModels(models []*gateway.Model) {
	for _, m := range models {
		for _, v := range m.Versions {
			v.Engine.Close() // it waits, and has nothing to say
		}
	}
}

// openVersion opens what answers.
func (c *Config) openVersion(ctx context.Context, rt *ort.Runtime, m *Model, v Version) (gateway.Version, error) {
	out := gateway.Version{Name: v.Version}
	if v.Upstream != "" {
		up, err := c.upstream(m, v)
		if err == nil {
			out.Engine, err = engine.NewUpstream(up)
		}
		return out, err
	}
	path := c.path(v.Path)
	digest, err := redoubt.DigestFile(path)
	if err != nil {
		return out, err
	}
	out.Digest = digest
	out.Engine, err = engine.Open(ctx, rt, path, engine.LocalConfig{
		Name: m.Name, Version: v.Version, Threads: m.Threads, Concurrency: m.Concurrency,
		MaxBatch: m.MaxBatch, Delay: m.BatchDelay, Queue: m.Queue, Memory: m.Memory,
	})
	return out, err
}

// model is what the guards ask of a model's callers.
func (c *Config) model(m *Model) (*gateway.Model, error) {
	g := &gateway.Model{
		Model: policy.Model{Name: m.Name, Stage: m.Stage, Owner: m.Owner, Groups: m.Groups, Sensitive: m.Sensitive, Open: m.Open},
		Settings: gateway.Settings{
			MaxBody: m.MaxBody, Timeout: m.Timeout, Table: m.Table, CardData: m.CardData,
			Unchecked: m.MaliciousText, Scores: m.Scores, Inputs: map[string]gateway.Rule{},
		},
	}
	var err error
	if m.Clearance != "" {
		if g.Clearance, err = policy.ParseClearance(m.Clearance); err != nil {
			return nil, err
		}
	}
	if g.Settings.Limits, err = parseLimits(m.Limits); err != nil {
		return nil, err
	}
	if g.Settings.Total, err = parseLimits(m.Total); err != nil {
		return nil, err
	}
	for name, r := range m.Inputs {
		rule := gateway.Rule{
			Min: r.Min, Max: r.Max, Missing: r.Missing, Elements: r.Elements,
			MinLength: r.MinLength, MaxLength: r.MaxLength, Clip: r.Clip, Strip: r.Strip, Trim: r.Trim,
		}
		if r.Pattern != "" {
			if rule.Pattern, err = regexp.Compile(`\A(?:` + r.Pattern + `)\z`); err != nil {
				return nil, fmt.Errorf("input %s: pattern: %w", name, err)
			}
		}
		g.Settings.Inputs[name] = rule
	}
	if m.Schema == "" {
		return g, nil
	}
	text, err := os.ReadFile(c.path(m.Schema))
	if err != nil {
		return nil, fmt.Errorf("read the feature schema: %w", err)
	}
	s, err := data.ParseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("read the feature schema %s: %w", m.Schema, err)
	}
	g.Settings.Rows, err = s.Rows()
	return g, err
}

// upstream is how to reach a version on another server.
func (c *Config) upstream(m *Model, v Version) (engine.UpstreamConfig, error) {
	security, err := c.clientTLS(m.CA, m.Certificate, m.Key)
	if err != nil {
		return engine.UpstreamConfig{}, err
	}
	token, err := c.secret("token", m.Token)
	return engine.UpstreamConfig{
		URL: v.Upstream, Name: m.Name, Version: v.Version, TLS: security, Token: token, Timeout: m.Timeout,
	}, err
}
