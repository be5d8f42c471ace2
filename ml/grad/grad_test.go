package grad

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// graph makes a model of float32 feeds, constants and nodes.
func graph(feeds map[string][]int64, constants []*onnx.Tensor, outputs []string, nodes ...*onnx.Node) *onnx.Model {
	g := &onnx.Graph{Name: "test", Nodes: nodes, Initializers: constants}
	for name, dims := range feeds {
		g.Inputs = append(g.Inputs, declare(name, onnx.Float, dims))
	}
	for _, out := range outputs {
		g.Outputs = append(g.Outputs, &onnx.Value{Name: out})
	}
	return &onnx.Model{IRVersion: 10, Graph: g, Opsets: []onnx.Opset{{Version: 18}}}
}

func node(op, in, out string, attrs ...*onnx.Attr) *onnx.Node {
	return onnx.NewNode(op, strings.Fields(in), strings.Fields(out), attrs...)
}

// derive adds the gradients of outputs, seeded with ones, makes them and more
// the model's outputs, and runs it.
func derive(t *testing.T, m *onnx.Model, feeds map[string]*onnx.Tensor, outputs, wrt []string) map[string][]float64 {
	t.Helper()
	rt := orttest.Runtime(t)
	dims := map[string][]int64{}
	for name, x := range feeds {
		dims[name] = x.Dims
	}
	shapes, err := rt.Shapes(context.Background(), m, dims)
	if err != nil {
		t.Fatal(err)
	}
	names, err := VJP(m.Graph, shapes, outputs, make([]string, len(outputs)), wrt)
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = nil
	for _, name := range names {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnx.Value{Name: name})
	}
	grads := map[string][]float64{}
	for name, g := range run(t, session(t, rt, m), feeds) {
		grads[wrt[slices.Index(names, name)]], _ = numbers(g)
	}
	return grads
}

func vec(v ...float32) *onnx.Tensor { return onnx.FloatTensor("", v, int64(len(v))) }

func equal(t *testing.T, what string, got []float64, want ...float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= 1e-6*max(1, math.Abs(want[i]))) {
			t.Errorf("%s: got %v, want %v", what, got, want)
			return
		}
	}
}

// TestPlantedFaults shows that the suite would catch a wrong rule.
func TestPlantedFaults(t *testing.T) {
	rt := orttest.Runtime(t)
	faults := map[string]struct {
		op string
		f  func(c *call)
	}{
		"flipped sign":          {"Tanh", func(c *call) { c.give(0, c.mul(c.dy(), c.sub(c.mul(c.y(0), c.y(0)), c.num(1)))) }},
		"factor 1.001":          {"Exp", func(c *call) { c.give(0, c.scale(c.mul(c.dy(), c.y(0)), 1.001)) }},
		"x for y":               {"Sigmoid", func(c *call) { c.give(0, c.mul(c.dy(), c.mul(c.x(0), c.sub(c.num(1), c.x(0))))) }},
		"no minus in one input": {"Sub", func(c *call) { c.give(0, c.dy()); c.give(1, c.unbroadcast(c.dy(), c.y(0), c.x(1))) }},
		"transposed weights":    {"MatMul", func(c *call) { c.give(0, c.apply("MatMul", c.dy(), c.x(1))); c.give(1, c.x(1)) }},
		"kernel not flipped": {"Conv", func(c *call) {
			c.give(0, c.emit("ConvTranspose", []string{c.dy(), c.flip(c.x(1), 1)}))
			c.stop(1)
			c.stop(2)
		}},
	}
	square := form{op: "MatMul", name: "square", in: in(u(3, 3), u(3, 3))}
	conv := form{op: "Conv", name: "square", in: in(u(1, 2, 4, 4), konst(u(2, 2, 3, 3))), single: true, step: wide}
	for name, fault := range faults {
		rules := slices.Clone(Rules)
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.Op == fault.op })
		rules[i].VJP = fault.f
		f := forms[slices.IndexFunc(forms, func(f form) bool { return f.op == fault.op })]
		elem, h, tol := onnx.Double, step64, tol64
		switch fault.op {
		case "MatMul":
			f = square
		case "Conv":
			f, elem, h, tol = conv, onnx.Float, wide, tol32
		}
		got, want, size, _ := f.build(t, rt, elem).compare(t, rt, rules, f.seed(), h, false)
		if math.Abs(got-want) <= tol*size {
			t.Errorf("%s in %s goes unnoticed: <J'w, v> = %g, difference quotient %g", name, fault.op, got, want)
		}
	}
}

