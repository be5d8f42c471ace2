package train

import (
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// trainer runs the step graph. The weights and their state are held twice: a
// step reads the one set and writes the other, since the runtime may overwrite
// an array that it is still to read from when it is input and output at once.
// (Updates in place were wrong by 0.49 at a rate of 1 and by 2e-7 at 0.001, so
// that the mistake hides well.)
type trainer struct {
	cfg     Config
	plan    *plan
	rt      *ort.Runtime
	session *ort.Session

	x, target    *ort.Array
	loss, logits *ort.Array
	rate         *ort.Array
	scalars      []*ort.Array
	sets         [2][]*ort.Array // the weights, then their state
	current      int             // the set that holds the weights of this moment

	arrays []*ort.Array // all of the above, to be closed
	y      []int
	net    *Net
}

func newTrainer(rt *ort.Runtime, p *plan, cfg Config) (_ *trainer, err error) {
	t := &trainer{cfg: cfg, plan: p, rt: rt}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	m, err := p.stepGraph(cfg)
	if err != nil {
		return nil, err
	}
	if t.session, err = rt.NewSession(m, ort.Options{Threads: cfg.Threads}); err != nil {
		return nil, err
	}
	n := int64(cfg.Batch)
	t.x = t.array(&err, append([]int64{n}, p.sample...)...)
	t.target = t.array(&err, n, int64(p.classes))
	t.logits = t.array(&err, n, int64(p.classes))
	t.loss, t.rate = t.array(&err), t.array(&err)
	for range cfg.Optimiser.scalars(0) {
		t.scalars = append(t.scalars, t.array(&err))
	}
	for i := range t.sets {
		for range 1 + cfg.Optimiser.slots {
			t.sets[i] = append(t.sets[i], t.array(&err, p.total))
		}
	}
	if err != nil {
		return nil, err
	}
	values := t.weights().Float32()
	for _, w := range p.weights {
		values = values[copy(values, w.Floats()):]
	}
	t.net = &Net{trainer: t, sessions: make(map[role]*ort.Session)}
	return t, nil
}

// array allocates a float32 array of zeros, unless something has failed.
func (t *trainer) array(err *error, dims ...int64) *ort.Array {
	if *err != nil {
		return nil
	}
	a, failed := t.rt.NewArray(onnx.Float, dims...)
	if failed != nil {
		*err = failed
		return nil
	}
	t.arrays = append(t.arrays, a)
	return a
}

func (t *trainer) close() {
	if t.net != nil {
		t.net.close()
	}
	for _, a := range t.arrays {
		a.Close()
	}
	if t.session != nil {
		t.session.Close()
	}
}

// batch shapes the memory of a step for n samples.
func (t *trainer) batch(n int) (*Batch, error) {
	rows, classes := int64(n), int64(t.plan.classes)
	if err := t.x.Reshape(append([]int64{rows}, t.plan.sample...)...); err != nil {
		return nil, err
	}
	if err := t.target.Reshape(rows, classes); err != nil {
		return nil, err
	}
	if err := t.logits.Reshape(rows, classes); err != nil {
		return nil, err
	}
	if cap(t.y) < n {
		t.y = make([]int, n)
	}
	t.y = t.y[:n]
	return &Batch{
		X:      tensor.Of(t.x.Float32(), append([]int{n}, t.sampleShape()...)...),
		Y:      t.y,
		Target: tensor.Of(t.target.Float32(), n, t.plan.classes),
		Net:    t.net,
	}, nil
}

func (t *trainer) sampleShape() []int {
	shape := make([]int, len(t.plan.sample))
	for i, d := range t.plan.sample {
		shape[i] = int(d)
	}
	return shape
}

// weights is the array that holds the weights of this moment.
func (t *trainer) weights() *ort.Array { return t.sets[t.current][0] }

// run computes the next set from the current one.
func (t *trainer) run(ctx context.Context, step int, rate float64) error {
	t.rate.Float32()[0] = float32(rate)
	for i, v := range t.cfg.Optimiser.scalars(step) {
		t.scalars[i].Float32()[0] = v
	}
	now, next := t.sets[t.current], t.sets[1-t.current]
	in := slices.Concat([]*ort.Array{t.x, now[0], t.target}, now[1:], []*ort.Array{t.rate}, t.scalars)
	out := slices.Concat([]*ort.Array{t.loss, t.logits}, next)
	return t.session.Run(ctx, in, out)
}

func (t *trainer) swap() { t.current = 1 - t.current }

// trained is the model with the weights of this moment.
func (t *trainer) trained() *onnx.Model {
	m := t.plan.model.Clone()
	values := t.weights().Float32()
	for _, w := range t.plan.weights {
		n := w.Len()
		m.Graph.Initializer(w.Name).Raw = onnx.FloatTensor("", values[:n], w.Dims...).Raw
		values = values[n:]
	}
	return m
}
