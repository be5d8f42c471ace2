package certify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

func readSame(_ *reader, _ *onnx.Node, args []value) ([]value, error) {
	return args[:1], nil
}

func readCast(_ *reader, n *onnx.Node, args []value) ([]value, error) {
	if to := onnx.DataType(n.Int("to", 0)); to != onnx.Float && to != onnx.Double {
		return nil, fmt.Errorf("a cast to %v rounds", to)
	}
	return args[:1], nil
}

func readFlatten(_ *reader, n *onnx.Node, args []value) ([]value, error) {
	v := args[0]
	axis := int(n.Int("axis", 1))
	if axis < 0 {
		axis += len(v.shape)
	}
	if axis < 0 || axis > len(v.shape) {
		return nil, errors.New("its axis lies outside the shape")
	}
	v.shape = []int{count(v.shape[:axis]), count(v.shape[axis:])}
	return []value{v}, nil
}

func readReshape(_ *reader, n *onnx.Node, args []value) ([]value, error) {
	if len(args) != 2 || args[1].variable() {
		return nil, errors.New("its shape is not constant")
	}
	v := args[0]
	shape := make([]int, len(args[1].constant))
	open, rest := -1, 1
	for i, d := range args[1].constant {
		shape[i] = int(d)
		switch {
		case d == 0 && n.Int("allowzero", 0) == 0 && i < len(v.shape):
			shape[i] = v.shape[i]
		case d == -1 && open < 0:
			open = i
			continue
		case d < 0 || d > maxValue:
			return nil, fmt.Errorf("its shape holds %v", d)
		}
		if rest *= shape[i]; rest > maxValue {
			return nil, errors.New("its shape is too large")
		}
	}
	total := count(v.shape)
	if open >= 0 && rest > 0 {
		shape[open] = total / rest
		rest *= shape[open]
	}
	if rest != total {
		return nil, fmt.Errorf("%v elements do not fit the shape %v", v.shape, shape)
	}
	v.shape = shape
	return []value{v}, nil
}

// readSqueeze is Squeeze and Unsqueeze, which move ones in and out of a shape.
func readSqueeze(_ *reader, n *onnx.Node, args []value) ([]value, error) {
	v := args[0]
	var axes []int
	rank := len(v.shape)
	if len(args) > 1 {
		for _, a := range args[1].constant {
			axes = append(axes, int(a))
		}
	}
	if n.Op == "Unsqueeze" {
		rank += len(axes)
	}
	for i, a := range axes {
		if a < 0 {
			axes[i] += rank
		}
		if axes[i] < 0 || axes[i] >= rank {
			return nil, errors.New("an axis lies outside the shape")
		}
	}
	shape := []int{}
	from := v.shape
	for i := range rank {
		named := slices.Contains(axes, i)
		switch {
		case n.Op == "Unsqueeze" && named:
			shape = append(shape, 1)
		case n.Op == "Unsqueeze":
			if len(from) == 0 {
				return nil, errors.New("an axis is named twice")
			}
			shape, from = append(shape, from[0]), from[1:]
		case v.shape[i] != 1 || len(axes) > 0 && !named:
			shape = append(shape, v.shape[i])
		}
	}
	if count(shape) != count(v.shape) {
		return nil, fmt.Errorf("the shape %v does not allow it", v.shape)
	}
	v.shape = shape
	return []value{v}, nil
}

func readTranspose(r *reader, n *onnx.Node, args []value) ([]value, error) {
	v := args[0]
	rank := len(v.shape)
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = rank - 1 - i
	}
	if p := n.Ints("perm", nil); p != nil {
		if len(p) != rank {
			return nil, errors.New("its permutation has another rank than its operand")
		}
		for i := range p {
			perm[i] = int(p[i])
		}
	}
	shape, step, s := make([]int, rank), make([]int, rank), strides(v.shape)
	seen := make([]bool, rank)
	for i, p := range perm {
		if p < 0 || p >= rank || seen[p] {
			return nil, errors.New("its permutation is none")
		}
		seen[p] = true
		shape[i], step[i] = v.shape[p], s[p]
	}
	return r.moved(v, shape, walk(shape, step, 0))
}

// moved is a value or constant with its elements in other places.
func (r *reader) moved(v value, shape []int, from []int32) ([]value, error) {
	if v.variable() {
		out, err := r.pick(shape, v, from)
		return []value{out}, err
	}
	out := value{shape: shape, node: -1, constant: make([]float64, len(from))}
	for i, f := range from {
		if f >= 0 {
			out.constant[i] = v.constant[f]
		}
	}
	return []value{out}, nil
}

