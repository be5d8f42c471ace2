package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/grad"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Names that training adds to a graph; the prefix keeps them apart from the
// model's.
const (
	targetName  = "train.target"
	weightsName = "train.weights"
	lossName    = "train.loss"
	rateName    = "train.rate"
)

// plan is a model made ready for training.
type plan struct {
	model   *onnx.Model // at opset 18, simplified, batch free, weights inside
	input   string
	logits  string
	sample  []int64
	classes int
	weights []*onnx.Tensor // the initializers to train, of model
	total   int64          // elements of all weights together
	shapes  onnx.Shapes    // of the graph with free weights and the loss
}

func prepare(ctx context.Context, rt *ort.Runtime, m *onnx.Model, x *tensor.Tensor, y []int, cfg Config) (*plan, error) {
	p := &plan{model: m.Clone()}
	if err := onnx.Upgrade(p.model, 18); err != nil {
		return nil, err
	}
	if err := onnx.Simplify(p.model); err != nil {
		return nil, err
	}
	onnx.FreeBatch(p.model)
	g := p.model.Graph
	if len(g.Inputs) != 1 || len(g.Outputs) == 0 {
		return nil, fmt.Errorf("the model has %d inputs and %d outputs; want one input and at least one output", len(g.Inputs), len(g.Outputs))
	}
	p.input, p.logits = g.Inputs[0].Name, beneathSoftmax(g)
	for _, d := range x.Shape[min(1, len(x.Shape)):] {
		p.sample = append(p.sample, int64(d))
	}
	// The target's width is the logits', which only measuring tells.
	feeds := map[string][]int64{p.input: append([]int64{-1}, p.sample...)}
	shapes, err := rt.Shapes(ctx, p.model, feeds)
	if err != nil {
		return nil, fmt.Errorf("run the model on samples of shape %v: %w", x.Shape[min(1, len(x.Shape)):], err)
	}
	z := shapes[p.logits]
	if z.Elem != onnx.Float || len(z.Dims) != 2 || z.Dims[0] != -1 || z.Dims[1] < 2 {
		return nil, fmt.Errorf("output %q is %v%v; want float32 logits [N, classes]", p.logits, z.Elem, z.Dims)
	}
	p.classes = int(z.Dims[1])
	if err := cfg.check(x, y, p.classes); err != nil {
		return nil, err
	}
	if err := p.chooseWeights(cfg.Weights); err != nil {
		return nil, err
	}
	feeds[targetName], feeds[weightsName] = []int64{-1, z.Dims[1]}, []int64{p.total}
	p.shapes, err = rt.Shapes(ctx, p.withLoss(), feeds)
	return p, err
}

// beneathSoftmax is the value whose softmax the first output is, or the output.
func beneathSoftmax(g *onnx.Graph) string {
	out := g.Outputs[0].Name
	for _, n := range g.Nodes {
		if n.Op == "Softmax" && n.Domain == "" && n.Outputs[0] == out {
			if axis := n.Int("axis", -1); axis == -1 || axis == 1 {
				return n.Inputs[0]
			}
		}
	}
	return out
}

// chooseWeights finds the initializers to train: those named, or every one
// that is learnt.
func (p *plan) chooseWeights(names []string) error {
	g := p.model.Graph
	if names == nil {
		names = learnable(g)
	}
	for _, name := range names {
		t := g.Initializer(name)
		if t == nil || t.Type != onnx.Float {
			return fmt.Errorf("weight %q is not a float32 initializer of the simplified model", name)
		}
		p.weights = append(p.weights, t)
		p.total += t.Len()
	}
	if p.total == 0 {
		return fmt.Errorf("the model has no weights to train")
	}
	return nil
}

// learns says which inputs of an operator are learnt where they are constant:
// all of them, or the ones listed. Operators that only pass a weight on are
// among them. Absent are those whose constants are settings, such as the mean
// and deviation of a normalisation, which are subtracted and divided by.
var learns = map[string][]int{
	"Add": nil, "Concat": nil, "Conv": nil, "ConvTranspose": nil, "Expand": {0}, "Gather": {0}, "Gemm": nil,
	"MatMul": nil, "Mul": nil, "PRelu": nil, "Reshape": {0}, "Transpose": nil, "Unsqueeze": {0},
	"BatchNormalization": {1, 2}, "GroupNormalization": {1, 2}, "InstanceNormalization": {1, 2}, "LayerNormalization": {1, 2},
	"GRU": {1, 2, 3}, "LSTM": {1, 2, 3, 7}, "RNN": {1, 2, 3},
}

