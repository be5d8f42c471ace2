package grad

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// The ratio of InputGradient, which includes the forward pass, to Forward is
// what an attack's step costs. On two quiet cores it should be at most 2.1 for
// the MLP, 4.0 for the small CNN and 2.3 for ResNet-18:
//
//	go test -run '^$' -bench . ./ml/grad

func BenchmarkForward(b *testing.B) {
	for _, net := range networks {
		b.Run(net.name, func(b *testing.B) {
			m := net.build()
			benchmark(b, m, net.input, map[string][]int64{"y": {net.input[0], 10}})
		})
	}
}

func BenchmarkInputGradient(b *testing.B) {
	rt := orttest.Runtime(b)
	for _, net := range networks {
		b.Run(net.name, func(b *testing.B) {
			m := net.build()
			shapes, err := rt.Shapes(context.Background(), m, map[string][]int64{"x": append([]int64{-1}, net.input[1:]...)})
			if err != nil {
				b.Fatal(err)
			}
			names, err := VJP(m.Graph, shapes, []string{"y"}, []string{""}, []string{"x"})
			if err != nil {
				b.Fatal(err)
			}
			m.Graph.Outputs = append(m.Graph.Outputs, &onnx.Value{Name: names[0]})
			onnx.Prune(m.Graph, []string{"y", names[0]})
			benchmark(b, m, net.input, map[string][]int64{"y": {net.input[0], 10}, names[0]: net.input})
		})
	}
}

// benchmark runs a model on two threads, which wait busily.
func benchmark(b *testing.B, m *onnx.Model, input []int64, outputs map[string][]int64) {
	rt := orttest.Runtime(b)
	s, err := rt.NewSession(m, ort.Options{Threads: 2, Spin: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	x, err := rt.NewArray(onnx.Float, input...)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x.Float32() {
		x.Float32()[i] = r.Float32()
	}
	var out []*ort.Array
	for _, name := range s.Outputs() {
		a, err := rt.NewArray(onnx.Float, outputs[name]...)
		if err != nil {
			b.Fatal(err)
		}
		defer a.Close()
		out = append(out, a)
	}
	ctx := context.Background()
	for b.Loop() {
		if err := s.Run(ctx, []*ort.Array{x}, out); err != nil {
			b.Fatal(err)
		}
	}
}

// networks are built here with random weights, which cost what trained ones
// do.
var networks = []struct {
	name  string
	input []int64
	build func() *onnx.Model
}{
	{"net=mlp/batch=128", []int64{128, 784}, buildMLP},
	{"net=cnn/batch=128", []int64{128, 1, 28, 28}, buildCNN},
	{"net=resnet18/batch=32", []int64{32, 3, 32, 32}, buildResNet18},
}

// builder puts layers after one another.
type builder struct {
	g *onnx.Graph
	r *rand.Rand
	n int
}

func newBuilder() *builder {
	return &builder{g: &onnx.Graph{Name: "net"}, r: rand.New(rand.NewPCG(1, 1))}
}

func (b *builder) name(what string) string {
	b.n++
	return what + strconv.Itoa(b.n)
}

// weights draws normals of variance 2/fan, as He et al. 2015 initialise.
func (b *builder) weights(fan int64, dims ...int64) string {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.r.NormFloat64() * math.Sqrt(2/float64(fan)))
	}
	t := onnx.FloatTensor(b.name("w"), v, dims...)
	b.g.Initializers = append(b.g.Initializers, t)
	return t.Name
}

func (b *builder) constant(v float32, n int64) string {
	data := make([]float32, n)
	for i := range data {
		data[i] = v
	}
	t := onnx.FloatTensor(b.name("c"), data, n)
	b.g.Initializers = append(b.g.Initializers, t)
	return t.Name
}

func (b *builder) op(op string, in []string, attrs ...*onnx.Attr) string {
	out := b.name(op)
	b.g.Nodes = append(b.g.Nodes, onnx.NewNode(op, in, []string{out}, attrs...))
	return out
}

func (b *builder) relu(x string) string { return b.op("Relu", []string{x}) }

func (b *builder) dense(x string, from, to int64) string {
	return b.op("Gemm", []string{x, b.weights(from, to, from), b.constant(0.1, to)}, onnx.IntAttr("transB", 1))
}

func (b *builder) conv(x string, from, to, kernel, stride, pad int64) string {
	w := b.weights(from*kernel*kernel, to, from, kernel, kernel)
	return b.op("Conv", []string{x, w, b.constant(0.1, to)},
		onnx.IntsAttr("kernel_shape", kernel, kernel), onnx.IntsAttr("strides", stride, stride), onnx.IntsAttr("pads", pad, pad, pad, pad))
}

func (b *builder) batchNorm(x string, n int64) string {
	return b.op("BatchNormalization", []string{x, b.constant(0.9, n), b.constant(0.1, n), b.constant(0.05, n), b.constant(1.1, n)})
}

// model names the result y and declares the input.
func (b *builder) model(result string, input ...int64) *onnx.Model {
	b.g.Nodes = append(b.g.Nodes, onnx.NewNode("Identity", []string{result}, []string{"y"}))
	b.g.Inputs = []*onnx.Value{declare("x", onnx.Float, append([]int64{-1}, input...))}
	b.g.Outputs = []*onnx.Value{{Name: "y"}}
	return &onnx.Model{IRVersion: 10, Graph: b.g, Opsets: []onnx.Opset{{Version: 18}}}
}

func buildMLP() *onnx.Model {
	b := newBuilder()
	x := b.relu(b.dense("x", 784, 256))
	x = b.relu(b.dense(x, 256, 128))
	return b.model(b.dense(x, 128, 10), 784)
}

// buildCNN is two convolutions, each with a pooling, and two dense layers.
func buildCNN() *onnx.Model {
	b := newBuilder()
	pool := func(x string) string {
		return b.op("MaxPool", []string{x}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
	}
	x := pool(b.relu(b.conv("x", 1, 16, 5, 1, 2)))
	x = pool(b.relu(b.conv(x, 16, 32, 5, 1, 2)))
	x = b.op("Flatten", []string{x})
	x = b.relu(b.dense(x, 32*7*7, 128))
	return b.model(b.dense(x, 128, 10), 1, 28, 28)
}

// buildResNet18 is the form for 32x32 images: a 3x3 stem without pooling.
func buildResNet18() *onnx.Model {
	b := newBuilder()
	layer := func(x string, from, to, kernel, stride, pad int64) string {
		return b.batchNorm(b.conv(x, from, to, kernel, stride, pad), to)
	}
	x := b.relu(layer("x", 3, 64, 3, 1, 1))
	from := int64(64)
	for _, to := range []int64{64, 128, 256, 512} {
		for block := range 2 {
			stride, short := int64(1), x
			if block == 0 && from != to {
				stride = 2
				short = layer(x, from, to, 1, 2, 0)
			}
			x = b.relu(layer(x, from, to, 3, stride, 1))
			x = b.relu(b.op("Add", []string{layer(x, to, to, 3, 1, 1), short}))
			from = to
		}
	}
	x = b.op("Flatten", []string{b.op("GlobalAveragePool", []string{x})})
	return b.model(b.dense(x, 512, 10), 3, 32, 32)
}
