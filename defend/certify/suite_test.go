package certify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// form is a small network with one form of an operator in it.
type form struct {
	name   string
	sample []int64
	nodes  []*onnx.Node // from x to y
	// weights are drawn at random in these shapes; constants are as given.
	weights   map[string][]int64
	positive  map[string][]int64
	constants []*onnx.Tensor
}

func (f form) model(rng *rand.Rand) *onnx.Model {
	g := &onnx.Graph{Name: f.name, Nodes: f.nodes, Initializers: f.constants}
	// In a fixed order, since the draws depend on it.
	for _, name := range []string{"w", "v", "b", "c", "mean", "var"} {
		dims, ok := f.weights[name]
		if !ok {
			dims, ok = f.positive[name]
		}
		if !ok {
			continue
		}
		data := make([]float32, onnx.IntTensor("", make([]int64, product(dims)), dims...).Len())
		for i := range data {
			data[i] = float32(rng.NormFloat64() / 2)
			if f.positive[name] != nil {
				data[i] = 0.5 + rng.Float32()
			}
		}
		g.Initializers = append(g.Initializers, onnx.FloatTensor(name, data, dims...))
	}
	value := func(name string, dims []int64) *onnx.Value {
		t := &onnx.TensorType{Elem: onnx.Float, HasShape: dims != nil}
		for _, d := range dims {
			t.Dims = append(t.Dims, onnx.Dim{Size: d})
		}
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: t}}
	}
	g.Inputs = []*onnx.Value{value("x", append([]int64{1}, f.sample...))}
	g.Outputs = []*onnx.Value{value("y", nil)}
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 18}}, Graph: g}
}

