package onnx

import (
	"fmt"
	"slices"
)

// MaxUpgrade is the newest opset that [Upgrade] writes.
const MaxUpgrade = 18

// Upgrade rewrites a model from its version of the default operator domain to
// a later one, up to [MaxUpgrade], in subgraphs and functions too, without
// changing what it computes. A model at the target or beyond is left as it is.
// The error of what cannot be upgraded names the operator and the node, and
// the model may then be half upgraded: work on a [Model.Clone] to keep it.
//
// Each step follows the change log of the standard (onnx/docs/Changelog.md):
// a version in which an operator changed its inputs, attributes or meaning has
// an entry in upgrades; the others only added element types or optional
// abilities, whose absence means the same in every version.
func Upgrade(m *Model, to int64) error {
	if to > MaxUpgrade {
		return fmt.Errorf("upgrade model to opset %d: versions beyond %d are not supported as a target", to, MaxUpgrade)
	}
	if from := m.Opset(""); from != 0 && from < to {
		if from < MinOpset {
			return fmt.Errorf("upgrade model: opset %d is older than %d; convert the model with onnx.version_converter or export it again", from, MinOpset)
		}
		dropDefaults(m)
		if err := upgradeNodes(m.Graph, from, to, facts{}, newNamer(m.Graph)); err != nil {
			return fmt.Errorf("upgrade model from opset %d to %d: %w", from, to, err)
		}
		m.SetOpset("", to)
		m.IRVersion = max(m.IRVersion, 8) // the IR of the ONNX release with opset 18
	}
	for _, f := range m.Functions {
		for i, o := range f.Opsets {
			if o.Domain != "" || o.Version >= to {
				continue
			}
			if err := f.upgrade(o.Version, to); err != nil {
				return fmt.Errorf("upgrade function %q from opset %d to %d: %w", f.Name, o.Version, to, err)
			}
			f.Opsets[i].Version = to
		}
	}
	return nil
}

// dropDefaults turns inputs with a default into constants where the IR says
// that is what they are: before version 4 every initializer had to be listed
// as an input, and from 4 on listing it makes it a default that a caller may
// override, which no runtime folds.
func dropDefaults(m *Model) {
	if m.IRVersion < 4 {
		m.Graph.Inputs = m.Graph.Feeds()
	}
}

// upgrade treats a function's body as a graph; since a function has no
// initializers, constants go in front as nodes.
func (f *Function) upgrade(from, to int64) error {
	body := &Graph{Nodes: f.Nodes}
	for _, name := range f.Inputs {
		body.Inputs = append(body.Inputs, &Value{Name: name})
	}
	for _, name := range f.Outputs {
		body.Outputs = append(body.Outputs, &Value{Name: name})
	}
	if err := upgradeNodes(body, from, to, facts{}, newNamer(body)); err != nil {
		return err
	}
	f.Nodes = nil
	for _, t := range body.Initializers {
		f.Nodes = append(f.Nodes, NewNode("Constant", nil, []string{t.Name}, TensorAttr("value", t)))
	}
	f.Nodes = append(f.Nodes, body.Nodes...)
	return nil
}

func upgradeNodes(g *Graph, from, to int64, outer facts, names *namer) error {
	u := &upgrader{graph: g, facts: learn(g, outer), names: names, uses: g.used(), magnifies: make(map[*Node]bool)}
	for _, n := range g.Nodes {
		for sub := range n.Subgraphs {
			if err := upgradeNodes(sub, from, to, u.facts, names); err != nil {
				return err
			}
		}
	}
	for version := from + 1; version <= to; version++ {
		nodes := g.Nodes
		g.Nodes = make([]*Node, 0, len(nodes))
		for _, n := range nodes {
			if err := u.node(n, version); err != nil {
				return fmt.Errorf("%s node %q: %w", n.Op, n.Label(), err)
			}
			g.Nodes = append(g.Nodes, n)
			g.Nodes = append(g.Nodes, u.after...)
			u.after = nil
		}
	}
	return nil
}

func (u *upgrader) node(n *Node, version int64) error {
	step := upgrades[upgradeKey{version, n.Op}]
	if step == nil || n.Domain != "" {
		return nil
	}
	if n.Input(0) == "" || len(n.Outputs) == 0 {
		return fmt.Errorf("it has no input or no output; the file is damaged")
	}
	for _, a := range n.Attrs {
		if want, ok := attrTypes[a.Name]; ok && a.Type != want {
			return fmt.Errorf("attribute %q has type %d, and the standard says %d; the file is damaged", a.Name, a.Type, want)
		}
		if a.Ref != "" {
			return fmt.Errorf("attribute %q refers to an attribute of the function around it, which is not supported; export the model without functions", a.Name)
		}
	}
	return step(u, n)
}

// attrTypes are the types of the attributes that steps move or read.
var attrTypes = map[string]AttrType{
	"axes": AttrInts, "axis": AttrInt, "ends": AttrInts, "k": AttrInt, "max": AttrFloat, "min": AttrFloat,
	"mode": AttrString, "pads": AttrInts, "scales": AttrFloats, "spatial": AttrInt, "split": AttrInts,
	"starts": AttrInts, "value": AttrFloat, "coordinate_transformation_mode": AttrString,
}

// upgrader is what a step works with: it edits its node in place, and may add
// nodes before and after it.
type upgrader struct {
	facts
	graph *Graph
	names *namer
	uses  map[string]bool // names that nodes or graph outputs ask for
	after []*Node         // to follow the node being upgraded
	// magnifies holds the Resize nodes that were Upsample, whose scales are at
	// least one even where they are computed.
	magnifies map[*Node]bool
}

// before adds a node in front of the one being upgraded.
func (u *upgrader) before(n *Node) { u.graph.Nodes = append(u.graph.Nodes, n) }

// add adds an initializer and returns its name.
func (u *upgrader) add(n *Node, role string, t *Tensor) string {
	base := n.Name
	if base == "" {
		base = n.Outputs[0]
	}
	t.Name = u.names.name(base + "_" + role)
	u.graph.Initializers = append(u.graph.Initializers, t)
	u.constant.set(t.Name, t)
	return t.Name
}

// setInput sets the i-th input, leaving those before it that are absent empty.
func (n *Node) setInput(i int, name string) {
	for len(n.Inputs) <= i {
		n.Inputs = append(n.Inputs, "")
	}
	n.Inputs[i] = name
}

// drop removes attributes by name.
func (n *Node) drop(names ...string) {
	n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attr) bool { return slices.Contains(names, a.Name) })
}

// moveInts turns an integer-list attribute into the i-th input.
func (u *upgrader) moveInts(n *Node, attr string, i int) {
	if a := n.Attr(attr); a != nil {
		n.setInput(i, u.add(n, attr, IntTensor("", a.Ints, int64(len(a.Ints)))))
		n.drop(attr)
	}
}

// used reports whether anything asks for a node's i-th output.
func (u *upgrader) used(n *Node, i int) bool {
	return i < len(n.Outputs) && n.Outputs[i] != "" && u.uses[n.Outputs[i]]
}
