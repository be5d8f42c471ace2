package grad

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/half"
	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// emitter adds nodes and constants to a graph. Nothing reaches the graph
// before commit.
type emitter struct {
	elem onnx.DataType // of the constants that num makes: the gradient at hand

	graph  *onnx.Graph
	shapes onnx.Shapes
	local  onnx.Shapes             // of emitted values that rules are applied to
	inits  map[string]*onnx.Tensor // the graph's initializers and Constant nodes

	prefix   string // of new names; no name in the graph starts with it
	count    int
	nodes    []*onnx.Node
	added    []*onnx.Tensor
	asked    []request
	declared map[string][]int64 // sizes of values, for the graph to state
	consts   map[string]string  // constants and shapes emitted so far, by content
}

// request is an optional output that a node is to have.
type request struct {
	node *onnx.Node
	i    int
	name string
}

func newEmitter(g *onnx.Graph, shapes onnx.Shapes) *emitter {
	e := &emitter{
		graph:    g,
		shapes:   shapes,
		inits:    make(map[string]*onnx.Tensor, len(g.Initializers)),
		local:    onnx.Shapes{},
		consts:   map[string]string{},
		declared: map[string][]int64{},
	}
	for _, t := range g.Initializers {
		e.inits[t.Name] = t
	}
	for _, n := range g.Nodes {
		if t := constant(n); t != nil {
			e.inits[n.Outputs[0]] = t
		}
	}
	// The first of "grad/", "grad1/", "grad2/", ... that is free, so that a
	// graph may be differentiated again, its gradients included.
	taken := map[string]bool{}
	prefixes(g, taken)
	for i := 0; e.prefix == "" || taken[e.prefix]; i++ {
		e.prefix = "grad/"
		if i > 0 {
			e.prefix = fmt.Sprintf("grad%d/", i)
		}
	}
	return e
}

// free makes constants variables: their values are not to be relied on.
func (e *emitter) free(names []string) {
	for _, name := range names {
		if t := e.inits[name]; t != nil {
			e.local[name] = onnx.Shape{Elem: t.Type, Dims: t.Dims}
			delete(e.inits, name)
		}
	}
}

// prefixes collects the part up to the first slash of every name in a graph.
func prefixes(g *onnx.Graph, into map[string]bool) {
	note := func(name string) {
		if i := strings.IndexByte(name, '/'); i >= 0 {
			into[name[:i+1]] = true
		}
	}
	for _, v := range g.Inputs {
		note(v.Name)
	}
	for _, t := range g.Initializers {
		note(t.Name)
	}
	for _, n := range g.Nodes {
		note(n.Name)
		for _, out := range n.Outputs {
			note(out)
		}
		for sub := range n.Subgraphs {
			prefixes(sub, into)
		}
	}
}

// constant is the value of a Constant node with a numeric value, else nil.
func constant(n *onnx.Node) *onnx.Tensor {
	if n.Op != "Constant" || n.Domain != "" || len(n.Attrs) != 1 || len(n.Outputs) != 1 {
		return nil
	}
	switch a := n.Attrs[0]; a.Name {
	case "value":
		return a.Tensor
	case "value_int":
		return onnx.IntTensor("", []int64{a.Int})
	case "value_ints":
		return onnx.IntTensor("", a.Ints, int64(len(a.Ints)))
	case "value_float":
		return onnx.FloatTensor("", []float32{a.Float})
	case "value_floats":
		return onnx.FloatTensor("", a.Floats, int64(len(a.Floats)))
	}
	return nil
}

// commit makes the graph what has been emitted.
func (e *emitter) commit() {
	for _, r := range e.asked {
		for len(r.node.Outputs) <= r.i {
			r.node.Outputs = append(r.node.Outputs, "")
		}
		r.node.Outputs[r.i] = r.name
	}
	e.graph.Nodes = append(e.graph.Nodes, e.nodes...)
	for _, v := range slices.Concat(e.graph.Values, e.graph.Inputs, e.graph.Outputs) {
		delete(e.declared, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(e.declared)) {
		e.graph.Values = append(e.graph.Values, e.value(name, e.declared[name]))
	}
	e.graph.Initializers = append(e.graph.Initializers, e.added...)
}

// declare has the graph say which size a value has, batch first.
func (e *emitter) declare(name string, dims []int64) { e.declared[name] = dims }

// value is the declaration of a float; sizes that vary are those of a batch,
// which all values share.
func (e *emitter) value(name string, dims []int64) *onnx.Value {
	t := &onnx.TensorType{Elem: onnx.Float, HasShape: true}
	for i, d := range dims {
		dim := onnx.Dim{Size: d}
		if i == 0 && d < 0 {
			dim.Symbol = e.prefix + "rows"
		}
		t.Dims = append(t.Dims, dim)
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: t}}
}

