package model

import (
	"context"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Straight answers for m with gradients that pass straight through rounding,
// thresholds and other steps, whose own gradient is zero or absent (Bengio et
// al. 2013; Athalye et al. 2018, backward pass differentiable approximation).
// Logits are m's own.
func Straight(m Gradients) Gradients { return straight{m} }

type straight struct{ Gradients }

// Input passes the wrapped model's memory through, or makes some.
func (s straight) Input(n int, sample []int) (*tensor.Tensor, error) {
	return Input(s.Gradients, n, sample)
}

func (s straight) Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	o := *obj
	o.Straight = true
	return s.Gradients.Gradient(ctx, x, &o)
}
