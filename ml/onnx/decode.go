package onnx

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers in the switches below are the field numbers of
// onnx/onnx.proto, which are fixed for all time.

// Decode reads a model from the bytes of an ONNX file, without looking at
// other files: tensors that it keeps in external files stay unloaded, as
// [Read] loads them. It checks only the encoding; call [Check] before relying
// on the content.
//
// The model refers to b for the elements of its tensors, so b must not be
// changed afterwards.
func Decode(b []byte, lim Limits) (*Model, error) {
	return decodeModel(b, newBudget(lim))
}

func decodeModel(b []byte, left *budget) (*Model, error) {
	if int64(len(b)) > left.lim.FileBytes {
		return nil, fmt.Errorf("decode model: %w: %d bytes where %d are allowed; raise FileBytes if the file is trusted", ErrLimit, len(b), left.lim.FileBytes)
	}
	m := new(Model)
	if err := readModel(decoder{left}, b, m); err != nil {
		return nil, fmt.Errorf("decode model: %w", err)
	}
	return m, nil
}

// DecodeTensor reads one TensorProto, the form in which ONNX ships test data.
// Like [Decode] it refers to b afterwards. Unlike it, it also checks that the
// elements match the type and dimensions.
func DecodeTensor(b []byte, lim Limits) (*Tensor, error) {
	if int64(len(b)) > lim.FileBytes {
		return nil, fmt.Errorf("decode tensor: %w: %d bytes where %d are allowed; raise FileBytes if the file is trusted", ErrLimit, len(b), lim.FileBytes)
	}
	t := new(Tensor)
	if err := readTensor(decoder{newBudget(lim)}, b, t); err != nil {
		return nil, fmt.Errorf("decode tensor: %w", err)
	}
	if err := checkTensor(t); err != nil {
		return nil, fmt.Errorf("decode tensor: %w", err)
	}
	return t, nil
}

func readModel(d decoder, b []byte, m *Model) error {
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			return d.int64(f, &m.IRVersion)
		case 2:
			return d.string(f, &m.ProducerName)
		case 3:
			return d.string(f, &m.ProducerVersion)
		case 4:
			return d.string(f, &m.Domain)
		case 5:
			return d.int64(f, &m.ModelVersion)
		case 6:
			return d.string(f, &m.Doc)
		case 7:
			if m.Graph != nil {
				return fmt.Errorf("the model has two graphs; the file is damaged")
			}
			m.Graph, err = message(d, f, "", readGraph)
			return err
		case 8:
			return values(d, f, &m.Opsets, "opset import", readOpset)
		case 14:
			return values(d, f, &m.Metadata, "metadata", readProperty)
		case 25:
			return messages(d, f, &m.Functions, fmt.Sprintf("function %d", len(m.Functions)), readFunction)
		}
		return d.keep(f, &m.unknown)
	})
}

func readGraph(d decoder, b []byte, g *Graph) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer func() { d.left.Depth++ }()
	err := walk(b, func(f field) error {
		switch f.num {
		case 1:
			if err := d.node(); err != nil {
				return err
			}
			return messages(d, f, &g.Nodes, "", readNode)
		case 2:
			return d.string(f, &g.Name)
		case 5:
			return messages(d, f, &g.Initializers, "", readTensor)
		case 10:
			return d.string(f, &g.Doc)
		case 11:
			return messages(d, f, &g.Inputs, "input", readValue)
		case 12:
			return messages(d, f, &g.Outputs, "output", readValue)
		case 13:
			return messages(d, f, &g.Values, "value info", readValue)
		case 15:
			g.sparse = true
		case 16:
			return values(d, f, &g.Metadata, "metadata", readProperty)
		}
		return d.keep(f, &g.unknown)
	})
	if err != nil {
		return fmt.Errorf("graph %q: %w", g.Name, err)
	}
	return nil
}

func readNode(d decoder, b []byte, n *Node) error {
	err := walk(b, func(f field) error {
		switch f.num {
		case 1:
			return d.strings(f, &n.Inputs)
		case 2:
			return d.strings(f, &n.Outputs)
		case 3:
			return d.string(f, &n.Name)
		case 4:
			return d.string(f, &n.Op)
		case 5:
			return messages(d, f, &n.Attrs, "", readAttr)
		case 6:
			return d.string(f, &n.Doc)
		case 7:
			return d.domain(f, &n.Domain)
		case 8:
			return d.string(f, &n.Overload)
		case 9:
			return values(d, f, &n.Metadata, "metadata", readProperty)
		}
		return d.keep(f, &n.unknown)
	})
	if err != nil {
		return fmt.Errorf("%s node %q: %w", n.Op, n.Label(), err)
	}
	return nil
}

