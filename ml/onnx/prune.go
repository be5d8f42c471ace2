package onnx

import "slices"

// Prune removes from a graph what none of the named values needs: nodes,
// initializers and declared types, in subgraphs too. Graph inputs stay, except
// those that only gave a removed initializer its place. ONNX Runtime executes
// dead nodes at every optimisation level, so that what is not pruned is paid
// for in every run.
//
// The nodes must be in order, as [Check] leaves them.
func Prune(g *Graph, keep []string) {
	needed := make(map[string]bool, len(keep))
	for _, name := range keep {
		needed[name] = true
	}
	var live []*Node
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool { return o != "" && needed[o] }) {
			continue
		}
		for sub := range n.Subgraphs {
			Prune(sub, sub.outputNames())
		}
		for _, name := range n.uses() {
			needed[name] = true
		}
		live = append(live, n)
	}
	slices.Reverse(live)
	g.Nodes = live

	gone := make(map[string]bool)
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *Tensor) bool {
		gone[t.Name] = !needed[t.Name]
		return gone[t.Name]
	})
	g.Inputs = slices.DeleteFunc(g.Inputs, func(v *Value) bool { return gone[v.Name] })
	defined := g.defined()
	g.Values = slices.DeleteFunc(g.Values, func(v *Value) bool { return !defined[v.Name] })
}

func (g *Graph) outputNames() []string {
	names := make([]string, len(g.Outputs))
	for i, v := range g.Outputs {
		names[i] = v.Name
	}
	return names
}

func (g *Graph) outputSet() map[string]bool {
	set := make(map[string]bool, len(g.Outputs))
	for _, v := range g.Outputs {
		set[v.Name] = true
	}
	return set
}

// defined is the set of names that the graph itself defines, without its
// subgraphs.
func (g *Graph) defined() map[string]bool {
	names := make(map[string]bool)
	for _, v := range g.Inputs {
		names[v.Name] = true
	}
	for _, t := range g.Initializers {
		names[t.Name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			names[o] = true
		}
	}
	delete(names, "")
	return names
}

// used is the set of names that the nodes of a graph, their subgraphs or its
// outputs ask for.
func (g *Graph) used() map[string]bool {
	names := g.outputSet()
	for _, n := range g.Nodes {
		for _, name := range n.uses() {
			names[name] = true
		}
	}
	return names
}
