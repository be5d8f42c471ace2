package grad

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// form is one form of an operator under test: a node, or a few, of inputs x0,
// x1, ... and outputs y0, y1, ...
type form struct {
	op, name string
	in       []arg
	attrs    []*onnx.Attr
	domain   string
	opset    int64 // 18 unless set
	outputs  int   // that are differentiated; 1 unless set
	nodes    []*onnx.Node
	// single says that ONNX Runtime has no float64 kernel for the operator or
	// for one that its gradient uses.
	single bool
	// step is the difference quotient's half-width in float32, for functions
	// that are linear in each argument and so exact at any width, or that
	// curve too much for the usual one.
	step float64
	// steady says that the direction is made of -1, 0 and 1, so that
	// quantised values move by whole steps.
	steady bool
}

// arg is one input of a form.
type arg struct {
	dims   []int64
	varies []int64 // the dimensions that are the batch, whose size varies
	// value draws the elements; nil means that the input is left out.
	value func(r *rand.Rand, i int) float64
	fixed *onnx.Tensor // an initializer of another type than the form's
	konst bool         // an initializer
}

// Elements spread over an interval.
func within(lo, hi float64, dims ...int64) arg {
	return arg{dims: dims, value: func(r *rand.Rand, _ int) float64 { return lo + (hi-lo)*r.Float64() }}
}

// u draws from [-1, 1], pos from [0.5, 2].
func u(dims ...int64) arg   { return within(-1, 1, dims...) }
func pos(dims ...int64) arg { return within(0.5, 2, dims...) }

// apart draws distinct elements at least 0.1 from each other and 0.05 from 0,
// so that no maximum changes hands within a step.
func apart(dims ...int64) arg {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	var perm []int
	return arg{dims: dims, value: func(r *rand.Rand, i int) float64 {
		if i == 0 {
			perm = r.Perm(n)
		}
		return 0.1*(float64(perm[i])-float64(n/2)) + 0.05
	}}
}

// off draws from [-2, 2] but not within 0.1 of the given kinks.
func off(kinks []float64, dims ...int64) arg {
	return arg{dims: dims, value: func(r *rand.Rand, _ int) float64 {
		for {
			v := 4*r.Float64() - 2
			if !slices.ContainsFunc(kinks, func(k float64) bool { return math.Abs(v-k) < 0.1 }) {
				return v
			}
		}
	}}
}

// batch marks the first dimension as the batch, sequence the second.
func batch(a arg) arg    { a.varies = []int64{0}; return a }
func sequence(a arg) arg { a.varies = []int64{1}; return a }

// konst makes an argument a constant of the model.
func konst(a arg) arg { a.konst = true; return a }

func values(v []float64, dims ...int64) arg {
	return arg{dims: dims, konst: true, value: func(_ *rand.Rand, i int) float64 { return v[i] }}
}

func ivec(v ...int64) arg { return arg{fixed: onnx.IntTensor("", v, int64(len(v)))} }
func iarr(v []int64, dims ...int64) arg {
	return arg{fixed: onnx.IntTensor("", v, dims...)}
}
func f32s(v ...float32) arg { return arg{fixed: onnx.FloatTensor("", v, int64(len(v)))} }
func truth(v ...byte) arg {
	return arg{fixed: onnx.RawTensor("", onnx.Bool, v, int64(len(v)))}
}
func narrow(t onnx.DataType, raw ...byte) arg {
	return arg{fixed: onnx.RawTensor("", t, raw)}
}

var none = arg{}

var (
	in   = func(a ...arg) []arg { return a }
	with = func(a ...*onnx.Attr) []*onnx.Attr { return a }
	ai   = onnx.IntAttr
	ais  = onnx.IntsAttr
	af   = onnx.FloatAttr
	as   = onnx.StringAttr
)

// trial is a form made concrete: a model, the point and the shapes.
type trial struct {
	model  *onnx.Model
	shapes onnx.Shapes
	point  map[string]*onnx.Tensor
	wrt    []string
	out    []string
	elem   onnx.DataType
}

