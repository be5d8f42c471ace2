package grad

import (
	"runtime"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// On x86-64 ONNX Runtime computes convolutions and poolings in a layout that
// keeps blocks of 8 or 16 channels together, and puts values back into the
// ordinary layout for every operator that is not at home there. Comparing,
// casting and selecting are not. Around a convolution those conversions cost
// more than the arithmetic, so the rules of Relu and MaxPool have forms made
// only of operators that are: Conv, pooling, Add, Mul, nearest Resize, and Relu
// or Clip after a Conv.

// steep turns a number into a truth: it saturates Relu and Clip. Numbers
// nearer to zero than 1/steep count in part, which is below what a sum of
// float32 in a network resolves.
const steep = 0x1p100

// blockedValues finds the values of a graph that the runtime is likely to keep
// in blocks of channels.
func blockedValues(g *onnx.Graph) map[string]bool {
	in := map[string]bool{}
	if runtime.GOARCH != "amd64" {
		return in
	}
	for _, n := range g.Nodes {
		if n.Domain != "" || len(n.Inputs) == 0 || len(n.Outputs) == 0 {
			continue
		}
		switch n.Op {
		case "Conv":
			in[n.Outputs[0]] = true
		case "Relu", "BatchNormalization", "MaxPool", "AveragePool", "Sigmoid", "Tanh":
			in[n.Outputs[0]] = in[n.Inputs[0]]
		case "Add", "Sum", "Concat":
			in[n.Outputs[0]] = !slices.ContainsFunc(n.Inputs, func(x string) bool { return !in[x] })
		}
	}
	return in
}

// isBlocked reports whether the forms of this file are for x.
func (c *call) isBlocked(x string) bool {
	if !c.blocked[x] || c.elem != onnx.Float || c.rank(x) != 4 {
		return false
	}
	sh, ok := c.look(x)
	return ok && sh.Dims[1] > 0 && sh.Dims[1]%channelBlock == 0
}

// depthwise is a*v + b with a number for each channel, as a convolution that
// looks at one element of one channel. The numbers are the raw data of float32.
func (c *call) depthwise(v string, a, b []byte) string {
	n := int64(len(a) / 4)
	in := []string{v, c.constant(onnx.RawTensor("", onnx.Float, a, n, 1, 1, 1))}
	if b != nil {
		in = append(in, c.constant(onnx.RawTensor("", onnx.Float, b, n)))
	}
	return c.emit("Conv", in, onnx.IntAttr("group", n), onnx.IntsAttr("kernel_shape", 1, 1))
}

// line is a*v + b, where v has the channels of x.
func (c *call) line(v string, a, b float64, x string) string {
	n := int(c.dims(x)[1])
	raw := func(k float64) []byte {
		return floats(slices.Repeat([]float64{k}, n), onnx.Float, []int64{int64(n)}).Raw
	}
	if b == 0 {
		return c.depthwise(v, raw(a), nil)
	}
	return c.depthwise(v, raw(a), raw(b))
}

// positive is 1 where v > 0, else 0.
func (c *call) positive(v string) string {
	return c.like(v, c.apply("Clip", c.line(v, steep, 0, v), c.num(0), c.num(1)))
}

// like declares that v has the shape of x, and returns v. The runtime keeps an
// Add or a Mul in blocks only if it can show that no operand is broadcast.
func (c *call) like(x, v string) string {
	c.declare(x, c.dims(x))
	c.declare(v, c.dims(x))
	return v
}
