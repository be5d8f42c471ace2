package gateway

import (
	"context"
	"fmt"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// Detector looks at a request that is well formed and allowed, and says whether
// it is an attack all the same. It must not change the request, and must be safe
// for concurrent use.
type Detector struct {
	Name string
	// Look returns a sentence about what is wrong, "" for nothing.
	Look func(ctx context.Context, principal string, q *oip.Request) (suspicion string, err error)
	// Watch lets suspicious requests through, and a detector that fails too: both
	// are recorded only. Without it either is refused.
	Watch bool
}

var detect = &Guard{
	Name: "detect",
	Doc:  "asks the model's detectors, and refuses what they suspect, or records it",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			for _, d := range c.Served.Model.Settings.Detectors {
				suspicion, err := d.Look(ctx, c.Principal.ID, c.Request)
				if err == nil && suspicion == "" {
					continue
				}
				g.cfg.Metrics.suspected.WithLabelValues(c.Model, d.Name).Inc()
				switch {
				case err != nil && d.Watch:
					g.cfg.Logger.Error("a detector failed", "detector", d.Name, "request", c.ID, "error", err.Error())
					c.Note("detector."+d.Name, "failed")
				case err != nil:
					return nil, fmt.Errorf("detector %s: %w", d.Name, err)
				default:
					c.Note("detector."+d.Name, suspicion)
					if !d.Watch {
						return nil, oip.Errorf(oip.BadInput, "the input is refused: it does not look like ordinary use of this model")
					}
				}
			}
			return next(ctx, c)
		}
	},
}
