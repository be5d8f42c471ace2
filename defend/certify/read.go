package certify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Limits on what a file may ask for: elements of a value, of a matrix that is
// written out, and of all values together.
const (
	maxValue = 1 << 22
	maxDense = 1 << 24
	maxTotal = 1 << 24
)

// node is one value of a network: the input, an affine map of earlier values,
// or the ReLU of one.
type node struct {
	name  string
	size  int
	relu  bool
	terms []term // their sum, and the bias, is the value; a ReLU has one
	bias  []float64
	// biasSize bounds the magnitudes that were summed into the bias; nil means
	// those of the bias itself.
	biasSize []float64
	// roundings is how often one element of the value may be rounded when a
	// runtime computes it: 0 for what only moves numbers.
	roundings int
}

// term is a linear map of an earlier value; a nil map is the identity.
type term struct {
	from int
	op   linear
}

// value is what the reader knows of a name in the graph: a node of the network,
// or a constant. The shape of a node's value begins with a batch of one.
type value struct {
	shape    []int
	node     int // -1 for constants
	constant []float64
}

func (v value) variable() bool { return v.node >= 0 }

// reader turns a graph into a network.
type reader struct {
	n      *Network
	values map[string]value
	total  int
}

// rule reads one operator.
type rule struct {
	op   string
	read func(*reader, *onnx.Node, []value) ([]value, error)
}

// rules lists every operator that can be bounded.
func rules() []rule {
	return []rule{
		{"Abs", readAbs},
		{"Add", readSum},
		{"AveragePool", readAveragePool},
		{"BatchNormalization", readBatchNorm},
		{"Cast", readCast},
		{"Clip", readClip},
		{"Concat", readConcat},
		{"Conv", readConv},
		{"Div", readScale},
		{"Dropout", readSame},
		{"Flatten", readFlatten},
		{"Gemm", readGemm},
		{"GlobalAveragePool", readAveragePool},
		{"GlobalMaxPool", readMaxPool},
		{"Identity", readSame},
		{"LeakyRelu", readLeaky},
		{"MatMul", readMatMul},
		{"Max", readMax},
		{"MaxPool", readMaxPool},
		{"Min", readMax},
		{"Mul", readScale},
		{"Neg", readNeg},
		{"Pad", readPad},
		{"Relu", readRelu},
		{"Reshape", readReshape},
		{"Slice", readSlice},
		{"Squeeze", readSqueeze},
		{"Sub", readSum},
		{"Transpose", readTranspose},
		{"Unsqueeze", readSqueeze},
	}
}

// optional are the operators some of whose operands may be left out.
func optional() []string { return []string{"Clip", "Conv", "Dropout", "Gemm", "Pad", "Slice"} }

// Read reads a network whose values are affine maps and piecewise linear
// activations of one another: feed-forward, convolutional and residual
// networks of ReLU, leaky ReLU, Clip, Abs, Max and max-pooling, the last of
// which are rewritten into ReLUs. It takes the model as the file has it, with
// one input whose first dimension is the batch, and its first output. Other
// operators are refused, and the error names the node.
//
// A classifier with a final softmax, or pixels to be normalised, is read from
// what package model makes of it: certify.Read(local.Prepared()).
func Read(file *onnx.Model) (*Network, error) {
	m := file.Clone()
	if err := onnx.Upgrade(m, onnx.MaxUpgrade); err != nil {
		return nil, fmt.Errorf("read network: %w", err)
	}
	if err := onnx.Simplify(m); err != nil {
		return nil, fmt.Errorf("read network: %w", err)
	}
	r := &reader{n: &Network{}, values: map[string]value{}}
	if err := r.graph(m.Graph); err != nil {
		return nil, fmt.Errorf("read network: %w", err)
	}
	return r.n, nil
}

func (r *reader) graph(g *onnx.Graph) error {
	if err := r.input(g); err != nil {
		return err
	}
	for _, t := range g.Initializers {
		if v, ok := constant(t); ok {
			r.values[t.Name] = v
		}
	}
	for _, n := range g.Nodes {
		if err := r.node(n); err != nil {
			return fmt.Errorf("%s %q: %w", n.Op, n.Label(), err)
		}
	}
	out, ok := r.values[g.Outputs[0].Name]
	if !ok || !out.variable() {
		return fmt.Errorf("output %q does not depend on the input", g.Outputs[0].Name)
	}
	r.n.finish(out.node)
	return nil
}

