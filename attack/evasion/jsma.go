package evasion

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var jsma = &Spec{
	Name:      "jsma",
	Doc:       "Jacobian saliency map\n\nChanges two elements at a time, those that raise the wanted class and lower the others most. Greedy and quick; sigma-zero needs fewer elements.",
	Paper:     "Papernot et al. 2016, arXiv 1511.07528; both ways as Wiyatno and Xu 2018, arXiv 1808.07945",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{L0},
	New:       func(s Settings) Attack { return JSMA{Theta: s.Step} },
}

// JSMA changes pairs of elements by their saliency (Papernot et al. 2016,
// algorithm 3), on logits. With A what a pair adds to the wanted class and B
// what it takes from the others, in sum, it changes the pair of largest A B
// among those with both above zero. Without targets the wanted class is, at
// each step, the runner-up, and the label alone stands for the others.
//
// A and B are weighed with how far the box lets an element move; what was moved
// one way does not move back. The search for
// the pair is exact: two elements that no three others surpass in both respects
// make the best pair, and few are such. A step costs two gradients.
type JSMA struct {
	Theta float64 // how far an element moves, a share of its range; 0 means 1
	// Gamma is the largest share of elements to change, if that is less than
	// the ball allows; 0 means all.
	Gamma float64
	// Rising only raises elements, as the paper does with Theta = 1.
	Rising bool
}

// Perturb returns the first successful point of each sample, or the last.
func (a JSMA) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "jsma")
	if err == nil {
		err = only(b, "jsma", L0)
	}
	if err != nil {
		return nil, err
	}
	x, err := model.Input(m, b.X.Rows(), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	copy(x.Data, b.X.Data)
	w := walk{b: b, x: x, out: b.X.Clone(), rows: b.every(), objective: b.objective(model.Margin)}
	for {
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		logits = logits.Clone()
		slots := w.standing(logits)
		if len(slots) == 0 {
			return w.out, nil
		}
		wanted, others := b.contrast(w.rows, slots, logits)
		_, grad, err := g.Gradient(ctx, w.x, wanted)
		if err != nil {
			return nil, err
		}
		rise := grad.Clone()
		_, fall, err := g.Gradient(ctx, w.x, others)
		if err != nil {
			return nil, err
		}
		if !a.change(&w, rise, fall) {
			return w.out, nil
		}
	}
}

// contrast is, of the samples that stand, the score of the wanted class and the
// sum of those that stand against it, as objectives.
func (b *Batch) contrast(rows []int, slots []slot, logits *tensor.Tensor) (wanted, others *model.Objective) {
	n, k := len(rows), logits.RowLen()
	linear := func() *model.Objective {
		return &model.Objective{Loss: model.Constraints, W: tensor.New(n, 1, k), B: tensor.New(n, 1)}
	}
	wanted, others = linear(), linear()
	for i, row := range rows {
		up, down := wanted.W.Row(i), others.W.Row(i)
		if b.Targets != nil {
			for c := range down {
				down[c] = 1
			}
			up[b.Targets[row]], down[b.Targets[row]] = 1, 0
			continue
		}
		z := slices.Clone(logits.Row(slots[i].was))
		z[b.Labels[row]] = float32(math.Inf(-1))
		up[tensor.ArgMax(z)], down[b.Labels[row]] = 1, 1
	}
	return wanted, others
}

// change changes the best pair of each sample. Those that have none keep what
// they have and leave the walk; it reports whether any are left.
func (a JSMA) change(w *walk, rise, fall *tensor.Tensor) bool {
	left := 0
	for slot, row := range w.rows {
		x := w.x.Row(slot)
		pair := a.pair(w.b, row, x, rise.Row(slot), fall.Row(slot))
		copy(w.out.Row(row), x)
		if len(pair) == 0 {
			continue
		}
		copy(w.x.Row(left), x)
		for _, p := range pair {
			w.x.Row(left)[p.j] = p.to
		}
		copy(w.out.Row(row), w.x.Row(left))
		w.rows[left] = row
		left++
	}
	w.rows, w.selected, w.x = w.rows[:left], nil, w.x.Slice(0, left)
	return left > 0
}

// shift is one element's move: where to, what it adds to the wanted class, and
// what it takes from the others.
type shift struct {
	j    int
	to   float32
	a, b float64
}

// pair is the best pair of moves that the radius allows; where it allows one
// more element and no second, the best single one.
func (a JSMA) pair(b *Batch, row int, x, rise, fall []float32) []shift {
	origin := b.X.Row(row)
	share := orFloat(a.Gamma, 1)
	free := min(allowed(b.Eps[row], len(x)), int(share*float64(len(x))))
	for j, v := range x {
		if v != origin[j] {
			free--
		}
	}
	var moves []shift
	for j, v := range x {
		if free <= 0 && v == origin[j] {
			continue
		}
		lo, hi := b.Box.At(j)
		far := float32(orFloat(a.Theta, 1)) * (hi - lo)
		for _, to := range [...]float32{min(v+far, hi), max(v-far, lo)} {
			d, done := float64(to)-float64(v), float64(v)-float64(origin[j])
			if d*done >= 0 && (d > 0 || d < 0 && !a.Rising) {
				moves = append(moves, shift{j, to, float64(rise[j]) * d, -float64(fall[j]) * d})
			}
		}
	}
	best, worth := []shift(nil), 0.0
	try := func(a, b float64, moves ...shift) {
		if a > 0 && b > 0 && a*b > worth {
			best, worth = moves, a*b
		}
	}
	moves = unsurpassed(moves)
	for i, p := range moves {
		if free == 1 {
			try(p.a, p.b, p)
			continue
		}
		for _, q := range moves[:i] {
			if p.j != q.j {
				try(p.a+q.a, p.b+q.b, p, q)
			}
		}
	}
	return best
}

// unsurpassed drops the moves that three others surpass in both respects: in a
// pair one of the three, which is neither the partner nor the partner's
// opposite, would do better.
func unsurpassed(moves []shift) []shift {
	slices.SortStableFunc(moves, func(p, q shift) int {
		return cmp.Or(cmp.Compare(q.a, p.a), cmp.Compare(q.b, p.b))
	})
	top := [3]float64{math.Inf(-1), math.Inf(-1), math.Inf(-1)} // largest b so far
	kept := moves[:0]
	for _, p := range moves {
		if p.b > top[2] {
			kept = append(kept, p)
		}
		for i, v := 0, p.b; i < len(top); i++ {
			if v > top[i] {
				v, top[i] = top[i], v
			}
		}
	}
	return kept
}
