package gateway

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

var limits = &Guard{
	Name: "limit",
	Doc:  "bounds the calls of one caller that are under way, and takes the call from what the principal, the model and everyone have left, from all or from none",
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			buckets := make([]limit.Bucket, 0, 4)
			add := func(name, key string, shared bool, limits []limit.Limit) {
				if len(limits) > 0 {
					buckets = append(buckets, limit.Bucket{Name: name, Key: key, Limits: limits, Shared: shared})
				}
			}
			who := c.who()
			release, ok := c.offer.callers.Acquire(who)
			if !ok {
				c.Note("limit", "calls under way")
				return nil, oip.Errorf(oip.Limited, "too many of your calls are under way: wait for an answer before the next")
			}
			defer release()
			add("principal", who, false, c.offer.terms.Principal)
			if c.Served != nil && c.Action == policy.Invoke {
				s := &c.Served.Model.Settings
				add("principal-model", who+" "+c.Model, false, s.Limits)
				add("model", c.Model, true, s.Total)
			}
			add("everyone", "", true, c.offer.terms.Everyone)
			if len(buckets) == 0 {
				return next(ctx, c)
			}
			if c.Limits = g.cfg.Limits.Take(ctx, buckets); !c.Limits.Allowed {
				refused := c.Limits.States[c.Limits.Refused]
				c.Note("limit", refused.Bucket+" "+refused.Limit.String())
				return nil, tooOften(c.Limits)
			}
			return next(ctx, c)
		}
	},
}

// who is whose calls are counted together.
func (c *Call) who() string {
	if c.Principal.ID == "" { // of an open model: everybody from one network is one
		return networkOf(c.From).String()
	}
	return c.Principal.ID
}

// tooOften tells a caller how long to wait.
func tooOften(a limit.Answer) error {
	return oip.Errorf(oip.Limited, "too many requests: try again in %d s", int(math.Ceil(a.RetryAfter.Seconds())))
}
