package onnx

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Encode writes a model as the bytes of an ONNX file. Decoding them gives an
// equal model, and encoding that gives the same bytes. Tensors are written as
// raw bytes, inside the file; a model beyond the 2 GiB that a protobuf message
// may hold is refused.
func (m *Model) Encode() ([]byte, error) {
	size := int64(4096)
	m.tensors(func(t *Tensor) { size += int64(len(t.Raw)) + 256 })
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("encode model: %d bytes of tensors, and a protobuf message holds at most 2 GiB; use a smaller model", size)
	}
	b := encoder{make([]byte, 0, size)}
	b.model(m)
	if len(b.b) > math.MaxInt32 {
		return nil, fmt.Errorf("encode model: %d bytes, and a protobuf message holds at most 2 GiB; use a smaller model", len(b.b))
	}
	return b.b, nil
}

// Encode writes a tensor as a TensorProto.
func (t *Tensor) Encode() []byte {
	b := encoder{make([]byte, 0, len(t.Raw)+256)}
	b.tensor(t)
	return b.b
}

// encoder appends messages. Fields go out in the order of their numbers, and
// fields that hold nothing are left out, so that equal models have equal bytes.
type encoder struct{ b []byte }

// nested appends a length-delimited field whose length is only known when its
// content stands: the content is moved up to make room for the length.
func (e *encoder) nested(num protowire.Number, content func()) {
	e.b = protowire.AppendTag(e.b, num, protowire.BytesType)
	start := len(e.b)
	content()
	length := uint64(len(e.b) - start)
	k := protowire.SizeVarint(length)
	e.b = append(e.b, make([]byte, k)...)
	copy(e.b[start+k:], e.b[start:len(e.b)-k])
	protowire.AppendVarint(e.b[:start], length)
}

func (e *encoder) varint(num protowire.Number, v int64) {
	e.b = protowire.AppendTag(e.b, num, protowire.VarintType)
	e.b = protowire.AppendVarint(e.b, uint64(v))
}

func (e *encoder) int(num protowire.Number, v int64) {
	if v != 0 {
		e.varint(num, v)
	}
}

func (e *encoder) bytes(num protowire.Number, v []byte) {
	e.b = protowire.AppendTag(e.b, num, protowire.BytesType)
	e.b = protowire.AppendBytes(e.b, v)
}

func (e *encoder) string(num protowire.Number, v string) {
	if v != "" {
		e.bytes(num, []byte(v))
	}
}

// strings keeps empty elements: they mean omitted inputs and outputs.
func (e *encoder) strings(num protowire.Number, list []string) {
	for _, v := range list {
		e.bytes(num, []byte(v))
	}
}

func (e *encoder) ints(num protowire.Number, list []int64) {
	if len(list) > 0 {
		e.nested(num, func() {
			for _, v := range list {
				e.b = protowire.AppendVarint(e.b, uint64(v))
			}
		})
	}
}

func (e *encoder) float(num protowire.Number, v float32) {
	e.b = protowire.AppendTag(e.b, num, protowire.Fixed32Type)
	e.b = protowire.AppendFixed32(e.b, math.Float32bits(v))
}

func (e *encoder) floats(num protowire.Number, list []float32) {
	if len(list) > 0 {
		e.nested(num, func() {
			for _, v := range list {
				e.b = protowire.AppendFixed32(e.b, math.Float32bits(v))
			}
		})
	}
}

func (e *encoder) properties(num protowire.Number, list []Property) {
	for _, p := range list {
		e.nested(num, func() { e.string(1, p.Key); e.string(2, p.Value) })
	}
}

func (e *encoder) opsets(num protowire.Number, list []Opset) {
	for _, o := range list {
		e.nested(num, func() { e.string(1, o.Domain); e.varint(2, o.Version) })
	}
}

func (e *encoder) raw(b []byte) { e.b = append(e.b, b...) }

func (e *encoder) model(m *Model) {
	e.int(1, m.IRVersion)
	e.string(2, m.ProducerName)
	e.string(3, m.ProducerVersion)
	e.string(4, m.Domain)
	e.int(5, m.ModelVersion)
	e.string(6, m.Doc)
	if m.Graph != nil {
		e.nested(7, func() { e.graph(m.Graph) })
	}
	e.opsets(8, m.Opsets)
	e.properties(14, m.Metadata)
	for _, f := range m.Functions {
		e.nested(25, func() { e.function(f) })
	}
	e.raw(m.unknown)
}

