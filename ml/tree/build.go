package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// check refuses what is not a forest.
func (l *layout) check() error {
	if len(l.roots) == 0 {
		return errors.New("no tree has a root: its nodes run in a circle")
	}
	if len(l.leaf)*l.outputs > maxValues {
		return fmt.Errorf("%d nodes of %d outputs exceed the limit", len(l.leaf), l.outputs)
	}
	for i, f := range l.feature {
		if !l.leaf[i] && (f < 0 || f > 1<<24) {
			return fmt.Errorf("a node tests feature %d", f)
		}
		if !l.leaf[i] && l.mode[i] != member && math.IsNaN(l.split[i]) {
			return errors.New("a threshold is not a number")
		}
	}
	for _, v := range l.values {
		for _, c := range v {
			if math.IsNaN(c.value) || math.IsInf(c.value, 0) {
				return errors.New("a weight is not a finite number")
			}
		}
	}
	return nil
}

// build makes the trees. Each node may be reached once: a second time would be
// a circle, or a shared branch that grows without bound when it is unfolded.
func (l *layout) build() (*Ensemble, error) {
	e := &Ensemble{Outputs: l.outputs, Base: l.base}
	b := builder{layout: l, reached: make([]bool, len(l.leaf))}
	for _, r := range l.roots {
		b.tree = nil
		if err := b.add(r); err != nil {
			return nil, err
		}
		e.Trees = append(e.Trees, b.tree)
	}
	for i, f := range l.feature {
		if !l.leaf[i] {
			e.Features = max(e.Features, int(f)+1)
		}
	}
	return e, nil
}

type builder struct {
	*layout
	reached []bool
	tree    Tree
}

// add appends the tree below a node. It keeps a stack of its own: a tree may
// be as deep as it has nodes.
func (b *builder) add(root int) error {
	type job struct{ node, at int }
	b.tree = append(b.tree, Node{})
	for jobs := []job{{root, 0}}; len(jobs) > 0; {
		j := jobs[len(jobs)-1]
		jobs = jobs[:len(jobs)-1]
		if b.reached[j.node] {
			return errors.New("a node has two parents or is its own ancestor")
		}
		b.reached[j.node] = true
		if b.leaf[j.node] {
			b.tree[j.at] = b.leafOf(j.node)
			continue
		}
		yes, no := len(b.tree), len(b.tree)+1
		b.tree = append(b.tree, Node{}, Node{})
		b.test(j.node, j.at, yes, no)
		jobs = append(jobs, job{b.yes[j.node], yes}, job{b.no[j.node], no})
	}
	return nil
}

func (b *builder) leafOf(node int) Node {
	n := Node{Feature: -1, Values: make([]float32, b.outputs)}
	for _, c := range b.values[node] {
		n.Values[c.output] += float32(c.value)
	}
	return n
}

// test writes a node's comparison as tests of "at most". Equality takes two of
// them, a set two for each member.
func (b *builder) test(node, at, yes, no int) {
	f, t := int(b.feature[node]), b.split[node]
	switch b.mode[node] {
	case leq:
		b.tree[at] = Node{Feature: f, At: atMost(t), Yes: yes, No: no}
	case lt:
		b.tree[at] = Node{Feature: f, At: below(t), Yes: yes, No: no}
	case gte:
		b.tree[at] = Node{Feature: f, At: below(t), Yes: no, No: yes}
	case gt:
		b.tree[at] = Node{Feature: f, At: atMost(t), Yes: no, No: yes}
	case eq:
		b.oneOf(f, at, yes, no, []float64{t})
	case neq:
		b.oneOf(f, at, no, yes, []float64{t})
	case member:
		b.oneOf(f, at, yes, no, b.members[node])
	}
}

// oneOf tests from the smallest member up: below it no, up to it yes, else the
// next.
func (b *builder) oneOf(f, at, yes, no int, members []float64) {
	sorted := slices.Compact(slices.Sorted(slices.Values(members)))
	for i, m := range sorted {
		equal := len(b.tree)
		b.tree = append(b.tree, Node{Feature: f, At: below(m), Yes: no, No: yes})
		rest := no
		if i+1 < len(sorted) {
			rest = len(b.tree)
			b.tree = append(b.tree, Node{})
		}
		b.tree[at] = Node{Feature: f, At: atMost(m), Yes: equal, No: rest}
		at = rest
	}
	if len(sorted) == 0 {
		b.tree[at] = Node{Feature: f, At: float32(math.Inf(1)), Yes: no, No: no}
	}
}

// atMost is the largest float32 that is not above t, for x <= t.
func atMost(t float64) float32 {
	f := float32(t)
	if float64(f) > t {
		f = math.Nextafter32(f, float32(math.Inf(-1)))
	}
	return f
}

// below is the largest float32 below t, for x < t.
func below(t float64) float32 {
	f := float32(t)
	if float64(f) >= t {
		f = math.Nextafter32(f, float32(math.Inf(-1)))
	}
	return f
}
