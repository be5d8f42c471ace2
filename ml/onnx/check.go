package onnx

import (
	"fmt"
)

// The versions of the default operator domain that are read: the range that
// ONNX Runtime supports.
const (
	MinOpset = 7
	MaxOpset = 26
)

// Check verifies what the other functions of this package and its users rely
// on: every name is defined once and before it is used, every tensor holds
// exactly the elements that its type and dimensions ask for, the graph has no
// cycle, subgraphs see only their own names and those of the graphs around
// them. Nodes that are merely out of order are put in order, which changes no
// result; anything else wrong is an error.
//
// It does not check operators against their schemas: the runtime does.
func Check(m *Model) error {
	if m.Graph == nil {
		return fmt.Errorf("check model: it has no graph; the file is empty, damaged or not ONNX")
	}
	c := checker{opsets: make(map[string]int64)}
	if err := c.imports(m.Opsets); err != nil {
		return fmt.Errorf("check model: %w", err)
	}
	if err := c.functions(m.Functions); err != nil {
		return fmt.Errorf("check model: %w", err)
	}
	if err := c.graph(m.Graph, nil, 1); err != nil {
		return fmt.Errorf("check model: %w", err)
	}
	return nil
}

// maxDepth bounds recursion over models made in memory, which no Limits met.
const maxDepth = 64

type checker struct{ opsets map[string]int64 }

func (c checker) imports(opsets []Opset) error {
	for _, o := range opsets {
		if v, ok := c.opsets[o.Domain]; ok && v != o.Version {
			return fmt.Errorf("operator domain %q is imported at versions %d and %d; a model has one version of a domain", o.Domain, v, o.Version)
		}
		if o.Domain == "" && (o.Version < MinOpset || o.Version > MaxOpset) {
			return fmt.Errorf("opset %d is outside the supported range %d to %d; convert the model with onnx.version_converter or export it again", o.Version, MinOpset, MaxOpset)
		}
		c.opsets[o.Domain] = o.Version
	}
	return nil
}

// scope is the names that a graph sees: its own and those around it.
type scope struct {
	names map[string]bool
	outer *scope
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if s.names[name] {
			return true
		}
	}
	return false
}

func (c checker) graph(g *Graph, outer *scope, depth int) error {
	err := c.graphBody(g, outer, depth)
	if err != nil && depth > 1 {
		return fmt.Errorf("subgraph %q: %w", g.Name, err)
	}
	return err
}

func (c checker) graphBody(g *Graph, outer *scope, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("graphs nest deeper than %d", maxDepth)
	}
	if g.sparse {
		return fmt.Errorf("graph %q has sparse initializers, which are not supported; convert them to dense ones", g.Name)
	}
	s := &scope{names: make(map[string]bool), outer: outer}
	for _, v := range g.Inputs {
		if v.Name == "" {
			return fmt.Errorf("graph %q has an input without a name", g.Name)
		}
		if s.names[v.Name] {
			return fmt.Errorf("graph %q has two inputs named %q", g.Name, v.Name)
		}
		s.names[v.Name] = true
	}
	initialised := make(map[string]bool)
	for _, t := range g.Initializers {
		if t.Name == "" || initialised[t.Name] {
			return fmt.Errorf("graph %q has two initializers named %q", g.Name, t.Name)
		}
		initialised[t.Name], s.names[t.Name] = true, true
		if err := checkTensor(t); err != nil {
			return fmt.Errorf("initializer %q: %w", t.Name, err)
		}
	}
	for _, list := range [][]*Value{g.Inputs, g.Outputs, g.Values} {
		for _, v := range list {
			if err := checkType(v.Type); err != nil {
				return fmt.Errorf("value %q: %w", v.Name, err)
			}
		}
	}
	if err := c.nodes(&g.Nodes, s, depth); err != nil {
		return err
	}
	for _, v := range g.Outputs {
		if !s.has(v.Name) {
			return fmt.Errorf("output %q of graph %q is not defined by any node, input or initializer", v.Name, g.Name)
		}
	}
	return nil
}

// nodes checks a list of nodes and puts it in order, adding to the scope the
// names that the nodes define.
func (c checker) nodes(list *[]*Node, s *scope, depth int) error {
	defined := make(map[string]*Node)
	for _, n := range *list {
		if err := c.node(n); err != nil {
			return fmt.Errorf("%s node %q: %w", n.Op, n.Label(), err)
		}
		for _, o := range n.Outputs {
			switch {
			case o == "":
			case defined[o] != nil:
				return fmt.Errorf("%q is the output of two nodes, %s %q and %s %q", o, defined[o].Op, defined[o].Label(), n.Op, n.Label())
			case s.names[o]:
				return fmt.Errorf("%q is the output of %s node %q and also an input or initializer of the graph", o, n.Op, n.Label())
			default:
				defined[o] = n
			}
		}
	}
	for _, n := range *list {
		for _, name := range n.uses() {
			if defined[name] == nil && !s.has(name) {
				return fmt.Errorf("%s node %q uses %q, which nothing defines", n.Op, n.Label(), name)
			}
		}
	}
	sorted, err := topological(*list)
	if err != nil {
		return err
	}
	copy(*list, sorted)
	for _, n := range *list {
		for g := range n.Subgraphs {
			if err := c.graph(g, s, depth+1); err != nil {
				return fmt.Errorf("%s node %q: %w", n.Op, n.Label(), err)
			}
		}
		for _, o := range n.Outputs {
			if o != "" {
				s.names[o] = true
			}
		}
	}
	return nil
}

