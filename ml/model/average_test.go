package model_test

import (
	"context"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// counter answers the n-th question with n, in memory that it uses again.
type counter struct{ n float32 }

func (c *counter) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	c.n++
	return tensor.Of([]float32{c.n}, 1, 1), nil
}

func (c *counter) Gradient(ctx context.Context, x *tensor.Tensor, _ *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, err := c.Scores(ctx, x)
	return z, z, err
}

func TestAverage(t *testing.T) {
	c := &counter{}
	z, g, err := model.Average(c, 4).Gradient(t.Context(), tensor.New(1, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if g.Data[0] != 2.5 || z.Data[0] != 4 {
		t.Errorf("gradient %v and logits %v after four draws of 1, 2, 3, 4: want 2.5 and the last, 4", g.Data[0], z.Data[0])
	}
}
