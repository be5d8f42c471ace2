package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// LocalConfig are the settings of a model in this process. Their zero values
// are sensible.
type LocalConfig struct {
	// Name and Version are what the model is called.
	Name, Version string
	// Threads is how many threads one run may use; 0 means 1.
	Threads int
	// Concurrency is how many runs may happen at once; 0 means as many as fill
	// the processors.
	Concurrency int
	// MaxBatch is how many rows one run may join; 0 means 32, 1 joins none.
	// A request of more rows is run by itself.
	MaxBatch int
	// Delay is how long a run waits for more rows when it could begin; 0, the
	// default, joins only what waits already.
	Delay time.Duration
	// Queue is how many requests may wait; 0 means 1024. One more is refused
	// with [oip.Unavailable].
	Queue int
	// Memory bounds the bytes of the inputs of all requests that wait or run;
	// 0 means 1 GiB. It does not bound what the model itself needs.
	Memory int64
}

func (c *LocalConfig) defaults() {
	if c.Threads <= 0 {
		c.Threads = 1
	}
	if c.Concurrency <= 0 {
		c.Concurrency = max(1, min(runtime.GOMAXPROCS(0), runtime.NumCPU())/c.Threads)
	}
	if c.MaxBatch <= 0 {
		c.MaxBatch = 32
	}
	if c.Queue <= 0 {
		c.Queue = 1024
	}
	if c.Memory <= 0 {
		c.Memory = 1 << 30
	}
}

// Local is a model that runs in this process. Its methods may be called by many
// goroutines at once.
type Local struct {
	cfg      LocalConfig
	session  *ort.Session
	inputs   []port
	metadata *oip.Metadata
	batched  bool
	queue    queue
	stats    counters
	closing  sync.Once
}

