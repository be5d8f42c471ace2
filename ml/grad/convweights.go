package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// The gradient of a convolution in its weights has three forms, each the
// fastest somewhere (one core, batch 32, against the forward pass): products
// of unfolded patches for ordinary layers (about 1.5 times its cost), a
// convolution with exchanged roles for large kernels over few channels (2
// times, where patches would take 60 times the memory of x), and one product
// and sum an offset for depthwise layers.

// convWeights chooses. x is at the wide end of the convolution, dy at the
// narrow one; weights is [M, C/g, kernel...].
func (c *call) convWeights(w *window, x, dy, weights string) string {
	dims := c.dims(weights)
	area := w.area()
	if slices.Contains(dims, -1) {
		c.fail("the shape of its weights varies from run to run")
	}
	switch {
	case w.group > 1 && dims[1] == 1 && dims[0] == w.group:
		return c.weightsDepthwise(w, x, dy, weights)
	case w.group == 1 && area >= 25 && dims[1] <= 4:
		return c.weightsByRoles(w, x, dy, weights)
	}
	return c.weightsByPatches(w, x, dy, dims)
}

// mostPatches bounds the nodes that a kernel unrolls to.
const mostPatches = 1024

// patches are the values of x under each position of the kernel, in kernel
// order: one value of the size of y for each.
func (c *call) patches(w *window, x string) []string {
	n := len(w.kernel)
	// Pad, or cut off what no window reaches, so that slices need no bounds.
	before, after := []int64{0, 0}, []int64{0, 0}
	for i := range n {
		used := w.stride[i]*(w.out[i]-1) + w.span(i)
		before = append(before, w.before[i])
		after = append(after, used-w.before[i]-w.in[i])
	}
	x = c.pad(x, before, after)
	if area := w.area(); area > mostPatches {
		c.fail("its kernel of %d elements is too large for a gradient in its weights", area)
	}
	var out []string
	for at := range offsets(w.kernel) {
		starts, ends := make([]int64, n), make([]int64, n)
		whole := true
		for i := range n {
			starts[i] = at[i] * w.dilation[i]
			ends[i] = starts[i] + w.stride[i]*(w.out[i]-1) + 1
			whole = whole && w.kernel[i] == 1 && w.stride[i] == 1
		}
		if whole {
			return []string{x}
		}
		out = append(out, c.slice(x, starts, ends, span(2, n+2), w.stride))
	}
	return out
}

// offsets yields every position of a kernel, the last axis fastest.
func offsets(kernel []int64) func(yield func([]int64) bool) {
	return func(yield func([]int64) bool) {
		at := make([]int64, len(kernel))
		for {
			if !yield(at) {
				return
			}
			i := len(at) - 1
			for ; i >= 0; i-- {
				if at[i]++; at[i] < kernel[i] {
					break
				}
				at[i] = 0
			}
			if i < 0 {
				return
			}
		}
	}
}

// weightsByPatches multiplies, sample by sample and group by group, dy
// [M/g, P] with the patches [C/g*K, P], P the positions, and sums over samples.
func (c *call) weightsByPatches(w *window, x, dy string, dims []int64) string {
	positions := int64(1)
	for _, o := range w.out {
		positions *= o
	}
	m, per := dims[0]/w.group, dims[1]
	parts := c.patches(w, x)
	k := int64(len(parts))
	// Each patch [N, g*C/g, P] gets an axis of its own after the channels.
	for i, p := range parts {
		parts[i] = c.apply("Reshape", p, c.ints(-1, w.group, per, 1, positions))
	}
	patches := parts[0]
	if k > 1 {
		patches = c.emit("Concat", parts, onnx.IntAttr("axis", 3))
	}
	patches = c.apply("Reshape", patches, c.ints(-1, w.group, per*k, positions))
	rows := c.apply("Reshape", dy, c.ints(-1, w.group, m, positions))
	product := c.apply("MatMul", rows, c.transpose(patches, 0, 1, 3, 2))
	sum := c.sum(product, []int64{0}, false)
	return c.apply("Reshape", sum, c.ints(dims...))
}

// weightsByRoles convolves x with dy, samples taken as channels: dW[m, c, k] =
// sum over n, p of dy[n, m, p] x[n, c, s p + d k] is a convolution with stride
// d and dilation s.
func (c *call) weightsByRoles(w *window, x, dy, weights string) string {
	n := len(w.kernel)
	perm := append([]int64{1, 0}, span(2, n+2)...)
	back := &window{kernel: w.out, stride: w.dilation, dilation: w.stride, before: w.before, after: w.after, group: 1}
	grad := c.emit("Conv", []string{c.transpose(x, perm...), c.transpose(dy, perm...)}, back.attrs()...)
	// Input that the forward pass left unused makes the result too long.
	grad = c.slice(grad, make([]int64, n), w.kernel, span(2, n+2), slices.Repeat([]int64{1}, n))
	return c.transpose(grad, perm...)
}

// weightsDepthwise needs no products of matrices: one channel meets one.
func (c *call) weightsDepthwise(w *window, x, dy, weights string) string {
	n := len(w.kernel)
	axes := append([]int64{0}, span(2, n+2)...)
	parts := c.patches(w, x)
	for i, p := range parts {
		parts[i] = c.apply("Unsqueeze", c.sum(c.mul(p, dy), axes, false), c.ints(1))
	}
	grad := parts[0]
	if len(parts) > 1 {
		grad = c.emit("Concat", parts, onnx.IntAttr("axis", 1))
	}
	return c.reshapeLike(grad, weights)
}
