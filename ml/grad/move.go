package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// moveRules are the operators that only move elements: each gradient moves
// them back.
var moveRules = []Rule{
	{Op: "Reshape", Since: 5, VJP: vjpReshape},
	{Op: "Flatten", Since: 1, VJP: vjpReshape},
	{Op: "Squeeze", Since: 13, VJP: vjpReshape},
	{Op: "Unsqueeze", Since: 13, VJP: vjpReshape},
	{Op: "Transpose", Since: 1, VJP: func(c *call) {
		r := c.rank(c.x(0))
		back := make([]int64, r)
		reversed := span(0, r)
		slices.Reverse(reversed)
		for to, from := range c.node.Ints("perm", reversed) {
			back[c.axis(from, r)] = int64(to)
		}
		c.give(0, c.transpose(c.dy(), back...))
	}},
	{Op: "Concat", Since: 4, VJP: vjpConcat},
	{Op: "Split", Since: 13, VJP: vjpSplit},
	{Op: "Slice", Since: 10, VJP: vjpSlice},
	{Op: "Pad", Since: 11, VJP: vjpPad},
	{Op: "Tile", Since: 6, VJP: vjpTile},
	{Op: "Trilu", Since: 14, VJP: func(c *call) {
		in := []string{c.dy()}
		if c.has(1) {
			in = append(in, c.x(1))
		}
		c.give(0, c.emit("Trilu", in, onnx.IntAttr("upper", c.node.Int("upper", 1))))
	}},
	{Op: "DepthToSpace", Since: 11, VJP: vjpDepthToSpace},
	{Op: "SpaceToDepth", Since: 1, VJP: func(c *call) {
		c.give(0, c.emit("DepthToSpace", []string{c.dy()}, onnx.IntAttr("blocksize", c.node.Int("blocksize", 1))))
	}},
}

func vjpReshape(c *call) { c.give(0, c.reshapeLike(c.dy(), c.x(0))) }

// vjpConcat cuts dy at the inputs' borders: one slice if a single input wants
// a gradient, else one split.
func vjpConcat(c *call) {
	axis := c.axis(c.node.Int("axis", 0), c.rank(c.y(0)))
	var wanted []int
	start := int64(0) // of the first wanted input, -1 when unknown
	for i := range c.node.Inputs {
		if c.wants(i) {
			wanted = append(wanted, i)
		}
		d := c.dims(c.x(i))[axis]
		switch {
		case len(wanted) > 0:
		case d < 0:
			start = -1
		case start >= 0:
			start += d
		}
	}
	if n := c.dims(c.x(wanted[0]))[axis]; len(wanted) == 1 && start >= 0 && n >= 0 {
		c.give(wanted[0], c.slice(c.dy(), []int64{start}, []int64{start + n}, []int64{int64(axis)}, []int64{1}))
		return
	}
	var parts []extent
	for i := range c.node.Inputs {
		parts = append(parts, c.extents(c.x(i), axis, axis+1)...)
	}
	for i, part := range c.emitMany("Split", []string{c.dy(), c.join(parts)}, len(parts), onnx.IntAttr("axis", int64(axis))) {
		c.give(i, part)
	}
}

// vjpSplit joins the parts; one that nothing depends on is zeros.
func vjpSplit(c *call) {
	parts := make([]string, len(c.dys))
	for i, d := range c.dys {
		if d == "" {
			d = c.fill(0, c.y(i))
		}
		parts[i] = d
	}
	c.give(0, c.emit("Concat", parts, onnx.IntAttr("axis", c.node.Int("axis", 0))))
}

// vjpSlice puts dy back between zeros. A backward slice is turned around
// first, and a stride spread out with zeros.
func vjpSlice(c *call) {
	x, y, d := c.x(0), c.y(0), c.dy()
	r := c.rank(x)
	axes := span(0, r)
	if c.has(3) {
		axes = c.constInts(c.x(3), "list of axes")
	}
	steps := slices.Repeat([]int64{1}, len(axes))
	if c.has(4) {
		steps = c.constInts(c.x(4), "list of steps")
	}
	starts, known := c.tryInts(c.x(1))
	if len(steps) != len(axes) || known && len(starts) != len(axes) {
		c.fail("its starts, axes and steps differ in number")
	}
	for i := range axes {
		axis := c.axis(axes[i], r)
		if steps[i] == 1 && !known {
			d = c.unsliceAtRun(d, x, y, i, axis)
			continue
		}
		if !known {
			c.fail("its starts are computed at run time, and its steps are not all 1")
		}
		d = c.unslice(d, x, y, starts[i], steps[i], axis)
	}
	c.give(0, d)
}

