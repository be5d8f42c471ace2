package onnx_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

func operators(g *onnx.Graph) []string {
	var ops []string
	for _, n := range g.AllNodes {
		ops = append(ops, n.Op)
	}
	return ops
}

func TestCheckRefuses(t *testing.T) {
	in := []int64{2}
	relu := func(x, y string) *onnx.Node { return onnx.NewNode("Relu", []string{x}, []string{y}) }
	branch := func(x string) *onnx.Attr {
		return onnx.GraphAttr("body", &onnx.Graph{Name: "body", Nodes: []*onnx.Node{relu(x, "r")}, Outputs: []*onnx.Value{value("r", onnx.Float)}})
	}
	raw := func(dims ...int64) *onnx.Tensor {
		return &onnx.Tensor{Name: "w", Type: onnx.Float, Dims: dims, Raw: make([]byte, 8)}
	}
	f := &onnx.Function{Name: "F", Domain: "", Nodes: []*onnx.Node{onnx.NewNode("F", nil, []string{"y"})}, Opsets: []onnx.Opset{{Version: 18}}}
	recursive := small(18, onnx.Float, in, []*onnx.Node{relu("x", "y")})
	recursive.Functions = []*onnx.Function{f}
	for _, test := range []struct {
		name string
		m    *onnx.Model
		want string
	}{
		{"nothing", &onnx.Model{}, "no graph"},
		{"undefined", small(18, onnx.Float, in, []*onnx.Node{relu("nowhere", "y")}), `uses "nowhere", which nothing defines`},
		{"twice", small(18, onnx.Float, in, []*onnx.Node{relu("x", "y"), relu("x", "y")}), "output of two nodes"},
		{"over an input", small(18, onnx.Float, in, []*onnx.Node{relu("x", "x"), relu("x", "y")}), "also an input"},
		{"cycle", small(18, onnx.Float, in, []*onnx.Node{relu("b", "a"), relu("a", "b"), relu("x", "y")}), "cycle"},
		{"self", small(18, onnx.Float, in, []*onnx.Node{relu("y", "y")}), "cycle"},
		{"no output", small(18, onnx.Float, in, []*onnx.Node{relu("x", "z")}), `output "y"`},
		{"old", small(6, onnx.Float, in, []*onnx.Node{relu("x", "y")}), "supported range 7 to 26"},
		{"new", small(27, onnx.Float, in, []*onnx.Node{relu("x", "y")}), "supported range 7 to 26"},
		{"domain", small(18, onnx.Float, in, []*onnx.Node{{Op: "Relu", Domain: "elsewhere", Inputs: []string{"x"}, Outputs: []string{"y"}}}), `domain "elsewhere"`},
		{"bytes", small(18, onnx.Float, in, []*onnx.Node{relu("x", "y")}, raw(3)), "asks for 12 bytes and it has 8"},
		{"negative", small(18, onnx.Float, in, []*onnx.Node{relu("x", "y")}, raw(-1, -2)), "negative dimension"},
		{"absurd", small(18, onnx.Float, in, []*onnx.Node{relu("x", "y")}, raw(1<<40, 1<<40)), "more than 2^46 elements"},
		{"absurd input", small(18, onnx.Float, []int64{1 << 50}, []*onnx.Node{relu("x", "y")}), "more than 2^46 elements"},
		{"scope", small(18, onnx.Float, in, []*onnx.Node{onnx.NewNode("Scan", []string{"x"}, []string{"y"}, branch("nowhere"))}), "nowhere"},
		{"inner name outside", small(18, onnx.Float, in, []*onnx.Node{onnx.NewNode("Scan", []string{"x"}, []string{"z"}, branch("x")), relu("r", "y")}), `"r", which nothing defines`},
		{"no operator", small(18, onnx.Float, in, []*onnx.Node{relu("x", "y"), {Outputs: []string{"z"}}}), "no operator"},
		{"recursion", recursive, "calls itself"},
		{"attributes", small(18, onnx.Float, in, []*onnx.Node{onnx.NewNode("Relu", []string{"x"}, []string{"y"}, onnx.IntAttr("a", 1), onnx.IntAttr("a", 2))}), "two attributes"},
	} {
		if err := onnx.Check(test.m); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// Nodes out of order are put in order; those in order keep it.
func TestCheckSorts(t *testing.T) {
	relu := func(x, y string) *onnx.Node { return onnx.NewNode("Relu", []string{x}, []string{y}) }
	inner := onnx.GraphAttr("then_branch", &onnx.Graph{Name: "b", Nodes: []*onnx.Node{relu("c", "r")}, Outputs: []*onnx.Value{value("r", onnx.Float)}})
	m := small(18, onnx.Float, []int64{2}, []*onnx.Node{
		onnx.NewNode("If", []string{"x"}, []string{"y"}, inner), // captures c
		relu("b", "c"), relu("x", "a"), relu("a", "b"), relu("x", "d"),
	})
	if err := onnx.Check(m); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range m.Graph.Nodes {
		got = append(got, n.Outputs[0])
	}
	if want := []string{"a", "b", "c", "y", "d"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestPrune(t *testing.T) {
	relu := func(x, y string) *onnx.Node { return onnx.NewNode("Relu", []string{x}, []string{y}) }
	inner := onnx.GraphAttr("then_branch", &onnx.Graph{Name: "b", Nodes: []*onnx.Node{
		onnx.NewNode("Add", []string{"a", "w"}, []string{"r"}), relu("a", "idle inside"),
	}, Outputs: []*onnx.Value{value("r", onnx.Float)}})
	m := small(18, onnx.Float, []int64{2}, []*onnx.Node{
		relu("x", "a"), relu("a", "idle"), relu("idle", "idler"),
		onnx.NewNode("If", []string{"x"}, []string{"y"}, inner),
		onnx.NewNode("Add", []string{"x", "dead"}, []string{"also idle"}),
	}, onnx.FloatTensor("w", []float32{1}, 1), onnx.FloatTensor("dead", []float32{1}, 1))
	m.Graph.Values = []*onnx.Value{value("a", onnx.Float, 2), value("idle", onnx.Float, 2)}
	onnx.Prune(m.Graph, []string{"y"})
	if got, want := operators(m.Graph), []string{"Relu", "If", "Add"}; !slices.Equal(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
	if m.Graph.Initializer("w") == nil || m.Graph.Initializer("dead") != nil {
		t.Error("kept the wrong initializers")
	}
	if len(m.Graph.Inputs) != 2 || len(m.Graph.Values) != 1 {
		t.Errorf("%d inputs and %d values, want x, w and a", len(m.Graph.Inputs), len(m.Graph.Values))
	}
	if err := onnx.Check(m); err != nil {
		t.Error(err)
	}
}

// The exporter's usual detour to a fixed shape becomes a constant, at the old
// form of the operators and the new, and the results stay the same.
func TestSimplifyFoldsShapes(t *testing.T) {
	index := func(v ...int64) *onnx.Tensor { return onnx.IntTensor("", v, int64(len(v))) }
	constant := func(name string, t *onnx.Tensor) *onnx.Node {
		return onnx.NewNode("Constant", nil, []string{name}, onnx.TensorAttr("value", t))
	}
	n := onnx.NewNode
	tail := []*onnx.Node{
		n("Cast", []string{"rows"}, []string{"rows32"}, onnx.IntAttr("to", int64(onnx.Int32))),
		n("Cast", []string{"rows32"}, []string{"rows64"}, onnx.IntAttr("to", int64(onnx.Int64))),
		n("Mul", []string{"rows64", "two"}, []string{"double"}),
		n("Div", []string{"double", "two"}, []string{"half"}),
		n("Concat", []string{"half", "minus"}, []string{"shape"}, onnx.IntAttr("axis", 0)),
		n("ConstantOfShape", []string{"count"}, []string{"ones"}, onnx.TensorAttr("value", index(1))),
		n("Equal", []string{"shape", "ones"}, []string{"eq"}),
		n("Where", []string{"eq", "ones", "shape"}, []string{"target"}),
		n("Reshape", []string{"x", "target"}, []string{"r"}),
		n("Identity", []string{"r"}, []string{"i"}),
		n("Dropout", []string{"i"}, []string{"d", "mask"}),
		n("Relu", []string{"d"}, []string{"p"}),
		n("Identity", []string{"p"}, []string{"y"}),
	}
	constants := []*onnx.Node{
		constant("zero", onnx.IntTensor("", []int64{0})), constant("two", index(2)), constant("minus", index(-1)), constant("count", index(2)),
		constant("axis0", index(0)), constant("end", index(1<<62)), n("Shape", []string{"x"}, []string{"s"}),
	}
	old := []*onnx.Node{
		n("Slice", []string{"s"}, []string{"cut"}, onnx.IntsAttr("starts", -3), onnx.IntsAttr("ends", 1<<62), onnx.IntsAttr("axes", 0)),
		n("Gather", []string{"cut", "zero"}, []string{"row"}),
		n("Unsqueeze", []string{"row"}, []string{"rows"}, onnx.IntsAttr("axes", 0)),
	}
	current := []*onnx.Node{
		n("Slice", []string{"s", "axis0", "end"}, []string{"cut"}),
		n("Gather", []string{"cut", "zero"}, []string{"row"}),
		n("Unsqueeze", []string{"row", "axis0"}, []string{"rows"}),
	}
	r := rand.New(rand.NewPCG(5, 6))
	for opset, middle := range map[int64][]*onnx.Node{9: old, 13: current, 18: current} {
		m := small(opset, onnx.Float, []int64{2, 3, 4}, slices.Concat(constants, middle, tail)).Clone()
		feeds := map[string]*onnx.Tensor{"x": normal(r, "x", 2, 3, 4)}
		want, err := run(t, m, feeds)
		if err != nil {
			t.Fatal(err)
		}
		if err := onnx.Simplify(m); err != nil {
			t.Fatal(err)
		}
		if got, want := operators(m.Graph), []string{"Reshape", "Relu"}; !slices.Equal(got, want) {
			t.Errorf("opset %d: nodes %v, want %v", opset, got, want)
		}
		got, err := run(t, m, feeds)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "simplified", got, want, 0, 0)
		// Where the shape varies there is nothing to fold.
		m = small(opset, onnx.Float, []int64{-1, 3, 4}, slices.Concat(constants, middle, tail)).Clone()
		if err := onnx.Simplify(m); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(operators(m.Graph), "Shape") {
			t.Errorf("opset %d: a shape that varies was folded", opset)
		}
	}
}

// What looks superfluous and is not stays.
func TestSimplifyKeeps(t *testing.T) {
	n := onnx.NewNode
	in := []int64{2}
	training := onnx.RawTensor("train", onnx.Bool, []byte{1})
	for _, test := range []struct {
		name string
		m    *onnx.Model
		want string
	}{
		{"input to output", small(18, onnx.Float, in, []*onnx.Node{n("Identity", []string{"x"}, []string{"y"})}), "Identity"},
		{"training", small(18, onnx.Float, in, []*onnx.Node{n("Dropout", []string{"x", "", "train"}, []string{"y"})}, training), "Dropout"},
		{"mask", small(18, onnx.Float, in, []*onnx.Node{n("Dropout", []string{"x"}, []string{"h", "m"}), n("Where", []string{"m", "h", "x"}, []string{"y"})}), "Dropout Where"},
		{"division by zero", small(18, onnx.Float, in, []*onnx.Node{
			n("Div", []string{"one", "nought"}, []string{"q"}), n("Expand", []string{"x", "q"}, []string{"y"})},
			onnx.IntTensor("one", []int64{1}, 1), onnx.IntTensor("nought", []int64{0}, 1)), "Div Expand"},
		{"constant output", small(18, onnx.Int64, in, []*onnx.Node{n("Shape", []string{"x"}, []string{"y"})}), "Constant"},
		{"another domain", func() *onnx.Model {
			id := n("Identity", []string{"x"}, []string{"h"})
			id.Domain = "local"
			m := small(18, onnx.Float, in, []*onnx.Node{id, n("Relu", []string{"h"}, []string{"y"})})
			m.SetOpset("local", 1)
			return m
		}(), "Identity Relu"},
	} {
		if err := onnx.Simplify(test.m); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := strings.Join(operators(test.m.Graph), " "); got != test.want {
			t.Errorf("%s: nodes %s, want %s", test.name, got, test.want)
		}
	}
}

// Every shared image network that was exported for one sample gives for a
// batch what it gives for each sample alone.
func TestFreeBatch(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	freed := 0
	for _, path := range sharedModels(t) {
		name := filepath.Base(path)
		m, err := onnx.Read(path, onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		feeds := m.Graph.Feeds()
		dims, ok := sampleDims(feeds)
		if !ok || strings.HasPrefix(name, "yalue") || slices.Contains(operators(m.Graph), "Resize") {
			continue
		}
		original := m.Clone()
		if err := onnx.Upgrade(m, onnx.MaxUpgrade); err != nil {
			t.Error(err)
			continue
		}
		if err := onnx.Simplify(m); err != nil {
			t.Error(err)
			continue
		}
		if onnx.FreeBatch(m) != 1 {
			continue
		}
		freed++
		const batch = 3
		x := normal(r, feeds[0].Name, append([]int64{batch}, dims...)...)
		together, err := run(t, m, map[string]*onnx.Tensor{x.Name: x})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		row := len(x.Raw) / batch
		for i := range batch {
			one := onnx.RawTensor(x.Name, onnx.Float, x.Raw[i*row:(i+1)*row], append([]int64{1}, dims...)...)
			alone, err := run(t, original, map[string]*onnx.Tensor{x.Name: one})
			if err != nil {
				t.Fatal(err)
			}
			for out, want := range alone {
				got := together[out]
				n := len(want.Raw)
				if len(got.Raw) != batch*n {
					t.Fatalf("%s: output %v, want %d times %v", name, got.Dims, batch, want.Dims)
				}
				got = onnx.RawTensor(out, onnx.Float, got.Raw[i*n:(i+1)*n], want.Dims...)
				if d := differ(got, want, 1e-4, 1e-4); d != "" {
					t.Errorf("%s sample %d: %s", name, i, d)
				}
			}
		}
	}
	if freed < 20 {
		t.Errorf("freed the batch of %d networks, want at least 20", freed)
	}
	t.Logf("freed the batch of %d networks", freed)
}

// sampleDims is the fixed shape of one sample of a network's only input.
func sampleDims(feeds []*onnx.Value) ([]int64, bool) {
	if len(feeds) != 1 || feeds[0].Type.Tensor.Elem != onnx.Float {
		return nil, false
	}
	var dims []int64
	for _, d := range feeds[0].Type.Tensor.Dims[1:] {
		if !d.Fixed() {
			return nil, false
		}
		dims = append(dims, d.Size)
	}
	return dims, true
}

// The constants in which exporters write the number of samples down.
func TestFreeBatchConstants(t *testing.T) {
	n := onnx.NewNode
	r := rand.New(rand.NewPCG(9, 10))
	zeros := onnx.FloatTensor("h0", make([]float32, 3), 1, 1, 3)
	for _, test := range []struct {
		name    string
		dims    []int64
		nodes   []*onnx.Node
		weights []*onnx.Tensor
	}{
		{"reshape", []int64{1, 2, 6}, []*onnx.Node{n("Reshape", []string{"x", "s"}, []string{"y"})},
			[]*onnx.Tensor{onnx.IntTensor("s", []int64{1, 3, 4}, 3)}},
		{"reshape with a rest", []int64{1, 2, 6}, []*onnx.Node{n("Reshape", []string{"x", "s"}, []string{"y"})},
			[]*onnx.Tensor{onnx.IntTensor("s", []int64{1, -1}, 2)}},
		{"reshape that allows zeros and has none", []int64{1, 2, 6}, []*onnx.Node{n("Reshape", []string{"x", "s"}, []string{"y"}, onnx.IntAttr("allowzero", 1))},
			[]*onnx.Tensor{onnx.IntTensor("s", []int64{1, -1}, 2)}},
		{"resize", []int64{1, 2, 3, 3}, []*onnx.Node{n("Resize", []string{"x", "", "", "s"}, []string{"y"}, onnx.StringAttr("mode", "linear"))},
			[]*onnx.Tensor{onnx.IntTensor("s", []int64{1, 2, 5, 7}, 4)}},
		{"class token", []int64{1, 2, 3}, []*onnx.Node{
			n("Expand", []string{"token", "s"}, []string{"one"}),
			n("Concat", []string{"one", "x"}, []string{"y"}, onnx.IntAttr("axis", 1))},
			[]*onnx.Tensor{onnx.FloatTensor("token", []float32{7, 8, 9}, 1, 1, 3), onnx.IntTensor("s", []int64{1, 1, 1}, 3)}},
		{"recurrent state", []int64{1, 4, 2}, []*onnx.Node{
			n("Transpose", []string{"x"}, []string{"t"}, onnx.IntsAttr("perm", 1, 0, 2)),
			n("GRU", []string{"t", "w", "r", "", "", "h0"}, []string{"all", "last"}, onnx.IntAttr("hidden_size", 3)),
			n("Squeeze", []string{"last", "zero"}, []string{"y"})},
			[]*onnx.Tensor{normal(r, "w", 1, 9, 2), normal(r, "r", 1, 9, 3), zeros, onnx.IntTensor("zero", []int64{0}, 1)}},
	} {
		m := small(18, onnx.Float, test.dims, test.nodes, test.weights...)
		m.IRVersion = 8
		if err := onnx.Simplify(m); err != nil {
			t.Fatal(err)
		}
		m.Graph.Outputs[0].Type = nil
		alone := m.Clone()
		if got := onnx.FreeBatch(m); got != 1 {
			t.Errorf("%s: freed a batch of %d, want 1", test.name, got)
		}
		x := normal(r, "x", append([]int64{3}, test.dims[1:]...)...)
		together, err := run(t, m, map[string]*onnx.Tensor{"x": x})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		row := len(x.Raw) / 3
		var want []byte
		for i := range 3 {
			one := onnx.RawTensor("x", onnx.Float, x.Raw[i*row:(i+1)*row], test.dims...)
			out, err := run(t, alone, map[string]*onnx.Tensor{"x": one})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, out["y"].Raw...)
		}
		y := together["y"]
		if d := differ(y, onnx.RawTensor("y", onnx.Float, want, y.Dims...), 1e-5, 1e-6); d != "" || y.Dims[0] != 3 {
			t.Errorf("%s: %v %s", test.name, y.Dims, d)
		}
	}
}
