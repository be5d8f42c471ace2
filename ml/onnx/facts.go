package onnx

import "slices"

// facts are what can be told about the values of a graph without running it,
// in one pass and with no more than upgrades need: element types and ranks.
// What is absent is unknown.
type facts struct {
	elem     *layer[DataType]
	rank     *layer[int]
	constant *layer[*Tensor]
}

// layer is a map from the names of a graph's values on top of the layers of
// the graphs around it. Subgraphs may be as many as nodes, so that copying the
// outer map into each would be quadratic.
type layer[T any] struct {
	own     map[string]T
	defined map[string]bool // by this graph: hides the names outside
	outer   *layer[T]
}

func newLayer[T any](defined map[string]bool, outer *layer[T]) *layer[T] {
	return &layer[T]{make(map[string]T), defined, outer}
}

func (l *layer[T]) at(name string) (v T, ok bool) {
	for ; l != nil; l = l.outer {
		if v, ok = l.own[name]; ok || l.defined[name] {
			return v, ok
		}
	}
	return v, false
}

// get is the value of a name, zero where there is none.
func (l *layer[T]) get(name string) T {
	v, _ := l.at(name)
	return v
}

func (l *layer[T]) set(name string, v T) { l.own[name] = v }

// learn adds what a graph says to what is known of the graphs around it.
func learn(g *Graph, outer facts) facts {
	defined := g.defined()
	f := facts{newLayer(defined, outer.elem), newLayer(defined, outer.rank), newLayer(defined, outer.constant)}
	for _, list := range [][]*Value{g.Values, g.Outputs, g.Inputs} {
		for _, v := range list {
			if v.Type == nil || v.Type.Tensor == nil {
				continue
			}
			if v.Type.Tensor.Elem != Undefined {
				f.elem.set(v.Name, v.Type.Tensor.Elem)
			}
			if v.Type.Tensor.HasShape {
				f.rank.set(v.Name, len(v.Type.Tensor.Dims))
			}
		}
	}
	for name, t := range g.constants() {
		f.elem.set(name, t.Type)
		f.rank.set(name, len(t.Dims))
		f.constant.set(name, t)
	}
	for _, n := range g.Nodes {
		if n.Domain != "" || len(n.Outputs) == 0 || f.constant.get(n.Outputs[0]) != nil {
			continue
		}
		// What follows from the operator outranks what the file declares.
		if t, ok := f.elemOf(n); ok {
			f.elem.set(n.Outputs[0], t)
		}
		if r, ok := f.rankOf(n); ok {
			for _, o := range n.Outputs {
				f.rank.set(o, r)
			}
		}
	}
	return f
}

// elemOf is the element type of a node's first output.
func (f facts) elemOf(n *Node) (DataType, bool) {
	switch n.Op {
	case "Cast":
		return DataType(n.Int("to", 0)), true
	case "Shape", "Size", "ArgMax", "ArgMin", "NonZero":
		return Int64, true
	case "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf":
		return Bool, true
	case "Where":
		t, ok := f.elem.at(n.Input(1))
		return t, ok
	case "ConstantOfShape":
		if a := n.Attr("value"); a != nil && a.Tensor != nil {
			return a.Tensor.Type, true
		}
		return Float, true
	case "Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose",
		"DepthToSpace", "Div", "Dropout", "Elu", "Exp", "Expand", "Flatten", "GRU", "Gather", "GatherElements",
		"GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "Identity", "InstanceNormalization",
		"LRN", "LSTM", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul", "Neg",
		"PRelu", "Pad", "Pow", "RNN", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
		"ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "Selu", "Sigmoid", "Slice",
		"Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile",
		"Transpose", "Unsqueeze", "Upsample":
		t, ok := f.elem.at(n.Input(0))
		return t, ok
	}
	return 0, false
}

// rankOf is the rank of a node's outputs.
func (f facts) rankOf(n *Node) (int, bool) {
	switch n.Op {
	case "Gemm", "Flatten":
		return 2, true
	case "Shape":
		return 1, true
	case "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "MatMul", "PRelu":
		highest := 0
		for _, name := range n.Inputs {
			r, ok := f.rank.at(name)
			if !ok || n.Op == "MatMul" && r < 2 {
				return 0, false
			}
			highest = max(highest, r)
		}
		return highest, true
	case "Reshape":
		if shape := f.constant.get(n.Input(1)); shape != nil && len(shape.Dims) == 1 {
			return int(shape.Dims[0]), true
		}
	case "Expand":
		r, ok := f.rank.at(n.Input(0))
		if shape := f.constant.get(n.Input(1)); ok && shape != nil && len(shape.Dims) == 1 {
			return max(r, int(shape.Dims[0])), true
		}
	case "Squeeze", "Unsqueeze":
		r, ok := f.rank.at(n.Input(0))
		axes, known := f.axesOf(n)
		if !ok || !known {
			return 0, false
		}
		if n.Op == "Squeeze" {
			return r - len(axes), true
		}
		return r + len(axes), true
	case "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
		"ReduceProd", "ReduceSum", "ReduceSumSquare":
		r, ok := f.rank.at(n.Input(0))
		if n.Int("keepdims", 1) == 1 {
			return r, ok
		}
		if axes, known := f.axesOf(n); ok && known && len(axes) > 0 {
			return r - len(axes), true
		}
	case "Abs", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "ConvTranspose",
		"DepthToSpace", "Dropout", "Elu", "Erf", "Exp", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid",
		"Hardmax", "Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
		"MaxPool", "Neg", "Pad", "Reciprocal", "Relu", "Resize", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus",
		"Softsign", "SpaceToDepth", "Split", "Sqrt", "Tanh", "Tile", "Transpose", "Upsample":
		r, ok := f.rank.at(n.Input(0))
		return r, ok
	}
	return 0, false
}

// axesOf returns the axes of a node that has them as an attribute or, in later
// versions, as a constant second input. It is false when they are not known.
func (f facts) axesOf(n *Node) ([]int64, bool) {
	if a := n.Attr("axes"); a != nil {
		return slices.Clone(a.Ints), true
	}
	if t := f.constant.get(n.Input(1)); t != nil && t.Type == Int64 {
		return t.Ints(), true
	}
	return nil, false
}
