package data

import (
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Layout says which dimension of an image holds its colours.
type Layout string

// The layouts of a sample. ONNX calls a batch of CHW samples NCHW.
const (
	Flat Layout = ""    // not an image, or not known to be one
	CHW  Layout = "chw" // colours first
	HWC  Layout = "hwc" // colours last
)

// ParseLayout reads "nchw", "nhwc", "chw", "hwc" or the empty string.
func ParseLayout(name string) (Layout, error) {
	switch name {
	case "":
		return Flat, nil
	case "chw", "nchw":
		return CHW, nil
	case "hwc", "nhwc":
		return HWC, nil
	}
	return Flat, fmt.Errorf("layout %q: want nchw or nhwc", name)
}

// For gives the samples the shape of a model's input. The first dimension of
// shape is the batch; -1 is a size that the model leaves open. Layout is that
// of the model; Flat lets the shape decide, by where a 1 or a 3 stands.
//
// Dimensions of 1 come and go freely (28x28, 1x28x28, 28x28x1), samples
// flatten and unflatten, and images change between colours first and colours
// last. No other change of shape is made, even where the element counts agree,
// because it would scramble the samples. X is replaced, never written to.
func (s *Set) For(shape []int64, layout Layout) error {
	if len(shape) == 0 {
		return fmt.Errorf("fit %s to the model: its input is a scalar", s.Path)
	}
	have := s.X.Shape[1:]
	want, ok := resolve(shape[1:], have)
	if !ok {
		return fmt.Errorf("fit %s to the model: a sample has shape %v (%d elements), the model's input is %v; "+
			"check that data and model belong together", s.Path, have, tensor.Len(have), shape[1:])
	}
	if layout == Flat {
		layout = guess(want)
	}
	x, from := s.X, s.Layout
	if from == Flat {
		from = guess(have)
	}
	if from != Flat && layout != Flat && from != layout && len(have) == 3 {
		if moved := transposed(have, layout); fits(moved, want) {
			x, have = transpose(x, layout), moved
		}
	}
	if !fits(have, want) {
		return fmt.Errorf("fit %s to the model: a sample has shape %v, the model's input is %v; the counts agree but "+
			"the dimensions do not, so reshaping would scramble the samples; transpose the data first", s.Path, have, want)
	}
	s.X = &tensor.Tensor{Shape: append([]int{x.Rows()}, want...), Data: x.Data}
	s.Layout = Flat
	if len(squeeze(want)) > 1 {
		s.Layout = layout
	}
	return nil
}

// resolve fills in the open dimensions of a model's input from a sample.
func resolve(want []int64, have []int) ([]int, bool) {
	out, open, known := make([]int, len(want)), 0, 1
	for i, d := range want {
		out[i] = int(d)
		if d < 0 {
			open++
		} else {
			known *= int(d)
		}
	}
	n := tensor.Len(have)
	switch {
	case open == 0:
		return out, known == n
	case open == 1:
		if known == 0 || n%known != 0 {
			return nil, false
		}
		out[slices.IndexFunc(out, func(d int) bool { return d < 0 })] = n / known
		return out, true
	}
	// Several open dimensions are taken from a sample of the same rank, with
	// ones added in front or behind if that makes the rank agree.
	for _, sample := range [][]int{have, append([]int{1}, have...), append(slices.Clone(have), 1)} {
		if len(sample) != len(out) {
			continue
		}
		filled := slices.Clone(out)
		for i, d := range filled {
			if d < 0 {
				filled[i] = sample[i]
			}
		}
		if tensor.Len(filled) == n {
			return filled, true
		}
	}
	return nil, false
}

// guess tells the layout from the place of a 1 or 3, the usual counts of
// colours.
func guess(shape []int) Layout {
	if len(shape) != 3 {
		return Flat
	}
	first, last := shape[0] == 1 || shape[0] == 3, shape[2] == 1 || shape[2] == 3
	switch {
	case first && !last:
		return CHW
	case last && !first:
		return HWC
	}
	return Flat
}

// fits reports whether reshaping keeps every element in its place.
func fits(have, want []int) bool {
	a, b := squeeze(have), squeeze(want)
	return slices.Equal(a, b) || tensor.Len(a) == tensor.Len(b) && (len(a) <= 1 || len(b) <= 1)
}

// squeeze drops the dimensions of 1.
func squeeze(shape []int) []int {
	return slices.DeleteFunc(slices.Clone(shape), func(d int) bool { return d == 1 })
}

func transposed(shape []int, to Layout) []int {
	if to == HWC {
		return []int{shape[1], shape[2], shape[0]}
	}
	return []int{shape[2], shape[0], shape[1]}
}

// transpose moves the colours of every sample to the place that the layout
// wants them in.
func transpose(x *tensor.Tensor, to Layout) *tensor.Tensor {
	sample := x.Shape[1:]
	out := tensor.New(append([]int{x.Rows()}, transposed(sample, to)...)...)
	rows, cols := sample[0], sample[1]*sample[2] // C by HW
	if to == CHW {
		rows, cols = sample[0]*sample[1], sample[2] // HW by C
	}
	for n := range x.Rows() {
		src, dst := x.Row(n), out.Row(n)
		for r := range rows {
			for c := range cols {
				dst[c*rows+r] = src[r*cols+c]
			}
		}
	}
	return out
}
