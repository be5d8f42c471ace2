package onnx

import "slices"

// Simplify rewrites a model into fewer nodes that compute the same: constants
// become initializers, Identity and the Dropout of inference disappear, shape
// arithmetic whose operands are known is done once and for all, inputs that
// have a default become constants, and what nothing needs is pruned. Subgraphs
// are simplified too. No floating-point arithmetic is done here, so results
// stay the same to the last bit.
//
// It is meant for what differentiation and [FreeBatch] must see through, not
// as an optimiser; the runtime has its own.
func Simplify(m *Model) error {
	if err := Check(m); err != nil {
		return err
	}
	g := m.Graph
	g.Inputs = g.Feeds()
	simplifyGraph(g, nil)
	Prune(g, g.outputNames())
	// Before version 4 of the IR an initializer had to be an input as well.
	m.IRVersion = max(m.IRVersion, 4)
	return Check(m)
}

// simplifyGraph works through a graph in order. outer holds the constants of the
// graphs around it.
func simplifyGraph(g *Graph, outer *layer[*Tensor]) {
	f := folder{known: newLayer(g.defined(), outer), shapes: make(map[string][]int64)}
	for _, t := range g.Initializers {
		f.known.set(t.Name, t)
	}
	if outer == nil {
		// The runtime holds a caller to the declared shape of a feed, and to
		// no other declaration.
		for _, v := range g.Inputs {
			if dims, ok := fixedDims(v); ok {
				f.shapes[v.Name] = dims
			}
		}
	}
	outputs := g.outputSet()
	nodes := g.Nodes
	g.Nodes = nil
	for _, n := range nodes {
		for sub := range n.Subgraphs {
			simplifyGraph(sub, f.known)
		}
		if training := f.known.get(n.Input(2)); n.Op == "Dropout" && training != nil && slices.Equal(training.Raw, []byte{0}) {
			n.Inputs = n.Inputs[:2] // inference, said at length
		}
		t := f.fold(n)
		if t == nil {
			g.Nodes = append(g.Nodes, n)
			continue
		}
		t = t.clone()
		t.Name = n.Outputs[0]
		f.known.set(t.Name, t)
		if outputs[t.Name] {
			// Some runtimes refuse an initializer as an output.
			g.Nodes = append(g.Nodes, NewNode("Constant", nil, []string{t.Name}, TensorAttr("value", t)))
			continue
		}
		g.Initializers = append(g.Initializers, t)
	}
	g.bypass()
}

func fixedDims(v *Value) ([]int64, bool) {
	if v.Type == nil || v.Type.Tensor == nil || !v.Type.Tensor.HasShape {
		return nil, false
	}
	dims := make([]int64, len(v.Type.Tensor.Dims))
	for i, d := range v.Type.Tensor.Dims {
		if !d.Fixed() {
			return nil, false
		}
		dims[i] = d.Size
	}
	return dims, true
}

// bypass takes out the nodes that only pass a value on, by giving their users
// the value itself. Where the passed-on value is an output of the graph, its
// name is kept by giving it to the node that computes it.
func (g *Graph) bypass() {
	outputs := g.outputSet()
	inner := make(map[string]bool) // names that subgraphs define for themselves
	producer := make(map[string]*Node)
	for _, n := range g.Nodes {
		for sub := range n.Subgraphs {
			inner = sub.definedWithin(inner)
		}
		for _, o := range n.Outputs {
			producer[o] = n
		}
	}
	used := g.used()
	renamed := make(map[string]string)
	resolve := func(name string) string {
		for {
			to, ok := renamed[name]
			if !ok {
				return name
			}
			name = to
		}
	}
	rename := func(n *Node) {
		for i, name := range n.Inputs {
			n.Inputs[i] = resolve(name)
		}
		for sub := range n.Subgraphs {
			sub.rename(resolve)
		}
	}
	var kept []*Node
	for _, n := range g.Nodes {
		rename(n)
		if !passes(n, used) || inner[n.Inputs[0]] || inner[n.Outputs[0]] {
			kept = append(kept, n)
			continue
		}
		from, to := n.Outputs[0], n.Inputs[0]
		if !outputs[from] {
			renamed[from] = to
			continue
		}
		p := producer[to]
		if p == nil || outputs[to] {
			kept = append(kept, n)
			continue
		}
		for i, o := range p.Outputs {
			if o == to {
				p.Outputs[i] = from
			}
		}
		producer[from] = p
		renamed[to] = from
	}
	for _, n := range kept { // which may use a name that was given up later
		rename(n)
	}
	g.Nodes = kept
}

// passes reports whether a node hands its first input on unchanged and nobody
// asks it for more.
func passes(n *Node, used map[string]bool) bool {
	if n.Domain != "" || len(n.Inputs) == 0 || n.Inputs[0] == "" || len(n.Outputs) == 0 || n.Outputs[0] == "" {
		return false
	}
	switch n.Op {
	case "Identity":
		return true
	case "Dropout":
		return (len(n.Outputs) == 1 || !used[n.Outputs[1]]) && n.Input(2) == ""
	}
	return false
}

// definedWithin adds to names those that a graph and its subgraphs define.
func (g *Graph) definedWithin(names map[string]bool) map[string]bool {
	for name := range g.defined() {
		names[name] = true
	}
	for _, n := range g.Nodes {
		for sub := range n.Subgraphs {
			names = sub.definedWithin(names)
		}
	}
	return names
}

// rename gives the uses of outer names in a subgraph their new names. The
// caller has made sure that no subgraph defines one of either.
func (g *Graph) rename(to func(string) string) {
	for _, n := range g.Nodes {
		for i, name := range n.Inputs {
			n.Inputs[i] = to(name)
		}
		for sub := range n.Subgraphs {
			sub.rename(to)
		}
	}
	for _, v := range g.Outputs {
		v.Name = to(v.Name) // an outer value handed straight back
	}
}
