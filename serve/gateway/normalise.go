package gateway

import (
	"context"
	"math"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

var normalise = &Guard{
	Name: "normalise",
	Doc:  "clips numbers and strips characters where the model's settings say so",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			for i := range c.Request.Inputs {
				in := &c.Request.Inputs[i]
				if rule, ok := c.Served.Model.Settings.Inputs[in.Name]; ok {
					rule.normalise(in)
				}
			}
			return next(ctx, c)
		}
	},
}

// clip leaves numbers within the interval as they are: a whole one may be more than
// float64 holds. Others become the nearest of the type that lies within.
func (r *Rule) clip(in *oip.Tensor) {
	numbers := numbersOf(in)
	low, high := r.Clip[0], r.Clip[1]
	if !floating(in.Datatype) {
		low, high = math.Ceil(low), math.Floor(high)
	}
	for i := range numbers.n {
		if v := numbers.at(i); v < low {
			numbers.set(i, low)
		} else if v > high {
			numbers.set(i, high)
		}
	}
}

func (r *Rule) normalise(in *oip.Tensor) {
	if r.Clip != nil {
		r.clip(in)
	}
	if r.Strip == "" && !r.Trim {
		return
	}
	for i, s := range in.Strings {
		text := string(s)
		if r.Strip != "" {
			text = strings.Map(func(c rune) rune {
				if strings.ContainsRune(r.Strip, c) {
					return -1
				}
				return c
			}, text)
		}
		if r.Trim {
			text = strings.TrimSpace(text)
		}
		in.Strings[i] = []byte(text)
	}
}
