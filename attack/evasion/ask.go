package evasion

import (
	"context"
	"iter"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// ask answers a search's points, one after another in one slice, with their
// logits, which hold until it is called again. Nil means that there will be no
// more answers; the search then returns.
type ask func(points []float32) *tensor.Tensor

// chunk is how many points one call of the model answers, at most.
const chunk = 256

// inquire runs a search for each row as if it were alone, and asks the model
// about what all of them want to know at once: searches that decide for
// themselves what to ask next can so be written down in a line and still be
// batched.
func (b *Batch) inquire(ctx context.Context, m model.Scores, rows []int, search func(row int, ask ask)) error {
	var open []*inquiry
	defer func() {
		for _, q := range open {
			q.stop()
		}
	}()
	for _, row := range rows {
		q := &inquiry{}
		q.next, q.stop = iter.Pull(func(yield func(struct{}) bool) {
			closed := false
			search(row, func(points []float32) *tensor.Tensor {
				q.points = points
				if closed = closed || !yield(struct{}{}); closed {
					return nil
				}
				return q.logits
			})
		})
		open = append(open, q)
	}
	for {
		still := open[:0]
		for _, q := range open {
			if _, ok := q.next(); ok {
				still = append(still, q)
			}
		}
		if open = still; len(open) == 0 {
			return nil
		}
		if err := b.answer(ctx, m, open); err != nil {
			return err
		}
	}
}

// inquiry is a search that waits for an answer.
type inquiry struct {
	points []float32
	logits *tensor.Tensor
	next   func() (struct{}, bool)
	stop   func()
}

// answer asks the model about every point of the inquiries, a chunk at a time.
func (b *Batch) answer(ctx context.Context, m model.Scores, open []*inquiry) error {
	width, sample := b.X.RowLen(), b.X.Shape[1:]
	type place struct {
		q *inquiry
		i int
	}
	var places []place
	for _, q := range open {
		for i := range len(q.points) / width {
			places = append(places, place{q, i})
		}
	}
	for lo := 0; lo < len(places); lo += chunk {
		part := places[lo:min(lo+chunk, len(places))]
		x, err := model.Input(m, len(part), sample)
		if err != nil {
			return err
		}
		for slot, p := range part {
			copy(x.Row(slot), p.q.points[p.i*width:(p.i+1)*width])
		}
		z, err := m.Scores(ctx, x)
		if err != nil {
			return err
		}
		for slot, p := range part {
			if p.i == 0 {
				p.q.logits = tensor.New(len(p.q.points)/width, z.RowLen())
			}
			copy(p.q.logits.Row(p.i), z.Row(slot))
		}
	}
	return nil
}
