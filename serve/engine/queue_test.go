package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// Requests that wait are answered by one run, each with its own rows.
func TestJoins(t *testing.T) {
	l := local(t, simple(), LocalConfig{Concurrency: 1, MaxBatch: 8, Delay: time.Hour})
	var all sync.WaitGroup
	for i := range int32(8) {
		all.Go(func() {
			r, err := l.Infer(t.Context(), pair(i, 100))
			checkPair(t, i, 100, r, err)
		})
	}
	all.Wait()
	s := l.Statistics()
	if s.ExecutionCount != 1 || s.InferenceCount != 8 || len(s.Batches) != 1 || s.Batches[0].Size != 8 || s.Inference.Success.Count != 8 || s.Inference.Queue.Count != 8 {
		t.Errorf("statistics %+v, want one run of eight rows", s)
	}
}

// A request that the model cannot compute does not take others with it.
func TestPoisonedBatch(t *testing.T) {
	l := local(t, graph(list(value("x", onnx.Int64, "n")), list(value("y", onnx.Float, "n")), list(onnx.NewNode("Gather", list("table", "x"), list("y"))),
		onnx.FloatTensor("table", []float32{10, 11, 12}, 3)), LocalConfig{Concurrency: 1, MaxBatch: 3, Delay: time.Hour})
	if !l.Batched() {
		t.Fatal("not batched")
	}
	var all sync.WaitGroup
	for _, index := range []byte{0, 99, 2} {
		all.Go(func() {
			x := oip.Tensor{Name: "x", Datatype: oip.INT64, Shape: []int64{1}, Raw: []byte{index, 0, 0, 0, 0, 0, 0, 0}}
			r, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{x}})
			if index == 99 {
				if code(err) != oip.Unprocessable || strings.Contains(err.(*oip.Error).Message, "Gather") {
					t.Errorf("error %v, want unprocessable, and nothing of the model's inside for the client", err)
				}
			} else if err != nil || !bytes.Equal(r.Outputs[0].Raw, floats("", nil, 10+float32(index)).Raw) {
				t.Errorf("index %d: %v %v", index, r, err)
			}
		})
	}
	all.Wait()
}

// wide is a model whose second dimension is open too: requests of other widths
// do not join.
func wide() *onnx.Model {
	return graph(list(value("x", onnx.Float, "n", "k")), list(value("y", onnx.Float, "n", "k")), list(onnx.NewNode("Neg", list("x"), list("y"))))
}

func row1(k int) *oip.Request {
	return &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{1, int64(k)}, make([]float32, k)...)}}
}

