package gateway

import (
	"context"
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

func (r *Rule) normalise(in *oip.Tensor) {
	if r.Clip != nil {
		numbers := numbersOf(in)
		for i := range numbers.n {
			numbers.set(i, min(max(numbers.at(i), r.Clip[0]), r.Clip[1]))
		}
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
