package assess

import (
	"context"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// masked is the share of all samples that an attack on the margin breaks beyond
// cross-entropy where cross-entropy's gradients are masked; less is the luck of
// another run.
const masked = 0.05

// maskedCrossEntropy runs the margin where only cross-entropy was tried, and
// says when the two disagree.
var maskedCrossEntropy = &Probe{
	Name:  "masked-cross-entropy",
	Doc:   "what an attack on the margin breaks beyond cross-entropy; never suspect, because it counts as broken, but said above 5 points",
	Paper: "Carlini and Wagner 2017 (arXiv 1608.04644), section V; Pintor et al. 2022 (arXiv 2106.09947)",
	after: func(ctx context.Context, d *driver, t *threat) error {
		descents := d.descents()
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
	},
}

// descents are those among the attacks asked for.
func (d *driver) descents() []evasion.Descent {
	var out []evasion.Descent
	for _, s := range d.cfg.Attacks {
		if a, ok := s.New(d.cfg.Settings).(evasion.Descent); ok {
			out = append(out, a)
		}
	}
	return out
}
