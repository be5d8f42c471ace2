package evasion

import (
	"context"
	"iter"
	"slices"

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
	answer := func(open []*inquiry) error { return b.answer(ctx, m, open) }
	return converse(rows, answer, func(row int, put func(*inquiry) bool) {
		q := &inquiry{row: row}
		search(row, func(points []float32) *tensor.Tensor {
			if q.points = points; !put(q) {
				return nil
			}
			return q.logits
		})
	})
}

// slopes answers a search's point with its logits and the gradient of the
// objective there, which hold until it is called again. Nil means that there
// will be no more answers; the search then returns.
type slopes func(x []float32) (z, g []float32)

// climb is inquire with gradients: it runs a search for each row as if it were
// alone, and differentiates the objective at the points of all of them at once.
// A search may also ask about points without.
func (b *Batch) climb(ctx context.Context, m model.Gradients, goal *model.Objective, search func(row int, at slopes, ask ask)) error {
	answer := func(open []*inquiry) error {
		var steep, plain []*inquiry
		for _, q := range open {
			if q.steep {
				steep = append(steep, q)
			} else {
				plain = append(plain, q)
			}
		}
		if err := b.differentiate(ctx, m, goal, steep); err != nil {
			return err
		}
		return b.answer(ctx, m, plain)
	}
	return converse(b.every(), answer, func(row int, put func(*inquiry) bool) {
		// Two, so that an answer to one does not overwrite the other's.
		q, p := &inquiry{row: row, steep: true}, &inquiry{row: row}
		search(row, func(x []float32) (z, g []float32) {
			if q.points = x; !put(q) {
				return nil, nil
			}
			return q.logits.Data, q.gradient
		}, func(points []float32) *tensor.Tensor {
			if p.points = points; !put(p) {
				return nil
			}
			return p.logits
		})
	})
}

// converse runs searches that take turns: each puts one inquiry and waits, and
// when all wait, all are answered.
func converse(rows []int, answer func([]*inquiry) error, search func(row int, put func(*inquiry) bool)) error {
	type speaker struct {
		next func() (*inquiry, bool)
		stop func()
	}
	var open []speaker
	defer func() {
		for _, s := range open {
			s.stop()
		}
	}()
	for _, row := range rows {
		next, stop := iter.Pull(func(yield func(*inquiry) bool) {
			closed := false
			search(row, func(q *inquiry) bool {
				closed = closed || !yield(q)
				return !closed
			})
		})
		open = append(open, speaker{next, stop})
	}
	for {
		still, asked := open[:0], []*inquiry(nil)
		for _, s := range open {
			if q, ok := s.next(); ok {
				still, asked = append(still, s), append(asked, q)
			}
		}
		if open = still; len(open) == 0 {
			return nil
		}
		if err := answer(asked); err != nil {
			return err
		}
	}
}

// inquiry is what a search wants to know, and the answer.
type inquiry struct {
	row      int
	points   []float32
	steep    bool // gradients are wanted
	logits   *tensor.Tensor
	gradient []float32
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

// differentiate asks for the gradient at the point of each inquiry, a chunk at
// a time.
func (b *Batch) differentiate(ctx context.Context, m model.Gradients, goal *model.Objective, open []*inquiry) error {
	for part := range slices.Chunk(open, chunk) {
		x, err := model.Input(m, len(part), b.X.Shape[1:])
		if err != nil {
			return err
		}
		rows := make([]int, len(part))
		for slot, q := range part {
			copy(x.Row(slot), q.points)
			rows[slot] = q.row
		}
		z, g, err := m.Gradient(ctx, x, goal.Select(rows))
		if err != nil {
			return err
		}
		for slot, q := range part {
			if q.logits == nil {
				q.logits = tensor.New(1, z.RowLen())
			}
			copy(q.logits.Data, z.Row(slot))
			q.gradient = append(q.gradient[:0], g.Row(slot)...)
		}
	}
	return nil
}
