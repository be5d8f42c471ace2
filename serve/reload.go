package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Reload has the server go on with another configuration, which read returns: as
// a whole, or not at all. Calls under way end as they began; engines of versions
// that did not change stay open, and those that are offered no more are closed
// when the last call that uses them has ended. What cannot change while the
// server runs must be as it was: data, listeners, store, key, identity,
// tracing, Redis.
//
// It is recorded before it takes place, and a failure with its reason: the
// server then goes on as it was.
func (s *Server) Reload(ctx context.Context, read func() (*Config, error)) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	select {
	case <-s.ending:
		return errors.New("the server has ended")
	default:
	}
	before := s.current.Load()
	e := redoubt.Event{
		Time: time.Now(), Action: "config.reload", Outcome: redoubt.Allowed, Actor: operator(),
		Resource: "config", Before: before.digest(), Details: map[string]string{},
	}
	next, err := read()
	var p *plan
	if err == nil {
		e.After = next.digest()
		p, err = s.prepare(ctx, next)
	}
	if err == nil {
		p.tell(e.Details)
		err = s.apply(ctx, p, e)
	}
	if err == nil {
		s.reloaded.Store(&reloading{ok: true, held: e.Time})
		s.opt.Logger.Info("configuration reloaded", "added", e.Details["added"], "changed", e.Details["changed"], "removed", e.Details["removed"])
		return nil
	}
	s.reloaded.Store(&reloading{ok: false, held: s.reloaded.Load().held})
	e.Outcome, e.Reason = redoubt.Failed, clip(err.Error())
	s.opt.Logger.Error("the configuration was not reloaded: the one before holds", "error", err.Error())
	if failed := s.log.Record(ctx, e); failed != nil {
		s.opt.Logger.Error("that it was not reloaded cannot be recorded", "error", failed.Error())
	}
	return err
}

// plan is a configuration with everything opened that it needs.
type plan struct {
	before, cfg *Config
	configured  []*gateway.Model // those of the configuration
	engines     engines          // all, and of those the ones of configured models
	own         engines
	opened      []gateway.Engine // those that the server did not have
	reopened    map[string]bool  // the models that they are of
	offer       *gateway.Offer
	security    *security
	pushed      pushed
	fresh       bool // whether what was pushed is verified anew
}

// prepare does whatever can fail, and changes nothing.
func (s *Server) prepare(ctx context.Context, cfg *Config) (p *plan, err error) {
	p = &plan{before: s.current.Load(), cfg: cfg, fresh: true}
	if err := s.alterable(cfg); err != nil {
		return nil, err
	}
	terms, err := cfg.terms()
	if err != nil {
		return nil, err
	}
	if p.security, err = s.secure(cfg); err != nil {
		return nil, err
	}
	err = s.openModels(ctx, p)
	if err == nil {
		err = s.complete(ctx, p, terms)
	}
	if err != nil {
		p.drop()
		return nil, err
	}
	return p, nil
}

// drop closes what was opened for nothing.
func (p *plan) drop() {
	for _, e := range p.opened {
		e.Close() // it waits, and has nothing to say
	}
}

// apply has the plan hold, once it is on record.
func (s *Server) apply(ctx context.Context, p *plan, e redoubt.Event) error {
	if err := s.rules.Configure(p.cfg.policy(), func() error { return s.log.Record(ctx, e) }); err != nil {
		p.drop()
		return err
	}
	s.security.Store(p.security)
	s.current.Store(p.cfg)
	s.put(p)
	return nil
}

// put offers what the plan has.
func (s *Server) put(p *plan) {
	idle := s.gateway.Offer(p.offer)
	gone := s.engines.without(p.engines)
	s.engines, s.own, s.configured = p.engines, p.own, p.configured
	s.retire(idle, gone)
	s.settle(p)
}

// retire closes engines that are offered no more when no call can use them any
// more: when the offer that ended is idle, and every one before it.
func (s *Server) retire(idle <-chan struct{}, gone []gateway.Engine) {
	before, done := s.settled, make(chan struct{})
	s.settled = done
	s.retiring.Go(func() {
		defer close(done)
		for _, c := range []<-chan struct{}{before, idle} {
			select {
			case <-c:
			case <-s.ending:
			}
		}
		for _, e := range gone {
			e.Close() // it waits, and has nothing to say
		}
	})
}

