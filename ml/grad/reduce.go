package grad

import "slices"

// reduceRules are the reductions. Each is the derivative of the result in one
// element; reduction repeats dy over what was reduced.
var reduceRules = []Rule{
	reduction("ReduceSum", 13, func(c *call, r reduced) string { return c.expandLike(r.dy, r.x) }),
	reduction("ReduceMean", 18, func(c *call, r reduced) string {
		return c.expandLike(c.mul(r.dy, c.shareOf(r)), r.x)
	}),
	reduction("ReduceMax", 18, vjpReduceExtreme),
	reduction("ReduceMin", 18, vjpReduceExtreme),
	reduction("ReduceL1", 18, func(c *call, r reduced) string { return c.mul(r.dy, c.apply("Sign", r.x)) }),
	reduction("ReduceL2", 18, func(c *call, r reduced) string {
		// x/y, and 0 for the norm of nothing but zeros
		zero := c.apply("Equal", r.y, c.num(0))
		return c.mul(r.x, c.div(c.pick(zero, c.num(0), r.dy), c.pick(zero, c.num(1), r.y)))
	}),
	reduction("ReduceSumSquare", 18, func(c *call, r reduced) string { return c.mul(c.scale(r.dy, 2), r.x) }),
	reduction("ReduceLogSum", 18, func(c *call, r reduced) string {
		return c.expandLike(c.div(r.dy, c.apply("Exp", r.y)), r.x)
	}),
	reduction("ReduceLogSumExp", 18, func(c *call, r reduced) string {
		return c.mul(r.dy, c.apply("Exp", c.sub(r.x, r.y)))
	}),
	reduction("ReduceProd", 18, vjpReduceProd),
}

// reduced is a reduction whose result and gradient have kept the reduced
// dimensions, as ones.
type reduced struct {
	x, y, dy string
	axes     []int64
}

func reduction(op string, since int, d func(c *call, r reduced) string) Rule {
	return Rule{Op: op, Since: since, VJP: func(c *call) {
		axes, all := c.reduceAxes()
		if len(axes) == 0 && !all { // noop_with_empty_axes
			switch op {
			case "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd":
				c.give(0, c.dy())
				return
			}
			c.fail("it reduces no axes, which the standard leaves open for this operator")
		}
		r := reduced{c.x(0), c.y(0), c.dy(), axes}
		if c.node.Int("keepdims", 1) == 0 && len(axes) > 0 {
			keep := c.ints(axes...)
			r.dy = c.apply("Unsqueeze", r.dy, keep)
			r.y = c.once("unsqueeze:"+r.y, func() string { return c.apply("Unsqueeze", r.y, keep) })
		}
		c.give(0, d(c, r))
	}}
}

// reduceAxes reads which axes a node reduces, counted from the front; all says
// that it reduces every one, which for a scalar is none.
func (c *call) reduceAxes() (axes []int64, all bool) {
	rank := c.rank(c.x(0))
	if c.has(1) {
		if v, ok := c.tryInts(c.x(1)); ok {
			axes = v
		} else {
			return c.axesByShape(), false
		}
	} else {
		axes = c.node.Ints("axes", nil)
	}
	if len(axes) == 0 {
		if c.node.Int("noop_with_empty_axes", 0) != 0 {
			return nil, false
		}
		return span(0, rank), true
	}
	axes = slices.Clone(axes)
	for i, a := range axes {
		axes[i] = int64(c.axis(a, rank))
	}
	slices.Sort(axes)
	return axes, false
}

// axesByShape finds the reduced axes where the graph computes them: those that
// have become 1. It needs them kept.
func (c *call) axesByShape() (axes []int64) {
	if c.node.Int("keepdims", 1) == 0 {
		c.constInts(c.x(1), "list of axes")
	}
	for i, d := range c.dims(c.y(0)) {
		if d == 1 && c.dims(c.x(0))[i] != 1 {
			axes = append(axes, int64(i))
		}
	}
	if axes == nil {
		c.fail("its axes cannot be told from its shapes")
	}
	return axes
}

// shareOf is 1 over the number of elements that were reduced to one.
func (c *call) shareOf(r reduced) string {
	n := int64(1)
	for _, a := range r.axes {
		d := c.dims(r.x)[a]
		if d < 0 {
			return c.div(c.cast(c.apply("Size", c.y(0)), c.elem), c.cast(c.apply("Size", r.x), c.elem))
		}
		n *= d
	}
	return c.num(1 / float64(n))
}

// vjpReduceExtreme shares the gradient among the elements that tie.
func vjpReduceExtreme(c *call, r reduced) string {
	won := c.cast(c.apply("Equal", r.x, r.y), c.elem)
	if len(r.axes) == 0 {
		return c.mul(won, r.dy)
	}
	return c.mul(won, c.div(r.dy, c.sum(won, r.axes, true)))
}

// vjpReduceProd is the product of the other elements. Dividing the result by
// an element fails at zero: with one zero only that element has a gradient,
// the product of the rest, and with two nothing has.
func vjpReduceProd(c *call, r reduced) string {
	if len(r.axes) == 0 {
		return r.dy
	}
	zero := c.apply("Equal", r.x, c.num(0))
	rest := c.pick(zero, c.num(1), r.x)
	product := c.reduce("ReduceProd", rest, r.axes, true)
	zeros := c.sum(c.cast(zero, c.elem), r.axes, true)
	none := c.masked(product, c.apply("Less", zeros, c.num(0.5)))
	one := c.masked(product, c.apply("Equal", zeros, c.num(1)))
	return c.mul(r.dy, c.pick(zero, one, c.div(none, rest)))
}