func (f form) seed() *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, f.op, f.name)
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// build makes the model of a form in one element type.
func (f form) build(t *testing.T, rt *ort.Runtime, elem onnx.DataType) *trial {
	t.Helper()
	r := f.seed()
	g := &onnx.Graph{Name: "form"}
	tr := &trial{point: map[string]*onnx.Tensor{}, elem: elem}
	feeds := map[string][]int64{}
	var names []string
	for i, a := range f.in {
		name := fmt.Sprintf("x%d", i)
		if a.value == nil && a.fixed == nil {
			names = append(names, "")
			continue
		}
		names = append(names, name)
		if a.fixed != nil {
			c := *a.fixed
			c.Name = name
			g.Initializers = append(g.Initializers, &c)
			continue
		}
		x := draw(r, elem, a)
		x.Name = name
		if a.konst {
			g.Initializers = append(g.Initializers, x)
			continue
		}
		dims := slices.Clone(a.dims)
		for _, d := range a.varies {
			dims[d] = -1
		}
		feeds[name] = dims
		tr.point[name], tr.wrt = x, append(tr.wrt, name)
		g.Inputs = append(g.Inputs, declare(name, elem, dims))
	}
	for i := range max(f.outputs, 1) {
		tr.out = append(tr.out, fmt.Sprintf("y%d", i))
	}
	g.Nodes = f.nodes
	if g.Nodes == nil {
		n := onnx.NewNode(f.op, names, slices.Clone(tr.out), f.attrs...)
		n.Domain = f.domain
		g.Nodes = []*onnx.Node{n}
	}
	for _, out := range tr.out {
		g.Outputs = append(g.Outputs, &onnx.Value{Name: out})
	}
	tr.model = &onnx.Model{IRVersion: 10, Graph: g, Opsets: []onnx.Opset{{Version: max(f.opset, 18)}, {Domain: "ai.onnx.ml", Version: 3}}}
	shapes, err := rt.Shapes(context.Background(), tr.model, feeds)
	if err != nil {
		t.Fatal(err)
	}
	tr.shapes = shapes
	return tr
}

func declare(name string, elem onnx.DataType, dims []int64) *onnx.Value {
	tt := &onnx.TensorType{Elem: elem, HasShape: true}
	for i, d := range dims {
		dim := onnx.Dim{Size: d}
		if d < 0 {
			dim.Symbol = fmt.Sprintf("%s_%d", name, i)
		}
		tt.Dims = append(tt.Dims, dim)
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: tt, Kind: "tensor"}}
}

func draw(r *rand.Rand, elem onnx.DataType, a arg) *onnx.Tensor {
	n := int64(1)
	for _, d := range a.dims {
		n *= d
	}
	v := make([]float64, n)
	for i := range v {
		v[i] = a.value(r, i)
	}
	return floats(v, elem, a.dims)
}

