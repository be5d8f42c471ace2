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

// stillRising repeats the last search along gradients with twice the steps and
// another start on what still stands: a finished search finds nothing more.
var stillRising = &Probe{
	Name:  "loss-still-rising",
	Doc:   "twice the steps from another start on what still stands; suspect when over 1 % of it falls",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 5.3; Pintor et al. 2022 (arXiv 2106.09947), incomplete optimisation",
	after: func(ctx context.Context, d *driver, t *threat) error {
		again, steps := d.doubled(t.norm)
		rows := d.some(d.standing(t), probeRows)
		if again == nil || len(rows) == 0 {
			return nil
		}
		before := len(t.outcomes)
		if err := d.attack(ctx, t, attempt{fmt.Sprintf("%d steps (check)", 2*steps), again}, rows); err != nil {
			return err
		}
		broken := len(t.outcomes) - before
		if broken == 0 {
			return nil
		}
		t.flags = append(t.flags, redoubt.Flag{
			ID: "loss-still-rising", Verdict: beyond(broken, len(rows), unfinished),
			Evidence: fmt.Sprintf("the search had not finished: with %d steps instead of %d, %d of %d samples still standing fell", 2*steps, steps, broken, len(rows)),
			Remedy:   fmt.Sprintf("raise --steps above %d, or --restarts, until doubling them changes nothing", steps),
		})
		return nil
	},
}

// doubled is the last descent asked for, or else the last Auto-PGD, with twice
// the steps, and the steps it had; nil where there is neither.
func (d *driver) doubled(norm evasion.Norm) (evasion.Attack, int) {
	if descents := d.descents(); len(descents) > 0 {
		a := descents[len(descents)-1]
		steps := a.Steps
		if steps == 0 {
			steps = 40
		}
		a.Name, a.Steps, a.Restarts, a.Random = a.Name+" doubled", 2*steps, 1, true
		return a, steps
	}
	for _, s := range slices.Backward(d.cfg.Attacks) {
		a, ok := s.New(d.cfg.Settings).(evasion.AutoPGD)
		if !ok || !s.Works(norm) || a.Targeted {
			continue
		}
		steps := a.Steps
		if steps == 0 {
			steps = 100
		}
		a.Name, a.Steps, a.Restarts = a.Name+" doubled", 2*steps, 1
		return a, steps
	}
	return nil, 0
}

// unboundedFails attacks without a bound: every sample must fall then, or the
// attack is broken, not the model robust.
var unboundedFails = &Probe{
	Name:  "unbounded-attack-fails",
	Doc:   "an attack along gradients with no bound; suspect when what survives it is over 2 % of all samples, invalid when it is over half of what still stands",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 5.2; Pintor et al. 2022 (arXiv 2106.09947), unconstrained attack failure",
	after: func(ctx context.Context, d *driver, t *threat) error {
		rows := d.some(d.standing(t), freeRows)
		if d.target.Access < model.WhiteBox || len(rows) == 0 {
			return nil
		}
		// In the corners of a wide box searches get stuck; then a part of it does.
		of := len(rows)
		for _, part := range []float64{1, 0.5, 0.25} {
			var a evasion.Attack = evasion.Descent{Name: "unbounded", Loss: model.Margin, Steps: 100, Random: true, Restarts: 2}
			if d.rules != nil {
				a = evasion.Coordinate{Queries: 500} // categories and grids stop a descent
			}
			fallen, _, _, err := d.try(ctx, t.norm, part*d.widest(t.norm), attempt{"unbounded (check)", a}, rows)
			if err != nil {
				return err
			}
			for _, o := range fallen {
				rows = slices.DeleteFunc(slices.Clone(rows), func(r int) bool { return r == o.Row })
			}
			if len(rows) == 0 {
				return nil
			}
		}
		if d.rules != nil {
			t.flags = append(t.flags, redoubt.Flag{
				ID: "unbounded-attack-fails", Verdict: redoubt.Trustworthy,
				Evidence: fmt.Sprintf("even allowed changes of any size did not change %d of %d samples: what the schema lets an attacker do is not enough, or the search missed it", len(rows), of),
			})
			return nil
		}
		grade := redoubt.Invalid
		if 2*len(rows) <= of {
			// As many of all samples may stand for no other reason.
			grade = beyond(len(rows)*len(d.standing(t))/of, len(d.correct), 0.02)
		}
		t.flags = append(t.flags, redoubt.Flag{
			ID: "unbounded-attack-fails", Verdict: grade,
			Evidence: fmt.Sprintf("even without a bound the attack could not change %d of %d samples: it is the attack that fails there", len(rows), of),
			Remedy:   "look for a layer that blocks gradients, and attack without them (square)",
		})
		return nil
	},
}

// widest is a radius that holds the whole box.
func (d *driver) widest(norm evasion.Norm) float64 {
	n := tensor.Len(d.target.Sample)
	corner, origin := make([]float32, n), make([]float32, n)
	for j := range corner {
		lo, hi := d.cfg.Box.At(j)
		corner[j] = hi - lo
	}
	return math.Max(size(norm, corner, origin), 1)
}

// notMonotone compares with the radius before: a point in a small ball is in a
// larger one too.
var notMonotone = &Probe{
	Name:  "not-monotone",
	Doc:   "what fell at a smaller radius and not at this one; suspect above 1 point. It counts as fallen",
	Paper: "Carlini et al. 2019 (arXiv 1902.06705), section 5.2",
	after: func(_ context.Context, d *driver, t *threat) error {
		missed := len(t.missed())
		if missed == 0 {
			return nil
		}
		t.flags = append(t.flags, redoubt.Flag{
			ID: "not-monotone", Verdict: beyond(missed, d.set.X.Rows(), unfinished),
			Evidence: fmt.Sprintf("%d samples that fell at %s %g were not broken again at %g, where the same points are allowed; they are counted as fallen", missed, t.norm.Name(), t.smaller.eps, t.eps),
			Remedy:   "use more steps and restarts at the larger radius",
		})
		return nil
	},
}

// missed lists the rows that fell at the radius before and not at this one.
func (t *threat) missed() []int {
	var rows []int
	if t.smaller != nil {
		for r := range t.smaller.outcomes {
			if t.outcomes[r] == nil {
				rows = append(rows, r)
			}
		}
	}
	return rows
}
