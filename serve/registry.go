package serve

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/engine"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/registry"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/supply/sign"
)

// open reports whether there is a registry.
func (r *Registry) open() bool { return len(r.Keys) > 0 || r.Roots != "" }

func (r *Registry) check() error {
	if !r.open() && (len(r.Attesters) > 0 || len(r.Require) > 0) {
		return errors.New("it names no keys and no roots: nobody could push a model")
	}
	if len(r.Names) > 0 && r.Roots == "" {
		return errors.New("names are of certificates, and roots names no authorities")
	}
	for _, text := range r.Require {
		if _, err := registry.ParseNeed(text); err != nil {
			return fmt.Errorf("require: %w", err)
		}
	}
	if r.Verify < 0 {
		return errors.New("verify: a time cannot be negative")
	}
	return nil
}

// admission is what versions must show, and an id of it that changes with whatever
// it depends on.
func (c *Config) admission() (_ *registry.Admission, id string, err error) {
	h := sha256.New()
	read := func(file string) ([]byte, error) {
		text, err := os.ReadFile(c.path(file))
		fmt.Fprintf(h, "%q", text)
		return text, err
	}
	keys := func(files []string) (list []crypto.PublicKey, err error) {
		for _, file := range files {
			text, err := read(file)
			if err != nil {
				return nil, fmt.Errorf("registry: %w", err)
			}
			k, err := sign.ParsePublicKey(text)
			if err != nil {
				return nil, fmt.Errorf("registry: %s: %w", file, err)
			}
			list = append(list, k)
		}
		return list, nil
	}
	a := &registry.Admission{Names: c.Registry.Names}
	if a.Keys, err = keys(c.Registry.Keys); err != nil {
		return nil, "", err
	}
	if a.Attesters, err = keys(c.Registry.Attesters); err != nil {
		return nil, "", err
	}
	if c.Registry.Roots != "" {
		text, err := read(c.Registry.Roots)
		if err == nil {
			a.Roots, err = sign.ParseCertificates(text)
		}
		if err != nil {
			return nil, "", fmt.Errorf("registry: roots: %w", err)
		}
	}
	for _, text := range c.Registry.Require {
		need, err := registry.ParseNeed(text)
		if err != nil {
			return nil, "", fmt.Errorf("registry: require: %w", err)
		}
		a.Needs = append(a.Needs, need)
	}
	fmt.Fprintf(h, "%q %q %d %d", a.Names, c.Registry.Require, len(a.Keys), len(a.Attesters))
	return a, fmt.Sprintf("%x", h.Sum(nil)), nil
}

// openRegistry opens the registry, if there is one. Where seal names no key, one is
// made beside the weights, as identity.key is.
func (s *Server) openRegistry(ctx context.Context) error {
	if !s.cfg.Registry.open() {
		return nil
	}
	sealer, err := s.cfg.sealer()
	if err != nil {
		return err
	}
	if len(sealer.Keys) == 0 {
		key := "file:" + filepath.Join(s.cfg.Data, "models.key")
		if _, err := os.Stat(filepath.Join(s.cfg.Data, "models.key")); errors.Is(err, os.ErrNotExist) {
			if err := seal.MakeKey(key, ""); err != nil {
				return err
			}
		}
		k, err := seal.OpenKey(key, "")
		if err != nil {
			return err
		}
		sealer.Keys = []seal.Key{k}
	}
	s.registry, err = registry.Open(ctx, registry.Config{
		DB: s.db, Dir: filepath.Join(s.cfg.Data, "models"), Sealer: sealer, Tenant: s.cfg.Seal.Tenant, Log: s.log,
	})
	return err
}

// pushed is what is known of the versions in the registry.
type pushed struct {
	admission   *registry.Admission
	admissionID string
	// verdicts are by all that they depend on but the weights and the time.
	verdicts map[string]verdict
	names    map[string]string // of the versions that are refused, and why
	due      time.Time         // when they are to be looked at again
	verified time.Time         // when they were last looked at
}

// verdict is whether a version may be routed to.
type verdict struct {
	refused string
	until   time.Time
	lost    bool // it is refused because the key service could not be asked
}

// retryTime is after how long what a lost key service kept from being verified is
// tried again.
const retryTime = 10 * time.Second

// complete adds what was pushed to the models of a plan, and makes the offer.
func (s *Server) complete(ctx context.Context, p *plan, terms gateway.Terms) (err error) {
	p.engines = engines{}
	for key, e := range p.own {
		p.engines[key] = e
	}
	models := slices.Clone(p.configured)
	if s.registry != nil {
		more, err := s.openPushed(ctx, p)
		if err != nil {
			return err
		}
		models = append(models, more...)
	}
	if terms.Bodies == 0 {
		terms.Bodies = s.opt.Memory / 16 // what is made of them takes up to ten times as much
	}
	p.offer, err = gateway.NewOffer(ctx, terms, models)
	return err
}

