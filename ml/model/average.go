package model

import (
	"context"
	"fmt"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Average answers for m with the mean of n gradients in place of each one:
// expectation over transformation (Athalye et al. 2018, arXiv 1707.07397), for
// models that answer at random. Scores, and the logits that come with a
// gradient, are those of a single draw, so that an attack sees what the model
// would say. n below 2 changes nothing.
func Average(m Gradients, n int) Gradients {
	if n < 2 {
		return m
	}
	return &average{m, n}
}

type average struct {
	Gradients
	n int
}

// Input passes the wrapped model's memory through, or makes some.
func (a *average) Input(n int, sample []int) (*tensor.Tensor, error) {
	return Input(a.Gradients, n, sample)
}

func (a *average) Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	mean := tensor.New(x.Shape...)
	var logits *tensor.Tensor
	for i := range a.n {
		z, g, err := a.Gradients.Gradient(ctx, x, obj)
		if err != nil {
			return nil, nil, fmt.Errorf("gradient %d of %d: %w", i+1, a.n, err)
		}
		logits = z
		for j, v := range g.Data {
			mean.Data[j] += v / float32(a.n)
		}
	}
	return logits, mean, nil
}