// TestForgottenInput shows that a rule cannot leave out an input silently.
func TestForgottenInput(t *testing.T) {
	rules := []Rule{{Op: "Mul", VJP: func(c *call) { c.give(0, c.mul(c.dy(), c.x(1))) }}}
	shapes := onnx.Shapes{"a": {Elem: onnx.Float}, "b": {Elem: onnx.Float}, "y": {Elem: onnx.Float}}
	m := graph(map[string][]int64{"a": {}, "b": {}}, nil, nil, node("Mul", "a b", "y"))
	_, err := differentiate(m.Graph, shapes, []string{"y"}, []string{""}, []string{"a", "b"}, index(rules))
	if err == nil || !strings.Contains(err.Error(), `input 1 ("b")`) {
		t.Errorf("got %v, want an error naming input 1", err)
	}
}

// TestTies: what several elements share is shared, never given to each.
func TestTies(t *testing.T) {
	pool := func(attrs ...*onnx.Attr) *onnx.Node { return node("MaxPool", "x", "y", attrs...) }
	image := func(v ...float32) *onnx.Tensor { return onnx.FloatTensor("", v, 1, 1, 2, int64(len(v)/2)) }
	for _, c := range []struct {
		name string
		n    *onnx.Node
		x    *onnx.Tensor
		want []float64
	}{
		{"pool, two of four", pool(ais("kernel_shape", 2, 2), ais("strides", 2, 2)), image(1, 3, 3, 0), []float64{0, 0.5, 0.5, 0}},
		{"pool, all", pool(ais("kernel_shape", 2, 2), ais("strides", 2, 2)), image(0, 0, 1, 2, 0, 0, 4, 3), []float64{0.25, 0.25, 0, 0, 0.25, 0.25, 1, 0}},
		{"pool, overlapping: the first", pool(ais("kernel_shape", 2, 2)), image(1, 5, 5, 2, 0, 0), []float64{0, 2, 0, 0, 0, 0}},
		{"global pool", node("GlobalMaxPool", "x", "y"), image(7, 7, 0, 7), []float64{1.0 / 3, 1.0 / 3, 0, 1.0 / 3}},
		{"reduce", node("ReduceMax", "x", "y"), vec(2, 1, 2), []float64{0.5, 0, 0.5}},
		{"relu at 0", node("Relu", "x", "y"), vec(-1, 0, 1), []float64{0, 0, 1}},
		{"max with itself", node("Max", "x x", "y"), vec(1, 2), []float64{1, 1}},
		{"clip at its bounds", node("Clip", "x lo hi", "y"), vec(0, 1, 2), []float64{1, 1, 0}},
		{"abs at 0", node("Abs", "x", "y"), vec(-1, 0, 1), []float64{-1, 0, 1}},
		{"norm of zeros", node("ReduceL2", "x", "y"), vec(0, 0), []float64{0, 0}},
	} {
		m := graph(map[string][]int64{"x": c.x.Dims}, []*onnx.Tensor{onnx.FloatTensor("lo", []float32{0}), onnx.FloatTensor("hi", []float32{1})}, []string{"y"}, c.n)
		got := derive(t, m, map[string]*onnx.Tensor{"x": c.x}, []string{"y"}, []string{"x"})
		equal(t, c.name, got["x"], c.want...)
	}
}

