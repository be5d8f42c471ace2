package grad

import (
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// recurrentRules unroll their operator over the sequence, whose length must be
// fixed: back-propagation through time. Hidden states of every step are
// computed a second time, because the operator keeps them to itself.
var recurrentRules = []Rule{
	{Op: "RNN", Since: 7, VJP: func(c *call) { c.recurrent(1, 3, []string{"Tanh"}, rnnStep) }},
	{Op: "GRU", Since: 7, VJP: func(c *call) { c.recurrent(3, 3, []string{"Sigmoid", "Tanh"}, gruStep) }},
	{Op: "LSTM", Since: 7, VJP: func(c *call) { c.recurrent(4, 4, []string{"Sigmoid", "Tanh", "Tanh"}, lstmStep) }},
}

// longestUnrolled bounds the graph that a sequence unrolls to: at 40 nodes a
// step, some 40,000 nodes.
const longestUnrolled = 1024

// cell is one direction of a recurrent layer while it is unrolled. Its values
// have shape [1, batch, n], so that they join along the sequence as they are.
type cell struct {
	*definition
	batch, hidden int64
	r             string   // recurrent weights, [hidden, gates*hidden]
	rbias         string   // their bias, "" for none; only where it is not in x already
	act           []string // activations
	h, c          string   // state, "" while it is zero
}

// step advances a cell by the input's share of one step, [1, batch,
// gates*hidden].
type step func(c *cell, x string)

// recurrent takes the gradient through an unrolled layer. states counts the
// outputs up to the cell state that LSTM has.
func (c *call) recurrent(gates int64, outputs int, activations []string, advance step) {
	x := c.x(0)
	steps, batch := c.fixed(x, 0), c.dims(x)[1]
	hidden := c.fixed(c.x(2), 2)
	directions := int(c.fixed(c.x(1), 0))
	switch {
	case c.node.Int("layout", 0) != 0:
		c.fail("its layout puts the batch first")
	case c.node.Attr("clip") != nil || c.node.Int("input_forget", 0) != 0 || c.has(7):
		c.fail("it clips, couples its gates or has peepholes")
	case c.has(4) && !c.fullLength(c.x(4), steps):
		c.fail("its sequences differ in length")
	case steps > longestUnrolled || steps == 0:
		c.fail("its sequence of %d steps is not between 1 and %d", steps, longestUnrolled)
	}
	names := c.activations(activations, directions)
	c.compose(func(d *definition) []string {
		var y, last, lastC []string
		for dir := range directions {
			cell := &cell{definition: d, batch: batch, hidden: hidden, act: names[dir*len(activations):]}
			seq := cell.start(dir, gates, steps)
			hs := make([]string, steps)
			for i := range seq {
				t := i
				if dir == 1 || c.node.Str("direction", "forward") == "reverse" {
					t = len(seq) - 1 - i
				}
				advance(cell, seq[t])
				hs[t] = cell.h
			}
			y = append(y, d.let([]int64{steps, 1, batch, hidden}, "Unsqueeze",
				[]string{d.let([]int64{steps, batch, hidden}, "Concat", hs, onnx.IntAttr("axis", 0)), c.ints(1)}))
			last, lastC = append(last, cell.h), append(lastC, cell.c)
		}
		n := int64(directions)
		outs := []string{
			d.let([]int64{steps, n, batch, hidden}, "Concat", y, onnx.IntAttr("axis", 1)),
			d.let([]int64{n, batch, hidden}, "Concat", last, onnx.IntAttr("axis", 0)),
		}
		if outputs == 4 {
			outs = append(outs, d.let([]int64{n, batch, hidden}, "Concat", lastC, onnx.IntAttr("axis", 0)))
		}
		return outs
	})
}

// fullLength reports whether sequence lengths are constants, all n.
func (c *call) fullLength(lengths string, n int64) bool {
	v, ok := c.tryInts(lengths)
	return ok && !slices.ContainsFunc(v, func(l int64) bool { return l != n })
}

// activations are the functions of all directions.
func (c *call) activations(absent []string, directions int) []string {
	a := c.node.Attr("activations")
	if a == nil {
		return slices.Repeat(absent, directions)
	}
	if len(a.Strings) != len(absent)*directions {
		c.fail("it has %d activations for %d directions", len(a.Strings), directions)
	}
	var names []string
	for _, s := range a.Strings {
		name := string(s)
		for _, known := range []string{"Sigmoid", "Tanh", "Relu"} {
			if strings.EqualFold(name, known) {
				names = append(names, known)
			}
		}
	}
	if len(names) != len(a.Strings) {
		c.fail("its activations %q are not all Sigmoid, Tanh or Relu", a.Strings)
	}
	return names
}

// start sets up a direction: it multiplies the whole sequence with the input
// weights at once and cuts the result into steps.
func (c *cell) start(dir int, gates, steps int64) []string {
	width := gates * c.hidden
	in := c.fixed(c.x(0), 2)
	w := c.turned(c.x(1), dir, width, in)
	c.r = c.turned(c.x(2), dir, width, c.hidden)
	shape := []int64{steps, c.batch, width}
	x := c.let(shape, "MatMul", []string{c.x(0), w})
	if c.has(3) {
		both := c.let([]int64{2 * width}, "Gather", []string{c.x(3), c.int(int64(dir))}, onnx.IntAttr("axis", 0))
		b := c.lets([][]int64{{width}, {width}}, "Split", []string{both, c.ints(width, width)}, onnx.IntAttr("axis", 0))
		x = c.let(shape, "Add", []string{x, b[0]})
		if c.node.Op == "GRU" && c.node.Int("linear_before_reset", 0) != 0 {
			c.rbias = b[1] // the reset gate is between the two
		} else {
			x = c.let(shape, "Add", []string{x, b[1]})
		}
	}
	if c.has(5) {
		c.h = c.state(c.x(5), dir)
	}
	if c.node.Op == "LSTM" && c.has(6) {
		c.c = c.state(c.x(6), dir)
	}
	shapes := slices.Repeat([][]int64{{1, c.batch, width}}, int(steps))
	return c.lets(shapes, "Split", []string{x, c.ints(slices.Repeat([]int64{1}, int(steps))...)}, onnx.IntAttr("axis", 0))
}

// turned is one direction's weights [rows, cols], transposed.
func (c *cell) turned(weights string, dir int, rows, cols int64) string {
	one := c.let([]int64{rows, cols}, "Gather", []string{weights, c.int(int64(dir))}, onnx.IntAttr("axis", 0))
	return c.let([]int64{cols, rows}, "Transpose", []string{one}, onnx.IntsAttr("perm", 1, 0))
}

// state is one direction's initial state.
func (c *cell) state(all string, dir int) string {
	return c.let(c.shape(1), "Gather", []string{all, c.ints(int64(dir))}, onnx.IntAttr("axis", 0))
}

// shape is that of n values a hidden unit.
func (c *cell) shape(n int64) []int64 { return []int64{1, c.batch, n * c.hidden} }

func (c *cell) op(op string, inputs ...string) string { return c.let(c.shape(1), op, inputs) }

// recur is h R for n gates, "" while h is zero.
func (c *cell) recur(r string, n int64) string {
	if c.h == "" {
		return ""
	}
	return c.let(c.shape(n), "MatMul", []string{c.h, r})
}

// plus adds two values of n gates, either of which may be "", which is zero.
func (c *cell) plus(a, b string, n int64) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return c.let(c.shape(n), "Add", []string{a, b})
}