func (c checker) node(n *Node) error {
	if n.Op == "" {
		return fmt.Errorf("it has no operator; the file is damaged")
	}
	if _, ok := c.opsets[n.Domain]; !ok {
		return fmt.Errorf("its domain %q is not among the model's opset imports", n.Domain)
	}
	return c.attrs(n.Attrs)
}

func (c checker) attrs(attrs []*Attr) error {
	seen := make(map[string]bool, len(attrs))
	for _, a := range attrs {
		if a.Name == "" || seen[a.Name] {
			return fmt.Errorf("it has two attributes named %q", a.Name)
		}
		seen[a.Name] = true
		if a.Ref != "" {
			continue
		}
		if a.Type == AttrTensor && a.Tensor == nil || a.Type == AttrGraph && a.Graph == nil || a.Type == AttrUndefined {
			return fmt.Errorf("attribute %q has no value", a.Name)
		}
		if a.Tensor != nil {
			if err := checkTensor(a.Tensor); err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
		}
		for _, t := range a.Tensors {
			if err := checkTensor(t); err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
		}
	}
	return nil
}

func (c checker) functions(list []*Function) error {
	byName := make(map[[3]string]*Function, len(list))
	for _, f := range list {
		if f.Name == "" || byName[f.key()] != nil {
			return fmt.Errorf("two functions are named %q in domain %q", f.Name, f.Domain)
		}
		byName[f.key()] = f
	}
	state := make(map[*Function]int)
	for _, f := range list {
		if err := recursion(f, byName, state, 0); err != nil {
			return err
		}
		in := checker{opsets: make(map[string]int64)}
		if err := in.imports(f.Opsets); err != nil {
			return fmt.Errorf("function %q: %w", f.Name, err)
		}
		s := &scope{names: make(map[string]bool)}
		for _, name := range f.Inputs {
			s.names[name] = true
		}
		if err := in.attrs(f.Defaults); err != nil {
			return fmt.Errorf("function %q: %w", f.Name, err)
		}
		if err := in.nodes(&f.Nodes, s, 1); err != nil {
			return fmt.Errorf("function %q: %w", f.Name, err)
		}
		for _, o := range f.Outputs {
			if !s.names[o] {
				return fmt.Errorf("function %q: its output %q is not defined", f.Name, o)
			}
		}
	}
	return nil
}

func (f *Function) key() [3]string { return [3]string{f.Domain, f.Name, f.Overload} }

// recursion refuses functions that call themselves, which would expand for
// ever. state is 1 while a function is being looked at, 2 when it is done.
func recursion(f *Function, byName map[[3]string]*Function, state map[*Function]int, depth int) error {
	if state[f] == 2 {
		return nil
	}
	if state[f] == 1 || depth > maxDepth {
		return fmt.Errorf("function %q calls itself, directly or through others", f.Name)
	}
	state[f] = 1
	body := &Graph{Nodes: f.Nodes}
	for _, n := range body.AllNodes {
		if callee := byName[[3]string{n.Domain, n.Op, n.Overload}]; callee != nil {
			if err := recursion(callee, byName, state, depth+1); err != nil {
				return err
			}
		}
	}
	state[f] = 2
	return nil
}

// maxRank and maxElements bound shapes beyond which nothing real lies: they
// keep sums and products of sizes far from overflow everywhere else.
const (
	maxRank     = 64
	maxElements = 1 << 46
)

func checkDims(dims []int64) error {
	if len(dims) > maxRank {
		return fmt.Errorf("it has %d dimensions, and at most %d are supported", len(dims), maxRank)
	}
	for _, d := range dims {
		if d < 0 {
			return fmt.Errorf("its shape %v has a negative dimension; the file is damaged", dims)
		}
	}
	if n := count(dims); n < 0 || n > maxElements {
		return fmt.Errorf("its shape %v has more than 2^46 elements; the file is damaged", dims)
	}
	return nil
}

func checkTensor(t *Tensor) error {
	if err := checkDims(t.Dims); err != nil {
		return err
	}
	if t.external != nil {
		return fmt.Errorf("its elements are in the file %q, which was not loaded; open the model with Read", t.external.location)
	}
	if t.Type == String {
		if int64(len(t.Strings)) != t.Len() {
			return fmt.Errorf("its shape %v asks for %d strings and it has %d", t.Dims, t.Len(), len(t.Strings))
		}
		return nil
	}
	if t.Type.Bits() == 0 {
		return fmt.Errorf("its element type is %v, which is not known", t.Type)
	}
	if want := t.Type.size(t.Len()); int64(len(t.Raw)) != want {
		return fmt.Errorf("%v%v asks for %d bytes and it has %d; the file is damaged", t.Type, t.Dims, want, len(t.Raw))
	}
	return nil
}

func checkType(t *Type) error {
	if t == nil || t.Tensor == nil {
		return nil
	}
	var dims []int64
	for _, d := range t.Tensor.Dims {
		if d.Fixed() {
			dims = append(dims, d.Size)
		} else {
			dims = append(dims, 1)
		}
	}
	return checkDims(dims)
}
