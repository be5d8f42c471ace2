package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// PersonalData finds personal data and secrets in texts. It must be safe for
// concurrent use.
type PersonalData interface {
	// Mask is a text with what is found in it replaced, and the types of that, such
	// as CREDIT_CARD: none where nothing is found.
	Mask(ctx context.Context, text []byte) (masked []byte, types []string, err error)
}

// What is done about personal data. Its types are recorded in any case, and what it
// is in none.
const (
	Note   = "note"
	Mask   = "mask"   // before detectors, shadows and the model see it
	Refuse = "refuse" // an input; an answer is an error of the model
)

// Personal is what is done about personal data in a model's texts.
type Personal struct {
	Inputs, Outputs string // Note, Mask, Refuse, or "" to look at none
	Data            PersonalData
}

var personal = &Guard{
	Name: "personal",
	Doc:  "notes, masks or refuses personal data and secrets in texts, on the way in and on the way out",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			p := c.Served.Model.Settings.Personal
			if p == nil {
				return next(ctx, c)
			}
			types, err := p.look(ctx, c.Request.Inputs, p.Inputs)
			c.found("personal.inputs", types)
			if err != nil {
				return nil, err
			}
			if p.Inputs == Refuse && len(types) > 0 {
				return nil, oip.Errorf(oip.Unprocessable, "the input holds personal data (%s), which this model may not be sent", strings.Join(types, ", "))
			}
			a, err := next(ctx, c)
			if err != nil {
				return nil, err
			}
			types, err = p.look(ctx, a.Outputs, p.Outputs)
			c.found("personal.outputs", types)
			if err != nil {
				return nil, err
			}
			if p.Outputs == Refuse && len(types) > 0 {
				return nil, &oip.Error{Code: oip.Unavailable, Message: "the answer holds personal data, which this model may not give out"}
			}
			return a, nil
		}
	},
}

// look finds personal data in the texts of tensors, and replaces it if that is what
// is to be done. Binary data that is no text is left alone.
func (p *Personal) look(ctx context.Context, tensors []oip.Tensor, do string) (types []string, err error) {
	if do == "" {
		return nil, nil
	}
	for i := range tensors {
		for n, s := range tensors[i].Strings {
			masked, found, err := p.Data.Mask(ctx, s)
			if err != nil {
				return nil, fmt.Errorf("look for personal data: %w", err)
			}
			if do == Mask && len(found) > 0 {
				tensors[i].Strings[n] = masked
			}
			types = append(types, found...)
		}
	}
	slices.Sort(types)
	return slices.Compact(types), nil
}

// found notes types of personal data.
func (c *Call) found(where string, types []string) {
	if len(types) > 0 {
		c.Note(where, strings.Join(types, " "))
	}
}