// learnable lists the float32 initializers with at least one dimension that
// are used as learns says, and in no other way.
func learnable(g *onnx.Graph) []string {
	learnt, fixed := make(map[string]bool), make(map[string]bool)
	for graph, n := range g.AllNodes {
		inputs, ok := learns[n.Op]
		for i, name := range n.Inputs {
			if ok && n.Domain == "" && graph == g && (inputs == nil || slices.Contains(inputs, i)) {
				learnt[name] = true
			} else {
				fixed[name] = true
			}
		}
	}
	var names []string
	for _, t := range g.Initializers {
		if t.Type == onnx.Float && len(t.Dims) > 0 && t.Len() > 0 && learnt[t.Name] && !fixed[t.Name] {
			names = append(names, t.Name)
		}
	}
	return names
}

// free is a copy of the model whose weights are parts of one vector, an input.
// One vector makes the optimiser's arithmetic a few long operations instead of
// many short ones, whatever the number of layers.
func (p *plan) free() *onnx.Model {
	m := p.model.Clone()
	g := m.Graph
	g.Inputs = append(g.Inputs, floatValue(weightsName, p.total))
	freed := make(map[string]bool)
	b := &builder{graph: &onnx.Graph{}, prefix: "train.part."}
	var parts []string
	var sizes []int64
	for _, w := range p.weights {
		freed[w.Name] = true
		parts, sizes = append(parts, b.fresh()), append(sizes, w.Len())
	}
	split := onnx.NewNode("Split", []string{weightsName, b.ints(sizes...)}, parts, onnx.IntAttr("axis", 0))
	b.graph.Nodes = append(b.graph.Nodes, split)
	for i, w := range p.weights {
		b.node("Reshape", []string{parts[i], b.ints(w.Dims...)}, w.Name)
	}
	g.Nodes = append(b.graph.Nodes, g.Nodes...)
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *onnx.Tensor) bool { return freed[t.Name] })
	g.Initializers = append(g.Initializers, b.graph.Initializers...)
	return m
}

// withLoss is the freed model with the mean cross-entropy against the target.
func (p *plan) withLoss() *onnx.Model {
	m := p.free()
	b := &builder{graph: m.Graph, prefix: "train.loss."}
	logp := b.op("LogSoftmax", p.logits)
	each := b.op("Neg", b.op("ReduceSum", b.op("Mul", logp, targetName), b.ints(1)))
	b.node("ReduceMean", []string{each}, lossName, onnx.IntAttr("keepdims", 0))
	m.Graph.Inputs = append(m.Graph.Inputs, floatValue(targetName, -1, int64(p.classes)))
	m.Graph.Outputs = []*onnx.Value{floatValue(lossName), floatValue(p.logits, -1, int64(p.classes))}
	return m
}

// stepGraph computes the loss, the logits, and the weights and state after one
// step. Its inputs are the samples, the weights, the target, the state, the
// rate and the optimiser's numbers; its outputs the loss, the logits, the
// weights and the state.
func (p *plan) stepGraph(cfg Config) (*onnx.Model, error) {
	m := p.withLoss()
	g := m.Graph
	grads, err := grad.VJP(g, p.shapes, []string{lossName}, []string{""}, []string{weightsName})
	if err != nil {
		return nil, err
	}
	b := &builder{graph: g, prefix: "train.step."}
	var state, scalars []string
	for i := range cfg.Optimiser.slots {
		state = append(state, fmt.Sprintf("train.state%d", i))
		g.Inputs = append(g.Inputs, floatValue(state[i], p.total))
	}
	for i := range cfg.Optimiser.scalars(0) {
		scalars = append(scalars, fmt.Sprintf("train.scalar%d", i))
	}
	for _, s := range append([]string{rateName}, scalars...) {
		g.Inputs = append(g.Inputs, floatValue(s))
	}
	d, next := cfg.Optimiser.direction(b, grads[0], state, scalars)
	if cfg.Decay != 0 {
		d = b.op("Add", d, b.op("Mul", weightsName, b.vector(p.decay(cfg.Decay))))
	}
	weights := b.op("Sub", weightsName, b.op("Mul", d, rateName))
	for _, s := range append([]string{weights}, next...) {
		g.Outputs = append(g.Outputs, floatValue(s, p.total))
	}
	pruneOutputs(g)
	return m, nil
}

