package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var apgdCE = &Spec{
	Name:      "apgd-ce",
	Doc:       "Auto-PGD on cross-entropy\n\nPGD with momentum that halves each sample's step size when progress stalls. A hundred steps, no step size to choose.",
	Paper:     "Croce and Hein 2020, arXiv 2003.01690",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New: func(s Settings) Attack {
		return AutoPGD{Name: "apgd-ce", Steps: s.Steps, Restarts: s.Restarts}
	},
}

var apgdDLR = &Spec{
	Name:      "apgd-dlr",
	Doc:       "Auto-PGD on the difference-of-logits ratio\n\nThe scale-invariant objective of AutoAttack. Needs three classes, four with targets.",
	Paper:     "Croce and Hein 2020, arXiv 2003.01690",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New: func(s Settings) Attack {
		return AutoPGD{Name: "apgd-dlr", Loss: model.DLR, Steps: s.Steps, Restarts: s.Restarts}
	},
}

// AutoPGD is the step-size-free gradient attack of Croce and Hein 2020,
// algorithm 1, for Linf and L2, and of Croce and Hein 2021 (arXiv 2103.01208)
// for L1. A sample is finished at its first successful iterate.
type AutoPGD struct {
	Name string
	Loss model.Loss
	// Targeted runs the attack against each of the classes that the model
	// ranks next on the clean sample: nine of them, five in L1, fewer where
	// there are fewer classes. Any wrong class is a success. It means nothing
	// where the batch names the classes wanted.
	Targeted bool
	Steps    int // 0 means 100
	// Restarts is how many runs there are, against each class if Targeted,
	// each on the samples still standing. 0 means 1, and 5 in L1 if not
	// Targeted, as in AutoAttack.
	Restarts int
	// Average takes the mean of so many gradients in place of each one:
	// expectation over transformation, for models that answer at random. 0
	// means 1.
	Average int
}

// Its constants: the weight of the plain step against momentum, the share of
// increases below which a step counts as oscillating, and the lengths of the
// first checkpoint, their decrease and their least, as shares of the steps.
const (
	apgdAlpha = 0.75
	apgdRho   = 0.75
	apgdFirst = 0.22
	apgdLess  = 0.03
	apgdLeast = 0.06
)

// Perturb returns the first successful iterate of each sample, or the one of
// highest objective in its last run.
func (a AutoPGD) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, a.Name)
	if err != nil {
		return nil, err
	}
	if a.Average > 1 {
		g = model.Average(g, a.Average)
	}
	losses, err := a.losses(ctx, g, b)
	if err != nil {
		return nil, err
	}
	run, runs := a.run, max(a.Restarts, 1)
	if b.Norm == L1 {
		run = a.runL1
		if a.Restarts == 0 && !a.Targeted {
			runs = 5
		}
	}
	out, rows := b.X.Clone(), b.every()
	for i, loss := range losses {
		for r := range runs {
			if len(rows) == 0 {
				return out, nil
			}
			if rows, err = run(ctx, g, b, out, loss, rows, i*runs+r); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// progressOf is what Auto-PGD remembers of one sample.
type progressOf struct {
	step           float64
	last, best     float64 // objective after the last step, and the highest
	bestAtCheck    float64
	halvedAtCheck  bool
	increases      int
	previous, peak []float32 // iterates: the one before, the best
	slope          []float32 // gradient at peak
}

// run increases an objective on the given rows once, writes what it found to
// out and returns the rows still standing.
func (a AutoPGD) run(ctx context.Context, m model.Gradients, b *Batch, out *tensor.Tensor, loss *model.Objective, rows []int, restart int) ([]int, error) {
	x, err := model.Input(m, len(rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	w, goal := walk{b: b, x: x, out: out, rows: rows, objective: b.objective(a.Loss)}, aim{all: loss}
	states := make([]*progressOf, b.X.Rows())
	for slot, row := range rows {
		copy(x.Row(slot), b.X.Row(row))
		b.edge(x.Row(slot), row, a.Name, restart)
		states[row] = &progressOf{step: 2 * b.Eps[row], best: math.Inf(-1), bestAtCheck: math.Inf(-1)}
	}
	steps := or(a.Steps, 100)
	due, since := part(apgdFirst, steps), 0
	for i := range steps + 1 {
		logits, grad, err := m.Gradient(ctx, w.x, goal.at(w.rows))
		if err != nil {
			return nil, err
		}
		values := goal.values(w.rows, logits)
		check := i > 0 && since == due
		for _, slot := range w.standing(logits) {
			row := w.rows[slot.now]
			s, iterate, g := states[row], w.x.Row(slot.now), grad.Row(slot.was)
			s.observe(values[slot.was], iterate, g)
			if check && s.stalled(due) {
				s.step /= 2
				copy(iterate, s.peak)
				g = s.slope
			}
			if i < steps {
				s.advance(b, row, iterate, g)
			}
		}
		if len(w.rows) == 0 {
			return nil, nil
		}
		if check {
			due, since = max(due-part(apgdLess, steps), part(apgdLeast, steps)), 0
		}
		since++
	}
	for _, row := range w.rows {
		copy(out.Row(row), states[row].peak)
	}
	return w.rows, nil
}

// part is a share of the steps, at least one.
func part(p float64, steps int) int { return max(int(p*float64(steps)), 1) }

// edge moves x to a random point on the edge of the ball, inside the box.
func (b *Batch) edge(x []float32, row int, attack string, restart int) {
	d := make([]float32, len(x))
	b.Norm.Sample(b.stream(attack, row, restart), d, b.Eps[row])
	k := float32(b.Eps[row] / b.Norm.Size(d))
	for j := range x {
		x[j] += k * d[j]
	}
	b.Norm.Project(x, b.X.Row(row), b.Eps[row], b.Box)
}

// observe enters the objective and gradient at an iterate. The first step
// counts as an increase where its objective is above zero, not above that of
// the start: in the reference, whose checkpoints this must reproduce, the row
// before the first is one of zeros.
func (s *progressOf) observe(value float64, x, g []float32) {
	if s.peak != nil {
		if value > s.last {
			s.increases++
		}
		s.last = value
	}
	if value > s.best || s.peak == nil {
		s.best = value
		s.peak, s.slope = append(s.peak[:0], x...), append(s.slope[:0], g...)
	}
}

// stalled decides at a checkpoint whether to halve the step: the objective
// rose in too few of the steps since the last, or the best has not moved and
// the step was not halved then.
func (s *progressOf) stalled(steps int) bool {
	oscillates := float64(s.increases) <= apgdRho*float64(steps)
	stuck := !s.halvedAtCheck && s.bestAtCheck >= s.best
	s.halvedAtCheck, s.bestAtCheck, s.increases = oscillates || stuck, s.best, 0
	return s.halvedAtCheck
}

// advance takes a step with momentum; the first has none.
func (s *progressOf) advance(b *Batch, row int, x, g []float32) {
	alpha := apgdAlpha
	if s.previous == nil {
		s.previous, alpha = make([]float32, len(x)), 1
		copy(s.previous, x)
	}
	z := append([]float32(nil), x...)
	b.Norm.Advance(z, b.X.Row(row), g, s.step, b.Eps[row], b.Box)
	for j, v := range x {
		z[j] = v + float32(alpha)*(z[j]-v) + float32(1-alpha)*(v-s.previous[j])
	}
	copy(s.previous, x)
	b.Norm.Project(z, b.X.Row(row), b.Eps[row], b.Box)
	copy(x, z)
}