func product(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

func op(name string, in, out string, attrs ...*onnx.Attr) *onnx.Node {
	var inputs []string
	for _, c := range in {
		inputs = append(inputs, names[c])
	}
	return onnx.NewNode(name, inputs, []string{names[rune(out[0])]}, attrs...)
}

// names spells the values of a form, one letter each; "-" is an omitted one.
var names = map[rune]string{'x': "x", 'y': "y", 'p': "p", 'q': "q", 'r': "r", 's': "s", 'w': "w", 'v': "v", 'b': "b", 'c': "c",
	'm': "mean", 'n': "var", '-': "", '1': "k1", '2': "k2", '3': "k3", '4': "k4"}

func ints(name string, v ...int64) *onnx.Tensor { return onnx.IntTensor(name, v, int64(len(v))) }
func num(name string, v float32) *onnx.Tensor   { return onnx.FloatTensor(name, []float32{v}) }

type dims = map[string][]int64

func forms() []form {
	relu := func(in, out string) *onnx.Node { return op("Relu", in, out) }
	shape := []int64{2, 4, 4}
	return []form{
		{name: "two layers", sample: []int64{3}, weights: dims{"w": {3, 8}, "b": {8}, "v": {8, 4}}, nodes: []*onnx.Node{
			op("Gemm", "xwb", "p"), relu("p", "q"), op("MatMul", "qv", "y")}},
		{name: "Gemm transposed and scaled", sample: []int64{3}, weights: dims{"w": {8, 3}, "b": {1, 8}}, nodes: []*onnx.Node{
			op("Gemm", "xwb", "p", onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 0.5), onnx.FloatAttr("beta", -2)), relu("p", "y")}},
		{name: "MatMul of rows", sample: []int64{2, 3}, weights: dims{"w": {3, 4}, "b": {4}}, nodes: []*onnx.Node{
			op("MatMul", "xw", "p"), op("Add", "pb", "q"), relu("q", "y")}},
		{name: "residual", sample: []int64{4}, weights: dims{"w": {4, 4}, "v": {4, 4}, "b": {4}}, nodes: []*onnx.Node{
			op("MatMul", "xw", "p"), relu("p", "q"), op("MatMul", "qv", "r"), op("Add", "rp", "s"), op("Sub", "bs", "y")}},
		{name: "Sub of values", sample: []int64{4}, weights: dims{"w": {4, 4}}, nodes: []*onnx.Node{
			op("MatMul", "xw", "p"), relu("p", "q"), op("Sub", "xq", "y")}},
		{name: "Mul, Div, Neg", sample: []int64{4}, weights: dims{"w": {4}}, positive: dims{"v": {1, 4}}, nodes: []*onnx.Node{
			op("Mul", "wx", "p"), op("Div", "pv", "q"), op("Neg", "q", "r"), relu("r", "y")}},
		{name: "Abs", sample: []int64{4}, nodes: []*onnx.Node{op("Abs", "x", "y")}},
		{name: "LeakyRelu", sample: []int64{4}, nodes: []*onnx.Node{op("LeakyRelu", "x", "y", onnx.FloatAttr("alpha", 0.2))}},
		{name: "Clip", sample: []int64{4}, constants: []*onnx.Tensor{num("k1", -0.2), num("k2", 0.3)}, nodes: []*onnx.Node{op("Clip", "x12", "y")}},
		{name: "Clip above", sample: []int64{4}, constants: []*onnx.Tensor{num("k2", 0.3)}, nodes: []*onnx.Node{op("Clip", "x-2", "y")}},
		{name: "Max, Min", sample: []int64{4}, weights: dims{"w": {4, 4}, "b": {4}}, nodes: []*onnx.Node{
			op("MatMul", "xw", "p"), op("Max", "pxb", "q"), op("Min", "xp", "r"), op("Min", "rb", "s"), op("Add", "qs", "y")}},
		{name: "Conv", sample: shape, weights: dims{"w": {3, 2, 3, 3}, "b": {3}}, nodes: []*onnx.Node{
			op("Conv", "xwb", "p", onnx.IntsAttr("pads", 1, 0, 1, 2), onnx.IntsAttr("strides", 2, 1)), relu("p", "q"), op("Flatten", "q", "y")}},
		{name: "Conv in groups, dilated", sample: []int64{2, 6, 9}, weights: dims{"w": {4, 1, 2, 3}}, nodes: []*onnx.Node{
			op("Conv", "xw", "p", onnx.IntAttr("group", 2), onnx.IntsAttr("dilations", 2, 1)), relu("p", "q"), op("Flatten", "q", "y")}},
		{name: "Conv of one dimension", sample: []int64{2, 17}, weights: dims{"w": {3, 2, 3}}, nodes: []*onnx.Node{
			op("Conv", "xw", "p", onnx.StringAttr("auto_pad", "SAME_UPPER"), onnx.IntsAttr("strides", 2)), op("Flatten", "p", "y")}},
		{name: "Conv as large as its input", sample: shape, weights: dims{"w": {3, 2, 4, 4}, "b": {3}}, nodes: []*onnx.Node{
			op("Conv", "xwb", "p"), op("Flatten", "p", "y")}},
		{name: "BatchNormalization", sample: shape, weights: dims{"w": {2}, "b": {2}, "mean": {2}}, positive: dims{"var": {2}}, nodes: []*onnx.Node{
			op("BatchNormalization", "xwbmn", "p"), relu("p", "y")}},
		{name: "MaxPool", sample: []int64{2, 5, 5}, nodes: []*onnx.Node{
			op("MaxPool", "x", "p", onnx.IntsAttr("kernel_shape", 3, 2), onnx.IntsAttr("strides", 2, 1), onnx.IntsAttr("pads", 1, 0, 1, 1)), op("Flatten", "p", "y")}},
		{name: "GlobalMaxPool", sample: shape, nodes: []*onnx.Node{op("GlobalMaxPool", "x", "y")}},
		{name: "AveragePool", sample: []int64{2, 5, 5}, nodes: []*onnx.Node{
			op("AveragePool", "x", "y", onnx.IntsAttr("kernel_shape", 2, 3), onnx.IntsAttr("pads", 1, 1, 0, 1))}},
		{name: "AveragePool with pads", sample: []int64{2, 5, 5}, nodes: []*onnx.Node{
			op("AveragePool", "x", "y", onnx.IntsAttr("kernel_shape", 2, 3), onnx.IntsAttr("pads", 1, 1, 0, 1), onnx.IntAttr("count_include_pad", 1))}},
		{name: "GlobalAveragePool", sample: shape, nodes: []*onnx.Node{op("GlobalAveragePool", "x", "y")}},
		{name: "Transpose, Reshape", sample: shape, weights: dims{"w": {8, 3}}, constants: []*onnx.Tensor{ints("k1", 0, -1, 8)}, nodes: []*onnx.Node{
			op("Transpose", "x", "p", onnx.IntsAttr("perm", 0, 2, 3, 1)), op("Reshape", "p1", "q"), op("MatMul", "qw", "y")}},
		{name: "Concat", sample: []int64{2, 3}, weights: dims{"c": {1, 1, 3}}, nodes: []*onnx.Node{
			relu("x", "p"), op("Concat", "pcx", "y", onnx.IntAttr("axis", 1))}},
		{name: "Slice, Pad", sample: []int64{4, 5}, constants: []*onnx.Tensor{ints("k1", 1, -4), ints("k2", 4, 99), ints("k3", 1, 2), ints("k4", 2, 1)}, nodes: []*onnx.Node{
			op("Slice", "x1234", "p"), onnx.NewNode("Pad", []string{"p", "pads"}, []string{"y"})}},
		{name: "Squeeze, Unsqueeze", sample: []int64{1, 3}, constants: []*onnx.Tensor{ints("k1", 1), ints("k2", -1)}, nodes: []*onnx.Node{
			op("Squeeze", "x1", "p"), op("Unsqueeze", "p2", "q"), relu("q", "y")}},
		{name: "what passes a value on", sample: []int64{3}, nodes: []*onnx.Node{
			op("Identity", "x", "p"), op("Dropout", "p", "q"), op("Cast", "q", "r", onnx.IntAttr("to", int64(onnx.Float))), relu("r", "y")}},
	}
}

