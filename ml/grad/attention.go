package grad

import (
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// attentionRules are scaled dot-product attention, which exporters write as
// one operator from opset 23 on:
//
//	Y = softmax(scale Q K' + mask) V
var attentionRules = []Rule{{Op: "Attention", Since: 23, VJP: vjpAttention}}

// hidden is added to the scores that a mask forbids. Its exponential is zero,
// and unlike minus infinity it leaves no NaN where all are forbidden.
const hidden = -1e30

// heads is Q, K or V, [batch, heads, length, width].
type heads struct {
	name                  string
	batch, n, long, width int64
}

func (h heads) dims() []int64 { return []int64{h.batch, h.n, h.long, h.width} }

func vjpAttention(c *call) {
	softcap := float64(c.node.Float("softcap", 0))
	causal := c.node.Int("is_causal", 0) != 0
	switch {
	case c.has(4) || c.has(5) || c.has(6):
		c.fail("it goes on from earlier keys and values")
	case slices.ContainsFunc(c.dys[1:], func(dy string) bool { return dy != "" }):
		c.fail("the model uses more of it than its result")
	case softcap != 0 && (causal || c.has(3)):
		c.fail("it caps scores that it masks, in an order that differs between opsets")
	}
	c.compose(func(d *definition) []string {
		q := d.heads(c.x(0), "q_num_heads")
		k, v := d.heads(c.x(1), "kv_num_heads"), d.heads(c.x(2), "kv_num_heads")
		if k.n == 0 || q.n%k.n != 0 || v.n != k.n {
			c.fail("its %d heads do not divide among %d", q.n, k.n)
		}
		scale := float64(c.node.Float("scale", float32(1/math.Sqrt(float64(q.width)))))
		weights := heads{batch: q.batch, n: q.n, long: q.long, width: k.long}
		s := d.join(q, heads{d.let([]int64{k.batch, k.n, k.width, k.long}, "Transpose", []string{k.name}, onnx.IntsAttr("perm", 0, 1, 3, 2)),
			k.batch, k.n, k.width, k.long})
		s = d.let(weights.dims(), "Mul", []string{s, c.num(scale)})
		if softcap != 0 {
			s = d.let(weights.dims(), "Tanh", []string{d.let(weights.dims(), "Mul", []string{s, c.num(1 / softcap)})})
			s = d.let(weights.dims(), "Mul", []string{s, c.num(softcap)})
		}
		if c.has(3) {
			s = d.let(weights.dims(), "Add", []string{s, d.mask(c.x(3))})
		}
		if causal {
			s = d.let(weights.dims(), "Add", []string{s, c.nums(triangle(q.long, k.long), q.long, k.long)})
		}
		weights.name = d.let(weights.dims(), "Softmax", []string{s}, onnx.IntAttr("axis", -1))
		y := d.join(weights, v)
		if c.rank(c.x(0)) == 3 {
			y = d.let([]int64{q.batch, q.long, q.n, v.width}, "Transpose", []string{y}, onnx.IntsAttr("perm", 0, 2, 1, 3))
			y = d.let([]int64{q.batch, q.long, q.n * v.width}, "Reshape", []string{y, c.ints(0, q.long, q.n*v.width)})
		}
		return []string{y}
	})
}

// heads takes an argument apart, where it comes as [batch, length, heads*width].
func (d *definition) heads(x, attr string) heads {
	dims := d.call.dims(x)
	switch len(dims) {
	case 4:
		return heads{x, dims[0], d.fixed(x, 1), d.fixed(x, 2), d.fixed(x, 3)}
	case 3:
		n := d.node.Int(attr, 0)
		if n < 1 || d.fixed(x, 2)%n != 0 {
			d.fail("its %s is %d", attr, n)
		}
		h := heads{batch: dims[0], n: n, long: d.fixed(x, 1), width: dims[2] / n}
		apart := d.let([]int64{h.batch, h.long, n, h.width}, "Reshape", []string{x, d.ints(0, h.long, n, h.width)})
		h.name = d.let(h.dims(), "Transpose", []string{apart}, onnx.IntsAttr("perm", 0, 2, 1, 3))
		return h
	}
	d.fail("an argument has rank %d", len(dims))
	return heads{}
}

// join multiplies each head of a with its head of b, which several heads of a
// may share.
func (d *definition) join(a, b heads) string {
	out := []int64{a.batch, a.n, a.long, b.width}
	if a.n == b.n {
		return d.let(out, "MatMul", []string{a.name, b.name})
	}
	share := a.n / b.n
	a5 := d.let([]int64{a.batch, b.n, share, a.long, a.width}, "Reshape", []string{a.name, d.ints(0, b.n, share, a.long, a.width)})
	b5 := d.let([]int64{b.batch, b.n, 1, b.long, b.width}, "Unsqueeze", []string{b.name, d.ints(2)})
	y := d.let([]int64{a.batch, b.n, share, a.long, b.width}, "MatMul", []string{a5, b5})
	return d.let(out, "Reshape", []string{y, d.ints(0, a.n, a.long, b.width)})
}

// mask is what a mask adds to the scores: booleans say which may be seen.
func (d *definition) mask(m string) string {
	sh := d.shape(m)
	if sh.Elem != onnx.Bool {
		return m
	}
	forbidden := d.let(sh.Dims, "Sub", []string{d.num(1), d.let(sh.Dims, "Cast", []string{m}, onnx.IntAttr("to", int64(d.elem)))})
	return d.let(sh.Dims, "Mul", []string{forbidden, d.num(hidden)})
}

// triangle forbids each query the keys after it.
func triangle(queries, keys int64) []float64 {
	v := make([]float64, queries*keys)
	for i := range queries {
		for j := i + 1; j < keys; j++ {
			v[i*keys+j] = hidden
		}
	}
	return v
}
