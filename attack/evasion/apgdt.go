package evasion

import (
	"cmp"
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var apgdT = &Spec{
	Name:      "apgd-t",
	Doc:       "Auto-PGD on the targeted difference-of-logits ratio\n\nAims for each of the next nine classes in turn: nine times the cost of apgd-dlr, and the strongest gradient attack of AutoAttack. Needs four classes.",
	Paper:     "Croce and Hein 2020, arXiv 2003.01690",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New: func(s Settings) Attack {
		return AutoPGD{Name: "apgd-t", Loss: model.DLR, Targeted: true, Steps: s.Steps, Restarts: s.Restarts}
	},
}

// losses is what the attack increases, one objective after the other.
func (a AutoPGD) losses(ctx context.Context, m model.Scores, b *Batch) ([]*model.Objective, error) {
	if !a.Targeted || b.Targets != nil {
		return []*model.Objective{b.objective(a.Loss)}, nil
	}
	most := 9
	if b.Norm == L1 {
		most = 5
	}
	targets, err := b.next(ctx, m, most)
	if err != nil {
		return nil, err
	}
	var out []*model.Objective
	for _, t := range targets {
		out = append(out, &model.Objective{Loss: a.Loss, Labels: b.Labels, Targets: t})
	}
	return out, nil
}

// next asks the model about the clean samples: element i of the result is, for
// every row, the class with the i-th highest score beside the label. There are
// at most most.
func (b *Batch) next(ctx context.Context, m model.Scores, most int) ([][]int, error) {
	if b.X.Rows() == 0 {
		return nil, nil
	}
	logits, err := m.Scores(ctx, b.X)
	if err != nil {
		return nil, err
	}
	out := make([][]int, min(most, logits.RowLen()-1))
	for row, y := range b.Labels {
		z := logits.Row(row)
		var others []int
		for c := range z {
			if c != y {
				others = append(others, c)
			}
		}
		slices.SortStableFunc(others, func(i, j int) int { return cmp.Compare(z[j], z[i]) })
		for i := range out {
			out[i] = append(out[i], others[i])
		}
	}
	return out, nil
}

// aim is an objective of the whole batch, restricted to the rows that stand.
// What an attack increases need not be what it wants: it may aim for one class
// and be content with any.
type aim struct {
	all, selected *model.Objective
	rows          int // selected; they only get fewer
}

func (a *aim) at(rows []int) *model.Objective {
	if a.selected == nil || len(rows) != a.rows {
		a.selected, a.rows = a.all.Select(rows), len(rows)
	}
	return a.selected
}

// values is the objective of each row.
func (a *aim) values(rows []int, logits *tensor.Tensor) []float64 {
	out := make([]float64, len(rows))
	for slot, row := range rows {
		out[slot] = a.all.Value(row, logits.Row(slot))
	}
	return out
}
