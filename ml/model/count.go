package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// ErrBudget is the error of a model whose query budget is spent.
var ErrBudget = errors.New("query budget spent")

// Tally counts what a model was asked, one a sample.
type Tally struct {
	Forwards  int64 // answers, those that came with a gradient included
	Gradients int64
	// Budget is the largest number of answers allowed; 0 means any.
	Budget int64
}

func (t *Tally) spend(n int, gradients bool) error {
	if t.Budget > 0 && t.Forwards+int64(n) > t.Budget {
		return fmt.Errorf("ask for %d samples more after %d of %d: %w", n, t.Forwards, t.Budget, ErrBudget)
	}
	t.Forwards += int64(n)
	if gradients {
		t.Gradients += int64(n)
	}
	return nil
}

// Count wraps a model so that what is asked of it is entered in t. The result
// gives gradients if m does.
func Count(m Scores, t *Tally) Scores {
	if g, ok := m.(Gradients); ok {
		return &countedGradients{counted{m, t}, g}
	}
	return &counted{m, t}
}

type counted struct {
	m Scores
	t *Tally
}

func (c *counted) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	if err := c.t.spend(x.Rows(), false); err != nil {
		return nil, err
	}
	return c.m.Scores(ctx, x)
}

// Unwrap is the model that is counted.
func (c *counted) Unwrap() Scores { return c.m }

// Input passes the wrapped model's memory through, or makes some.
func (c *counted) Input(n int, sample []int) (*tensor.Tensor, error) { return Input(c.m, n, sample) }

type countedGradients struct {
	counted
	g Gradients
}

func (c *countedGradients) Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	if err := c.t.spend(x.Rows(), true); err != nil {
		return nil, nil, err
	}
	return c.g.Gradient(ctx, x, obj)
}

// WithoutGradients hides a model's gradients: what an attacker with scores
// only would see.
func WithoutGradients(m Scores) Scores { return scoresOnly{m} }

type scoresOnly struct{ m Scores }

// Unwrap is for [As], which is not asked for gradients.
func (s scoresOnly) Unwrap() Scores { return s.m }

func (s scoresOnly) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	return s.m.Scores(ctx, x)
}