// TestZeroRules: y = x + 0 f(x), where f has derivative zero, has derivative 1.
func TestZeroRules(t *testing.T) {
	for _, r := range Rules {
		if r.VJP != nil {
			continue
		}
		shape := onnx.Shape{Elem: onnx.Float, Dims: []int64{3}}
		shapes := onnx.Shapes{"x": shape, "f": shape, "y": shape}
		n := onnx.NewNode(r.Op, []string{"x"}, []string{"f"})
		n.Domain = r.Domain
		m := graph(map[string][]int64{"x": {3}}, nil, nil, n)
		grads, err := VJP(m.Graph, shapes, []string{"f"}, []string{""}, []string{"x"})
		if err != nil {
			t.Errorf("%s: %v", r.Op, err)
			continue
		}
		if last := m.Graph.Nodes[len(m.Graph.Nodes)-1]; last.Outputs[0] != grads[0] || last.Op != "ConstantOfShape" {
			t.Errorf("%s: its gradient is not constant zero but %s", r.Op, last.Op)
		}
	}
	x := map[string]*onnx.Tensor{"x": vec(0.3, -1.4, 2.6)}
	for _, op := range []string{"Round", "Floor", "Ceil", "Sign", "Hardmax"} {
		m := graph(map[string][]int64{"x": {3}}, nil, []string{"y"}, node(op, "x", "f"), node("Mul", "x f", "y"))
		got := derive(t, m.Clone(), x, []string{"y"}, []string{"x"})
		f := run(t, session(t, orttest.Runtime(t), graph(map[string][]int64{"x": {3}}, nil, []string{"f"}, node(op, "x", "f"))), x)
		want, _ := numbers(f["f"])
		equal(t, "x "+op+"(x)", got["x"], want...)
	}
	// Indices and conditions computed from x carry none of its gradient.
	m := graph(map[string][]int64{"x": {3}}, nil, []string{"y"},
		node("ArgMax", "x", "i"), node("Gather", "x i", "top"), node("Greater", "x top", "c"),
		node("Neg", "x", "n"), node("Where", "c n x", "w"), node("Cast", "w", "k", ai("to", 7)), node("Cast", "k", "r", ai("to", 1)),
		node("Sum", "w top r", "y"))
	equal(t, "through indices", derive(t, m, x, []string{"y"}, []string{"x"})["x"], 1, 1, 4)
}

// TestWrt: any float may be named, in any order, twice, or in vain.
func TestWrt(t *testing.T) {
	m := graph(map[string][]int64{"x": {2}, "unused": {3}}, []*onnx.Tensor{onnx.FloatTensor("w", []float32{3, 4}, 2)}, []string{"y"},
		node("Mul", "x w", "h"), node("Exp", "h", "y"))
	feeds := map[string]*onnx.Tensor{"x": vec(0.1, -0.2), "unused": vec(1, 2, 3)}
	got := derive(t, m, feeds, []string{"y"}, []string{"y", "h", "w", "unused", "x"})
	e0, e1 := math.Exp(0.3), math.Exp(-0.8)
	equal(t, "y", got["y"], 1, 1)
	equal(t, "h", got["h"], e0, e1)
	equal(t, "w", got["w"], 0.1*e0, -0.2*e1)
	equal(t, "x", got["x"], 3*e0, 4*e1)
	equal(t, "unused", got["unused"], 0, 0, 0)

	// Two values with one gradient get a name each, and an output that another
	// output depends on collects from both.
	m = graph(map[string][]int64{"a": {1}, "b": {1}}, nil, nil, node("Add", "a b", "s"), node("Mul", "s s", "y"))
	got = derive(t, m, map[string]*onnx.Tensor{"a": vec(2), "b": vec(3)}, []string{"y", "s"}, []string{"a", "b"})
	equal(t, "a", got["a"], 11)
	equal(t, "b", got["b"], 11)
}

