package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/redoubt-ml/redoubt/ml/grad"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Local is a model file run on this machine. It implements [Gradients] and
// [Buffered]; whether gradients can be had is what Access tells. It is for one
// goroutine at a time; [Local.Fork] makes another that shares its sessions.
type Local struct {
	*shared
	arrays map[string]*ort.Array
	rows   int // capacity of the arrays
	in     *tensor.Tensor
}

// shared is what forks have in common. It is immutable but for the sessions,
// which are made when first asked for.
type shared struct {
	rt      *ort.Runtime
	file    *onnx.Model
	cfg     Config
	prep    *prepared
	shapes  onnx.Shapes
	classes int
	batch   bool // many samples a run; otherwise one
	// noGradient says why gradients cannot be had, nil if they can.
	noGradient error

	mu       sync.Mutex
	sessions map[variant]*ort.Session
}

// variant tells sessions apart: the forward pass, or an objective's gradient.
type variant struct {
	gradient bool
	loss     Loss
	targeted bool
	straight bool
}

// Open reads a model file and prepares it.
func Open(ctx context.Context, rt *ort.Runtime, path string, cfg Config) (*Local, error) {
	m, err := onnx.Read(path, onnx.DefaultLimits)
	if err != nil {
		return nil, err
	}
	l, err := New(ctx, rt, m, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// New prepares a model that was read already. A model exported for one sample
// at a time is run on whole batches if that gives the same answers, and sample
// by sample otherwise. One of float16 or float64 that the runtime lacks kernels
// for is run in float32; gradients are always computed in float32.
func New(ctx context.Context, rt *ort.Runtime, file *onnx.Model, cfg Config) (*Local, error) {
	s, err := prepareAny(ctx, rt, file, cfg)
	if err != nil && ctx.Err() == nil {
		if single := file.Clone(); onnx.Single(single) {
			if again, refused := prepareAny(ctx, rt, single, cfg); refused == nil {
				again.file = file
				s, err = again, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.contradiction(ctx); err != nil {
		s.close()
		return nil, err
	}
	s.checkGradient()
	return &Local{shared: s}, nil
}

// prepareAny prepares for batches, or else for single samples.
func prepareAny(ctx context.Context, rt *ort.Runtime, file *onnx.Model, cfg Config) (*shared, error) {
	if s, err := prepareBatched(ctx, rt, file, cfg); err == nil {
		return s, nil
	}
	return prepareShared(ctx, rt, file, cfg, false)
}

var errBatch = errors.New("answers change with the batch")

func prepareBatched(ctx context.Context, rt *ort.Runtime, file *onnx.Model, cfg Config) (*shared, error) {
	s, err := prepareShared(ctx, rt, file, cfg, true)
	if err != nil {
		return nil, err
	}
	same, err := s.independent(ctx)
	if err == nil && !same {
		err = errBatch
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func prepareShared(ctx context.Context, rt *ort.Runtime, file *onnx.Model, cfg Config, batch bool) (*shared, error) {
	p, err := prepare(file, cfg, batch)
	if err != nil {
		return nil, err
	}
	n := int64(1)
	if batch {
		n = -1
	}
	feeds := map[string][]int64{inputName: append([]int64{n}, p.sample...)}
	shapes, err := rt.Shapes(ctx, p.model, feeds)
	if err != nil {
		return nil, err
	}
	out, ok := shapes[p.model.Graph.Outputs[0].Name]
	if !ok {
		return nil, fmt.Errorf("output %q is not a tensor", p.model.Graph.Outputs[0].Name)
	}
	if batch && (len(out.Dims) == 0 || out.Dims[0] != -1) {
		return nil, errBatch
	}
	probabilities := false
	if p.probability == "" && !cfg.Raw {
		if probabilities, err = looksLikeProbabilities(ctx, rt, p); err != nil {
			return nil, err
		}
	}
	s := &shared{rt: rt, file: file, cfg: cfg, prep: p, batch: batch, sessions: map[variant]*ort.Session{}}
	if s.classes, err = p.finish(out, cfg, probabilities); err != nil {
		return nil, err
	}
	if probabilities {
		p.probability = "probabilities"
	}
	s.shapes, err = rt.Shapes(ctx, p.model, feeds)
	return s, err
}

// looksLikeProbabilities runs the model on noise and reports whether its rows
// lie in [0, 1] and sum to one, or, for a single score, lie in [0, 1].
func looksLikeProbabilities(ctx context.Context, rt *ort.Runtime, p *prepared) (bool, error) {
	s, err := rt.NewSession(p.model, ort.Options{})
	if err != nil {
		return false, err
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3 {
		in := onnx.FloatTensor(inputName, uniform(rng, tensorLen(p.sample)), append([]int64{1}, p.sample...)...)
		out, err := s.RunTensors(ctx, map[string]*onnx.Tensor{inputName: in})
		if err != nil {
			return false, err
		}
		for _, t := range out {
			if t.Type != onnx.Float || !sumsToOne(t.Floats(), 1e-4) {
				return false, nil
			}
		}
	}
	return true, nil
}

func tensorLen(dims []int64) int {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	return n
}

func uniform(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = rng.Float32()
	}
	return v
}

// independent runs three samples together and apart, and reports whether the
// answers agree.
func (s *shared) independent(ctx context.Context) (bool, error) {
	l := &Local{shared: s}
	defer l.free()
	x := tensor.New(append([]int{3}, l.Sample()...)...)
	copy(x.Data, uniform(rand.New(rand.NewPCG(2, 2)), len(x.Data)))
	z, err := l.Scores(ctx, x)
	if err != nil {
		return false, err
	}
	together := z.Clone()
	for i := range 3 {
		z, err := l.Scores(ctx, x.Slice(i, i+1))
		if err != nil {
			return false, err
		}
		for j, v := range z.Row(0) {
			// Kernels for one row round differently from those for three, and
			// noise may be an input on which a model amplifies that.
			if d := math.Abs(float64(v - together.Row(i)[j])); d > 1e-2*(1+math.Abs(float64(v))) {
				return false, nil
			}
		}
	}
	return true, nil
}

// Sample is the shape of one sample.
func (s *shared) Sample() []int {
	shape := make([]int, len(s.prep.sample))
	for i, d := range s.prep.sample {
		shape[i] = int(d)
	}
	return shape
}

// Runtime is the library that the model runs in.
func (s *shared) Runtime() *ort.Runtime { return s.rt }

// Classes is the number of logits.
func (s *shared) Classes() int { return s.classes }

// File is the model as it was read.
func (s *shared) File() *onnx.Model { return s.file }

// Prepared is the model that [Local.Scores] runs: float32 samples in, logits
// out, with the normalisation inside and a final softmax left out. It is a copy.
func (s *shared) Prepared() *onnx.Model { return s.prep.model.Clone() }

// Probability names what was looked beneath to find the logits: "Softmax",
// "Sigmoid", "probabilities" where only a logarithm could undo it, or "".
func (s *shared) Probability() string { return s.prep.probability }

// Batched reports whether one run takes many samples.
func (s *shared) Batched() bool { return s.batch }

// Integer reports whether all that the file takes are integers; samples are rounded
// on their way in.
func (s *shared) Integer() bool { return s.prep.integer }

// Whole marks the elements of a sample that the file takes as integers, nil if there
// are none.
func (s *shared) Whole() []bool { return slices.Clone(s.prep.whole) }

// Access is WhiteBox, or ScoresOnly with the reason why gradients cannot be
// had.
func (s *shared) Access() (Access, error) {
	if s.noGradient != nil {
		return ScoresOnly, s.noGradient
	}
	return WhiteBox, nil
}

// Discrete names the operators on the way from the input to the logits that let
// no gradient through, and that gradients straight through pass.
func (s *shared) Discrete() []string {
	var ops []string
	for _, n := range grad.Discrete(s.prep.model.Graph, []string{logitsName}, []string{inputName}) {
		if !slices.Contains(ops, n.Op) {
			ops = append(ops, n.Op)
		}
	}
	return ops
}

func (s *shared) checkGradient() {
	if s.prep.integer {
		s.noGradient = errors.New("the input holds integers, along which there is no gradient: use attacks that need scores or labels only")
		return
	}
	_, s.noGradient = s.differentiated(variant{loss: Margin})
}

// differentiated is the graph that computes logits and the gradient of an
// objective, in float32.
func (s *shared) differentiated(v variant) (*onnx.Model, error) {
	m, shapes := s.prep.model.Clone(), s.shapes
	g := m.Graph
	if onnx.Single(m) {
		shapes = maps.Clone(shapes)
		for name, sh := range shapes {
			if sh.Elem.IsFloat() {
				sh.Elem = onnx.Float
				shapes[name] = sh
			}
		}
	}
	seed := cotangent(g, v.loss, v.targeted, s.classes)
	differentiate := grad.VJP
	if v.straight {
		differentiate = grad.StraightThrough
	}
	d, err := differentiate(g, shapes, []string{logitsName}, []string{seed}, []string{inputName})
	if err != nil {
		return nil, err
	}
	g.Outputs = append(g.Outputs, floats(d[0], append([]int64{-1}, s.prep.sample...)))
	onnx.Prune(g, []string{logitsName, d[0]})
	return m, nil
}

// session makes or finds a session.
func (s *shared) session(v variant) (*ort.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses, ok := s.sessions[v]; ok {
		return ses, nil
	}
	m := s.prep.model
	if v.gradient {
		var err error
		if m, err = s.differentiated(v); err != nil {
			return nil, err
		}
	}
	ses, err := s.rt.NewSession(m, ort.Options{Threads: s.cfg.Threads, Spin: s.cfg.Spin})
	if err != nil {
		return nil, err
	}
	s.sessions[v] = ses
	return ses, nil
}

func (s *shared) close() {
	for _, ses := range s.sessions {
		ses.Close()
	}
	clear(s.sessions)
}

// Fork is another view of the model for another goroutine. It shares the
// sessions and has memory of its own; it is freed by Free, not Close.
func (l *Local) Fork() *Local { return &Local{shared: l.shared} }

// Free frees a fork's memory.
func (l *Local) Free() { l.free() }

// Close frees the memory and the sessions. No fork may be used afterwards.
func (l *Local) Close() {
	l.free()
	l.close()
}

func (l *Local) free() {
	for _, a := range l.arrays {
		a.Close()
	}
	l.arrays, l.rows, l.in = nil, 0, nil
}

// Input implements [Buffered].
func (l *Local) Input(n int, sample []int) (*tensor.Tensor, error) {
	if !l.batch || !slices.Equal(sample, l.Sample()) {
		// Runs of single samples need the model's memory for themselves.
		return tensor.New(append([]int{n}, sample...)...), nil
	}
	return l.input(n)
}

func (l *Local) input(n int) (*tensor.Tensor, error) {
	if n > l.rows {
		l.free()
		l.arrays, l.rows = map[string]*ort.Array{}, n
	}
	a, err := l.array(inputName, onnx.Float, n, l.prep.sample...)
	if err != nil {
		return nil, err
	}
	l.in = tensor.Of(a.Float32(), append([]int{n}, l.Sample()...)...)
	return l.in, nil
}

// array is the named array, shaped for n rows.
func (l *Local) array(name string, elem onnx.DataType, n int, sample ...int64) (*ort.Array, error) {
	shape := append([]int64{int64(n)}, sample...)
	a, ok := l.arrays[name]
	if ok && a.Reshape(shape...) == nil {
		return a, nil
	}
	if ok {
		a.Close()
	}
	a, err := l.rt.NewArray(elem, append([]int64{int64(max(n, l.rows))}, sample...)...)
	if err != nil {
		return nil, err
	}
	l.arrays[name] = a
	return a, a.Reshape(shape...)
}

// enter puts x into the model's memory, unless it lives there.
func (l *Local) enter(x *tensor.Tensor) (*ort.Array, error) {
	if x.RowLen() != tensorLen(l.prep.sample) {
		return nil, fmt.Errorf("samples of shape %v given, the model takes %v", x.Shape[1:], l.prep.sample)
	}
	n := x.Rows()
	if n > 0 && l.in != nil && n <= l.rows && &x.Data[0] == &l.in.Data[0] {
		return l.array(inputName, onnx.Float, n, l.prep.sample...)
	}
	in, err := l.input(n)
	if err != nil {
		return nil, err
	}
	copy(in.Data, x.Data)
	return l.arrays[inputName], nil
}

// Scores implements [Scores].
func (l *Local) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, _, err := l.run(ctx, variant{}, x, nil)
	return z, err
}

// Gradient implements [Gradients].
func (l *Local) Gradient(ctx context.Context, x *tensor.Tensor, obj *Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	if err := obj.Check(x.Rows(), l.classes); err != nil {
		return nil, nil, err
	}
	v := variant{gradient: true, loss: obj.Loss, targeted: obj.Targets != nil && obj.Loss != Constraints, straight: obj.Straight}
	return l.run(ctx, v, x, obj)
}

func (l *Local) run(ctx context.Context, v variant, x *tensor.Tensor, obj *Objective) (z, g *tensor.Tensor, err error) {
	if !l.batch && x.Rows() != 1 {
		return l.oneByOne(ctx, v, x, obj)
	}
	ses, err := l.session(v)
	if err != nil {
		return nil, nil, err
	}
	xa, err := l.enter(x)
	if err != nil {
		return nil, nil, err
	}
	n := x.Rows()
	za, err := l.array(logitsName, onnx.Float, n, int64(l.classes))
	if err != nil {
		return nil, nil, err
	}
	in, out := []*ort.Array{xa}, []*ort.Array{za}
	z = tensor.Of(za.Float32(), n, l.classes)
	if v.gradient {
		ga, err := l.array("gradient", onnx.Float, n, l.prep.sample...)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range ses.Inputs()[1:] {
			a, err := l.argument(name, n, obj)
			if err != nil {
				return nil, nil, err
			}
			in = append(in, a)
		}
		out = append(out, ga)
		g = tensor.Of(ga.Float32(), append([]int{n}, l.Sample()...)...)
	}
	if n == 0 {
		return z, g, nil
	}
	return z, g, ses.Run(ctx, in, out)
}

// argument fills one of an objective's inputs.
func (l *Local) argument(name string, n int, obj *Objective) (*ort.Array, error) {
	switch name {
	case wName, bName:
		t := obj.W
		if name == bName {
			t = obj.B
		}
		sample := make([]int64, len(t.Shape)-1)
		for i := range sample {
			sample[i] = int64(t.Shape[i+1])
		}
		a, err := l.array(name, onnx.Float, n, sample...)
		if err == nil {
			copy(a.Float32(), t.Data)
		}
		return a, err
	}
	classes := obj.Labels
	if name == targetsName {
		classes = obj.Targets
	}
	a, err := l.array(name, onnx.Int64, n)
	if err == nil {
		for i, c := range classes {
			a.Int64()[i] = int64(c)
		}
	}
	return a, err
}

// oneByOne runs a model that takes one sample at a time.
func (l *Local) oneByOne(ctx context.Context, v variant, x *tensor.Tensor, obj *Objective) (z, g *tensor.Tensor, err error) {
	n := x.Rows()
	z = tensor.New(n, l.classes)
	if v.gradient {
		g = tensor.New(x.Shape...)
	}
	for i := range n {
		var one *Objective
		if obj != nil {
			one = obj.Select([]int{i})
		}
		zi, gi, err := l.run(ctx, v, x.Slice(i, i+1), one)
		if err != nil {
			return nil, nil, err
		}
		copy(z.Row(i), zi.Data)
		if g != nil {
			copy(g.Row(i), gi.Data)
		}
	}
	return z, g, nil
}
