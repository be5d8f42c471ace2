package grad

import "math"

// pointwise is the rule of y = f(x), element by element, from the product of
// f'(x) and dy.
func pointwise(op string, since int, d func(c *call, x, y, dy string) string) Rule {
	return Rule{Op: op, Since: since, VJP: func(c *call) { c.give(0, d(c, c.x(0), c.y(0), c.dy())) }}
}

// one minus, and plus, the square of v.
func oneMinusSquare(c *call, v string) string { return c.sub(c.num(1), c.mul(v, v)) }
func onePlusSquare(c *call, v string) string  { return c.add(c.num(1), c.mul(v, v)) }

// unaryRules are the elementary functions. They use y where f' is a function
// of it, which saves recomputing a transcendental.
var unaryRules = []Rule{
	pointwise("Identity", 1, func(c *call, x, y, dy string) string { return dy }),
	pointwise("Neg", 1, func(c *call, x, y, dy string) string { return c.neg(dy) }),
	pointwise("Abs", 1, func(c *call, x, y, dy string) string { return c.mul(dy, c.apply("Sign", x)) }),
	pointwise("Sqrt", 1, func(c *call, x, y, dy string) string { return c.scale(c.div(dy, y), 0.5) }),
	pointwise("Exp", 1, func(c *call, x, y, dy string) string { return c.mul(dy, y) }),
	pointwise("Log", 1, func(c *call, x, y, dy string) string { return c.div(dy, x) }),
	pointwise("Reciprocal", 1, func(c *call, x, y, dy string) string { return c.neg(c.mul(dy, c.mul(y, y))) }),
	pointwise("Erf", 9, func(c *call, x, y, dy string) string {
		// 2/sqrt(pi) exp(-x^2)
		bell := c.apply("Exp", c.neg(c.mul(x, x)))
		return c.scale(c.mul(dy, bell), 2/math.Sqrt(math.Pi))
	}),
	pointwise("Sin", 7, func(c *call, x, y, dy string) string { return c.mul(dy, c.apply("Cos", x)) }),
	pointwise("Cos", 7, func(c *call, x, y, dy string) string { return c.neg(c.mul(dy, c.apply("Sin", x))) }),
	pointwise("Tan", 7, func(c *call, x, y, dy string) string { return c.mul(dy, onePlusSquare(c, y)) }),
	pointwise("Asin", 7, func(c *call, x, y, dy string) string {
		return c.div(dy, c.apply("Sqrt", oneMinusSquare(c, x)))
	}),
	pointwise("Acos", 7, func(c *call, x, y, dy string) string {
		return c.neg(c.div(dy, c.apply("Sqrt", oneMinusSquare(c, x))))
	}),
	pointwise("Atan", 7, func(c *call, x, y, dy string) string { return c.div(dy, onePlusSquare(c, x)) }),
	// The hyperbolic pair is written with Exp, which has kernels for every type.
	pointwise("Sinh", 9, func(c *call, x, y, dy string) string {
		e := c.apply("Exp", x)
		return c.scale(c.mul(dy, c.add(e, c.apply("Reciprocal", e))), 0.5)
	}),
	pointwise("Cosh", 9, func(c *call, x, y, dy string) string {
		e := c.apply("Exp", x)
		return c.scale(c.mul(dy, c.sub(e, c.apply("Reciprocal", e))), 0.5)
	}),
	pointwise("Asinh", 9, func(c *call, x, y, dy string) string {
		return c.div(dy, c.apply("Sqrt", onePlusSquare(c, x)))
	}),
	pointwise("Acosh", 9, func(c *call, x, y, dy string) string {
		return c.div(dy, c.apply("Sqrt", c.sub(c.mul(x, x), c.num(1))))
	}),
	pointwise("Atanh", 9, func(c *call, x, y, dy string) string { return c.div(dy, oneMinusSquare(c, x)) }),
	{Op: "Cast", Since: 1, VJP: vjpCast},
	{Op: "CastLike", Since: 15, VJP: vjpCast},
	{Op: "Dropout", Since: 12, VJP: vjpDropout},
}

