package anon

import (
	"context"
	"math"
	"slices"
)

// Utility is what a release still is worth.
type Utility struct {
	Rows           int64     `json:"rows"`           // that are released
	Suppressed     float64   `json:"suppressed"`     // share of rows, 0 to 1
	Classes        int64     `json:"classes"`        // rows that look alike, counted once
	AverageClass   float64   `json:"average_class"`  // rows
	Discernibility float64   `json:"discernibility"` // sum over rows of how many they cannot be told from
	Loss           float64   `json:"loss"`           // generalised information loss: which part of all values a label stands for, 0 to 1
	EntropyLoss    float64   `json:"entropy_loss"`   // share of the bits of the quasi-identifiers, 0 to 1
	Accuracy       *Accuracy `json:"accuracy,omitempty"`
}

// Accuracy is how well a naive Bayes classifier predicts a column, in ten-fold
// cross-validation, all shares from 0 to 1.
type Accuracy struct {
	Target   string  `json:"target"`
	Baseline float64 `json:"baseline"` // always the most frequent value
	Before   float64 `json:"before"`   // from the columns as they were
	After    float64 `json:"after"`    // from the released ones; suppressed rows get the most frequent value
}

// measure computes the utility from the recoded rows, however they were recoded.
func (r *Release) measure(ctx context.Context, progress Progress) {
	n := float64(r.table.Rows)
	u := Utility{Classes: r.Classes, Rows: int64(r.table.Rows) - r.Suppressed, Suppressed: float64(r.Suppressed) / n}
	sizes := map[uint32]float64{}
	for row, c := range r.class {
		if !r.lost[row] {
			sizes[c]++
		}
	}
	for _, size := range sizes {
		u.Discernibility += size * size
	}
	u.Discernibility += float64(r.Suppressed) * n
	if r.Classes > 0 {
		u.AverageClass = float64(u.Rows) / float64(r.Classes)
	}
	for i := range r.quasi {
		u.Loss += r.lossOf(&r.quasi[i]) / float64(len(r.quasi))
	}
	u.EntropyLoss = r.entropyLoss()
	if r.Policy.Target != "" {
		u.Accuracy = r.accuracy(ctx, progress)
	}
	r.Utility = u
}

// lossOf is the mean loss of a column, 0 for untouched values.
func (r *Release) lossOf(q *recoded) float64 {
	least := 1 / float64(len(q.from.Values))
	if least == 1 {
		return 0
	}
	sum := 0.0
	for row, c := range q.codes {
		share := q.shares[c]
		if r.lost[row] {
			share = 1
		}
		sum += max(0, share-least) / (1 - least)
	}
	return min(1, sum/float64(r.table.Rows))
}

// entropyLoss is how many of the bits that tell rows apart by single columns are
// gone: those between a row's value and others with its label, or, if it is
// suppressed, with no label at all.
func (r *Release) entropyLoss() float64 {
	gone, all, n := 0.0, 0.0, float64(r.table.Rows)
	for i := range r.quasi {
		q := &r.quasi[i]
		labels := make([]float64, len(q.labels)+1) // the last is that of suppressed rows
		both := map[[2]uint32]float64{}
		for row, c := range q.codes {
			if r.lost[row] {
				c = uint32(len(q.labels))
			}
			labels[c]++
			both[[2]uint32{c, q.from.Codes[row]}]++
		}
		keys := make([][2]uint32, 0, len(both))
		for k := range both {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b [2]uint32) int { return slices.Compare(a[:], b[:]) })
		for _, k := range keys {
			gone += both[k] * math.Log2(labels[k[0]]/both[k])
		}
		for _, count := range q.from.Counts {
			if count > 0 {
				all += float64(count) * math.Log2(n/float64(count))
			}
		}
	}
	if all == 0 {
		return 0
	}
	return gone / all
}

// feature is a column that the classifier reads: a code for each row.
type feature struct {
	codes  []uint32
	values int
}