// parts cuts a value of n gates.
func (c *cell) parts(v string, n int64) []string {
	sizes := slices.Repeat([]int64{c.hidden}, int(n))
	return c.lets(slices.Repeat([][]int64{c.shape(1)}, int(n)), "Split", []string{v, c.ints(sizes...)}, onnx.IntAttr("axis", 2))
}

// rnnStep: h = f(x + h R).
func rnnStep(c *cell, x string) {
	c.h = c.op(c.act[0], c.plus(x, c.recur(c.r, 1), 1))
}

// lstmStep (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et
// al. 2000); the gates are in ONNX's order i, o, f, c.
func lstmStep(c *cell, x string) {
	gate := c.parts(c.plus(x, c.recur(c.r, 4), 4), 4)
	i, o, f := c.op(c.act[0], gate[0]), c.op(c.act[0], gate[1]), c.op(c.act[0], gate[2])
	next := c.op("Mul", i, c.op(c.act[1], gate[3]))
	if c.c != "" {
		next = c.op("Add", next, c.op("Mul", f, c.c))
	}
	c.c = next
	c.h = c.op("Mul", o, c.op(c.act[2], next))
}

// gruStep (Cho et al. 2014); the gates are in ONNX's order z, r, h. The reset
// gate multiplies the state, or with linear_before_reset its product with R.
func gruStep(c *cell, x string) {
	linear := c.node.Int("linear_before_reset", 0) != 0
	in := c.parts(x, 3)
	r := c.lets([][]int64{{c.hidden, c.hidden}, {c.hidden, c.hidden}, {c.hidden, c.hidden}}, "Split",
		[]string{c.r, c.ints(c.hidden, c.hidden, c.hidden)}, onnx.IntAttr("axis", 1))
	bias := []string{"", "", ""}
	if c.rbias != "" {
		bias = c.lets([][]int64{{c.hidden}, {c.hidden}, {c.hidden}}, "Split",
			[]string{c.rbias, c.ints(c.hidden, c.hidden, c.hidden)}, onnx.IntAttr("axis", 0))
	}
	gate := func(k int) string {
		return c.plus(c.plus(in[k], c.recur(r[k], 1), 1), bias[k], 1)
	}
	z, reset := c.op(c.act[0], gate(0)), c.op(c.act[0], gate(1))
	var candidate string
	switch {
	case linear:
		inner := c.plus(c.recur(r[2], 1), bias[2], 1)
		candidate = in[2]
		if inner != "" {
			candidate = c.op("Add", in[2], c.op("Mul", reset, inner))
		}
	case c.h != "":
		kept := c.op("Mul", reset, c.h)
		candidate = c.op("Add", in[2], c.op("MatMul", kept, r[2]))
	default:
		candidate = in[2]
	}
	candidate = c.op(c.act[1], candidate)
	// (1 - z) candidate + z h
	next := c.op("Sub", candidate, c.op("Mul", z, candidate))
	if c.h != "" {
		next = c.op("Add", next, c.op("Mul", z, c.h))
	}
	c.h = next
}
