package onnx

import (
	"fmt"
	"slices"
)

// FreeBatch lets a model that was exported for a fixed number of samples run
// with any number: the first dimension of every feed and output becomes the
// symbol "batch", and a Reshape to a constant shape that begins with the old
// number takes its first dimension from its input instead. Declared types of
// intermediate values are dropped, because they state the old number.
//
// It returns the old number, or 0 and an unchanged model when there is nothing
// to free: the first dimension of every feed varies already, or the feeds do
// not agree on one. What FreeBatch does is right for networks that treat
// samples independently along the first dimension, and no graph proves that it
// does; so the caller compares the outputs of two samples at once with those
// of each alone, and keeps the original when they differ.
func FreeBatch(m *Model) int64 {
	g := m.Graph
	batch := int64(0)
	for _, v := range g.Feeds() {
		d := firstDim(v)
		if d == nil || !d.Fixed() {
			continue
		}
		if batch != 0 && batch != d.Size {
			return 0
		}
		batch = d.Size
	}
	if batch == 0 {
		return 0
	}
	for _, v := range slices.Concat(g.Feeds(), g.Outputs) {
		if d := firstDim(v); d != nil && d.Size == batch {
			*d = Dim{Size: -1, Symbol: "batch", Denotation: d.Denotation}
		}
	}
	g.Values = nil
	g.freeReshapes(batch)
	return batch
}

func firstDim(v *Value) *Dim {
	if v.Type == nil || v.Type.Tensor == nil || len(v.Type.Tensor.Dims) == 0 {
		return nil
	}
	return &v.Type.Tensor.Dims[0]
}

func (g *Graph) freeReshapes(batch int64) {
	varies := make(map[string]bool) // depends on a feed
	for _, v := range g.Feeds() {
		varies[v.Name] = true
	}
	constants := g.constants()
	fresh := newNamer(g)
	for _, n := range g.Nodes {
		if !slices.ContainsFunc(n.uses(), func(name string) bool { return varies[name] }) {
			continue
		}
		for _, o := range n.Outputs {
			varies[o] = true
		}
		if n.Op != "Reshape" || n.Domain != "" || len(n.Inputs) < 2 || n.Int("allowzero", 0) != 0 {
			continue
		}
		shape := constants[n.Inputs[1]]
		if shape == nil || shape.Type != Int64 || len(shape.Dims) != 1 {
			continue
		}
		dims := shape.Ints()
		if len(dims) == 0 || dims[0] != batch {
			continue
		}
		// With another -1 in the shape, 0 takes over the input's first
		// dimension; without one, -1 follows from the number of elements.
		dims[0] = -1
		if slices.Contains(dims[1:], -1) {
			dims[0] = 0
		}
		t := IntTensor(fresh.name(fmt.Sprintf("%s_batch", n.Inputs[1])), dims, int64(len(dims)))
		g.Initializers = append(g.Initializers, t)
		n.Inputs[1] = t.Name
	}
}

// constants maps names to the values of initializers and Constant nodes.
func (g *Graph) constants() map[string]*Tensor {
	c := make(map[string]*Tensor)
	for _, t := range g.Initializers {
		c[t.Name] = t
	}
	for _, n := range g.Nodes {
		if t := constantValue(n); t != nil && len(n.Outputs) == 1 {
			c[n.Outputs[0]] = t
		}
	}
	return c
}

// constantValue is the tensor that a Constant node produces, nil for any other
// node and for sparse constants.
func constantValue(n *Node) *Tensor {
	if n.Op != "Constant" || n.Domain != "" || len(n.Attrs) != 1 || n.Attrs[0].Ref != "" {
		return nil
	}
	a := n.Attrs[0]
	switch a.Name {
	case "value":
		return a.Tensor
	case "value_int":
		return IntTensor("", []int64{a.Int})
	case "value_ints":
		return IntTensor("", a.Ints, int64(len(a.Ints)))
	case "value_float":
		return FloatTensor("", []float32{a.Float})
	case "value_floats":
		return FloatTensor("", a.Floats, int64(len(a.Floats)))
	case "value_string":
		return &Tensor{Type: String, Strings: [][]byte{a.String}}
	case "value_strings":
		return &Tensor{Type: String, Dims: []int64{int64(len(a.Strings))}, Strings: a.Strings}
	}
	return nil
}

// namer makes names that no value of a graph or its subgraphs has.
type namer struct{ taken map[string]bool }

func newNamer(graphs ...*Graph) *namer {
	n := &namer{make(map[string]bool)}
	for _, g := range graphs {
		n.take(g)
	}
	return n
}

func (n *namer) take(g *Graph) {
	for name := range g.defined() {
		n.taken[name] = true
	}
	for _, node := range g.Nodes {
		for _, name := range node.Inputs {
			n.taken[name] = true // defined by a graph around this one, perhaps
		}
		for sub := range node.Subgraphs {
			n.take(sub)
		}
	}
}

// name returns base if it is free, else base with a number.
func (n *namer) name(base string) string {
	name := base
	for i := 1; n.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	n.taken[name] = true
	return name
}