// unslice undoes the cut along one axis. d has the size of x along the axes
// already undone.
func (c *call) unslice(d, x, y string, start, step int64, axis int) string {
	n, size := c.dims(y)[axis], c.dims(x)[axis]
	if n < 0 || size < 0 {
		return c.unsliceDynamic(d, x, y, start, step, axis)
	}
	if n == 0 {
		c.fail("it cuts away everything")
	}
	if start < 0 {
		start += size
	}
	start = min(max(start, 0), size-1)
	if step < 0 {
		d = c.slice(d, []int64{-1}, []int64{-1 << 62}, []int64{int64(axis)}, []int64{-1})
		start += (n - 1) * step
		step = -step
	}
	r := c.rank(x)
	before, after := make([]int64, r), make([]int64, r)
	if step > 1 {
		// [.., n, ..] to [.., n, step, ..] with zeros, to [.., n*step, ..].
		at := int64(axis + 1)
		d = c.apply("Unsqueeze", d, c.ints(at))
		zeros := make([]int64, r+1)
		zeros[at] = step - 1
		d = c.pad(d, make([]int64, r+1), zeros)
		d = c.merge(d, axis)
		n *= step // the zeros after the last element may stick out: cut below
	}
	before[axis], after[axis] = start, size-start-n
	return c.pad(d, before, after)
}

// merge makes dimensions axis and axis+1 of a value one. The others are those
// of x or y, depending on how many slices have been undone, so it looks.
func (c *call) merge(d string, axis int) string {
	r := c.rank(c.x(0))
	shape := c.apply("Shape", d)
	head := c.apply("Slice", shape, c.ints(0), c.ints(int64(axis)))
	tail := c.apply("Slice", shape, c.ints(int64(axis+2)), c.ints(int64(r+1)))
	return c.apply("Reshape", d, c.emit("Concat", []string{head, c.ints(-1), tail}, onnx.IntAttr("axis", 0)))
}

// unsliceDynamic is for a dimension that varies: what follows dy is measured.
func (c *call) unsliceDynamic(d, x, y string, start, step int64, axis int) string {
	if step != 1 {
		c.fail("it takes steps of %d along a dimension that varies from run to run", step)
	}
	size, n := c.size(x, axis), c.size(y, axis)
	begin := c.ints(start)
	if start < 0 {
		begin = c.apply("Max", c.add(size, begin), c.ints(0))
	}
	return c.padAxis(d, begin, c.sub(c.sub(size, n), begin), axis, c.rank(x))
}

// unsliceAtRun is for starts that the graph computes; entry i belongs to axis.
func (c *call) unsliceAtRun(d, x, y string, i, axis int) string {
	size, n := c.size(x, axis), c.size(y, axis)
	begin := c.cast(c.apply("Gather", c.x(1), c.ints(int64(i))), onnx.Int64)
	negative := c.apply("Less", begin, c.ints(0))
	begin = c.pick(negative, c.add(begin, size), begin)
	begin = c.apply("Min", c.apply("Max", begin, c.ints(0)), size)
	return c.padAxis(d, begin, c.sub(c.sub(size, n), begin), axis, c.rank(x))
}

// padAxis adds zeros along one axis, as many as two one-element vectors say.
func (c *call) padAxis(d, before, after string, axis, rank int) string {
	pre, post := c.ints(make([]int64, axis)...), c.ints(make([]int64, rank-axis-1)...)
	pads := c.emit("Concat", []string{pre, before, post, pre, after, post}, onnx.IntAttr("axis", 0))
	return c.apply("Pad", d, pads)
}