func readConcat(r *reader, n *onnx.Node, args []value) ([]value, error) {
	shape := slices.Clone(args[0].shape)
	axis := int(n.Int("axis", 0))
	if axis < 0 {
		axis += len(shape)
	}
	if axis < 0 || axis >= len(shape) {
		return nil, errors.New("its axis lies outside the shape")
	}
	shape[axis] = 0
	for _, a := range args {
		same := len(a.shape) == len(shape)
		for i := range a.shape {
			same = same && (i == axis || a.shape[i] == shape[i])
		}
		if !same {
			return nil, errors.New("its operands' shapes do not fit together")
		}
		shape[axis] += a.shape[axis]
	}
	size := count(shape)
	if size > maxValue {
		return nil, errors.New("its value is too large")
	}
	var terms []term
	bias := make([]float64, size)
	s, offset := strides(shape), 0
	for _, a := range args {
		places := walk(a.shape, s, offset*s[axis])
		offset += a.shape[axis]
		from := make([]int32, size)
		for i := range from {
			from[i] = -1
		}
		for i, p := range places {
			from[p] = int32(i)
			if !a.variable() {
				bias[p] = a.constant[i]
			}
		}
		if a.variable() {
			terms = append(terms, term{a.node, newPick(from, nil, len(places))})
		}
	}
	if len(terms) == 0 {
		return []value{{shape: shape, node: -1, constant: bias}}, nil
	}
	v, err := r.affine(shape, 0, bias, terms...)
	return []value{v}, err
}

func readSlice(r *reader, _ *onnx.Node, args []value) ([]value, error) {
	v := args[0]
	if len(args) < 3 || slices.ContainsFunc(args[1:], value.variable) || len(args[1].constant) != len(args[2].constant) {
		return nil, errors.New("its range is not constant")
	}
	shape, step, offset := slices.Clone(v.shape), strides(v.shape), 0
	cut := make([]bool, len(shape))
	for i, start := range args[1].constant {
		axis, stride := i, 1.0
		if len(args) > 3 && i < len(args[3].constant) {
			axis = int(args[3].constant[i])
		}
		if len(args) > 4 && i < len(args[4].constant) {
			stride = args[4].constant[i]
		}
		if axis < 0 {
			axis += len(shape)
		}
		if axis < 0 || axis >= len(shape) || cut[axis] || stride < 1 || stride > maxValue {
			return nil, errors.New("want axes inside the shape, each once, and positive steps")
		}
		cut[axis] = true
		d := float64(v.shape[axis])
		clamp := func(x float64) int {
			if x < 0 {
				x += d
			}
			return int(min(max(x, 0), d))
		}
		lo, hi := clamp(start), clamp(args[2].constant[i])
		shape[axis] = max(0, (hi-lo+int(stride)-1)/int(stride))
		offset += lo * strides(v.shape)[axis]
		step[axis] *= int(stride)
	}
	return r.moved(v, shape, walk(shape, step, offset))
}

func readPad(r *reader, n *onnx.Node, args []value) ([]value, error) {
	v := args[0]
	rank := len(v.shape)
	if len(args) < 2 || args[1].variable() || len(args[1].constant) != 2*rank || n.Str("mode", "constant") != "constant" ||
		len(args) > 2 && len(args[2].constant) == 1 && args[2].constant[0] != 0 || len(args) > 3 && args[3].shape != nil {
		return nil, errors.New("want constant pads, of zeros, for every axis")
	}
	shape := make([]int, rank)
	for i, d := range v.shape {
		before, after := args[1].constant[i], args[1].constant[rank+i]
		if before < 0 || after < 0 || before+after > maxValue {
			return nil, errors.New("its pads are negative or too large")
		}
		shape[i] = d + int(before) + int(after)
	}
	if count(shape) > maxValue {
		return nil, errors.New("its value is too large")
	}
	s, offset := strides(shape), 0
	for i := range s {
		offset += int(args[1].constant[i]) * s[i]
	}
	from := make([]int32, count(shape))
	for i := range from {
		from[i] = -1
	}
	for i, p := range walk(v.shape, s, offset) {
		from[p] = int32(i)
	}
	return r.moved(v, shape, from)
}
