package certify

import (
	"errors"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// readSum is Add and Sub: a sum of values, each times a sign; constants become
// the bias.
func readSum(r *reader, n *onnx.Node, args []value) ([]value, error) {
	if len(args) != 2 {
		return nil, errors.New("want two operands")
	}
	shape, err := broadcast(args[0].shape, args[1].shape)
	if err != nil {
		return nil, err
	}
	var terms []term
	var bias []float64
	for i, a := range args {
		sign := 1.0
		if i == 1 && n.Op == "Sub" {
			sign = -1
		}
		from := spread(a.shape, shape)
		if a.variable() {
			terms = append(terms, term{a.node, r.signed(a, from, sign)})
			continue
		}
		bias = make([]float64, len(from))
		for j, f := range from {
			bias[j] = sign * a.constant[f]
		}
	}
	if len(terms) == 0 {
		return nil, errors.New("both operands are constants: simplify the model")
	}
	v, err := r.affine(shape, 1, bias, terms...)
	return []value{v}, err
}

// signed is the map that spreads a value and gives it a sign; nil where that
// changes nothing.
func (r *reader) signed(a value, from []int32, sign float64) linear {
	same := len(from) == r.n.nodes[a.node].size
	if same && sign == 1 {
		return nil
	}
	var scale []float64
	if sign != 1 {
		scale = fill(len(from), sign)
	}
	return newPick(from, scale, r.n.nodes[a.node].size)
}

func fill(n int, v float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// readScale is a product with a constant, or a quotient by one.
func readScale(r *reader, n *onnx.Node, args []value) ([]value, error) {
	if len(args) != 2 || args[0].variable() == args[1].variable() || n.Op == "Div" && !args[0].variable() {
		return nil, errors.New("it is linear only where one factor, or the divisor, is a constant")
	}
	shape, err := broadcast(args[0].shape, args[1].shape)
	if err != nil {
		return nil, err
	}
	x, k := args[0], args[1]
	if !x.variable() {
		x, k = k, x
	}
	scale := make([]float64, count(shape))
	for i, f := range spread(k.shape, shape) {
		scale[i] = k.constant[f]
		if n.Op == "Div" {
			scale[i] = 1 / scale[i]
		}
		if math.IsInf(scale[i], 0) {
			return nil, errors.New("it divides by zero")
		}
	}
	// Two roundings, since a runtime may multiply by a rounded reciprocal.
	v, err := r.affine(shape, 2, nil, term{x.node, newPick(spread(x.shape, shape), scale, r.n.nodes[x.node].size)})
	return []value{v}, err
}

func readNeg(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	v, err := r.affine(x.shape, 0, nil, term{x.node, r.signed(x, spread(x.shape, x.shape), -1)})
	return []value{v}, err
}

func readGemm(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 || args[1].variable() || len(args[1].shape) != 2 || len(x.shape) != 2 || n.Int("transA", 0) != 0 {
		return nil, errors.New("want a sample times a constant matrix")
	}
	w, out := args[1], args[1].shape[1]
	transposed := n.Int("transB", 0) != 0
	if transposed {
		out = w.shape[0]
	}
	in := x.shape[1]
	if len(w.constant) != in*out {
		return nil, fmt.Errorf("a sample of %d does not fit a matrix of %v", in, w.shape)
	}
	alpha, beta := float64(n.Float("alpha", 1)), float64(n.Float("beta", 1))
	m := make([]float64, in*out)
	for o := range out {
		for i := range in {
			at := i*out + o
			if transposed {
				at = o*in + i
			}
			m[o*in+i] = alpha * w.constant[at]
		}
	}
	var bias []float64
	if len(args) > 2 && args[2].shape != nil || len(args) > 2 && len(args[2].constant) == 1 {
		if args[2].variable() {
			return nil, errors.New("its bias depends on the input")
		}
		shape, err := broadcast(args[2].shape, []int{1, out})
		if err != nil || count(shape) != out {
			return nil, fmt.Errorf("a bias of %v does not fit %d outputs", args[2].shape, out)
		}
		bias = make([]float64, out)
		for i, f := range spread(args[2].shape, shape) {
			bias[i] = beta * args[2].constant[f]
		}
	}
	v, err := r.affine([]int{1, out}, in+4, bias, term{x.node, newDense(m, out, in)})
	return []value{v}, err
}

// readMatMul is a product with a constant matrix on the right, the same for
// every row of the sample.
func readMatMul(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	if len(args) != 2 || args[1].variable() || len(args[1].shape) != 2 || len(x.shape) < 2 || x.shape[len(x.shape)-1] != args[1].shape[0] {
		return nil, errors.New("want a sample times a constant matrix on the right")
	}
	in, out := args[1].shape[0], args[1].shape[1]
	rows := count(x.shape) / max(in, 1)
	if rows*in > maxDense/max(rows*out, 1) {
		return nil, fmt.Errorf("%d rows times a matrix of %v are too large", rows, args[1].shape)
	}
	m := make([]float64, rows*in*rows*out)
	for p := range rows {
		for i := range in {
			for o := range out {
				m[(p*out+o)*rows*in+p*in+i] = args[1].constant[i*out+o]
			}
		}
	}
	shape := append(append([]int(nil), x.shape[:len(x.shape)-1]...), out)
	v, err := r.affine(shape, in+1, nil, term{x.node, newDense(m, rows*out, rows*in)})
	return []value{v}, err
}

func readBatchNorm(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	if len(args) != 5 || len(x.shape) < 2 || n.Int("training_mode", 0) != 0 {
		return nil, errors.New("want the five operands of inference")
	}
	channels := x.shape[1]
	for _, a := range args[1:] {
		if a.variable() || len(a.constant) != channels {
			return nil, fmt.Errorf("want one constant for each of %d channels", channels)
		}
	}
	size := count(x.shape)
	scale, bias, biasSize := make([]float64, size), make([]float64, size), make([]float64, size)
	plane := size / channels
	for i := range size {
		c := i / plane
		s := args[1].constant[c] / math.Sqrt(args[4].constant[c]+float64(n.Float("epsilon", 1e-5)))
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("channel %d has no positive variance", c)
		}
		scale[i], bias[i] = s, args[2].constant[c]-s*args[3].constant[c]
		biasSize[i] = math.Abs(args[2].constant[c]) + math.Abs(s*args[3].constant[c])
	}
	v, err := r.add(x.shape, node{
		terms: []term{{x.node, newPick(spread(x.shape, x.shape), scale, size)}},
		bias:  bias, biasSize: biasSize, roundings: 8,
	})
	return []value{v}, err
}

// broadcast is the shape of two operands together.
func broadcast(a, b []int) ([]int, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := append([]int(nil), a...)
	for i, d := range b {
		at := len(a) - len(b) + i
		switch {
		case out[at] == 1:
			out[at] = d
		case d != 1 && d != out[at]:
			return nil, fmt.Errorf("shapes %v and %v do not fit together", a, b)
		}
	}
	if count(out) > maxValue {
		return nil, fmt.Errorf("shapes %v and %v together are too large", a, b)
	}
	return out, nil
}

// spread lists, for each element of an array broadcast to a shape, which
// element of the array it is.
func spread(from, to []int) []int32 {
	step := make([]int, len(to))
	for i, s := range strides(from) {
		if from[i] != 1 {
			step[len(to)-len(from)+i] = s
		}
	}
	return walk(to, step, 0)
}

// walk lists offset + index . step over all indices of an array, in order.
func walk(shape, step []int, offset int) []int32 {
	out := []int32{int32(offset)}
	for i, d := range shape {
		next := make([]int32, 0, len(out)*d)
		for _, o := range out {
			for k := range d {
				next = append(next, o+int32(k*step[i]))
			}
		}
		out = next
	}
	return out
}