// vjpPad cuts off what was added: zeros by padding with the negative, other
// modes by the transpose of the map from x along each axis.
func vjpPad(c *call) {
	x, y, dy := c.x(0), c.y(0), c.dy()
	mode := c.node.Str("mode", "constant")
	if mode == "constant" {
		in := []string{dy, c.neg(c.x(1))}
		if c.has(3) {
			in = append(in, "", c.x(3))
		}
		back := c.apply("Pad", in...)
		c.give(0, back)
		if c.wants(2) { // what is left of dy was the constant's
			all, inside := c.apply("ReduceSum", dy), c.apply("ReduceSum", back)
			c.give(2, c.reshapeLike(c.sub(all, inside), c.x(2)))
		}
		return
	}
	pads, known := c.tryInts(c.x(1))
	axes := span(0, c.rank(x))
	if c.has(3) && known {
		axes, known = c.tryInts(c.x(3))
	}
	if !known {
		c.give(0, c.unpadAtRun(dy))
		return
	}
	if len(pads) != 2*len(axes) {
		c.fail("it has %d pads for %d axes", len(pads), len(axes))
	}
	done := make([]bool, c.rank(x))
	for i, a := range axes {
		before, after := pads[i], pads[len(axes)+i]
		axis := c.axis(a, c.rank(x))
		if before == 0 && after == 0 {
			continue
		}
		n := c.fixed(x, axis)
		m := c.matrix(n, n+before+after)
		for o := range n + before + after {
			m[c.padSource(mode, o-before, n)][o] = 1
		}
		done[axis] = true
		dy = c.along(dy, c.mixed(x, y, done, 0, axis), c.mixed(x, y, done, axis+1, len(done)), m)
	}
	c.give(0, dy)
}

// unpadAtRun is for pads that the graph computes, as one of PyTorch's exporters
// has it: padding the positions of x in the same way tells where each element
// of y came from.
func (c *call) unpadAtRun(dy string) string {
	x := c.x(0)
	size := c.apply("Size", x)
	positions := c.apply("Reshape", c.apply("Range", c.int(0), size, c.int(1)), c.sizes(x))
	in := append([]string{positions}, c.node.Inputs[1:]...)
	from := c.emit("Pad", in, onnx.StringAttr("mode", c.node.Str("mode", "constant")))
	zeros := c.fillShape(0, c.apply("Reshape", size, c.ints(1)))
	sum := c.emit("ScatterElements", []string{zeros, c.flat(from), c.flat(dy)}, onnx.IntAttr("axis", 0), sumDuplicates())
	return c.reshapeLike(sum, x)
}

// mixed are the extents of a value that has x's size on the axes done and y's
// on the others.
func (c *call) mixed(x, y string, done []bool, lo, hi int) []extent {
	var to []extent
	for i := lo; i < hi; i++ {
		if done[i] {
			to = append(to, c.extents(x, i, i+1)...)
		} else {
			to = append(to, c.extents(y, i, i+1)...)
		}
	}
	return to
}

// padSource is where the element at position i, outside [0, n) or not, was
// copied from.
func (c *call) padSource(mode string, i, n int64) int64 {
	switch mode {
	case "edge":
		return min(max(i, 0), n-1)
	case "wrap":
		return (i%n + n) % n
	case "reflect":
		if n == 1 {
			return 0
		}
		period := 2 * (n - 1)
		i = (i%period + period) % period
		return min(i, period-i)
	}
	c.fail("its mode %q is unknown", mode)
	return 0
}

// vjpTile sums over the copies: [r*d] is [r, d], with r summed away.
func vjpTile(c *call) {
	x, y := c.x(0), c.y(0)
	repeats, known := c.tryInts(c.x(1))
	var shape []extent
	var axes []int64
	for i := range c.rank(x) {
		var r int64
		switch d := c.dims(x)[i]; {
		case known && i < len(repeats):
			r = repeats[i]
		case d > 0 && c.dims(y)[i] >= 0:
			r = c.dims(y)[i] / d
		default:
			c.fail("its repeats are computed at run time")
		}
		if r != 1 {
			axes = append(axes, int64(len(shape)))
			shape = append(shape, lit(r)...)
		}
		shape = append(shape, c.extents(x, i, i+1)...)
	}
	if axes == nil {
		c.give(0, c.dy())
		return
	}
	c.give(0, c.sum(c.reshape(c.dy(), shape...), axes, false))
}

// vjpDepthToSpace: SpaceToDepth undoes the mode DCR. In CRD the block's place
// comes after the channel, which takes a transpose.
func vjpDepthToSpace(c *call) {
	b := c.node.Int("blocksize", 1)
	if c.node.Str("mode", "DCR") == "DCR" {
		c.give(0, c.emit("SpaceToDepth", []string{c.dy()}, onnx.IntAttr("blocksize", b)))
		return
	}
	x := c.x(0)
	channels, h, w := c.fixed(x, 1), c.fixed(x, 2), c.fixed(x, 3)
	split := c.apply("Reshape", c.dy(), c.ints(-1, channels/(b*b), h, b, w, b))
	c.give(0, c.reshapeLike(c.transpose(split, 0, 1, 3, 5, 2, 4), x))
}
