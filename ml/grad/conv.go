package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// convRules are the convolutions, in any number of spatial dimensions.
var convRules = []Rule{
	{Op: "Conv", Since: 1, VJP: vjpConv},
	{Op: "ConvTranspose", Since: 1, VJP: vjpConvTranspose},
}

// window is how a kernel moves over the spatial dimensions of a value: of a
// convolution from x to y or a pool, with its padding spelt out.
type window struct {
	kernel, stride, dilation []int64
	before, after            []int64 // padding
	in, out                  []int64 // spatial sizes of x and of y
	group                    int64
}

// span is the extent of the dilated kernel along axis i.
func (w *window) span(i int) int64 { return w.dilation[i]*(w.kernel[i]-1) + 1 }

// area is the number of the kernel's elements.
func (w *window) area() int64 {
	n := int64(1)
	for _, k := range w.kernel {
		n *= k
	}
	return n
}

// window reads a node's attributes. kernel stands in for an absent
// kernel_shape; wide and narrow are the value at the input and at the output
// of the convolution (of which a ConvTranspose is the reverse).
func (c *call) window(kernel []int64, wide, narrow string) *window {
	n := c.rank(wide) - 2
	if n < 1 || c.rank(narrow) != n+2 {
		c.fail("its input has no spatial dimensions")
	}
	ones := slices.Repeat([]int64{1}, n)
	w := &window{
		kernel:   c.node.Ints("kernel_shape", kernel),
		stride:   c.node.Ints("strides", ones),
		dilation: c.node.Ints("dilations", ones),
		before:   make([]int64, n),
		after:    make([]int64, n),
		in:       c.spatial(wide),
		out:      c.spatial(narrow),
		group:    c.node.Int("group", 1),
	}
	if len(w.kernel) != n || len(w.stride) != n || len(w.dilation) != n {
		c.fail("its kernel, strides and dilations do not fit %d spatial dimensions", n)
	}
	pads := c.node.Ints("pads", make([]int64, 2*n))
	if len(pads) != 2*n {
		c.fail("its pads do not fit %d spatial dimensions", n)
	}
	auto := c.node.Str("auto_pad", "NOTSET")
	for i := range n {
		if w.kernel[i] < 1 || w.stride[i] < 1 || w.dilation[i] < 1 {
			c.fail("its kernel, strides and dilations must be positive")
		}
		switch auto {
		case "SAME_UPPER", "SAME_LOWER":
			total := max(0, w.stride[i]*(w.out[i]-1)+w.span(i)-w.in[i])
			w.before[i], w.after[i] = total/2, total-total/2
			if auto == "SAME_LOWER" {
				w.before[i], w.after[i] = w.after[i], w.before[i]
			}
		case "VALID":
		default:
			w.before[i], w.after[i] = pads[i], pads[n+i]
		}
	}
	return w
}

// attrs are the window's attributes for a convolution from x to y.
func (w *window) attrs() []*onnx.Attr {
	return []*onnx.Attr{
		onnx.IntsAttr("kernel_shape", w.kernel...),
		onnx.IntsAttr("strides", w.stride...),
		onnx.IntsAttr("dilations", w.dilation...),
		onnx.IntsAttr("pads", slices.Concat(w.before, w.after)...),
		onnx.IntAttr("group", w.group),
	}
}

func vjpConv(c *call) {
	x, weights, dy := c.x(0), c.x(1), c.dy()
	w := c.window(c.spatial(weights), x, c.y(0))
	if c.wants(0) {
		c.give(0, c.convInput(w, dy, weights))
	}
	if c.wants(1) {
		c.give(1, c.convWeights(w, x, dy, weights))
	}
	if c.wants(2) {
		c.give(2, c.channelSum(dy, c.y(0)))
	}
}

// vjpConvTranspose: a ConvTranspose is the input gradient of a convolution
// from y to x with the same weights, so its own input gradient is that
// convolution, and its weight gradient that convolution's with the roles of x
// and dy exchanged.
func vjpConvTranspose(c *call) {
	x, weights, y, dy := c.x(0), c.x(1), c.y(0), c.dy()
	w := c.window(c.spatial(weights), y, x)
	if c.wants(2) {
		c.give(2, c.channelSum(dy, y))
	}
	c.transposePads(w)
	dy = c.trim(w, dy)
	if c.wants(0) {
		c.give(0, c.emit("Conv", []string{dy, weights}, w.attrs()...))
	}
	if c.wants(1) {
		c.give(1, c.convWeights(w, dy, x, weights))
	}
}

// trim cuts off the end of a value where the window has negative padding, and
// adapts the window.
func (c *call) trim(w *window, v string) string {
	cut := make([]int64, 2, len(w.after)+2)
	for i, p := range w.after {
		cut = append(cut, min(0, p))
		w.in[i] += min(0, p)
		w.after[i] = max(0, p)
	}
	return c.pad(v, make([]int64, len(cut)), cut)
}

