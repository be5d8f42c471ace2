package grad

import (
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// matrixRules are the products.
var matrixRules = []Rule{
	{Op: "Gemm", Since: 7, VJP: vjpGemm},
	{Op: "MatMul", Since: 1, VJP: vjpMatMul},
	{Op: "Einsum", Since: 12, VJP: vjpEinsum},
}

// vjpGemm is the rule of Y = alpha A' B' + beta C, where A' and B' may be
// transposed.
func vjpGemm(c *call) {
	a, b, dy := c.x(0), c.x(1), c.dy()
	alpha, beta := c.node.Float("alpha", 1), c.node.Float("beta", 1)
	ta, tb := c.node.Int("transA", 0), c.node.Int("transB", 0)
	if c.wants(0) {
		if ta == 0 {
			c.give(0, c.gemm(dy, b, 0, 1-tb, alpha))
		} else {
			c.give(0, c.gemm(b, dy, tb, 1, alpha))
		}
	}
	if c.wants(1) {
		if tb == 0 {
			c.give(1, c.gemm(a, dy, 1-ta, 0, alpha))
		} else {
			c.give(1, c.gemm(dy, a, 1, ta, alpha))
		}
	}
	if c.wants(2) {
		c.give(2, c.unbroadcast(c.scale(dy, float64(beta)), c.y(0), c.x(2)))
	}
}

func (e *emitter) gemm(a, b string, ta, tb int64, alpha float32) string {
	return e.emit("Gemm", []string{a, b}, onnx.IntAttr("transA", ta), onnx.IntAttr("transB", tb), onnx.FloatAttr("alpha", alpha))
}

// vjpMatMul is the rule of the product of stacks of matrices, which broadcast.
// A vector is a matrix of one row (on the left) or one column.
func vjpMatMul(c *call) {
	a, b, y := c.x(0), c.x(1), c.y(0)
	ra, rb := c.rank(a), c.rank(b)
	if ra == 2 && rb == 2 {
		vjpMatMul2(c)
		return
	}
	ad, bd := c.extents(a, 0, ra), c.extents(b, 0, rb)
	if ra == 1 {
		ad = slices.Concat(lit(1), ad)
	}
	if rb == 1 {
		bd = slices.Concat(bd, lit(1))
	}
	// The stack's dimensions, and dy and both operands with matrices in it.
	stack := c.extents(y, 0, c.rank(y)-b2i(ra > 1)-b2i(rb > 1))
	dyd := slices.Concat(stack, ad[len(ad)-2:len(ad)-1], bd[len(bd)-1:])
	dy := c.dy()
	if ra == 1 || rb == 1 {
		dy = c.reshape(dy, dyd...)
	}
	if c.wants(0) {
		if rb == 1 {
			b = c.reshape(b, bd...)
		}
		da := c.apply("MatMul", dy, c.swap(b, len(bd)))
		c.give(0, c.unstack(da, slices.Concat(stack, ad[len(ad)-2:]), ad, c.x(0)))
	}
	if c.wants(1) {
		if ra == 1 {
			a = c.reshape(a, ad...)
		}
		if len(bd) == 2 && ra > 2 { // one matrix for the whole stack: one product
			rows := c.reshape(c.x(0), append(lit(-1), ad[len(ad)-1:]...)...)
			cols := c.reshape(dy, append(lit(-1), bd[1:]...)...)
			c.give(1, c.reshapeLike(c.gemm(rows, cols, 1, 0, 1), c.x(1)))
			return
		}
		db := c.apply("MatMul", c.swap(a, len(ad)), dy)
		c.give(1, c.unstack(db, slices.Concat(stack, bd[len(bd)-2:]), bd, c.x(1)))
	}
}

func vjpMatMul2(c *call) {
	if c.wants(0) {
		c.give(0, c.gemm(c.dy(), c.x(1), 0, 1, 1))
	}
	if c.wants(1) {
		c.give(1, c.gemm(c.x(0), c.dy(), 1, 0, 1))
	}
}

// swap transposes the last two of a value's rank dimensions.
func (e *emitter) swap(v string, rank int) string {
	perm := span(0, rank)
	perm[rank-1], perm[rank-2] = perm[rank-2], perm[rank-1]
	return e.transpose(v, perm...)
}

// unstack sums a gradient of dimensions from over the stack dimensions that
// an operand of dimensions to lacks or has as 1, and shapes it like x.
func (c *call) unstack(grad string, from, to []extent, x string) string {
	lead := len(from) - len(to)
	var axes []int64
	for i := range from[:len(from)-2] {
		if i < lead || to[i-lead].n == 1 && from[i].n != 1 {
			axes = append(axes, int64(i))
		}
	}
	if axes != nil {
		grad = c.sum(grad, axes, true)
	}
	if axes != nil || len(to) != c.rank(x) {
		return c.reshapeLike(grad, x)
	}
	return grad
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// vjpEinsum exchanges an operand's labels with the output's: the gradient of
// operand i is the sum of the products of dy and the other operands, again an
// Einsum.
func vjpEinsum(c *call) {
	terms, out := c.einsumTerms()
	for i := range terms {
		if !c.wants(i) {
			continue
		}
		inputs, labels := []string{c.dy()}, []string{out}
		for j := range terms {
			if j != i {
				inputs, labels = append(inputs, c.x(j)), append(labels, terms[j])
			}
		}
		// A label that nothing else has was summed away alone: its dimension
		// is repeated, not computed.
		var kept strings.Builder
		var lost []int64
		for k, l := range terms[i] {
			if strings.ContainsRune(strings.Join(labels, ""), l) {
				kept.WriteRune(l)
			} else {
				lost = append(lost, int64(k))
			}
		}
		equation := strings.Join(labels, ",") + "->" + kept.String()
		grad := c.emit("Einsum", inputs, onnx.StringAttr("equation", equation))
		if lost != nil {
			grad = c.expandLike(c.apply("Unsqueeze", grad, c.ints(lost...)), c.x(i))
		}
		c.give(i, grad)
	}
}

// einsumTerms parses the equation into one string of labels an operand and
// one for the output, with an ellipsis spelt out.
func (c *call) einsumTerms() (terms []string, out string) {
	equation := strings.ReplaceAll(c.node.Str("equation", ""), " ", "")
	left, out, explicit := strings.Cut(equation, "->")
	terms = strings.Split(left, ",")
	if len(terms) != len(c.node.Inputs) {
		c.fail("its equation %q has %d terms for %d inputs", equation, len(terms), len(c.node.Inputs))
	}
	// Labels for the ellipsis, aligned at the right as broadcasting is. They
	// are taken from the letters the equation leaves over.
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	free := strings.Map(func(l rune) rune {
		if strings.ContainsRune(equation, l) {
			return -1
		}
		return l
	}, letters)
	longest := 0
	for i, t := range terms {
		if before, after, ok := strings.Cut(t, "..."); ok {
			n := c.rank(c.x(i)) - len(before) - len(after)
			if n < 0 || n > len(free) {
				c.fail("its equation %q does not fit the rank of input %d", equation, i)
			}
			longest = max(longest, n)
			terms[i] = before + free[len(free)-n:] + after
		}
	}
	ellipsis := free[len(free)-longest:]
	if explicit {
		out = strings.ReplaceAll(out, "...", ellipsis)
	} else {
		out = ellipsis + implicitLabels(strings.Join(terms, ""), ellipsis)
	}
	c.einsumSizes(terms, equation)
	return terms, out
}

// einsumSizes refuses what exchanging labels does not differentiate: a label
// twice in one operand (a diagonal), and dimensions of 1 that broadcast.
func (c *call) einsumSizes(terms []string, equation string) {
	size := map[rune]int64{}
	for i, t := range terms {
		dims := c.dims(c.x(i))
		if len(dims) != len(t) {
			c.fail("its equation %q does not fit the rank of input %d", equation, i)
		}
		for k, l := range t {
			if strings.Count(t, string(l)) > 1 {
				c.fail("its equation %q takes a diagonal", equation)
			}
			if d, ok := size[l]; ok && d != dims[k] {
				c.fail("its equation %q broadcasts dimension %q", equation, l)
			}
			size[l] = dims[k]
		}
	}
}

// implicitLabels are the labels that occur once, in alphabetical order: the
// output of an equation without an arrow.
func implicitLabels(all, except string) string {
	var once []rune
	for _, l := range all {
		if strings.Count(all, string(l)) == 1 && !strings.ContainsRune(except, l) {
			once = append(once, l)
		}
	}
	slices.Sort(once)
	return string(once)
}