// decay is the factor of each element: biases, scales and the like, which have
// one dimension, do not decay.
func (p *plan) decay(factor float64) []float32 {
	v := make([]float32, 0, p.total)
	for _, w := range p.weights {
		f := float32(factor)
		if len(w.Dims) < 2 {
			f = 0
		}
		v = append(v, slices.Repeat([]float32{f}, int(w.Len()))...)
	}
	return v
}

// role is what a session of the network in training computes.
type role int

const (
	forward     role = iota // logits
	crossToward             // and the gradient of the cross-entropy against the target
	marginPast              // and the gradient of the best other logit less that of the target
)

// netGraph computes the logits and perhaps a derivative of each sample's in the
// sample. Its inputs are the samples, the weights, and the target for a
// derivative.
func (p *plan) netGraph(r role) (*onnx.Model, error) {
	m := p.free()
	g := m.Graph
	g.Outputs = []*onnx.Value{floatValue(p.logits, -1, int64(p.classes))}
	if r != forward {
		g.Inputs = append(g.Inputs, floatValue(targetName, -1, int64(p.classes)))
		b := &builder{graph: g, prefix: "train.seed."}
		seed := b.crossSeed(p.logits)
		if r == marginPast {
			seed = b.marginSeed(p.logits, p.classes)
		}
		d, err := grad.VJP(g, p.shapes, []string{p.logits}, []string{seed}, []string{p.input})
		if err != nil {
			return nil, err
		}
		g.Outputs = append(g.Outputs, floatValue(d[0], append([]int64{-1}, p.sample...)...))
	}
	pruneOutputs(g)
	return m, nil
}

// crossSeed is the derivative of -sum t log softmax(z) in z, where t sums to
// one: softmax(z) - t.
func (b *builder) crossSeed(logits string) string {
	return b.op("Sub", b.op("Softmax", logits), targetName)
}

// marginSeed is the derivative of the largest logit but the target's, less the
// target's: one where that logit is, less the target.
func (b *builder) marginSeed(logits string, classes int) string {
	others := b.op("Sub", logits, b.op("Mul", targetName, b.scalar(1e30)))
	best := b.fresh()
	b.node("ArgMax", []string{others}, best, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 0))
	rival := b.op("OneHot", best, b.ints(int64(classes)), b.vector([]float32{0, 1}))
	return b.op("Sub", rival, targetName)
}

func pruneOutputs(g *onnx.Graph) {
	var names []string
	for _, v := range g.Outputs {
		names = append(names, v.Name)
	}
	onnx.Prune(g, names)
}

// floatValue declares a float32 value; -1 is the batch.
func floatValue(name string, dims ...int64) *onnx.Value {
	t := &onnx.TensorType{Elem: onnx.Float, HasShape: true}
	for _, d := range dims {
		dim := onnx.Dim{Size: d}
		if d < 0 {
			dim.Symbol = "batch"
		}
		t.Dims = append(t.Dims, dim)
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: t}}
}

// builder appends nodes to a graph.
type builder struct {
	graph  *onnx.Graph
	prefix string // of the names it makes
	n      int
}

func (b *builder) fresh() string {
	b.n++
	return fmt.Sprintf("%s%d", b.prefix, b.n)
}

// op adds a node and returns its output's name.
func (b *builder) op(op string, in ...string) string {
	out := b.fresh()
	b.node(op, in, out)
	return out
}

func (b *builder) node(op string, in []string, out string, attrs ...*onnx.Attr) {
	b.graph.Nodes = append(b.graph.Nodes, onnx.NewNode(op, in, []string{out}, attrs...))
}

func (b *builder) scalar(v float64) string {
	t := onnx.FloatTensor(b.fresh(), []float32{float32(v)})
	b.graph.Initializers = append(b.graph.Initializers, t)
	return t.Name
}

func (b *builder) vector(v []float32) string {
	t := onnx.FloatTensor(b.fresh(), v, int64(len(v)))
	b.graph.Initializers = append(b.graph.Initializers, t)
	return t.Name
}

func (b *builder) ints(v ...int64) string {
	t := onnx.IntTensor(b.fresh(), v, int64(len(v)))
	b.graph.Initializers = append(b.graph.Initializers, t)
	return t.Name
}
