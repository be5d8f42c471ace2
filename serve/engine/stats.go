package engine

import (
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// counters are a model's statistics, written without locks.
type counters struct {
	success, fail, queue, input, infer, output counter
	last                                       atomic.Int64 // milliseconds since 1970
	rows, runs                                 atomic.Uint64
	sizes                                      []batchCounter // by rows of a run; 0 holds the larger ones
}

type counter struct{ n, ns atomic.Uint64 }

func (c *counter) add(d time.Duration) {
	c.n.Add(1)
	c.ns.Add(uint64(max(d, 0)))
}

func (c *counter) read() oip.Duration { return oip.Duration{Count: c.n.Load(), NS: c.ns.Load()} }

type batchCounter struct{ input, infer, output counter }

func (c *counters) init(most int) { c.sizes = make([]batchCounter, most+1) }

// answered counts a request that has ended.
func (c *counters) answered(start time.Time, err error) {
	now := time.Now()
	if err != nil {
		c.fail.add(now.Sub(start))
		return
	}
	c.success.add(now.Sub(start))
	c.last.Store(now.UnixMilli())
}

// waited counts the time of a request in the queue.
func (c *counters) waited(d time.Duration) { c.queue.add(d) }

// ran counts a run of so many rows: joining them, the run itself, splitting.
func (c *counters) ran(rows int64, input, infer, output time.Duration) {
	c.rows.Add(uint64(rows))
	c.runs.Add(1)
	c.input.add(input)
	c.infer.add(infer)
	c.output.add(output)
	if rows < 1 || rows >= int64(len(c.sizes)) {
		return
	}
	b := &c.sizes[rows]
	b.input.add(input)
	b.infer.add(infer)
	b.output.add(output)
}

func (c *counters) read() *oip.Statistics {
	s := &oip.Statistics{LastInference: uint64(c.last.Load()), InferenceCount: c.rows.Load(), ExecutionCount: c.runs.Load(), Batches: []oip.BatchStatistics{}}
	s.Inference.Success, s.Inference.Fail, s.Inference.Queue = c.success.read(), c.fail.read(), c.queue.read()
	s.Inference.ComputeInput, s.Inference.ComputeInfer, s.Inference.ComputeOutput = c.input.read(), c.infer.read(), c.output.read()
	for rows := range c.sizes {
		if b := &c.sizes[rows]; b.infer.n.Load() > 0 {
			s.Batches = append(s.Batches, oip.BatchStatistics{Size: uint64(rows),
				ComputeInput: b.input.read(), ComputeInfer: b.infer.read(), ComputeOutput: b.output.read()})
		}
	}
	return s
}