// vjpCast casts the gradient back. A cast to integers has none, unless
// gradients go straight through.
func vjpCast(c *call) {
	if !c.table.carries(c.shape(c.y(0)).Elem) {
		c.stop(0)
		return
	}
	c.give(0, c.recast(c.dy(), c.y(0), c.x(0)))
	c.stop(1)
}

// recast gives a gradient of y the type of a gradient of x.
func (c *call) recast(grad, y, x string) string {
	if from, to := c.gradElem(y), c.gradElem(x); from != to {
		return c.cast(grad, to)
	}
	return grad
}

// vjpDropout is the identity unless the node is in training mode, where it is
// the same scaled mask as the forward pass drew.
func vjpDropout(c *call) {
	c.only()
	c.stop(1)
	training := false
	if c.has(2) {
		t := c.inits[c.x(2)]
		if t == nil || len(t.Raw) != 1 {
			c.fail("its training_mode is computed at run time, and this needs a constant")
		}
		training = t.Raw[0] != 0
	}
	if !training {
		c.give(0, c.dy())
		return
	}
	keep := c.num(0.5)
	if c.has(1) {
		keep = c.sub(c.num(1), c.recast(c.x(1), c.x(1), c.x(0)))
	}
	c.give(0, c.div(c.masked(c.dy(), c.extra(1)), keep))
}

// activationRules are the functions that networks put between their layers.
var activationRules = []Rule{
	pointwise("Relu", 6, func(c *call, x, y, dy string) string {
		if c.rectify[y] == dy { // vjpMaxPool has done it
			return dy
		}
		if c.isBlocked(y) {
			return c.mul(c.like(y, dy), c.positive(y))
		}
		return c.masked(dy, c.apply("Greater", y, c.num(0)))
	}),
	pointwise("LeakyRelu", 6, func(c *call, x, y, dy string) string {
		alpha := float64(c.node.Float("alpha", 0.01))
		return c.mul(dy, c.pick(c.apply("Greater", x, c.num(0)), c.num(1), c.num(alpha)))
	}),
	pointwise("ThresholdedRelu", 10, func(c *call, x, y, dy string) string {
		alpha := float64(c.node.Float("alpha", 1))
		return c.masked(dy, c.apply("Greater", x, c.num(alpha)))
	}),
	pointwise("Elu", 6, func(c *call, x, y, dy string) string {
		alpha := float64(c.node.Float("alpha", 1)) // below 0: alpha e^x = y + alpha
		return c.mul(dy, c.pick(c.apply("Greater", x, c.num(0)), c.num(1), c.add(y, c.num(alpha))))
	}),
	pointwise("Celu", 12, func(c *call, x, y, dy string) string {
		alpha := float64(c.node.Float("alpha", 1)) // below 0: e^(x/alpha) = y/alpha + 1
		below := c.add(c.scale(y, 1/alpha), c.num(1))
		return c.mul(dy, c.pick(c.apply("Greater", x, c.num(0)), c.num(1), below))
	}),
	pointwise("Selu", 6, func(c *call, x, y, dy string) string {
		// The defaults are those of Klambauer et al. 2017, as ONNX gives them.
		alpha := float64(c.node.Float("alpha", 1.67326319217681884765625))
		gamma := float64(c.node.Float("gamma", 1.05070102214813232421875))
		below := c.add(y, c.num(gamma*alpha)) // gamma alpha e^x = y + gamma alpha
		return c.mul(dy, c.pick(c.apply("Greater", x, c.num(0)), c.num(gamma), below))
	}),
	pointwise("Sigmoid", 6, func(c *call, x, y, dy string) string {
		return c.mul(dy, c.mul(y, c.sub(c.num(1), y)))
	}),
	pointwise("Tanh", 6, func(c *call, x, y, dy string) string { return c.mul(dy, oneMinusSquare(c, y)) }),
	pointwise("Softplus", 1, func(c *call, x, y, dy string) string { return c.mul(dy, c.apply("Sigmoid", x)) }),
	pointwise("Softsign", 1, func(c *call, x, y, dy string) string {
		d := c.add(c.num(1), c.apply("Abs", x))
		return c.div(dy, c.mul(d, d))
	}),
	pointwise("HardSigmoid", 6, func(c *call, x, y, dy string) string {
		alpha := float64(c.node.Float("alpha", 0.2))
		inside := c.apply("And", c.apply("Greater", y, c.num(0)), c.apply("Less", y, c.num(1)))
		return c.scale(c.masked(dy, inside), alpha)
	}),
	pointwise("HardSwish", 14, func(c *call, x, y, dy string) string {
		// x g with g = clip(x/6 + 1/2, 0, 1)
		gate := c.apply("Clip", c.add(c.scale(x, 1.0/6), c.num(0.5)), c.num(0), c.num(1))
		inside := c.apply("Less", c.apply("Abs", x), c.num(3))
		return c.mul(dy, c.add(gate, c.masked(c.scale(x, 1.0/6), inside)))
	}),
	pointwise("Mish", 18, func(c *call, x, y, dy string) string {
		// x tanh(softplus x); its derivative is t + x (1 - t^2) sigmoid x
		t := c.apply("Tanh", c.apply("Softplus", x))
		return c.mul(dy, c.add(t, c.mul(c.mul(x, oneMinusSquare(c, t)), c.apply("Sigmoid", x))))
	}),
	pointwise("Swish", 24, func(c *call, x, y, dy string) string {
		// x s with s = sigmoid(alpha x); its derivative is s + alpha y (1 - s)
		alpha := float64(c.node.Float("alpha", 1))
		s := c.apply("Sigmoid", c.scale(x, alpha))
		return c.mul(dy, c.add(s, c.mul(c.scale(y, alpha), c.sub(c.num(1), s))))
	}),
	pointwise("Gelu", 20, gelu),
	pointwise("Shrink", 9, func(c *call, x, y, dy string) string {
		lambd := float64(c.node.Float("lambd", 0.5))
		return c.masked(dy, c.apply("Or", c.apply("Less", x, c.num(-lambd)), c.apply("Greater", x, c.num(lambd))))
	}),
	{Op: "PRelu", Since: 9, VJP: func(c *call) {
		x, slope := c.x(0), c.x(1)
		above := c.apply("Greater", x, c.num(0))
		c.give(0, c.mul(c.dy(), c.pick(above, c.num(1), slope)))
		if c.wants(1) {
			c.give(1, c.unbroadcast(c.mul(c.dy(), c.pick(above, c.num(0), x)), c.y(0), slope))
		}
	}},
	{Op: "Clip", Since: 11, VJP: vjpClip},
}

