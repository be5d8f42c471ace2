package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Config says how to read a model. The zero value suits a classifier with one
// input and one output.
type Config struct {
	Input  string // name of the only input; "" means whatever it is called, or all of them
	Output string // output to read; "" means the first of floats
	// Sample is the shape of one sample, needed where the file leaves a
	// dimension other than the batch open; nil otherwise.
	Sample []int
	// Columns names the column of a table that each element of a sample comes
	// from, nil where the data names none. A model with several inputs, each some
	// columns of a table, is read as one that takes whole rows: inputs called like
	// columns take these, in whatever order; inputs of which none is take them in
	// the order of both.
	Columns []string
	// Mean and Std normalise inputs inside the model: one number, or one a
	// channel. Nil means the model takes inputs as they come.
	Mean, Std []float64
	// Layout says which dimension of an image holds the channels: "nchw" (or
	// "") or "nhwc". It matters to Mean and Std only.
	Layout string
	// Raw reads the outputs exactly as they are: no softmax or sigmoid is
	// looked beneath, no single output becomes two classes.
	Raw bool
	// Threads is how many threads one call may use; 0 means 1. Spin lets them
	// wait busily.
	Threads int
	Spin    bool
}

// Names inside prepared graphs. The prefix keeps them apart from the file's.
const (
	inputName  = "redoubt.x"
	logitsName = "redoubt.logits"
)

// prepared is a model rewritten to map redoubt.x, float32 [N, sample...], to
// redoubt.logits, float32 [N, K].
type prepared struct {
	model       *onnx.Model
	sample      []int64
	parts       [][]int64 // the elements that each of several inputs takes; nil where there is one
	whole       []bool    // the elements that the file takes as integers; nil if none
	integer     bool      // all are
	probability string    // operator looked beneath: "Softmax", "Sigmoid" or ""
}

// prepare rewrites a copy of the file's model, for batches of any size if
// batch is set.
func prepare(file *onnx.Model, cfg Config, batch bool) (*prepared, error) {
	m := file.Clone()
	if err := onnx.Upgrade(m, 18); err != nil {
		return nil, err
	}
	if err := onnx.Simplify(m); err != nil {
		return nil, err
	}
	if batch {
		onnx.FreeBatch(m)
	}
	p := &prepared{model: m}
	if err := p.takeInput(cfg); err != nil {
		return nil, err
	}
	logits, err := p.findOutput(cfg)
	if err != nil {
		return nil, err
	}
	m.Graph.Outputs = []*onnx.Value{{Name: logits}}
	m.Graph.Values = nil // their shapes name the old batch
	onnx.Prune(m.Graph, []string{logits})
	return p, nil
}

// takeInput finds the input, reads the sample's shape and replaces the input
// by one of floats with a free batch, normalised and cast to what the graph
// wants.
func (p *prepared) takeInput(cfg Config) error {
	g := p.model.Graph
	if feeds := g.Feeds(); len(feeds) > 1 && cfg.Input == "" {
		return p.takeColumns(cfg, feeds)
	}
	in, err := chooseInput(g.Feeds(), cfg.Input)
	if err != nil {
		return err
	}
	if p.sample, err = sampleShape(in, cfg.Sample); err != nil {
		return err
	}
	front, x, err := normalise(cfg, len(p.sample))
	if err != nil {
		return err
	}
	if p.integer = !in.Type.Tensor.Elem.IsFloat(); p.integer {
		p.whole = slices.Repeat([]bool{true}, tensorLen(p.sample))
	}
	front.enter(x, in)
	p.begin(front)
	return nil
}

// begin puts nodes that lead from redoubt.x to what was the input before the graph.
func (p *prepared) begin(front piece) {
	g := p.model.Graph
	g.Nodes, g.Initializers = append(front.nodes, g.Nodes...), append(g.Initializers, front.weights...)
	g.Inputs = []*onnx.Value{floats(inputName, append([]int64{-1}, p.sample...))}
}

// enter leads x to an input of the file, rounded for one of whole numbers.
func (p *piece) enter(x string, in *onnx.Value) {
	elem := in.Type.Tensor.Elem
	if !elem.IsFloat() {
		x = p.node("Round", []string{x}, "redoubt."+in.Name+".round")
	}
	if elem == onnx.Float {
		p.node("Identity", []string{x}, in.Name)
	} else {
		p.node("Cast", []string{x}, in.Name, onnx.IntAttr("to", int64(elem)))
	}
}

