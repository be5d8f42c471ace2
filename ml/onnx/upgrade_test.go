package onnx_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// small makes a model of a few nodes with one input "x" and one output "y".
func small(opset int64, elem onnx.DataType, dims []int64, nodes []*onnx.Node, weights ...*onnx.Tensor) *onnx.Model {
	m := &onnx.Model{IRVersion: 3, Graph: &onnx.Graph{Name: "small", Nodes: nodes, Initializers: weights}}
	m.SetOpset("", opset)
	m.Graph.Inputs = []*onnx.Value{value("x", elem, dims...)}
	for _, w := range weights { // as IR version 3 demands
		m.Graph.Inputs = append(m.Graph.Inputs, value(w.Name, w.Type, w.Dims...))
	}
	m.Graph.Outputs = []*onnx.Value{{Name: "y", Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: elem}}}}
	return m
}

func value(name string, elem onnx.DataType, dims ...int64) *onnx.Value {
	t := &onnx.TensorType{Elem: elem, HasShape: true}
	for _, d := range dims {
		t.Dims = append(t.Dims, onnx.Dim{Size: d})
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: t}}
}

func node(op string, attrs ...*onnx.Attr) *onnx.Node {
	return onnx.NewNode(op, []string{"x"}, []string{"y"}, attrs...)
}

func floats(name string, v ...float32) *onnx.Attr {
	return &onnx.Attr{Name: name, Type: onnx.AttrFloats, Floats: v}
}

// normal fills a tensor with seeded normal numbers.
func normal(r *rand.Rand, name string, dims ...int64) *onnx.Tensor {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return onnx.FloatTensor(name, v, dims...)
}

