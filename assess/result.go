package assess

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// SecureAbove is the robustness score above which a model counts as secure
// under a threat model.
const SecureAbove = 0.8

// result puts what was measured into its public form.
func (d *driver) result() *redoubt.Assessment {
	n := d.set.X.Rows()
	a := &redoubt.Assessment{
		Schema:        redoubt.AssessmentSchema,
		Model:         d.target.Info,
		Data:          d.dataInfo(),
		CleanAccuracy: float64(len(d.correct)) / float64(n),
		Threats:       []redoubt.ThreatResult{},
		Gates:         []redoubt.GateResult{},
		Findings:      []redoubt.Finding{},
		NotTested:     d.notTested(),
		Examples:      d.shown,
	}
	for _, t := range d.results {
		robust := len(d.correct) - len(t.outcomes)
		r := redoubt.ThreatResult{
			Norm: t.norm.Name(), Eps: t.eps, RobustAccuracy: float64(robust) / float64(n),
			N: n, Correct: len(d.correct), Robust: robust,
			Attacks:     t.attacks,
			Proved:      len(t.proved),
			Features:    featuresOf(t),
			Reliability: verdict(d.flagsOf(t)),
		}
		if t.certified || d.cfg.Certify > 0 && len(t.proved) > 0 {
			certified := float64(len(t.proved)) / float64(n)
			r.CertifiedAccuracy = &certified
		}
		if len(d.correct) > 0 {
			r.AttackSuccessRate = float64(len(t.outcomes)) / float64(len(d.correct))
		}
		r.RobustnessScore = 1 - r.AttackSuccessRate
		r.Secure = r.RobustnessScore > SecureAbove
		r.CI95[0], r.CI95[1] = Wilson(robust, n)
		a.Threats = append(a.Threats, r)
		a.Findings = append(a.Findings, threatFinding(r))
	}
	for _, t := range d.trials {
		r := d.resultOf(t)
		a.Threats, a.Findings = append(a.Threats, r), append(a.Findings, t.finding(r))
	}
	a.PerClass, a.Samples, a.Points = d.perClass(), d.samples(), d.points()
	return a
}

// points is what fell under each threat model, where it was kept.
func (d *driver) points() []redoubt.Example {
	if !d.cfg.Points {
		return nil
	}
	var out []redoubt.Example
	for _, t := range d.results {
		for _, r := range d.correct {
			if o := t.outcomes[r]; o != nil {
				out = append(out, redoubt.Example{
					Index: d.index(r), Attack: o.Attack, Norm: t.norm.Name(), Eps: t.eps, Label: d.set.Y[r],
					Before: d.set.Y[r], After: o.Class, Shape: d.target.Sample, Changed: o.Point,
				})
			}
		}
	}
	return out
}

func (d *driver) dataInfo() redoubt.DataInfo {
	return redoubt.DataInfo{
		Path: d.set.Path, SHA256: d.set.Digest, N: d.set.X.Rows(),
		Bounds:   [2]float64{float64(slices.Min(d.cfg.Box.Lo)), float64(slices.Max(d.cfg.Box.Hi))},
		Features: d.set.Features, Classes: d.set.Classes, Units: d.unitsInWords(),
	}
}

// Wilson is the 95 % score interval of a share of k in n (Wilson 1927).
func Wilson(k, n int) (lo, hi float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959963984540054
	p, m := float64(k)/float64(n), float64(n)
	centre := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return math.Max(0, centre-half), math.Min(1, centre+half)
}

func threatFinding(r redoubt.ThreatResult) redoubt.Finding {
	severity := redoubt.Note
	switch {
	case r.RobustnessScore < 0.2:
		severity = redoubt.Critical
	case r.RobustnessScore < 0.5:
		severity = redoubt.High
	case r.RobustnessScore <= SecureAbove:
		severity = redoubt.Medium
	case r.RobustnessScore < 0.95:
		severity = redoubt.Low
	}
	return redoubt.Finding{
		Rule:      "evasion/" + r.Norm,
		Title:     fmt.Sprintf("Inputs changed by at most %g in %s fool the model in %.1f %% of cases", r.Eps, r.Norm, 100*r.AttackSuccessRate),
		Severity:  severity,
		Technique: "AML.T0015",
		Evidence: fmt.Sprintf("%d of %d correctly classified samples fell; robust accuracy %.1f %% (95 %% interval %.1f to %.1f %%) of %d samples; %s",
			r.Correct-r.Robust, r.Correct, 100*r.RobustAccuracy, 100*r.CI95[0], 100*r.CI95[1], r.N, r.Reliability.Verdict),
		Remedy: "train adversarially at this radius, and let a gateway limit and watch queries",
	}
}

// index is a row's position in the file that the data came from.
func (d *driver) index(row int) int {
	if d.set.Rows != nil {
		return d.set.Rows[row]
	}
	return row
}

func (d *driver) samples() []redoubt.Sample {
	out := make([]redoubt.Sample, d.set.X.Rows())
	for i := range out {
		predicted := tensor.ArgMax(d.logits.Row(i))
		s := redoubt.Sample{Index: d.index(i), Label: d.set.Y[i], Predicted: predicted}
		for _, t := range d.results {
			o := redoubt.SampleOutcome{Norm: t.norm.Name(), Eps: t.eps, Robust: predicted == d.set.Y[i]}
			if fell := t.outcomes[i]; fell != nil {
				o.Robust, o.Attack, o.Class, o.Distortion = false, fell.Attack, &fell.Class, fell.Distortion
				o.Proved, o.Changes = fell.Proved, fell.Changes
			} else {
				o.Proved = t.proved[i]
			}
			s.Outcomes = append(s.Outcomes, o)
		}
		for _, t := range d.trials {
			s.Outcomes = append(s.Outcomes, d.outcome(t, i))
		}
		out[i] = s
	}
	return out
}

