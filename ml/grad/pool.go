package grad

import "github.com/redoubt-ml/redoubt/ml/onnx"

// poolRules are the poolings.
var poolRules = []Rule{
	{Op: "MaxPool", Since: 8, VJP: vjpMaxPool},
	{Op: "AveragePool", Since: 7, VJP: vjpAveragePool},
	{Op: "LpPool", Since: 11, VJP: vjpLpPool},
	{Op: "GlobalAveragePool", Since: 1, VJP: func(c *call) {
		n := int64(1)
		for _, d := range c.spatial(c.x(0)) {
			n *= d
		}
		c.give(0, c.expandLike(c.scale(c.dy(), 1/float64(n)), c.x(0)))
	}},
	{Op: "GlobalMaxPool", Since: 1, VJP: func(c *call) {
		x := c.x(0)
		won := c.cast(c.apply("Equal", x, c.y(0)), c.elem)
		share := c.div(c.dy(), c.sum(won, span(2, c.rank(x)), true))
		c.give(0, c.mul(won, share))
	}},
	{Op: "GlobalLpPool", Since: 2, VJP: func(c *call) {
		c.give(0, c.powerSlope(c.x(0), c.mul(c.dy(), c.normSlope(c.y(0)))))
	}},
}

// tiles reports whether a pool's windows lie side by side and cover the input
// exactly, so that its gradient need not add anything up.
func (w *window) tiles() bool {
	for i, k := range w.kernel {
		if w.stride[i] != k || w.dilation[i] != 1 || w.before[i] != 0 || w.after[i] != 0 || w.out[i]*k != w.in[i] {
			return false
		}
	}
	return true
}

// apart reports whether no input element is in two windows.
func (w *window) apart() bool {
	for i := range w.kernel {
		if w.stride[i] < w.span(i) {
			return false
		}
	}
	return true
}

// spread repeats each element of v, times a number, over its window, of tiling
// windows over x.
func (c *call) spread(v string, by float64, x string, w *window) string {
	if c.isBlocked(x) {
		return c.like(x, c.enlarge(c.line(v, by, 0, x), w))
	}
	return c.enlarge(c.scale(v, by), w)
}

// winners is 1 where x is y, the maximum of its window, else 0.
func (c *call) winners(x, y string, w *window) string {
	if !c.isBlocked(x) {
		return c.cast(c.apply("Equal", x, c.spread(y, 1, x, w)), c.elem)
	}
	short := c.add(x, c.spread(y, -1, x, w))
	return c.like(x, c.apply("Relu", c.line(short, steep, 1, x)))
}

func (c *call) enlarge(v string, w *window) string {
	scales := []float32{1, 1}
	for _, k := range w.kernel {
		scales = append(scales, float32(k))
	}
	return c.emit("Resize", []string{v, "", c.constant(onnx.FloatTensor("", scales, int64(len(scales))))},
		onnx.StringAttr("mode", "nearest"),
		onnx.StringAttr("coordinate_transformation_mode", "asymmetric"),
		onnx.StringAttr("nearest_mode", "floor"))
}

