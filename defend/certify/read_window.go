package certify

import (
	"errors"
	"fmt"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// window reads the geometry of a convolution or pooling over x, of one or two
// dimensions; kernel is used where the node states none.
func window(n *onnx.Node, x value, kernel []int) (grid, error) {
	dims := len(x.shape) - 2
	if dims != 1 && dims != 2 {
		return grid{}, fmt.Errorf("want one or two dimensions beside the channels, not the shape %v", x.shape)
	}
	if k := n.Ints("kernel_shape", nil); k != nil {
		kernel = kernel[:0]
		for _, v := range k {
			kernel = append(kernel, int(v))
		}
	}
	if len(kernel) != dims {
		return grid{}, errors.New("its kernel has another rank than its operand")
	}
	// A single dimension is the second of two, of which the first is 1.
	g := grid{k: [2]int{1, 1}, stride: [2]int{1, 1}, dilation: [2]int{1, 1}, in: [2]int{1, 1}, out: [2]int{1, 1}}
	at := func(name string, i int, absent int64) (int, error) {
		v := n.Ints(name, nil)
		if v == nil {
			return int(absent), nil
		}
		if i >= len(v) || v[i] < 0 || v[i] > maxValue {
			return 0, fmt.Errorf("its %s are missing, negative or too large", name)
		}
		return int(v[i]), nil
	}
	for i := range dims {
		to := 2 - dims + i
		var end int
		var errs [4]error
		g.stride[to], errs[0] = at("strides", i, 1)
		g.dilation[to], errs[1] = at("dilations", i, 1)
		g.pad[to], errs[2] = at("pads", i, 0)
		end, errs[3] = at("pads", dims+i, 0)
		if err := errors.Join(errs[:]...); err != nil {
			return g, err
		}
		g.k[to], g.in[to] = kernel[i], x.shape[2+i]
		if g.k[to] < 1 || g.k[to] > maxValue || g.stride[to] < 1 || g.dilation[to] < 1 || g.dilation[to] > maxValue/g.k[to] {
			return g, errors.New("its kernel, strides or dilations are out of range")
		}
		span := (g.k[to]-1)*g.dilation[to] + 1
		room := g.in[to] + g.pad[to] + end - span
		switch n.Str("auto_pad", "NOTSET") {
		case "NOTSET", "":
		case "VALID":
			g.pad[to] = 0
			room = g.in[to] - span
		case "SAME_UPPER", "SAME_LOWER":
			out := (g.in[to] + g.stride[to] - 1) / g.stride[to]
			total := max(0, (out-1)*g.stride[to]+span-g.in[to])
			g.pad[to] = total / 2
			if n.Str("auto_pad", "") == "SAME_LOWER" {
				g.pad[to] = total - total/2
			}
			room = (out - 1) * g.stride[to]
		default:
			return g, errors.New("its auto_pad is unknown")
		}
		if n.Int("ceil_mode", 0) != 0 && room%g.stride[to] != 0 {
			return g, errors.New("ceil_mode leaves windows that reach beyond the pads")
		}
		if room < 0 {
			return g, errors.New("its kernel is larger than its operand")
		}
		g.out[to] = room/g.stride[to] + 1
	}
	if x.shape[1] < 1 || count([]int{x.shape[1], g.out[0], g.out[1], g.k[0], g.k[1]}) > maxDense {
		return g, errors.New("its windows are too large together")
	}
	return g, nil
}

// over is the shape of what a window leaves of x, with other channels.
func (g grid) over(x value, channels int) []int {
	return append([]int{1, channels}, g.out[4-len(x.shape):]...)
}

func readConv(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 || args[1].variable() || len(args[1].shape) != len(x.shape) || len(args) > 2 && args[2].variable() {
		return nil, errors.New("want a sample, constant weights and a constant bias")
	}
	w := args[1]
	g, err := window(n, x, append([]int(nil), w.shape[2:]...))
	if err != nil {
		return nil, err
	}
	groups, out := int(n.Int("group", 1)), w.shape[0]
	if groups < 1 || out%groups != 0 || x.shape[1] != groups*w.shape[1] || count(w.shape[2:]) != g.k[0]*g.k[1] {
		return nil, fmt.Errorf("weights of %v in %d groups do not fit a sample of %v", w.shape, groups, x.shape)
	}
	shape := g.over(x, out)
	if count(shape) > maxValue || w.shape[1]*g.k[0]*g.k[1] > maxDense/(g.out[0]*g.out[1]) {
		return nil, errors.New("it is too large")
	}
	c := newConv(g, groups, w.shape[1], out/groups, w.constant)
	var bias []float64
	if len(args) > 2 && len(args[2].constant) > 0 {
		if len(args[2].constant) != out {
			return nil, fmt.Errorf("%d biases for %d channels", len(args[2].constant), out)
		}
		plane := g.out[0] * g.out[1]
		bias = make([]float64, out*plane)
		for i := range bias {
			bias[i] = args[2].constant[i/plane]
		}
	}
	v, err := r.affine(shape, c.taps()+2, bias, term{x.node, c.matrix()})
	return []value{v}, err
}

// readAveragePool is a convolution of each channel by itself, divided by the
// number of elements that each window covers.
func readAveragePool(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	g, err := window(n, x, append([]int(nil), x.shape[min(2, len(x.shape)):]...))
	if err != nil {
		return nil, err
	}
	taps := g.k[0] * g.k[1]
	shape := g.over(x, x.shape[1])
	covered := make([]float64, g.out[0]*g.out[1])
	one := conv{grid: g, groups: 1, cin: 1, cout: 1}
	one.sites(func(at, _, _, count int) {
		for i := range count {
			covered[at%len(covered)+i]++
		}
	})
	scale := make([]float64, count(shape))
	for i := range scale {
		scale[i] = 1 / covered[i%len(covered)]
		if n.Int("count_include_pad", 0) != 0 {
			scale[i] = 1 / float64(taps)
		}
	}
	sum, err := r.affine(shape, taps, nil, term{x.node, newConv(g, x.shape[1], 1, 1, fill(x.shape[1]*taps, 1)).matrix()})
	if err != nil {
		return nil, err
	}
	v, err := r.affine(shape, 2, nil, term{sum.node, newPick(spread(shape, shape), scale, len(scale))})
	return []value{v}, err
}

// readMaxPool is a tournament: the elements of each window meet in pairs, and
// max(a, b) = b + ReLU(a - b). Pads never win.
func readMaxPool(r *reader, n *onnx.Node, args []value) ([]value, error) {
	x, err := one(args)
	if err != nil {
		return nil, err
	}
	g, err := window(n, x, append([]int(nil), x.shape[min(2, len(x.shape)):]...))
	if err != nil {
		return nil, err
	}
	shape := g.over(x, x.shape[1])
	size, place, plane := count(shape), g.out[0]*g.out[1], g.in[0]*g.in[1]
	windows := make([][]int32, size)
	one := conv{grid: g, groups: 1, cin: 1, cout: 1}
	one.sites(func(at, from, stride, count int) {
		for c := range x.shape[1] {
			for i := range count {
				p := c*place + at%place + i
				windows[p] = append(windows[p], int32(c*plane+from+i*stride))
			}
		}
	})
	v, err := r.tournament(x, shape, windows)
	return []value{v}, err
}

// tournament is the largest element of each window.
func (r *reader) tournament(x value, shape []int, windows [][]int32) (value, error) {
	for {
		var a, b, next []int32 // those that meet, and who is left for the next round
		longest := 0
		for p, w := range windows {
			if len(w) == 0 {
				return value{}, errors.New("a window lies wholly in the pads")
			}
			windows[p] = nil
			for i := 0; i < len(w); i += 2 {
				windows[p] = append(windows[p], int32(len(next)))
				next = append(next, w[i])
				a, b = append(a, -1), append(b, w[i])
				if i+1 < len(w) {
					a[len(a)-1] = w[i+1]
				}
			}
			longest = max(longest, len(w))
		}
		if longest == 1 {
			return r.pick(shape, x, next)
		}
		// Those without an opponent pass: their difference is nought.
		lone := make([]int32, len(b))
		for i := range b {
			lone[i] = b[i]
			if a[i] < 0 {
				lone[i] = -1
			}
		}
		var err error
		if x, err = r.larger(x, a, x, lone, b); err != nil {
			return value{}, err
		}
	}
}

// larger is y[rest] + ReLU(x[a] - y[b]), element by element.
func (r *reader) larger(x value, a []int32, y value, b, rest []int32) (value, error) {
	shape := []int{1, len(a)}
	nx, ny := r.n.nodes[x.node].size, r.n.nodes[y.node].size
	d, err := r.affine(shape, 0, nil, term{x.node, newPick(a, nil, nx)}, term{y.node, newPick(b, fill(len(b), -1), ny)})
	if err != nil {
		return d, err
	}
	if d, err = r.relu(d); err != nil {
		return d, err
	}
	return r.affine(shape, 0, nil, term{d.node, nil}, term{y.node, newPick(rest, nil, ny)})
}