// Every operator with a step in Upgrade, in its old form, gives the same
// results in the runtime before and after.
func TestUpgradeKeepsResults(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	in := []int64{2, 3, 4}
	image := []int64{1, 2, 4, 6}
	ints := onnx.IntsAttr
	type one struct {
		name    string
		opset   int64
		dims    []int64
		nodes   []*onnx.Node
		weights []*onnx.Tensor
	}
	tests := []one{
		{"clip both", 7, in, []*onnx.Node{node("Clip", onnx.FloatAttr("min", -0.5), onnx.FloatAttr("max", 0.25))}, nil},
		{"clip below", 10, in, []*onnx.Node{node("Clip", onnx.FloatAttr("min", 0))}, nil},
		{"clip none", 7, in, []*onnx.Node{node("Clip")}, nil},
		{"dropout", 7, in, []*onnx.Node{node("Dropout", onnx.FloatAttr("ratio", 0.3))}, nil},
		{"dropout with idle mask", 10, in, []*onnx.Node{onnx.NewNode("Dropout", []string{"x"}, []string{"y", "mask"})}, nil},
		{"slice", 9, in, []*onnx.Node{node("Slice", ints("starts", 1, -3), ints("ends", 9, -1), ints("axes", 1, 2))}, nil},
		{"slice without axes", 9, in, []*onnx.Node{node("Slice", ints("starts", 0, 1), ints("ends", 1, 2))}, nil},
		{"topk", 9, in, []*onnx.Node{onnx.NewNode("TopK", []string{"x"}, []string{"y", "i"}, onnx.IntAttr("k", 2))}, nil},
		{"upsample 7", 7, image, []*onnx.Node{node("Upsample", floats("scales", 1, 1, 2, 3))}, nil},
		{"upsample 7 fraction", 7, image, []*onnx.Node{node("Upsample", floats("scales", 1, 1, 1.6, 2.5))}, nil},
		{"upsample 7 linear", 7, image, []*onnx.Node{node("Upsample", floats("scales", 1, 1, 2, 2.5), onnx.StringAttr("mode", "linear"))}, nil},
		{"upsample 9", 9, image, []*onnx.Node{onnx.NewNode("Upsample", []string{"x", "s"}, []string{"y"})},
			[]*onnx.Tensor{onnx.FloatTensor("s", []float32{1, 1, 2, 2}, 4)}},
		{"upsample 9 with computed scales", 9, image, []*onnx.Node{
			onnx.NewNode("Identity", []string{"s"}, []string{"c"}), onnx.NewNode("Upsample", []string{"x", "c"}, []string{"y"})},
			[]*onnx.Tensor{onnx.FloatTensor("s", []float32{1, 1, 1.7, 2}, 4)}},
		{"resize 10 up", 10, image, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "s"}, []string{"y"})},
			[]*onnx.Tensor{onnx.FloatTensor("s", []float32{1, 1, 1.5, 2.2}, 4)}},
		{"resize 10 down", 10, image, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "s"}, []string{"y"})},
			[]*onnx.Tensor{onnx.FloatTensor("s", []float32{1, 1, 0.6, 0.7}, 4)}},
		{"resize 10 linear", 10, image, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "s"}, []string{"y"}, onnx.StringAttr("mode", "linear"))},
			[]*onnx.Tensor{onnx.FloatTensor("s", []float32{1, 1, 0.6, 1.7}, 4)}},
		{"resize 11 sizes", 11, image, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "roi", "none", "sizes"}, []string{"y"}, onnx.StringAttr("mode", "cubic"))},
			[]*onnx.Tensor{onnx.FloatTensor("roi", nil, 0), onnx.FloatTensor("none", nil, 0), onnx.IntTensor("sizes", []int64{1, 2, 7, 5}, 4)}},
		{"pad", 10, in, []*onnx.Node{node("Pad", ints("pads", 0, 1, 0, 0, 0, 2), onnx.FloatAttr("value", 1.5))}, nil},
		{"pad reflect", 7, in, []*onnx.Node{node("Pad", ints("pads", 0, 1, 0, 0, 0, 2), onnx.StringAttr("mode", "reflect"))}, nil},
		{"scatter", 9, in, []*onnx.Node{onnx.NewNode("Scatter", []string{"x", "i", "u"}, []string{"y"}, onnx.IntAttr("axis", 1))},
			[]*onnx.Tensor{onnx.IntTensor("i", []int64{2, 0}, 1, 1, 2), onnx.FloatTensor("u", []float32{7, 8}, 1, 1, 2)}},
		{"softmax last", 7, []int64{5, 6}, []*onnx.Node{node("Softmax")}, nil},
		{"softmax flattened", 11, in, []*onnx.Node{node("Softmax")}, nil},
		{"softmax axis 0", 9, in, []*onnx.Node{node("Softmax", onnx.IntAttr("axis", 0))}, nil},
		{"softmax axis -2", 11, in, []*onnx.Node{node("Softmax", onnx.IntAttr("axis", -2))}, nil},
		{"logsoftmax flattened", 12, in, []*onnx.Node{node("LogSoftmax", onnx.IntAttr("axis", 1))}, nil},
		{"hardmax flattened", 11, in, []*onnx.Node{node("Hardmax", onnx.IntAttr("axis", 1))}, nil},
		{"softmax of unknown rank", 11, in, []*onnx.Node{
			onnx.NewNode("Shape", []string{"x"}, []string{"shape"}),
			onnx.NewNode("Reshape", []string{"x", "shape"}, []string{"h"}),
			onnx.NewNode("Softmax", []string{"h"}, []string{"y"}, onnx.IntAttr("axis", 2))}, nil},
		{"squeeze", 7, []int64{2, 1, 3, 1}, []*onnx.Node{node("Squeeze", ints("axes", 1))}, nil},
		{"squeeze all", 11, []int64{2, 1, 3, 1}, []*onnx.Node{node("Squeeze")}, nil},
		{"unsqueeze", 11, in, []*onnx.Node{node("Unsqueeze", ints("axes", 0, -1))}, nil},
		{"split equal", 12, []int64{4, 3}, []*onnx.Node{onnx.NewNode("Split", []string{"x"}, []string{"a", "y"}, onnx.IntAttr("axis", 0))}, nil},
		{"split", 12, []int64{4, 3}, []*onnx.Node{onnx.NewNode("Split", []string{"x"}, []string{"a", "y"}, ints("split", 1, 3))}, nil},
		{"batch normalisation", 7, image, []*onnx.Node{onnx.NewNode("BatchNormalization", []string{"x", "s", "b", "m", "v"}, []string{"y"}, onnx.IntAttr("spatial", 1))},
			[]*onnx.Tensor{normal(r, "s", 2), normal(r, "b", 2), normal(r, "m", 2), onnx.FloatTensor("v", []float32{1, 2}, 2)}},
		{"conv and pool", 7, image, []*onnx.Node{
			onnx.NewNode("Conv", []string{"x", "w"}, []string{"c"}, onnx.StringAttr("auto_pad", "SAME_UPPER"), ints("kernel_shape", 3, 3)),
			onnx.NewNode("AveragePool", []string{"c"}, []string{"y"}, ints("kernel_shape", 2, 2), ints("strides", 2, 2), ints("pads", 1, 0, 1, 0))},
			[]*onnx.Tensor{normal(r, "w", 3, 2, 3, 3)}},
		{"gemm and flatten", 7, in, []*onnx.Node{
			onnx.NewNode("Flatten", []string{"x"}, []string{"f"}),
			onnx.NewNode("Gemm", []string{"f", "w", "b"}, []string{"y"}, onnx.IntAttr("transB", 1))},
			[]*onnx.Tensor{normal(r, "w", 5, 12), normal(r, "b", 5)}},
	}
	for _, op := range []string{"ReduceSum", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"} {
		tests = append(tests,
			one{op, 7, in, []*onnx.Node{node(op, ints("axes", 0, 2), onnx.IntAttr("keepdims", 0))}, nil},
			one{op + " of all", 12, in, []*onnx.Node{node(op)}, nil})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := small(test.opset, onnx.Float, test.dims, test.nodes, test.weights...)
			feeds := map[string]*onnx.Tensor{"x": normal(r, "x", test.dims...)}
			want, err := run(t, m, feeds)
			if err != nil {
				t.Fatalf("the runtime refuses the old form: %v", err)
			}
			for to := test.opset + 1; to <= onnx.MaxUpgrade; to++ {
				c := m.Clone()
				if err := onnx.Upgrade(c, to); err != nil {
					t.Fatal(err)
				}
				if c.Opset("") != to {
					t.Errorf("opset %d, want %d", c.Opset(""), to)
				}
				if err := onnx.Check(c); err != nil {
					t.Fatal(err)
				}
				got, err := run(t, c, feeds)
				if err != nil {
					t.Fatalf("at opset %d: %v", to, err)
				}
				compare(t, test.name, got, want, 0, 0)
			}
		})
	}
}

