package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// before puts the ensemble before the steps that lead from the model's input to
// the trees. Each feature that they test must come from one element of it.
func (e *Ensemble) before(m *onnx.Model, value string) (*Ensemble, error) {
	feeds := m.Graph.Feeds()
	if len(feeds) != 1 || feeds[0].Type == nil || feeds[0].Type.Tensor == nil {
		return nil, fmt.Errorf("the model has %d inputs; trees can be read of one tensor", len(feeds))
	}
	in := feeds[0].Type.Tensor
	if len(in.Dims) != 2 {
		return nil, fmt.Errorf("the model's input has %d dimensions; trees take a table", len(in.Dims))
	}
	t := &tracer{graph: m.Graph, producer: map[string]*onnx.Node{}, input: feeds[0].Name, width: e.Features, left: mostColumns}
	for _, n := range m.Graph.Nodes {
		for _, o := range n.Outputs {
			t.producer[o] = n
		}
	}
	if in.Dims[1].Fixed() {
		t.width = int(in.Dims[1].Size)
	}
	if !in.Elem.IsFloat() { // samples are rounded on their way in
		t.enter = math.RoundToEven
	}
	columns, err := t.columns(value, 0)
	if err != nil {
		return nil, err
	}
	if e.Features > len(columns) {
		return nil, fmt.Errorf("the trees test feature %d of %d", e.Features-1, len(columns))
	}
	e.Features = len(columns)
	if slices.ContainsFunc(columns, func(c column) bool { return c.value != nil }) {
		e, err = e.Through(func(j int, x float32) float32 {
			if columns[j].value == nil {
				return x
			}
			return float32(columns[j].value(float64(x)))
		})
		if err != nil {
			return nil, err
		}
	}
	for _, tree := range e.Trees {
		for k := range tree {
			if n := &tree[k]; n.Feature >= 0 {
				n.Feature = columns[n.Feature].element
			}
		}
	}
	e.Features = t.width
	return e, nil
}

// mostColumns bounds the columns of all values before the trees: a file can name
// more than its size, by joining a value with itself again and again.
const mostColumns = 1 << 20

// tracer finds where the columns of values come from.
type tracer struct {
	graph    *onnx.Graph
	producer map[string]*onnx.Node
	input    string
	width    int // of the input
	enter    step
	left     int // columns that may still be looked at
}

// column is one of a value: an element of the input, and what became of it, nil for
// nothing.
type column struct {
	element int
	value   step
}

// step is what a node does to one number.
type step func(x float64) float64

// columns are those of a value of two dimensions.
func (t *tracer) columns(value string, depth int) ([]column, error) {
	n := t.producer[value]
	if depth > len(t.graph.Nodes) || n == nil && value != t.input {
		return nil, errors.New("the trees' input does not come from the model's")
	}
	var out []column
	var err error
	switch {
	case value == t.input:
		for j := range min(t.width, t.left+1) {
			out = append(out, column{j, t.enter})
		}
	case n.Op == "Concat" && (n.Int("axis", 0) == 1 || n.Int("axis", 0) == -1), n.Op == "FeatureVectorizer":
		for _, from := range n.Inputs {
			part, err := t.columns(from, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, part...)
		}
	default:
		from, with := n.Input(0), n.Input(1)
		if constant(t.graph, with) == nil && constant(t.graph, from) != nil {
			from = with
		}
		if out, err = t.columns(from, depth+1); err != nil {
			return nil, err
		}
		if out, err = t.after(n, out); err != nil {
			return nil, err
		}
	}
	if t.left -= 1 + len(out); t.left < 0 {
		return nil, fmt.Errorf("more than %d columns lie before the trees", mostColumns)
	}
	return out, nil
}

