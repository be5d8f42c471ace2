// Package onnx reads, checks, edits and writes ONNX models.
//
// The usual way in is [Read], which opens a file, refuses what exceeds its
// [Limits] before allocating for it, loads external data from inside the
// model's own folder only, and returns a [Model] that [Check] has accepted:
// names are defined before use, the graph has no cycles, every initializer
// holds exactly the bytes its type and dimensions ask for.
//
//	m, err := onnx.Read("model.onnx", onnx.DefaultLimits)
//
// A Model is plain data and may be edited freely; [Upgrade], [Simplify] and
// [Prune] are the edits that other packages need most. [Model.Encode] and
// [Write] give it back as bytes. Everything read is kept: element types this
// package does not compute with (float16, float8, int4, string), subgraphs,
// functions, metadata and fields unknown to this version pass through
// unchanged.
//
// The package holds no kernels. Running a model is package ort, and
// differentiating one is package grad.
package onnx

import "fmt"

// Model is an ONNX ModelProto.
type Model struct {
	IRVersion       int64
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	Doc             string
	Opsets          []Opset
	Graph           *Graph
	Functions       []*Function
	Metadata        []Property

	unknown []byte // fields of later ONNX versions, written back as read
}

// Opset names the version of one operator domain that a model is written in.
// The default domain is the empty string; "ai.onnx" is read as the same.
type Opset struct {
	Domain  string
	Version int64
}

// Property is one key and value of a model's, graph's or node's metadata.
type Property struct{ Key, Value string }

// Graph is a GraphProto: nodes in topological order, named values between them.
type Graph struct {
	Name         string
	Doc          string
	Nodes        []*Node
	Inputs       []*Value
	Outputs      []*Value
	Values       []*Value // value_info: declared types of intermediate values
	Initializers []*Tensor
	Metadata     []Property

	sparse  bool   // unknown holds sparse initializers, which Check refuses
	unknown []byte // sparse initializers, quantisation annotations, later fields
}

// Node is one operator application. An empty input name is an omitted
// optional input; an empty output name is an output nobody asked for.
type Node struct {
	Op       string
	Domain   string // "" is the ONNX domain
	Name     string
	Overload string
	Doc      string
	Inputs   []string
	Outputs  []string
	Attrs    []*Attr
	Metadata []Property

	unknown []byte
}

// Attr is a named constant of a node. Type says which field holds it.
type Attr struct {
	Name    string
	Ref     string // inside a function body: the name of the function's attribute
	Doc     string
	Type    AttrType
	Float   float32
	Int     int64
	String  []byte
	Tensor  *Tensor
	Graph   *Graph
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph

	unknown []byte // type and sparse-tensor attributes, kept as read
}

// AttrType is AttributeProto.AttributeType.
type AttrType int32

// The attribute types of the ONNX standard.
const (
	AttrUndefined AttrType = iota
	AttrFloat
	AttrInt
	AttrString
	AttrTensor
	AttrGraph
	AttrFloats
	AttrInts
	AttrStrings
	AttrTensors
	AttrGraphs
	AttrSparseTensor
	AttrSparseTensors
	AttrTypeProto
	AttrTypeProtos
)

// Value is a named value with its declared type: a graph input or output, or
// an intermediate value whose type the file states.
type Value struct {
	Name     string
	Doc      string
	Type     *Type // nil when the file does not state one
	Metadata []Property

	unknown []byte
}

// Type is a TypeProto. Exactly one of Tensor and Raw is set.
type Type struct {
	Tensor *TensorType
	// Kind is "tensor", "sequence", "map", "optional", "sparse" or "opaque".
	Kind string
	// Raw is the encoded TypeProto of every kind but a dense tensor; it is
	// carried through unread.
	Raw        []byte
	Denotation string

	unknown []byte
}

// TensorType is the element type and shape of a dense tensor.
type TensorType struct {
	Elem DataType
	// Dims is the declared shape; HasShape is false when the rank is unknown.
	Dims     []Dim
	HasShape bool

	unknown []byte
}

// Dim is one declared dimension: a size, a symbol such as "batch", or, with
// Size -1 and an empty Symbol, unknown.
type Dim struct {
	Size       int64 // -1 unless fixed
	Symbol     string
	Denotation string
}

// Fixed reports whether the dimension is a number.
func (d Dim) Fixed() bool { return d.Size >= 0 }

