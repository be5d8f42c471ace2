package onnx

import (
	"container/heap"
	"fmt"
	"slices"
)

// uses lists the names that must exist before a node can run: its inputs and
// whatever its subgraphs take from the graphs around them.
func (n *Node) uses() []string {
	var names []string
	for _, name := range n.Inputs {
		if name != "" {
			names = append(names, name)
		}
	}
	for g := range n.Subgraphs {
		names = append(names, g.captures()...)
	}
	return names
}

// captures lists the names that a subgraph takes from the graphs around it.
func (g *Graph) captures() []string {
	own := g.defined()
	own[""] = true
	var names []string
	take := func(name string) {
		if !own[name] {
			own[name] = true
			names = append(names, name)
		}
	}
	for _, n := range g.Nodes {
		for _, name := range n.uses() {
			take(name)
		}
	}
	for _, v := range g.Outputs {
		take(v.Name)
	}
	return names
}

// topological orders nodes so that each follows those it uses, and otherwise
// as they stood: a list already in order comes back the same.
func topological(nodes []*Node) ([]*Node, error) {
	producer := make(map[string]int)
	for i, n := range nodes {
		for _, o := range n.Outputs {
			if o != "" {
				producer[o] = i
			}
		}
	}
	waits := make([]int, len(nodes))       // producers not yet placed
	followers := make([][]int, len(nodes)) // nodes that wait for this one
	for i, n := range nodes {
		for _, name := range n.uses() {
			if p, ok := producer[name]; ok {
				waits[i]++
				followers[p] = append(followers[p], i)
			}
		}
	}
	var ready indexHeap
	for i := range nodes {
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	sorted := make([]*Node, 0, len(nodes))
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		sorted = append(sorted, nodes[i])
		for _, f := range followers[i] {
			if waits[f]--; waits[f] == 0 {
				heap.Push(&ready, f)
			}
		}
	}
	if len(sorted) < len(nodes) {
		i := slices.IndexFunc(waits, func(w int) bool { return w > 0 })
		return nil, fmt.Errorf("the graph has a cycle through or before %s node %q; a node must not depend on its own output", nodes[i].Op, nodes[i].Label())
	}
	return sorted, nil
}

// indexHeap gives the lowest index first, so that the order of the file wins.
type indexHeap []int

func (h indexHeap) Len() int           { return len(h) }
func (h indexHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h indexHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *indexHeap) Push(i any)        { *h = append(*h, i.(int)) }
func (h *indexHeap) Pop() any {
	old := *h
	i := old[len(old)-1]
	*h = old[:len(old)-1]
	return i
}