func (e *encoder) graph(g *Graph) {
	for _, n := range g.Nodes {
		e.nested(1, func() { e.node(n) })
	}
	e.string(2, g.Name)
	for _, t := range g.Initializers {
		e.nested(5, func() { e.tensor(t) })
	}
	e.string(10, g.Doc)
	e.values(11, g.Inputs)
	e.values(12, g.Outputs)
	e.values(13, g.Values)
	e.properties(16, g.Metadata)
	e.raw(g.unknown)
}

func (e *encoder) node(n *Node) {
	e.strings(1, n.Inputs)
	e.strings(2, n.Outputs)
	e.string(3, n.Name)
	e.string(4, n.Op)
	e.attrs(5, n.Attrs)
	e.string(6, n.Doc)
	e.string(7, n.Domain)
	e.string(8, n.Overload)
	e.properties(9, n.Metadata)
	e.raw(n.unknown)
}

func (e *encoder) attrs(num protowire.Number, list []*Attr) {
	for _, a := range list {
		e.nested(num, func() { e.attr(a) })
	}
}

// attr writes the field that the type names even when it is zero, and any
// other only when it holds something.
func (e *encoder) attr(a *Attr) {
	e.string(1, a.Name)
	if a.Ref == "" && a.Type == AttrFloat || a.Float != 0 {
		e.float(2, a.Float)
	}
	if a.Ref == "" && a.Type == AttrInt || a.Int != 0 {
		e.varint(3, a.Int)
	}
	if a.Ref == "" && a.Type == AttrString || len(a.String) > 0 {
		e.bytes(4, a.String)
	}
	if a.Tensor != nil {
		e.nested(5, func() { e.tensor(a.Tensor) })
	}
	if a.Graph != nil {
		e.nested(6, func() { e.graph(a.Graph) })
	}
	e.floats(7, a.Floats)
	e.ints(8, a.Ints)
	for _, s := range a.Strings {
		e.bytes(9, s)
	}
	for _, t := range a.Tensors {
		e.nested(10, func() { e.tensor(t) })
	}
	for _, g := range a.Graphs {
		e.nested(11, func() { e.graph(g) })
	}
	e.string(13, a.Doc)
	e.int(20, int64(a.Type))
	e.string(21, a.Ref)
	e.raw(a.unknown)
}

func (e *encoder) tensor(t *Tensor) {
	e.ints(1, t.Dims)
	e.int(2, int64(t.Type))
	if t.Type == String {
		for _, s := range t.Strings {
			e.bytes(6, s)
		}
	}
	e.string(8, t.Name)
	if t.Type != String && t.external == nil {
		e.bytes(9, t.Raw)
	}
	e.string(12, t.Doc)
	if t.external != nil {
		e.properties(13, t.external.entries)
		e.varint(14, 1)
	}
	e.properties(16, t.Metadata)
	e.raw(t.unknown)
}

func (e *encoder) values(num protowire.Number, list []*Value) {
	for _, v := range list {
		e.nested(num, func() {
			e.string(1, v.Name)
			if v.Type != nil {
				e.nested(2, func() { e.typ(v.Type) })
			}
			e.string(3, v.Doc)
			e.properties(4, v.Metadata)
			e.raw(v.unknown)
		})
	}
}

func (e *encoder) typ(t *Type) {
	if t.Tensor == nil {
		e.raw(t.Raw)
		return
	}
	e.nested(1, func() {
		e.int(1, int64(t.Tensor.Elem))
		if t.Tensor.HasShape {
			e.nested(2, func() { e.dims(t.Tensor.Dims) })
		}
		e.raw(t.Tensor.unknown)
	})
	e.string(6, t.Denotation)
	e.raw(t.unknown)
}

func (e *encoder) dims(dims []Dim) {
	for _, d := range dims {
		e.nested(1, func() {
			if d.Fixed() {
				e.varint(1, d.Size)
			} else {
				e.string(2, d.Symbol)
			}
			e.string(3, d.Denotation)
		})
	}
}

func (e *encoder) function(f *Function) {
	e.string(1, f.Name)
	e.strings(4, f.Inputs)
	e.strings(5, f.Outputs)
	e.strings(6, f.Attrs)
	for _, n := range f.Nodes {
		e.nested(7, func() { e.node(n) })
	}
	e.string(8, f.Doc)
	e.opsets(9, f.Opsets)
	e.string(10, f.Domain)
	e.attrs(11, f.Defaults)
	e.values(12, f.Values)
	e.string(13, f.Overload)
	e.properties(14, f.Metadata)
	e.raw(f.unknown)
}
