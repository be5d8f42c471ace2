// Package grad differentiates ONNX graphs: it adds to a graph the nodes that
// compute its gradients.
//
// What comes out is an ordinary ONNX graph made of the standard's own
// operators, so whatever runs the model runs its gradient too, with the same
// kernels, threads and memory limits. There is no second engine to trust.
//
//	grads, err := grad.VJP(m.Graph, shapes, []string{"loss"}, []string{""}, []string{"x"})
//	// grads[0] names the value holding the gradient of sum(loss) in x
//
// [VJP] is reverse mode: one pass over the nodes between the named inputs and
// outputs, last to first, each asked for the product of its Jacobian with the
// gradient that has arrived at its outputs. The knowledge about one operator
// is a [Rule]; [Rules] is all of them. [Check] says beforehand, from the graph
// alone, which nodes have none.
//
// # What is promised
//
// Only nodes on a path from wrt to outputs cost anything, and they reuse the
// values that the forward pass computed. At a kink the gradient is one that
// PyTorch gives or an average of the one-sided ones: ReLU has 0 at 0, a
// maximum shared by several elements shares its gradient among them (in an
// overlapping or padded MaxPool the first one takes it all), Clip passes the
// gradient at its bounds. Rounding, comparisons, ArgMax and the like have
// gradient zero, except QuantizeLinear, which is differentiated as if it did
// not round (the straight-through estimate).
//
// The emitted operators are valid from opset 18 on. Sizes that vary with the
// batch are read in the graph at run time; spatial sizes of convolutions,
// poolings and resizings must be fixed, and so must be the lengths of sequences
// that recurrent layers run over. Some rules need a parameter as a constant
// where exporters compute it from constants: onnx.Simplify works it out.
//
// The graph computes in the types it
// was written in: float32 and float64 are tested, float16 gradients underflow
// easily and are better taken from a float32 copy of the model, bfloat16 has
// no CPU kernels.
package grad

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// VJP adds to g the nodes that compute vector-Jacobian products: for each name
// in wrt the gradient, with respect to that value, of
//
//	sum over i of <seeds[i], outputs[i]>
//
// where seeds[i] names a value with the shape of outputs[i], and "" stands for
// ones. It returns the gradients' names in the order of wrt, each a value of
// its own with the shape and type of what it is the gradient of; a value that
// no output depends on has a gradient of zeros. wrt may name graph inputs,
// initializers and intermediate values, of a floating-point type. A seed may
// be any value of g, whichever of its nodes computes it.
//
// Initializers are taken for constants, and what depends on them alone is
// worked out here and now, except for those in wrt: a caller who trains them
// may make them inputs afterwards.
//
// The model must be at opset 18 or later (see onnx.Upgrade), its nodes in
// topological order, and shapes must hold the value of every float on the way;
// those of initializers are read from g. Nodes are appended, initializers
// added, and an operator with an optional second output that helps (MaxPool,
// TopK, Dropout) may be asked for it; nothing else of g changes, and nothing
// at all when an error is returned. Dead nodes are left to onnx.Prune.
//
// An error that a node caused is a [Problem].
func VJP(g *onnx.Graph, shapes onnx.Shapes, outputs, seeds, wrt []string) ([]string, error) {
	return differentiate(g, shapes, outputs, seeds, wrt, index(Rules))
}

func differentiate(g *onnx.Graph, shapes onnx.Shapes, outputs, seeds, wrt []string, table ruleTable) ([]string, error) {
	if len(seeds) != len(outputs) {
		return nil, fmt.Errorf("differentiate: %d seeds for %d outputs, want one each", len(seeds), len(outputs))
	}
	s := &sweep{
		emitter: newEmitter(g, shapes),
		table:   table,
		arrived: map[string][]string{},
		given:   map[string]bool{},
		rectify: map[string]string{},
		blocked: blockedValues(g),
	}
	for _, name := range slices.Concat(outputs, wrt) {
		sh, ok := s.look(name)
		if !ok {
			return nil, fmt.Errorf("differentiate: the shape of %q is not known; measure the model that holds it", name)
		}
		if !sh.Elem.IsFloat() {
			return nil, fmt.Errorf("differentiate: %q holds %v, which has no gradient; name a floating-point value", name, sh.Elem)
		}
	}
	s.free(wrt)
	for _, n := range g.Nodes {
		if n.Op == "Relu" && n.Domain == "" && len(n.Outputs) == 1 {
			s.rectify[n.Outputs[0]] = ""
		}
	}
	s.path = trace(g, s.table, outputs, wrt, func(name string) bool {
		sh, ok := s.look(name)
		return !ok || s.table.carries(sh.Elem)
	})
	for i, out := range outputs {
		if err := s.guard(nil, func() { s.seed(out, seeds[i]) }); err != nil {
			return nil, err
		}
	}
	for _, n := range slices.Backward(s.path.nodes) {
		if err := s.guard(n, func() { s.visit(n) }); err != nil {
			return nil, err
		}
	}
	grads := make([]string, len(wrt))
	for i, name := range wrt {
		if err := s.guard(nil, func() { grads[i] = s.result(name) }); err != nil {
			return nil, err
		}
	}
	s.commit()
	return grads, nil
}

