package gateway

import (
	"context"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

const maxBody = 10 << 20 // bytes, unless a model says otherwise

var decode = &Guard{
	Name: "decode",
	Doc:  "reads the body, within its size, into typed tensors, when there is memory for it",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			most := c.Served.Model.Settings.MaxBody
			if most == 0 {
				most = maxBody
			}
			q, err := c.read(c.Served, oip.Limits{Body: most, Arrived: func(bytes int64) error { return c.takeTurn(ctx, bytes) }})
			if err != nil {
				return nil, err
			}
			q.Model, q.Version = c.Model, c.Served.Version
			c.Request = q
			return next(ctx, c)
		}
	},
}

// small is the length of a body that waits for nobody: so many of them as may be under
// way at once take little memory.
const small = 64 << 10

// takeTurn waits until there is memory for what is made of a body that has arrived. A
// client who sends slowly has no turn yet, and keeps nobody waiting.
func (c *Call) takeTurn(ctx context.Context, bytes int64) error {
	if bytes < small {
		return nil
	}
	bytes = min(bytes, c.offer.terms.Bodies) // one that is larger than all has them all
	if err := c.offer.bodies.Acquire(ctx, bytes); err != nil {
		return oip.Classify(err)
	}
	c.body = bytes
	return nil
}

// endTurn is called when the call has been answered.
func (c *Call) endTurn() {
	if c.body > 0 {
		c.offer.bodies.Release(c.body)
	}
}
