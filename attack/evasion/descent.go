package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Descent is projected gradient ascent on an objective: FGSM, BIM, PGD,
// MI-FGSM and their variants are its settings. A sample is finished, and costs
// no more, as soon as one of its iterates is what the attack wants.
type Descent struct {
	Name  string // names the random stream; variants of one attack differ in it
	Loss  model.Loss
	Steps int // 0 means 40
	// Step is the step size in units of the input; 0 means
	// 2.5 x eps / Steps, the rule of Madry et al. 2018, and eps for one step.
	Step float64
	// Momentum is the decay of the accumulated gradient (Dong et al. 2018); 0
	// switches it off.
	Momentum float64
	// Random starts every run at a uniform point of the ball; otherwise only
	// runs after the first do.
	Random   bool
	Restarts int // runs, each on the samples still standing; 0 means 1
}

// Perturb returns the first successful iterate of each sample, or the last
// iterate of its last run.
func (a Descent) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, a.Name)
	if err != nil {
		return nil, err
	}
	out := b.X.Clone()
	rows := b.every()
	for r := range max(a.Restarts, 1) {
		if rows, err = a.run(ctx, g, b, out, rows, r); err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			break
		}
	}
	return out, nil
}

// run attacks the given rows once, writes what it found to out and returns the
// rows still standing. The last run leaves it to the caller to ask about its
// last iterates.
func (a Descent) run(ctx context.Context, m model.Gradients, b *Batch, out *tensor.Tensor, rows []int, restart int) ([]int, error) {
	x, err := model.Input(m, len(rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	for slot, row := range rows {
		copy(x.Row(slot), b.X.Row(row))
		if a.Random || restart > 0 {
			b.jump(x.Row(slot), row, a.Name, restart)
		}
	}
	steps := a.Steps
	if steps == 0 {
		steps = 40
	}
	var velocity *tensor.Tensor
	if a.Momentum > 0 {
		velocity = tensor.New(b.X.Shape...)
	}
	w := walk{b: b, x: x, out: out, rows: rows, objective: b.objective(a.Loss)}
	for range steps {
		logits, grad, err := m.Gradient(ctx, w.x, w.goal())
		if err != nil {
			return nil, err
		}
		for _, slot := range w.standing(logits) {
			row, d := w.rows[slot.now], grad.Row(slot.was)
			if velocity != nil {
				d = accumulate(velocity.Row(row), d, a.Momentum)
			}
			b.Norm.Advance(w.x.Row(slot.now), b.X.Row(row), d, a.stepSize(b.Eps[row], steps), b.Eps[row], b.Box)
		}
		if len(w.rows) == 0 {
			return nil, nil
		}
	}
	if restart+1 < a.Restarts {
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		w.standing(logits)
	}
	for slot, row := range w.rows {
		copy(out.Row(row), w.x.Row(slot))
	}
	return w.rows, nil
}

func (a Descent) stepSize(eps float64, steps int) float64 {
	switch {
	case a.Step > 0:
		return a.Step
	case steps == 1:
		return eps
	}
	return 2.5 * eps / float64(steps)
}

// jump moves x to a random point of the ball and the box.
func (b *Batch) jump(x []float32, row int, attack string, restart int) {
	d := make([]float32, len(x))
	b.Norm.Sample(b.stream(attack, row, restart), d, b.Eps[row])
	for j := range x {
		x[j] += d[j]
	}
	b.Norm.Project(x, b.X.Row(row), b.Eps[row], b.Box)
}

// accumulate adds g, scaled to L1 size 1, to the decayed velocity v.
func accumulate(v, g []float32, decay float64) []float32 {
	sum := 0.0
	for _, u := range g {
		sum += math.Abs(float64(u))
	}
	if sum == 0 {
		sum = 1
	}
	for j, u := range g {
		v[j] = float32(decay*float64(v[j]) + float64(u)/sum)
	}
	return v
}

// walk is the active set of a run: slot i of x is the iterate of rows[i].
type walk struct {
	b         *Batch
	x, out    *tensor.Tensor
	rows      []int
	objective *model.Objective
	selected  *model.Objective // of rows; nil after they changed
	slots     []slot
}

// slot is where a standing sample was in the batch just evaluated, and where
// it is now.
type slot struct{ was, now int }

// goal is the objective of the rows that stand.
func (w *walk) goal() *model.Objective {
	if w.selected == nil {
		w.selected = w.objective.Select(w.rows)
	}
	return w.selected
}

// standing takes the samples out whose logits are what the attack wants,
// copying their iterates to out, and closes the gaps in x. It returns the
// slots of the others, valid until the next call.
func (w *walk) standing(logits *tensor.Tensor) []slot {
	w.slots = w.slots[:0]
	for was, row := range w.rows {
		if w.objective.Reached(row, logits.Row(was)) {
			copy(w.out.Row(row), w.x.Row(was))
			continue
		}
		now := len(w.slots)
		if now != was {
			copy(w.x.Row(now), w.x.Row(was))
			w.rows[now] = row
		}
		w.slots = append(w.slots, slot{was, now})
	}
	if len(w.slots) < len(w.rows) {
		w.rows, w.selected = w.rows[:len(w.slots)], nil
		w.x = w.x.Slice(0, len(w.rows))
	}
	return w.slots
}
