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