func chooseInput(feeds []*onnx.Value, want string) (*onnx.Value, error) {
	names := make([]string, len(feeds))
	for i, v := range feeds {
		names[i] = v.Name
	}
	for _, v := range feeds {
		if v.Name != want && want != "" {
			continue
		}
		if err := perturbable(v); err != nil {
			return nil, err
		}
		if len(feeds) > 1 {
			return nil, fmt.Errorf("the model has %d inputs (%s), and samples would fill one: name none, if they are columns of a table, "+
				"or export the model with the others as constants of the graph", len(names), strings.Join(names, ", "))
		}
		return v, nil
	}
	if want == "" {
		return nil, errors.New("the model has no input")
	}
	return nil, fmt.Errorf("the model has no input %q, only %s", want, strings.Join(names, ", "))
}

// perturbable refuses inputs that are no batches of numbers.
func perturbable(v *onnx.Value) error {
	if v.Type == nil || v.Type.Tensor == nil || !v.Type.Tensor.HasShape || len(v.Type.Tensor.Dims) == 0 {
		return fmt.Errorf("input %q is not a tensor with a batch dimension", v.Name)
	}
	if e := v.Type.Tensor.Elem; e == onnx.String || e.Bits() < 8 {
		return fmt.Errorf("input %q holds %v, which cannot be perturbed as numbers", v.Name, e)
	}
	return nil
}

// sampleShape is the declared shape without the batch; given fills what the
// file leaves open.
func sampleShape(in *onnx.Value, given []int) ([]int64, error) {
	dims := in.Type.Tensor.Dims[1:]
	sample := make([]int64, len(dims))
	for i, d := range dims {
		switch {
		case d.Fixed():
			sample[i] = d.Size
		case len(given) == len(dims):
			sample[i] = int64(given[i])
		default:
			return nil, fmt.Errorf("input %q has an open dimension %s, and the data's samples of shape %v do not fill it",
				in.Name, d, given)
		}
	}
	return sample, nil
}

func floats(name string, dims []int64) *onnx.Value {
	t := &onnx.TensorType{Elem: onnx.Float, HasShape: true}
	for i, d := range dims {
		dim := onnx.Dim{Size: d}
		if d < 0 && i == 0 {
			dim.Symbol = "N"
		}
		t.Dims = append(t.Dims, dim)
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: t, Kind: "tensor"}}
}

// piece is nodes and weights to be put into a graph.
type piece struct {
	nodes   []*onnx.Node
	weights []*onnx.Tensor
}

func (p *piece) node(op string, in []string, out string, attrs ...*onnx.Attr) string {
	p.nodes = append(p.nodes, onnx.NewNode(op, in, []string{out}, attrs...))
	return out
}

func (p *piece) weight(t *onnx.Tensor) string {
	p.weights = append(p.weights, t)
	return t.Name
}

// normalise is (x - mean) / std, and the name of its result.
func normalise(cfg Config, rank int) (piece, string, error) {
	var p piece
	x := inputName
	for _, part := range []struct {
		op, name string
		v        []float64
	}{{"Sub", "mean", cfg.Mean}, {"Div", "std", cfg.Std}} {
		if part.v == nil {
			continue
		}
		data := make([]float32, len(part.v))
		for i, v := range part.v {
			data[i] = float32(v)
			if part.op == "Div" && !(v > 0) {
				return p, "", fmt.Errorf("std holds %v: every value must be positive", v)
			}
		}
		dims := []int64{int64(len(data))}
		if len(data) > 1 {
			if rank == 0 {
				return p, "", errors.New("mean and std a channel need samples with a channel dimension")
			}
			dims = slices.Repeat([]int64{1}, rank)
			channel := 0
			if cfg.Layout == "nhwc" {
				channel = rank - 1
			}
			dims[channel] = int64(len(data))
		}
		w := p.weight(onnx.FloatTensor("redoubt."+part.name, data, dims...))
		x = p.node(part.op, []string{x, w}, "redoubt.after."+part.name)
	}
	return p, x, nil
}

