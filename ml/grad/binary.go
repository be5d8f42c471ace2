package grad

import "github.com/redoubt-ml/redoubt/ml/onnx"

// binaryRules are the operators over several tensors that broadcast together.
var binaryRules = []Rule{
	{Op: "Add", Since: 7, VJP: func(c *call) {
		c.giveBroadcast(0, func() string { return c.dy() })
		c.giveBroadcast(1, func() string { return c.dy() })
	}},
	{Op: "Sub", Since: 7, VJP: func(c *call) {
		c.giveBroadcast(0, func() string { return c.dy() })
		c.giveBroadcast(1, func() string { return c.neg(c.dy()) })
	}},
	{Op: "Mul", Since: 7, VJP: func(c *call) {
		c.giveBroadcast(0, func() string { return c.mul(c.dy(), c.x(1)) })
		c.giveBroadcast(1, func() string { return c.mul(c.dy(), c.x(0)) })
	}},
	{Op: "Div", Since: 7, VJP: func(c *call) {
		c.giveBroadcast(0, func() string { return c.div(c.dy(), c.x(1)) })
		c.giveBroadcast(1, func() string { return c.neg(c.div(c.mul(c.dy(), c.y(0)), c.x(1))) })
	}},
	{Op: "Pow", Since: 7, VJP: vjpPow},
	{Op: "Mod", Since: 10, VJP: func(c *call) {
		// y = a - b q with q constant between its jumps, so q = (a - y) / b
		c.giveBroadcast(0, func() string { return c.dy() })
		c.giveBroadcast(1, func() string {
			return c.mul(c.dy(), c.div(c.sub(c.y(0), c.x(0)), c.x(1)))
		})
	}},
	{Op: "Sum", Since: 8, VJP: func(c *call) { vjpMeanOf(c, 1) }},
	{Op: "Mean", Since: 8, VJP: func(c *call) { vjpMeanOf(c, float64(len(c.node.Inputs))) }},
	{Op: "Max", Since: 8, VJP: vjpExtremeOf},
	{Op: "Min", Since: 8, VJP: vjpExtremeOf},
	{Op: "Where", Since: 9, VJP: vjpWhere},
	{Op: "Expand", Since: 8, VJP: func(c *call) {
		c.giveBroadcast(0, func() string { return c.dy() })
	}},
}

// giveBroadcast contributes the gradient of an input that was broadcast; grad
// is emitted only where it is wanted, in the shape of the output.
func (c *call) giveBroadcast(i int, grad func() string) {
	if c.wants(i) {
		c.give(i, c.unbroadcast(grad(), c.y(0), c.x(i)))
	}
}

// vjpWhere is the gradient of the two branches; the condition has none.
func vjpWhere(c *call) {
	c.giveBroadcast(1, func() string { return c.pick(c.x(0), c.dy(), c.num(0)) })
	c.giveBroadcast(2, func() string { return c.pick(c.x(0), c.num(0), c.dy()) })
}

func vjpMeanOf(c *call, n float64) {
	dy := c.scale(c.dy(), 1/n)
	for i := range c.node.Inputs {
		c.giveBroadcast(i, func() string { return dy })
	}
}

// vjpExtremeOf is the rule of Max and Min: inputs that tie share the gradient.
func vjpExtremeOf(c *call) {
	if len(c.node.Inputs) == 1 {
		c.give(0, c.dy())
		return
	}
	won := make([]string, len(c.node.Inputs))
	for i := range won {
		won[i] = c.cast(c.apply("Equal", c.x(i), c.y(0)), c.elem)
	}
	share := c.div(c.dy(), c.apply("Sum", won...))
	for i := range won {
		c.giveBroadcast(i, func() string { return c.mul(share, won[i]) })
	}
}

// vjpPow is the rule of y = x^p. With a variable p, the derivative in p is
// y log x, which is taken as 0 where x is not positive.
func vjpPow(c *call) {
	x, p := c.x(0), c.x(1)
	c.giveBroadcast(0, func() string { return c.mul(c.dy(), powSlope(c, x, p)) })
	c.giveBroadcast(1, func() string {
		positive := c.apply("Greater", x, c.num(0))
		log := c.apply("Log", c.pick(positive, x, c.num(1)))
		return c.recast(c.mul(c.mul(c.dy(), c.y(0)), log), c.y(0), p)
	})
}

// powSlope is p x^(p-1). The exponents that networks use need no Pow: 2, 3,
// and 0.5, where the result itself is the square root.
func powSlope(c *call, x, p string) string {
	if v, ok := exponent(c.inits[p]); ok {
		switch v {
		case 0.5:
			return c.div(c.num(0.5), c.y(0))
		case 1:
			return c.num(1)
		case 2:
			return c.scale(x, 2)
		case 3:
			return c.scale(c.mul(x, x), 3)
		}
		return c.scale(c.apply("Pow", x, c.num(v-1)), v)
	}
	if c.shape(p).Elem != c.elem {
		p = c.cast(p, c.elem)
	}
	return c.mul(p, c.apply("Pow", x, c.sub(p, c.num(1))))
}

// exponent is the value of a constant of one element.
func exponent(t *onnx.Tensor) (float64, bool) {
	if t == nil || t.Len() != 1 {
		return 0, false
	}
	if t.Type == onnx.Int64 || t.Type == onnx.Int32 {
		return float64(t.Ints()[0]), true
	}
	v, ok := numbers(t)
	if !ok {
		return 0, false
	}
	return v[0], true
}
