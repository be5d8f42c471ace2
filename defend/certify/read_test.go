package certify

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// What cannot be bounded is refused, with the node's name and the reason.
func TestNetworksThatAreRefused(t *testing.T) {
	matrix := dims{"w": {3, 3}}
	for name, c := range map[string]struct {
		f    form
		want string
	}{
		"operator": {form{sample: []int64{3}, nodes: []*onnx.Node{
			{Op: "Sigmoid", Name: "gate", Inputs: []string{"x"}, Outputs: []string{"y"}}}}, `Sigmoid "gate": there are no bounds`},
		"product of values":        {form{sample: []int64{3}, nodes: []*onnx.Node{op("Mul", "xx", "y")}}, "one factor"},
		"division by zero":         {form{sample: []int64{3}, constants: []*onnx.Tensor{num("k1", 0)}, nodes: []*onnx.Node{op("Div", "x1", "y")}}, "divides by zero"},
		"matrix on the left":       {form{sample: []int64{3}, weights: matrix, nodes: []*onnx.Node{op("MatMul", "wx", "y")}}, "constant"},
		"matrix that does not fit": {form{sample: []int64{4}, weights: matrix, nodes: []*onnx.Node{op("MatMul", "xw", "y")}}, "matrix"},
		"operand left out":         {form{sample: []int64{3}, nodes: []*onnx.Node{op("Add", "x-", "y")}}, "left out"},
		"slice of one axis twice": {form{sample: []int64{4}, constants: []*onnx.Tensor{ints("k1", 1, 1), ints("k2", 3, 3), ints("k3", 1, 1)},
			nodes: []*onnx.Node{op("Slice", "x123", "y")}}, "each once"},
		"pads beyond reason": {form{sample: []int64{1, 4, 4}, nodes: []*onnx.Node{
			op("MaxPool", "x", "y", onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("pads", 1<<20, 1<<20, 1<<20, 1<<20))}}, "too large"},
		"a cast that rounds": {form{sample: []int64{3}, nodes: []*onnx.Node{op("Cast", "x", "y", onnx.IntAttr("to", int64(onnx.Int64)))}}, "rounds"},
		"constant output":    {form{sample: []int64{3}, weights: matrix, nodes: []*onnx.Node{op("Identity", "w", "y")}}, "does not depend on the input"},
	} {
		if _, err := Read(c.f.model(rand.New(rand.NewPCG(1, 2)))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want one about %q", name, err, c.want)
		}
	}
	m := form{sample: []int64{3}, nodes: []*onnx.Node{op("Relu", "x", "y")}}.model(nil)
	m.Graph.Inputs[0].Type.Tensor.Dims[0].Size = 8
	if _, err := Read(m); err == nil || !strings.Contains(err.Error(), "8 samples at once") {
		t.Errorf("a batch of 8: err = %v", err)
	}
}
