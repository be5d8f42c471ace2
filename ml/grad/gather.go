package grad

import "github.com/redoubt-ml/redoubt/ml/onnx"

// gatherRules are the operators that move elements to or from places that
// other tensors name. The gradient of gathering scatters and adds, because a
// place may be named twice.
var gatherRules = []Rule{
	{Op: "Gather", Since: 1, VJP: vjpGather},
	{Op: "GatherElements", Since: 11, VJP: func(c *call) {
		axis := onnx.IntAttr("axis", c.node.Int("axis", 0))
		c.give(0, c.emit("ScatterElements", []string{c.fill(0, c.x(0)), c.x(1), c.dy()}, axis, sumDuplicates()))
	}},
	{Op: "GatherND", Since: 11, VJP: func(c *call) {
		if c.node.Int("batch_dims", 0) != 0 {
			c.fail("its batch_dims is not 0")
		}
		c.give(0, c.emit("ScatterND", []string{c.fill(0, c.x(0)), c.x(1), c.dy()}, sumDuplicates()))
	}},
	{Op: "ScatterElements", Since: 11, VJP: func(c *call) {
		axis := onnx.IntAttr("axis", c.node.Int("axis", 0))
		vjpScatter(c, "ScatterElements", "GatherElements", axis)
	}},
	{Op: "ScatterND", Since: 11, VJP: func(c *call) { vjpScatter(c, "ScatterND", "GatherND") }},
}

func sumDuplicates() *onnx.Attr { return onnx.StringAttr("reduction", "add") }

// vjpGather scatters along the first axis; another is brought there and back.
func vjpGather(c *call) {
	x, at, d := c.x(0), c.x(1), c.dy()
	r, ri := c.rank(x), c.rank(at)
	axis := c.axis(c.node.Int("axis", 0), r)
	if v, ok := c.tryInts(at); ok && len(v) == 1 {
		c.give(0, c.gatherOne(d, x, v[0], axis, ri))
		return
	}
	where := c.apply("Unsqueeze", at, c.ints(int64(ri)))
	if axis == 0 {
		c.give(0, c.emit("ScatterND", []string{c.fill(0, x), where, d}, sumDuplicates()))
		return
	}
	// dy is [before, indices, after]; bring the indices to the front.
	perm := append(span(axis, axis+ri), append(span(0, axis), span(axis+ri, r-1+ri)...)...)
	d = c.transpose(d, perm...)
	shape := append(c.extents(x, axis, axis+1), append(c.extents(x, 0, axis), c.extents(x, axis+1, r)...)...)
	zeros := c.fillShape(0, c.join(shape))
	moved := c.emit("ScatterND", []string{zeros, where, d}, sumDuplicates())
	back := append(span(1, axis+1), append([]int64{0}, span(axis+1, r)...)...)
	c.give(0, c.transpose(moved, back...))
}

// gatherOne is for a single constant index, as when a class token is taken:
// dy goes between zeros.
func (c *call) gatherOne(d, x string, at int64, axis, ri int) string {
	switch ri {
	case 0:
		d = c.apply("Unsqueeze", d, c.ints(int64(axis)))
	case 1:
	default:
		d = c.apply("Squeeze", d, c.ints(span(axis, axis+ri-1)...))
	}
	r := c.rank(x)
	if n := c.dims(x)[axis]; n >= 0 {
		before, after := make([]int64, r), make([]int64, r)
		if at < 0 {
			at += n
		}
		before[axis], after[axis] = at, n-1-at
		return c.pad(d, before, after)
	}
	before := c.ints(at)
	if at < 0 {
		before = c.add(before, c.size(x, axis))
	}
	return c.padAxis(d, before, c.sub(c.sub(c.size(x, axis), c.ints(1)), before), axis, r)
}

// vjpScatter: what overwrote has the gradient at its place, and what was
// overwritten has none. Adding overwrites nothing.
func vjpScatter(c *call, scatter, gather string, attrs ...*onnx.Attr) {
	at, updates, d := c.x(1), c.x(2), c.dy()
	mode := c.node.Str("reduction", "none")
	if mode != "none" && mode != "add" {
		c.fail("its reduction is %q", mode)
	}
	if c.wants(0) {
		if mode == "add" {
			c.give(0, d)
		} else {
			c.give(0, c.emit(scatter, []string{d, at, c.fill(0, updates)}, attrs...))
		}
	}
	if c.wants(2) {
		c.give(2, c.emit(gather, []string{d, at}, attrs...))
	}
}

// orderRules are the operators along the order of an axis.
var orderRules = []Rule{
	{Op: "CumSum", Since: 11, VJP: func(c *call) {
		c.give(0, c.emit("CumSum", []string{c.dy(), c.x(1)},
			onnx.IntAttr("exclusive", c.node.Int("exclusive", 0)),
			onnx.IntAttr("reverse", 1-c.node.Int("reverse", 0))))
	}},
	{Op: "TopK", Since: 11, VJP: func(c *call) {
		axis := onnx.IntAttr("axis", c.node.Int("axis", -1))
		c.give(0, c.emit("ScatterElements", []string{c.fill(0, c.x(0)), c.extra(1), c.dy()}, axis))
	}},
}
