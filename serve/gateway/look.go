package gateway

import (
	"context"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// What is told of models beside their answers. Whoever may call a model may know
// what it takes and whether it is ready; its configuration and statistics are
// for those who may read it.

// about answers a question about the model of a call, or about none, after the
// guards that stand before everything.
func about[T any](g *Gateway, ctx context.Context, c *Call, ask func(ctx context.Context) (T, error)) (T, error) {
	c.asks = true
	var answer T
	_, err := g.enter(func(ctx context.Context, _ *Call) (*oip.Response, error) {
		var err error
		answer, err = ask(ctx)
		return nil, err
	})(ctx, c)
	return answer, err
}

func (g *Gateway) serverMetadata() oip.ServerMetadata {
	return oip.ServerMetadata{Name: g.offer.Load().terms.Name, Version: g.cfg.Version, Extensions: extensions}
}

// ask asks the call's model whether it is ready.
func (c *Call) ready(ctx context.Context) error {
	if err := c.Served.Engine.Ready(ctx); err != nil {
		return c.Served.unready(err)
	}
	return nil
}

// visible lists what a caller may see of all models: those he may call.
func (g *Gateway) visible(c *Call) []*Served {
	var list []*Served
	for _, name := range c.offer.names {
		s := c.offer.find(name, "")
		if g.decide(c, &s.Model.Model).Allowed {
			list = append(list, s)
		}
	}
	return list
}

// counted engines keep statistics.
type counted interface{ Statistics() *oip.Statistics }

// versions are those of a model.
func (o *Offer) versions(m *Model) []*Served {
	list := make([]*Served, len(m.Versions))
	for i, v := range m.Versions {
		list[i] = o.find(m.Name, v.Name)
	}
	return list
}

// statistics are those of the call's version, of all of its model where it names none,
// or of all that the caller may read.
func (g *Gateway) statistics(c *Call) []oip.Statistics {
	list := []oip.Statistics{}
	var versions []*Served
	switch {
	case c.Served == nil:
		for _, s := range g.visible(c) {
			versions = append(versions, c.offer.versions(s.Model)...)
		}
	case c.Version == "":
		versions = c.offer.versions(c.Served.Model)
	default:
		versions = []*Served{c.Served}
	}
	for _, s := range versions {
		if e, ok := s.Engine.(counted); ok {
			stats := *e.Statistics()
			stats.Name, stats.Version = s.Model.Name, s.Version
			list = append(list, stats)
		}
	}
	return list
}

// config is a model's configuration in the form that Triton's clients read. The
// shapes hold the batch.
func (s *Served) config() (*oip.Config, error) {
	m, err := s.described()
	if err != nil {
		return nil, err
	}
	return oip.ConfigOf(m, 0), nil
}

// indexed is an entry of the repository's index.
type indexed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

func (g *Gateway) index(ctx context.Context, c *Call) []indexed {
	list := []indexed{}
	for _, visible := range g.visible(c) {
		for _, s := range c.offer.versions(visible.Model) {
			e := indexed{Name: s.Model.Name, Version: s.Version, State: "READY", Reason: s.refusal()}
			if e.Reason != "" || s.Engine.Ready(ctx) != nil {
				e.State = "UNAVAILABLE"
			}
			list = append(list, e)
		}
	}
	return list
}

// Over REST.

// look writes the answer to a question about models.
func look[T any](t *transport, action policy.Action, ask func(ctx context.Context, c *Call) (T, error)) error {
	c := t.call(REST, action)
	answer, err := about(t.g, t.ctx, c, func(ctx context.Context) (T, error) { return ask(ctx, c) })
	t.limited(c)
	if err != nil {
		return err
	}
	return t.write(answer)
}

func (t *transport) server() error {
	return look(t, policy.Invoke, func(context.Context, *Call) (oip.ServerMetadata, error) { return t.g.serverMetadata(), nil })
}

func (t *transport) metadata() error {
	return look(t, policy.Invoke, func(_ context.Context, c *Call) (*oip.Metadata, error) { return c.Served.described() })
}

func (t *transport) modelReady() error {
	return look(t, policy.Invoke, func(ctx context.Context, c *Call) (map[string]any, error) {
		return map[string]any{"name": c.Model, "ready": true}, c.ready(ctx)
	})
}

func (t *transport) list() error {
	return look(t, policy.Invoke, func(_ context.Context, c *Call) (map[string]any, error) {
		names := []string{}
		for _, s := range t.g.visible(c) {
			names = append(names, s.Model.Name)
		}
		return map[string]any{"models": names}, nil
	})
}

func (t *transport) index() error {
	return look(t, policy.Read, func(ctx context.Context, c *Call) ([]indexed, error) { return t.g.index(ctx, c), nil })
}

func (t *transport) config() error {
	return look(t, policy.Read, func(_ context.Context, c *Call) (*oip.Config, error) { return c.Served.config() })
}

func (t *transport) statistics() error {
	return look(t, policy.Read, func(_ context.Context, c *Call) (map[string]any, error) {
		return map[string]any{"model_stats": t.g.statistics(c)}, nil
	})
}