// vjpMaxPool has two forms. Tiling windows compare the input with the maximum
// spread over its window, and elements that tie share the gradient: ties are
// the rule on an even background. If a Relu comes before the pool, its zeros
// are put in here, where there are fewer elements, and not again. Otherwise the
// positions of the maxima, which MaxPool yields as its second output, say where
// the gradient goes: to the first of those that tie.
func vjpMaxPool(c *call) {
	c.only()
	x, y, dy := c.x(0), c.y(0), c.dy()
	w := c.window(nil, x, y)
	if w.tiles() && c.elem == onnx.Float && c.rank(x) == 4 {
		won := c.winners(x, y, w)
		// The share of the window that won, times the window, is the count.
		count := c.emit("AveragePool", []string{won}, onnx.IntsAttr("kernel_shape", w.kernel...), onnx.IntsAttr("strides", w.stride...))
		share := c.div(dy, count)
		_, rectified := c.rectify[x]
		if rectified {
			share = c.masked(share, c.apply("Greater", y, c.num(0)))
		}
		grad := c.mul(won, c.spread(share, 1/float64(w.area()), x, w))
		if rectified {
			c.rectify[x] = grad
		}
		c.give(0, grad)
		return
	}
	if c.node.Int("storage_order", 0) != 0 {
		c.fail("its storage_order is by columns")
	}
	attrs := []*onnx.Attr{onnx.IntAttr("axis", 0)}
	if !w.apart() {
		attrs = append(attrs, onnx.StringAttr("reduction", "add"))
	}
	zeros := c.fillShape(0, c.apply("Reshape", c.apply("Size", x), c.ints(1)))
	at := c.flat(c.extra(1))
	c.give(0, c.reshapeLike(c.emit("ScatterElements", []string{zeros, at, c.flat(dy)}, attrs...), x))
}

// vjpAveragePool. An average over a box is a linear map along each axis in
// turn, counts of padded windows included, so its gradient is the product
// with their transposes; tiling windows just spread dy.
func vjpAveragePool(c *call) {
	x := c.x(0)
	w := c.window(nil, x, c.y(0))
	if w.tiles() && c.elem == onnx.Float {
		c.give(0, c.spread(c.dy(), 1/float64(w.area()), x, w))
		return
	}
	c.give(0, c.unpool(w, c.dy(), c.node.Int("count_include_pad", 0) != 0, true))
}

// unpool applies the transpose of a box filter over the windows: a mean, or a
// sum.
func (c *call) unpool(w *window, v string, includePad, mean bool) string {
	x, y := c.x(0), c.y(0)
	for i := range w.kernel {
		m := c.matrix(w.in[i], w.out[i])
		for o := range w.out[i] {
			var hits []int64
			count := 0.0
			for k := range w.kernel[i] {
				at := o*w.stride[i] + k*w.dilation[i] - w.before[i]
				if at >= 0 && at < w.in[i] {
					hits = append(hits, at)
				}
				// With ceil_mode a window may stick out beyond the padding,
				// and what sticks out never counts.
				if at < w.in[i]+w.after[i] {
					count++
				}
			}
			if !includePad {
				count = float64(len(hits))
			}
			if !mean {
				count = 1
			}
			for _, at := range hits {
				m[at][o] += 1 / count
			}
		}
		// Axes before i have been widened to x's sizes already.
		pre := append(c.extents(x, 0, 2), lit(w.in[:i]...)...)
		v = c.along(v, pre, c.extents(y, i+3, c.rank(y)), m)
	}
	return v
}

// vjpLpPool is the rule of y = (sum over the window of |x|^p)^(1/p).
func vjpLpPool(c *call) {
	w := c.window(nil, c.x(0), c.y(0))
	spread := c.unpool(w, c.mul(c.dy(), c.normSlope(c.y(0))), true, false)
	c.give(0, c.powerSlope(c.x(0), spread))
}

// normSlope is y^(1-p), the part of a p-norm's derivative that is common to
// the elements; where the norm is 0 it is 0, as the rest is.
func (c *call) normSlope(y string) string {
	p := float64(c.node.Int("p", 2))
	if p == 1 {
		return c.num(1)
	}
	positive := c.apply("Greater", y, c.num(0))
	return c.masked(c.apply("Pow", c.pick(positive, y, c.num(1)), c.num(1-p)), positive)
}

// powerSlope is |x|^(p-1) sign(x) times what is common.
func (c *call) powerSlope(x, common string) string {
	switch p := float64(c.node.Int("p", 2)); p {
	case 1:
		return c.mul(c.apply("Sign", x), common)
	case 2:
		return c.mul(x, common)
	default:
		size := c.apply("Pow", c.apply("Abs", x), c.num(p-1))
		return c.mul(c.mul(size, c.apply("Sign", x)), common)
	}
}
