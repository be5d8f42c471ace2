package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

var authenticate = &Guard{
	Name: "authenticate",
	Doc:  "establishes who calls, after a bound on how often an address may try",
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			if a, err := g.attempt(ctx, c.offer, c.Credentials); err != nil {
				c.Limits = a
				return nil, err
			}
			p, err := g.identify(ctx, c.Credentials)
			if err != nil && !(anonymous(err) && c.offer.opens(c.Model)) {
				return nil, err
			}
			c.Principal = p
			return next(ctx, c)
		}
	},
}

// anonymous reports whether no credentials were shown, which is nothing wrong in
// itself; wrong ones are.
func anonymous(err error) bool {
	var refused *identity.Error
	return errors.As(err, &refused) && refused.Kind == identity.Missing
}

// opens reports whether anybody may call a model, or any model for "".
func (o *Offer) opens(model string) bool {
	if model == "" {
		return slices.ContainsFunc(o.models, func(m *Model) bool { return m.Open })
	}
	s := o.find(model, "")
	return s != nil && s.Model.Open
}

// identify asks who has these credentials. gRPC asks before it reads a message,
// and the guard asks again for each.
func (g *Gateway) identify(ctx context.Context, c identity.Credentials) (redoubt.Principal, error) {
	p, err := g.cfg.Identity.Authenticate(ctx, c)
	if err == nil && p.ID == "" {
		err = errors.New("authenticated nobody")
	}
	if err == nil {
		return p, nil
	}
	var refused *identity.Error
	if !errors.As(err, &refused) {
		return redoubt.Principal{}, &oip.Error{Code: oip.Unauthenticated, Message: string(identity.Invalid), Err: err}
	}
	code := oip.Unauthenticated
	switch refused.Kind {
	case identity.Unavailable:
		code = oip.Unavailable
	case identity.Locked:
		code = oip.Limited
	case identity.SecondFactor:
		code = oip.Denied
	}
	return redoubt.Principal{}, &oip.Error{Code: code, Message: string(refused.Kind), Err: err}
}
