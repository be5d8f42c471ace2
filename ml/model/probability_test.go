package model

import (
	"math"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Scores from a file and the same scores from elsewhere must become the same
// logits: the graph that a file gets is the oracle.
func TestLogitsAreWhatAFileGets(t *testing.T) {
	rt := orttest.Runtime(t)
	for name, rows := range map[string][][]float32{
		"three classes":  {{0.2, 0.3, 0.5}, {1, 0, 0}, {1e-20, 0.5, 0.5}},
		"one class":      {{0.25}, {1}, {0}, {0.999}},
		"plain single":   {{-3}, {4}},
		"plain triplets": {{-3, 2, 8}, {4, 4, 4}},
	} {
		k := len(rows[0])
		x := tensor.New(len(rows), k)
		for i, r := range rows {
			copy(x.Row(i), r)
		}
		probabilities := Probabilities(x, 1e-4)
		if want := name == "three classes" || name == "one class"; probabilities != want {
			t.Errorf("%s: taken for probabilities: %v, want %v", name, probabilities, want)
		}
		p := &prepared{model: &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 18}}, Graph: &onnx.Graph{
			Inputs:  []*onnx.Value{floats(inputName, []int64{-1, int64(k)})},
			Nodes:   []*onnx.Node{onnx.NewNode("Identity", []string{inputName}, []string{"scores"})},
			Outputs: []*onnx.Value{floats("scores", []int64{-1, int64(k)})},
		}}, sample: []int64{int64(k)}}
		if _, err := p.finish(onnx.Shape{Elem: onnx.Float, Dims: []int64{-1, int64(k)}}, Config{}, probabilities); err != nil {
			t.Fatal(err)
		}
		session, err := rt.NewSession(p.model, ort.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		out, err := session.RunTensors(t.Context(), map[string]*onnx.Tensor{
			inputName: onnx.FloatTensor("x", x.Data, int64(len(rows)), int64(k)),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := out[logitsName].Floats()
		got := Logits(x, probabilities)
		if len(got.Data) != len(want) {
			t.Fatalf("%s: shape %v, the file's has %d elements", name, got.Shape, len(want))
		}
		for i, v := range got.Data {
			if w := want[i]; math.Abs(float64(v-w)) > 1e-5*(1+math.Abs(float64(w))) {
				t.Errorf("%s: element %d is %v, the file's %v", name, i, v, w)
			}
		}
	}
}
