package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// ErrNone is the error of a model that holds no trees.
var ErrNone = errors.New("the model holds no tree ensemble")

// Bounds on an ensemble, beyond any that is in use: a gigabyte of values.
const (
	maxNodes  = 1 << 24
	maxValues = 1 << 28
)

// Read finds the tree ensemble of a model, in units of the model's own input.
func Read(m *onnx.Model) (*Ensemble, error) {
	var found *onnx.Node
	for _, n := range m.Graph.Nodes {
		if n.Domain == "ai.onnx.ml" && (n.Op == "TreeEnsembleClassifier" || n.Op == "TreeEnsembleRegressor" || n.Op == "TreeEnsemble") {
			if found != nil {
				return nil, errors.New("the model holds several tree ensembles, of which only one can be read")
			}
			found = n
		}
	}
	if found == nil {
		return nil, ErrNone
	}
	var l layout
	var err error
	if found.Op == "TreeEnsemble" {
		l, err = readNew(found)
	} else {
		l, err = readOld(found)
	}
	if err == nil {
		err = l.check()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", found.Op, found.Name, err)
	}
	e, err := l.build()
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", found.Op, found.Name, err)
	}
	return e.before(m, found.Input(0))
}

// layout is an ensemble as both forms of the standard can be put: flat lists
// over all nodes.
type layout struct {
	outputs int
	base    []float32
	roots   []int
	feature []int64
	split   []float64
	mode    []mode
	yes, no []int            // places of nodes
	leaf    []bool           // marks leaves
	values  [][]contribution // of each leaf
	members [][]float64      // of each set test
}

// contribution is what a leaf adds to one sum.
type contribution struct {
	output int
	value  float64
}

// mode is how a node compares; the numbers are those of TreeEnsemble 5.
type mode uint8

const (
	leq mode = iota
	lt
	gte
	gt
	eq
	neq
	member
	isLeaf
)

var modes = map[string]mode{
	"BRANCH_LEQ": leq, "BRANCH_LT": lt, "BRANCH_GTE": gte, "BRANCH_GT": gt, "BRANCH_EQ": eq, "BRANCH_NEQ": neq, "LEAF": isLeaf,
}

// readOld reads the form of ai.onnx.ml 1 to 3: nodes named by tree and number.
func readOld(n *onnx.Node) (layout, error) {
	prefix := "class"
	if n.Op == "TreeEnsembleRegressor" {
		prefix = "target"
	}
	tree, id := n.Ints("nodes_treeids", nil), n.Ints("nodes_nodeids", nil)
	yes, no := n.Ints("nodes_truenodeids", nil), n.Ints("nodes_falsenodeids", nil)
	l := layout{feature: n.Ints("nodes_featureids", nil)}
	count := len(tree)
	var err error
	if l.split, err = numbers(n, "nodes_values"); err != nil {
		return l, err
	}
	names := n.Attr("nodes_modes")
	if count == 0 || count > maxNodes || names == nil ||
		len(id) != count || len(yes) != count || len(no) != count || len(l.feature) != count || len(l.split) != count || len(names.Strings) != count {
		return l, errors.New("the lists of its nodes differ in length or are empty")
	}
	type key struct{ tree, id int64 }
	at := make(map[key]int, count)
	child := map[key]bool{}
	for i := range count {
		if _, twice := at[key{tree[i], id[i]}]; twice {
			return l, fmt.Errorf("node %d of tree %d occurs twice", id[i], tree[i])
		}
		at[key{tree[i], id[i]}] = i
	}
	l.yes, l.no, l.leaf = make([]int, count), make([]int, count), make([]bool, count)
	l.values, l.mode = make([][]contribution, count), make([]mode, count)
	for i := range count {
		m, ok := modes[string(names.Strings[i])]
		if !ok {
			return l, fmt.Errorf("node mode %.40q is not known", names.Strings[i])
		}
		if l.mode[i] = m; m == isLeaf {
			l.leaf[i] = true
			continue
		}
		for _, c := range []struct {
			id int64
			to *int
		}{{yes[i], &l.yes[i]}, {no[i], &l.no[i]}} {
			if *c.to, ok = at[key{tree[i], c.id}]; !ok {
				return l, fmt.Errorf("node %d of tree %d has the child %d, which does not exist", id[i], tree[i], c.id)
			}
			child[key{tree[i], c.id}] = true
		}
	}
	for i := range count {
		if !child[key{tree[i], id[i]}] {
			l.roots = append(l.roots, i)
		}
	}
	where := func(tree, id int64) (int, bool) { i, ok := at[key{tree, id}]; return i, ok }
	return l, l.readOldLeaves(n, prefix, where)
}