// Open reads a model file, within the default limits of package onnx, and
// prepares it.
func Open(ctx context.Context, rt *ort.Runtime, path string, cfg LocalConfig) (*Local, error) {
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

// New prepares a model that was read already, which it does not change. It
// tries the model on made-up inputs to learn whether rows may be joined; one
// that was exported for single rows has its batch freed for that if its answers
// stay the same, and still takes the shapes that it declares.
func New(ctx context.Context, rt *ort.Runtime, file *onnx.Model, cfg LocalConfig) (*Local, error) {
	cfg.defaults()
	m := file.Clone()
	withoutMaps(m)
	l := &Local{cfg: cfg, metadata: &oip.Metadata{Name: cfg.Name, Platform: "onnxruntime_onnx"}}
	if cfg.Version != "" {
		l.metadata.Versions = []string{cfg.Version}
	}
	for _, v := range m.Graph.Feeds() {
		p, err := portOf(v)
		if err != nil {
			return nil, fmt.Errorf("prepare model: input %w", err)
		}
		l.inputs = append(l.inputs, p)
		l.metadata.Inputs = append(l.metadata.Inputs, p.TensorMetadata)
	}
	if len(l.inputs) == 0 || len(m.Graph.Outputs) == 0 {
		return nil, errors.New("prepare model: it has no input, or no output that is a tensor")
	}
	session, err := rt.NewSession(m, ort.Options{Threads: cfg.Threads})
	if err != nil {
		return nil, err
	}
	t := &trial{ctx: ctx, rt: rt, model: m, session: session, inputs: l.inputs, options: ort.Options{Threads: cfg.Threads}}
	if l.metadata.Outputs, err = t.outputs(); err != nil {
		session.Close()
		return nil, fmt.Errorf("prepare model: %w", err)
	}
	l.session = session
	if cfg.MaxBatch > 1 {
		l.session, l.batched = t.batch()
	}
	if ctx.Err() != nil {
		l.session.Close()
		return nil, ctx.Err()
	}
	l.queue.init(l)
	l.stats.init(cfg.MaxBatch)
	return l, nil
}

// Batched reports whether requests may be joined.
func (l *Local) Batched() bool { return l.batched }

// Metadata says what the model takes and gives. The caller must not change it.
func (l *Local) Metadata(context.Context) (*oip.Metadata, error) { return l.metadata, nil }

// Ready returns an error of kind [oip.Unavailable] once the model is closed.
func (l *Local) Ready(context.Context) error {
	if l.queue.isClosed() {
		return errClosed
	}
	return nil
}

var errClosed = oip.Errorf(oip.Unavailable, "the model is being unloaded")

// Statistics are the counts since the model was loaded. They are read one by
// one while others are written, so sums may differ by the requests under way.
func (l *Local) Statistics() *oip.Statistics {
	s := l.stats.read()
	s.Name, s.Version = l.cfg.Name, l.cfg.Version
	return s
}

// Waiting is how many requests wait for a run.
func (l *Local) Waiting() int { return l.queue.length() }

// Infer answers a request: all outputs, or those asked for. When ctx ends it
// returns at once, or at the end of a run that it makes for others too where runs are
// brief, and the request leaves the queue, or its run is stopped if nobody else waits
// for it. The answer's tensors are the caller's.
func (l *Local) Infer(ctx context.Context, q *oip.Request) (*oip.Response, error) {
	start := time.Now()
	a, err := l.infer(ctx, q, start)
	l.stats.answered(start, err)
	return a, err
}

func (l *Local) infer(ctx context.Context, q *oip.Request, start time.Time) (*oip.Response, error) {
	j, err := l.job(ctx, q)
	if err != nil {
		return nil, err
	}
	j.arrived = start
	lead, err := l.queue.add(j)
	if err != nil {
		return nil, err
	}
	if lead {
		l.queue.lead()
	}
	r, err := j.await(ctx)
	if err != nil {
		l.queue.remove(j)
		return nil, oip.Classify(err)
	}
	if r.err != nil {
		return nil, r.err
	}
	return l.response(q, r.outputs), nil
}

// await is the result, unless ctx ends first.
func (j *job) await(ctx context.Context) (result, error) {
	select {
	case r := <-j.done:
		return r, nil
	default: // to wait for the end of a context is not free
	}
	select {
	case r := <-j.done:
		return r, nil
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
}

// job checks a request and makes it ready to run.
func (l *Local) job(ctx context.Context, q *oip.Request) (*job, error) {
	if err := ctx.Err(); err != nil {
		return nil, oip.Classify(err)
	}
	if err := checkRequest(q, l.metadata); err != nil {
		return nil, err
	}
	if err := checkSymbols(q, l.inputs); err != nil {
		return nil, err
	}
	j := &job{ctx: ctx, done: make(chan result, 1), inputs: make([]*onnx.Tensor, len(l.inputs))}
	for i, p := range l.inputs {
		t := q.Input(p.Name)
		var err error
		if j.inputs[i], err = toRuntime(t); err != nil {
			return nil, err
		}
		j.bytes += t.Size() + 24*int64(len(t.Strings))
	}
	j.rows = 1
	if l.batched {
		j.rows = j.inputs[0].Dims[0]
		for _, t := range j.inputs {
			if t.Dims[0] != j.rows {
				return nil, oip.Errorf(oip.BadInput, "inputs differ in their first dimension: %d and %d", j.rows, t.Dims[0])
			}
		}
	}
	return j, nil
}

// response holds the outputs asked for, in the model's order.
func (l *Local) response(q *oip.Request, outputs []oip.Tensor) *oip.Response {
	a := &oip.Response{ModelName: l.cfg.Name, ModelVersion: l.cfg.Version, ID: q.ID, Outputs: outputs}
	if len(q.Outputs) > 0 {
		a.Outputs = make([]oip.Tensor, 0, len(q.Outputs))
		for _, t := range outputs {
			if wanted, _ := q.Wants(t.Name); wanted {
				a.Outputs = append(a.Outputs, t)
			}
		}
	}
	return a
}

// Close refuses new requests, waits for those that wait or run, and frees the
// model. It always returns nil.
func (l *Local) Close() error {
	l.closing.Do(func() {
		l.queue.close()
		l.session.Close()
	})
	return nil
}

// run runs the session once. Outputs come in the model's order.
func (l *Local) run(ctx context.Context, inputs []*onnx.Tensor) ([]oip.Tensor, error) {
	begun := time.Now()
	defer func() { l.queue.brief.Store(time.Since(begun) < briefly) }()
	return runSession(ctx, l.session, inputs)
}

func runSession(ctx context.Context, s *ort.Session, inputs []*onnx.Tensor) ([]oip.Tensor, error) {
	in := make(map[string]*onnx.Tensor, len(inputs))
	for _, t := range inputs {
		in[t.Name] = t
	}
	out, err := s.RunTensors(ctx, in)
	if err != nil {
		return nil, runError(ctx, err)
	}
	tensors := make([]oip.Tensor, 0, len(out))
	for _, name := range s.Outputs() {
		t, err := fromRuntime(out[name])
		if err != nil {
			return nil, oip.Classify(err)
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// runError tells a model's refusal of what it was given, such as an index
// beyond a table, from what else may break.
func runError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return oip.Classify(ctx.Err())
	}
	if strings.Contains(err.Error(), "Non-zero status code returned while running") {
		return &oip.Error{Code: oip.Unprocessable, Message: "the model cannot compute with these values or shapes", Err: err}
	}
	return oip.Classify(err)
}
