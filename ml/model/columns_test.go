package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// feed is an input of a batch; no dims but the batch make it a vector.
func feed(name string, elem onnx.DataType, dims ...int64) *onnx.Value {
	t := &onnx.TensorType{Elem: elem, HasShape: true, Dims: []onnx.Dim{{Size: -1, Symbol: "N"}}}
	for _, d := range dims {
		t.Dims = append(t.Dims, onnx.Dim{Size: d})
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: t}}
}

// columnar is a network of four elements that takes them from three inputs: a vector, one
// column, and two that hold elem.
func columnar(m *onnx.Model, elem onnx.DataType) *onnx.Model {
	g := m.Graph
	g.Inputs = []*onnx.Value{feed("Debt Ratio", onnx.Float), feed("income", onnx.Double, 1), feed("job", elem, 2)}
	g.Nodes = append([]*onnx.Node{
		onnx.NewNode("Unsqueeze", []string{"Debt Ratio", "second"}, []string{"p"}),
		onnx.NewNode("Cast", []string{"income"}, []string{"q"}, onnx.IntAttr("to", int64(onnx.Float))),
		onnx.NewNode("Cast", []string{"job"}, []string{"r"}, onnx.IntAttr("to", int64(onnx.Float))),
		onnx.NewNode("Concat", []string{"p", "q", "r"}, []string{"x"}, onnx.IntAttr("axis", 1)),
	}, g.Nodes...)
	g.Initializers = append(g.Initializers, onnx.IntTensor("second", []int64{1}, 1))
	return m
}

