// Package model is what an attack, an assessment or a gateway sees of a model:
// what it answers ([Scores]) and how its answer changes with its input
// ([Gradients]).
//
// [Open] reads an ONNX file and prepares it: it frees the batch dimension,
// reads the logits beneath a final softmax or sigmoid, folds pixel
// normalisation into the graph, and differentiates it where every operator on
// the way has a rule.
//
//	l, err := model.Open(ctx, rt, "model.onnx", model.Config{})
//	defer l.Close()
//	logits, err := l.Scores(ctx, x)
//	logits, grad, err := l.Gradient(ctx, x, &model.Objective{Labels: y})
//
// Other sources of scores wrap or implement the same two interfaces: [Count]
// counts queries and enforces a budget.
package model

import (
	"context"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Scores answers a batch x of shape [N, sample...] with logits [N, K]:
// unnormalised log-probabilities of the K classes.
//
// The result may be memory that the next call overwrites; a caller that keeps
// it copies it. Implementations are for one goroutine at a time.
type Scores interface {
	Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error)
}

// Gradients also answers with the gradient, with respect to x, of each
// sample's own objective. Samples do not influence one another. Both results
// may be overwritten by the next call.
type Gradients interface {
	Scores
	Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (logits, grad *tensor.Tensor, err error)
}

// Buffered is implemented by models that compute in memory of their own. A
// batch that lives there is not copied on its way in.
type Buffered interface {
	// Input is memory for n samples of a shape, the model's own where the
	// shape is the model's. It holds until Input is called again.
	Input(n int, sample []int) (*tensor.Tensor, error)
}

// Input is memory for n samples of a shape to pass to m: m's own if it has
// any, else newly allocated.
func Input(m Scores, n int, sample []int) (*tensor.Tensor, error) {
	if b, ok := m.(Buffered); ok {
		return b.Input(n, sample)
	}
	return tensor.New(append([]int{n}, sample...)...), nil
}

// As finds something else that a model can do, in it or in a model that it
// wraps, the outermost first. A wrapper shows what it wraps with a method
// Unwrap() Scores. Gradients are not to be asked for in this way: a wrapper may
// be there to hide them.
func As[T any](m Scores) (T, bool) {
	for {
		if t, ok := m.(T); ok {
			return t, true
		}
		u, ok := m.(interface{ Unwrap() Scores })
		if !ok {
			var none T
			return none, false
		}
		m = u.Unwrap()
	}
}

// Access is how much of a model an attacker sees, least first.
type Access int

// The three classes of access of the usual taxonomy.
const (
	Labels     Access = iota // the predicted class only
	ScoresOnly               // the scores of all classes
	WhiteBox                 // gradients
)

func (a Access) String() string {
	return [...]string{"labels", "scores", "gradients"}[a]
}
