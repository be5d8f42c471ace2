package evasion

import (
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// nearest keeps, for an attack that looks for the smallest perturbation, the
// closest successful point of each sample.
type nearest struct {
	b    *Batch
	goal *model.Objective
	x    *tensor.Tensor
	size []float64 // +Inf where nothing was found
	d    []float32 // scratch
	// measure is what closest means; it is the norm's size unless an attack says
	// otherwise, which then calls measured in the end.
	measure func(d []float32) float64
}

func (b *Batch) nearest() *nearest {
	n := &nearest{b: b, goal: b.objective(model.Margin), x: b.X.Clone(), size: make([]float64, b.X.Rows()), d: make([]float32, b.X.RowLen()), measure: b.Norm.Size}
	for i := range n.size {
		n.size[i] = math.Inf(1)
	}
	return n
}

// offer enters a point of a sample if its logits z are what is wanted, and
// reports whether they are.
func (n *nearest) offer(row int, x, z []float32) bool {
	if !n.goal.Reached(row, z) {
		return false
	}
	if s := n.distance(row, x); s < n.size[row] {
		n.size[row] = s
		copy(n.x.Row(row), x)
	}
	return true
}

// distance is how far x is from sample row.
func (n *nearest) distance(row int, x []float32) float64 {
	difference(n.d, x, n.b.X.Row(row))
	return n.measure(n.d)
}

// inside is the closest points where they lie in the ball, and the samples
// themselves where they do not: a radius that the attack cannot reach is not
// broken, however close it came.
func (n *nearest) inside() *tensor.Tensor {
	for row, s := range n.size {
		if s > n.b.Eps[row] {
			copy(n.x.Row(row), n.b.X.Row(row))
		}
	}
	return n.x
}

func difference(d, x, origin []float32) {
	for j, v := range x {
		d[j] = v - origin[j]
	}
}

// dual is the norm that says how steep a gradient is to who moves in norm n:
// the most that a function with gradient g rises over a step of size 1.
func dual(n Norm) Norm {
	switch n {
	case Linf:
		return L1
	case L1:
		return Linf
	}
	return n
}

// usable reports whether the size of a gradient can be divided by.
func usable(size float64) bool { return size > 0 && !math.IsInf(size, 1) }

// only reports a norm that an attack does not work in.
func only(b *Batch, attack string, norms ...Norm) error {
	for _, n := range norms {
		if b.Norm == n {
			return nil
		}
	}
	return fmt.Errorf("attack %s does not work in %s: use another attack or norm", attack, b.Norm.Name())
}

// farthest is the size of the largest perturbation of a sample inside the box.
func (n *nearest) farthest(row int) float64 {
	for j, v := range n.b.X.Row(row) {
		lo, hi := n.b.Box.At(j)
		n.d[j] = max(v-lo, hi-v)
	}
	return n.b.Norm.Size(n.d)
}

// annealed falls from first to last along half a cosine: i of steps are done.
func annealed(first, last float64, i, steps int) float64 {
	return last + (first-last)*(1+math.Cos(math.Pi*float64(i)/float64(steps)))/2
}