// A model with an input for each column of a table answers to rows as ONNX Runtime
// does to its inputs, whatever the order of the columns, and has a gradient along those
// that are no whole numbers.
func TestColumns(t *testing.T) {
	rt := orttest.Runtime(t)
	for name, c := range map[string]struct {
		elem    onnx.DataType
		columns []string
		at      [4]int // where in a row the elements of the network lie
	}{
		"by name":          {onnx.Int64, []string{"job", "income", "job", "debt_ratio"}, [4]int{3, 1, 0, 2}},
		"by order":         {onnx.Float, []string{"v1", "v2", "v3", "v4"}, [4]int{0, 1, 2, 3}},
		"without columns":  {onnx.Float16, nil, [4]int{0, 1, 2, 3}},
		"all called alike": {onnx.Float, []string{"income", "job", "job", "DEBT-RATIO"}, [4]int{3, 0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			m := columnar(network(rand.New(rand.NewPCG(5, 5)), 4, 8, 3), c.elem)
			l := local(t, m, model.Config{Columns: c.columns})
			if s := l.Sample(); len(s) != 1 || s[0] != 4 {
				t.Fatalf("samples of shape %v, want [4]", s)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			x := tensor.New(20, 4)
			for i := range x.Data {
				x.Data[i] = float32(rng.IntN(7)) - 3 // whole, and exact in float16
			}
			var debt, income, job []float32
			for i := range x.Rows() {
				row := x.Row(i)
				debt, income = append(debt, row[c.at[0]]), append(income, row[c.at[1]])
				job = append(job, row[c.at[2]], row[c.at[3]])
			}
			want := run(t, rt, m, map[string]*onnx.Tensor{
				"Debt Ratio": onnx.FloatTensor("", debt, 20),
				"income":     as(t, rt, onnx.Double, onnx.FloatTensor("", income, 20, 1)),
				"job":        as(t, rt, c.elem, onnx.FloatTensor("", job, 20, 2)),
			})
			z, err := l.Scores(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range z.Data {
				if v != want[i] {
					t.Fatalf("score %d is %v, ONNX Runtime says %v", i, v, want[i])
				}
			}
			whole := l.Whole()
			for j := range 4 {
				isJob := j == c.at[2] || j == c.at[3]
				if marked := whole != nil && whole[j]; marked != (isJob && c.elem == onnx.Int64) {
					t.Errorf("element %d is whole: %v", j, marked)
				}
			}
			gradientAgrees(t, l, x, whole)
		})
	}
}

// gradientAgrees compares gradients with differences along every element that is not
// whole, along which there is none.
func gradientAgrees(t *testing.T, l *model.Local, x *tensor.Tensor, whole []bool) {
	t.Helper()
	obj := &model.Objective{Labels: make([]int, x.Rows()), Loss: model.CrossEntropy}
	_, g, err := l.Gradient(t.Context(), x, obj)
	if err != nil {
		t.Fatal(err)
	}
	gradient := append([]float32(nil), g.Data...)
	const h = 1.0 / 64
	for j := range 4 {
		var sides [2][]float64
		for s, d := range []float32{-h, h} {
			y := &tensor.Tensor{Shape: x.Shape, Data: append([]float32(nil), x.Data...)}
			for i := range y.Rows() {
				y.Row(i)[j] += d
			}
			z, err := l.Scores(t.Context(), y)
			if err != nil {
				t.Fatal(err)
			}
			for i := range z.Rows() {
				sides[s] = append(sides[s], obj.Value(i, z.Row(i)))
			}
		}
		for i := range x.Rows() {
			got, want := float64(gradient[4*i+j]), (sides[1][i]-sides[0][i])/(2*h)
			if whole != nil && whole[j] {
				want = 0
			}
			if math.Abs(got-want) > 0.02*(1+math.Abs(want)) {
				t.Errorf("sample %d, element %d: gradient %v, differences say %v", i, j, got, want)
			}
		}
	}
}

// run asks a file itself.
func run(t *testing.T, rt *ort.Runtime, m *onnx.Model, feeds map[string]*onnx.Tensor) []float32 {
	t.Helper()
	s, err := rt.NewSession(m, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.RunTensors(t.Context(), feeds)
	if err != nil {
		t.Fatal(err)
	}
	return out[m.Graph.Outputs[0].Name].Floats()
}

// as is a tensor in another type, which ONNX Runtime makes of it.
func as(t *testing.T, rt *ort.Runtime, elem onnx.DataType, x *onnx.Tensor) *onnx.Tensor {
	t.Helper()
	m := &onnx.Model{IRVersion: 8, Graph: &onnx.Graph{
		Name: "cast", Inputs: []*onnx.Value{feed("x", onnx.Float, x.Dims[1:]...)}, Outputs: []*onnx.Value{feed("y", elem, x.Dims[1:]...)},
		Nodes: []*onnx.Node{onnx.NewNode("Cast", []string{"x"}, []string{"y"}, onnx.IntAttr("to", int64(elem)))},
	}}
	m.SetOpset("", 18)
	s, err := rt.NewSession(m, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.RunTensors(t.Context(), map[string]*onnx.Tensor{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	return out["y"]
}

// Inputs that rows do not fill are refused, with the names that tell why.
func TestColumnsRefused(t *testing.T) {
	three := func(change func(g *onnx.Graph)) *onnx.Model {
		m := columnar(network(rand.New(rand.NewPCG(5, 5)), 4, 8, 3), onnx.Float)
		change(m.Graph)
		return m
	}
	size := func(i, d int, size int64) func(g *onnx.Graph) {
		return func(g *onnx.Graph) { g.Inputs[i].Type.Tensor.Dims[d] = onnx.Dim{Size: size} }
	}
	kept := func(*onnx.Graph) {}
	for want, c := range map[string]struct {
		change func(g *onnx.Graph)
		cfg    model.Config
	}{
		`inputs Debt Ratio are called like no column (income, job, age)`:             {kept, model.Config{Columns: []string{"income", "job", "job", "age"}}},
		`input "job" takes 2 elements, and its column makes 1`:                       {kept, model.Config{Columns: []string{"income", "job", "debt ratio"}}},
		`(Debt Ratio, income, job) take 4 elements, and rows of the table have 5`:    {kept, model.Config{Columns: []string{"a", "b", "c", "d", "e"}}},
		`take 4 elements, and rows of the table have 5 (income, job, debt ratio, id`: {kept, model.Config{Columns: []string{"income", "job", "job", "debt ratio", "id"}}},
		`has 3 inputs (Debt Ratio, income, job), and samples would fill one`:         {kept, model.Config{Input: "job"}},
		`"job" does not say how many columns it takes`:                               {size(2, 1, -1), model.Config{}},
		`more than 1048576 elements`:                                                 {size(2, 1, 1<<40), model.Config{}},
		`input "job" has 3 dimensions`:                                               {func(g *onnx.Graph) { g.Inputs[2] = feed("job", onnx.Float, 2, 2) }, model.Config{}},
		`input "income" holds string`:                                                {func(g *onnx.Graph) { g.Inputs[1] = feed("income", onnx.String, 1) }, model.Config{}},
	} {
		l, err := model.New(t.Context(), orttest.Runtime(t), three(c.change), c.cfg)
		if err == nil {
			l.Close()
		}
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
