package model

import (
	"math"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// leastProbability keeps the logarithm of a probability finite.
const leastProbability = 1e-30

// Probabilities reports whether all rows of scores [N, K] look like
// probabilities: within [0, 1] and, where there are several classes, with a sum
// of one to within the tolerance.
func Probabilities(scores *tensor.Tensor, tolerance float64) bool {
	for i := range scores.Rows() {
		if !sumsToOne(scores.Row(i), tolerance) {
			return false
		}
	}
	return true
}

func sumsToOne(row []float32, tolerance float64) bool {
	sum := 0.0
	for _, v := range row {
		if !(v >= 0 && v <= 1) {
			return false
		}
		sum += float64(v)
	}
	return len(row) == 1 || math.Abs(sum-1) < tolerance
}

// Logits makes of scores [N, K] from elsewhere what [Open] makes of a file's:
// probabilities become their logarithms, a single one its log-odds, and a single
// score a row becomes two classes, of which the first scores zero.
func Logits(scores *tensor.Tensor, probabilities bool) *tensor.Tensor {
	z := scores.Clone()
	if probabilities {
		for i, p := range z.Data {
			z.Data[i] = logarithm(p)
			if scores.RowLen() == 1 {
				z.Data[i] -= logarithm(1 - p)
			}
		}
	}
	if scores.RowLen() != 1 {
		return z
	}
	pair := tensor.New(scores.Rows(), 2)
	for i, v := range z.Data {
		pair.Row(i)[1] = v
	}
	return pair
}

func logarithm(p float32) float32 {
	return float32(math.Log(float64(max(p, leastProbability))))
}
