package grad

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// TestSharedNetworks checks gradients of other people's whole networks against
// difference quotients, and that those without a gradient are refused by name.
func TestSharedNetworks(t *testing.T) {
	rt := orttest.Runtime(t)
	for _, path := range sharedNetworks(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".onnx")
		t.Run(name, func(t *testing.T) {
			m, err := onnx.Read(path, onnx.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if err := onnx.Upgrade(m, 18); err != nil {
				t.Fatal(err)
			}
			if op := refused[name]; op != "" {
				refuse(t, rt, m, op)
				return
			}
			if at := cuts[name]; at != "" {
				cut(t, rt, m, at)
			}
			checkNetwork(t, rt, m)
		})
	}
}

// refused are the networks that have no gradient, and the operator to blame.
var refused = map[string]string{
	"adult_gbdt60":               "TreeEnsembleRegressor",
	"adult_rf40":                 "TreeEnsembleClassifier",
	"digits_rf40":                "TreeEnsembleClassifier",
	"german_gbdt60":              "TreeEnsembleRegressor",
	"nslkdd_rf40":                "TreeEnsembleClassifier",
	"yalue_sklearn_randomforest": "TreeEnsembleClassifier",
	"silero_vad_16k_op15":        "If",
}

// cuts are the networks over integers, and the first operator after their
// embedding: they are differentiated in its result.
var cuts = map[string]string{"standard_v3_3_model": "Tanh"}

