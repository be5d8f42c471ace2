package model

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// takeColumns puts one input, the rows of a table, in the place of several that take
// some columns each.
func (p *prepared) takeColumns(cfg Config, feeds []*onnx.Value) error {
	parts, err := share(feeds, cfg.Columns)
	if err != nil {
		return err
	}
	width := 0
	for _, part := range parts {
		width += len(part)
	}
	p.sample, p.whole = []int64{int64(width)}, make([]bool, width)
	for i, in := range feeds {
		for _, j := range parts[i] {
			p.whole[j] = !in.Type.Tensor.Elem.IsFloat()
		}
	}
	if p.integer = !slices.Contains(p.whole, false); !slices.Contains(p.whole, true) {
		p.whole = nil
	}
	front, x, err := normalise(cfg, 1)
	if err != nil {
		return err
	}
	for i, in := range feeds {
		name := "redoubt." + in.Name + ".columns"
		part := front.node("Gather", []string{x, front.weight(onnx.IntTensor(name+".at", parts[i], int64(len(parts[i]))))}, name, onnx.IntAttr("axis", 1))
		if len(in.Type.Tensor.Dims) == 1 {
			part = front.node("Reshape", []string{part, front.weight(onnx.IntTensor(name+".list", []int64{-1}, 1))}, name+".one")
		}
		front.enter(part, in)
	}
	p.parts = parts
	p.begin(front)
	return nil
}

// feeds is a batch as the file takes it, one whose inputs hold float32.
func (p *prepared) feeds(inputs []*onnx.Value, x *tensor.Tensor) map[string]*onnx.Tensor {
	rows := int64(x.Rows())
	if p.parts == nil {
		return map[string]*onnx.Tensor{inputs[0].Name: onnx.FloatTensor("x", x.Data, append([]int64{rows}, p.sample...)...)}
	}
	feeds := map[string]*onnx.Tensor{}
	for i, in := range inputs {
		var part []float32
		for n := range x.Rows() {
			for _, j := range p.parts[i] {
				part = append(part, x.Row(n)[j])
			}
		}
		dims := []int64{rows, int64(len(p.parts[i]))}
		feeds[in.Name] = onnx.FloatTensor("x", part, dims[:len(in.Type.Tensor.Dims)]...)
	}
	return feeds
}

// share gives every input the elements of a sample that it takes: those of the column
// that it is called like, or the next ones, where none is called like a column.
func share(feeds []*onnx.Value, columns []string) ([][]int64, error) {
	byName := map[string][]int64{} // the elements of each column
	for j, name := range columns {
		byName[fold(name)] = append(byName[fold(name)], int64(j))
	}
	parts := make([][]int64, len(feeds))
	var names, strangers []string
	taken := map[string]bool{}
	for i, in := range feeds {
		if err := perturbable(in); err != nil {
			return nil, err
		}
		if n := len(in.Type.Tensor.Dims); n > 2 {
			return nil, fmt.Errorf("the model has %d inputs, and input %q has %d dimensions: only inputs that are columns of a table are taken together: export it with the others as constants of the graph", len(feeds), in.Name, n)
		}
		name := fold(in.Name)
		if parts[i] = byName[name]; parts[i] == nil || taken[name] {
			strangers = append(strangers, in.Name)
		}
		taken[name] = true
		names = append(names, in.Name)
	}
	next := int64(0)
	for i, in := range feeds {
		width, open := int64(1), false
		if t := in.Type.Tensor; len(t.Dims) == 2 {
			width, open = t.Dims[1].Size, !t.Dims[1].Fixed()
		}
		switch {
		case len(strangers) == 0 && !open && width != int64(len(parts[i])):
			return nil, fmt.Errorf("input %q takes %d elements, and its column makes %d", in.Name, width, len(parts[i]))
		case len(strangers) == 0:
			next += int64(len(parts[i]))
			continue
		case len(strangers) < len(feeds):
			return nil, fmt.Errorf("the model's inputs %s are called like no column (%s): give the columns the names of the inputs", strings.Join(strangers, ", "), strings.Join(slices.Compact(slices.Clone(columns)), ", "))
		case open:
			return nil, fmt.Errorf("the model has %d inputs (%s), and %q does not say how many columns it takes", len(feeds), strings.Join(names, ", "), in.Name)
		case width > mostElements-next:
			return nil, fmt.Errorf("the model's inputs take more than %d elements", mostElements)
		}
		for range width {
			parts[i] = append(parts[i], next)
			next++
		}
	}
	if columns != nil && next != int64(len(columns)) {
		return nil, fmt.Errorf("the model's inputs (%s) take %d elements, and rows of the table have %d (%s)",
			strings.Join(names, ", "), next, len(columns), strings.Join(slices.Compact(slices.Clone(columns)), ", "))
	}
	return parts, nil
}

// mostElements bounds a sample that several inputs are filled from.
const mostElements = 1 << 20

// fold is a name as exporters may have changed it, without what is neither a letter nor
// a digit.
func fold(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "_")
}