func (d Dim) String() string {
	switch {
	case d.Fixed():
		return fmt.Sprint(d.Size)
	case d.Symbol != "":
		return d.Symbol
	}
	return "?"
}

// Function is a FunctionProto: an operator defined by a graph.
type Function struct {
	Name     string
	Domain   string
	Overload string
	Doc      string
	Inputs   []string
	Outputs  []string
	Attrs    []string // names of attributes without a default
	Defaults []*Attr  // attributes with one
	Nodes    []*Node
	Opsets   []Opset
	Values   []*Value
	Metadata []Property

	unknown []byte
}

// Opset returns the version of a domain that the model imports, 0 if none.
func (m *Model) Opset(domain string) int64 {
	for _, o := range m.Opsets {
		if o.Domain == domain {
			return o.Version
		}
	}
	return 0
}

// SetOpset imports a domain at a version, replacing any earlier import.
func (m *Model) SetOpset(domain string, version int64) {
	for i := range m.Opsets {
		if m.Opsets[i].Domain == domain {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{domain, version})
}

// Attr returns a node's attribute by name, nil when it is absent.
func (n *Node) Attr(name string) *Attr {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Int returns an integer attribute, or the default when it is absent.
func (n *Node) Int(name string, absent int64) int64 {
	if a := n.Attr(name); a != nil {
		return a.Int
	}
	return absent
}

// Float returns a float attribute, or the default when it is absent.
func (n *Node) Float(name string, absent float32) float32 {
	if a := n.Attr(name); a != nil {
		return a.Float
	}
	return absent
}

// Str returns a string attribute, or the default when it is absent.
func (n *Node) Str(name, absent string) string {
	if a := n.Attr(name); a != nil {
		return string(a.String)
	}
	return absent
}

// Ints returns an integer-list attribute, or the default when it is absent.
func (n *Node) Ints(name string, absent []int64) []int64 {
	if a := n.Attr(name); a != nil {
		return a.Ints
	}
	return absent
}

// Input returns the i-th input name, "" when the node has fewer.
func (n *Node) Input(i int) string {
	if i < len(n.Inputs) {
		return n.Inputs[i]
	}
	return ""
}

// Label names a node for a person: its name if it has one, else its first
// output.
func (n *Node) Label() string {
	if n.Name != "" {
		return n.Name
	}
	for _, o := range n.Outputs {
		if o != "" {
			return "-> " + o
		}
	}
	return "unnamed"
}

// NewNode makes a node of the ONNX domain from names and attributes.
func NewNode(op string, inputs, outputs []string, attrs ...*Attr) *Node {
	return &Node{Op: op, Inputs: inputs, Outputs: outputs, Attrs: attrs}
}

// IntAttr, FloatAttr, StringAttr, IntsAttr, TensorAttr and GraphAttr make
// attributes of their types.
func IntAttr(name string, v int64) *Attr { return &Attr{Name: name, Type: AttrInt, Int: v} }

// FloatAttr makes a float attribute.
func FloatAttr(name string, v float32) *Attr { return &Attr{Name: name, Type: AttrFloat, Float: v} }

// StringAttr makes a string attribute.
func StringAttr(name, v string) *Attr {
	return &Attr{Name: name, Type: AttrString, String: []byte(v)}
}

// IntsAttr makes an integer-list attribute.
func IntsAttr(name string, v ...int64) *Attr { return &Attr{Name: name, Type: AttrInts, Ints: v} }

// TensorAttr makes a tensor attribute.
func TensorAttr(name string, v *Tensor) *Attr { return &Attr{Name: name, Type: AttrTensor, Tensor: v} }

// GraphAttr makes a subgraph attribute.
func GraphAttr(name string, v *Graph) *Attr { return &Attr{Name: name, Type: AttrGraph, Graph: v} }

// Initializer returns the named initializer, nil if there is none. It scans;
// code that looks up many builds its own map.
func (g *Graph) Initializer(name string) *Tensor {
	for _, t := range g.Initializers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Feeds returns the inputs that a caller must supply: graph inputs without an
// initializer of the same name (before IR version 4 every initializer is
// listed as an input too).
func (g *Graph) Feeds() []*Value {
	named := make(map[string]bool, len(g.Initializers))
	for _, t := range g.Initializers {
		named[t.Name] = true
	}
	var feeds []*Value
	for _, v := range g.Inputs {
		if !named[v.Name] {
			feeds = append(feeds, v)
		}
	}
	return feeds
}
