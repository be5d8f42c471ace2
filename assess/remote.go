package assess

import (
	"errors"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/remote"
)

// Remote is an endpoint that was tried, for samples of a shape, as a target. The
// runtime trains and attacks the network that imitates it, whose points are put
// to it; nil does without.
func Remote(e *remote.Endpoint, sample []int, rt *ort.Runtime) Target {
	t := Target{
		Open:    func() (model.Scores, func()) { return e, func() {} },
		Access:  e.Access(),
		Why:     errors.New("the endpoint answers with scores, not with gradients"),
		Sample:  sample,
		Classes: e.Classes(),
		Metered: true,
		Info: redoubt.ModelInfo{
			Access: e.Access().String(), Input: sample, Classes: e.Classes(),
			Characteristics: redoubt.Characteristics{
				Layers: map[string]int{}, Regularisation: []string{}, Activations: []string{},
				OutputIsProbability: e.Probability(),
			},
		},
	}
	if t.Access == model.Labels {
		t.Why = errors.New("the endpoint answers with labels only")
	}
	if rt != nil {
		t.Imitate = imitation(rt, sample, e.Classes())
	}
	return t
}

// Blind is the ensemble used where gradients cannot be had and answers cost, for
// the access there is: for scores, searches that climb them, of tables feature by
// feature too; for labels, walks along the boundary. The baseline of twenty
// random points is in both.
func Blind(access model.Access, table bool) []*evasion.Spec {
	noise := pinned("noise", evasion.Settings{})
	if access == model.Labels {
		return []*evasion.Spec{noise, listed("geoda"), listed("hopskipjump")}
	}
	specs := []*evasion.Spec{listed("square"), listed("simba"), listed("nes"), noise}
	if table {
		specs = append(specs, listed("coordinate"))
	}
	return specs
}

// spentFlag says that attacks are missing: some, or all where none was tried.
func spentFlag(err error, tried bool) redoubt.Flag {
	f := redoubt.Flag{
		ID: "budget-spent", Verdict: redoubt.Suspect,
		Evidence: "the attacks did not finish: " + err.Error(),
		Remedy:   "read the robust accuracy as an upper bound; raise --query-budget, or attack fewer samples",
	}
	if !tried {
		f.Verdict, f.Evidence = redoubt.Invalid, "nothing was tried here: the query budget had been spent"
	}
	return f
}
