package certify

import "slices"

// linear is a linear map, applied to many rows at once. Rows lie one behind
// the other.
type linear interface {
	// forward adds the image of each row of src to dst.
	forward(dst, src []float64, rows int, w *scratch)
	// backward adds to dst what the transposed map makes of each row of src.
	backward(dst, src []float64, rows int, w *scratch)
	// magnitude is the map of the absolute values of the coefficients, made to
	// go forward only.
	magnitude() linear
	// sums bounds the number of products that any element of an image, forward
	// or backward, is the sum of.
	sums() int
	// cost is about the number of multiplications for one row.
	cost() int
}

// scratch is memory that a worker uses again.
type scratch struct{ columns []float64 }

func (w *scratch) of(n int) []float64 {
	w.columns = slices.Grow(w.columns[:0], n)[:n]
	return w.columns
}

// dense is a matrix of out rows and in columns.
type dense struct {
	w          []float64
	out, in    int
	fore, back columns
}

func newDense(w []float64, out, in int) *dense {
	return &dense{w, out, in,
		packed(in, out, func(i, j int) float64 { return w[j*in+i] }),
		packed(out, in, func(i, j int) float64 { return w[i*in+j] })}
}

func (d *dense) forward(dst, src []float64, rows int, _ *scratch) {
	multiply(dst, src, d.fore, rows, true)
}

func (d *dense) backward(dst, src []float64, rows int, _ *scratch) {
	multiply(dst, src, d.back, rows, true)
}

func (d *dense) magnitude() linear {
	return &dense{out: d.out, in: d.in, fore: d.fore.magnitude()}
}

func (d *dense) sums() int { return max(d.out, d.in) }
func (d *dense) cost() int { return d.out * d.in }

func (c columns) magnitude() columns {
	c.data = magnitudes(c.data)
	return c
}

func magnitudes(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = max(x, -x)
	}
	return out
}

// pick makes element i of its image from element from[i] of the argument,
// times scale[i] where there is a scale; from[i] = -1 makes a zero. It is what
// transpositions, slices, paddings and scalings are.
type pick struct {
	from  []int32
	scale []float64 // nil means 1 throughout
	in    int
	fan   int // how often an element is picked at most
}

func newPick(from []int32, scale []float64, in int) *pick {
	p := &pick{from: from, scale: scale, in: in}
	count := make([]int, in)
	for _, j := range from {
		if j >= 0 {
			count[j]++
			p.fan = max(p.fan, count[j])
		}
	}
	return p
}

func (p *pick) at(i int) float64 {
	if p.scale == nil {
		return 1
	}
	return p.scale[i]
}

func (p *pick) forward(dst, src []float64, rows int, _ *scratch) {
	n := len(p.from)
	for r := range rows {
		d, s := dst[r*n:(r+1)*n], src[r*p.in:(r+1)*p.in]
		for i, j := range p.from {
			if j >= 0 {
				d[i] += p.at(i) * s[j]
			}
		}
	}
}

func (p *pick) backward(dst, src []float64, rows int, _ *scratch) {
	n := len(p.from)
	for r := range rows {
		d, s := dst[r*p.in:(r+1)*p.in], src[r*n:(r+1)*n]
		for i, j := range p.from {
			if j >= 0 {
				d[j] += p.at(i) * s[i]
			}
		}
	}
}

func (p *pick) magnitude() linear {
	if p.scale == nil {
		return p
	}
	m := *p
	m.scale = magnitudes(p.scale)
	return &m
}

func (p *pick) sums() int { return max(p.fan, 1) }
func (p *pick) cost() int { return len(p.from) }

// grid is the geometry of a window that slides over planes of numbers: kernel,
// strides, leading pads and dilations of two dimensions, and the sizes of the
// planes before and after.
type grid struct{ k, stride, pad, dilation, in, out [2]int }

// conv is a convolution over two dimensions in groups.
type conv struct {
	grid
	groups        int
	cin, cout     int       // channels of a group
	w, transposed []float64 // by group: cout times taps, taps times cout
}

