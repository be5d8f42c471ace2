package grad

import (
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Problem is a place that no gradient can be taken through.
type Problem struct {
	Op     string // the operator
	Domain string // its domain, "" for the ONNX standard's
	Node   string // the node, as [onnx.Node.Label] names it
	Reason string // why, as a clause
}

// Error names the operator, the node, the reason and the way out.
func (p Problem) Error() string {
	op := p.Op
	if p.Domain != "" {
		op = p.Domain + "." + op
	}
	return fmt.Sprintf("no gradient through %s (node %s): %s; use attacks that need scores or labels only", op, p.Node, p.Reason)
}

func problem(n *onnx.Node, reason string) Problem {
	return Problem{Op: n.Op, Domain: n.Domain, Node: n.Label(), Reason: reason}
}

// Check lists, in the order of the graph, the nodes between wrt and outputs
// that no [Rule] covers: none means that the model can be differentiated, as
// far as the graph alone can tell. Rules may still refuse a form of their
// operator that only measured shapes reveal; [VJP] then says so.
func Check(g *onnx.Graph, outputs, wrt []string) []Problem {
	table := index(Rules)
	p := trace(g, table, outputs, wrt, func(string) bool { return true })
	var problems []Problem
	for _, n := range p.nodes {
		if _, reason := table.find(n); reason != "" {
			problems = append(problems, problem(n, reason))
		}
	}
	return problems
}

// path is the part of a graph that gradients flow through.
type path struct {
	nodes []*onnx.Node    // every node that carries gradient from an output back to wrt, in order
	needs map[string]bool // the values that depend on wrt
}

// trace finds the path between wrt and outputs. A value that fails carries
// has no gradient and ends it, and so does an operator whose derivative is
// zero.
func trace(g *onnx.Graph, table ruleTable, outputs, wrt []string, carries func(string) bool) path {
	needs := make(map[string]bool)
	for _, name := range wrt {
		needs[name] = true
	}
	needed := func(name string) bool { return needs[name] }
	for _, n := range g.Nodes {
		if table.blocks(n) || !slices.ContainsFunc(reads(n), needed) {
			continue
		}
		for _, out := range n.Outputs {
			if out != "" && carries(out) {
				needs[out] = true
			}
		}
	}
	leads := make(map[string]bool)
	for _, name := range outputs {
		leads[name] = true
	}
	var nodes []*onnx.Node
	for _, n := range slices.Backward(g.Nodes) {
		live := func(out string) bool { return leads[out] && needs[out] }
		if table.blocks(n) || !slices.ContainsFunc(n.Outputs, live) || !slices.ContainsFunc(reads(n), needed) {
			continue
		}
		nodes = append(nodes, n)
		for _, in := range reads(n) {
			leads[in] = true
		}
	}
	slices.Reverse(nodes)
	return path{nodes, needs}
}

// reads lists the values a node depends on: its inputs and what its subgraphs
// use, which may include names of their own.
func reads(n *onnx.Node) []string {
	names := slices.Clip(n.Inputs)
	for g := range n.Subgraphs {
		for _, inner := range g.Nodes {
			names = append(names, reads(inner)...)
		}
		for _, out := range g.Outputs {
			names = append(names, out.Name)
		}
	}
	return names
}