// perClass is accuracy a class at the largest radius of the first norm.
func (d *driver) perClass() []redoubt.ClassResult {
	var worst *threat
	for _, t := range d.results {
		if t.norm == d.results[0].norm {
			worst = t
		}
	}
	if worst == nil {
		return nil
	}
	classes := make([]redoubt.ClassResult, d.target.Classes)
	become := make([]map[int]int, len(classes))
	for c := range classes {
		classes[c] = redoubt.ClassResult{Class: c, FallsTo: -1}
		if c < len(d.set.Classes) {
			classes[c].Name = d.set.Classes[c]
		}
		become[c] = map[int]int{}
	}
	for i, y := range d.set.Y {
		classes[y].N++
		if got := tensor.ArgMax(d.logits.Row(i)); got == y {
			classes[y].Clean++
			if o := worst.outcomes[i]; o == nil {
				classes[y].Robust++
			} else {
				become[y][o.Class]++
			}
		}
	}
	var out []redoubt.ClassResult
	for y, c := range classes {
		if c.N == 0 {
			continue
		}
		fallen := c.Clean - c.Robust
		for k := range d.target.Classes {
			if n := float64(become[y][k]); n > 0 && n/fallen > c.FallsPct {
				c.FallsTo, c.FallsPct = k, n/fallen
			}
		}
		c.Clean, c.Robust = c.Clean/float64(c.N), c.Robust/float64(c.N)
		out = append(out, c)
	}
	return out
}

// notTested says what the numbers do not cover.
func (d *driver) notTested() []string {
	var norms, attacks []string
	for _, n := range d.cfg.Norms {
		norms = append(norms, n.Name())
	}
	for _, s := range d.cfg.Attacks {
		attacks = append(attacks, s.Name)
	}
	others := []string{"rotations", "patches"}
	for _, t := range d.cfg.Threats {
		norms, attacks = append(norms, t.Norm), append(attacks, t.Norm)
		others = slices.DeleteFunc(others, func(o string) bool { return o == map[string]string{"spatial": "rotations", "patch": "patches"}[t.Norm] })
	}
	others = append(others, "corruptions", "other inputs altogether")
	out := []string{
		fmt.Sprintf("Changes other than those of %s: %s.", strings.Join(norms, ", "), strings.Join(others, ", ")),
		fmt.Sprintf("Attacks other than %s; a stronger one may find more.", strings.Join(attacks, ", ")),
		"Samples outside this data set: the interval covers chance in drawing the samples, not a change of their source.",
		"Poisoning, backdoors, extraction, inversion and membership inference.",
	}
	if d.set.Features != nil && d.rules == nil {
		out = append(out, "What the features mean: without a schema, whole numbers, categories and what nobody can change are moved as if they were numbers.")
	}
	if d.target.Access < model.WhiteBox {
		out = append(out, "Attacks with gradients: the model gives none.")
	}
	if d.cfg.Checks == NoChecks {
		out = append(out, "The reliability of these numbers: the checks were switched off.")
	}
	return out
}

// examplesShown is how many samples the report shows.
const examplesShown = 8

// illustrate makes up to examplesShown pictures: it repeats the attack that
// broke a sample, on that sample alone.
func (d *driver) illustrate(ctx context.Context) error {
	if d.units != nil {
		return nil // a row is no picture; its changes are listed
	}
	perClass := map[int]int{}
	for _, t := range d.results {
		var rows []int
		for _, r := range d.correct {
			o := t.outcomes[r]
			if o == nil || len(d.shown)+len(rows) >= examplesShown || perClass[d.set.Y[r]] > 0 || d.specOf(o.Attack) == nil {
				continue
			}
			perClass[d.set.Y[r]]++
			rows = append(rows, r)
		}
		for _, r := range rows {
			if err := d.show(ctx, t, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *driver) specOf(name string) *evasion.Spec {
	for _, s := range d.cfg.Attacks {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (d *driver) show(ctx context.Context, t *threat, row int) error {
	o := t.outcomes[row]
	m, free := d.open()
	defer free()
	b := d.batch([]int{row}, t.norm, t.eps)
	x, err := evasion.Perturb(ctx, d.specOf(o.Attack).New(d.cfg.Settings), m, b)
	if err != nil {
		return err
	}
	z, err := m.Scores(ctx, x)
	if err != nil {
		return err
	}
	after := tensor.ArgMax(z.Row(0))
	if after == d.set.Y[row] {
		return nil // alone in its batch it rounds differently, and stands
	}
	d.shown = append(d.shown, redoubt.Example{
		Index: d.index(row), Attack: o.Attack, Norm: t.norm.Name(), Eps: t.eps, Label: d.set.Y[row],
		Before: tensor.ArgMax(d.logits.Row(row)), After: after, Score: probability(z.Row(0), after),
		Shape: d.target.Sample, Layout: layoutOf(d.target.Sample),
		Original: slices.Clone(d.set.X.Row(row)), Changed: slices.Clone(x.Row(0)),
	})
	return nil
}

func probability(z []float32, c int) float64 {
	top, sum := float64(slices.Max(z)), 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - top)
	}
	return math.Exp(float64(z[c])-top) / sum
}

// layoutOf guesses how a sample is to be drawn.
func layoutOf(shape []int) string {
	switch {
	case len(shape) == 3 && (shape[0] == 1 || shape[0] == 3) && shape[1] > 1:
		return "chw"
	case len(shape) == 3 && (shape[2] == 1 || shape[2] == 3) && shape[1] > 1:
		return "hwc"
	}
	return "flat"
}