// TestTwice differentiates a gradient: the second derivative of x^3 is 6 x.
func TestTwice(t *testing.T) {
	rt := orttest.Runtime(t)
	m := graph(map[string][]int64{"x": {3}}, nil, []string{"y"}, node("Mul", "x x", "q"), node("Mul", "q x", "y"))
	of := map[string][]int64{"x": {3}}
	shapes, err := rt.Shapes(context.Background(), m, of)
	if err != nil {
		t.Fatal(err)
	}
	first, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if shapes, err = rt.Shapes(context.Background(), m, of); err != nil {
		t.Fatal(err)
	}
	second, err := VJP(m.Graph, shapes, first, []string{""}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = []*onnx.Value{{Name: second[0]}}
	got, _ := numbers(run(t, session(t, rt, m), map[string]*onnx.Tensor{"x": vec(1, -2, 0.5)})[second[0]])
	equal(t, "second derivative", got, 6, -12, 3)
}

// TestBatch: shapes measured at two batch sizes serve any other, and samples
// do not mix.
func TestBatch(t *testing.T) {
	rt := orttest.Runtime(t)
	m := buildCNN()
	shapes, err := rt.Shapes(context.Background(), m, map[string][]int64{"x": {-1, 1, 28, 28}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = []*onnx.Value{{Name: names[0]}}
	s := session(t, rt, m)
	x := draw(form{}.seed(), onnx.Float, within(0, 1, 5, 1, 28, 28))
	all := run(t, s, map[string]*onnx.Tensor{"x": x})[names[0]]
	for i := range 5 {
		size := 4 * 28 * 28
		one := onnx.RawTensor("x", onnx.Float, x.Raw[i*size:(i+1)*size], 1, 1, 28, 28)
		alone := run(t, s, map[string]*onnx.Tensor{"x": one})[names[0]]
		part := onnx.RawTensor("", onnx.Float, all.Raw[i*size:(i+1)*size], 1, 1, 28, 28)
		near(t, fmt.Sprintf("sample %d of the batch", i), part, alone, 1e-5)
	}
}

// TestErrors: what cannot be done is refused with its reason, and leaves the
// graph alone.
func TestErrors(t *testing.T) {
	f := func(dims ...int64) onnx.Shape { return onnx.Shape{Elem: onnx.Float, Dims: dims} }
	shapes := onnx.Shapes{"x": f(2, 3, -1, -1), "y": f(2, 3, -1, -1), "h": f(2, 3, -1, -1), "i": {Elem: onnx.Int64, Dims: []int64{2}}}
	one := []string{""}
	for _, c := range []struct {
		name    string
		nodes   []*onnx.Node
		outputs []string
		seeds   []string
		wrt     []string
		want    string
		op      string
	}{
		{"unknown operator", []*onnx.Node{node("Frobnicate", "x", "y")}, []string{"y"}, one, []string{"x"}, "no rule covers operator Frobnicate", "Frobnicate"},
		{"varying space", []*onnx.Node{node("AveragePool", "x", "y", ais("kernel_shape", 2, 2))}, []string{"y"}, one, []string{"x"}, "varies from run to run", "AveragePool"},
		{"running mean", []*onnx.Node{node("BatchNormalization", "x s b m v", "y h", ai("training_mode", 1))}, []string{"h"}, one, []string{"x"}, "through its output 1", "BatchNormalization"},
		{"missing input", []*onnx.Node{node("Mul", "x", "y")}, []string{"y"}, one, []string{"x"}, "input 1 is missing", "Mul"},
		{"axis outside", []*onnx.Node{node("Softmax", "x", "y", ai("axis", 9))}, []string{"y"}, one, []string{"x"}, "outside the 4 dimensions", "Softmax"},
		{"unmeasured value", []*onnx.Node{node("Relu", "x", "m"), node("Relu", "m", "y")}, []string{"y"}, one, []string{"x"}, `shape of "m" is not known`, "Relu"},
		{"unknown name", []*onnx.Node{node("Relu", "x", "y")}, []string{"z"}, one, []string{"x"}, `shape of "z" is not known`, ""},
		{"integer wrt", []*onnx.Node{node("Relu", "x", "y")}, []string{"y"}, one, []string{"i"}, "int64, which has no gradient", ""},
		{"too few seeds", []*onnx.Node{node("Relu", "x", "y")}, []string{"y"}, nil, []string{"x"}, "0 seeds for 1 outputs", ""},
		{"fused operator", []*onnx.Node{{Op: "FusedConv", Domain: "com.microsoft", Inputs: []string{"x"}, Outputs: []string{"y"}}}, []string{"y"}, one, []string{"x"}, "com.microsoft.FusedConv", "FusedConv"},
	} {
		m := graph(map[string][]int64{"x": {2, 3, -1, -1}}, nil, nil, c.nodes...)
		_, err := VJP(m.Graph, shapes, c.outputs, c.seeds, c.wrt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
		var p Problem
		if errors.As(err, &p); p.Op != c.op {
			t.Errorf("%s: the error blames %q, want %q", c.name, p.Op, c.op)
		}
		if len(m.Graph.Nodes) != len(c.nodes) || len(m.Graph.Initializers) != 0 {
			t.Errorf("%s: the refused graph has changed", c.name)
		}
	}
}

// TestCheckLooksIntoSubgraphs: a branch that reads x from outside depends on it.
func TestCheckLooksIntoSubgraphs(t *testing.T) {
	branch := &onnx.Graph{Nodes: []*onnx.Node{node("Relu", "x", "inner")}, Outputs: []*onnx.Value{{Name: "inner"}}}
	m := graph(map[string][]int64{"x": {3}}, nil, nil,
		node("If", "cond", "y", onnx.GraphAttr("then_branch", branch), onnx.GraphAttr("else_branch", branch)))
	got := Check(m.Graph, []string{"y"}, []string{"x"})
	if len(got) != 1 || got[0].Op != "If" {
		t.Errorf("got %v, want a problem with If", got)
	}
	if got := Check(m.Graph, []string{"y"}, []string{"elsewhere"}); got != nil {
		t.Errorf("nothing depends on wrt, and yet %v", got)
	}
}

// TestFloat16: the constants that rules make have the model's type.
func TestFloat16(t *testing.T) {
	rt := orttest.Runtime(t)
	f := form{op: "Gelu", in: in(u(2, 3), u(3, 4)), opset: 20, nodes: []*onnx.Node{
		node("MatMul", "x0 x1", "h"), node("Gelu", "h", "g"), node("ReduceMean", "g", "m", ai("keepdims", 1)), node("Sub", "g m", "d"), node("Tanh", "d", "y0")}}
	grads := func(elem onnx.DataType) map[string]*onnx.Tensor {
		tr := f.build(t, rt, elem)
		return tr.gradients(t, rt, Rules, map[string]*onnx.Tensor{"y0": draw(f.seed(), elem, u(2, 4))})
	}
	got, want := grads(onnx.Float16), grads(onnx.Float)
	for name := range want {
		half := widen(got[name])
		near(t, "float16 gradient of "+name, half, want[name], 0.01)
	}
}

// widen turns float16 into float32.
func widen(t *onnx.Tensor) *onnx.Tensor {
	v := make([]float32, len(t.Raw)/2)
	for i := range v {
		b := uint16(t.Raw[2*i]) | uint16(t.Raw[2*i+1])<<8
		exp, frac := int(b>>10&31), float64(b&1023)/1024
		x := math.Ldexp(1+frac, exp-15)
		if exp == 0 {
			x = math.Ldexp(frac, -14)
		}
		if b>>15 == 1 {
			x = -x
		}
		v[i] = float32(x)
	}
	return onnx.FloatTensor("", v, t.Dims...)
}

// TestDropoutInTraining: the gradient uses the mask that the forward pass drew,
// so at x = 1 it is y itself, from the same run.
func TestDropoutInTraining(t *testing.T) {
	rt := orttest.Runtime(t)
	for _, ratio := range []string{"ratio", ""} {
		constants := []*onnx.Tensor{onnx.FloatTensor("ratio", []float32{0.3}), onnx.RawTensor("train", onnx.Bool, []byte{1})}
		n := onnx.NewNode("Dropout", []string{"x", ratio, "train"}, []string{"y"})
		m := graph(map[string][]int64{"x": {50}}, constants, []string{"y"}, n)
		shape := onnx.Shape{Elem: onnx.Float, Dims: []int64{50}}
		names, err := VJP(m.Graph, onnx.Shapes{"x": shape, "y": shape}, []string{"y"}, []string{""}, []string{"x"})
		if err != nil {
			t.Fatal(err)
		}
		m.Graph.Outputs = append(m.Graph.Outputs, &onnx.Value{Name: names[0]})
		ones := draw(form{}.seed(), onnx.Float, within(1, 1, 50))
		got := run(t, session(t, rt, m), map[string]*onnx.Tensor{"x": ones})
		y, _ := numbers(got["y"])
		g, _ := numbers(got[names[0]])
		equal(t, "gradient with ratio "+ratio, g, y...)
		if kept := slices.IndexFunc(y, func(v float64) bool { return v > 0 }); kept < 0 || !slices.Contains(y, 0) {
			t.Errorf("dropout kept all or nothing of 50: %v", y)
		}
	}
}

// TestBroadcastDecidedAtRun: a dimension that is 1 on one run and not on
// another is summed over only when it is.
func TestBroadcastDecidedAtRun(t *testing.T) {
	rt := orttest.Runtime(t)
	f := func(dims ...int64) onnx.Shape { return onnx.Shape{Elem: onnx.Float, Dims: dims} }
	m := graph(map[string][]int64{"x": {-1, 2}, "w": {1, 3, 2}}, nil, nil, node("Mul", "x w", "y"))
	shapes := onnx.Shapes{"x": f(-1, 2), "w": f(1, 3, 2), "y": f(1, 3, 2)}
	names, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = []*onnx.Value{{Name: names[0]}}
	s := session(t, rt, m)
	w := onnx.FloatTensor("", []float32{1, 2, 3, 4, 5, 6}, 1, 3, 2)
	for rows, want := range map[int64][]float64{1: {9, 12}, 3: {1, 2, 3, 4, 5, 6}} {
		x := draw(form{}.seed(), onnx.Float, u(rows, 2))
		got, _ := numbers(run(t, s, map[string]*onnx.Tensor{"x": x, "w": w})[names[0]])
		equal(t, fmt.Sprintf("%d rows", rows), got, want...)
	}
}

// TestMalformed: nodes that contradict the shapes given for them are refused,
// whatever they say.
func TestMalformed(t *testing.T) {
	f := func(dims ...int64) onnx.Shape { return onnx.Shape{Elem: onnx.Float, Dims: dims} }
	for _, r := range Rules {
		for _, dims := range [][]int64{{}, {0}, {2}, {-1, 3}, {1, 0, 5}, {2, 3, -1, 4}} {
			for arity := range 4 {
				shapes := onnx.Shapes{"y": f(dims...), "z": f(3)}
				inputs := []string{"x0", "x1", "x2", "x3"}[:arity+1]
				for i, in := range inputs {
					shapes[in] = f(dims[:max(0, len(dims)-i)]...)
				}
				n := onnx.NewNode(r.Op, inputs, []string{"y", "z"}, ai("axis", -3), ai("blocksize", 0), ai("num_groups", 0),
					ais("perm", 7), ais("kernel_shape", 0, 1<<40), ais("strides", -1, 2), ais("pads", 1), as("equation", "a..b,->c"),
					floatsAttr("coefficients", 1), ai("size", 1<<40), ai("group", 3))
				n.Domain = r.Domain
				m := graph(nil, []*onnx.Tensor{onnx.IntTensor("x1", []int64{9, -9}, 2)}, nil, n)
				if arity < 2 {
					m.Graph.Initializers = nil
				}
				_, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, inputs[:1]) // must return
				if err != nil && len(m.Graph.Nodes) != 1 {
					t.Errorf("%s: refused, and yet changed", r.Op)
				}
			}
		}
	}
}

// TestTrainable: gradients in weights, and through the layers above them, hold
// when the weights change afterwards.
func TestTrainable(t *testing.T) {
	rt := orttest.Runtime(t)
	r := form{}.seed()
	w := draw(r, onnx.Float, u(2, 2, 3, 3))
	w.Name = "w"
	model := func(w *onnx.Tensor) *onnx.Model {
		return graph(map[string][]int64{"x": {1, 2, 4, 4}}, []*onnx.Tensor{w}, nil,
			node("Conv", "x w", "h", ais("pads", 1, 1, 1, 1)), node("Conv", "h w", "y", ais("pads", 1, 1, 1, 1)))
	}
	x := map[string]*onnx.Tensor{"x": draw(r, onnx.Float, u(1, 2, 4, 4))}
	m := model(w)
	shapes, err := rt.Shapes(context.Background(), m, map[string][]int64{"x": {1, 2, 4, 4}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x", "w"})
	if err != nil {
		t.Fatal(err)
	}
	changed := draw(r, onnx.Float, u(2, 2, 3, 3))
	m.Graph.Initializer("w").Raw = changed.Raw
	m.Graph.Outputs = []*onnx.Value{{Name: names[0]}, {Name: names[1]}}
	got := run(t, session(t, rt, m), x)

	changed.Name = "w"
	want := derive(t, model(changed), x, []string{"y"}, []string{"x", "w"})
	for i, name := range []string{"x", "w"} {
		near(t, "gradient of "+name, got[names[i]], floats(want[name], onnx.Float, got[names[i]].Dims), 1e-5)
	}
}
