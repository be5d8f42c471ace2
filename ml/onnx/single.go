package onnx

import (
	"encoding/binary"
	"math"

	"github.com/redoubt-ml/redoubt/ml/half"
)

// Single rewrites a model's floating-point arithmetic to float32, in subgraphs
// and functions too, and reports whether there was any of another width.
//
// It is for two ends. Runtimes lack float64 kernels for most of a network
// (ONNX Runtime has none for Conv on a CPU), and float16 loses gradients: the
// slope of a confident sample's loss falls below 6e-8, the least that float16
// holds, and an attack sees a flat model where there is none. Weights of
// float16 and bfloat16 stay exact; those of float64 are rounded, and what
// exceeds float32, such as the "minus infinity" of an attention mask, becomes
// its largest number.
//
// Tensors inside operators of other domains keep their width: the thresholds
// of a tree mean what they are, to the last bit.
func Single(m *Model) bool {
	changed := singleGraph(m.Graph)
	for _, f := range m.Functions {
		changed = singleGraph(&Graph{Nodes: f.Nodes, Values: f.Values}) || changed
		for _, a := range f.Defaults {
			changed = singleAttr(a) || changed
		}
	}
	return changed
}

func singleGraph(g *Graph) bool {
	changed := false
	for _, list := range [][]*Value{g.Inputs, g.Outputs, g.Values} {
		for _, v := range list {
			if v.Type != nil && v.Type.Tensor != nil && otherFloat(v.Type.Tensor.Elem) {
				v.Type.Tensor.Elem, changed = Float, true
			}
		}
	}
	for _, t := range g.Initializers {
		changed = t.single() || changed
	}
	for _, n := range g.Nodes {
		for sub := range n.Subgraphs {
			changed = singleGraph(sub) || changed
		}
		if n.Domain != "" {
			continue
		}
		for _, a := range n.Attrs {
			changed = singleAttr(a) || changed
		}
	}
	return changed
}

// singleAttr changes a constant, or an attribute that names an element type.
func singleAttr(a *Attr) bool {
	if a.Tensor != nil {
		return a.Tensor.single()
	}
	switch a.Name {
	case "to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision":
		if a.Type == AttrInt && otherFloat(DataType(a.Int)) {
			a.Int = int64(Float)
			return true
		}
	}
	return false
}

// otherFloat reports whether a type is of floats, and not float32.
func otherFloat(t DataType) bool { return t.IsFloat() && t != Float }

// single makes a tensor's elements float32 in a new slice, since clones share
// the old one.
func (t *Tensor) single() bool {
	if !otherFloat(t.Type) {
		return false
	}
	width := t.Type.Bits() / 8
	raw := make([]byte, 0, 4*(len(t.Raw)/width))
	for b := t.Raw; len(b) >= width; b = b[width:] {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(t.Type.float(b)))
	}
	t.Type, t.Raw = Float, raw
	return true
}

// float reads the first element of float16, bfloat16 or float64.
func (t DataType) float(b []byte) float32 {
	switch t {
	case BFloat16:
		return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
	case Float16:
		return half.FromFloat16(binary.LittleEndian.Uint16(b))
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(b))
	if !math.IsInf(v, 0) {
		v = min(max(v, -math.MaxFloat32), math.MaxFloat32) // NaN stays NaN
	}
	return float32(v)
}
