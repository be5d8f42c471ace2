package onnx

// Subgraphs yields the graphs that a node holds in its attributes: the
// branches of If, the bodies of Loop and Scan.
func (n *Node) Subgraphs(yield func(*Graph) bool) {
	for _, a := range n.Attrs {
		if a.Graph != nil && !yield(a.Graph) {
			return
		}
		for _, g := range a.Graphs {
			if !yield(g) {
				return
			}
		}
	}
}

// AllNodes yields the nodes of a graph in order, each followed by those of its
// subgraphs, with the graph that holds it.
func (g *Graph) AllNodes(yield func(*Graph, *Node) bool) { g.allNodes(yield) }

func (g *Graph) allNodes(yield func(*Graph, *Node) bool) bool {
	for _, n := range g.Nodes {
		if !yield(g, n) {
			return false
		}
		for sub := range n.Subgraphs {
			if !sub.allNodes(yield) {
				return false
			}
		}
	}
	return true
}

// tensors calls visit for every tensor of a model.
func (m *Model) tensors(visit func(*Tensor)) {
	if m.Graph != nil {
		m.Graph.tensors(visit)
	}
	for _, f := range m.Functions {
		for _, n := range f.Nodes {
			attrTensors(n.Attrs, visit)
		}
		attrTensors(f.Defaults, visit)
	}
}

func (g *Graph) tensors(visit func(*Tensor)) {
	for _, t := range g.Initializers {
		visit(t)
	}
	for _, n := range g.Nodes {
		attrTensors(n.Attrs, visit)
	}
}

func attrTensors(attrs []*Attr, visit func(*Tensor)) {
	for _, a := range attrs {
		if a.Tensor != nil {
			visit(a.Tensor)
		}
		for _, t := range a.Tensors {
			visit(t)
		}
		if a.Graph != nil {
			a.Graph.tensors(visit)
		}
		for _, g := range a.Graphs {
			g.tensors(visit)
		}
	}
}
