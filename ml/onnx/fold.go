package onnx

import (
	"encoding/binary"
	"math"
	"slices"
)

// maxFolded bounds the elements of a value that is computed ahead: shape
// arithmetic has a handful, and a file must not grow by what it can compute.
const maxFolded = 1024

// folder computes nodes of shape arithmetic ahead of time.
type folder struct {
	known  *layer[*Tensor]    // values that are constant
	shapes map[string][]int64 // shapes of values that are not
}

// fold returns the constant that a node computes, nil where it is not known.
// A node that it does not understand completely is left alone.
func (f folder) fold(n *Node) *Tensor {
	if n.Domain != "" || len(n.Outputs) != 1 || n.Outputs[0] == "" {
		return nil
	}
	for _, a := range n.Attrs {
		if a.Ref != "" {
			return nil
		}
	}
	switch n.Op {
	case "Constant":
		return constantValue(n)
	case "Shape":
		if dims, ok := f.shape(n.Input(0)); ok {
			lo, hi := clampRange(n.Int("start", 0), n.Int("end", math.MaxInt64), int64(len(dims)))
			return vector(dims[lo:hi])
		}
		return nil
	case "Size":
		if dims, ok := f.shape(n.Input(0)); ok && count(dims) >= 0 {
			return IntTensor("", []int64{count(dims)})
		}
		return nil
	case "ConstantOfShape":
		return f.constantOfShape(n)
	}
	total := int64(0)
	for _, name := range n.Inputs {
		t := f.known.get(name)
		if name != "" && t == nil {
			return nil
		}
		if t != nil {
			total += t.Len()
		}
		if total > 2*maxFolded {
			return nil
		}
	}
	args := make([]*integers, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		if args[i] = integersOf(f.known.get(name)); args[i] == nil {
			return nil
		}
	}
	if len(args) == 0 || args[0] == nil {
		return nil
	}
	if r := foldIntegers(n, args); r != nil && len(r.v) <= maxFolded && int64(len(r.v)) == count(r.dims) {
		return r.tensor()
	}
	return nil
}

func (f folder) shape(name string) ([]int64, bool) {
	if t := f.known.get(name); t != nil {
		return t.Dims, true
	}
	dims, ok := f.shapes[name]
	return dims, ok
}

func (f folder) constantOfShape(n *Node) *Tensor {
	shape := integersOf(f.known.get(n.Input(0)))
	if shape == nil || len(shape.dims) != 1 {
		return nil
	}
	size := count(shape.v)
	if size < 0 || size > maxFolded {
		return nil
	}
	one := RawTensor("", Float, make([]byte, 4), 1)
	if a := n.Attr("value"); a != nil && a.Tensor != nil {
		one = a.Tensor
	}
	if one.Type.Bits() < 8 || one.Len() != 1 {
		return nil
	}
	return RawTensor("", one.Type, slices.Repeat(one.Raw, int(size)), slices.Clone(shape.v)...)
}

// integers is a small constant of whole numbers or truth values.
type integers struct {
	elem DataType // Int64, Int32 or Bool
	dims []int64
	v    []int64
}

// integersOf is nil for what is too large, of another type or absent. Numbers
// beyond 31 bits are left to the runtime, too, so that no sum or product here
// can overflow; the largest int64 is let through because it means "to the end"
// in Slice.
func integersOf(t *Tensor) *integers {
	if t == nil || t.Len() > maxFolded {
		return nil
	}
	i := &integers{elem: t.Type, dims: t.Dims}
	switch t.Type {
	case Int64, Int32:
		i.v = t.Ints()
	case Bool:
		for _, b := range t.Raw {
			i.v = append(i.v, truth(b != 0))
		}
	default:
		return nil
	}
	return i
}

func (i *integers) small() bool {
	return !slices.ContainsFunc(i.v, func(v int64) bool { return v != int64(int32(v)) })
}

func (i *integers) tensor() *Tensor {
	var raw []byte
	for _, v := range i.v {
		switch i.elem {
		case Int64:
			raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
		case Int32:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
		default:
			raw = append(raw, byte(v))
		}
	}
	return RawTensor("", i.elem, raw, slices.Clone(i.dims)...)
}

func vector(v []int64) *Tensor { return IntTensor("", v, int64(len(v))) }

func foldIntegers(n *Node, args []*integers) *integers {
	x := args[0]
	switch n.Op {
	case "Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater", "And", "Or":
		if len(args) == 2 && args[1] != nil {
			return foldBinary(n.Op, x, args[1])
		}
	case "Not":
		return &integers{Bool, x.dims, apply(x.v, func(v int64) int64 { return 1 - v })}
	case "Cast":
		return foldCast(DataType(n.Int("to", 0)), x)
	case "Concat":
		return foldConcat(n, args)
	case "Gather":
		return foldGather(n, args)
	case "Slice":
		return foldSlice(n, args)
	case "Squeeze", "Unsqueeze":
		return foldSqueeze(n, args)
	case "Where":
		return foldWhere(args)
	}
	return nil
}

func apply(v []int64, f func(int64) int64) []int64 {
	out := make([]int64, len(v))
	for i := range v {
		out[i] = f(v[i])
	}
	return out
}

