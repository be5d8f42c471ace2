package admin

import (
	"context"
	"fmt"
	"iter"
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
// every model and action, decided now and as if a second factor were shown. An
// error is yielded last.
func (k *Keeper) Abilities(ctx context.Context) iter.Seq2[Ability, error] {
	return func(yield func(Ability, error) bool) {
		c, err := k.census(ctx)
		if err != nil {
			yield(Ability{}, err)
			return
		}
		now := k.cfg.Now()
		for _, who := range c.people {
			for _, m := range c.models {
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

// usage is when each account last did each action on a model.
type usage map[string]map[policy.Action]time.Time

func (k *Keeper) uses(ctx context.Context, model string, since time.Time) (usage, error) {
	out := usage{}
	for e, err := range k.cfg.Past(ctx, since) {
		if err != nil {
			return nil, fmt.Errorf("look for uses of %q: %w", model, err)
		}
		action, ok := strings.CutPrefix(e.Action, "model.")
		if !ok || e.Resource != "model:"+model || e.Outcome == redoubt.Denied || e.Time.Before(since) {
			continue
		}
		if out[e.Actor] == nil {
			out[e.Actor] = map[policy.Action]time.Time{}
		}
		out[e.Actor][policy.Action(action)] = e.Time
	}
	return out, nil
}

// items are the grants that give anything on a model, sorted by subject.
func (c *census) items(grants []policy.Grant, m *policy.Model, used usage, now time.Time) []Item {
	var out []Item
	for _, g := range grants {
		if actions, about := g.Gives(m); about {
			item := Item{Grant: g, Actions: actions}
			c.examine(&item, used, now)
			out = append(out, item)
		}
	}
	slices.SortStableFunc(out, func(a, b Item) int { return strings.Compare(a.Grant.Subject, b.Grant.Subject) })
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

// holders are the accounts that a subject stands for, and whether any of them is
// active.
func (c *census) holders(subject string) (ids []string, active bool) {
	group, isGroup := strings.CutPrefix(subject, "group:")
	for _, a := range c.people {
		if a.ID == subject || isGroup && slices.Contains(a.Groups, group) {
			ids = append(ids, a.ID)
			active = active || !a.Disabled
		}
	}
	return ids, active
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
