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
	}},
	{Op: "DequantizeLinear", Since: 10, VJP: func(c *call) {
		scale := c.quantScale(c.x(0))
		c.give(0, c.mul(c.dy(), scale))
		if c.wants(1) { // y = (x - zero) scale
			c.give(1, c.quantScaleBack(c.mul(c.dy(), c.div(c.y(0), scale))))
		}
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

// quantScaleBack sums a gradient of the scale, still in the shape of y, over
// what shared it.
func (c *call) quantScaleBack(grad string) string {
	y, scale := c.y(0), c.x(1)
	var axes []int64
	for i := range c.rank(y) {
		single := c.rank(scale) == 0 || c.dims(scale)[0] == 1
		if single || i != c.axis(c.node.Int("axis", 1), c.rank(y)) {
			axes = append(axes, int64(i))
		}
	}
	if axes != nil {
		grad = c.sum(grad, axes, false)
	}
	return c.reshapeLike(grad, scale)
}
