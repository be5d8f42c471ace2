package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt/internal/late"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// job is a request that waits or runs.
type job struct {
	ctx     context.Context
	inputs  []*onnx.Tensor // in the model's order
	rows    int64
	bytes   int64
	arrived time.Time
	done    chan result // holds one, so that nobody waits for who has gone
}

type result struct {
	outputs []oip.Tensor
	err     error
}

// queue holds the jobs that wait, first come first served, and runs them, as many
// batches at once as the model allows. Where runs are brief, who comes when there is
// room for one runs it himself, which spares a server that is not busy a goroutine and
// the waking of a thread for it. A goroutine of its own, which ends when nothing waits,
// does the rest.
type queue struct {
	local *Local
	// more tells a run that waits for its batch to fill that a job has come.
	more chan struct{}
	// over is closed when no job will come any more.
	over chan struct{}

	// brief is whether the last run was over within briefly.
	brief atomic.Bool

	mu      sync.Mutex
	waiting []*job
	bytes   int64 // of jobs that wait or run
	running int
	closed  bool
	idle    sync.WaitGroup
}

func (q *queue) init(l *Local) {
	q.local = l
	q.more = make(chan struct{}, 1)
	q.over = make(chan struct{})
}

// add lets a job wait, and starts a run if there may be another, or has the caller
// lead it.
func (q *queue) add(j *job) (lead bool, err error) {
	cfg := &q.local.cfg
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errClosed
	case len(q.waiting) >= cfg.Queue:
		return false, oip.Errorf(oip.Unavailable, "the model is busy: %d requests wait already", cfg.Queue)
	case j.bytes > cfg.Memory:
		return false, oip.Errorf(oip.TooLarge, "the inputs are larger than the model takes")
	case j.bytes > cfg.Memory-q.bytes:
		return false, oip.Errorf(oip.Unavailable, "the model is busy: requests that wait fill the memory set aside for them")
	}
	q.bytes += j.bytes
	q.waiting = append(q.waiting, j)
	if q.running < cfg.Concurrency {
		q.running++
		q.idle.Add(1)
		if lead = q.brief.Load() && cfg.Delay == 0; !lead {
			go q.work()
		}
	}
	if cfg.Delay > 0 {
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
	return lead, nil
}

// remove takes a job out whose client has gone. One that runs already is left.
func (q *queue) remove(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, j); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.bytes -= j.bytes
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	close(q.over)
	q.idle.Wait()
}

// work runs batches until nothing waits.
func (q *queue) work() {
	for {
		q.others()
		if q.leave() {
			return
		}
		q.round()
	}
}

// lead runs one batch for a caller, which his own job is in unless another run has
// taken it already, and leaves what waits then to a goroutine.
func (q *queue) lead() {
	defer func() {
		if !q.leave() {
			go q.work()
		}
	}()
	q.others()
	q.round()
}

// others lets whoever is about to ask, or was answered and may ask again, join.
func (q *queue) others() {
	if q.local.batched {
		runtime.Gosched()
	}
}

// leave ends a run's turn, unless something waits.
func (q *queue) leave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		return false
	}
	q.running--
	q.idle.Done()
	return true
}

// round answers one batch, if anything waits.
func (q *queue) round() {
	batch := q.take(nil)
	if batch == nil {
		return
	}
	if q.local.cfg.Delay > 0 {
		batch = q.fill(batch)
	}
	q.local.answer(batch)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range batch {
		q.bytes -= j.bytes
	}
}