// sweep is the state of one reverse pass.
type sweep struct {
	*emitter
	path    path
	table   ruleTable
	arrived map[string][]string // contributions to each value's gradient so far
	given   map[string]bool     // names handed out by result
	rectify map[string]string   // by result of a Relu: the gradient that has its zeros already
	blocked map[string]bool     // values that are likely kept in blocks of channels
}

// failure is what a rule stops with. It never leaves the package: rules are
// formulas and read better without an error check on every line.
type failure string

// guard runs f and turns a failure into an error that names the node.
func (s *sweep) guard(n *onnx.Node, f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			if n == nil {
				err = fmt.Errorf("differentiate: %s", string(r))
				return
			}
			err = fmt.Errorf("differentiate: %w", problem(n, string(r)))
		case runtime.Error:
			// Rules index attributes and dimensions as the operator's
			// definition allows. A node that was measured by running it keeps
			// to that; one that was not may not.
			if n == nil {
				panic(r)
			}
			err = fmt.Errorf("differentiate: %w", problem(n, "it does not fit its shapes"))
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// seed starts the gradient of an output.
func (s *sweep) seed(out, seed string) {
	s.elem = s.gradElem(out)
	if seed == "" {
		seed = s.fill(1, out)
	}
	s.arrived[out] = append(s.arrived[out], seed)
}

// visit asks a node's rule for the gradients of its inputs.
func (s *sweep) visit(n *onnx.Node) {
	rule, reason := s.table.find(n)
	if reason != "" {
		panic(failure(reason))
	}
	c := &call{sweep: s, node: n, dys: make([]string, len(n.Outputs)), gave: make([]bool, len(n.Inputs))}
	live := false
	for i, out := range n.Outputs {
		if out != "" && s.path.needs[out] {
			c.dys[i] = s.total(out)
			live = live || c.dys[i] != ""
		}
	}
	if !live {
		return // everything downstream stopped its gradient
	}
	s.elem = s.gradElem(n.Outputs[slices.IndexFunc(c.dys, func(d string) bool { return d != "" })])
	rule.VJP(c)
	for i, gave := range c.gave {
		if c.wants(i) && !gave && s.shape(n.Inputs[i]).Elem.IsFloat() { // an index or a size has none, though StraightThrough asks
			panic(failure(fmt.Sprintf("there is no gradient with respect to its input %d (%q)", i, n.Inputs[i])))
		}
	}
}

// total is the sum of all contributions to a value's gradient, "" for none.
// Later calls find it summed already.
func (s *sweep) total(name string) string {
	parts := s.arrived[name]
	switch len(parts) {
	case 0:
		return ""
	case 1:
	case 2:
		s.arrived[name] = []string{s.add(parts[0], parts[1])}
	default:
		s.arrived[name] = []string{s.apply("Sum", parts...)}
	}
	return s.arrived[name][0]
}

// result is the gradient of a value of wrt, under a name that no other value
// of wrt, and no seed, has: a caller may make all of them graph outputs.
func (s *sweep) result(name string) string {
	s.elem = s.gradElem(name)
	d := s.total(name)
	if d == "" {
		d = s.fill(0, name)
	}
	if s.given[d] || !s.emitted(d) {
		d = s.apply("Identity", d)
	}
	s.given[d] = true
	return d
}

// call is one node being differentiated, as its rule sees it.
type call struct {
	*sweep
	node *onnx.Node
	dys  []string // gradients of the outputs, "" for one that nothing depends on
	gave []bool   // which inputs have been answered for
}

// x is the name of input i. A rule asks only for inputs that its operator
// always has, or has looked for with has.
func (c *call) x(i int) string {
	if !c.has(i) {
		c.fail("its input %d is missing", i)
	}
	return c.node.Inputs[i]
}

// has reports whether the optional input i is there.
func (c *call) has(i int) bool { return c.node.Input(i) != "" }

// y is the name of output i.
func (c *call) y(i int) string {
	if i >= len(c.node.Outputs) || c.node.Outputs[i] == "" {
		c.fail("its output %d is missing", i)
	}
	return c.node.Outputs[i]
}

// dy is the gradient of the first output.
func (c *call) dy() string {
	if c.dys[0] == "" {
		c.fail("only its secondary outputs are used")
	}
	return c.dys[0]
}

// only refuses gradients that arrive at any output but the first.
func (c *call) only() {
	for i, d := range c.dys[1:] {
		if d != "" {
			c.fail("there is no gradient through its output %d (%q)", i+1, c.node.Outputs[i+1])
		}
	}
}

// wants reports whether anything depends on the gradient of input i.
func (c *call) wants(i int) bool {
	return c.has(i) && c.path.needs[c.node.Inputs[i]]
}

// give contributes a gradient of input i; it does nothing when unwanted. The
// gradient must have the input's shape.
func (c *call) give(i int, grad string) {
	if c.wants(i) {
		c.gave[i] = true
		c.arrived[c.node.Inputs[i]] = append(c.arrived[c.node.Inputs[i]], grad)
	}
}

// stop says that the derivative in input i is zero.
func (c *call) stop(i int) {
	if i < len(c.gave) {
		c.gave[i] = true
	}
}

// extra is the name of the node's optional output i, asked for if need be.
func (c *call) extra(i int) string {
	if i < len(c.node.Outputs) && c.node.Outputs[i] != "" {
		return c.node.Outputs[i]
	}
	return c.request(c.node, i)
}
