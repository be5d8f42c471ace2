package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// StraightThrough is [VJP] as if what makes a graph piecewise constant were not
// there: rounding passes the gradient on, a sign passes it on within [-1, 1], a
// comparison passes it to both sides, a choice passes to its condition what the
// choice changes, and casts to truths and integers are ignored. Indices computed
// from the input still have no gradient. The forward pass is as it was. It is the straight-through estimate of
// Bengio et al. 2013 (arXiv 1308.3432), and the attack on layers that give no
// gradient of Athalye et al. 2018 (arXiv 1802.00420, section 4.1).
func StraightThrough(g *onnx.Graph, shapes onnx.Shapes, outputs, seeds, wrt []string) ([]string, error) {
	table := index(slices.Concat(Rules, straightRules))
	table.discrete = true
	return differentiate(g, shapes, outputs, seeds, wrt, table)
}

// Discrete lists the nodes between wrt and outputs that let no gradient
// through, and that StraightThrough passes. Nodes inside subgraphs are not
// looked for.
func Discrete(g *onnx.Graph, outputs, wrt []string) []*onnx.Node {
	plain, table := index(Rules), index(slices.Concat(Rules, straightRules))
	table.discrete = true
	var found []*onnx.Node
	for _, n := range trace(g, table, outputs, wrt, func(string) bool { return true }).nodes {
		if plain.blocks(n) {
			found = append(found, n)
		}
	}
	return found
}

// straightRules replace those of the same operators.
var straightRules = []Rule{
	pointwise("Round", 11, through),
	pointwise("Floor", 6, through),
	pointwise("Ceil", 6, through),
	pointwise("Sign", 9, func(c *call, x, y, dy string) string {
		return c.masked(dy, c.apply("Less", c.apply("Abs", x), c.num(1)))
	}),
	{Op: "Greater", Since: 9, VJP: func(c *call) { c.compare(1) }},
	{Op: "GreaterOrEqual", Since: 12, VJP: func(c *call) { c.compare(1) }},
	{Op: "Less", Since: 9, VJP: func(c *call) { c.compare(-1) }},
	{Op: "LessOrEqual", Since: 12, VJP: func(c *call) { c.compare(-1) }},
	{Op: "Not", Since: 1, VJP: func(c *call) { c.give(0, c.neg(c.dy())) }},
	{Op: "And", Since: 7, VJP: func(c *call) {
		c.truths(func(other string) string { return c.pick(other, c.dy(), c.num(0)) })
	}},
	{Op: "Or", Since: 7, VJP: func(c *call) {
		c.truths(func(other string) string { return c.pick(other, c.num(0), c.dy()) })
	}},
	{Op: "Where", Since: 9, VJP: func(c *call) {
		vjpWhere(c)
		// y = c a + (1 - c) b
		c.giveBroadcast(0, func() string {
			gain := c.sub(c.real(c.x(1)), c.real(c.x(2)))
			return c.recast(c.mul(c.dy(), c.recast(gain, c.x(1), c.y(0))), c.y(0), c.x(0))
		})
	}},
}

// truths gives each of two truths its gradient: that of a b, or of
// 1 - (1 - a)(1 - b), which the other one switches on or off.
func (c *call) truths(grad func(other string) string) {
	c.giveBroadcast(0, func() string { return grad(c.x(1)) })
	c.giveBroadcast(1, func() string { return grad(c.x(0)) })
}

// real is a value in the type of its gradient.
func (c *call) real(name string) string {
	if c.shape(name).Elem.IsFloat() {
		return name
	}
	return c.cast(name, c.gradElem(name))
}

func through(_ *call, _, _, dy string) string { return dy }

// compare takes the truth of a > b, or of a < b for sign -1, for sign (a - b).
func (c *call) compare(sign float64) {
	for i := range 2 {
		if c.wants(i) {
			c.give(i, c.unbroadcast(c.scale(c.recast(c.dy(), c.y(0), c.x(i)), sign), c.y(0), c.x(i)))
		}
		sign = -sign
	}
}