// readOldLeaves enters the weights, which are listed apart from the nodes.
func (l *layout) readOldLeaves(n *onnx.Node, prefix string, where func(tree, id int64) (int, bool)) error {
	tree, id := n.Ints(prefix+"_treeids", nil), n.Ints(prefix+"_nodeids", nil)
	output := n.Ints(prefix+"_ids", nil)
	weight, err := numbers(n, prefix+"_weights")
	if err != nil {
		return err
	}
	if len(tree) != len(weight) || len(id) != len(weight) || len(output) != len(weight) {
		return errors.New("the lists of its weights differ in length")
	}
	if l.outputs, err = outputsOf(n, output); err != nil {
		return err
	}
	for i, w := range weight {
		at, ok := where(tree[i], id[i])
		if !ok || !l.leaf[at] {
			return fmt.Errorf("a weight belongs to node %d of tree %d, which is no leaf", id[i], tree[i])
		}
		o := int(output[i])
		if l.outputs == 1 {
			o = 0
		}
		l.values[at] = append(l.values[at], contribution{o, w})
	}
	if n.Str("aggregate_function", "SUM") == "AVERAGE" {
		l.average()
	} else if f := n.Str("aggregate_function", "SUM"); f != "SUM" {
		return fmt.Errorf("it aggregates by %s; only sums and averages can be read", f)
	}
	base, err := numbers(n, "base_values")
	if err != nil {
		return err
	}
	if len(base) != 0 && len(base) != l.outputs {
		return fmt.Errorf("%d base values for %d sums", len(base), l.outputs)
	}
	for _, b := range base {
		l.base = append(l.base, float32(b))
	}
	return nil
}

// outputsOf counts the sums. A classifier of two classes whose weights all go
// to one of them has a single sum, which speaks for class 1.
func outputsOf(n *onnx.Node, output []int64) (int, error) {
	count := n.Int("n_targets", 1)
	if n.Op == "TreeEnsembleClassifier" {
		count = 0
		if a := n.Attr("classlabels_int64s"); a != nil {
			count = int64(len(a.Ints))
		} else if a := n.Attr("classlabels_strings"); a != nil {
			count = int64(len(a.Strings))
		}
	}
	if count < 1 || count > 1<<20 {
		return 0, fmt.Errorf("it has %d outputs", count)
	}
	single := count == 2 && n.Op == "TreeEnsembleClassifier"
	for _, o := range output {
		if o < 0 || o >= count {
			return 0, fmt.Errorf("a weight goes to output %d of %d", o, count)
		}
		single = single && o == output[0]
	}
	if single {
		return 1, nil
	}
	return int(count), nil
}

// average turns sums into means over the trees.
func (l *layout) average() {
	for _, v := range l.values {
		for i := range v {
			v[i].value /= float64(len(l.roots))
		}
	}
}

// numbers reads a list of floats, or the tensor of doubles that replaces it.
func numbers(n *onnx.Node, name string) ([]float64, error) {
	if a := n.Attr(name); a != nil && a.Type == onnx.AttrTensor {
		return tensorOf(a.Tensor)
	} else if a != nil && len(a.Floats) > 0 {
		out := make([]float64, len(a.Floats))
		for i, v := range a.Floats {
			out[i] = float64(v)
		}
		return out, nil
	}
	if a := n.Attr(name + "_as_tensor"); a != nil {
		return tensorOf(a.Tensor)
	}
	return nil, nil
}

