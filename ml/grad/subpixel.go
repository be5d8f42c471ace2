package grad

import (
	"math"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// A convolution's input gradient has as many channels as its input, and for
// the first layer of an image network that is 1 or 3. The runtime's kernels
// compute channels in blocks of 16 whatever they are asked for, so most of
// that work is thrown away. The subpixel form fills the block: it computes a
// b x b patch of the gradient as b^2 C channels of a convolution over dy with
// stride b/s, and DepthToSpace lays the patches out (Shi et al. 2016 use it to
// enlarge images). It is exact, and makes the gradient of a small network's
// first layer 3 to 5 times as fast.

// channelBlock is the number of channels computed together, on AVX-512.
const channelBlock = 16

// subpixel plans the form for a window with constant weights [M, C, kernel...]:
// the convolution over dy, with its weights. ok is false where it does not
// apply or does not pay.
func (c *call) subpixel(w *window, weights string) (conv *window, kernel *onnx.Tensor, block int64, ok bool) {
	t := c.inits[weights]
	if t == nil || t.Type != onnx.Float || len(w.kernel) != 2 || w.group != 1 || t.Dims[1] >= channelBlock {
		return nil, nil, 0, false
	}
	if w.stride[0] != w.stride[1] {
		return nil, nil, 0, false
	}
	s := w.stride[0]
	// The cost is in products for one channel of dy and one position of x. At
	// stride 1 the plain form has one too; any beats ConvTranspose.
	best := math.Inf(1)
	if s == 1 {
		best = blocked(t.Dims[1]) * float64(w.area())
	}
	for _, times := range []int64{1, 2, 4} {
		b := s * times
		if w.in[0]%b != 0 || w.in[1]%b != 0 || b == 1 {
			continue
		}
		plan, fits := planSubpixel(w, b)
		if !fits {
			continue
		}
		cost := blocked(t.Dims[1]*b*b) * float64(plan.area()) / float64(b*b)
		if cost < best {
			best, block, conv = cost, b, plan
		}
	}
	if conv == nil {
		return nil, nil, 0, false
	}
	return conv, subpixelKernel(w, conv, t, block), block, true
}

// blocked is the number of channels that computing some takes.
func blocked(channels int64) float64 {
	return float64((channels + channelBlock - 1) / channelBlock * channelBlock)
}

// planSubpixel finds the convolution over dy. Along an axis, x[i] feeds y[o]
// through kernel element k where s o + d k - p = i. With i = b q + a and o =
// (b/s) q + r that is s r = a + p - d k: the reach of r over all a and k is the
// new kernel.
func planSubpixel(w *window, b int64) (*window, bool) {
	plan := &window{group: 1, in: w.out}
	for i := range w.kernel {
		s, times := w.stride[i], b/w.stride[i]
		lo := -floorDiv(w.dilation[i]*(w.kernel[i]-1)-w.before[i], s) // least r: a = 0, last k
		hi := floorDiv(b-1+w.before[i], s)                            // greatest r: a = b-1, k = 0
		lo = min(lo, 0)
		k := hi - lo + 1
		after := times*(w.in[i]/b-1) + k - w.out[i] + lo
		if after < 0 {
			return nil, false
		}
		plan.kernel = append(plan.kernel, k)
		plan.stride = append(plan.stride, times)
		plan.dilation = append(plan.dilation, 1)
		plan.before = append(plan.before, -lo)
		plan.after = append(plan.after, after)
		plan.out = append(plan.out, w.in[i]/b)
	}
	return plan, true
}

// subpixelKernel arranges the weights for a plan: [b^2 C, M, kernel...], with
// the place in the patch before the channel, as DepthToSpace reads it.
func subpixelKernel(w, plan *window, t *onnx.Tensor, b int64) *onnx.Tensor {
	from := t.Floats()
	m, channels := t.Dims[0], t.Dims[1]
	kh, kw := plan.kernel[0], plan.kernel[1]
	to := make([]float32, b*b*channels*m*kh*kw)
	for place := range offsets([]int64{b, b, kh, kw}) {
		k0, ok0 := subpixelTap(w, plan, 0, place[0], place[2])
		k1, ok1 := subpixelTap(w, plan, 1, place[1], place[3])
		if !ok0 || !ok1 {
			continue
		}
		for ch := range channels {
			for o := range m {
				row := (place[0]*b+place[1])*channels + ch
				to[((row*m+o)*kh+place[2])*kw+place[3]] = from[((o*channels+ch)*w.kernel[0]+k0)*w.kernel[1]+k1]
			}
		}
	}
	return onnx.FloatTensor("", to, b*b*channels, m, kh, kw)
}

// subpixelTap is the element of the old kernel that place a of the patch
// takes from element j of the new one.
func subpixelTap(w, plan *window, axis int, a, j int64) (k int64, ok bool) {
	r := j - plan.before[axis]
	dk := a + w.before[axis] - w.stride[axis]*r
	k = dk / w.dilation[axis]
	return k, dk >= 0 && dk%w.dilation[axis] == 0 && k < w.kernel[axis]
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// applySubpixel emits the form.
func (c *call) applySubpixel(conv *window, kernel *onnx.Tensor, block int64, dy string) string {
	patches := c.emit("Conv", []string{dy, c.constant(kernel)}, conv.attrs()...)
	if block == 1 {
		return patches
	}
	return c.emit("DepthToSpace", []string{patches}, onnx.IntAttr("blocksize", block))
}
