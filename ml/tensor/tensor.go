// Package tensor holds dense float32 arrays: batches of samples on their way
// between data sets, models and attacks.
//
// The first dimension is the batch; [Tensor.Row] is one sample. Anything
// heavier than a loop over elements is the runtime's work, not this package's.
package tensor

import (
	"fmt"
	"slices"
)

// Tensor is a dense array in row-major order. len(Data) is the product of
// Shape. The fields may be set directly; [New] and [Of] keep them consistent.
type Tensor struct {
	Shape []int
	Data  []float32
}

// New returns a zero tensor.
func New(shape ...int) *Tensor {
	return &Tensor{Shape: slices.Clone(shape), Data: make([]float32, Len(shape))}
}

// Of wraps data, which it keeps. It panics if the shape asks for another count.
func Of(data []float32, shape ...int) *Tensor {
	if len(data) != Len(shape) {
		panic(fmt.Sprintf("tensor: %d elements for shape %v", len(data), shape))
	}
	return &Tensor{Shape: slices.Clone(shape), Data: data}
}

// Len is the number of elements of a shape; the empty shape is a scalar.
func Len(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Rows is the batch size: the first dimension.
func (t *Tensor) Rows() int { return t.Shape[0] }

// RowLen is the number of elements of one sample.
func (t *Tensor) RowLen() int { return Len(t.Shape[1:]) }

// Row is sample i, sharing memory.
func (t *Tensor) Row(i int) []float32 {
	n := t.RowLen()
	return t.Data[i*n : (i+1)*n : (i+1)*n]
}

// Slice is samples lo to hi (exclusive), sharing memory.
func (t *Tensor) Slice(lo, hi int) *Tensor {
	n := t.RowLen()
	shape := slices.Clone(t.Shape)
	shape[0] = hi - lo
	return &Tensor{Shape: shape, Data: t.Data[lo*n : hi*n : hi*n]}
}

// Gather copies the samples with the given indices into a new tensor.
func (t *Tensor) Gather(rows []int) *Tensor {
	shape := slices.Clone(t.Shape)
	shape[0] = len(rows)
	out := New(shape...)
	for i, r := range rows {
		copy(out.Row(i), t.Row(r))
	}
	return out
}

// Clone copies the tensor.
func (t *Tensor) Clone() *Tensor {
	return &Tensor{Shape: slices.Clone(t.Shape), Data: slices.Clone(t.Data)}
}

// ArgMax is the index of the largest element, the lowest on a tie; 0 when
// every element is NaN.
func ArgMax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] || row[best] != row[best] {
			best = i
		}
	}
	return best
}