// take adds to a batch what waits and fits, or begins one with the job that
// waits longest. With nothing to begin with it returns nil.
func (q *queue) take(batch []*job) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	if batch == nil {
		if len(q.waiting) == 0 {
			return nil
		}
		batch = append(batch, q.waiting[0])
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
	}
	room := q.local.room(batch)
	kept := q.waiting[:0]
	for _, j := range q.waiting {
		if j.rows <= room && joins(batch[0], j) {
			batch = append(batch, j)
			room -= j.rows
		} else {
			kept = append(kept, j)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	return batch
}

// fill waits for more jobs until the batch is full, its time is over, or no more
// can come.
func (q *queue) fill(batch []*job) []*job {
	timer := time.NewTimer(q.local.cfg.Delay)
	defer timer.Stop()
	for q.local.room(batch) > 0 {
		select {
		case <-q.more:
			batch = q.take(batch)
		case <-timer.C:
			return batch
		case <-q.over:
			return batch
		}
	}
	return batch
}

// room is how many rows a batch may still take.
func (l *Local) room(batch []*job) int64 {
	if !l.batched || batch[0].rows == 0 {
		return 0
	}
	room := int64(l.cfg.MaxBatch)
	for _, j := range batch {
		room -= j.rows
	}
	return room
}

// briefly is how long the last run may have taken for a caller to lead the next: he
// returns late by a run if his context ends while others are in it.
const briefly = time.Millisecond

// joins reports whether two jobs fit into one run: their inputs agree in all
// but the first dimension, and both have rows.
func joins(a, b *job) bool {
	for i, t := range a.inputs {
		if !slices.Equal(t.Dims[1:], b.inputs[i].Dims[1:]) {
			return false
		}
	}
	return b.rows > 0
}

// answer runs a batch and tells each job its part.
func (l *Local) answer(batch []*job) {
	begun := time.Now()
	batch = slices.DeleteFunc(slices.Clone(batch), func(j *job) bool {
		l.stats.waited(begun.Sub(j.arrived))
		return j.ctx.Err() != nil // its client has returned already
	})
	if len(batch) == 0 {
		return
	}
	if len(batch) > 1 {
		if parts, err := l.together(batch, begun); err == nil {
			for i, j := range batch {
				j.done <- result{outputs: parts[i]}
			}
			return
		}
		// One of them may be to blame: each is asked alone.
	}
	for _, j := range batch {
		begun := time.Now()
		out, err := l.run(j.ctx, j.inputs)
		ended := time.Now()
		if err == nil {
			l.stats.ran(j.rows, 0, ended.Sub(begun), 0)
		}
		j.done <- result{out, err}
	}
}

// together answers several jobs in one run, which goes on as long as one of
// their clients is there.
func (l *Local) together(batch []*job, begun time.Time) ([][]oip.Tensor, error) {
	ctx, cancel := late.New(context.Background(), func() (context.Context, context.CancelFunc) { return anyOf(batch) })
	defer cancel()
	rows := int64(0)
	for _, j := range batch {
		rows += j.rows
	}
	inputs := joined(batch, rows)
	joinedAt := time.Now()
	out, err := l.run(ctx, inputs)
	if err != nil {
		return nil, err
	}
	ranAt := time.Now()
	parts, err := split(batch, out, rows)
	if err == nil {
		l.stats.ran(rows, joinedAt.Sub(begun), ranAt.Sub(joinedAt), time.Since(ranAt))
	}
	return parts, err
}

// anyOf is a context that lasts as long as any of the jobs' contexts does.
func anyOf(batch []*job) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	var present atomic.Int64
	present.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, j := range batch {
		stops[i] = context.AfterFunc(j.ctx, func() {
			if present.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		cancel()
		for _, stop := range stops {
			stop()
		}
	}
}

// joined puts the rows of several jobs one behind the other.
func joined(batch []*job, rows int64) []*onnx.Tensor {
	out := make([]*onnx.Tensor, len(batch[0].inputs))
	for i, first := range batch[0].inputs {
		t := &onnx.Tensor{Name: first.Name, Type: first.Type, Dims: slices.Clone(first.Dims)}
		t.Dims[0] = rows
		size, words := 0, 0
		for _, j := range batch {
			size += len(j.inputs[i].Raw)
			words += len(j.inputs[i].Strings)
		}
		t.Raw = make([]byte, 0, size)
		t.Strings = make([][]byte, 0, words)
		for _, j := range batch {
			t.Raw = append(t.Raw, j.inputs[i].Raw...)
			t.Strings = append(t.Strings, j.inputs[i].Strings...)
		}
		out[i] = t
	}
	return out
}

// split gives each job its rows of every output. The parts have memory of their
// own rows only, so that none keeps the others' alive or can reach them.
func split(batch []*job, out []oip.Tensor, rows int64) ([][]oip.Tensor, error) {
	parts := make([][]oip.Tensor, len(batch))
	for _, t := range out {
		if len(t.Shape) == 0 || t.Shape[0] != rows {
			return nil, oip.Errorf(oip.Internal, "output %s does not follow the batch", quote(t.Name))
		}
		raw, words := int64(len(t.Raw))/rows, int64(len(t.Strings))/rows
		at := int64(0)
		for i, j := range batch {
			p := oip.Tensor{Name: t.Name, Datatype: t.Datatype, Shape: slices.Clone(t.Shape)}
			p.Shape[0] = j.rows
			if t.Datatype == oip.BYTES {
				p.Strings = slices.Clone(t.Strings[at*words : (at+j.rows)*words])
			} else {
				p.Raw = slices.Clone(t.Raw[at*raw : (at+j.rows)*raw])
			}
			parts[i] = append(parts[i], p)
			at += j.rows
		}
	}
	return parts, nil
}
