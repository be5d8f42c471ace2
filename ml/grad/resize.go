package grad

import (
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// resizeRules: resizing is a linear map along each axis in turn, so its
// gradient is the product with their transposes. The maps are worked out here
// as the standard defines them; magnifying by whole numbers with the nearest
// neighbour, which networks do most, only adds up blocks.
var resizeRules = []Rule{
	{Op: "Resize", Since: 13, VJP: vjpResize},
}

func vjpResize(c *call) {
	x, y, d := c.x(0), c.y(0), c.dy()
	c.stop(1)
	c.stop(2)
	r := c.rank(x)
	factors := c.resizeFactors()
	maps := make([]matrix, r)
	blocks := true
	for i := range r {
		if xd, yd := c.dims(x)[i], c.dims(y)[i]; factors[i] == 1 && xd == yd {
			continue // untouched, as batch and channels are
		}
		n, m := c.fixed(x, i), c.fixed(y, i)
		maps[i] = c.resizeMap(n, m, factors[i])
		blocks = blocks && repeats(maps[i])
	}
	if blocks && r == 4 && c.elem == onnx.Float && maps[0] == nil && maps[1] == nil {
		c.give(0, c.sumBlocks(d))
		return
	}
	done := make([]bool, r)
	for i, m := range maps {
		if m == nil {
			continue
		}
		done[i] = true
		d = c.along(d, c.mixed(x, y, done, 0, i), c.mixed(x, y, done, i+1, r), m.transpose())
	}
	c.give(0, d)
}

// repeats reports whether a map only repeats each element a fixed number of
// times.
func repeats(m matrix) bool {
	out, in := len(m), 0
	if m != nil {
		in = len(m[0])
	}
	if m == nil {
		return true
	}
	if out%in != 0 {
		return false
	}
	for o, row := range m {
		if row[o/(out/in)] != 1 {
			return false
		}
	}
	return true
}

// sumBlocks adds up dy over the block that each element of x was repeated to.
func (c *call) sumBlocks(d string) string {
	var kernel []int64
	area := int64(1)
	for i := 2; i < 4; i++ {
		k := c.dims(c.y(0))[i] / c.dims(c.x(0))[i]
		kernel, area = append(kernel, k), area*k
	}
	mean := c.emit("AveragePool", []string{d}, onnx.IntsAttr("kernel_shape", kernel...), onnx.IntsAttr("strides", kernel...))
	return c.scale(mean, float64(area))
}

// resizeFactors is the scale of each axis of x, as the standard computes it
// from the scales or sizes given.
func (c *call) resizeFactors() []float64 {
	x, y := c.x(0), c.y(0)
	r := c.rank(x)
	factors := slices.Repeat([]float64{1}, r)
	axes := c.node.Ints("axes", span(0, r))
	if c.node.Int("antialias", 0) != 0 {
		c.fail("it smooths against aliasing")
	}
	if c.has(2) {
		given := c.constFloats(c.x(2), "list of scales")
		if len(given) == len(axes) {
			for i, a := range axes {
				factors[c.axis(a, r)] = given[i]
			}
			return factors
		}
		if len(given) != 0 || !c.has(3) {
			c.fail("it has %d scales for %d axes", len(given), len(axes))
		}
	}
	policy := c.node.Str("keep_aspect_ratio_policy", "stretch")
	if policy != "stretch" {
		c.fail("its keep_aspect_ratio_policy is %q", policy)
	}
	for _, a := range axes {
		i := c.axis(a, r)
		if xd, yd := c.dims(x)[i], c.dims(y)[i]; xd != yd {
			factors[i] = float64(c.fixed(y, i)) / float64(c.fixed(x, i))
		}
	}
	return factors
}

// resizeMap is the matrix from n elements to m at a scale.
func (c *call) resizeMap(n, m int64, scale float64) matrix {
	t := c.matrix(m, n)
	place := c.resizePlace(n, m, scale)
	mode := c.node.Str("mode", "nearest")
	for o, row := range t {
		at := place(float64(o))
		switch mode {
		case "nearest":
			row[min(max(c.nearest(at), 0), n-1)] = 1
		case "linear":
			at = min(max(at, 0), float64(n-1))
			lo := int64(math.Floor(at))
			f := at - float64(lo)
			row[lo] += 1 - f
			row[min(lo+1, n-1)] += f
		case "cubic":
			c.cubic(row, at, n)
		default:
			c.fail("its mode %q is unknown", mode)
		}
	}
	return t
}

// resizePlace is the coordinate transformation from output to input.
func (c *call) resizePlace(n, m int64, scale float64) func(o float64) float64 {
	switch mode := c.node.Str("coordinate_transformation_mode", "half_pixel"); mode {
	case "half_pixel":
		return func(o float64) float64 { return (o+0.5)/scale - 0.5 }
	case "half_pixel_symmetric":
		length := scale * float64(n)
		offset := float64(n) / 2 * (1 - float64(m)/length)
		return func(o float64) float64 { return offset + (o+0.5)/scale - 0.5 }
	case "pytorch_half_pixel":
		if m == 1 {
			return func(float64) float64 { return 0 }
		}
		return func(o float64) float64 { return (o+0.5)/scale - 0.5 }
	case "align_corners":
		if m == 1 {
			return func(float64) float64 { return 0 }
		}
		return func(o float64) float64 { return o * float64(n-1) / float64(m-1) }
	case "asymmetric":
		return func(o float64) float64 { return o / scale }
	default:
		c.fail("its coordinate_transformation_mode is %q", mode)
		return nil
	}
}

// nearest rounds a place as nearest_mode says.
func (c *call) nearest(at float64) int64 {
	switch c.node.Str("nearest_mode", "round_prefer_floor") {
	case "round_prefer_ceil":
		return int64(math.Floor(at + 0.5))
	case "floor":
		return int64(math.Floor(at))
	case "ceil":
		return int64(math.Ceil(at))
	}
	return int64(math.Ceil(at - 0.5))
}

// cubic enters the four weights of cubic convolution (Keys 1981) at a place.
func (c *call) cubic(row []float64, at float64, n int64) {
	a := float64(c.node.Float("cubic_coeff_a", -0.75))
	exclude := c.node.Int("exclude_outside", 0) != 0
	base := math.Floor(at)
	f := at - base
	far := func(t float64) float64 { return ((a*t-5*a)*t+8*a)*t - 4*a } // 1 < t < 2
	near := func(t float64) float64 { return ((a+2)*t-(a+3))*t*t + 1 }  // t <= 1
	weights := [4]float64{far(f + 1), near(f), near(1 - f), far(2 - f)}
	sum := 0.0
	for k := range weights {
		if i := int64(base) + int64(k) - 1; exclude && (i < 0 || i >= n) {
			weights[k] = 0
		}
		sum += weights[k]
	}
	for k, w := range weights {
		i := min(max(int64(base)+int64(k)-1, 0), n-1)
		if exclude {
			w /= sum
		}
		row[i] += w
	}
}
