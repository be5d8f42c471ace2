package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Difference is one thing that a proposed document would decide otherwise.
type Difference struct {
	Principal string        `json:"principal"`
	Action    policy.Action `json:"action"`
	Model     string        `json:"model"`
	Now       bool          `json:"now"` // allowed today
	Then      bool          `json:"then"`
	// Clearance of the answers, where it changes: "all", "top=3".
	ClearanceNow  string `json:"clearance_now,omitempty"`
	ClearanceThen string `json:"clearance_then,omitempty"`
	// Calls is how many of the past calls it concerns, 0 for what could be done
	// and was not.
	Calls int       `json:"calls,omitempty"`
	Last  time.Time `json:"last,omitzero"` // of these calls
}

// Preview is what a proposed document would change.
type Preview struct {
	// Past are calls of the last month that would have been decided otherwise;
	// Could are things that accounts could begin or cease to do, with a second
	// factor, now.
	Past, Could []Difference
	Calls       int // past calls that were looked at
	// Unknown is how many past calls were left out, because the account or the
	// model is no longer there.
	Unknown int
	// Partial says that there are more things that could be done than were looked
	// at.
	Partial bool
}

const (
	lookBack = 30 * 24 * time.Hour
	// most bounds the things that could be done that a preview decides: a few
	// seconds' worth.
	most = 500_000
)

// Preview tries a document without setting it: against the calls of the last
// month, and against everything that accounts could do with models today. An
// empty text tries its deletion. Past calls are decided with the roles and groups
// that accounts have now, at the time and from the address of the call.
func (k *Keeper) Preview(ctx context.Context, id, policies string) (*Preview, error) {
	d := policy.Document{ID: id, Text: policies}
	s, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	documents := slices.DeleteFunc(slices.Clone(s.Documents), func(e policy.Document) bool { return e.ID == id })
	if policies != "" {
		if err := d.Check(); err != nil {
			return nil, input(err)
		}
		documents = append(documents, d)
	}
	then, err := k.cfg.Engine.With(policy.State{Grants: s.Grants, Documents: documents})
	if err != nil {
		return nil, input(err)
	}
	c, err := k.census(ctx)
	if err != nil {
		return nil, err
	}
	out := &Preview{}
	if err := k.replay(ctx, c, then, out); err != nil {
		return nil, err
	}
	return out, k.compare(ctx, c, then, out)
}

// census is who and what there is.
type census struct {
	people []Account
	models []*policy.Model
	byID   map[string]*Account
	byName map[string]*policy.Model
	// members are the accounts of each group.
	members map[string][]*Account
}

func (k *Keeper) census(ctx context.Context) (*census, error) {
	if k.cfg.People == nil || k.cfg.Models == nil || k.cfg.Past == nil {
		return nil, errors.New("look at what is permitted: the configuration names no accounts, models and log")
	}
	c := &census{byID: map[string]*Account{}, byName: map[string]*policy.Model{}, members: map[string][]*Account{}}
	var err error
	if c.people, err = k.cfg.People(ctx); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	if c.models, err = k.cfg.Models(ctx); err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	for i := range c.people {
		c.byID[c.people[i].ID] = &c.people[i]
		for _, g := range c.people[i].Groups {
			c.members[g] = append(c.members[g], &c.people[i])
		}
	}
	for _, m := range c.models {
		c.byName[m.Name] = m
	}
	return c, nil
}

// past is a call of a model that the log tells of, as a request.
func (c *census) past(e *redoubt.Event) (q policy.Request, ofModel, known bool) {
	name, ok := strings.CutPrefix(e.Resource, "model:")
	action := permitting(e.Action)
	if !ok || action == "" {
		return q, false, false
	}
	who, model := c.byID[e.Actor], c.byName[name]
	if who == nil || model == nil {
		return q, true, false
	}
	q = ask(who.Principal, action, model, e.Time)
	q.Principal.Method = e.Method
	q.Context.From, q.Context.Path = address(e.From), e.Details["path"]
	return q, true, true
}

// ask is whether a principal may do something with a second factor just shown.
func ask(p redoubt.Principal, a policy.Action, m *policy.Model, at time.Time) policy.Request {
	p.Verified = at
	return policy.Request{
		Principal: p, Action: a,
		Resource: policy.Resource{Kind: policy.KindModel, Name: m.Name, Model: m},
		Context:  policy.Context{Time: at},
	}
}

func (k *Keeper) replay(ctx context.Context, c *census, then *policy.Engine, out *Preview) error {
	found := map[Difference]*Difference{}
	var order []*Difference
	for e, err := range k.cfg.Past(ctx, k.cfg.Now().Add(-lookBack)) {
		if err != nil {
			return fmt.Errorf("preview policies: %w", err)
		}
		q, ofModel, known := c.past(&e)
		if !ofModel {
			continue
		}
		if !known {
			out.Unknown++
			continue
		}
		out.Calls++
		d, differs := differ(q, k.cfg.Engine, then)
		if !differs {
			continue
		}
		if found[d] == nil {
			entry := d
			found[d] = &entry
			order = append(order, &entry)
		}
		found[d].Calls++
		found[d].Last = e.Time
	}
	for _, d := range order {
		out.Past = append(out.Past, *d)
	}
	return nil
}

func (k *Keeper) compare(ctx context.Context, c *census, then *policy.Engine, out *Preview) error {
	now, n := k.cfg.Now(), 0
	for _, who := range c.people {
		if who.Disabled {
			continue
		}
		for _, m := range c.models {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			for _, a := range policy.Actions[policy.KindModel] {
				if n++; n > most {
					out.Partial = true
					return nil
				}
				if d, differs := differ(ask(who.Principal, a, m, now), k.cfg.Engine, then); differs {
					out.Could = append(out.Could, d)
				}
			}
		}
	}
	return nil
}

// differ decides a request by both engines.
func differ(q policy.Request, now, then *policy.Engine) (Difference, bool) {
	a, b := now.Decide(q), then.Decide(q)
	d := Difference{Principal: q.Principal.ID, Action: q.Action, Model: q.Resource.Name, Now: a.Allowed, Then: b.Allowed}
	if a.Allowed && b.Allowed && a.Clearance != b.Clearance {
		d.ClearanceNow, d.ClearanceThen = a.Clearance.String(), b.Clearance.String()
	}
	return d, a.Allowed != b.Allowed || d.ClearanceNow != ""
}