// after is what a node makes of columns. ONNX Runtime computes in float32 here, and
// so do we.
func (t *tracer) after(n *onnx.Node, columns []column) ([]column, error) {
	switch n.Op {
	case "Identity", "Flatten":
		return columns, nil
	case "Gather":
		return t.gather(n, columns)
	case "Round":
		return each(columns, func(int) step { return math.RoundToEven }), nil
	case "Cast":
		if to := onnx.DataType(n.Int("to", 1)); to != onnx.Float && to != onnx.Double {
			return each(columns, func(int) step { return math.Trunc }), nil
		}
		return columns, nil
	case "Scaler":
		offset, err := numbers(n, "offset")
		scale, err2 := numbers(n, "scale")
		if err = errors.Join(err, err2); err != nil {
			return nil, err
		}
		o, k := one(offset, len(columns)), one(scale, len(columns))
		if o == nil || k == nil {
			return nil, errors.New("a Scaler before the trees does not fit them")
		}
		return each(columns, func(j int) step {
			o, k := float32(o(j)), float32(k(j))
			return func(x float64) float64 { return float64((float32(x) - o) * k) }
		}), nil
	case "Add", "Sub", "Mul", "Div":
		return t.arithmetic(n, columns)
	}
	return nil, fmt.Errorf("the trees stand behind %s, which mixes features or is not known", n.Op)
}

// each takes every column a step further.
func each(columns []column, next func(j int) step) []column {
	out := make([]column, len(columns))
	for j, c := range columns {
		before, then := c.value, next(j)
		out[j] = column{c.element, then}
		if before != nil {
			out[j].value = func(x float64) float64 { return then(before(x)) }
		}
	}
	return out
}

// gather takes some of the columns, in another order perhaps.
func (t *tracer) gather(n *onnx.Node, columns []column) ([]column, error) {
	places := constant(t.graph, n.Input(1))
	if axis := n.Int("axis", 0); places == nil || len(places.Dims) != 1 || axis != 1 && axis != -1 || places.Type != onnx.Int64 && places.Type != onnx.Int32 {
		return nil, errors.New("the trees stand behind a Gather of other than columns")
	}
	var out []column
	for _, at := range places.Ints() {
		if at < 0 {
			at += int64(len(columns))
		}
		if at < 0 || at >= int64(len(columns)) {
			return nil, fmt.Errorf("a Gather before the trees takes column %d of %d", at, len(columns))
		}
		out = append(out, columns[at])
	}
	return out, nil
}

// arithmetic is one of the four operations with constants.
func (t *tracer) arithmetic(n *onnx.Node, columns []column) ([]column, error) {
	with, first := constant(t.graph, n.Input(1)), true
	if with == nil {
		with, first = constant(t.graph, n.Input(0)), false
	}
	if with == nil || !first && n.Op == "Div" {
		return nil, fmt.Errorf("the trees stand behind %s of what is no constant", n.Op)
	}
	values, err := tensorOf(with)
	if err != nil {
		return nil, err
	}
	c := one(values, len(columns))
	if c == nil {
		return nil, fmt.Errorf("the trees stand behind %s with %d constants for %d features", n.Op, len(values), len(columns))
	}
	return each(columns, func(j int) step {
		b := float32(c(j))
		return func(x float64) float64 {
			a := float32(x)
			switch n.Op {
			case "Add":
				a += b
			case "Mul":
				a *= b
			case "Div":
				a /= b
			default:
				if a -= b; !first {
					a = -a
				}
			}
			return float64(a)
		}
	}), nil
}

func constant(g *onnx.Graph, name string) *onnx.Tensor {
	if t := g.Initializer(name); t != nil {
		return t
	}
	for _, n := range g.Nodes {
		if n.Op == "Constant" && len(n.Outputs) == 1 && n.Outputs[0] == name {
			if a := n.Attr("value"); a != nil {
				return a.Tensor
			}
		}
	}
	return nil
}

// one reads one number for all features or one for each; nil for another count.
func one(v []float64, features int) func(j int) float64 {
	switch len(v) {
	case 1:
		return func(int) float64 { return v[0] }
	case features:
		return func(j int) float64 { return v[j] }
	}
	return nil
}
