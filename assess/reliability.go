package assess

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// The checks of an assessment on itself. Each follows one observation of the
// literature on evaluations that went wrong: Carlini et al. 2019 (arXiv
// 1902.06705, section 5), the indicators of attack failure of Pintor et al.
// 2022 (arXiv 2106.09947), and the flags of AutoAttack (Croce and Hein 2020).
const (
	probeRows = 200 // samples that a check on the model looks at
	freeRows  = 50  // samples attacked without a bound

	// An attack that breaks this share of all samples beyond the ones it ought
	// to be weaker than makes the number suspect (AutoAttack flags 0.2 points
	// for Square).
	surprise = 0.002
	// Doubling the effort may find this share more before the search counts as
	// unfinished.
	unfinished = 0.01
	// An attack on the margin that breaks this share more than cross-entropy
	// did shows that cross-entropy's gradients are masked; less is the luck of
	// another run.
	masked = 0.05
)

// checkModel looks at the model before any attack: does it answer twice alike,
// and do its gradients vanish.
func (d *driver) checkModel(ctx context.Context) error {
	rows := d.some(d.correct, probeRows)
	if len(rows) == 0 {
		return nil
	}
	m, free := d.target.Open()
	defer free()
	if err := d.checkRandom(ctx, m, rows); err != nil {
		return err
	}
	g, ok := m.(model.Gradients)
	if !ok {
		d.general = append(d.general, redoubt.Flag{
			ID: "no-gradients", Verdict: redoubt.Suspect,
			Evidence: fmt.Sprintf("only attacks without gradients were possible: %v", d.target.Why),
			Remedy:   "read the robust accuracy as an upper bound",
		})
		return nil
	}
	ce, err := d.zeroGradients(ctx, g, rows, model.CrossEntropy)
	if err != nil {
		return err
	}
	margin, err := d.zeroGradients(ctx, g, rows, model.Margin)
	if err != nil {
		return err
	}
	d.flagZero(len(rows), ce, margin)
	return nil
}

// some is at most n rows, evenly spread.
func (d *driver) some(rows []int, n int) []int {
	if len(rows) <= n {
		return rows
	}
	out := make([]int, n)
	for i := range out {
		out[i] = rows[i*len(rows)/n]
	}
	return out
}

// checkRandom asks twice more: AutoAttack's test for randomised models, a
// difference above 1e-4 of the logits' size.
func (d *driver) checkRandom(ctx context.Context, m model.Scores, rows []int) error {
	drift, changed := 0.0, 0
	for range 2 {
		for b := range slices.Chunk(rows, d.cfg.Batch) {
			z, err := m.Scores(ctx, d.set.X.Gather(b))
			if err != nil {
				return err
			}
			for i, r := range b {
				dd, size := 0.0, 0.0
				for j, v := range z.Row(i) {
					c := float64(d.logits.Row(r)[j])
					dd, size = dd+(float64(v)-c)*(float64(v)-c), size+c*c
				}
				drift = math.Max(drift, math.Sqrt(dd/math.Max(size, 1e-30)))
				if tensor.ArgMax(z.Row(i)) != tensor.ArgMax(d.logits.Row(r)) {
					changed++
				}
			}
		}
	}
	if drift > 1e-4 {
		d.general = append(d.general, redoubt.Flag{
			ID: "random-model", Verdict: redoubt.Suspect,
			Evidence: fmt.Sprintf("the model answers the same sample differently: logits drift by %.2g of their size, %d of %d predictions changed", drift, changed, 2*len(rows)),
			Remedy:   "fix the model's randomness, or average gradients over it (expectation over transformation)",
		})
	}
	return nil
}

// zeroGradients counts the rows whose gradient is zero in every element.
func (d *driver) zeroGradients(ctx context.Context, g model.Gradients, rows []int, loss model.Loss) (int, error) {
	zero := 0
	for b := range slices.Chunk(rows, d.cfg.Batch) {
		batch := d.batch(b, evasion.Linf, 1)
		_, grad, err := g.Gradient(ctx, batch.X, &model.Objective{Loss: loss, Labels: batch.Labels})
		if err != nil {
			return 0, err
		}
		for i := range b {
			if !slices.ContainsFunc(grad.Row(i), func(v float32) bool { return v != 0 }) {
				zero++
			}
		}
	}
	return zero, nil
}