// foldBinary computes an operator over two constants of which one may be a
// single element.
func foldBinary(op string, a, b *integers) *integers {
	if a.elem != b.elem || !a.small() || !b.small() {
		return nil
	}
	dims, ok := spread(a.dims, b.dims)
	if !ok {
		return nil
	}
	r := &integers{elem: a.elem, dims: dims, v: make([]int64, count(dims))}
	for i := range r.v {
		x, y := a.v[i%len(a.v)], b.v[i%len(b.v)]
		switch op {
		case "Add":
			r.v[i] = x + y
		case "Sub":
			r.v[i] = x - y
		case "Mul":
			r.v[i] = x * y
		case "Div":
			if y == 0 {
				return nil
			}
			r.v[i] = x / y // towards zero, as ONNX has it
		case "Equal":
			r.v[i] = truth(x == y)
		case "Less":
			r.v[i] = truth(x < y)
		case "Greater":
			r.v[i] = truth(x > y)
		case "And":
			r.v[i] = x & y
		case "Or":
			r.v[i] = x | y
		}
	}
	switch op {
	case "Equal", "Less", "Greater":
		r.elem = Bool
	case "And", "Or":
		if r.elem != Bool {
			return nil
		}
	default:
		if r.elem == Bool || r.elem == Int32 && !r.small() {
			return nil
		}
	}
	return r
}

// spread is the shape of two operands together, where it is that of one.
func spread(a, b []int64) ([]int64, bool) {
	switch {
	case slices.Equal(a, b):
		return a, true
	case count(b) == 1 && len(b) <= len(a) && count(a) > 0:
		return a, true
	case count(a) == 1 && len(a) <= len(b) && count(b) > 0:
		return b, true
	}
	return nil, false
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func foldCast(to DataType, x *integers) *integers {
	switch to {
	case Int64, Int32:
		if !x.small() {
			return nil
		}
		return &integers{to, x.dims, x.v}
	case Bool:
		return &integers{to, x.dims, apply(x.v, func(v int64) int64 { return truth(v != 0) })}
	}
	return nil
}

func foldConcat(n *Node, args []*integers) *integers {
	r := &integers{elem: args[0].elem}
	if axis := n.Int("axis", 0); axis != 0 && axis != -1 {
		return nil
	}
	for _, a := range args {
		if a == nil || len(a.dims) != 1 || a.elem != r.elem {
			return nil
		}
		r.v = append(r.v, a.v...)
	}
	r.dims = []int64{int64(len(r.v))}
	return r
}

func foldGather(n *Node, args []*integers) *integers {
	x := args[0]
	if axis := n.Int("axis", 0); len(args) != 2 || args[1] == nil || len(x.dims) != 1 || axis != 0 && axis != -1 {
		return nil
	}
	r := &integers{elem: x.elem, dims: args[1].dims}
	for _, i := range args[1].v {
		if i < 0 {
			i += int64(len(x.v))
		}
		if i < 0 || i >= int64(len(x.v)) {
			return nil
		}
		r.v = append(r.v, x.v[i])
	}
	return r
}

// foldSlice cuts a vector, with the operands as attributes (before version 10)
// or inputs.
func foldSlice(n *Node, args []*integers) *integers {
	x := args[0]
	operand := func(i int, attr string, absent int64) (int64, bool) {
		if i < len(args) && args[i] != nil {
			if len(args[i].v) != 1 {
				return 0, false
			}
			return args[i].v[0], true
		}
		if v := n.Ints(attr, nil); len(v) == 1 {
			return v[0], true
		} else if len(v) > 1 {
			return 0, false
		}
		return absent, true
	}
	start, ok1 := operand(1, "starts", 0)
	end, ok2 := operand(2, "ends", math.MaxInt64)
	axis, ok3 := operand(3, "axes", 0)
	step, ok4 := operand(4, "", 1)
	if !ok1 || !ok2 || !ok3 || !ok4 || len(x.dims) != 1 || step != 1 || axis != 0 && axis != -1 {
		return nil
	}
	lo, hi := clampRange(start, end, int64(len(x.v)))
	return &integers{x.elem, []int64{hi - lo}, x.v[lo:hi]}
}

// clampRange resolves the bounds of a range over n elements as Slice and Shape
// define them: negative ones count from the end, all are clamped.
func clampRange(lo, hi, n int64) (int64, int64) {
	resolve := func(i int64) int64 {
		if i < 0 {
			i += n
		}
		return min(max(i, 0), n)
	}
	lo, hi = resolve(lo), resolve(hi)
	return lo, max(lo, hi)
}

// foldSqueeze reshapes a single element, with the axes as attribute (before
// version 13) or input.
func foldSqueeze(n *Node, args []*integers) *integers {
	x := args[0]
	axes := n.Ints("axes", nil)
	if len(args) > 1 && args[1] != nil {
		axes = args[1].v
	}
	if len(x.v) != 1 { // shape arithmetic squeezes single numbers
		return nil
	}
	rank := len(x.dims) - len(axes)
	if n.Op == "Unsqueeze" {
		rank = len(x.dims) + len(axes)
	} else if len(axes) == 0 {
		rank = 0
	}
	if rank < 0 || rank > maxRank {
		return nil
	}
	return &integers{x.elem, slices.Repeat([]int64{1}, rank), x.v}
}

func foldWhere(args []*integers) *integers {
	if len(args) != 3 || args[1] == nil || args[2] == nil {
		return nil
	}
	cond, x, y := args[0], args[1], args[2]
	if cond.elem != Bool || x.elem != y.elem {
		return nil
	}
	dims, ok := spread(x.dims, y.dims)
	if !ok {
		return nil
	}
	if dims, ok = spread(cond.dims, dims); !ok {
		return nil
	}
	r := &integers{elem: x.elem, dims: dims, v: make([]int64, count(dims))}
	for i := range r.v {
		if cond.v[i%len(cond.v)] != 0 {
			r.v[i] = x.v[i%len(x.v)]
		} else {
			r.v[i] = y.v[i%len(y.v)]
		}
	}
	return r
}