// The queue is bounded, who leaves it makes room, and nothing is left behind.
func TestQueue(t *testing.T) {
	m := local(t, wide(), LocalConfig{})
	synctest.Test(t, func(t *testing.T) {
		l := &Local{cfg: m.cfg, session: m.session, inputs: m.inputs, metadata: m.metadata, batched: true}
		l.cfg.Concurrency, l.cfg.Queue, l.cfg.Delay = 1, 2, time.Minute
		l.queue.init(l)
		l.stats.init(l.cfg.MaxBatch)
		errs := make(chan error, 4)
		ask := func(ctx context.Context, k int) {
			_, err := l.Infer(ctx, row1(k))
			errs <- err
		}
		gone, leave := context.WithCancel(t.Context())
		go ask(t.Context(), 1) // runs, that is, waits for its batch
		synctest.Wait()
		go ask(gone, 2) // waits in the queue
		synctest.Wait()
		go ask(t.Context(), 3)
		synctest.Wait()
		if _, err := l.Infer(t.Context(), row1(4)); code(err) != oip.Unavailable {
			t.Errorf("third in a queue of two: error %v, want unavailable", err)
		}
		leave()
		if err := <-errs; code(err) != oip.Cancelled {
			t.Errorf("who left: error %v, want cancelled", err)
		}
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Infer(late, row1(5)); code(err) != oip.Deadline || time.Since(start) != time.Second {
			t.Errorf("error %v after %v, want the deadline after a second", err, time.Since(start))
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if l.queue.bytes != 0 || l.queue.running != 0 || len(l.queue.waiting) != 0 {
			t.Errorf("left behind: %+v", &l.queue)
		}
		if s := l.Statistics(); s.Inference.Success.Count != 2 || s.Inference.Fail.Count != 3 {
			t.Errorf("statistics %+v", s)
		}
	})
}

// Inputs beyond the memory set aside are refused while others hold it.
func TestMemory(t *testing.T) {
	m := local(t, wide(), LocalConfig{})
	synctest.Test(t, func(t *testing.T) {
		l := &Local{cfg: m.cfg, session: m.session, inputs: m.inputs, metadata: m.metadata, batched: true}
		l.cfg.Concurrency, l.cfg.Memory, l.cfg.Delay = 1, 4000, time.Minute
		l.queue.init(l)
		l.stats.init(l.cfg.MaxBatch)
		done := make(chan error)
		go func() { _, err := l.Infer(t.Context(), row1(900)); done <- err }()
		synctest.Wait()
		if _, err := l.Infer(t.Context(), row1(200)); code(err) != oip.Unavailable {
			t.Errorf("error %v, want unavailable", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := l.Infer(t.Context(), row1(200)); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

// A batch that waits to be filled is run when the model is closed, and its clients
// are answered.
func TestClosedWhileFilling(t *testing.T) {
	m := local(t, wide(), LocalConfig{})
	synctest.Test(t, func(t *testing.T) {
		l := &Local{cfg: m.cfg, session: m.session, inputs: m.inputs, metadata: m.metadata, batched: true}
		l.cfg.Concurrency, l.cfg.Delay = 2, time.Hour
		l.queue.init(l)
		l.stats.init(l.cfg.MaxBatch)
		done := make(chan error)
		go func() { _, err := l.Infer(t.Context(), row1(1)); done <- err }()
		synctest.Wait()
		start := time.Now()
		go l.queue.close()
		if err := <-done; err != nil || time.Since(start) > 0 {
			t.Errorf("answered %v after the model was closed, %v", time.Since(start), err)
		}
		synctest.Wait()
	})
}

// slow multiplies so often that a run of hundreds of rows takes seconds.
func slow() *onnx.Model {
	const n, steps = 400, 400
	nodes := list(onnx.NewNode("Identity", list("x"), list("h0")))
	for i := range steps {
		nodes = append(nodes, onnx.NewNode("MatMul", list(fmt.Sprint("h", i), "w"), list(fmt.Sprint("h", i+1))))
	}
	return graph(list(value("x", onnx.Float, "n", n)), list(value(fmt.Sprint("h", steps), onnx.Float, "n", n)), nodes, onnx.FloatTensor("w", make([]float32, n*n), n, n))
}

// A run is stopped when its client leaves, and a joined one when all have left.
func TestStopsARun(t *testing.T) {
	for _, clients := range []int{1, 2} {
		l := local(t, slow(), LocalConfig{MaxBatch: 400 * clients, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				_, err := l.Infer(ctx, &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{400, 400}, make([]float32, 400*400)...)}})
				if code(err) != oip.Deadline {
					t.Errorf("error %v, want deadline", err)
				}
			})
		}
		all.Wait()
		_ = l.Close() // waits for the run
		if s := l.Statistics(); s.ExecutionCount != 0 {
			t.Errorf("%d clients: the run went on to its end, %v: %+v", clients, time.Since(start), s)
		}
	}
}

// A run goes on for those who are still there when one of its clients has gone.
func TestRunsOn(t *testing.T) {
	// One run at once: of two, each may begin with one of the clients, and wait for more.
	l := local(t, slow(), LocalConfig{MaxBatch: 800, Delay: time.Hour, Concurrency: 1})
	leaving, leave := context.WithCancel(t.Context())
	defer leave()
	var all sync.WaitGroup
	for _, ctx := range []context.Context{leaving, t.Context()} {
		all.Go(func() {
			_, err := l.Infer(ctx, &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{400, 400}, make([]float32, 400*400)...)}})
			if gone := ctx == leaving; gone != (err != nil) || gone && code(err) != oip.Cancelled {
				t.Errorf("gone: %v, error %v", gone, err)
			}
		})
	}
	q := &l.queue
	for both := int64(2 * 4 * 400 * 400); ; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		run := q.bytes == both && len(q.waiting) == 0
		q.mu.Unlock()
		if run {
			break
		}
	}
	time.Sleep(20 * time.Millisecond) // until the run has begun; it takes ten times as long
	leave()
	all.Wait()
	if s := l.Statistics(); s.ExecutionCount != 1 || s.InferenceCount != 800 {
		t.Errorf("the run was not the one for both: %+v", s)
	}
}

// Callers who run what waits themselves forget nobody: every one of many gets his own
// answer, in the end nothing runs or waits, and a slow model is run for its callers.
func TestCallersLead(t *testing.T) {
	for _, concurrency := range []int{1, 2} {
		l := local(t, simple(), LocalConfig{Concurrency: concurrency, MaxBatch: 4})
		var all sync.WaitGroup
		for i := range int32(16) {
			all.Go(func() {
				for range 100 {
					r, err := l.Infer(t.Context(), pair(i, 100))
					checkPair(t, i, 100, r, err)
				}
			})
		}
		all.Wait()
		q := &l.queue
		q.idle.Wait()
		if q.running != 0 || len(q.waiting) != 0 || q.bytes != 0 {
			t.Errorf("with a concurrency of %d, %d run and %d wait in the end, of %d bytes", concurrency, q.running, len(q.waiting), q.bytes)
		}
		q.brief.Store(true)
		if lead, err := q.add(&job{ctx: t.Context(), done: make(chan result, 1), rows: 1, arrived: time.Now()}); err != nil || !lead {
			t.Fatalf("lead %v, error %v, want to lead", lead, err)
		}
		q.take(nil)
		if !q.leave() {
			t.Error("a run goes on, and nothing waits")
		}
	}
	l := local(t, slow(), LocalConfig{})
	if _, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{400, 400}, make([]float32, 400*400)...)}}); err != nil {
		t.Fatal(err)
	}
	if l.queue.brief.Load() {
		t.Error("the slow model is brief")
	}
}
