package assess

import (
	"fmt"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
)

// Step is the most that one part of an assessment asks of its target.
type Step struct {
	Name    string // such as "clean samples" or "square linf 0.1"
	Queries int64  // answers, one a sample
}

// BeforeAttacks names the step of a plan that the checks before any attack are.
const BeforeAttacks = "checks before the attacks"

// Plan bounds what [Run] will ask of a target without gradients, without asking
// it anything. Less is asked as samples fall. Of a model that answers at random
// more is asked: ten answers vote wherever the plan counts one to judge a
// candidate. It fails as Run would, where Settings.Queries is 0, and for attacks
// that have no bound.
func Plan(target Target, set *data.Set, cfg Config) ([]Step, error) {
	if target.Access == model.WhiteBox {
		return nil, fmt.Errorf("plan an assessment: the target gives gradients, which are not counted")
	}
	if cfg.Queries < 1 {
		return nil, fmt.Errorf("plan an assessment: the answers a sample that an attack may use are not limited: give --queries")
	}
	d, err := newDriver(target, set, cfg)
	if err != nil {
		return nil, err
	}
	n := int64(set.X.Rows())
	steps := []Step{{"clean samples", n}}
	if d.cfg.Checks == FullChecks {
		looks := int64(repeats-1) + 1 + int64(len(d.preparations()))
		steps = append(steps, Step{BeforeAttacks, looks * min(n, int64(d.probed()))})
	}
	most := int64(0)
	for _, norm := range d.cfg.Norms {
		for _, eps := range d.cfg.Eps {
			at := fmt.Sprintf(" %s %g", norm.Name(), eps)
			if d.cfg.Checks == FullChecks && target.Imitate != nil {
				steps = append(steps, Step{"transfer" + at, n})
			}
			for _, spec := range d.cfg.Attacks {
				if !spec.Works(norm) || !spec.Takes(target.Sample) {
					continue
				}
				q, err := answers(spec, d.cfg.Settings)
				if err != nil {
					return nil, err
				}
				most = max(most, q+1)
				steps = append(steps, Step{spec.Name + at, n * (q + 1)}) // one to judge the candidate
			}
		}
	}
	return append(steps, Step{"pictures for the report", examplesShown * most}), nil
}

// answers is the most that an attack asks about one sample.
func answers(spec *evasion.Spec, settings evasion.Settings) (int64, error) {
	restarts := int64(max(settings.Restarts, 1))
	switch a := spec.New(settings).(type) {
	case evasion.Trees:
		return 1, nil // it reads a file's trees and asks about what it found; of others nothing
	case evasion.Noise:
		return int64(max(a.Draws, 20)), nil
	case evasion.Square:
		return int64(a.Queries) * restarts, nil
	case evasion.SimBA, evasion.Coordinate, evasion.ZOO, evasion.HopSkipJump, evasion.GeoDA, evasion.Boundary:
		return int64(settings.Queries), nil
	case evasion.Estimated:
		return (int64(a.Descent.Steps)*int64(2*a.Estimator.Pairs+1) + 1) * restarts, nil
	}
	return 0, fmt.Errorf("plan an assessment: attack %s has no bound on what it asks", spec.Name)
}