func readAttr(d decoder, b []byte, a *Attr) error {
	seen := AttrUndefined
	err := walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			return d.string(f, &a.Name)
		case 2:
			seen = AttrFloat
			return d.float(f, &a.Float)
		case 3:
			seen = AttrInt
			return d.int64(f, &a.Int)
		case 4:
			seen = AttrString
			return d.bytes(f, &a.String)
		case 5:
			seen = AttrTensor
			a.Tensor, err = message(d, f, "", readTensor)
			return err
		case 6:
			seen = AttrGraph
			a.Graph, err = message(d, f, "", readGraph)
			return err
		case 7:
			seen = AttrFloats
			return f.scalars(5, func(v uint64) error { return add(d, &a.Floats, float32frombits(v)) })
		case 8:
			seen = AttrInts
			return d.ints(f, &a.Ints)
		case 9:
			seen = AttrStrings
			var s []byte
			if err := d.bytes(f, &s); err != nil {
				return err
			}
			return add(d, &a.Strings, s)
		case 10:
			seen = AttrTensors
			return messages(d, f, &a.Tensors, "", readTensor)
		case 11:
			seen = AttrGraphs
			return messages(d, f, &a.Graphs, "", readGraph)
		case 13:
			return d.string(f, &a.Doc)
		case 20:
			return enum(f, &a.Type)
		case 21:
			return d.string(f, &a.Ref)
		case 22, 23:
			if err := checkSparse(d, f); err != nil {
				return err
			}
		}
		return d.keep(f, &a.unknown)
	})
	if err != nil {
		return fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	if a.Type == AttrUndefined { // optional in files of IR version 1
		a.Type = seen
	}
	return nil
}

// checkSparse looks into a sparse tensor, which is otherwise carried through
// unread, for elements in other files: the runtime would open them, wherever
// they are.
func checkSparse(d decoder, f field) error {
	if f.typ != protowire.BytesType {
		return f.fieldError()
	}
	return walk(f.data, func(f field) error {
		if f.num != 1 && f.num != 2 { // values and indices
			return nil
		}
		t, err := message(d, f, "sparse tensor", readTensor)
		if err == nil && t.external != nil {
			err = fmt.Errorf("sparse tensor %q keeps its elements in another file, which is not supported; save the model with them inside", t.Name)
		}
		return err
	})
}

func readValue(d decoder, b []byte, v *Value) error {
	err := walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			return d.string(f, &v.Name)
		case 2:
			v.Type, err = message(d, f, "type", readType)
			return err
		case 3:
			return d.string(f, &v.Doc)
		case 4:
			return values(d, f, &v.Metadata, "metadata", readProperty)
		}
		return d.keep(f, &v.unknown)
	})
	if err != nil {
		return fmt.Errorf("value %q: %w", v.Name, err)
	}
	return nil
}

var typeKinds = map[int32]string{1: "tensor", 4: "sequence", 5: "map", 7: "opaque", 8: "sparse", 9: "optional"}

func readType(d decoder, b []byte, t *Type) error {
	err := walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			t.Kind = "tensor"
			t.Tensor, err = message(d, f, "", readTensorType)
			return err
		case 6:
			return d.string(f, &t.Denotation)
		}
		if kind := typeKinds[int32(f.num)]; kind != "" {
			t.Kind = kind
		}
		return d.keep(f, &t.unknown)
	})
	if err != nil || t.Kind == "tensor" {
		return err
	}
	t.Tensor, t.unknown = nil, nil
	if err := d.structure(len(b)); err != nil {
		return err
	}
	t.Raw = append([]byte{}, b...)
	return nil
}

func readTensorType(d decoder, b []byte, t *TensorType) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			return enum(f, &t.Elem)
		case 2:
			if f.typ != 2 {
				return f.fieldError()
			}
			t.HasShape = true
			return walk(f.data, func(f field) error {
				if f.num != 1 {
					return nil // the format has never had another field here
				}
				return values(d, f, &t.Dims, "dimension", readDim)
			})
		}
		return d.keep(f, &t.unknown)
	})
}

func readDim(d decoder, b []byte, dim *Dim) error {
	dim.Size = -1
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			if err := d.int64(f, &dim.Size); err != nil {
				return err
			}
			dim.Size = max(dim.Size, -1) // some exporters write -1 for unknown
		case 2:
			return d.string(f, &dim.Symbol)
		case 3:
			return d.string(f, &dim.Denotation)
		}
		return nil
	})
}

func readOpset(d decoder, b []byte, o *Opset) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			return d.domain(f, &o.Domain)
		case 2:
			return d.int64(f, &o.Version)
		}
		return nil
	})
}

func readProperty(d decoder, b []byte, p *Property) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			return d.string(f, &p.Key)
		case 2:
			return d.string(f, &p.Value)
		}
		return nil
	})
}

func readFunction(d decoder, b []byte, fn *Function) error {
	err := walk(b, func(f field) error {
		switch f.num {
		case 1:
			return d.string(f, &fn.Name)
		case 4:
			return d.strings(f, &fn.Inputs)
		case 5:
			return d.strings(f, &fn.Outputs)
		case 6:
			return d.strings(f, &fn.Attrs)
		case 7:
			if err := d.node(); err != nil {
				return err
			}
			return messages(d, f, &fn.Nodes, "", readNode)
		case 8:
			return d.string(f, &fn.Doc)
		case 9:
			return values(d, f, &fn.Opsets, "opset import", readOpset)
		case 10:
			return d.domain(f, &fn.Domain)
		case 11:
			return messages(d, f, &fn.Defaults, "", readAttr)
		case 12:
			return messages(d, f, &fn.Values, "value info", readValue)
		case 13:
			return d.string(f, &fn.Overload)
		case 14:
			return values(d, f, &fn.Metadata, "metadata", readProperty)
		}
		return d.keep(f, &fn.unknown)
	})
	if err != nil {
		return fmt.Errorf("function %q: %w", fn.Name, err)
	}
	return nil
}
