package grad

import (
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// definition is an operator written out in simpler ones that have rules of
// their own. What it emits is a second forward pass, which the operator's
// gradient is then taken through.
type definition struct {
	*call
	body onnx.Graph
}

// let emits a node of the definition with the given result shape.
func (d *definition) let(dims []int64, op string, inputs []string, attrs ...*onnx.Attr) string {
	return d.lets([][]int64{dims}, op, inputs, attrs...)[0]
}

func (d *definition) lets(dims [][]int64, op string, inputs []string, attrs ...*onnx.Attr) []string {
	outs := d.emitMany(op, inputs, len(dims), attrs...)
	d.body.Nodes = append(d.body.Nodes, d.nodes[len(d.nodes)-1])
	for i, out := range outs {
		d.local[out] = onnx.Shape{Elem: d.elem, Dims: dims[i]}
	}
	return outs
}

// compose differentiates the node by a definition, which returns a value for
// each of the node's outputs that has a gradient ("" for the others).
func (c *call) compose(define func(d *definition) []string) {
	d := &definition{call: c}
	outs := define(d)
	sub := &sweep{emitter: c.emitter, table: c.table, arrived: map[string][]string{}, rectify: map[string]string{}}
	var wrt, from []string
	for i, in := range c.node.Inputs {
		if c.wants(i) && !slices.Contains(wrt, in) {
			wrt = append(wrt, in)
		}
	}
	for i, dy := range c.dys {
		if dy != "" {
			from = append(from, outs[i])
			sub.arrived[outs[i]] = append(sub.arrived[outs[i]], dy)
		}
	}
	sub.path = trace(&d.body, c.table, from, wrt, func(string) bool { return true })
	for _, n := range slices.Backward(sub.path.nodes) {
		sub.visit(n)
	}
	for i, in := range c.node.Inputs {
		if at := slices.Index(wrt, in); at >= 0 {
			wrt[at] = "" // an input that is there twice gets its gradient once
			if grad := sub.total(in); grad != "" {
				c.give(i, grad)
			}
		}
		c.stop(i)
	}
}
