package engine

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// datatypes pairs the element types that both ONNX and the protocol have.
var datatypes = map[onnx.DataType]oip.Datatype{
	onnx.Bool: oip.BOOL, onnx.Uint8: oip.UINT8, onnx.Uint16: oip.UINT16, onnx.Uint32: oip.UINT32, onnx.Uint64: oip.UINT64,
	onnx.Int8: oip.INT8, onnx.Int16: oip.INT16, onnx.Int32: oip.INT32, onnx.Int64: oip.INT64,
	onnx.Float16: oip.FP16, onnx.BFloat16: oip.BF16, onnx.Float: oip.FP32, onnx.Double: oip.FP64, onnx.String: oip.BYTES,
}

// elements is the same the other way.
var elements = func() map[oip.Datatype]onnx.DataType {
	m := make(map[oip.Datatype]onnx.DataType, len(datatypes))
	for t, d := range datatypes {
		m[d] = t
	}
	return m
}()

// port is an input of a model in the process.
type port struct {
	oip.TensorMetadata
	symbols []string // the name of each dimension that has one, such as "batch"
}

// portOf reads what a graph declares of a value.
func portOf(v *onnx.Value) (port, error) {
	p := port{TensorMetadata: oip.TensorMetadata{Name: v.Name, Shape: []int64{}}}
	if v.Type == nil || v.Type.Tensor == nil {
		return p, fmt.Errorf("%q is not a tensor", v.Name)
	}
	t := v.Type.Tensor
	d, ok := datatypes[t.Elem]
	if !ok {
		return p, fmt.Errorf("%q holds %v, which the protocol has no type for", v.Name, t.Elem)
	}
	if !t.HasShape {
		return p, fmt.Errorf("%q declares no shape", v.Name)
	}
	p.Datatype = d
	for _, d := range t.Dims {
		size := int64(-1)
		if d.Fixed() {
			size = d.Size
		}
		p.Shape = append(p.Shape, size)
		p.symbols = append(p.symbols, d.Symbol)
	}
	return p, nil
}

// withoutMaps replaces outputs that are sequences of maps, as scikit-learn's
// exports end, by the tensor of probabilities that they are made of. Other
// outputs that are no tensors are left out.
func withoutMaps(m *onnx.Model) {
	g := m.Graph
	var kept []*onnx.Value
	var names []string
	for _, v := range g.Outputs {
		if v.Type != nil && v.Type.Tensor == nil {
			i := slices.IndexFunc(g.Nodes, func(n *onnx.Node) bool {
				return n.Op == "ZipMap" && slices.Contains(n.Outputs, v.Name)
			})
			if i < 0 {
				continue
			}
			g.Nodes[i] = onnx.NewNode("Identity", []string{g.Nodes[i].Input(0)}, []string{v.Name})
			v = &onnx.Value{Name: v.Name}
		}
		kept = append(kept, v)
		names = append(names, v.Name)
	}
	if len(kept) != len(g.Outputs) || slices.ContainsFunc(kept, func(v *onnx.Value) bool { return v.Type == nil }) {
		g.Outputs = kept
		onnx.Prune(g, names)
	}
}

// checkSymbols refuses a request in which dimensions of one name differ.
func checkSymbols(q *oip.Request, ports []port) error {
	sizes := map[string]int64{}
	for _, p := range ports {
		t := q.Input(p.Name)
		for i, s := range p.symbols {
			if s == "" {
				continue
			}
			if size, ok := sizes[s]; ok && size != t.Shape[i] {
				return oip.Errorf(oip.BadInput, "input %s: dimension %d must be %d as in other inputs, not %d", quote(p.Name), i, size, t.Shape[i])
			}
			sizes[s] = t.Shape[i]
		}
	}
	return nil
}

// toRuntime makes the runtime's tensor of a protocol's, sharing its memory.
func toRuntime(t *oip.Tensor) (*onnx.Tensor, error) {
	for _, s := range t.Strings {
		if bytes.IndexByte(s, 0) >= 0 {
			// The runtime's strings end at the first zero byte: the model would
			// see another text than the one that was checked.
			return nil, oip.Errorf(oip.BadInput, "input %s: text with a zero byte is not taken", quote(t.Name))
		}
	}
	return &onnx.Tensor{Name: t.Name, Type: elements[t.Datatype], Dims: t.Shape, Raw: t.Raw, Strings: t.Strings}, nil
}

// fromRuntime is the way back.
func fromRuntime(t *onnx.Tensor) (oip.Tensor, error) {
	d, ok := datatypes[t.Type]
	if !ok {
		return oip.Tensor{}, fmt.Errorf("output %q holds %v, which the protocol has no type for", t.Name, t.Type)
	}
	if t.Dims == nil {
		t.Dims = []int64{}
	}
	return oip.Tensor{Name: t.Name, Datatype: d, Shape: t.Dims, Raw: t.Raw, Strings: t.Strings}, nil
}
