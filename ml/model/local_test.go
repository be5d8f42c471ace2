package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// network makes a small smooth classifier: x [N, d] -> tanh -> logits [N, k].
func network(rng *rand.Rand, d, hidden, k int) *onnx.Model {
	w := func(name string, dims ...int64) *onnx.Tensor {
		v := make([]float32, (&onnx.Tensor{Dims: dims}).Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return onnx.FloatTensor(name, v, dims...)
	}
	val := func(name string, n int64) *onnx.Value {
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{
			Elem: onnx.Float, HasShape: true, Dims: []onnx.Dim{{Size: -1, Symbol: "N"}, {Size: n}},
		}}}
	}
	m := &onnx.Model{IRVersion: 8, Graph: &onnx.Graph{
		Name: "net", Inputs: []*onnx.Value{val("x", int64(d))}, Outputs: []*onnx.Value{val("z", int64(k))},
		Nodes: []*onnx.Node{
			onnx.NewNode("Gemm", []string{"x", "w1", "b1"}, []string{"h"}),
			onnx.NewNode("Tanh", []string{"h"}, []string{"a"}),
			onnx.NewNode("Gemm", []string{"a", "w2", "b2"}, []string{"z"}),
		},
		Initializers: []*onnx.Tensor{w("w1", int64(d), int64(hidden)), w("b1", int64(hidden)), w("w2", int64(hidden), int64(k)), w("b2", int64(k))},
	}}
	m.SetOpset("", 18)
	return m
}