func (r *Release) accuracy(ctx context.Context, progress Progress) *Accuracy {
	var before, after []feature
	var target *Column
	for i := range r.table.Columns {
		c := &r.table.Columns[i]
		switch {
		case c.Name == r.Policy.Target:
			target = c
			continue
		case slices.Contains(r.Policy.Drop, c.Name):
			continue
		}
		plain := binned(c)
		before = append(before, plain)
		if q := slices.IndexFunc(r.quasi, func(q recoded) bool { return q.from == c }); q >= 0 {
			after = append(after, feature{r.quasi[q].codes, len(r.quasi[q].labels)})
		} else {
			after = append(after, plain)
		}
	}
	out := &Accuracy{Target: target.Name, Baseline: float64(slices.Max(target.Counts)) / float64(r.table.Rows)}
	out.Before = naiveBayes(ctx, before, target, make([]bool, r.table.Rows))
	if progress != nil {
		progress("classifying", 1, 2)
	}
	out.After = naiveBayes(ctx, after, target, r.lost)
	return out
}

// binned is a column as a feature; numbers with many values are put into 32 bins
// of about as many rows.
func binned(c *Column) feature {
	const many = 64
	if len(c.Values) > many {
		if h, err := rangeHierarchy(true, c.Values, c.Counts); err == nil {
			f := feature{make([]uint32, len(c.Codes)), len(h.labels[1])}
			for row, code := range c.Codes {
				f.codes[row] = h.up[1][h.index[c.Values[code]]]
			}
			return f
		}
	}
	return feature{c.Codes, len(c.Values)}
}

// naiveBayes is the share of rows whose target a naive Bayes classifier predicts,
// in ten folds by row number modulo ten, with Laplace's one added to each count.
// Lost rows have no features: they are neither learnt from nor told from others.
func naiveBayes(ctx context.Context, features []feature, target *Column, lost []bool) float64 {
	const folds = 10
	labels := len(target.Values)
	prior := make([]float64, folds*labels) // counts of each fold
	counts := make([][]float64, len(features))
	for i, f := range features {
		counts[i] = make([]float64, folds*labels*f.values)
	}
	at := func(fold, label, values int, code uint32) int { return (fold*labels+label)*values + int(code) }
	for row, label := range target.Codes {
		if lost[row] {
			continue
		}
		prior[row%folds*labels+int(label)]++
		for i, f := range features {
			counts[i][at(row%folds, int(label), f.values, f.codes[row])]++
		}
	}
	right := 0
	score, logPrior := make([]float64, labels), make([]float64, labels)
	for fold := range folds {
		if ctx.Err() != nil {
			return math.NaN()
		}
		// What the other folds have counted, as logarithms.
		tables := make([][]float64, len(features))
		trained := make([]float64, labels)
		for other := range folds {
			for l := range labels {
				if other != fold {
					trained[l] += prior[other*labels+l]
				}
			}
		}
		for l := range labels {
			logPrior[l] = math.Log(trained[l] + 1)
		}
		for i, f := range features {
			tables[i] = make([]float64, labels*f.values)
			for other := range folds {
				if other == fold {
					continue
				}
				for k := range tables[i] {
					tables[i][k] += counts[i][other*labels*f.values+k]
				}
			}
			for k := range tables[i] {
				tables[i][k] = math.Log((tables[i][k] + 1) / (trained[k/f.values] + float64(f.values)))
			}
		}
		for row := fold; row < len(target.Codes); row += folds {
			copy(score, logPrior)
			for i, f := range features {
				if lost[row] {
					break
				}
				for l := range labels {
					score[l] += tables[i][l*f.values+int(f.codes[row])]
				}
			}
			best := 0
			for l := range score {
				if score[l] > score[best] {
					best = l
				}
			}
			if uint32(best) == target.Codes[row] {
				right++
			}
		}
	}
	return float64(right) / float64(len(target.Codes))
}
