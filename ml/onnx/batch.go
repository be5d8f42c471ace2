package onnx

import (
	"fmt"
	"slices"
)

// FreeBatch lets a model that was exported for a fixed number of samples run
// with any number: the first dimension of every feed and output becomes the
// symbol "batch", and constants in which exporters write the old number down
// give way: the shapes of Reshape, the sizes of Resize, tokens that are
// concatenated to every sample, zero initial states of recurrent layers.
// Declared types of intermediate values are dropped, because they state the
// old number. It works best after [Upgrade] and [Simplify].
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
	g.freeConstants(batch, m.Opset(""))
	return batch
}

func firstDim(v *Value) *Dim {
	if v.Type == nil || v.Type.Tensor == nil || len(v.Type.Tensor.Dims) == 0 {
		return nil
	}
	return &v.Type.Tensor.Dims[0]
}

func (g *Graph) freeConstants(batch, opset int64) {
	varies := make(map[string]bool) // depends on a feed
	for _, v := range g.Feeds() {
		varies[v.Name] = true
	}
	f := freer{graph: g, varies: varies, facts: learn(g, facts{}), names: newNamer(g), zeros: make(map[string]bool), batch: batch, opset: opset}
	nodes := g.Nodes
	g.Nodes = nil
	for _, n := range nodes {
		if isZero(n) {
			f.zeros[n.Outputs[0]] = true
		}
		if slices.ContainsFunc(n.uses(), func(name string) bool { return varies[name] }) {
			for _, o := range n.Outputs {
				varies[o] = true
			}
			if n.Domain == "" {
				f.node(n)
			}
		}
		g.Nodes = append(g.Nodes, n)
	}
}

// freer rewrites the nodes that see the batch. It adds nodes to the graph in
// front of the one it works on.
type freer struct {
	facts
	graph  *Graph
	varies map[string]bool
	zeros  map[string]bool // computed values that are zero throughout
	names  *namer
	batch  int64
	opset  int64
}

func (f freer) node(n *Node) {
	switch n.Op {
	case "Reshape":
		f.reshape(n)
	case "Resize":
		f.resize(n)
	case "Concat":
		f.concat(n)
	case "LSTM", "GRU", "RNN":
		for i := 5; i < min(7, len(n.Inputs)); i++ {
			if f.zero(n.Inputs[i]) {
				n.Inputs[i] = "" // means the same, at any batch
			}
		}
	}
}

// vector adds an initializer named after another.
func (f freer) vector(base string, v []int64) string {
	t := IntTensor(f.names.name(base+"_batch"), v, int64(len(v)))
	f.graph.Initializers = append(f.graph.Initializers, t)
	return t.Name
}

// shapeOf is a constant shape that begins with the old batch.
func (f freer) shapeOf(name string) []int64 {
	t := f.constant.get(name)
	if t == nil || t.Type != Int64 || len(t.Dims) != 1 || t.Len() == 0 {
		return nil
	}
	if dims := t.Ints(); dims[0] == f.batch {
		return dims
	}
	return nil
}

// reshape lets the first dimension follow from the input: with another -1 in
// the shape, 0 takes over the input's; without one, -1 follows from the number
// of elements.
func (f freer) reshape(n *Node) {
	dims := f.shapeOf(n.Input(1))
	if dims == nil {
		return
	}
	if n.Int("allowzero", 0) != 0 {
		if slices.Contains(dims, 0) {
			return // an empty tensor, which no 0 may stand for
		}
		// PyTorch sets the attribute on every Reshape. Without a 0 in the
		// shape it says nothing, and here it would forbid one.
		n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attr) bool { return a.Name == "allowzero" })
	}
	dims[0] = -1
	if slices.Contains(dims[1:], -1) {
		dims[0] = 0
	}
	n.Inputs[1] = f.vector(n.Inputs[1], dims)
}

// resize leaves the first dimension out of the sizes, which version 18 allows.
func (f freer) resize(n *Node) {
	dims := f.shapeOf(n.Input(3))
	if f.opset < 18 || len(dims) < 2 || n.Attr("axes") != nil {
		return
	}
	axes := make([]int64, len(dims)-1)
	for i := range axes {
		axes[i] = int64(i + 1)
	}
	n.Inputs[3] = f.vector(n.Inputs[3], dims[1:])
	n.Attrs = append(n.Attrs, IntsAttr("axes", axes...))
}

// concat repeats, for each sample, what is joined to a single one.
func (f freer) concat(n *Node) {
	axis := n.Int("axis", 0)
	i := slices.IndexFunc(n.Inputs, func(name string) bool { return f.varies[name] })
	if f.batch != 1 || f.opset < 15 || axis == 0 || i < 0 {
		return
	}
	source := n.Inputs[i]
	for i, name := range n.Inputs {
		rank, ok := f.rank.at(name)
		if f.varies[name] || !ok || rank < 2 || axis == -int64(rank) {
			continue
		}
		count, shape, out := f.names.name(name+"_count"), f.names.name(name+"_shape"), f.names.name(name+"_batch")
		ones := f.vector(name+"_ones", slices.Repeat([]int64{1}, rank-1))
		f.graph.Nodes = append(f.graph.Nodes,
			NewNode("Shape", []string{source}, []string{count}, IntAttr("start", 0), IntAttr("end", 1)),
			NewNode("Concat", []string{count, ones}, []string{shape}, IntAttr("axis", 0)),
			NewNode("Expand", []string{name, shape}, []string{out}))
		n.Inputs[i] = out
	}
}

// zero reports whether a value is known to be zero throughout.
func (f freer) zero(name string) bool {
	t := f.constant.get(name)
	return f.zeros[name] || t != nil && blank(t)
}

// isZero reports whether a node computes zeros, in whatever shape.
func isZero(n *Node) bool {
	if n.Op != "ConstantOfShape" || n.Domain != "" || len(n.Outputs) != 1 {
		return false
	}
	a := n.Attr("value")
	return a == nil || a.Tensor != nil && blank(a.Tensor)
}

func blank(t *Tensor) bool {
	return t.Type.Bits() > 0 && !slices.ContainsFunc(t.Raw, func(b byte) bool { return b != 0 })
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
type namer struct {
	taken map[string]bool
	next  map[string]int // by base: a model may ask for a million of the same
}

func newNamer(g *Graph) *namer {
	n := &namer{make(map[string]bool), make(map[string]int)}
	n.take(g)
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
	for n.taken[name] {
		n.next[base]++
		name = fmt.Sprintf("%s_%d", base, n.next[base])
	}
	n.taken[name] = true
	return name
}