// transposePads works out a ConvTranspose's padding where the node states the
// output's size or SAME instead: the total is what the sizes leave over. An
// output_padding lengthens the output at its end, as less padding there does.
func (c *call) transposePads(w *window) {
	extra := c.node.Ints("output_padding", make([]int64, len(w.kernel)))
	auto := c.node.Str("auto_pad", "NOTSET")
	stated := c.node.Ints("output_shape", nil) != nil
	if len(extra) != len(w.kernel) {
		c.fail("its output_padding does not fit its kernel")
	}
	for i := range w.kernel {
		if stated || auto == "SAME_UPPER" || auto == "SAME_LOWER" {
			total := w.stride[i]*(w.out[i]-1) + extra[i] + w.span(i) - w.in[i]
			total = max(0, total)
			w.before[i] = total - total/2
			if auto == "SAME_UPPER" {
				w.before[i] = total / 2
			}
		}
		// What the convolution back needs at the end to come out at w.out.
		w.after[i] = w.stride[i]*(w.out[i]-1) + w.span(i) - w.in[i] - w.before[i]
	}
}

// channelSum is the gradient of a bias: the sum over all but the channels.
func (c *call) channelSum(dy, y string) string {
	axes := append([]int64{0}, span(2, c.rank(y))...)
	return c.sum(dy, axes, false)
}

// convInput is the gradient of a convolution in its input. At stride 1 that is
// a convolution with the kernel turned around and its channels exchanged,
// which runs as fast as the forward pass (4 times as fast as ConvTranspose for
// a depthwise one); a larger stride spreads dy out, which ConvTranspose does
// without computing the zeros.
func (c *call) convInput(w *window, dy, weights string) string {
	if conv, kernel, block, ok := c.subpixel(w, weights); ok {
		return c.applySubpixel(conv, kernel, block, dy)
	}
	n := len(w.kernel)
	back := &window{kernel: w.kernel, dilation: w.dilation, stride: w.stride, group: w.group}
	plain := true
	for i := range n {
		reach := w.span(i) - 1
		// A forward pass that ignored the input's end has less padding there.
		used := w.stride[i]*(w.out[i]-1) + w.span(i)
		after := used - w.before[i] - w.in[i]
		back.before = append(back.before, reach-w.before[i])
		back.after = append(back.after, reach-after)
		plain = plain && w.stride[i] == 1 && w.before[i] <= reach && after <= reach
	}
	if plain {
		return c.emit("Conv", []string{dy, c.flip(weights, w.group)}, back.attrs()...)
	}
	var extra []int64
	for i := range n {
		natural := w.stride[i]*(w.out[i]-1) + w.span(i) - w.before[i] - w.after[i]
		extra = append(extra, max(0, w.in[i]-natural))
	}
	attrs := append(w.attrs(), onnx.IntsAttr("output_padding", extra...))
	return c.emit("ConvTranspose", []string{dy, weights}, attrs...)
}

// flip turns a kernel around in space and exchanges its channels within each
// group: [M, C/g, ...] becomes [C, M/g, ...]. A constant is flipped here and
// now, because the runtime takes long to fold it when it loads the model.
func (c *call) flip(weights string, group int64) string {
	if t := c.inits[weights]; t != nil && t.Type.Bits() >= 8 {
		return c.once("flip:"+weights, func() string { return c.addInit(flipped(t, group)) })
	}
	dims := c.dims(weights)
	n := len(dims) - 2
	if slices.Contains(dims, -1) || dims[0]%group != 0 {
		c.fail("the shape of its weights varies from run to run")
	}
	v := weights
	if !slices.Equal(dims[2:], slices.Repeat([]int64{1}, n)) {
		minus := slices.Repeat([]int64{-1}, n)
		v = c.slice(v, minus, slices.Repeat([]int64{-1 << 62}, n), span(2, n+2), minus)
	}
	if group == 1 {
		return c.transpose(v, append([]int64{1, 0}, span(2, n+2)...)...)
	}
	v = c.reshape(v, lit(append([]int64{group, dims[0] / group, dims[1]}, dims[2:]...)...)...)
	v = c.transpose(v, append([]int64{0, 2, 1}, span(3, n+3)...)...)
	return c.reshape(v, lit(append([]int64{group * dims[1], dims[0] / group}, dims[2:]...)...)...)
}

func flipped(t *onnx.Tensor, group int64) *onnx.Tensor {
	size := int64(t.Type.Bits() / 8)
	per, m := t.Dims[1], t.Dims[0]/group // channels within a group, at x and at y
	area := int64(1)
	for _, d := range t.Dims[2:] {
		area *= d
	}
	raw := make([]byte, len(t.Raw))
	for g := range group {
		for o := range m {
			for i := range per {
				from := ((g*m+o)*per + i) * area
				to := ((g*per+i)*m + o) * area
				for k := range area {
					copy(raw[(to+area-1-k)*size:][:size], t.Raw[(from+k)*size:][:size])
				}
			}
		}
	}
	dims := append([]int64{group * per, m}, t.Dims[2:]...)
	return onnx.RawTensor("", t.Type, raw, dims...)
}
