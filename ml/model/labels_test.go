package model_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// A file whose scores contradict its own labels is refused; one whose labels
// agree, or are not class numbers, is taken.
func TestLabelsAgainstScores(t *testing.T) {
	labelled := func(op string, shift int64) *onnx.Model {
		m := network(rand.New(rand.NewPCG(9, 9)), 4, 8, 3)
		g := m.Graph
		g.Nodes = append(g.Nodes,
			onnx.NewNode(op, []string{"z"}, []string{"best"}, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 0)),
			onnx.NewNode("Add", []string{"best", "shift"}, []string{"label"}))
		g.Initializers = append(g.Initializers, onnx.IntTensor("shift", []int64{shift}))
		label := &onnx.Value{Name: "label", Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{
			Elem: onnx.Int64, HasShape: true, Dims: []onnx.Dim{{Size: -1, Symbol: "N"}},
		}}}
		g.Outputs = append([]*onnx.Value{label}, g.Outputs...)
		return m
	}
	for name, c := range map[string]struct {
		m       *onnx.Model
		refused bool
	}{
		"agreeing":              {labelled("ArgMax", 0), false},
		"contradicted":          {labelled("ArgMin", 0), true},
		"from ten":              {labelled("ArgMin", 10), false},
		"columns, agreeing":     {inFloats(columnar(labelled("ArgMax", 0), onnx.Float)), false},
		"columns, contradicted": {inFloats(columnar(labelled("ArgMin", 0), onnx.Float)), true},
	} {
		l, err := model.New(t.Context(), orttest.Runtime(t), c.m, model.Config{})
		if refused := err != nil && strings.Contains(err.Error(), "contradict"); refused != c.refused {
			t.Errorf("%s: err = %v, want refusal: %v", name, err, c.refused)
		}
		if err == nil {
			l.Close()
		}
	}
}

// inFloats has every input hold float32.
func inFloats(m *onnx.Model) *onnx.Model {
	for _, in := range m.Graph.Inputs {
		in.Type.Tensor.Elem = onnx.Float
	}
	return m
}