// session prepares a model on one thread.
func session(t testing.TB, rt *ort.Runtime, m *onnx.Model) *ort.Session {
	t.Helper()
	s, err := rt.NewSession(m, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func run(t testing.TB, s *ort.Session, in map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	t.Helper()
	out, err := s.RunTensors(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// gradients evaluates J^T w at the trial's point for output weights w.
func (tr *trial) gradients(t *testing.T, rt *ort.Runtime, rules []Rule, w map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	t.Helper()
	m := tr.model.Clone()
	feed := map[string]*onnx.Tensor{}
	for name, x := range tr.point {
		feed[name] = x
	}
	var seeds []string
	for _, out := range tr.out {
		seed := "w_" + out
		m.Graph.Inputs = append(m.Graph.Inputs, declare(seed, w[out].Type, tr.shapes[out].Dims))
		feed[seed] = w[out]
		seeds = append(seeds, seed)
	}
	names, err := differentiate(m.Graph, tr.shapes, tr.out, seeds, tr.wrt, index(rules))
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = nil
	for _, name := range names {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnx.Value{Name: name})
	}
	onnx.Prune(m.Graph, names)
	got := run(t, session(t, rt, m), feed)
	grads := map[string]*onnx.Tensor{}
	for i, name := range tr.wrt {
		grads[name] = got[names[i]]
		if want := tr.point[name]; got[names[i]].Type != want.Type || !slices.Equal(got[names[i]].Dims, want.Dims) {
			t.Errorf("gradient of %s is %v%v, want %v%v", name, got[names[i]].Type, got[names[i]].Dims, want.Type, want.Dims)
		}
	}
	return grads
}

// moved is the point x + h v; inputs that v lacks stay.
func (tr *trial) moved(v map[string][]float64, h float64) map[string]*onnx.Tensor {
	p := map[string]*onnx.Tensor{}
	for name, x := range tr.point {
		p[name] = x
		if v[name] == nil {
			continue
		}
		data, _ := numbers(x)
		for i := range data {
			data[i] += h * v[name][i]
		}
		p[name] = floats(data, x.Type, x.Dims)
	}
	return p
}

// compare checks <J^T w, v> against <w, (f(x+hv) - f(x-hv)) / 2h>, and returns
// the first, the second and the magnitude that an error is measured against:
// the sum of the products' absolute values.
func (tr *trial) compare(t *testing.T, rt *ort.Runtime, rules []Rule, r *rand.Rand, h float64, steady bool) (analytic, numeric, size float64, grads map[string]*onnx.Tensor) {
	t.Helper()
	direction := func() float64 {
		if steady {
			return float64(r.IntN(3) - 1)
		}
		return 2*r.Float64() - 1
	}
	v := map[string][]float64{}
	for _, name := range tr.wrt {
		v[name] = make([]float64, tr.point[name].Len())
		for i := range v[name] {
			v[name][i] = direction()
		}
	}
	f := session(t, rt, tr.model)
	up, down := run(t, f, tr.moved(v, h)), run(t, f, tr.moved(v, -h))
	w := map[string]*onnx.Tensor{}
	for _, out := range tr.out {
		a, _ := numbers(up[out])
		b, _ := numbers(down[out])
		weights := make([]float64, len(a))
		for i := range weights {
			weights[i] = float64(float32(2*r.Float64() - 1))
			d := weights[i] * (a[i] - b[i]) / (2 * h)
			numeric += d
			size += math.Abs(d)
		}
		w[out] = floats(weights, tr.shapes[out].Elem, up[out].Dims)
	}
	grads = tr.gradients(t, rt, rules, w)
	for _, name := range tr.wrt {
		g, _ := numbers(grads[name])
		for i := range g {
			analytic += g[i] * v[name][i]
			size += math.Abs(g[i] * v[name][i])
		}
	}
	return analytic, numeric, size, grads
}

// Tolerances are relative to the sum of the absolute values of what is added
// up. A central difference of half-width h is wrong by about h^2/6 f”' and by
// the rounding of f over h: 1e-11 each at h = 1e-5 in float64; in float32 at
// h = 1e-2, 2e-5 each for the functions here, whose derivatives are below 10.
const (
	step64, tol64 = 1e-5, 1e-7
	step32, tol32 = 1e-2, 2e-3
)

func TestRules(t *testing.T) {
	rt := orttest.Runtime(t)
	for _, f := range forms {
		t.Run(f.op+"/"+f.name, func(t *testing.T) {
			f.verify(t, rt, Rules)
		})
	}
}

// TestNewestOpset: what the rules emit means the same in the newest opset that
// they promise.
func TestNewestOpset(t *testing.T) {
	rt := orttest.Runtime(t)
	for _, f := range forms {
		f.opset = 24
		switch f.op + "/" + f.name {
		case "GroupNormalization/per group", "GlobalLpPool/": // the form is gone; there is no kernel
			continue
		}
		f.single = f.single || f.op == "PRelu" // the float64 kernel is gone
		t.Run(f.op+"/"+f.name, func(t *testing.T) { f.verify(t, rt, Rules) })
	}
}

func (f form) verify(t *testing.T, rt *ort.Runtime, rules []Rule) {
	if !f.single {
		tr := f.build(t, rt, onnx.Double)
		got, want, size, exact := tr.compare(t, rt, rules, f.seed(), step64, false)
		if !(math.Abs(got-want) <= tol64*size) || size == 0 {
			t.Errorf("float64: <J'w, v> = %.12g, difference quotient %.12g, of magnitude %.3g", got, want, size)
		}
		// The float32 graph may take other forms; the float64 result is its
		// reference. The draws are the same, so w and v are.
		tr = f.build(t, rt, onnx.Float)
		_, _, _, grads := tr.compare(t, rt, rules, f.seed(), step64, false)
		for _, name := range tr.wrt {
			near(t, "float32 gradient of "+name, grads[name], exact[name], 1e-4)
		}
		return
	}
	h := step32
	if f.step != 0 {
		h = f.step
	}
	tr := f.build(t, rt, onnx.Float)
	got, want, size, _ := tr.compare(t, rt, rules, f.seed(), h, f.steady)
	if !(math.Abs(got-want) <= tol32*size) || size == 0 {
		t.Errorf("float32: <J'w, v> = %.8g, difference quotient %.8g, of magnitude %.3g", got, want, size)
	}
}

// near compares two tensors, relative to the largest element.
func near(t *testing.T, what string, got, want *onnx.Tensor, tol float64) {
	t.Helper()
	g, _ := numbers(got)
	w, _ := numbers(want)
	if len(g) != len(w) {
		t.Errorf("%s: %d elements, want %d", what, len(g), len(w))
		return
	}
	size := 0.0
	for _, v := range w {
		size = max(size, math.Abs(v))
	}
	for i := range g {
		if !(math.Abs(g[i]-w[i]) <= tol*size) {
			t.Errorf("%s: element %d is %g, want %g (largest %g)", what, i, g[i], w[i], size)
			return
		}
	}
}

// TestEveryRuleHasAForm makes a rule tested from the moment it is listed.
func TestEveryRuleHasAForm(t *testing.T) {
	seen := map[opID]bool{}
	for _, r := range Rules {
		id := opID{r.Domain, r.Op}
		if seen[id] {
			t.Errorf("%v has two rules", id)
		}
		seen[id] = true
		covers := func(f form) bool { return f.op == r.Op && f.domain == r.Domain }
		if r.VJP != nil && !slices.ContainsFunc(forms, covers) {
			t.Errorf("rule %v has no form in the suite", id)
		}
	}
	for _, f := range forms {
		if !seen[opID{f.domain, f.op}] {
			t.Errorf("form %s/%s has no rule", f.op, f.name)
		}
	}
}

func bits32(v ...float32) []byte {
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}