func (d *driver) flagZero(n, ce, margin int) {
	if margin > 0 {
		verdict := redoubt.Suspect
		if 2*margin > n {
			verdict = redoubt.Invalid
		} else if 100*margin <= n {
			verdict = redoubt.Trustworthy
		}
		d.general = append(d.general, redoubt.Flag{
			ID: "zero-gradients", Verdict: verdict,
			Evidence: fmt.Sprintf("the gradient is zero on %d of %d samples, whatever the objective: gradient attacks cannot start there", margin, n),
			Remedy:   "attack without gradients (square), or replace the layer that blocks them by its identity in the backward pass (BPDA)",
		})
	}
	if ce > margin {
		d.general = append(d.general, redoubt.Flag{
			ID: "saturated-softmax", Verdict: redoubt.Trustworthy,
			Evidence: fmt.Sprintf("the gradient of cross-entropy is masked: it is exactly zero on %d of %d samples because the softmax is saturated; the margin's gradient is not", ce-margin, n),
			Remedy:   "the objective was switched to the margin of the logits; do not trust attacks on cross-entropy alone",
		})
	}
}

// doubt examines one threat model after its attacks, and enters what it breaks
// on the way.
func (d *driver) doubt(ctx context.Context, t *threat) error {
	if d.target.Access < model.WhiteBox {
		return nil
	}
	for _, check := range []func(context.Context, *threat) error{
		d.switchObjective, d.doubleSteps, d.baseline, d.unbounded,
	} {
		if err := check(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// whiteBox is the descents among the attacks asked for.
func (d *driver) whiteBox() []evasion.Descent {
	var out []evasion.Descent
	for _, s := range d.cfg.Attacks {
		if a, ok := s.New(d.cfg.Settings).(evasion.Descent); ok {
			out = append(out, a)
		}
	}
	return out
}

// broke sums what attacks of some names broke.
func (t *threat) broke(match func(name string) bool) int {
	n := 0
	for _, a := range t.attacks {
		if match(a.Name) {
			n += a.Broken
		}
	}
	return n
}

// switchObjective runs the margin where only cross-entropy was tried, and says
// when the two disagree: the classic sign of masked gradients.
func (d *driver) switchObjective(ctx context.Context, t *threat) error {
	descents := d.whiteBox()
	hasCE := slices.ContainsFunc(descents, func(a evasion.Descent) bool { return a.Loss == model.CrossEntropy && a.Steps > 1 })
	hasOther := slices.ContainsFunc(descents, func(a evasion.Descent) bool { return a.Loss != model.CrossEntropy })
	if !hasCE {
		return nil
	}
	if !hasOther {
		repair := evasion.Descent{Name: "pgd-margin", Loss: model.Margin, Steps: max(d.cfg.Steps, 60), Step: d.cfg.Step, Restarts: 3}
		if err := d.attack(ctx, t, attempt{"pgd-margin (check)", repair}, d.standing(t)); err != nil {
			return err
		}
	}
	n := t.broke(func(name string) bool {
		return name == "pgd-margin" || name == "pgd-dlr" || name == "pgd-margin (check)"
	})
	if float64(n) <= masked*float64(d.set.X.Rows()) {
		return nil
	}
	t.flags = append(t.flags, redoubt.Flag{
		ID: "masked-cross-entropy", Verdict: redoubt.Trustworthy,
		Evidence: fmt.Sprintf("cross-entropy gradients are masked: an attack on the margin broke %d samples that PGD on cross-entropy had left standing", n),
		Remedy:   "the margin's result is the one reported; quote no number from cross-entropy alone",
	})
	return nil
}

// doubleSteps repeats the strongest descent with twice the steps on what still
// stands: a finished search finds nothing more.
func (d *driver) doubleSteps(ctx context.Context, t *threat) error {
	descents := d.whiteBox()
	if len(descents) == 0 {
		return nil
	}
	a := descents[len(descents)-1]
	steps := a.Steps
	if steps == 0 {
		steps = 40
	}
	a.Name, a.Steps, a.Restarts, a.Random = a.Name+" doubled", 2*steps, 1, true
	rows := d.some(d.standing(t), probeRows)
	if len(rows) == 0 {
		return nil
	}
	before := len(t.outcomes)
	if err := d.attack(ctx, t, attempt{fmt.Sprintf("%d steps (check)", a.Steps), a}, rows); err != nil {
		return err
	}
	broken := len(t.outcomes) - before
	if broken == 0 {
		return nil
	}
	verdict := redoubt.Trustworthy
	if float64(broken)/float64(len(rows)) > unfinished {
		verdict = redoubt.Suspect
	}
	t.flags = append(t.flags, redoubt.Flag{
		ID: "loss-still-rising", Verdict: verdict,
		Evidence: fmt.Sprintf("the search had not finished: with %d steps instead of %d, %d of %d samples still standing fell", a.Steps, steps, broken, len(rows)),
		Remedy:   fmt.Sprintf("raise --steps above %d, or --restarts, until doubling them changes nothing", steps),
	})
	return nil
}

// baseline asks whether anything without gradients did what gradients had not.
func (d *driver) baseline(ctx context.Context, t *threat) error {
	blind := map[string]bool{}
	for _, s := range d.cfg.Attacks {
		blind[s.Name] = s.Access < model.WhiteBox
	}
	if !blind["noise"] {
		if err := d.attack(ctx, t, attempt{"noise (check)", evasion.Noise{}}, d.standing(t)); err != nil {
			return err
		}
		blind["noise (check)"] = true
	}
	n := t.broke(func(name string) bool { return blind[name] })
	gradients := slices.ContainsFunc(d.cfg.Attacks, func(s *evasion.Spec) bool { return s.Access == model.WhiteBox })
	if n == 0 || !gradients {
		return nil
	}
	verdict := redoubt.Trustworthy
	if float64(n) > surprise*float64(d.set.X.Rows()) {
		verdict = redoubt.Suspect
	}
	t.flags = append(t.flags, redoubt.Flag{
		ID: "blind-beats-gradients", Verdict: verdict,
		Evidence: fmt.Sprintf("attacks without gradients broke %d samples that attacks with gradients had left standing: the gradients mislead there", n),
		Remedy:   "use more restarts and another objective; treat the robust accuracy as an upper bound",
	})
	return nil
}

// unbounded attacks without a bound: every sample must fall then, or the
// attack is broken, not the model robust.
func (d *driver) unbounded(ctx context.Context, t *threat) error {
	rows := d.some(d.standing(t), freeRows)
	if len(rows) == 0 {
		return nil
	}
	lo, hi := d.cfg.Box.Lo, d.cfg.Box.Hi
	widest := float64(slices.Max(hi) - slices.Min(lo))
	n := float64(tensor.Len(d.target.Sample))
	free := map[evasion.Norm]float64{evasion.Linf: widest, evasion.L2: widest * math.Sqrt(n), evasion.L1: widest * n}[t.norm]
	a := evasion.Descent{Name: "unbounded", Loss: model.Margin, Steps: 100, Random: true, Restarts: 2}
	fallen, _, err := d.try(ctx, t.norm, free, attempt{"unbounded (check)", a}, rows)
	if err != nil {
		return err
	}
	stood := len(rows) - len(fallen)
	if stood == 0 {
		return nil
	}
	verdict := redoubt.Suspect
	switch share := float64(stood) / float64(len(rows)); {
	case share > 0.5:
		verdict = redoubt.Invalid
	case share <= 0.02:
		verdict = redoubt.Trustworthy
	}
	t.flags = append(t.flags, redoubt.Flag{
		ID: "unbounded-attack-fails", Verdict: verdict,
		Evidence: fmt.Sprintf("even without a bound the attack could not change %d of %d samples: it is the attack that fails there", stood, len(rows)),
		Remedy:   "look for a layer that blocks gradients, and attack without them (square)",
	})
	return nil
}

// notMonotone reports samples that fell at a radius but not at a larger one.
func (d *driver) notMonotone(before, t *threat, missed int) redoubt.Flag {
	verdict := redoubt.Trustworthy
	if float64(missed) > unfinished*float64(d.set.X.Rows()) {
		verdict = redoubt.Suspect
	}
	return redoubt.Flag{
		ID: "not-monotone", Verdict: verdict,
		Evidence: fmt.Sprintf("%d samples that fell at %s %g were not broken again at %g, where the same points are allowed; they are counted as fallen", missed, t.norm.Name(), before.eps, t.eps),
		Remedy:   "use more steps and restarts at the larger radius",
	}
}

// verdict is the worst grade that the flags allow.
func verdict(flags []redoubt.Flag) redoubt.Reliability {
	grade := map[string]int{redoubt.Trustworthy: 0, redoubt.Suspect: 1, redoubt.Invalid: 2}
	r := redoubt.Reliability{Verdict: redoubt.Trustworthy, Flags: []redoubt.Flag{}}
	for _, f := range flags {
		r.Flags = append(r.Flags, f)
		if grade[f.Verdict] > grade[r.Verdict] {
			r.Verdict = f.Verdict
		}
	}
	return r
}
