package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Ability is something that a principal can do.
type Ability struct {
	Principal string
	Action    policy.Action
	Model     string
	Reasons   []string // the policies that permit it
	Clearance policy.Clearance
}

// Abilities yields who can do what: every account that is not disabled, with
// every action on a model, or on every model for "", decided now and as if a
// second factor were shown. An error is yielded last.
func (k *Keeper) Abilities(ctx context.Context, model string) iter.Seq2[Ability, error] {
	return func(yield func(Ability, error) bool) {
		c, err := k.census(ctx)
		if err != nil {
			yield(Ability{}, err)
			return
		}
		models := c.models
		if model != "" {
			if c.byName[model] == nil {
				yield(Ability{}, fmt.Errorf("look who can do what to %q: %w", model, ErrNotFound))
				return
			}
			models = []*policy.Model{c.byName[model]}
		}
		now := k.cfg.Now()
		for _, who := range c.people {
			for _, m := range models {
				if ctx.Err() != nil {
					yield(Ability{}, context.Cause(ctx))
					return
				}
				for _, a := range policy.Actions[policy.KindModel] {
					d := k.cfg.Engine.Decide(ask(who.Principal, a, m, now))
					if d.Allowed && !who.Disabled && !yield(Ability{who.ID, a, m.Name, d.Reasons, d.Clearance}, nil) {
						return
					}
				}
			}
		}
	}
}

// deploying are the events that the registry writes of what [policy.Deploy]
// permits.
var deploying = []string{"push", "promote", "rollback", "alias", "canary", "shadow"}

// permitting is the action that permits what an event tells of; "" for an event
// that is no use of a permission on a model.
func permitting(event string) policy.Action {
	name, ok := strings.CutPrefix(event, "model.")
	switch action := policy.Action(name); {
	case ok && slices.Contains(policy.Actions[policy.KindModel], action):
		return action
	case ok && slices.Contains(deploying, name):
		return policy.Deploy
	}
	return ""
}

// usage is when each account last did each action on a model.
type usage map[string]map[policy.Action]time.Time

func (k *Keeper) uses(ctx context.Context, model string, since time.Time) (usage, error) {
	out := usage{}
	for e, err := range k.cfg.Past(ctx, since) {
		if err != nil {
			return nil, fmt.Errorf("look for uses of %q: %w", model, err)
		}
		action := permitting(e.Action)
		if action == "" || e.Resource != "model:"+model || e.Outcome == redoubt.Denied || e.Time.Before(since) {
			continue
		}
		if out[e.Actor] == nil {
			out[e.Actor] = map[policy.Action]time.Time{}
		}
		out[e.Actor][action] = e.Time
	}
	return out, nil
}

// items are the grants that give anything on a model, and the roles that accounts
// have of their own, sorted by subject.
func (c *census) items(grants []policy.Grant, m *policy.Model, used usage, now time.Time) []Item {
	var out []Item
	add := func(held string, g policy.Grant) {
		if actions, about := g.Gives(m); about {
			item := Item{Grant: g, Held: held, Actions: actions}
			c.examine(&item, used, now)
			out = append(out, item)
		}
	}
	for _, g := range grants {
		add("", g)
	}
	for i := range c.people {
		for _, role := range c.people[i].Roles {
			add(c.people[i].held(), c.people[i].own(role))
		}
	}
	slices.SortStableFunc(out, func(a, b Item) int { return strings.Compare(a.Grant.Subject, b.Grant.Subject) })
	return out
}

// own is a role of the account itself as a grant, which holds everywhere.
func (a *Account) own(role string) policy.Grant {
	sum := sha256.Sum256([]byte(a.ID))
	return policy.Grant{ID: fmt.Sprintf("%s-%x", role, sum[:8]), Subject: a.ID, Role: role, On: "*"}
}

// held is who gave the account its own roles.
func (a *Account) held() string {
	if strings.HasPrefix(a.ID, "oidc:") {
		return ByIssuer
	}
	return ByAccount
}

// others are the uses that no item accounts for.
func (c *census) others(items []Item, used usage) []Use {
	given := map[string]map[policy.Action]bool{}
	for _, item := range items {
		holders, _ := c.holders(item.Grant.Subject)
		for _, id := range holders {
			if given[id] == nil {
				given[id] = map[policy.Action]bool{}
			}
			for a := range item.Used {
				given[id][a] = true
			}
		}
	}
	var out []Use
	for _, id := range slices.Sorted(maps.Keys(used)) {
		rest := maps.Clone(used[id])
		maps.DeleteFunc(rest, func(a policy.Action, _ time.Time) bool { return given[id][a] })
		if len(rest) > 0 {
			out = append(out, Use{id, rest})
		}
	}
	return out
}

// examine notes what was done by virtue of a grant, and what speaks against it.
func (c *census) examine(item *Item, used usage, now time.Time) {
	holders, active := c.holders(item.Grant.Subject)
	for _, id := range holders {
		for a, at := range used[id] {
			if len(item.Actions) > 0 && !slices.Contains(item.Actions, a) || !at.After(item.Used[a]) {
				continue
			}
			if item.Used == nil {
				item.Used = map[policy.Action]time.Time{}
			}
			item.Used[a] = at
		}
	}
	doubt := func(when bool, what string) {
		if when {
			item.Doubts = append(item.Doubts, what)
		}
	}
	g := item.Grant
	doubt(len(holders) == 0, "nobody")
	doubt(len(holders) > 0 && !active, "disabled")
	doubt(!g.Expires.IsZero() && !now.Before(g.Expires), "expired")
	doubt(len(item.Used) == 0, "unused")
	item.Narrower = narrower(item)
	doubt(len(item.Used) > 0 && len(item.Used) < len(item.Actions), "wider than use")
}

// holders are those whom a subject stands for, and whether any of them is active.
// Certificates and the programs of an issuer have no account, and are what they
// are called.
func (c *census) holders(subject string) (ids []string, active bool) {
	if group, isGroup := strings.CutPrefix(subject, "group:"); isGroup {
		for _, a := range c.members[group] {
			ids = append(ids, a.ID)
			active = active || !a.Disabled
		}
		return ids, active
	}
	if a := c.byID[subject]; a != nil {
		return []string{subject}, !a.Disabled
	}
	if strings.HasPrefix(subject, "certificate:") || strings.HasPrefix(subject, "oidc:") {
		return []string{subject}, true
	}
	return nil, false
}

// narrower is the smallest role of models that gives all that was used, if it is
// smaller than the grant's. It is proposed only where the grant is about this
// model alone: elsewhere use of other models would have to be looked at.
func narrower(item *Item) string {
	if len(item.Used) == 0 || item.Grant.Role == "" || !strings.HasPrefix(item.Grant.On, "model:") {
		return ""
	}
	for _, role := range policy.Roles {
		actions := policy.RoleActions(role)
		if len(actions) == 0 || len(actions) >= len(item.Actions) {
			continue
		}
		enough := true
		for a := range item.Used {
			enough = enough && slices.Contains(actions, a)
		}
		if enough {
			return role
		}
	}
	return ""
}