func tensorOf(t *onnx.Tensor) ([]float64, error) {
	switch {
	case t != nil && t.Type == onnx.Float:
		var out []float64
		for _, v := range t.Floats() {
			out = append(out, float64(v))
		}
		return out, nil
	case t != nil && t.Type == onnx.Double:
		out := make([]float64, len(t.Raw)/8)
		for i := range out {
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(t.Raw[8*i:]))
		}
		return out, nil
	case t != nil && t.Type == onnx.Uint8:
		out := make([]float64, len(t.Raw))
		for i, v := range t.Raw {
			out[i] = float64(v)
		}
		return out, nil
	}
	return nil, errors.New("a tensor of its attributes holds no numbers that trees can have")
}

// readNew reads the form of ai.onnx.ml 5: nodes and leaves in lists of their
// own, one target a leaf.
func readNew(n *onnx.Node) (layout, error) {
	l := layout{outputs: int(n.Int("n_targets", 1)), feature: n.Ints("nodes_featureids", nil)}
	yes, no := n.Ints("nodes_truenodeids", nil), n.Ints("nodes_falsenodeids", nil)
	yesLeaf, noLeaf := n.Ints("nodes_trueleafs", nil), n.Ints("nodes_falseleafs", nil)
	targets := n.Ints("leaf_targetids", nil)
	var lists [4][]float64
	for i, name := range []string{"nodes_splits", "nodes_modes", "leaf_weights", "membership_values"} {
		a := n.Attr(name)
		if a == nil && name == "membership_values" {
			continue
		}
		if a == nil {
			return l, fmt.Errorf("it has no %s", name)
		}
		var err error
		if lists[i], err = tensorOf(a.Tensor); err != nil {
			return l, err
		}
	}
	nodes, leaves := len(l.feature), len(targets)
	if l.split = lists[0]; nodes == 0 || leaves == 0 || nodes+leaves > maxNodes || l.outputs < 1 || l.outputs > 1<<20 ||
		len(l.split) != nodes || len(lists[1]) != nodes || len(yes) != nodes || len(no) != nodes ||
		len(yesLeaf) != nodes || len(noLeaf) != nodes || len(lists[2]) != leaves {
		return l, errors.New("the lists of its nodes and leaves differ in length or are empty")
	}
	total := nodes + leaves // leaves follow the nodes
	l.leaf, l.values = make([]bool, total), make([][]contribution, total)
	l.yes, l.no = make([]int, total), make([]int, total)
	l.mode, l.members = make([]mode, total), make([][]float64, total)
	l.feature, l.split = append(l.feature, make([]int64, leaves)...), append(l.split, make([]float64, leaves)...)
	for i, t := range targets {
		if t < 0 || t >= int64(l.outputs) {
			return l, fmt.Errorf("a leaf goes to target %d of %d", t, l.outputs)
		}
		l.leaf[nodes+i], l.mode[nodes+i] = true, isLeaf
		l.values[nodes+i] = []contribution{{int(t), lists[2][i]}}
	}
	sets := lists[3]
	for i := range nodes {
		if lists[1][i] > float64(member) {
			return l, fmt.Errorf("node mode %v is not known", lists[1][i])
		}
		if l.mode[i] = mode(lists[1][i]); l.mode[i] == member {
			end := slices.IndexFunc(sets, math.IsNaN)
			if end < 0 {
				return l, errors.New("a set test has no members")
			}
			l.members[i], sets = sets[:end], sets[end+1:]
		}
		var ok1, ok2 bool
		l.yes[i], ok1 = child(yes[i], yesLeaf[i], nodes, leaves)
		l.no[i], ok2 = child(no[i], noLeaf[i], nodes, leaves)
		if !ok1 || !ok2 {
			return l, fmt.Errorf("node %d has a child that does not exist", i)
		}
	}
	for _, r := range n.Ints("tree_roots", nil) {
		if r < 0 || r >= int64(nodes) {
			return l, fmt.Errorf("root %d does not exist", r)
		}
		l.roots = append(l.roots, int(r))
	}
	switch n.Int("aggregate_function", 1) {
	case 0:
		l.average()
	case 1:
	default:
		return l, errors.New("it aggregates by minimum or maximum; only sums and averages can be read")
	}
	return l, nil
}

func child(id, isLeaf int64, nodes, leaves int) (int, bool) {
	if isLeaf != 0 {
		return nodes + int(id), id >= 0 && id < int64(leaves)
	}
	return int(id), id >= 0 && id < int64(nodes)
}