// Every operator is read right and its bounds hold: over a single point they
// are what ONNX Runtime computes there, over a box they contain what it
// computes at corners and at random points of it.
func TestOperators(t *testing.T) {
	tested := map[string]bool{}
	for _, f := range forms() {
		for _, n := range f.nodes {
			tested[n.Op] = true
		}
		t.Run(f.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 6))
			for i := range f.nodes {
				if f.nodes[i].Op == "Pad" {
					f.constants = append(f.constants, ints("pads", 0, 1, 0, 0, 2, 1))
				}
			}
			m := f.model(rng)
			n, err := Read(m)
			if err != nil {
				t.Fatal(err)
			}
			l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for _, width := range []float64{0, 0.1, 1} {
				checkBounds(t, n, l, rng, width)
			}
		})
	}
	for _, r := range rules() {
		if !tested[r.op] {
			t.Errorf("%s has no form in this test", r.op)
		}
	}
}

func checkBounds(t *testing.T, n *Network, l *model.Local, rng *rand.Rand, width float64) {
	lo, hi := make([]float64, n.Inputs()), make([]float64, n.Inputs())
	for j := range lo {
		lo[j] = float64(float32(rng.NormFloat64()))
		hi[j] = float64(float32(lo[j] + width*rng.Float64()))
	}
	points := 50
	x := tensor.New(append([]int{points}, l.Sample()...)...)
	for i := range points {
		for j := range lo {
			u := rng.Float64()
			if i%2 == 0 {
				u = math.Round(u)
			}
			x.Row(i)[j] = float32(lo[j] + u*(hi[j]-lo[j]))
		}
	}
	y, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []Method{IBP, CROWN, Complete} {
		least, most, err := n.Bounds(t.Context(), lo, hi, Options{Method: m})
		if err != nil {
			t.Fatal(err)
		}
		if msg := violation(y, least, most); msg != "" {
			t.Errorf("%v, width %v: %s", m, width, msg)
		}
		for j := range least {
			if width == 0 && most[j]-least[j] > 1e-4 {
				t.Errorf("%v: over a single point output %d lies between %v and %v", m, j, least[j], most[j])
			}
		}
	}
}

// violation describes the first output outside its bounds.
func violation(y *tensor.Tensor, least, most []float64) string {
	for i := range y.Rows() {
		for j, v := range y.Row(i) {
			if !(float64(v) >= least[j] && float64(v) <= most[j]) {
				return fmt.Sprintf("output %d is %v, bounded by %v and %v", j, v, least[j], most[j])
			}
		}
	}
	return ""
}