// Bounds take the type of the data, even where it is not declared.
func TestUpgradeClipTypes(t *testing.T) {
	for _, elem := range []onnx.DataType{onnx.Float, onnx.Double, onnx.Float16} {
		m := small(10, onnx.Float, []int64{3}, []*onnx.Node{
			onnx.NewNode("Cast", []string{"x"}, []string{"h"}, onnx.IntAttr("to", int64(elem))),
			onnx.NewNode("Identity", []string{"h"}, []string{"i"}),
			onnx.NewNode("Clip", []string{"i"}, []string{"c"}, onnx.FloatAttr("min", -0.1), onnx.FloatAttr("max", 0.7)),
			onnx.NewNode("Cast", []string{"c"}, []string{"y"}, onnx.IntAttr("to", 1)),
		})
		if err := onnx.Upgrade(m, 18); err != nil {
			t.Fatal(err)
		}
		got, err := run(t, m, map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{-2, 0.5, 3}, 3)})
		if err != nil {
			t.Fatalf("%v: %v", elem, err)
		}
		compare(t, elem.String(), got, map[string]*onnx.Tensor{"y": onnx.FloatTensor("y", []float32{-0.1, 0.5, 0.7}, 3)}, 1e-3, 0)
	}
}

func TestUpgradeRefuses(t *testing.T) {
	in := []int64{1, 2, 4, 4}
	for _, test := range []struct {
		name string
		m    *onnx.Model
		to   int64
		want string
	}{
		{"target", small(12, onnx.Float, in, []*onnx.Node{node("Relu")}), 19, "not supported as a target"},
		{"spatial", small(8, onnx.Float, in, []*onnx.Node{node("BatchNormalization", onnx.IntAttr("spatial", 0))}), 18, `BatchNormalization node "-> y"`},
		{"mask", small(9, onnx.Float, in, []*onnx.Node{onnx.NewNode("Dropout", []string{"x"}, []string{"h", "y"})}), 18, "mask"},
		{"both ways", small(10, onnx.Float, in, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "s"}, []string{"y"})},
			onnx.FloatTensor("s", []float32{1, 1, 2, 0.5}, 4)), 18, "scales some axes up and others down"},
		{"coordinates", small(11, onnx.Float, in, []*onnx.Node{onnx.NewNode("Resize", []string{"x", "", "s"}, []string{"y"},
			onnx.StringAttr("coordinate_transformation_mode", "tf_half_pixel_for_nn"))}, onnx.FloatTensor("s", []float32{1, 1, 2, 2}, 4)), 18, "tf_half_pixel_for_nn"},
	} {
		if err := onnx.Upgrade(test.m, test.to); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	m := small(20, onnx.Float, in, []*onnx.Node{node("Relu")})
	if err := onnx.Upgrade(m, 18); err != nil || m.Opset("") != 20 {
		t.Errorf("a newer model became opset %d, error %v; want it left at 20", m.Opset(""), err)
	}
}
