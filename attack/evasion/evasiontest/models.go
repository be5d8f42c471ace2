package evasiontest

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Curved is a classifier with one hidden layer of tanh, computed in float64
// with gradients written out by hand: nothing of it is shared with the engine
// whose attacks it tests.
type Curved struct {
	w1, w2 [][]float64
	b1, b2 []float64
}

// NewCurved makes the classifier that the suite attacks, always the same, of
// 24 features in [0,1] and 5 classes.
func NewCurved() *Curved {
	rng := rand.New(rand.NewPCG(21, 22))
	const hidden = 32
	c := &Curved{b1: make([]float64, hidden), b2: make([]float64, classes)}
	normal := func(n, m int, scale float64) [][]float64 {
		w := make([][]float64, n)
		for i := range w {
			w[i] = make([]float64, m)
			for j := range w[i] {
				w[i][j] = scale * rng.NormFloat64()
			}
		}
		return w
	}
	c.w1, c.w2 = normal(hidden, features, 0.5), normal(classes, hidden, 1)
	for i := range c.b1 {
		// Centre the layer on the middle of the box.
		for _, w := range c.w1[i] {
			c.b1[i] -= 0.5 * w
		}
	}
	return c
}

// forward is the hidden layer and the logits of one sample.
func (c *Curved) forward(x []float32) (h, z []float64) {
	h, z = make([]float64, len(c.b1)), make([]float64, classes)
	for i, w := range c.w1 {
		s := c.b1[i]
		for j, v := range x {
			s += w[j] * float64(v)
		}
		h[i] = math.Tanh(s)
	}
	for k, w := range c.w2 {
		z[k] = c.b2[k]
		for i, v := range h {
			z[k] += w[i] * v
		}
	}
	return h, z
}

func (c *Curved) scores(x *tensor.Tensor) *tensor.Tensor {
	out := tensor.New(x.Rows(), classes)
	for i := range x.Rows() {
		_, z := c.forward(x.Row(i))
		for k, v := range z {
			out.Row(i)[k] = float32(v)
		}
	}
	return out
}

// Scores implements [model.Scores].
func (c *Curved) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	return c.scores(x), nil
}

// Gradient implements [model.Gradients]. The objective's derivative in the
// logits is taken by differences of its value.
func (c *Curved) Gradient(_ context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, g := c.scores(x), tensor.New(x.Shape...)
	for i := range x.Rows() {
		h, _ := c.forward(x.Row(i))
		row := append([]float32(nil), z.Row(i)...)
		back := make([]float64, len(h))
		for k := range row {
			const d = 1e-2
			row[k] += d
			up := obj.Value(i, row)
			row[k] -= 2 * d
			down := obj.Value(i, row)
			row[k] += d
			slope := (up - down) / (2 * d)
			for n, w := range c.w2[k] {
				back[n] += slope * w
			}
		}
		out := g.Row(i)
		for n, v := range h {
			s := back[n] * (1 - v*v)
			for j, w := range c.w1[n] {
				out[j] += float32(s * w)
			}
		}
	}
	return z, g, nil
}

// Flat answers every sample alike: class 0, and a gradient of zero.
type Flat struct{}

// Scores implements [model.Scores].
func (Flat) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), classes)
	return z, nil
}

// Gradient implements [model.Gradients].
func (f Flat) Gradient(ctx context.Context, x *tensor.Tensor, _ *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, err := f.Scores(ctx, x)
	return z, tensor.New(x.Shape...), err
}
