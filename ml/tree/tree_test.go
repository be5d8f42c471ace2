package tree_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/tree"
)

var also = flag.String("models", "", "compare the tree models in this folder too")

// noise is n samples around zero, some of them whole numbers.
func noise(n, d int, spread float64) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(5, 6))
	x := tensor.New(n, d)
	for i := range x.Data {
		x.Data[i] = float32(spread * rng.NormFloat64())
		if rng.IntN(2) == 0 {
			x.Data[i] = float32(math.Round(4*float64(x.Data[i])) / 4)
		}
	}
	return x
}

func classes(t *testing.T, l *model.Local, x *tensor.Tensor) []int {
	t.Helper()
	z, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int, x.Rows())
	for i := range out {
		out[i] = tensor.ArgMax(z.Row(i))
	}
	return out
}

// On the shared models the trees decide as ONNX Runtime does, on their
// reference samples and on noise, and their sums give its probabilities.
func TestShared(t *testing.T) {
	rt := orttest.Runtime(t)
	folder := need.Data(t, "models/tabular")
	for _, name := range []string{"adult_gbdt60", "adult_rf40", "digits_rf40", "german_gbdt60", "nslkdd_rf40"} {
		l, err := model.Open(t.Context(), rt, filepath.Join(folder, name+".onnx"), model.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		e, err := tree.Read(l.File())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		x, p := reference(t, filepath.Join(folder, name+".ref.json"))
		for _, x := range []*tensor.Tensor{x, noise(500, e.Features, 10)} {
			if _, err := e.Agree(x, classes(t, l, x)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		sums := make([]float32, e.Outputs)
		for i := range x.Rows() {
			e.Sums(sums, x.Row(i))
			if e.Outputs == 1 { // a log-odds
				sums = []float32{float32(1 / (1 + math.Exp(float64(sums[0]))))}
			}
			for k, v := range sums {
				if d := math.Abs(float64(v - p.Row(i)[k])); d > 1e-6 {
					t.Fatalf("%s: sample %d: class %d has %v, ONNX Runtime says %v", name, i, k, v, p.Row(i)[k])
				}
			}
		}
	}
}

// reference reads the inputs and the probabilities beside a shared model.
func reference(t *testing.T, path string) (x, p *tensor.Tensor) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Shape  []int  `json:"shape"`
		X      string `json:"x_f32le_b64"`
		PShape []int  `json:"probabilities_shape"`
		P      string `json:"probabilities_f32le_b64"`
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	floats := func(text string, shape []int) *tensor.Tensor {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		out := tensor.New(shape...)
		for i := range out.Data {
			out.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		return out
	}
	return floats(ref.X, ref.Shape), floats(ref.P, ref.PShape)
}

// Models of other makers, given by a flag.
func TestGiven(t *testing.T) {
	if *also == "" {
		t.Skip("no folder given with -models")
	}
	rt := orttest.Runtime(t)
	paths, _ := filepath.Glob(filepath.Join(*also, "*.onnx"))
	for _, path := range paths {
		name := filepath.Base(path)
		l, err := model.Open(t.Context(), rt, path, model.Config{Sample: []int{6}})
		if err != nil {
			t.Logf("%s: open: %v", name, err)
			continue
		}
		defer l.Close()
		e, err := tree.Read(l.File())
		if errors.Is(err, tree.ErrNone) {
			continue
		}
		if err != nil {
			t.Logf("%s: refused: %v", name, err)
			continue
		}
		x := noise(2000, e.Features, 2)
		if _, err := e.Agree(x, classes(t, l, x)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func doubles(name string, v ...float64) *onnx.Attr {
	raw := make([]byte, 0, 8*len(v))
	for _, f := range v {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(f))
	}
	return onnx.TensorAttr(name, onnx.RawTensor(name, onnx.Double, raw, int64(len(v))))
}

func value(name string, elem onnx.DataType, dims ...int64) *onnx.Value {
	t := &onnx.TensorType{Elem: elem, HasShape: true}
	for _, d := range dims {
		dim := onnx.Dim{Size: d}
		if d < 0 {
			dim.Symbol = "N"
		}
		t.Dims = append(t.Dims, dim)
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: t, Kind: "tensor"}}
}

func graph(elem onnx.DataType, features, outputs int64, nodes ...*onnx.Node) *onnx.Model {
	m := &onnx.Model{IRVersion: 10, Graph: &onnx.Graph{
		Name: "trees", Nodes: nodes, Inputs: []*onnx.Value{value("x", elem, -1, features)}, Outputs: []*onnx.Value{value("y", elem, -1, outputs)},
	}}
	m.SetOpset("", 18)
	m.SetOpset("ai.onnx.ml", 5)
	return m
}

// every is a tree of version 5 with each way to compare, and a second tree.
func every() *onnx.Node {
	f32 := func(name string, v ...float32) *onnx.Attr {
		return onnx.TensorAttr(name, onnx.FloatTensor(name, v, int64(len(v))))
	}
	nan := float32(math.NaN())
	n := onnx.NewNode("TreeEnsemble", []string{"x"}, []string{"y"},
		onnx.IntAttr("n_targets", 3), onnx.IntsAttr("tree_roots", 0, 7),
		onnx.IntsAttr("nodes_featureids", 0, 1, 2, 0, 1, 2, 0, 2),
		f32("nodes_splits", 0.25, -0.5, 0.75, 1, 0.5, 0.25, 0, 0),
		onnx.TensorAttr("nodes_modes", onnx.RawTensor("", onnx.Uint8, []byte{0, 1, 2, 3, 4, 5, 6, 0}, 8)),
		onnx.IntsAttr("nodes_truenodeids", 1, 3, 5, 0, 2, 4, 6, 8), onnx.IntsAttr("nodes_trueleafs", 0, 0, 0, 1, 1, 1, 1, 1),
		onnx.IntsAttr("nodes_falsenodeids", 2, 4, 6, 1, 3, 5, 7, 9), onnx.IntsAttr("nodes_falseleafs", 0, 0, 0, 1, 1, 1, 1, 1),
		f32("membership_values", 0.5, 2, 1.25, nan),
		onnx.IntsAttr("leaf_targetids", 0, 1, 2, 0, 1, 2, 0, 1, 2, 0),
		f32("leaf_weights", 1, 2, 3, 4, 5, 6, 7, 8, 3.5, 2.5),
	)
	n.Domain = "ai.onnx.ml"
	return n
}

// Every way to compare, in the newer form and behind steps of each kind.
func TestEveryMode(t *testing.T) {
	rt := orttest.Runtime(t)
	scaler := onnx.NewNode("Scaler", []string{"x"}, []string{"s"},
		&onnx.Attr{Name: "offset", Type: onnx.AttrFloats, Floats: []float32{0.1, -0.2, 0.3}},
		&onnx.Attr{Name: "scale", Type: onnx.AttrFloats, Floats: []float32{2, -1.5, 0.7}})
	scaler.Domain = "ai.onnx.ml"
	vectorizer := onnx.NewNode("FeatureVectorizer", []string{"b", "a"}, []string{"v"}, onnx.IntsAttr("inputdimensions", 2, 1))
	vectorizer.Domain = "ai.onnx.ml"
	behind := func(pre ...*onnx.Node) *onnx.Model {
		n := every()
		n.Inputs[0] = pre[len(pre)-1].Outputs[0]
		m := graph(onnx.Float, 3, 3, append(pre, n)...)
		m.Graph.Initializers = []*onnx.Tensor{
			onnx.FloatTensor("k", []float32{3, 0.3, -1.1}, 3), onnx.FloatTensor("one", []float32{1.7}),
			onnx.IntTensor("third first", []int64{2, 0}, 2), onnx.IntTensor("last", []int64{-1}, 1),
		}
		return m
	}
	for name, m := range map[string]*onnx.Model{
		"bare":   graph(onnx.Float, 3, 3, every()),
		"scaler": behind(scaler),
		"arithmetic": behind(onnx.NewNode("Mul", []string{"k", "x"}, []string{"a"}), onnx.NewNode("Sub", []string{"one", "a"}, []string{"b"}),
			onnx.NewNode("Div", []string{"b", "k"}, []string{"c"}), onnx.NewNode("Add", []string{"c", "one"}, []string{"d"})),
		"joined": behind(onnx.NewNode("Gather", []string{"x", "third first"}, []string{"a"}, onnx.IntAttr("axis", 1)),
			onnx.NewNode("Mul", []string{"a", "one"}, []string{"b"}), onnx.NewNode("Gather", []string{"x", "last"}, []string{"c"}, onnx.IntAttr("axis", 1)),
			onnx.NewNode("Round", []string{"c"}, []string{"d"}), onnx.NewNode("Concat", []string{"b", "d"}, []string{"e"}, onnx.IntAttr("axis", -1))),
		"vectorised": behind(onnx.NewNode("Gather", []string{"x", "last"}, []string{"a"}, onnx.IntAttr("axis", 1)),
			onnx.NewNode("Gather", []string{"x", "third first"}, []string{"b"}, onnx.IntAttr("axis", 1)), vectorizer),
	} {
		l, err := model.New(t.Context(), rt, m, model.Config{Raw: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer l.Close()
		e, err := tree.Read(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		x := noise(4000, 3, 1)
		z, err := l.Scores(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		sums := make([]float32, 3)
		for i := range x.Rows() {
			e.Sums(sums, x.Row(i))
			for k := range sums {
				if sums[k] != z.Row(i)[k] {
					t.Fatalf("%s: sample %v: sums %v, ONNX Runtime says %v", name, x.Row(i), sums, z.Row(i))
				}
			}
		}
	}
}

// A model whose trees are not all there is to it is found out.
func TestAgreeRefuses(t *testing.T) {
	e, err := tree.Read(graph(onnx.Float, 3, 3, every()))
	if err != nil {
		t.Fatal(err)
	}
	x := noise(300, 3, 1)
	answers := make([]int, x.Rows())
	for i := range answers {
		answers[i] = e.Decide(x.Row(i))
	}
	if _, err := e.Agree(x, answers); err != nil {
		t.Error(err)
	}
	answers[17] = (answers[17] + 1) % 3
	if _, err := e.Agree(x, answers); err == nil || !strings.Contains(err.Error(), "1 of 300") {
		t.Errorf("another answer on one sample: %v", err)
	}
}

func TestDamagedTrees(t *testing.T) {
	for name, damage := range map[string]struct {
		do   func(n *onnx.Node)
		want string
	}{
		"circle":  {func(n *onnx.Node) { n.Attr("nodes_truenodeids").Ints[1] = 0 }, "own ancestor"},
		"shared":  {func(n *onnx.Node) { n.Attr("nodes_falsenodeids").Ints[1] = 3 }, "two parents"},
		"outside": {func(n *onnx.Node) { n.Attr("nodes_truenodeids").Ints[0] = 99 }, "does not exist"},
		"root":    {func(n *onnx.Node) { n.Attr("tree_roots").Ints[0] = -1 }, "does not exist"},
		"short":   {func(n *onnx.Node) { n.Attr("nodes_featureids").Ints = []int64{1} }, "differ in length"},
		"feature": {func(n *onnx.Node) { n.Attr("nodes_featureids").Ints[0] = -4 }, "tests feature"},
		"target":  {func(n *onnx.Node) { n.Attr("leaf_targetids").Ints[0] = 3 }, "target 3 of 3"},
		"wide":    {func(n *onnx.Node) { n.Attr("nodes_featureids").Ints[0] = 3 }, "feature 3 of 3"},
		"most":    {func(n *onnx.Node) { n.Attr("n_targets").Int = 1 << 40 }, "differ in length"},
	} {
		n := every()
		damage.do(n)
		if _, err := tree.Read(graph(onnx.Float, 3, 3, n)); err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s: got %v, want %q", name, err, damage.want)
		}
	}
}

// A value that is joined with itself again and again is given up in time, be it empty.
func TestJoinedWithoutEnd(t *testing.T) {
	for _, width := range []int64{3, 0} {
		nodes := []*onnx.Node{}
		from := "x"
		for i := range 60 {
			to := fmt.Sprint("twice", i)
			nodes = append(nodes, onnx.NewNode("Concat", []string{from, from}, []string{to}, onnx.IntAttr("axis", 1)))
			from = to
		}
		n := every()
		n.Inputs[0] = from
		if _, err := tree.Read(graph(onnx.Float, width, 3, append(nodes, n)...)); err == nil || !strings.Contains(err.Error(), "columns lie before the trees") {
			t.Errorf("width %d: %v", width, err)
		}
	}
}

// Thresholds in doubles are compared as ONNX Runtime compares doubles.
func TestDoubles(t *testing.T) {
	n := onnx.NewNode("TreeEnsembleRegressor", []string{"x"}, []string{"y"},
		onnx.IntsAttr("nodes_treeids", 4, 4, 4), onnx.IntsAttr("nodes_nodeids", 0, 1, 2), onnx.IntsAttr("nodes_featureids", 0, 0, 0),
		doubles("nodes_values_as_tensor", 0.1, 0, 0),
		&onnx.Attr{Name: "nodes_modes", Type: onnx.AttrStrings, Strings: [][]byte{[]byte("BRANCH_LEQ"), []byte("LEAF"), []byte("LEAF")}},
		onnx.IntsAttr("nodes_truenodeids", 1, 0, 0), onnx.IntsAttr("nodes_falsenodeids", 2, 0, 0),
		onnx.IntsAttr("target_treeids", 4, 4), onnx.IntsAttr("target_nodeids", 1, 2), onnx.IntsAttr("target_ids", 0, 0),
		doubles("target_weights_as_tensor", -1, 1), onnx.IntAttr("n_targets", 1))
	n.Domain = "ai.onnx.ml"
	e, err := tree.Read(graph(onnx.Double, 1, 1, n))
	if err != nil {
		t.Fatal(err)
	}
	// The float32 nearest to 0.1 is above the double 0.1.
	if got := e.Decide([]float32{0.1}); got != 1 {
		t.Errorf("float32(0.1) came to class %d: as a double it is above 0.1", got)
	}
	if got := e.Decide([]float32{math.Nextafter32(0.1, 0)}); got != 0 {
		t.Errorf("the float32 below 0.1 came to class %d", got)
	}
}