func sharedNetworks(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, dir := range []string{"models", "vnncomp"} {
		err := filepath.WalkDir(need.Data(t, dir), func(p string, d fs.DirEntry, err error) error {
			base := filepath.Base(p)
			// ACAS Xu is 27 networks of one form, and the examples are no networks:
			// they exercise input types, one of them with 200 MB.
			skip := strings.HasPrefix(base, "ACASXU") && !strings.Contains(base, "_1_1_") || strings.HasPrefix(base, "yalue_example")
			if strings.HasSuffix(strings.TrimSuffix(p, ".gz"), ".onnx") && !skip {
				paths = append(paths, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// feedShapes are the shapes of a model's feeds, its first unknown dimension
// the batch and any other 1, and which feeds are floats.
func feedShapes(m *onnx.Model) (shapes map[string][]int64, floats []string) {
	shapes = map[string][]int64{}
	for _, v := range m.Graph.Feeds() {
		var dims []int64
		for i, d := range v.Type.Tensor.Dims {
			switch {
			case d.Fixed():
				dims = append(dims, d.Size)
			case i == 0:
				dims = append(dims, -1)
			default:
				dims = append(dims, 1)
			}
		}
		shapes[v.Name] = dims
		if v.Type.Tensor.Elem.IsFloat() {
			floats = append(floats, v.Name)
		}
	}
	return shapes, floats
}

func refuse(t *testing.T, rt *ort.Runtime, m *onnx.Model, op string) {
	t.Helper()
	feeds, wrt := feedShapes(m)
	if op == "If" {
		feeds = map[string][]int64{"input": {1, 576}, "state": {2, 1, 128}, "sr": {}}
	}
	shapes, err := rt.Shapes(context.Background(), m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	var outputs []string
	for _, v := range m.Graph.Outputs {
		if shapes[v.Name].Elem.IsFloat() {
			outputs = append(outputs, v.Name)
		}
	}
	if len(outputs) == 0 { // a sequence of maps; its scores lie beneath
		for _, n := range m.Graph.Nodes {
			if n.Op == op {
				outputs = n.Outputs[1:]
			}
		}
	}
	before := len(m.Graph.Nodes)
	_, err = VJP(m.Graph, shapes, outputs, make([]string, len(outputs)), wrt)
	var p Problem
	if !errors.As(err, &p) || p.Op != op || !strings.Contains(err.Error(), "scores or labels only") {
		t.Errorf("VJP gives %v, want a problem with %s", err, op)
	}
	if len(m.Graph.Nodes) != before {
		t.Errorf("a refused graph has grown from %d to %d nodes", before, len(m.Graph.Nodes))
	}
	problems := Check(m.Graph, outputs, wrt)
	if !slices.ContainsFunc(problems, func(q Problem) bool { return q == p }) {
		t.Errorf("Check lists %v, want %v among them", problems, p)
	}
}

// cut makes the result of the first operator of a kind an input of the model.
func cut(t *testing.T, rt *ort.Runtime, m *onnx.Model, op string) {
	t.Helper()
	feeds, _ := feedShapes(m)
	shapes, err := rt.Shapes(context.Background(), m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VJP(m.Graph, shapes, []string{m.Graph.Outputs[0].Name}, []string{""}, []string{m.Graph.Inputs[0].Name}); err == nil ||
		!strings.Contains(err.Error(), "name a floating-point value") {
		t.Errorf("VJP in an integer input gives %v", err)
	}
	i := slices.IndexFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == op })
	name := m.Graph.Nodes[i].Outputs[0]
	m.Graph.Nodes = slices.Delete(m.Graph.Nodes, i, i+1)
	m.Graph.Inputs = append(m.Graph.Inputs, declare(name, onnx.Float, shapes[name].Dims))
	onnx.Prune(m.Graph, []string{m.Graph.Outputs[0].Name})
}

// checkNetwork compares directional derivatives of a random projection of the
// outputs. Networks whose operators all have float64 kernels are evaluated in
// float64, where the two agree to many digits. In float32 the quotient is
// rough: narrow steps drown in rounding and wide ones cross kinks. So the
// direction is the gradient's own, whose derivative is as large as any, and
// the best of several widths must agree to 1 %.
func checkNetwork(t *testing.T, rt *ort.Runtime, m *onnx.Model) {
	t.Helper()
	exact := asDouble(m)
	feeds, wrt := feedShapes(m)
	shapes, err := rt.Shapes(context.Background(), m, feeds)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{model: m, shapes: shapes, wrt: wrt}
	for _, v := range m.Graph.Outputs {
		if shapes[v.Name].Elem.IsFloat() {
			tr.out = append(tr.out, v.Name)
		}
	}
	if problems := Check(m.Graph, tr.out, wrt); problems != nil {
		t.Errorf("Check finds %v", problems)
	}
	f := session(t, rt, m)
	r := rand.New(rand.NewPCG(5, 5))
	// Random images are brighter than real ones, and saturate some networks.
	for _, bright := range []float64{1, 0.1, 0.01} {
		tr.point = randomPoint(r, m, feeds, bright)
		w := tr.randomWeights(r, run(t, f, tr.point))
		direction, length := unit(tr.gradients(t, rt, Rules, w))
		if length < 1e-6 {
			continue
		}
		widths, tol := []float64{1e-1, 3e-2, 1e-2, 3e-3, 1e-3}, 0.01
		if exact {
			widths, tol = []float64{1e-4, 1e-5, 1e-6}, 1e-6
		}
		best := math.Inf(1)
		for _, h := range widths {
			up, down := run(t, f, tr.moved(direction, h)), run(t, f, tr.moved(direction, -h))
			best = min(best, math.Abs((tr.project(up, w)-tr.project(down, w))/(2*h)-length)/length)
		}
		if !(best <= tol) {
			t.Errorf("along the gradient, of length %g, the difference quotient is off by %.2g of it, want at most %g", length, best, tol)
		}
		return
	}
	t.Fatal("the gradient vanishes everywhere")
}

// randomPoint draws floats from [0, bright], at batch 3; integers are zero.
func randomPoint(r *rand.Rand, m *onnx.Model, feeds map[string][]int64, bright float64) map[string]*onnx.Tensor {
	point := map[string]*onnx.Tensor{}
	for _, v := range m.Graph.Feeds() {
		dims := slices.Clone(feeds[v.Name])
		for i := range dims {
			if dims[i] < 0 {
				dims[i] = 3
			}
		}
		elem := v.Type.Tensor.Elem
		if elem.IsFloat() {
			point[v.Name] = draw(r, elem, within(0, bright, dims...))
			continue
		}
		n := (&onnx.Tensor{Dims: dims}).Len()
		point[v.Name] = onnx.RawTensor(v.Name, elem, make([]byte, n*int64(elem.Bits())/8), dims...)
	}
	return point
}

// randomWeights draws a weight for every element of the outputs.
func (tr *trial) randomWeights(r *rand.Rand, y map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	w := map[string]*onnx.Tensor{}
	for _, name := range tr.out {
		w[name] = draw(r, y[name].Type, u(y[name].Dims...))
	}
	return w
}

// project is <w, y>.
func (tr *trial) project(y, w map[string]*onnx.Tensor) (sum float64) {
	for _, name := range tr.out {
		a, _ := numbers(y[name])
		b, _ := numbers(w[name])
		for i := range a {
			sum += a[i] * b[i]
		}
	}
	return sum
}

// unit scales gradients to length 1 over all.
func unit(grads map[string]*onnx.Tensor) (direction map[string][]float64, length float64) {
	direction = map[string][]float64{}
	for name, g := range grads {
		direction[name], _ = numbers(g)
		for _, v := range direction[name] {
			length += v * v
		}
	}
	length = math.Sqrt(length)
	for name := range direction {
		for i := range direction[name] {
			direction[name][i] /= length
		}
	}
	return direction, length
}

// asDouble turns a float32 network into a float64 one if all its operators
// have kernels for that.
func asDouble(m *onnx.Model) bool {
	for _, n := range m.Graph.Nodes {
		switch n.Op {
		case "Add", "Sub", "Mul", "Div", "Gemm", "MatMul", "Relu", "Flatten", "Reshape", "Softmax", "Constant", "Identity":
		default:
			return false
		}
	}
	widen := func(x *onnx.Tensor) {
		if v, ok := numbers(x); ok {
			*x = *onnx.RawTensor(x.Name, onnx.Double, floats(v, onnx.Double, x.Dims).Raw, x.Dims...)
		}
	}
	for _, x := range m.Graph.Initializers {
		widen(x)
	}
	for _, n := range m.Graph.Nodes {
		for _, a := range n.Attrs {
			if a.Tensor != nil {
				widen(a.Tensor)
			}
		}
	}
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if v.Type != nil && v.Type.Tensor != nil && v.Type.Tensor.Elem == onnx.Float {
			v.Type.Tensor.Elem = onnx.Double
		}
	}
	m.Graph.Values = nil
	return true
}

// TestPyTorch compares with PyTorch's gradients of networks that it exported;
// testdata/make.py made them.
func TestPyTorch(t *testing.T) {
	rt := orttest.Runtime(t)
	paths, err := filepath.Glob("testdata/*.onnx")
	if err != nil || len(paths) != 6 {
		t.Fatalf("found %d networks (%v), want 6", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := onnx.Read(path, onnx.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			x, w, want := m.Graph.Initializer("test.x"), m.Graph.Initializer("test.w"), m.Graph.Initializer("test.g")
			onnx.Prune(m.Graph, []string{"y"})
			if err := onnx.Upgrade(m, 18); err != nil {
				t.Fatal(err)
			}
			shapes, err := rt.Shapes(context.Background(), m, map[string][]int64{"x": append([]int64{-1}, x.Dims[1:]...)})
			if err != nil {
				t.Fatal(err)
			}
			tr := &trial{model: m, shapes: shapes, point: map[string]*onnx.Tensor{"x": x}, wrt: []string{"x"}, out: []string{"y"}}
			got := tr.gradients(t, rt, Rules, map[string]*onnx.Tensor{"y": w})
			near(t, "gradient", got["x"], want, 1e-5)
		})
	}
}
