package certify

import (
	"errors"
	"math"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// The piecewise linear activations are written as sums of ReLUs, so that one
// relaxation, and one proof of it, serves them all.

func readRelu(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	v, err := r.relu(x)
	return []value{v}, err
}

// readLeaky is slope x + (1 - slope) ReLU(x).
func readLeaky(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	slope := float64(n.Float("alpha", 0.01))
	return r.reluAnd(x, 1-slope, slope)
}

// readAbs is 2 ReLU(x) - x.
func readAbs(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	return r.reluAnd(x, 2, -1)
}

// reluAnd is a ReLU(x) + b x.
func (r *reader) reluAnd(x value, a, b float64) ([]value, error) {
	z, err := r.relu(x)
	if err != nil {
		return nil, err
	}
	size := r.n.nodes[x.node].size
	same := spread(x.shape, x.shape)
	v, err := r.affine(x.shape, 2, nil,
		term{z.node, newPick(same, fill(size, a), size)}, term{x.node, newPick(same, fill(size, b), size)})
	return []value{v}, err
}

// readClip is max(x, lo), and then min(x, hi) = -max(-x, -hi), of the bounds
// that are there.
func readClip(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	bound := func(i int, absent float64) (float64, error) {
		if i >= len(args) || args[i].constant == nil && !args[i].variable() {
			return absent, nil
		}
		if len(args[i].constant) != 1 {
			return 0, errors.New("want constant bounds, one for all elements")
		}
		return args[i].constant[0], nil
	}
	lo, err := bound(1, math.Inf(-1))
	if err != nil {
		return nil, err
	}
	hi, err := bound(2, math.Inf(1))
	if err != nil {
		return nil, err
	}
	if lo > hi {
		lo = hi // what the standard says of such bounds
	}
	size := r.n.nodes[x.node].size
	if !math.IsInf(lo, 0) {
		if x, err = r.floor(x, lo, size); err != nil {
			return nil, err
		}
	}
	if !math.IsInf(hi, 0) {
		if x, err = r.negative(x, size); err != nil {
			return nil, err
		}
		if x, err = r.floor(x, -hi, size); err != nil {
			return nil, err
		}
		if x, err = r.negative(x, size); err != nil {
			return nil, err
		}
	}
	return []value{x}, nil
}

// floor is max(x, lo) = lo + ReLU(x - lo).
func (r *reader) floor(x value, lo float64, size int) (value, error) {
	d, err := r.affine(x.shape, 1, fill(size, -lo), term{x.node, nil})
	if err != nil {
		return d, err
	}
	if d, err = r.relu(d); err != nil {
		return d, err
	}
	return r.affine(x.shape, 1, fill(size, lo), term{d.node, nil})
}

func (r *reader) negative(x value, size int) (value, error) {
	return r.affine(x.shape, 0, nil, term{x.node, newPick(spread(x.shape, x.shape), fill(size, -1), size)})
}

// readMax is Max and Min: of two values by max(a, b) = b + ReLU(a - b) and
// min(a, b) = -max(-a, -b), of a value and a number by a floor.
func readMax(r *reader, n *onnx.Node, args []value) ([]value, error) {
	best := args[0]
	for _, a := range args[1:] {
		shape, err := broadcast(best.shape, a.shape)
		if err != nil {
			return nil, err
		}
		if best, err = r.extreme(best, a, shape, n.Op == "Min"); err != nil {
			return nil, err
		}
	}
	return []value{best}, nil
}

// extreme is b + ReLU(a - b), or for the least, b - ReLU(b - a).
func (r *reader) extreme(a, b value, shape []int, least bool) (value, error) {
	if !b.variable() {
		a, b = b, a
	}
	if !b.variable() {
		return b, errors.New("both operands are constants: simplify the model")
	}
	sign := 1.0
	if least {
		sign = -1
	}
	y := r.signed(b, spread(b.shape, shape), 1)
	terms := []term{{b.node, r.signed(b, spread(b.shape, shape), -sign)}}
	var bias []float64
	if a.variable() {
		terms = append(terms, term{a.node, r.signed(a, spread(a.shape, shape), sign)})
	} else {
		bias = make([]float64, count(shape))
		for i, f := range spread(a.shape, shape) {
			bias[i] = sign * a.constant[f]
		}
	}
	d, err := r.affine(shape, 1, bias, terms...)
	if err != nil {
		return d, err
	}
	if d, err = r.relu(d); err != nil {
		return d, err
	}
	return r.affine(shape, 1, nil, term{d.node, r.signed(d, spread(shape, shape), sign)}, term{b.node, y})
}
