package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var lowProFool = &Spec{
	Name: "lowprofool",
	Doc: "LowProFool, imperceptible changes of tables\n\nDescends on the margin and on the size of the change weighed by what each feature costs, " +
		"so that the change hides where nobody looks. Costs are the schema's.",
	Paper:     "Ballet et al. 2019, arXiv 1911.03274",
	Technique: evade,
	Access:    model.WhiteBox,
	New:       func(s Settings) Attack { return LowProFool{Steps: s.Steps, Step: s.Step} },
}

// LowProFool is the attack of Ballet et al. 2019, algorithm 1: steps that change
// the class, and steps that shorten the change by its weighted squared length.
// As in DDN the first are taken on this side of the boundary only, and on the
// margin, which does not fade where the model is certain. The paper weighs features by their correlation with the label;
// here the schema's cost says how closely one is watched.
type LowProFool struct {
	Steps  int     // 0 means 100
	Step   float64 // length of the first step; 0 means an eighth of the radius
	Lambda float64 // weight of the change's length beside the step; 0 means 0.1
}

// Perturb returns of each sample the wrong point of least weighted length.
func (a LowProFool) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, "lowprofool")
	if err != nil {
		return nil, err
	}
	costs := b.costs()
	out, x := b.X.Clone(), b.X.Clone()
	least := make([]float64, x.Rows())
	for i := range least {
		least[i] = math.Inf(1)
	}
	goal, steps := b.objective(model.Margin), or(a.Steps, 100)
	for step := range steps + 1 {
		z, grad, err := g.Gradient(ctx, x, goal)
		if err != nil {
			return nil, err
		}
		for i := range x.Rows() {
			row, origin := x.Row(i), b.X.Row(i)
			won := goal.Reached(i, z.Row(i))
			if size := weighted(row, origin, costs); won && size < least[i] || math.IsInf(least[i], 1) && step == steps {
				copy(out.Row(i), row)
				if won {
					least[i] = size
				}
			}
			for j := range row { // towards the sample, the costly features first
				row[j] -= float32(math.Min(orFloat(a.Lambda, 0.1)*costs[j]*costs[j], 1)) * (row[j] - origin[j])
			}
			if !won { // beyond the boundary only the length matters
				length := annealed(orFloat(a.Step, b.Eps[i]/8), orFloat(a.Step, b.Eps[i]/8)/20, step, steps)
				b.Norm.Advance(row, origin, grad.Row(i), length, b.Eps[i], b.Box)
			}
		}
	}
	return out, nil
}

// costs are what the elements cost to change, 1 on average.
func (b *Batch) costs() []float64 {
	costs, sum := make([]float64, b.X.RowLen()), 0.0
	for j := range costs {
		costs[j] = 1
		if b.Rules != nil {
			costs[j] = b.Rules.Columns[j].Cost
		}
		sum += costs[j]
	}
	for j := range costs {
		costs[j] *= float64(len(costs)) / sum
	}
	return costs
}

// weighted is the length of a change whose elements have costs.
func weighted(x, origin []float32, costs []float64) float64 {
	sum := 0.0
	for j, v := range x {
		d := costs[j] * (float64(v) - float64(origin[j]))
		sum += d * d
	}
	return math.Sqrt(sum)
}
