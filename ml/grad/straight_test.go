package grad

import (
	"context"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// straight is derive with the gradients of StraightThrough.
func straight(t *testing.T, m *onnx.Model, x *onnx.Tensor) []float64 {
	t.Helper()
	rt := orttest.Runtime(t)
	shapes, err := rt.Shapes(context.Background(), m, map[string][]int64{"x": x.Dims})
	if err != nil {
		t.Fatal(err)
	}
	names, err := StraightThrough(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = []*onnx.Value{{Name: names[0]}}
	grad, _ := numbers(run(t, session(t, rt, m), map[string]*onnx.Tensor{"x": x})[names[0]])
	return grad
}

// TestStraightThrough: each graph multiplies what its discrete layers yield by
// 3, and has no gradient by the ordinary rules.
func TestStraightThrough(t *testing.T) {
	constants := []*onnx.Tensor{vec(3), vec(0.5), onnx.FloatTensor("steps", []float32{8}, 1)}
	constants = append(constants, onnx.FloatTensor("levels", []float32{3, 1, 4}, 3), onnx.IntTensor("count", []int64{3}, 1))
	constants[0].Name, constants[1].Name = "three", "half"
	feeds := map[string]*onnx.Tensor{"x": vec(0.3, -0.2, 2)}
	to := func(e onnx.DataType) *onnx.Attr { return onnx.IntAttr("to", int64(e)) }
	for name, c := range map[string]struct {
		nodes []*onnx.Node
		want  []float64
	}{
		"levels":   {[]*onnx.Node{node("Mul", "x steps", "a"), node("Round", "a", "b"), node("Div", "b steps", "c")}, []float64{3, 3, 3}},
		"ceil":     {[]*onnx.Node{node("Ceil", "x", "a"), node("Floor", "a", "c")}, []float64{3, 3, 3}},
		"sign":     {[]*onnx.Node{node("Sign", "x", "c")}, []float64{3, 3, 0}},
		"binarise": {[]*onnx.Node{node("Greater", "x half", "a"), node("Cast", "a", "c", to(onnx.Float))}, []float64{3, 3, 3}},
		"inverse":  {[]*onnx.Node{node("LessOrEqual", "x half", "a"), node("Cast", "a", "c", to(onnx.Float))}, []float64{-3, -3, -3}},
		"integers": {[]*onnx.Node{node("Cast", "x", "a", to(onnx.Int64)), node("Cast", "a", "c", to(onnx.Float))}, []float64{3, 3, 3}},
		"choice":   {[]*onnx.Node{node("Greater", "x half", "a"), node("Where", "a three half", "c")}, []float64{7.5, 7.5, 7.5}},
		"band": {[]*onnx.Node{
			node("Greater", "x half", "a"), node("Less", "x three", "b"), node("And", "a b", "d"), node("Not", "d", "e"),
			node("Where", "e half three", "c"),
		}, []float64{7.5, 7.5, 0}},
		"either": {[]*onnx.Node{
			node("Greater", "x half", "a"), node("Greater", "x three", "b"), node("Or", "a b", "d"), node("Cast", "d", "c", to(onnx.Float)),
		}, []float64{6, 6, 3}},
		"indices": {[]*onnx.Node{
			node("Cast", "x", "i", to(onnx.Int64)), node("Gather", "levels i", "b"), node("Cast", "i", "d", to(onnx.Float)),
			node("Sub", "d b", "c"),
		}, []float64{3, 3, 3}},
		"ranks": {[]*onnx.Node{
			node("Round", "x", "r"), node("TopK", "r count", "b i"), node("Cast", "i", "d", to(onnx.Float)), node("Sub", "b d", "c"),
		}, []float64{3, 3, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			build := func() *onnx.Model {
				nodes := []*onnx.Node{}
				for _, n := range append(c.nodes, node("Mul", "c three", "y")) {
					nodes = append(nodes, onnx.NewNode(n.Op, n.Inputs, n.Outputs, n.Attrs...))
				}
				return graph(map[string][]int64{"x": {3}}, constants, []string{"y"}, nodes...)
			}
			equal(t, "ordinary gradient", derive(t, build(), feeds, []string{"y"}, []string{"x"})["x"], 0, 0, 0)
			equal(t, "straight through", straight(t, build(), feeds["x"]), c.want...)
			if len(Discrete(build().Graph, []string{"y"}, []string{"x"})) == 0 {
				t.Error("no discrete node is found")
			}
		})
	}
}