// fail stops the rule that is running with a reason, as a clause.
func (e *emitter) fail(format string, args ...any) {
	panic(failure(fmt.Sprintf(format, args...)))
}

func (e *emitter) emitted(name string) bool { return strings.HasPrefix(name, e.prefix) }

func (e *emitter) fresh(what string) string {
	e.count++
	return fmt.Sprintf("%s%s_%d", e.prefix, what, e.count)
}

// request has a node yield its optional output i.
func (e *emitter) request(n *onnx.Node, i int) string {
	for _, r := range e.asked {
		if r.node == n && r.i == i {
			return r.name
		}
	}
	name := e.fresh(n.Op)
	e.asked = append(e.asked, request{n, i, name})
	return name
}

// emit appends a node with one output and returns the output's name.
func (e *emitter) emit(op string, inputs []string, attrs ...*onnx.Attr) string {
	return e.emitMany(op, inputs, 1, attrs...)[0]
}

// emitMany appends a node with n outputs.
func (e *emitter) emitMany(op string, inputs []string, n int, attrs ...*onnx.Attr) []string {
	outs := make([]string, n)
	for i := range outs {
		outs[i] = e.fresh(op)
	}
	e.nodes = append(e.nodes, onnx.NewNode(op, inputs, outs, attrs...))
	return outs
}

// apply appends a node without attributes.
func (e *emitter) apply(op string, inputs ...string) string { return e.emit(op, inputs) }

func (e *emitter) add(a, b string) string { return e.apply("Add", a, b) }
func (e *emitter) sub(a, b string) string { return e.apply("Sub", a, b) }
func (e *emitter) mul(a, b string) string { return e.apply("Mul", a, b) }
func (e *emitter) div(a, b string) string { return e.apply("Div", a, b) }
func (e *emitter) neg(a string) string    { return e.apply("Neg", a) }

// scale multiplies by a number.
func (e *emitter) scale(a string, by float64) string {
	if by == 1 {
		return a
	}
	return e.mul(a, e.num(by))
}

// masked is v where a condition holds, and zero elsewhere.
func (e *emitter) masked(v, cond string) string { return e.mul(v, e.cast(cond, e.elem)) }

// pick is a where a condition holds, else b.
func (e *emitter) pick(cond, a, b string) string { return e.apply("Where", cond, a, b) }

func (e *emitter) cast(a string, to onnx.DataType) string {
	return e.emit("Cast", []string{a}, onnx.IntAttr("to", int64(to)))
}

// num is a scalar constant of the gradient's type.
func (e *emitter) num(v float64) string { return e.nums([]float64{v}) }

// nums is a constant of the gradient's type; no dimensions make a scalar.
func (e *emitter) nums(v []float64, dims ...int64) string {
	return e.constant(floats(v, e.elem, dims))
}

// ints is a vector of int64.
func (e *emitter) ints(v ...int64) string {
	return e.constant(onnx.IntTensor("", v, int64(len(v))))
}

// int is a scalar int64.
func (e *emitter) int(v int64) string { return e.constant(onnx.IntTensor("", []int64{v})) }

// constant adds an initializer, or finds an equal small one.
func (e *emitter) constant(t *onnx.Tensor) string {
	if len(t.Raw) > 256 {
		return e.addInit(t)
	}
	return e.once(fmt.Sprint(t.Type, t.Dims, ":", string(t.Raw)), func() string { return e.addInit(t) })
}

func (e *emitter) addInit(t *onnx.Tensor) string {
	t.Name = e.fresh("const")
	e.added = append(e.added, t)
	e.inits[t.Name] = t
	return t.Name
}

// once emits something the first time its key is asked for.
func (e *emitter) once(key string, make func() string) string {
	name, ok := e.consts[key]
	if !ok {
		name = make()
		e.consts[key] = name
	}
	return name
}

// floats makes a tensor of a floating-point type, rounding each value to it.
func floats(v []float64, t onnx.DataType, dims []int64) *onnx.Tensor {
	var raw []byte
	for _, f := range v {
		switch t {
		case onnx.Double:
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(f))
		case onnx.Float16:
			raw = binary.LittleEndian.AppendUint16(raw, half.Float16(float32(f)))
		case onnx.BFloat16:
			raw = binary.LittleEndian.AppendUint16(raw, half.Bfloat16(float32(f)))
		default:
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
		}
	}
	return onnx.RawTensor("", t, raw, slices.Clone(dims)...)
}

// numbers is the content of a constant of a floating-point type.
func numbers(t *onnx.Tensor) ([]float64, bool) {
	switch t.Type {
	case onnx.Float:
		v := make([]float64, len(t.Raw)/4)
		for i := range v {
			v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Raw[4*i:])))
		}
		return v, true
	case onnx.Double:
		v := make([]float64, len(t.Raw)/8)
		for i := range v {
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(t.Raw[8*i:]))
		}
		return v, true
	}
	return nil, false
}
