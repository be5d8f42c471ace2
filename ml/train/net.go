package train

import (
	"context"
	"fmt"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Net is the network in training as an attack sees it: a [model.Gradients]
// whose answers follow the weights from step to step. It is valid inside
// [Config.Perturb] only.
type Net struct {
	trainer      *trainer
	sessions     map[role]*ort.Session
	x, target    *ort.Array
	logits, grad *ort.Array
	rows         int // capacity of the arrays
}

var _ model.Gradients = (*Net)(nil)

// Scores implements [model.Scores].
func (n *Net) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	logits, _, err := n.run(ctx, forward, x, nil)
	return logits, err
}

// Gradient implements [model.Gradients] for the objectives
// [model.CrossEntropy] and [model.Margin]; others are an error.
func (n *Net) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (logits, grad *tensor.Tensor, err error) {
	r, ok := map[model.Loss]role{model.CrossEntropy: crossToward, model.Margin: marginPast}[obj.Loss]
	if !ok {
		return nil, nil, fmt.Errorf("gradient of a network in training: its objective is %v; use %v or %v", obj.Loss, model.CrossEntropy, model.Margin)
	}
	if err := obj.Check(x.Rows(), n.trainer.plan.classes); err != nil {
		return nil, nil, fmt.Errorf("gradient of a network in training: %w", err)
	}
	target := tensor.New(x.Rows(), n.trainer.plan.classes)
	toward := obj.Labels
	if obj.Targets != nil {
		toward = obj.Targets
	}
	for i, c := range toward {
		target.Row(i)[c] = 1
	}
	logits, grad, err = n.run(ctx, r, x, target)
	if err == nil && obj.Targets != nil { // what leads away from a label leads to a target
		for i, v := range grad.Data {
			grad.Data[i] = -v
		}
	}
	return logits, grad, err
}

// Against returns the logits of a batch and, for each sample, the gradient in
// the sample of its cross-entropy against a row of probabilities of target,
// [n, classes]. Both results are overwritten by the next call.
func (n *Net) Against(ctx context.Context, x, target *tensor.Tensor) (logits, grad *tensor.Tensor, err error) {
	if target.Rows() != x.Rows() || target.RowLen() != n.trainer.plan.classes {
		return nil, nil, fmt.Errorf("gradient of a network in training: target %v for %d samples of %d classes", target.Shape, x.Rows(), n.trainer.plan.classes)
	}
	return n.run(ctx, crossToward, x, target)
}

// run answers with the logits, and with the gradient unless the role is
// forward, which has no target.
func (n *Net) run(ctx context.Context, r role, x, target *tensor.Tensor) (logits, grad *tensor.Tensor, err error) {
	s, err := n.session(r)
	if err != nil {
		return nil, nil, err
	}
	if err := n.enter(x); err != nil {
		return nil, nil, err
	}
	in, out := []*ort.Array{n.x, n.trainer.weights()}, []*ort.Array{n.logits}
	if r != forward {
		copy(n.target.Float32(), target.Data)
		in, out = append(in, n.target), append(out, n.grad)
		grad = tensor.Of(n.grad.Float32(), x.Shape...)
	}
	if err := s.Run(ctx, in, out); err != nil {
		return nil, nil, err
	}
	return tensor.Of(n.logits.Float32(), x.Rows(), n.trainer.plan.classes), grad, nil
}

// session makes a session when it is first needed: plain training has no use
// for one.
func (n *Net) session(r role) (*ort.Session, error) {
	if s, ok := n.sessions[r]; ok {
		return s, nil
	}
	m, err := n.trainer.plan.netGraph(r)
	if err != nil {
		return nil, err
	}
	s, err := n.trainer.rt.NewSession(m, ort.Options{Threads: n.trainer.cfg.Threads})
	if err != nil {
		return nil, err
	}
	n.sessions[r] = s
	return s, nil
}

// enter copies a batch into memory that fits it.
func (n *Net) enter(x *tensor.Tensor) error {
	p := n.trainer.plan
	rows := x.Rows()
	if x.RowLen() != tensor.Len(n.trainer.sampleShape()) {
		return fmt.Errorf("samples of shape %v given, the network takes %v", x.Shape[1:], p.sample)
	}
	sample := append([]int64{int64(rows)}, p.sample...)
	scores := []int64{int64(rows), int64(p.classes)}
	if rows > n.rows {
		n.release()
		for _, a := range []struct {
			to   **ort.Array
			dims []int64
		}{{&n.x, sample}, {&n.grad, sample}, {&n.target, scores}, {&n.logits, scores}} {
			array, err := n.trainer.rt.NewArray(onnx.Float, a.dims...)
			if err != nil {
				return err
			}
			*a.to = array
		}
		n.rows = rows
	}
	for _, a := range []*ort.Array{n.x, n.grad} {
		if err := a.Reshape(sample...); err != nil {
			return err
		}
	}
	for _, a := range []*ort.Array{n.target, n.logits} {
		if err := a.Reshape(scores...); err != nil {
			return err
		}
	}
	copy(n.x.Float32(), x.Data)
	return nil
}

func (n *Net) release() {
	for _, a := range []**ort.Array{&n.x, &n.grad, &n.target, &n.logits} {
		if *a != nil {
			(*a).Close()
			*a = nil
		}
	}
	n.rows = 0
}

func (n *Net) close() {
	n.release()
	for _, s := range n.sessions {
		s.Close()
	}
}
