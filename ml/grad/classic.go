package grad

import "github.com/redoubt-ml/redoubt/ml/onnx"

// classicRules are the smooth operators of ai.onnx.ml, which exporters of
// classical models write. They compute in float32 whatever the input.
var classicRules = []Rule{
	{Op: "Scaler", Domain: "ai.onnx.ml", Since: 1, VJP: func(c *call) {
		// y = (x - offset) scale, one scale for all features or one each
		s := c.node.Attr("scale")
		if s == nil || len(s.Floats) == 0 {
			c.fail("it has no scale")
		}
		c.give(0, c.recast(c.mul(c.dy(), c.floats(s.Floats)), c.y(0), c.x(0)))
	}},
	{Op: "Normalizer", Domain: "ai.onnx.ml", Since: 1, VJP: vjpNormalizer},
	{Op: "Imputer", Domain: "ai.onnx.ml", Since: 1, VJP: func(c *call) {
		// What was not replaced came through unchanged.
		c.give(0, c.masked(c.dy(), c.apply("Equal", c.x(0), c.y(0))))
	}},
	{Op: "LinearRegressor", Domain: "ai.onnx.ml", Since: 1, VJP: func(c *call) {
		targets := c.node.Int("targets", 1)
		c.give(0, c.linearBack(c.postSlope(c.y(0), c.dy()), targets))
	}},
	{Op: "LinearClassifier", Domain: "ai.onnx.ml", Since: 1, VJP: func(c *call) {
		if len(c.dys) < 2 || c.dys[1] == "" {
			c.fail("its labels have no gradient; name its scores")
		}
		classes := c.fixed(c.y(1), 1)
		c.give(0, c.linearBack(c.postSlope(c.y(1), c.dys[1]), classes))
	}},
	{Op: "FeatureVectorizer", Domain: "ai.onnx.ml", Since: 1, VJP: func(c *call) {
		sizes := c.node.Ints("inputdimensions", nil)
		if len(sizes) != len(c.node.Inputs) {
			c.fail("its inputdimensions do not fit its %d inputs", len(c.node.Inputs))
		}
		at := int64(0)
		for i, n := range sizes {
			part := c.slice(c.dy(), []int64{at}, []int64{at + n}, []int64{1}, []int64{1})
			c.give(i, c.recast(part, c.y(0), c.x(i)))
			at += n
		}
	}},
}

func (c *call) floats(v []float32) string {
	return c.constant(onnx.FloatTensor("", v, int64(len(v))))
}

// vjpNormalizer is the rule of y = x / norm of its row: the largest element,
// the sum of magnitudes or the Euclidean norm.
func vjpNormalizer(c *call) {
	x, y, dy := c.x(0), c.y(0), c.dy()
	axis := []int64{1}
	if c.rank(x) != 2 {
		c.fail("its input is not a matrix")
	}
	along := c.sum(c.mul(dy, y), axis, true)
	switch c.node.Str("norm", "MAX") {
	case "L1":
		c.give(0, c.overNorm(c.sub(dy, c.mul(c.apply("Sign", x), along)), c.norm1(x, axis)))
	case "L2":
		c.give(0, c.overNorm(c.sub(dy, c.mul(y, along)), c.norm2(x, axis)))
	default:
		norm := c.reduce("ReduceMax", x, axis, true)
		won := c.cast(c.apply("Equal", x, norm), c.elem)
		share := c.div(along, c.sum(won, axis, true))
		c.give(0, c.overNorm(c.sub(dy, c.mul(won, share)), norm))
	}
}

// postSlope takes a gradient back through post_transform.
func (c *call) postSlope(y, dy string) string {
	switch mode := c.node.Str("post_transform", "NONE"); mode {
	case "NONE":
		return dy
	case "LOGISTIC":
		return c.mul(dy, c.mul(y, c.sub(c.num(1), y)))
	case "SOFTMAX":
		return c.mul(y, c.sub(dy, c.sum(c.mul(dy, y), []int64{1}, true)))
	default:
		c.fail("its post_transform is %q", mode)
		return ""
	}
}

// linearBack multiplies by the coefficients, a row a class. A classifier of
// two classes may give one row only: then the other class's score is the
// first one's complement, and the form is refused.
func (c *call) linearBack(d string, classes int64) string {
	a := c.node.Attr("coefficients")
	features := c.fixed(c.x(0), c.rank(c.x(0))-1)
	if a == nil || int64(len(a.Floats)) != classes*features {
		c.fail("its coefficients are not one row a class")
	}
	w := c.constant(onnx.FloatTensor("", a.Floats, classes, features))
	return c.reshapeLike(c.recast(c.apply("MatMul", d, w), c.y(len(c.dys)-1), c.x(0)), c.x(0))
}
