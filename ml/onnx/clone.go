package onnx

import "slices"

// Clone copies a model so that no edit of the one is seen in the other. The
// elements of tensors, Raw and Strings, are shared and must from then on be
// replaced rather than written to; everything else is copied.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	c.Graph = m.Graph.Clone()
	c.Functions = cloneAll(m.Functions, (*Function).clone)
	c.unknown = slices.Clone(m.unknown)
	return &c
}

// Clone copies a graph with its subgraphs, as [Model.Clone] does.
func (g *Graph) Clone() *Graph {
	if g == nil {
		return nil
	}
	c := *g
	c.Nodes = cloneAll(g.Nodes, (*Node).Clone)
	c.Inputs = cloneAll(g.Inputs, (*Value).clone)
	c.Outputs = cloneAll(g.Outputs, (*Value).clone)
	c.Values = cloneAll(g.Values, (*Value).clone)
	c.Initializers = cloneAll(g.Initializers, (*Tensor).clone)
	c.Metadata = slices.Clone(g.Metadata)
	c.unknown = slices.Clone(g.unknown)
	return &c
}

// Clone copies a node with its attributes, as [Model.Clone] does.
func (n *Node) Clone() *Node {
	c := *n
	c.Inputs = slices.Clone(n.Inputs)
	c.Outputs = slices.Clone(n.Outputs)
	c.Attrs = cloneAll(n.Attrs, (*Attr).clone)
	c.Metadata = slices.Clone(n.Metadata)
	c.unknown = slices.Clone(n.unknown)
	return &c
}

func (a *Attr) clone() *Attr {
	c := *a
	c.String = slices.Clone(a.String)
	c.Floats = slices.Clone(a.Floats)
	c.Ints = slices.Clone(a.Ints)
	c.Strings = cloneAll(a.Strings, slices.Clone)
	if a.Tensor != nil {
		c.Tensor = a.Tensor.clone()
	}
	c.Tensors = cloneAll(a.Tensors, (*Tensor).clone)
	c.Graph = a.Graph.Clone()
	c.Graphs = cloneAll(a.Graphs, (*Graph).Clone)
	c.unknown = slices.Clone(a.unknown)
	return &c
}

func (t *Tensor) clone() *Tensor {
	c := *t
	c.Dims = slices.Clone(t.Dims)
	c.Metadata = slices.Clone(t.Metadata)
	c.unknown = slices.Clone(t.unknown)
	return &c
}

func (v *Value) clone() *Value {
	c := *v
	if v.Type != nil {
		t := *v.Type
		t.Raw = slices.Clone(t.Raw)
		t.unknown = slices.Clone(t.unknown)
		if t.Tensor != nil {
			tt := *t.Tensor
			tt.Dims = slices.Clone(tt.Dims)
			tt.unknown = slices.Clone(tt.unknown)
			t.Tensor = &tt
		}
		c.Type = &t
	}
	c.Metadata = slices.Clone(v.Metadata)
	c.unknown = slices.Clone(v.unknown)
	return &c
}

func (f *Function) clone() *Function {
	c := *f
	c.Inputs = slices.Clone(f.Inputs)
	c.Outputs = slices.Clone(f.Outputs)
	c.Attrs = slices.Clone(f.Attrs)
	c.Defaults = cloneAll(f.Defaults, (*Attr).clone)
	c.Nodes = cloneAll(f.Nodes, (*Node).Clone)
	c.Opsets = slices.Clone(f.Opsets)
	c.Values = cloneAll(f.Values, (*Value).clone)
	c.Metadata = slices.Clone(f.Metadata)
	c.unknown = slices.Clone(f.unknown)
	return &c
}

func cloneAll[T any](list []T, clone func(T) T) []T {
	if list == nil {
		return nil
	}
	c := make([]T, len(list))
	for i, v := range list {
		c[i] = clone(v)
	}
	return c
}
