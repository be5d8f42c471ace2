package model

import (
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Loss names a function of a sample's logits z that an attacker increases.
type Loss int

const (
	// CrossEntropy is -log softmax(z)[y]; against a target t it is
	// log softmax(z)[t]. Its gradient vanishes where the model is certain.
	CrossEntropy Loss = iota
	// Margin is max_{i!=y} z_i - z_y (Carlini and Wagner 2017, f6); against a
	// target t it is z_t - max_{i!=t} z_i. It is positive exactly when the
	// attack has succeeded, and its gradient does not vanish.
	Margin
	// DLR is the difference-of-logits ratio (Croce and Hein 2020): the margin
	// over z_(1) - z_(3), or against a target t, z_t - z_y over
	// z_(1) - (z_(3)+z_(4))/2. It does not change when logits are scaled. It
	// needs three classes, four against a target.
	DLR
	// Constraints is min_c (W_c . z + b_c): positive exactly when every linear
	// constraint on the outputs holds strictly. It serves [VNN-LIB] properties.
	Constraints
)

func (l Loss) String() string {
	return [...]string{"cross-entropy", "margin", "dlr", "constraints"}[l]
}

// Objective is what an attack increases, one value a sample.
type Objective struct {
	Loss   Loss
	Labels []int // true class of each sample
	// Targets is the class that each sample is to be given; nil for an
	// untargeted attack, which is content with any class but the label.
	Targets []int
	// W and B hold the constraints of each sample for [Constraints]:
	// [N, C, K] and [N, C].
	W, B *tensor.Tensor
	// Straight asks for the gradient as if the model did not round, threshold
	// or otherwise count in steps; see [Straight].
	Straight bool
}

// Select is the objective of the given rows of the batch.
func (o *Objective) Select(rows []int) *Objective {
	s := &Objective{Loss: o.Loss, Straight: o.Straight}
	if o.Labels != nil {
		s.Labels = pick(o.Labels, rows)
	}
	if o.Targets != nil {
		s.Targets = pick(o.Targets, rows)
	}
	if o.W != nil {
		s.W, s.B = o.W.Gather(rows), o.B.Gather(rows)
	}
	return s
}

func pick(v []int, rows []int) []int {
	out := make([]int, len(rows))
	for i, r := range rows {
		out[i] = v[r]
	}
	return out
}

// Check reports an objective that does not fit n samples of k classes.
func (o *Objective) Check(n, k int) error {
	if o.Loss == Constraints {
		if o.W == nil || o.B == nil || o.W.Rows() != n || o.W.Shape[2] != k {
			return fmt.Errorf("constraints do not fit %d samples of %d outputs", n, k)
		}
		return nil
	}
	if len(o.Labels) != n || o.Targets != nil && len(o.Targets) != n {
		return fmt.Errorf("%d labels and %d targets for %d samples", len(o.Labels), len(o.Targets), n)
	}
	for i, y := range o.Labels {
		if y < 0 || y >= k || o.Targets != nil && (o.Targets[i] < 0 || o.Targets[i] >= k) {
			return fmt.Errorf("sample %d: label outside the model's %d classes", i, k)
		}
	}
	if need := map[bool]int{false: 3, true: 4}[o.Targets != nil]; o.Loss == DLR && k < need {
		return fmt.Errorf("the dlr objective needs %d classes, the model has %d: use margin", need, k)
	}
	return nil
}

// Value is the objective of sample i given its logits.
func (o *Objective) Value(i int, z []float32) float64 {
	target := -1
	if o.Targets != nil {
		target = o.Targets[i]
	}
	switch o.Loss {
	case Margin:
		if target >= 0 {
			return float64(z[target]) - highest(z, target)
		}
		return highest(z, o.Labels[i]) - float64(z[o.Labels[i]])
	case DLR:
		return dlr(z, o.Labels[i], target)
	case Constraints:
		return o.slack(i, z)
	}
	if target >= 0 {
		return -crossEntropy(z, target)
	}
	return crossEntropy(z, o.Labels[i])
}

// highest is the largest logit but z[skip].
func highest(z []float32, skip int) float64 {
	best := math.Inf(-1)
	for i, v := range z {
		if i != skip {
			best = math.Max(best, float64(v))
		}
	}
	return best
}

func crossEntropy(z []float32, y int) float64 {
	top := highest(z, -1)
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum) - float64(z[y])
}

// dlr follows Croce and Hein 2020, equations 6 and 8; 1e-12 keeps the ratio
// finite as in their code.
func dlr(z []float32, y, target int) float64 {
	top := [4]float64{math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1)}
	for _, v := range z {
		for j, w := 0, float64(v); j < 4; j++ {
			if w > top[j] {
				w, top[j] = top[j], w
			}
		}
	}
	if target >= 0 {
		return (float64(z[target]) - float64(z[y])) / (top[0] - (top[2]+top[3])/2 + 1e-12)
	}
	return (highest(z, y) - float64(z[y])) / (top[0] - top[2] + 1e-12)
}

func (o *Objective) slack(i int, z []float32) float64 {
	w, b := o.W.Row(i), o.B.Row(i)
	least := math.Inf(1)
	for c, v := range b {
		sum := float64(v)
		for j, zj := range z {
			sum += float64(w[c*len(z)+j]) * float64(zj)
		}
		least = math.Min(least, sum)
	}
	return least
}

// Reached reports whether logits z are what the attack on sample i wants:
// another class than the label, or the target. Logits that are not numbers are
// never a success.
func (o *Objective) Reached(i int, z []float32) bool {
	best, sum := tensor.ArgMax(z), float32(0)
	for _, v := range z {
		sum += v
	}
	switch {
	case sum != sum: // some logit is, or infinite ones of both signs are there
		return false
	case o.Loss == Constraints:
		return o.slack(i, z) > 0
	case o.Targets != nil:
		return best == o.Targets[i]
	}
	return best != o.Labels[i]
}