func local(t testing.TB, m *onnx.Model, cfg model.Config) *model.Local {
	t.Helper()
	l, err := model.New(t.Context(), orttest.Runtime(t), m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// The gradient of every objective agrees with differences of its value, which
// is computed apart from it, in Go and float64.
func TestGradientOfEveryObjective(t *testing.T) {
	const n, d, k = 6, 5, 7
	rng := rand.New(rand.NewPCG(3, 4))
	l := local(t, network(rng, d, 9, k), model.Config{})
	labels, targets := []int{0, 1, 2, 3, 4, 5}, []int{6, 5, 4, 2, 1, 0}
	w, b := tensor.New(n, 3, k), tensor.New(n, 3)
	for i := range w.Data {
		w.Data[i] = float32(rng.NormFloat64())
	}
	for _, obj := range []*model.Objective{
		{Loss: model.CrossEntropy, Labels: labels},
		{Loss: model.CrossEntropy, Labels: labels, Targets: targets},
		{Loss: model.Margin, Labels: labels},
		{Loss: model.Margin, Labels: labels, Targets: targets},
		{Loss: model.DLR, Labels: labels},
		{Loss: model.DLR, Labels: labels, Targets: targets},
		{Loss: model.Constraints, W: w, B: b},
	} {
		t.Run(fmt.Sprint(obj.Loss, " targeted ", obj.Targets != nil), func(t *testing.T) {
			x := tensor.New(n, d)
			for i := range x.Data {
				x.Data[i] = 0.3 * float32(rng.NormFloat64())
			}
			_, g, err := l.Gradient(t.Context(), x, obj)
			if err != nil {
				t.Fatal(err)
			}
			g = g.Clone()
			for j := range x.Data {
				const h = 1e-3
				row := j / d
				at := func(step float32) float64 {
					y := x.Clone()
					y.Data[j] += step
					z, err := l.Scores(t.Context(), y)
					if err != nil {
						t.Fatal(err)
					}
					return obj.Value(row, z.Row(row))
				}
				want := (at(h) - at(-h)) / (2 * h)
				// float32 logits of size 10 leave about 1e-6/h in a difference.
				if got := float64(g.Data[j]); math.Abs(got-want) > 2e-2*math.Max(1, math.Abs(want)) {
					t.Errorf("element %d: gradient %.4f, difference %.4f", j, got, want)
				}
			}
		})
	}
}

// What a softmax hides, attacks read beneath it; normalisation happens inside.
func TestPreparation(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	plain := network(rng, 4, 8, 3)
	x := tensor.Of([]float32{0.1, 0.9, 0.5, 0.3}, 1, 4)
	want := scores(t, local(t, plain, model.Config{}), x)

	soft := plain.Clone()
	soft.Graph.Nodes = append(soft.Graph.Nodes, onnx.NewNode("Softmax", []string{"z"}, []string{"p"}, onnx.IntAttr("axis", 1)))
	soft.Graph.Outputs[0].Name = "p"
	l := local(t, soft, model.Config{})
	if l.Probability() != "Softmax" {
		t.Errorf("Probability() = %q, want Softmax", l.Probability())
	}
	near(t, "beneath softmax", scores(t, l, x), want, 1e-5)

	// Softmax by hand cannot be looked beneath: the logarithm undoes it up to
	// a constant.
	hand := plain.Clone()
	hand.Graph.Nodes = append(hand.Graph.Nodes,
		onnx.NewNode("Exp", []string{"z"}, []string{"e"}),
		onnx.NewNode("ReduceL1", []string{"e", "one"}, []string{"s"}),
		onnx.NewNode("Div", []string{"e", "s"}, []string{"p"}))
	hand.Graph.Initializers = append(hand.Graph.Initializers, onnx.IntTensor("one", []int64{1}, 1))
	hand.Graph.Outputs[0].Name = "p"
	l = local(t, hand, model.Config{})
	got := scores(t, l, x)
	for i := range got {
		got[i] += want[0] - scores(t, l, x)[0]
	}
	near(t, "logarithm of probabilities", got, want, 1e-4)

	shifted := tensor.Of([]float32{0.1*2 + 0.5, 0.9*2 + 0.5, 0.5*2 + 0.5, 0.3*2 + 0.5}, 1, 4)
	l = local(t, plain, model.Config{Mean: []float64{0.5}, Std: []float64{2}})
	near(t, "normalised", scores(t, l, shifted), want, 1e-5)
}

// A sigmoid of one score becomes two classes whose softmax is the sigmoid.
func TestOneScoreIsTwoClasses(t *testing.T) {
	m := network(rand.New(rand.NewPCG(7, 8)), 4, 8, 1)
	x := tensor.Of([]float32{0.1, 0.9, 0.5, 0.3}, 1, 4)
	raw := scores(t, local(t, m, model.Config{Raw: true}), x)
	sig := m.Clone()
	sig.Graph.Nodes = append(sig.Graph.Nodes, onnx.NewNode("Sigmoid", []string{"z"}, []string{"p"}))
	sig.Graph.Outputs[0].Name = "p"
	l := local(t, sig, model.Config{})
	if l.Classes() != 2 {
		t.Fatalf("Classes() = %d, want 2", l.Classes())
	}
	near(t, "two classes", scores(t, l, x), []float32{0, raw[0]}, 1e-5)
}

func scores(t testing.TB, l *model.Local, x *tensor.Tensor) []float32 {
	t.Helper()
	z, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	return z.Clone().Data
}

func near(t testing.TB, what string, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > tol {
			t.Errorf("%s: got %v, want %v", what, got, want)
			return
		}
	}
}

// Every shared classifier opens; those exported for one sample run in batches.
func TestSharedModelsOpen(t *testing.T) {
	rt := orttest.Runtime(t)
	var files []string
	for _, p := range []string{"models/*/*.onnx*", "vnncomp/*/*.onnx.gz"} {
		found, err := filepath.Glob(filepath.Join(need.Data(t, "."), p))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// Several inputs, or nothing like a batch of samples.
	refused := map[string]bool{
		"silero_vad_16k_op15.onnx": true, "yalue_example_multitype.onnx": true,
		"yalue_example_several_inputs_and_outputs.onnx": true, "yalue_example_big_compute.onnx": true,
	}
	for _, f := range files {
		name := filepath.Base(f)
		if name == "yalue_example_big_compute.onnx" {
			continue // 50 million elements a sample
		}
		l, err := model.Open(t.Context(), rt, f, model.Config{})
		if refused[name] != (err != nil) {
			t.Errorf("%s: err = %v, want refusal: %v", name, err, refused[name])
		}
		if err != nil && strings.Contains(err.Error(), " inputs ") && !strings.Contains(err.Error(), "constants of the graph") {
			t.Errorf("%s: %v: want the remedy", name, err)
		}
		if err != nil {
			continue
		}
		if !l.Batched() {
			t.Errorf("%s: runs one sample at a time", name)
		}
		l.Close()
	}
}
