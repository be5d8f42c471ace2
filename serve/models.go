package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/serve/engine"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// engines are what answers, by all that makes one what it is: a version with the
// same key is served by the same engine.
type engines map[string]gateway.Engine

// without are those that the others do not have.
func (e engines) without(others engines) []gateway.Engine {
	var gone []gateway.Engine
	for key, engine := range e {
		if others[key] == nil {
			gone = append(gone, engine)
		}
	}
	return gone
}

// openModels makes the models of a plan that the configuration names, and opens
// those engines that the server does not have yet.
func (s *Server) openModels(ctx context.Context, p *plan) error {
	p.own, p.reopened = engines{}, map[string]bool{}
	for i := range p.cfg.Models {
		m := &p.cfg.Models[i]
		g, err := p.cfg.model(m)
		if err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		if err := errors.Join(s.fits(m), s.personal(p.cfg, m, g)); err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		if m.Registry {
			continue
		}
		for _, v := range m.Versions {
			version, err := s.openVersion(ctx, p, m, v)
			if err != nil {
				return fmt.Errorf("model %s, version %s: %w", m.Name, v.Version, err)
			}
			g.Versions = append(g.Versions, version)
		}
		p.configured = append(p.configured, g)
	}
	return nil
}

// personal has a model's texts looked at, if its settings say so.
func (s *Server) personal(c *Config, m *Model, g *gateway.Model) (err error) {
	if m.Personal == nil {
		return nil
	}
	if s.opt.Personal == nil {
		return errors.New("personal: this program cannot look for personal data")
	}
	p := *m.Personal
	p.Policy = c.path(p.Policy)
	if p.Key, err = c.secret("personal.key", p.Key); err != nil {
		return err
	}
	g.Settings.Personal = &gateway.Personal{Inputs: p.Inputs, Outputs: p.Outputs}
	if g.Settings.Personal.Data, err = s.opt.Personal(p); err != nil {
		return fmt.Errorf("personal: %w", err)
	}
	return nil
}

// fits reports a body that the gRPC listener, whose bound is set when it opens,
// would refuse.
func (s *Server) fits(m *Model) error {
	if s.listeners["grpc"] != nil && m.MaxBody > int64(s.largest) {
		return fmt.Errorf("max_body is more than the %d bytes that the gRPC listener was opened for: restart the server", s.largest)
	}
	return nil
}

// openVersion finds what answers, or opens it.
func (s *Server) openVersion(ctx context.Context, p *plan, m *Model, v Version) (gateway.Version, error) {
	out := gateway.Version{Name: v.Version}
	var key string
	var open func() (gateway.Engine, error)
	var err error
	if v.Upstream != "" {
		key, open, err = p.cfg.upstreamEngine(m, v)
	} else {
		key, open, err = s.localEngine(ctx, p.cfg.path(v.Path), m, v, &out.Digest)
	}
	if err != nil {
		return out, err
	}
	if out.Engine = s.engines[key]; out.Engine == nil {
		if out.Engine, err = open(); err != nil {
			return out, err
		}
		p.opened = append(p.opened, out.Engine)
		p.reopened[m.Name] = true
		if s.starting && v.Upstream != "" {
			s.greet(ctx, m, out.Engine)
		}
	}
	// A server that is away does not keep this one, with its other models, from starting.
	// In a reload one that was not there before is a mistake.
	out.Later = s.starting || s.engines[key] != nil
	p.own[key] = out.Engine
	return out, nil
}

// greet asks an upstream server for the first time, and tells if it does not answer.
func (s *Server) greet(ctx context.Context, m *Model, e gateway.Engine) {
	if _, err := e.Metadata(ctx); err != nil {
		s.opt.Logger.Warn("a model's server does not answer: calls of the model are refused until it does", "model", m.Name, "error", err.Error())
	}
}

// localEngine runs a file in this process. It is the same as long as the file's
// content and the settings are.
func (s *Server) localEngine(ctx context.Context, path string, m *Model, v Version, digest *redoubt.Digest) (string, func() (gateway.Engine, error), error) {
	if s.opt.Runtime == nil {
		return "", nil, errors.New("the server was started without ONNX Runtime, for none of its models ran here: restart it")
	}
	var err error
	if *digest, err = redoubt.DigestFile(path); err != nil {
		return "", nil, err
	}
	cfg := m.local(v.Version, s.opt.Processors)
	return fmt.Sprintf("local %s %s %+v", path, *digest, cfg), func() (gateway.Engine, error) {
		return engine.Open(ctx, s.opt.Runtime, path, cfg)
	}, nil
}

// local is how a version is run in this process, on so many processors.
func (m *Model) local(version string, processors int) engine.LocalConfig {
	cfg := engine.LocalConfig{
		Name: m.Name, Version: version, Threads: m.Threads, Concurrency: m.Concurrency,
		MaxBatch: m.MaxBatch, Delay: m.BatchDelay, Queue: m.Queue, Memory: m.Memory,
	}
	if cfg.Concurrency == 0 && processors > 0 {
		cfg.Concurrency = max(1, processors/max(1, cfg.Threads))
	}
	return cfg
}

// upstreamEngine asks another server. It is the same as long as the address, the
// settings and the secrets are, and the certificates in the files named.
func (c *Config) upstreamEngine(m *Model, v Version) (string, func() (gateway.Engine, error), error) {
	cfg, err := c.upstream(m, v)
	if err != nil {
		return "", nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d", cfg.Token, cfg.Timeout, cfg.Connections)
	for _, file := range []string{m.CA, m.Certificate, m.Key} {
		var content []byte
		if file != "" {
			if content, err = os.ReadFile(c.path(file)); err != nil {
				return "", nil, err
			}
		}
		fmt.Fprintf(h, " %q", content)
	}
	return fmt.Sprintf("upstream %s %s %s %x", cfg.URL, cfg.Name, cfg.Version, h.Sum(nil)), func() (gateway.Engine, error) {
		return engine.NewUpstream(cfg)
	}, nil
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
		Connections: c.Limits.Concurrent, // who may call need not wait for one
	}, err
}
