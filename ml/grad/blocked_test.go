package grad

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// TestBlocked compares the forms for values in blocks of channels with the
// ordinary ones, which an Identity after each convolution brings about. Half of
// the image is even, so that windows tie, and some of it is below zero after
// the first convolution, where Relu ties at zero.
func TestBlocked(t *testing.T) {
	const channels = 2 * channelBlock
	r := rand.New(rand.NewPCG(3, 1))
	draw := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	constants := []*onnx.Tensor{
		onnx.FloatTensor("w1", draw(channels*9), channels, 1, 3, 3),
		onnx.FloatTensor("b1", draw(channels), channels),
		onnx.FloatTensor("w2", draw(channels*channels), channels, channels, 1, 1),
		onnx.FloatTensor("scale", draw(channels), channels),
		onnx.FloatTensor("shift", draw(channels), channels),
		onnx.FloatTensor("mean", draw(channels), channels),
		onnx.FloatTensor("variance", []float32(slices.Repeat([]float32{0.5}, channels)), channels),
	}
	build := func(ordinary bool) *onnx.Model {
		pads, window := onnx.IntsAttr("pads", 1, 1, 1, 1), []*onnx.Attr{onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2)}
		nodes := []*onnx.Node{node("Conv", "x w1 b1", "a", pads)}
		conv := func(v string) string {
			if ordinary {
				nodes = append(nodes, node("Identity", v, v+"'"))
				return v + "'"
			}
			return v
		}
		nodes = append(nodes, node("Relu", conv("a"), "b"), node("MaxPool", "b", "c", window...), node("Conv", "c w2", "d"))
		d := conv("d")
		nodes = append(nodes,
			node("BatchNormalization", d+" scale shift mean variance", "e"),
			node("Relu", "e", "f"), node("MaxPool", "f", "g", window...), node("MaxPool", d, "h", window...),
			node("Add", "g h", "y"))
		return graph(map[string][]int64{"x": {4, 1, 12, 12}}, constants, []string{"y"}, nodes...)
	}
	x := draw(4 * 144)
	for i := range x {
		if i%12 < 6 {
			x[i] = 0.25
		}
	}
	feeds := map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", x, 4, 1, 12, 12)}
	ordinary, blocked := build(true), build(false)
	want := derive(t, ordinary, feeds, []string{"y"}, []string{"x"})["x"]
	got := derive(t, blocked, feeds, []string{"y"}, []string{"x"})["x"]
	for i, w := range want {
		if math.Abs(got[i]-w) > 1e-4*(1+math.Abs(w)) {
			t.Fatalf("gradient %d is %v, in the ordinary form %v", i, got[i], w)
		}
	}
	uses := func(m *onnx.Model, op string) bool {
		return slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == op })
	}
	if !uses(ordinary, "Equal") || uses(blocked, "Equal") == (runtime.GOARCH == "amd64") {
		t.Error("the two models were not differentiated in the two forms")
	}
}
