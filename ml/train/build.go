package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// MLP makes a network of fully connected layers with ReLU between them: for
// samples of the given shape, one hidden layer for each entry of hidden, and
// one output a class. Input "x" is [N, sample...], output "logits" is
// [N, classes]. Weights are drawn from the seed as He et al. 2015 say: normal
// with variance 2 over the number of inputs; biases are zero.
func MLP(sample, hidden []int, classes int, seed uint64) (*onnx.Model, error) {
	if err := positive(sample, hidden, []int{len(sample), classes}); err != nil {
		return nil, fmt.Errorf("make an MLP: %w", err)
	}
	b := newNetwork(sample, seed)
	b.flatten()
	for _, width := range hidden {
		b.dense(width)
		b.relu()
	}
	b.dense(classes)
	return b.model(classes), nil
}

// CNN makes a small convolutional network for images of the given channels,
// height and width: for each entry of channels a 3x3 convolution, ReLU and 2x2
// max-pooling, then one hidden layer and one output a class. Height and width
// must be divisible by two as often as there are entries. Input, output and
// weights are as in [MLP].
func CNN(image [3]int, channels []int, hidden, classes int, seed uint64) (*onnx.Model, error) {
	if err := positive(image[:], channels, []int{hidden, classes}); err != nil {
		return nil, fmt.Errorf("make a CNN: %w", err)
	}
	if s := 1 << len(channels); len(channels) > 16 || image[1]%s != 0 || image[2]%s != 0 {
		return nil, fmt.Errorf("make a CNN: images of %dx%d cannot be halved %d times; use fewer layers or pad them", image[1], image[2], len(channels))
	}
	b := newNetwork(image[:], seed)
	for _, c := range channels {
		b.conv(c)
		b.relu()
		b.pool()
	}
	b.flatten()
	b.dense(hidden)
	b.relu()
	b.dense(classes)
	return b.model(classes), nil
}

func positive(lists ...[]int) error {
	for _, v := range slices.Concat(lists...) {
		if v < 1 || v > 1<<24 {
			return fmt.Errorf("size %d; want a positive number", v)
		}
	}
	return nil
}

// network is a graph under construction, from x on.
type network struct {
	builder
	rng   *rand.Rand
	in    []int64
	at    string  // the last value
	shape []int64 // its shape, without the batch
	layer int
}

func newNetwork(sample []int, seed uint64) *network {
	n := &network{builder: builder{graph: &onnx.Graph{Name: "network"}, prefix: "h"}, rng: rand.New(rand.NewPCG(seed, 0)), at: "x"}
	for _, d := range sample {
		n.in = append(n.in, int64(d))
	}
	n.shape = n.in
	return n
}

// he draws a weight whose elements have variance 2/fanIn.
func (n *network) he(name string, fanIn int64, dims ...int64) string {
	scale := math.Sqrt(2 / float64(fanIn))
	v := make([]float32, product(dims))
	for i := range v {
		v[i] = float32(n.rng.NormFloat64() * scale)
	}
	n.graph.Initializers = append(n.graph.Initializers, onnx.FloatTensor(name, v, dims...))
	return name
}

func (n *network) zeros(name string, dim int64) string {
	n.graph.Initializers = append(n.graph.Initializers, onnx.FloatTensor(name, make([]float32, dim), dim))
	return name
}

func product(dims []int64) int64 {
	p := int64(1)
	for _, d := range dims {
		p *= d
	}
	return p
}

func (n *network) flatten() {
	if len(n.shape) > 1 {
		n.at = n.op("Flatten", n.at)
		n.shape = []int64{product(n.shape)}
	}
}

func (n *network) relu() { n.at = n.op("Relu", n.at) }

func (n *network) dense(width int) {
	n.layer++
	in, out := n.shape[0], int64(width)
	w := n.he(fmt.Sprintf("w%d", n.layer), in, in, out)
	n.at = n.op("Gemm", n.at, w, n.zeros(fmt.Sprintf("b%d", n.layer), out))
	n.shape = []int64{out}
}

func (n *network) conv(channels int) {
	n.layer++
	in, out := n.shape[0], int64(channels)
	w := n.he(fmt.Sprintf("w%d", n.layer), in*9, out, in, 3, 3)
	bias, to := n.zeros(fmt.Sprintf("b%d", n.layer), out), n.fresh()
	n.node("Conv", []string{n.at, w, bias}, to, onnx.IntsAttr("kernel_shape", 3, 3), onnx.IntsAttr("pads", 1, 1, 1, 1))
	n.at, n.shape = to, []int64{out, n.shape[1], n.shape[2]}
}

func (n *network) pool() {
	to := n.fresh()
	n.node("MaxPool", []string{n.at}, to, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
	n.at, n.shape = to, []int64{n.shape[0], n.shape[1] / 2, n.shape[2] / 2}
}

func (n *network) model(classes int) *onnx.Model {
	last := n.graph.Nodes[len(n.graph.Nodes)-1]
	last.Outputs[0] = "logits"
	n.graph.Inputs = []*onnx.Value{floatValue("x", append([]int64{-1}, n.in...)...)}
	n.graph.Outputs = []*onnx.Value{floatValue("logits", -1, int64(classes))}
	return &onnx.Model{IRVersion: 8, ProducerName: "redoubt", Opsets: []onnx.Opset{{Version: 18}}, Graph: n.graph}
}
