package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// clean asks the model about the samples as they are.
func (d *driver) clean(ctx context.Context) error {
	n := d.set.X.Rows()
	d.logits = tensor.New(n, d.target.Classes)
	err := d.each(ctx, "clean", all(n), func(m model.Scores, rows []int) error {
		z, err := m.Scores(ctx, d.set.X.Gather(rows))
		if err != nil {
			return err
		}
		for i, r := range rows {
			copy(d.logits.Row(r), z.Row(i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range n {
		for _, v := range d.logits.Row(i) {
			if v != v {
				return fmt.Errorf("assess: the model answers sample %d with NaN", i)
			}
		}
		if tensor.ArgMax(d.logits.Row(i)) == d.set.Y[i] {
			d.correct = append(d.correct, i)
		}
	}
	if err := d.findForest(ctx); err != nil {
		return err
	}
	if d.cfg.Checks == FullChecks {
		return d.examine(ctx)
	}
	d.general = append(d.general, redoubt.Flag{
		ID: "unchecked", Verdict: redoubt.Suspect,
		Evidence: "the checks that would show whether the attacks worked were switched off",
		Remedy:   "run again with --checks full",
	})
	return nil
}

func all(n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	return rows
}

// each shares batches of rows out among workers. Which rows share a batch does
// not depend on the number of workers, and so neither does the result.
func (d *driver) each(ctx context.Context, stage string, rows []int, do func(m model.Scores, rows []int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan []int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	d.cfg.Progress(stage, 0, len(rows))
	size := d.share(len(rows))
	for range min(d.cfg.Workers, (len(rows)+size-1)/size) {
		wg.Go(func() {
			m, free := d.open()
			defer free()
			for b := range batches {
				if err := do(m, b); err != nil {
					cancel(err)
					continue
				}
				mu.Lock()
				done += len(b)
				d.cfg.Progress(stage, done, len(rows))
				mu.Unlock()
			}
		})
	}
feed:
	for b := range slices.Chunk(rows, size) {
		select {
		case batches <- b:
		case <-ctx.Done():
			break feed
		}
	}
	close(batches)
	wg.Wait()
	return context.Cause(ctx)
}

// share is how many of n samples go into a batch: few enough that several
// workers have something to do to the end, enough that a run pays.
func (d *driver) share(n int) int {
	const pieces, least = 8, 16
	return min(d.cfg.Batch, max((n+pieces-1)/pieces, least))
}

// threats assesses one norm at every radius.
func (d *driver) threats(ctx context.Context, norm evasion.Norm) error {
	var before *threat
	for _, eps := range d.cfg.Eps {
		t := &threat{norm: norm, eps: eps, outcomes: map[int]*Outcome{}, proved: map[int]bool{}, smaller: before}
		if err := d.within(ctx, t); err != nil {
			return err
		}
		for _, r := range t.missed() {
			t.outcomes[r] = before.outcomes[r]
		}
		if err := d.certify(ctx, t); err != nil {
			return err
		}
		d.results = append(d.results, t)
		before = t
	}
	return nil
}

// within assesses one threat model as far as the target's query budget goes.
func (d *driver) within(ctx context.Context, t *threat) error {
	tried := d.spent == nil
	if tried {
		if d.spent = d.assault(ctx, t); !errors.Is(d.spent, model.ErrBudget) {
			return d.spent
		}
	}
	t.flags = append(t.flags, spentFlag(d.spent, tried))
	return nil
}

// assault runs the attacks of one threat model, and the checks on them. Where
// answers are all there is, points made for another network come first: they
// cost one query a sample.
func (d *driver) assault(ctx context.Context, t *threat) error {
	if d.cfg.Checks == FullChecks && d.target.Access < model.WhiteBox {
		if _, err := d.transfer(ctx, t); err != nil {
			return err
		}
	}
	for _, spec := range d.cfg.Attacks {
		if !spec.Works(t.norm) {
			continue
		}
		if !spec.Takes(d.target.Sample) {
			t.attacks = append(t.attacks, redoubt.AttackResult{
				Name: spec.Name, RobustAccuracy: d.robust(t), Note: errSkip.Error() + ": it is for images",
			})
			continue
		}
		a := attempt{spec.Name, spec.New(d.cfg.Settings)}
		if err := d.attack(ctx, t, a, d.worthwhile(t)); err != nil {
			return err
		}
	}
	if d.cfg.Checks == FullChecks {
		return d.doubt(ctx, t)
	}
	return nil
}

// standing lists the rows that were right and have not fallen.
func (d *driver) standing(t *threat) []int {
	var rows []int
	for _, r := range d.correct {
		if t.outcomes[r] == nil {
			rows = append(rows, r)
		}
	}
	return rows
}

// worthwhile is the rows that are attacked: those that stand, and of those that
// are proved robust only some, which put the proofs to the test.
func (d *driver) worthwhile(t *threat) []int {
	const tested = 25
	var open, proved []int
	for _, r := range d.standing(t) {
		if t.proved[r] {
			proved = append(proved, r)
		} else {
			open = append(open, r)
		}
	}
	rows := append(open, d.some(proved, tested)...)
	slices.Sort(rows)
	return rows
}

// attempt is an attack under the name that the report gives it.
type attempt struct {
	name   string
	attack evasion.Attack
}

// classes is how many classes the attack's objective needs.
func (a attempt) classes(targeted bool) int {
	loss := model.Margin
	switch a := a.attack.(type) {
	case evasion.Descent:
		loss = a.Loss
	case evasion.AutoPGD:
		loss, targeted = a.Loss, targeted || a.Targeted
	}
	switch {
	case loss == model.DLR && targeted:
		return 4
	case loss == model.DLR:
		return 3
	}
	return 2
}

// attack runs one attack on the given rows and enters what it broke.
func (d *driver) attack(ctx context.Context, t *threat, a attempt, rows []int) error {
	started := time.Now()
	fallen, proved, tally, err := d.try(ctx, t.norm, t.eps, a, rows)
	if errors.Is(err, errSkip) {
		t.attacks = append(t.attacks, redoubt.AttackResult{Name: a.name, RobustAccuracy: d.robust(t), Note: err.Error()})
		return nil
	}
	note := ""
	if err != nil {
		err = fmt.Errorf("%s at %s %v: %w", a.name, t.norm.Name(), t.eps, err)
		if !errors.Is(err, model.ErrBudget) {
			return err
		}
		note = "not finished: the query budget is spent" // what it broke until then counts
	}
	var sizes []float64
	contradicted, final := 0, len(proved)
	for _, o := range fallen {
		t.outcomes[o.Row] = o
		sizes = append(sizes, o.Distortion)
		if t.proved[o.Row] {
			contradicted++
		}
		if o.Proved {
			final++
		}
	}
	if contradicted > 0 {
		t.flags = append(t.flags, contradiction(a.name, contradicted))
	}
	for _, r := range proved {
		t.proved[r] = true
	}
	t.attacks = append(t.attacks, redoubt.AttackResult{
		Name: a.name, RobustAccuracy: d.robust(t), Attacked: len(rows), Broken: len(fallen),
		Forwards: tally.Forwards, Gradients: tally.Gradients,
		Seconds: time.Since(started).Seconds(), MedianDistortion: median(sizes), Proved: final, Note: note,
	})
	return err
}

// errSkip marks an attack that this model does not allow, for a reason that
// belongs in the report.
var errSkip = errors.New("not possible here")

func (d *driver) robust(t *threat) float64 {
	return float64(len(d.correct)-len(t.outcomes)) / float64(d.set.X.Rows())
}

// try runs an attack and returns what it really broke, in the order of rows,
// and the rows of which it proved that nothing breaks them.
func (d *driver) try(ctx context.Context, norm evasion.Norm, eps float64, a attempt, rows []int) ([]*Outcome, []int, model.Tally, error) {
	var mu sync.Mutex
	var fallen []*Outcome
	var proved []int
	var total model.Tally
	stage := fmt.Sprintf("%s %s %g", a.name, norm.Name(), eps)
	if need := a.classes(d.cfg.Targets != nil); d.target.Classes < need {
		return nil, nil, total, fmt.Errorf("%w: its objective needs %d classes, the model has %d", errSkip, need, d.target.Classes)
	}
	err := d.each(ctx, stage, rows, func(m model.Scores, rows []int) error {
		found, final, tally, ok := d.cfg.Journal.find(stage, rows)
		if !ok {
			var err error
			if found, final, err = d.once(ctx, model.Count(m, &tally), m, norm, eps, a, rows); err != nil {
				return err
			}
			if err := d.cfg.Journal.record(stage, rows, found, final, tally); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		fallen, proved = append(fallen, found...), append(proved, final...)
		total.Forwards += tally.Forwards
		total.Gradients += tally.Gradients
		return nil
	})
	slices.SortFunc(fallen, func(a, b *Outcome) int { return cmp.Compare(a.Row, b.Row) })
	if errors.Is(err, evasion.ErrUnfit) {
		err = fmt.Errorf("%w: %w", errSkip, errors.Join(err, d.noTree))
	}
	return fallen, proved, total, err
}

// once attacks one batch and judges the candidates: nothing is believed
// because the attack says so. A candidate outside the ball or against the rules
// is a fault of the attack, and ends the run.
func (d *driver) once(ctx context.Context, counted, m model.Scores, norm evasion.Norm, eps float64, a attempt, rows []int) (fallen []*Outcome, robust []int, err error) {
	b := d.batch(rows, norm, eps)
	x, final, err := perturb(ctx, a.attack, d.repaired(counted), b)
	if err != nil {
		return nil, nil, err
	}
	distance := make([]float64, len(rows))
	for i, r := range rows {
		d.cfg.Box.Clip(x.Row(i))
		if distance[i], err = tighten(norm, x.Row(i), b.X.Row(i), eps); err != nil {
			return nil, nil, fmt.Errorf("sample %d: %w", d.index(r), err)
		}
		if d.rules == nil {
			continue
		}
		if err := d.rules.Check(x.Row(i), b.X.Row(i)); err != nil {
			return nil, nil, fmt.Errorf("sample %d: the attack broke the rules: %w", d.index(r), err)
		}
	}
	goal := &model.Objective{Loss: model.Margin, Labels: b.Labels, Targets: b.Targets}
	reached, z, err := d.vote(ctx, m, x, goal.Reached)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range rows {
		sure := final != nil && final[i]
		if reached[i] {
			fallen = append(fallen, &Outcome{
				Row: r, Attack: a.name, Class: tensor.ArgMax(z.Row(i)), Distortion: distance[i], Proved: sure, Changes: d.changes(x.Row(i), b.X.Row(i)), Point: d.point(x.Row(i)),
			})
		} else if sure && distance[i] == 0 {
			robust = append(robust, r)
		}
	}
	return fallen, robust, nil
}

// point is a row as the model takes it, if such are to be kept.
func (d *driver) point(row []float32) []float32 {
	if !d.cfg.Points {
		return nil
	}
	x := slices.Clone(row)
	if d.units != nil {
		d.units.Model(x, row)
	}
	return x
}

// perturb runs an attack under the batch's rules, with its proofs if it gives
// any.
func perturb(ctx context.Context, a evasion.Attack, m model.Scores, b *evasion.Batch) (*tensor.Tensor, []bool, error) {
	if p, ok := a.(evasion.Prover); ok {
		return p.Decide(ctx, m, b)
	}
	x, err := evasion.Perturb(ctx, a, m, b)
	return x, nil, err
}

// size measures a perturbation in float64, apart from the attacks' own code.
func size(norm evasion.Norm, x, origin []float32) float64 {
	var top, sum, squares, moved float64
	for j, v := range x {
		d := math.Abs(float64(v) - float64(origin[j]))
		top, sum, squares = math.Max(top, d), sum+d, squares+d*d
		if d != 0 {
			moved++
		}
	}
	switch norm {
	case evasion.Linf:
		return top
	case evasion.L2:
		return math.Sqrt(squares)
	case evasion.L1:
		return sum
	case evasion.L0:
		return moved
	}
	return math.Inf(1)
}

// tighten takes back what rounding to float32 put outside the ball, and
// returns the distance that is left, which is at most eps. An attack that went
// further than rounding explains is wrong, and that is an error.
func tighten(norm evasion.Norm, x, origin []float32, eps float64) (float64, error) {
	moved := size(norm, x, origin)
	if moved <= eps {
		return moved, nil
	}
	if norm == evasion.L0 { // counts do not round
		return moved, fmt.Errorf("the attack left its ball: it changed %v elements, allowed %v", moved, eps)
	}
	// One unit in the last place of each element, measured in the norm.
	ulps := make([]float32, len(x))
	for j, v := range x {
		top := max(v, -v, origin[j], -origin[j])
		ulps[j] = math.Nextafter32(top, float32(math.Inf(1))) - top
	}
	if allowed := eps*(1+1e-5) + size(norm, ulps, make([]float32, len(x))); moved > allowed {
		return moved, fmt.Errorf("the attack left its ball: it moved %v, allowed %v", moved, eps)
	}
	for k := 1; moved > eps && k < 1<<20; k *= 2 {
		shrink := 1 - float64(k)*1e-7
		for j, v := range x {
			o := origin[j]
			switch d := float64(v) - float64(o); {
			case norm != evasion.Linf:
				x[j] = float32(float64(o) + shrink*(eps/moved)*d)
			case math.Abs(d) > eps:
				// A step of v itself would be nothing where v is near zero and o is not.
				edge := float32(float64(o) + math.Copysign(eps, d))
				if math.Abs(float64(edge)-float64(o)) > eps {
					edge = math.Nextafter32(edge, o)
				}
				x[j] = edge
			}
		}
		moved = size(norm, x, origin)
	}
	return moved, nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