// gelu differentiates both forms of Hendrycks and Gimpel 2016.
func gelu(c *call, x, y, dy string) string {
	if c.node.Str("approximate", "none") == "tanh" {
		// x/2 (1 + t) with t = tanh(k (x + a x^3)), k = sqrt(2/pi)
		const a = 0.044715
		k := math.Sqrt(2 / math.Pi)
		xx := c.mul(x, x)
		t := c.apply("Tanh", c.mul(c.scale(x, k), c.add(c.num(1), c.scale(xx, a))))
		slope := c.scale(c.add(c.num(1), c.scale(xx, 3*a)), k)
		d := c.add(c.add(c.num(1), t), c.mul(c.mul(x, oneMinusSquare(c, t)), slope))
		return c.scale(c.mul(dy, d), 0.5)
	}
	// x Phi(x): Phi + x phi, of the standard normal distribution
	cdf := c.scale(c.add(c.num(1), c.apply("Erf", c.scale(x, math.Sqrt2/2))), 0.5)
	pdf := c.scale(c.apply("Exp", c.scale(c.mul(x, x), -0.5)), 1/math.Sqrt(2*math.Pi))
	return c.mul(dy, c.add(cdf, c.mul(x, pdf)))
}

// vjpClip passes the gradient where the value came through unchanged, the
// bounds included, and gives the rest to the bound that cut it off.
func vjpClip(c *call) {
	x, y, dy := c.x(0), c.y(0), c.dy()
	if c.wants(0) {
		c.give(0, c.masked(dy, c.apply("Equal", x, y)))
	}
	bound := func(i int, compare string) {
		if c.wants(i) {
			c.give(i, c.unbroadcast(c.masked(dy, c.apply(compare, x, c.x(i))), y, c.x(i)))
		}
	}
	bound(1, "Less")
	bound(2, "Greater")
}
