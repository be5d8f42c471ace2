package onnx_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// The elements of every width become the float32 nearest to them.
func TestSingleTensors(t *testing.T) {
	doubles := func(v ...float64) (raw []byte) {
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(f))
		}
		return raw
	}
	words := func(v ...uint16) (raw []byte) {
		for _, h := range v {
			raw = binary.LittleEndian.AppendUint16(raw, h)
		}
		return raw
	}
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		elem onnx.DataType
		raw  []byte
		want []float32
	}{
		{onnx.Double, doubles(0.1, -math.MaxFloat64, math.Inf(-1), 1e-60), []float32{0.1, -math.MaxFloat32, -inf, 0}},
		// The values that IEEE 754 names: one, the largest, the least normal,
		// the least, the infinities.
		{onnx.Float16, words(0x3c00, 0x7bff, 0x0400, 0x0001, 0xfc00, 0xc000), []float32{1, 65504, 0x1p-14, 0x1p-24, -inf, -2}},
		{onnx.BFloat16, words(0x3f80, 0xc000, 0x7f80), []float32{1, -2, inf}},
	} {
		m := &onnx.Model{Graph: &onnx.Graph{Initializers: []*onnx.Tensor{onnx.RawTensor("w", c.elem, c.raw, int64(len(c.want)))}}}
		old := m.Clone()
		if !onnx.Single(m) {
			t.Errorf("%v: nothing changed", c.elem)
			continue
		}
		if got := m.Graph.Initializers[0].Floats(); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.elem, got, c.want)
		}
		if w := old.Graph.Initializers[0]; w.Type != c.elem || !slices.Equal(w.Raw, c.raw) {
			t.Errorf("%v: the clone changed as well", c.elem)
		}
		if onnx.Single(m) {
			t.Errorf("%v: a float32 model was changed", c.elem)
		}
	}
}

// A network in float64 with types in every place where they hide computes in
// float32 what it computed in float64.
func TestSingleModel(t *testing.T) {
	branch := func(op string) *onnx.Graph {
		return &onnx.Graph{Name: op, Nodes: []*onnx.Node{onnx.NewNode(op, []string{"c"}, []string{op})},
			Outputs: []*onnx.Value{value(op, onnx.Double, 2)}}
	}
	w := binary.LittleEndian.AppendUint64(nil, math.Float64bits(0.5))
	m := small(18, onnx.Double, []int64{2}, []*onnx.Node{
		onnx.NewNode("Constant", nil, []string{"half"}, onnx.TensorAttr("value", onnx.RawTensor("", onnx.Double, w))),
		onnx.NewNode("Mul", []string{"x", "half"}, []string{"a"}),
		onnx.NewNode("Cast", []string{"a"}, []string{"b"}, onnx.IntAttr("to", int64(onnx.Float))),
		onnx.NewNode("Cast", []string{"b"}, []string{"c"}, onnx.IntAttr("to", int64(onnx.Double))),
		onnx.NewNode("If", []string{"yes"}, []string{"y"}, onnx.GraphAttr("then_branch", branch("Exp")), onnx.GraphAttr("else_branch", branch("Neg"))),
	}, onnx.RawTensor("yes", onnx.Bool, []byte{1}))
	m.IRVersion = 8
	if !onnx.Single(m) {
		t.Fatal("nothing changed")
	}
	out, err := run(t, m, map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{1, -2}, 2)})
	if err != nil {
		t.Fatal(err)
	}
	want := onnx.FloatTensor("y", []float32{float32(math.Exp(0.5)), float32(math.Exp(-1))}, 2)
	if d := differ(out["y"], want, 1e-6, 0); d != "" {
		t.Errorf("y %s", d)
	}
}