func newConv(g grid, groups, cin, cout int, w []float64) *conv {
	c := &conv{grid: g, groups: groups, cin: cin, cout: cout, w: w, transposed: make([]float64, len(w))}
	taps := c.taps()
	for n := range groups {
		for o := range cout {
			for t := range taps {
				c.transposed[(n*taps+t)*cout+o] = w[(n*cout+o)*taps+t]
			}
		}
	}
	return c
}

func (c *conv) taps() int { return c.cin * c.k[0] * c.k[1] }

// sites visits the stretches of a group's input that the taps of the kernel
// touch, each with its place in a matrix of taps times output positions.
func (c *conv) sites(visit func(at, from, stride, count int)) {
	place := c.out[0] * c.out[1]
	tap := 0
	for ch := range c.cin {
		for ky := range c.k[0] {
			for kx := range c.k[1] {
				dx := kx*c.dilation[1] - c.pad[1]
				// The first and last output column whose tap lies inside.
				first := max(0, (-dx+c.stride[1]-1)/c.stride[1])
				last := min(c.out[1]-1, floorDiv(c.in[1]-1-dx, c.stride[1]))
				for y := range c.out[0] {
					sy := y*c.stride[0] + ky*c.dilation[0] - c.pad[0]
					if sy < 0 || sy >= c.in[0] || last < first {
						continue
					}
					visit(tap*place+y*c.out[1]+first, (ch*c.in[0]+sy)*c.in[1]+first*c.stride[1]+dx, c.stride[1], last-first+1)
				}
				tap++
			}
		}
	}
}

func floorDiv(a, b int) int {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

func (c *conv) forward(dst, src []float64, rows int, w *scratch) {
	taps, place, plane := c.taps(), c.out[0]*c.out[1], c.in[0]*c.in[1]
	cols := w.of(taps * place)
	for r := range rows * c.groups {
		clear(cols)
		s := src[r*c.cin*plane : (r+1)*c.cin*plane]
		c.sites(func(at, from, stride, count int) {
			for i := range count {
				cols[at+i] = s[from+i*stride]
			}
		})
		g := r % c.groups
		multiply(dst[r*c.cout*place:], c.w[g*c.cout*taps:], unpacked(cols, taps, place), c.cout, true)
	}
}

func (c *conv) backward(dst, src []float64, rows int, w *scratch) {
	taps, place, plane := c.taps(), c.out[0]*c.out[1], c.in[0]*c.in[1]
	cols := w.of(taps * place)
	for r := range rows * c.groups {
		g := r % c.groups
		s := src[r*c.cout*place : (r+1)*c.cout*place]
		multiply(cols, c.transposed[g*c.cout*taps:], unpacked(s, c.cout, place), taps, false)
		d := dst[r*c.cin*plane : (r+1)*c.cin*plane]
		c.sites(func(at, from, stride, count int) {
			for i := range count {
				d[from+i*stride] += cols[at+i]
			}
		})
	}
}

func (c *conv) magnitude() linear {
	m := *c
	m.w, m.transposed = magnitudes(c.w), nil
	return &m
}

func (c *conv) sums() int { return max(c.cin, c.cout) * c.k[0] * c.k[1] }
func (c *conv) cost() int { return c.groups * c.cout * c.taps() * c.out[0] * c.out[1] }

// matrix writes the convolution out where that makes it no dearer: for kernels
// as large as their input, of which each output position is a row.
func (c *conv) matrix() linear {
	place, plane := c.out[0]*c.out[1], c.in[0]*c.in[1]
	in, out := c.groups*c.cin*plane, c.groups*c.cout*place
	if in*out > 4*c.cost() || in*out > maxDense {
		return c
	}
	w := make([]float64, in*out)
	taps := c.taps()
	c.sites(func(at, from, stride, count int) {
		tap, p := at/place, at%place
		for g := range c.groups {
			for o := range c.cout {
				for i := range count {
					w[((g*c.cout+o)*place+p+i)*in+g*c.cin*plane+from+i*stride] = c.w[(g*c.cout+o)*taps+tap]
				}
			}
		}
	})
	return newDense(w, out, in)
}