// findOutput names the logits: the chosen output, or what lies beneath its
// final softmax or sigmoid.
func (p *prepared) findOutput(cfg Config) (string, error) {
	g := p.model.Graph
	producer := map[string]*onnx.Node{}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			producer[o] = n
		}
	}
	out, err := chooseOutput(g.Outputs, producer, cfg.Output)
	if err != nil || cfg.Raw {
		return out, err
	}
	// Look through what only renames.
	beneath := out
	for n := producer[beneath]; n != nil && (n.Op == "Identity" || n.Op == "Flatten"); n = producer[beneath] {
		beneath = n.Inputs[0]
	}
	if n := producer[beneath]; n != nil && n.Domain == "" && (n.Op == "Softmax" || n.Op == "Sigmoid") {
		p.probability = n.Op
		return n.Inputs[0], nil
	}
	return out, nil
}

// chooseOutput takes the wanted output, or the first that holds floats. A
// sequence of maps, as scikit-learn exports make with ZipMap, is read before
// it is zipped.
func chooseOutput(outputs []*onnx.Value, producer map[string]*onnx.Node, want string) (string, error) {
	var names []string
	for _, v := range outputs {
		names = append(names, v.Name)
		if want != "" && v.Name != want {
			continue
		}
		if n := producer[v.Name]; n != nil && n.Op == "ZipMap" {
			return n.Inputs[0], nil
		}
		if v.Type == nil || v.Type.Tensor == nil || v.Type.Tensor.Elem.IsFloat() {
			return v.Name, nil
		}
		if want != "" {
			return "", fmt.Errorf("output %q holds %v, attacks read scores", want, v.Type.Tensor.Elem)
		}
	}
	if want != "" {
		return "", fmt.Errorf("the model has no output %q, only %s", want, strings.Join(names, ", "))
	}
	return "", fmt.Errorf("none of the model's outputs (%s) holds scores", strings.Join(names, ", "))
}

// finish turns the output of measured shape into logits [N, K]: flattened,
// float32, two classes where there was one score.
func (p *prepared) finish(shape onnx.Shape, cfg Config, probabilities bool) (classes int, err error) {
	out := p.model.Graph.Outputs[0].Name
	classes = 1
	for _, d := range shape.Dims[min(1, len(shape.Dims)):] {
		if d < 0 {
			return 0, fmt.Errorf("output %q has shape %v: its length changes with the batch", out, shape.Dims)
		}
		classes *= int(d)
	}
	var tail piece
	x := out
	if shape.Elem != onnx.Float {
		x = tail.node("Cast", []string{x}, "redoubt.float", onnx.IntAttr("to", int64(onnx.Float)))
	}
	if len(shape.Dims) != 2 {
		x = tail.node("Reshape", []string{x, tail.weight(onnx.IntTensor("redoubt.rows", []int64{-1, int64(classes)}, 2))}, "redoubt.flat")
	}
	if probabilities && !cfg.Raw {
		x = p.logOf(&tail, x, classes)
	}
	if classes == 1 && !cfg.Raw {
		zero := tail.node("Mul", []string{x, tail.weight(onnx.FloatTensor("redoubt.zero", []float32{0}))}, "redoubt.negative")
		x = tail.node("Concat", []string{zero, x}, "redoubt.pair", onnx.IntAttr("axis", 1))
		classes = 2
	}
	tail.node("Identity", []string{x}, logitsName)
	g := p.model.Graph
	g.Nodes, g.Initializers = append(g.Nodes, tail.nodes...), append(g.Initializers, tail.weights...)
	g.Outputs = []*onnx.Value{floats(logitsName, []int64{-1, int64(classes)})}
	return classes, nil
}

// logOf turns probabilities, whose softmax could not be looked beneath, into
// log-probabilities; of a single probability it makes the log-odds. The floor
// keeps the logarithm finite.
func (p *prepared) logOf(tail *piece, x string, classes int) string {
	floor := tail.weight(onnx.FloatTensor("redoubt.floor", []float32{leastProbability}))
	log := func(x, name string) string {
		return tail.node("Log", []string{tail.node("Max", []string{x, floor}, name+".floored")}, name)
	}
	y := log(x, "redoubt.log")
	if classes == 1 {
		one := tail.weight(onnx.FloatTensor("redoubt.one", []float32{1}))
		rest := log(tail.node("Sub", []string{one, x}, "redoubt.rest"), "redoubt.logrest")
		y = tail.node("Sub", []string{y, rest}, "redoubt.odds")
	}
	return y
}