// alterable names what a configuration would change that cannot change while the
// server runs.
func (s *Server) alterable(next *Config) error {
	var fixed []string
	for _, f := range []struct {
		key      string
		now, new any
	}{
		{"data", s.cfg.Data, next.Data},
		{"listen", s.cfg.Listen, next.Listen},
		{"store", s.cfg.Store, next.Store},
		{"key", s.cfg.Key, next.Key},
		{"seal", s.cfg.Seal, next.Seal},
		{"registry (whether there is one)", s.cfg.Registry.open(), next.Registry.open()},
		{"identity", s.cfg.Identity, next.Identity},
		{"tls.acme", s.cfg.TLS.ACME, next.TLS.ACME},
		{"tracing", s.cfg.Tracing, next.Tracing},
		{"limits.redis", s.cfg.Limits.Redis, next.Limits.Redis},
		{"limits.nodes", s.cfg.Limits.Nodes, next.Limits.Nodes},
		{"limits.header_time", s.cfg.Limits.HeaderTime, next.Limits.HeaderTime},
		{"limits.body_time", s.cfg.Limits.BodyTime, next.Limits.BodyTime},
		{"limits.answer_time", s.cfg.Limits.AnswerTime, next.Limits.AnswerTime},
	} {
		if !reflect.DeepEqual(f.now, f.new) {
			fixed = append(fixed, f.key)
		}
	}
	if len(fixed) > 0 {
		return fmt.Errorf("%s cannot change while the server runs: restart it, or put back what was there", strings.Join(fixed, ", "))
	}
	return nil
}

// policy is what the configuration says of the default policies.
func (c *Config) policy() policy.Settings {
	return policy.Settings{StepUp: c.Policy.StepUp, MachinesDeploy: c.Policy.MachinesDeploy, Roles: c.Policy.Roles}
}

// terms are what holds for all models.
func (c *Config) terms() (gateway.Terms, error) {
	t := gateway.Terms{
		Wait:       gateway.Wait(c.Audit.Wait),
		Concurrent: c.Limits.Concurrent,
		Each:       c.Limits.ConcurrentEach,
		Bodies:     c.Limits.Bodies,
		BodyTime:   c.Limits.BodyTime,
		AnswerTime: c.Limits.AnswerTime,
		Headers:    limit.Headers{Legacy: c.Headers.XRateLimit},
		Filter:     c.Headers.XSSFilter,
		Name:       c.Name,
	}
	for _, l := range []struct {
		text string
		to   *[]limit.Limit
	}{{c.Limits.Everyone, &t.Everyone}, {c.Limits.Principal, &t.Principal}, {c.Limits.Address, &t.Address}} {
		var err error
		if *l.to, err = parseLimits(l.text); err != nil {
			return t, err
		}
	}
	return t, nil
}

// tell says what the plan does to the models.
func (p *plan) tell(details map[string]string) {
	before := map[string]*Model{}
	for i := range p.before.Models {
		before[p.before.Models[i].Name] = &p.before.Models[i]
	}
	var added, changed, removed []string
	for i := range p.cfg.Models {
		m := &p.cfg.Models[i]
		old := before[m.Name]
		delete(before, m.Name)
		switch {
		case old == nil:
			added = append(added, m.Name)
		case !reflect.DeepEqual(old, m) || p.reopened[m.Name]:
			changed = append(changed, m.Name)
		}
	}
	removed = slices.Sorted(maps.Keys(before))
	for key, names := range map[string][]string{"added": added, "changed": changed, "removed": removed} {
		if len(names) > 0 {
			details[key] = clip(strings.Join(names, ", "))
		}
	}
}

// digest identifies a configuration. It holds no secret, only where secrets are.
func (c *Config) digest() string {
	b, err := json.Marshal(c)
	if err != nil {
		return "" // a number that JSON has no form for, which Check refuses
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// operator is the operating system's user, who started the server and sends it
// signals.
func operator() string { return fmt.Sprintf("local:%d", os.Geteuid()) }

// clip makes one line of a text, and not a long one.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 1000 {
		return string(r[:1000]) + "..."
	}
	return s
}
