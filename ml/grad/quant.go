package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// quantRules differentiate quantisation as if it did not round: the
// straight-through estimate (Bengio et al. 2013), the usual attack on
// quantised networks. The gradient of a quantised value is a float32.
var quantRules = []Rule{
	{Op: "QuantizeLinear", Since: 10, VJP: func(c *call) {
		x, dy := c.x(0), c.dy()
		scale := c.quantScale(x)
		// What was not cut off comes back to within a step of where it was.
		in := append([]string{c.y(0)}, c.node.Inputs[1:]...)
		back := c.emit("DequantizeLinear", in, onnx.IntAttr("axis", c.node.Int("axis", 1)))
		inside := c.apply("Less", c.apply("Abs", c.sub(x, back)), scale)
		c.give(0, c.div(c.masked(dy, inside), scale))
		c.stop(1)
	}},
	{Op: "DequantizeLinear", Since: 10, VJP: func(c *call) {
		c.give(0, c.mul(c.dy(), c.quantScale(c.x(0))))
		c.stop(1)
	}},
}

// quantScale shapes the scale, one number or one a channel, so that it
// broadcasts against x.
func (c *call) quantScale(x string) string {
	scale := c.x(1)
	if c.node.Int("block_size", 0) != 0 {
		c.fail("it quantises in blocks")
	}
	if c.shape(scale).Elem != c.elem {
		c.fail("its scale is %v where its gradient is %v", c.shape(scale).Elem, c.elem)
	}
	if c.rank(scale) == 0 || c.dims(scale)[0] == 1 {
		return scale
	}
	dims := slices.Repeat([]int64{1}, c.rank(x))
	dims[c.axis(c.node.Int("axis", 1), c.rank(x))] = -1
	return c.apply("Reshape", scale, c.ints(dims...))
}
