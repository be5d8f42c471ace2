package gateway

import (
	"context"
	"time"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

var permit = &Guard{
	Name: "permit",
	Doc:  "asks the policies whether the principal may do this to the model, before a byte of the body is read",
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			if c.general {
				return next(ctx, c)
			}
			c.Served = c.offer.route(c)
			// Whoever may call every model is told that there is none of the name; others
			// learn no more than that they may not.
			var model *policy.Model
			if known := c.offer.find(c.Model, ""); known != nil {
				model = &known.Model.Model
			} else {
				model = &policy.Model{Name: c.Model}
			}
			if c.Decision = g.decide(c, model); !c.Decision.Allowed {
				c.Note("why", c.Decision.Why)
				return nil, refusal(c)
			}
			if c.Served == nil {
				return nil, unknownModel(c)
			}
			if why := c.Served.refusal(); why != "" {
				return nil, oip.Errorf(oip.Denied, "model '%s', version %s, is not routed to: %s", c.Model, or(c.Served.Version, "none"), why)
			}
			served, err := c.Served.now(ctx)
			switch {
			case err == nil:
				c.Served = served
			case !c.asks: // that it is not ready may be what is asked
				return nil, err
			}
			return next(ctx, c)
		}
	},
}

func (g *Gateway) decide(c *Call, m *policy.Model) policy.Decision {
	return g.cfg.Policy.Decide(policy.Request{
		Principal: c.Principal, Action: c.Action,
		Resource: policy.Resource{Kind: policy.KindModel, Name: m.Name, Model: m},
		Context:  policy.Context{Time: time.Now(), From: c.From, Path: string(c.Path)},
	})
}

// refusal is what a caller without permission is told: no more than what he can
// do about it.
func refusal(c *Call) error {
	switch c.Decision.Needs {
	case policy.SecondFactor:
		return oip.Errorf(oip.Denied, "a second factor is required: sign in with one")
	case policy.StepUp:
		return oip.Errorf(oip.Denied, "a fresh second factor is required: confirm it and try again")
	}
	return oip.Errorf(oip.Denied, "%s may not %s this model, or there is none of this name", or(c.Principal.Name, "the caller"), c.Action)
}

// unknownModel is worded as Triton words it, which its clients' samples look for.
func unknownModel(c *Call) error {
	if c.Version != "" {
		return oip.Errorf(oip.NotFound, "Request for unknown model: '%s' version %s is not found", c.Model, c.Version)
	}
	return oip.Errorf(oip.NotFound, "Request for unknown model: '%s' is not found", c.Model)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
