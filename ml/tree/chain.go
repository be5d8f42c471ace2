package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// before puts the ensemble before the steps that lead from the model's input
// to the trees, each of which must work on one feature at a time.
func (e *Ensemble) before(m *onnx.Model, value string) (*Ensemble, error) {
	producer := map[string]*onnx.Node{}
	for _, n := range m.Graph.Nodes {
		for _, o := range n.Outputs {
			producer[o] = n
		}
	}
	feeds := m.Graph.Feeds()
	if len(feeds) != 1 || feeds[0].Type == nil || feeds[0].Type.Tensor == nil {
		return nil, fmt.Errorf("the model has %d inputs; trees can be read of one tensor", len(feeds))
	}
	in := feeds[0].Type.Tensor
	if len(in.Dims) != 2 {
		return nil, fmt.Errorf("the model's input has %d dimensions; trees take a table", len(in.Dims))
	}
	if in.Dims[1].Fixed() {
		if int64(e.Features) > in.Dims[1].Size {
			return nil, fmt.Errorf("the trees test feature %d of %d", e.Features-1, in.Dims[1].Size)
		}
		e.Features = int(in.Dims[1].Size)
	}
	var steps []step
	for hops := 0; value != feeds[0].Name; hops++ {
		n := producer[value]
		if n == nil || hops > len(m.Graph.Nodes) {
			return nil, errors.New("the trees' input does not come from the model's")
		}
		s, from, err := stepOf(m.Graph, n, e.Features)
		if err != nil {
			return nil, err
		}
		if s != nil {
			steps = append(steps, s)
		}
		value = from
	}
	if !in.Elem.IsFloat() { // samples are rounded on their way in
		steps = append(steps, func(_ int, x float64) float64 { return math.RoundToEven(x) })
	}
	if len(steps) == 0 {
		return e, nil
	}
	slices.Reverse(steps)
	return e.Through(func(j int, x float32) float32 {
		v := float64(x)
		for _, s := range steps {
			v = s(j, v)
		}
		return float32(v)
	})
}

// step is what a node does to one feature.
type step func(j int, x float64) float64

// stepOf reads a node before the trees: what it does, nil for nothing, and the
// value it does it to. ONNX Runtime computes in float32 here, and so do we.
func stepOf(g *onnx.Graph, n *onnx.Node, features int) (step, string, error) {
	switch n.Op {
	case "Identity", "Flatten":
		return nil, n.Input(0), nil
	case "Cast":
		if to := onnx.DataType(n.Int("to", 1)); to != onnx.Float && to != onnx.Double {
			return func(_ int, x float64) float64 { return math.Trunc(x) }, n.Input(0), nil
		}
		return nil, n.Input(0), nil
	case "Scaler":
		offset, err := numbers(n, "offset")
		scale, err2 := numbers(n, "scale")
		if err = errors.Join(err, err2); err != nil {
			return nil, "", err
		}
		o, k, ok := each(offset, features), each(scale, features), true
		if ok = o != nil && k != nil; !ok {
			return nil, "", errors.New("a Scaler before the trees does not fit them")
		}
		return func(j int, x float64) float64 {
			return float64((float32(x) - float32(o(j))) * float32(k(j)))
		}, n.Input(0), nil
	case "Add", "Sub", "Mul", "Div":
		return arithmetic(g, n, features)
	}
	return nil, "", fmt.Errorf("the trees stand behind %s, which mixes features or is not known", n.Op)
}

// arithmetic is one of the four operations with constants.
func arithmetic(g *onnx.Graph, n *onnx.Node, features int) (step, string, error) {
	from, with, first := n.Input(0), constant(g, n.Input(1)), true
	if with == nil {
		from, with, first = n.Input(1), constant(g, n.Input(0)), false
	}
	if with == nil || !first && n.Op == "Div" {
		return nil, "", fmt.Errorf("the trees stand behind %s of what is no constant", n.Op)
	}
	values, err := tensorOf(with)
	if err != nil {
		return nil, "", err
	}
	c := each(values, features)
	if c == nil {
		return nil, "", fmt.Errorf("the trees stand behind %s with %d constants for %d features", n.Op, len(values), features)
	}
	return func(j int, x float64) float64 {
		a, b := float32(x), float32(c(j))
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
	}, from, nil
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

// each reads one number for all features or one for each; nil for another
// count.
func each(v []float64, features int) func(j int) float64 {
	switch len(v) {
	case 1:
		return func(int) float64 { return v[0] }
	case features:
		return func(j int) float64 { return v[j] }
	}
	return nil
}