func (r *reader) input(g *onnx.Graph) error {
	feeds := g.Feeds()
	if len(feeds) != 1 || len(g.Outputs) == 0 {
		return fmt.Errorf("the model has %d inputs and %d outputs: bounds are of networks with one input", len(feeds), len(g.Outputs))
	}
	in := feeds[0]
	if in.Type == nil || in.Type.Tensor == nil || len(in.Type.Tensor.Dims) == 0 ||
		in.Type.Tensor.Elem != onnx.Float && in.Type.Tensor.Elem != onnx.Double {
		return fmt.Errorf("input %q is not a tensor of float32 or float64 with a batch dimension", in.Name)
	}
	shape := []int{1}
	for i, d := range in.Type.Tensor.Dims {
		if i == 0 {
			if d.Fixed() && d.Size != 1 {
				return fmt.Errorf("input %q takes %d samples at once: export the model for one, or for any number", in.Name, d.Size)
			}
			continue
		}
		if !d.Fixed() || d.Size > maxValue {
			return fmt.Errorf("input %q leaves its dimension %d open, or too large: export the model with a fixed one", in.Name, i)
		}
		shape = append(shape, int(d.Size))
	}
	v, err := r.add(shape, node{name: in.Name})
	r.values[in.Name] = v
	return err
}

// constant is a tensor of numbers as float64.
func constant(t *onnx.Tensor) (value, bool) {
	v := value{node: -1}
	for _, d := range t.Dims {
		v.shape = append(v.shape, int(d))
	}
	switch t.Type {
	case onnx.Float:
		for _, x := range t.Floats() {
			v.constant = append(v.constant, float64(x))
		}
	case onnx.Double:
		for i := 0; i < len(t.Raw); i += 8 {
			v.constant = append(v.constant, math.Float64frombits(binary.LittleEndian.Uint64(t.Raw[i:])))
		}
	case onnx.Int64, onnx.Int32:
		for _, x := range t.Ints() {
			v.constant = append(v.constant, float64(x))
		}
	default:
		return v, false
	}
	return v, !slices.ContainsFunc(v.constant, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) && t.Type.IsFloat() })
}

func (r *reader) node(n *onnx.Node) error {
	if n.Op == "Constant" {
		if a := n.Attr("value"); a != nil && a.Tensor != nil {
			if v, ok := constant(a.Tensor); ok {
				r.values[n.Outputs[0]] = v
			}
		}
		return nil
	}
	i := slices.IndexFunc(rules(), func(u rule) bool { return u.op == n.Op })
	if n.Domain != "" || i < 0 {
		return errors.New("there are no bounds for this operator: the certificate is for networks of affine maps and ReLU-like activations")
	}
	args := make([]value, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" {
			if !slices.Contains(optional(), n.Op) {
				return fmt.Errorf("its operand %d is left out", i)
			}
			args[i] = value{node: -1}
			continue
		}
		v, ok := r.values[name]
		if !ok {
			return fmt.Errorf("operand %q is no finite number", name)
		}
		args[i] = v
	}
	if len(args) == 0 {
		return errors.New("it has no operands")
	}
	out, err := rules()[i].read(r, n, args)
	if err != nil {
		return err
	}
	for i, v := range out {
		if i < len(n.Outputs) {
			r.values[n.Outputs[i]] = v
		}
		if v.variable() && r.n.nodes[v.node].name == "" {
			r.n.nodes[v.node].name = n.Label()
		}
	}
	for _, name := range n.Outputs[min(len(out), len(n.Outputs)):] {
		if name != "" {
			delete(r.values, name) // such as Dropout's mask, which nothing here reads
		}
	}
	return nil
}

// add enters a node of the network.
func (r *reader) add(shape []int, n node) (value, error) {
	n.size = 1
	for _, d := range shape {
		if d < 0 || d > 0 && n.size > maxValue/d {
			return value{}, fmt.Errorf("its value of shape %v is too large", shape)
		}
		n.size *= d
	}
	if r.total += n.size; r.total > maxTotal {
		return value{}, errors.New("the network's values are too large together")
	}
	if n.size == 0 || len(shape) == 0 || shape[0] != 1 {
		return value{}, fmt.Errorf("its value of shape %v is not that of one sample", shape)
	}
	r.n.nodes = append(r.n.nodes, n)
	return value{shape: shape, node: len(r.n.nodes) - 1}, nil
}

// affine enters an affine map.
func (r *reader) affine(shape []int, roundings int, bias []float64, terms ...term) (value, error) {
	return r.add(shape, node{terms: terms, bias: bias, roundings: roundings})
}

// pick enters a selection of the elements of one value.
func (r *reader) pick(shape []int, v value, from []int32) (value, error) {
	return r.affine(shape, 0, nil, term{v.node, newPick(from, nil, r.n.nodes[v.node].size)})
}

func (r *reader) relu(v value) (value, error) {
	return r.add(v.shape, node{relu: true, terms: []term{{v.node, nil}}})
}

// one is the operand that must depend on the input.
func one(args []value) (value, error) {
	if !args[0].variable() {
		return args[0], errors.New("its operand is a constant, which no exporter leaves: simplify the model")
	}
	return args[0], nil
}

// count is the number of elements of a shape, or a number beyond all limits.
func count(shape []int) int {
	n := 1
	for _, d := range shape {
		if n *= d; n > 1<<40 {
			return 1 << 40
		}
	}
	return n
}

// strides are those of a row-major array.
func strides(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}
