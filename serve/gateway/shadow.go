package gateway

import (
	"bytes"
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

var shadow = &Guard{
	Name: "shadow",
	Doc:  "has the model's shadow answer the same, after the answer is known, and counts where it differs",
	Body: true,
	wrap: func(g *Gateway, next Infer) Infer {
		room := make(chan struct{}, shadows)
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			a, err := next(ctx, c)
			if err == nil && c.Version == "" && c.Served.Model.Shadow != "" {
				g.follow(ctx, c, a, room)
			}
			return a, err
		}
	},
}

// shadows is how many answers of shadows are computed at once. More are left out:
// a shadow takes nothing from those who are answered.
const shadows = 4

// follow asks the shadow without waiting for it. Its call holds the offer, so that
// the engine stays open. The answer is copied, for what follows coarsens it; of the
// request nobody changes anything any more.
func (g *Gateway) follow(ctx context.Context, c *Call, a *oip.Response, room chan struct{}) {
	s := c.offer.find(c.Model, c.Served.Model.Shadow)
	if s == nil || s == c.Served || s.refusal() != "" {
		return
	}
	count := func(outcome string) { g.cfg.Metrics.shadows.WithLabelValues(c.Model, outcome).Inc() }
	select {
	case room <- struct{}{}:
	default:
		count("skipped")
		return
	}
	q, want, offer, patience := c.Request, copies(a.Outputs), c.offer, c.deadline()
	offer.users.Add(1) // the call holds it too, so it is not idle
	go func() {
		defer func() {
			if recover() != nil {
				count("failed")
			}
			offer.release()
			<-room
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		got, err := s.Engine.Infer(ctx, q)
		switch {
		case err != nil:
			count("failed")
		case agree(want, got.Outputs):
			count("agreed")
		default:
			count("differed")
		}
	}()
}

func copies(tensors []oip.Tensor) []oip.Tensor {
	out := slices.Clone(tensors)
	for i := range out {
		out[i].Shape, out[i].Raw = slices.Clone(out[i].Shape), bytes.Clone(out[i].Raw)
		out[i].Strings = slices.Clone(out[i].Strings)
		for k, s := range out[i].Strings {
			out[i].Strings[k] = bytes.Clone(s)
		}
	}
	return out
}

// agree reports whether two answers say the same: of scores in rows the same one
// wins, numbers alone differ by no more than a hundredth, and all else is equal.
func agree(a, b []oip.Tensor) bool {
	return slices.EqualFunc(a, b, func(x, y oip.Tensor) bool {
		if x.Name != y.Name || x.Datatype != y.Datatype || !slices.Equal(x.Shape, y.Shape) {
			return false
		}
		if !floating(x.Datatype) {
			return bytes.Equal(x.Raw, y.Raw) && slices.EqualFunc(x.Strings, y.Strings, bytes.Equal)
		}
		width := 1
		if len(x.Shape) > 1 {
			width = int(x.Shape[len(x.Shape)-1])
		}
		return alike(numbersOf(&x), numbersOf(&y), width)
	})
}

func alike(x, y numbers, width int) bool {
	if x.n != y.n || width < 1 {
		return x.n == y.n
	}
	for at := 0; at+width <= x.n; at += width {
		if width == 1 {
			a, b := x.at(at), y.at(at)
			if d := math.Abs(a - b); a != b && !(math.IsNaN(a) && math.IsNaN(b)) && !(d <= 0.01*max(math.Abs(a), math.Abs(b))) {
				return false
			}
		} else if winner(x, at, width) != winner(y, at, width) {
			return false
		}
	}
	return true
}

// winner is the place of the largest number in a row, the first of equal ones.
func winner(x numbers, at, width int) int {
	best := 0
	for i := 1; i < width; i++ {
		if x.at(at+i) > x.at(at+best) {
			best = i
		}
	}
	return best
}