// openPushed makes the models of the registry. A version that cannot be routed to
// keeps none of the others from being offered.
func (s *Server) openPushed(ctx context.Context, p *plan) ([]*gateway.Model, error) {
	var err error
	if p.pushed.admission, p.pushed.admissionID, err = p.cfg.admission(); err != nil {
		return nil, err
	}
	all, err := s.registry.Models(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p.pushed.verdicts, p.pushed.names = map[string]verdict{}, map[string]string{}
	p.pushed.due, p.pushed.verified = now.Add(p.cfg.Registry.Verify), now
	var models []*gateway.Model
	for i := range all {
		m := p.cfg.settings(all[i].Name)
		if m == nil {
			continue // the configuration has a model of its own by that name
		}
		g, err := p.cfg.model(m)
		if err == nil {
			err = s.personal(p.cfg, m, g)
		}
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
		for _, v := range all[i].Routed() {
			g.Versions = append(g.Versions, s.openAdmitted(ctx, p, m, g, v))
		}
		if len(g.Versions) > 0 {
			route(g, &all[i])
			models = append(models, g)
		}
	}
	return models, nil
}

// route says which versions answer for which names.
func route(g *gateway.Model, m *registry.Model) {
	there := func(version string) bool {
		return slices.ContainsFunc(g.Versions, func(v gateway.Version) bool { return v.Name == version })
	}
	g.NoDefault = m.Live() == nil
	g.Aliases = map[string]string{}
	for alias, to := range m.Aliases {
		if there(to) {
			g.Aliases[alias] = to
		}
	}
	if m.Canary != nil && there(m.Canary.Version) {
		g.Canary = gateway.Canary{Version: m.Canary.Version, Share: m.Canary.Share}
	}
	if there(m.Shadow) {
		g.Shadow = m.Shadow
	}
}

// settings are those of a model that is pushed: what the configuration says of it,
// or nothing. Nil says that the configuration has a model by that name of its own.
func (c *Config) settings(name string) *Model {
	for i := range c.Models {
		if m := &c.Models[i]; m.Name == name {
			if !m.Registry {
				return nil
			}
			return m
		}
	}
	m := &Model{Name: name, Registry: true}
	m.defaults()
	return m
}

// reserved reports whether the configuration has a model by a name of its own.
func (s *Server) reserved(name string) bool { return s.current.Load().settings(name) == nil }

// openAdmitted decides about a version, and opens its engine if there is none yet,
// from the bytes that were decided about.
func (s *Server) openAdmitted(ctx context.Context, p *plan, m *Model, g *gateway.Model, v *registry.Version) gateway.Version {
	out := gateway.Version{Name: v.Version, Digest: v.Digest}
	cfg := m.local(v.Version, s.opt.Processors)
	key := fmt.Sprintf("pushed %s %+v", v.Digest, cfg)
	e := s.engines[key]
	id := key + " " + v.Claims() + " " + p.pushed.admissionID
	known, ok := s.pushed.verdicts[id]
	var weights []byte
	if p.fresh || !ok || known.refused != "" || e == nil || !time.Now().Before(known.until) {
		weights, known = s.judge(ctx, p.pushed.admission, v, e != nil)
	}
	if known.refused == "" && e == nil {
		if e, known.refused = s.load(ctx, cfg, g, weights); e != nil {
			p.opened = append(p.opened, e)
			p.reopened[m.Name] = true
		}
	}
	p.pushed.verdicts[id] = known
	p.pushed.names[m.Name+" "+v.Version] = known.refused
	if out.Refused = known.refused; out.Refused == "" {
		out.Engine, out.Until = e, known.until
		p.engines[key] = e
		if known.until.Before(p.pushed.due) {
			p.pushed.due = known.until
		}
	}
	if retry := p.pushed.verified.Add(retryTime); known.lost && retry.Before(p.pushed.due) {
		p.pushed.due = retry
	}
	return out
}

// judge decides about a version anew. One that is loaded is not refused because the
// key service is lost: what runs is what was verified.
func (s *Server) judge(ctx context.Context, a *registry.Admission, v *registry.Version, loaded bool) ([]byte, verdict) {
	weights, until, err := s.registry.Admit(ctx, a, v)
	lost := registry.Lost(err)
	if lost && loaded {
		until, err = s.registry.Still(a, v)
	}
	if err != nil {
		var refusal *registry.Refusal
		if errors.As(err, &refusal) && refusal.Requirement == "weights" { // there is more than callers are told
			s.opt.Logger.Warn("weights cannot be read", "digest", string(v.Digest), "error", fmt.Sprint(errors.Unwrap(refusal.Cause)))
		}
		return nil, verdict{refused: clip(err.Error()), lost: lost}
	}
	return weights, verdict{until: until}
}

// load opens an engine, and tries the model's settings on it.
func (s *Server) load(ctx context.Context, cfg engine.LocalConfig, g *gateway.Model, weights []byte) (gateway.Engine, string) {
	if s.opt.Runtime == nil {
		return nil, "load: the server was started without ONNX Runtime"
	}
	file, err := onnx.Decode(weights, onnx.DefaultLimits)
	if err != nil {
		return nil, clip("load: " + err.Error())
	}
	e, err := engine.New(ctx, s.opt.Runtime, file, cfg)
	if err != nil {
		return nil, clip("load: " + err.Error())
	}
	alone := &gateway.Model{Settings: g.Settings, Versions: []gateway.Version{{Name: cfg.Version, Engine: e}}}
	alone.Name = cfg.Name
	if _, err := gateway.NewOffer(ctx, gateway.Terms{}, []*gateway.Model{alone}); err != nil {
		e.Close() // it waits, and has nothing to say
		return nil, clip("load: " + err.Error())
	}
	return e, ""
}

// settle remembers what was decided, and tells the log what changed by it.
func (s *Server) settle(p *plan) {
	if s.registry == nil {
		return
	}
	s.registry.Require(p.pushed.admission)
	before := s.pushed.names
	s.pushed = p.pushed
	for _, name := range slices.Sorted(maps.Keys(p.pushed.names)) {
		refused := p.pushed.names[name]
		if was, ok := before[name]; ok && was == refused {
			continue
		}
		model, version, _ := strings.Cut(name, " ")
		e := redoubt.Event{Time: time.Now(), Action: "model.admit", Outcome: redoubt.Allowed, Actor: operator(), Resource: "model:" + model, Details: map[string]string{"version": version}}
		if refused != "" {
			e.Outcome, e.Reason = redoubt.Denied, refused
			s.opt.Logger.Warn("a version is not routed to", "model", model, "version", version, "reason", refused)
		}
		// Not the other way round: a version that must not be routed to is not, even if
		// the log cannot be written.
		ctx, cancel := context.WithTimeout(context.Background(), recordTime)
		if err := s.log.Enqueue(ctx, e); err != nil {
			s.opt.Logger.Error("a decision about a version cannot be recorded", "model", model, "version", version, "error", err.Error())
		}
		cancel()
	}
	select {
	case s.renewed <- struct{}{}:
	default:
	}
}

// recordTime bounds how long a decision waits for room in the log.
const recordTime = 10 * time.Second

// refresh offers what is in the registry now, beside the configured models as they
// are. Fresh has everything verified anew, too.
func (s *Server) refresh(ctx context.Context, fresh bool) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	select {
	case <-s.ending:
		return errors.New("the server has ended")
	default:
	}
	cfg := s.current.Load()
	p := &plan{before: cfg, cfg: cfg, security: s.security.Load(), configured: s.configured, own: s.own, reopened: map[string]bool{}, fresh: fresh}
	terms, err := cfg.terms()
	if err == nil {
		err = s.complete(ctx, p, terms)
	}
	if err != nil {
		p.drop()
		return fmt.Errorf("look at the registry: %w", err)
	}
	s.put(p)
	return nil
}

// followRegistry has the server see what other nodes push, and verify everything
// when that is due, until it ends.
func (s *Server) followRegistry(ctx context.Context) error {
	if s.registry == nil {
		return nil
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // the caller's bounds the start only
	failed := func(err error) error {
		if err != nil && ctx.Err() == nil {
			s.opt.Logger.Error("the registry is not up to date", "error", err.Error())
		}
		return err
	}
	var followed sync.WaitGroup
	followed.Go(func() {
		// From no generation, so that what came between start and here is seen.
		s.db.Follow(ctx, registry.Room, -1, time.Second, func(_ int64, err error) error {
			if err == nil {
				err = s.refresh(ctx, false)
			}
			return failed(err)
		})
	})
	followed.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-s.renewed: // with another time
			case <-time.After(s.due()):
				if failed(s.refresh(ctx, true)) != nil {
					select {
					case <-time.After(retryTime):
					case <-ctx.Done():
					}
				}
			}
		}
	})
	s.later(func() error { stop(); followed.Wait(); return nil })
	return nil
}

// due is in how long the versions are to be looked at again.
func (s *Server) due() time.Duration {
	s.changing.Lock()
	defer s.changing.Unlock()
	return max(time.Until(s.pushed.due), time.Millisecond)
}
