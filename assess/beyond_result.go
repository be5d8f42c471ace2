package assess

import (
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// result puts a trial into its public form.
func (d *driver) resultOf(t *trial) redoubt.ThreatResult {
	r := redoubt.ThreatResult{
		Norm: t.Norm, Eps: t.Eps, Bound: t.Bound, N: len(t.rows), Correct: len(t.correct), Robust: len(t.correct) - len(t.outcomes),
		Attacks: t.attacks, Reliability: verdict(append(slices.Clone(d.general), t.flags...)),
	}
	r.RobustAccuracy = float64(r.Robust) / float64(r.N)
	if r.Correct > 0 {
		r.AttackSuccessRate = float64(len(t.outcomes)) / float64(r.Correct)
	}
	r.RobustnessScore = 1 - r.AttackSuccessRate
	r.Secure = r.RobustnessScore > SecureAbove
	r.CI95[0], r.CI95[1] = Wilson(r.Robust, r.N)
	return r
}

// finding is a trial's finding.
func (t *trial) finding(r redoubt.ThreatResult) redoubt.Finding {
	f := threatFinding(r)
	f.Title = fmt.Sprintf("The model is fooled in %.1f %% of cases by %s", 100*r.AttackSuccessRate, t.Bound)
	f.Remedy = t.means.remedy
	return f
}

// outcome is how a sample fared in a trial.
func (d *driver) outcome(t *trial, row int) redoubt.SampleOutcome {
	o := redoubt.SampleOutcome{Norm: t.Norm, Eps: t.Eps}
	if _, measured := slices.BinarySearch(t.rows, row); !measured {
		o.Fitted = true
		return o
	}
	o.Robust = tensor.ArgMax(d.logits.Row(row)) == d.set.Y[row]
	if fell := t.outcomes[row]; fell != nil {
		o.Robust, o.Attack, o.Class, o.Distortion = false, fell.Attack, &fell.Class, fell.Distortion
	}
	return o
}
