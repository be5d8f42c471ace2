package model

import "github.com/redoubt-ml/redoubt/ml/onnx"

// Inputs of gradient graphs beside the samples.
const (
	labelsName  = "redoubt.labels"  // int64 [N]
	targetsName = "redoubt.targets" // int64 [N]
	wName       = "redoubt.w"       // float32 [N, C, K]
	bName       = "redoubt.b"       // float32 [N, C]
)

// cotangent adds the nodes that compute the derivative of each sample's
// objective with respect to its logits, in closed form, and returns their
// result's name. It is what a vector-Jacobian product starts from.
func cotangent(g *onnx.Graph, loss Loss, targeted bool, classes int) string {
	c := objectiveGraph{classes: int64(classes)}
	g.Inputs = append(g.Inputs, c.inputs(loss, targeted)...)
	var out string
	switch {
	case loss == Constraints:
		out = c.constraints()
	case loss == CrossEntropy && targeted:
		out = c.sub(c.oneHot(targetsName), c.softmax())
	case loss == CrossEntropy:
		out = c.sub(c.softmax(), c.oneHot(labelsName))
	case loss == Margin && targeted:
		t := c.oneHot(targetsName)
		out = c.sub(t, c.rival(t))
	case loss == Margin:
		y := c.oneHot(labelsName)
		out = c.sub(c.rival(y), y)
	case targeted:
		out = c.dlrTargeted()
	default:
		out = c.dlr()
	}
	g.Nodes, g.Initializers = append(g.Nodes, c.nodes...), append(g.Initializers, c.weights...)
	return out
}

// objectiveGraph builds small expressions on the logits.
type objectiveGraph struct {
	piece
	classes int64
	n       int
}

func (c *objectiveGraph) inputs(loss Loss, targeted bool) []*onnx.Value {
	ints := func(name string) *onnx.Value {
		v := floats(name, []int64{-1})
		v.Type.Tensor.Elem = onnx.Int64
		return v
	}
	switch {
	case loss == Constraints:
		w, b := floats(wName, []int64{-1, -1, c.classes}), floats(bName, []int64{-1, -1})
		w.Type.Tensor.Dims[1].Symbol, b.Type.Tensor.Dims[1].Symbol = "C", "C"
		return []*onnx.Value{w, b}
	case targeted && loss == DLR:
		return []*onnx.Value{ints(labelsName), ints(targetsName)}
	case targeted:
		return []*onnx.Value{ints(targetsName)}
	}
	return []*onnx.Value{ints(labelsName)}
}

// fresh names a value or constant.
func (c *objectiveGraph) fresh() string {
	c.n++
	return "redoubt.objective." + string(rune('a'+c.n/26)) + string(rune('a'+c.n%26))
}

func (c *objectiveGraph) op(op string, in []string, attrs ...*onnx.Attr) string {
	return c.node(op, in, c.fresh(), attrs...)
}

func (c *objectiveGraph) sub(a, b string) string { return c.op("Sub", []string{a, b}) }
func (c *objectiveGraph) mul(a, b string) string { return c.op("Mul", []string{a, b}) }
func (c *objectiveGraph) div(a, b string) string { return c.op("Div", []string{a, b}) }
func (c *objectiveGraph) softmax() string {
	return c.op("Softmax", []string{logitsName}, onnx.IntAttr("axis", 1))
}

func (c *objectiveGraph) number(v float32) string {
	return c.weight(onnx.FloatTensor(c.fresh(), []float32{v}))
}

func (c *objectiveGraph) integers(v ...int64) string {
	return c.weight(onnx.IntTensor(c.fresh(), v, int64(len(v))))
}

// oneHot turns class numbers [N] into rows [N, K].
func (c *objectiveGraph) oneHot(classes string) string {
	depth := c.weight(onnx.IntTensor(c.fresh(), []int64{c.classes}))
	values := c.weight(onnx.FloatTensor(c.fresh(), []float32{0, 1}, 2))
	return c.op("OneHot", []string{classes, depth, values}, onnx.IntAttr("axis", -1))
}

// rival is the one-hot row of the largest logit outside the given one-hot row.
func (c *objectiveGraph) rival(row string) string {
	others := c.sub(logitsName, c.mul(row, c.number(1e30)))
	best := c.op("ArgMax", []string{others}, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 0))
	return c.oneHot(best)
}

// top returns the one-hot rows of the k largest logits, best first.
func (c *objectiveGraph) top(k int) []string {
	at := c.fresh()
	c.nodes = append(c.nodes, onnx.NewNode("TopK", []string{logitsName, c.integers(int64(k))}, []string{c.fresh(), at}, onnx.IntAttr("axis", 1)))
	rows := make([]string, k)
	for i := range rows {
		column := c.weight(onnx.IntTensor(c.fresh(), []int64{int64(i)}))
		rows[i] = c.oneHot(c.op("Gather", []string{at, column}, onnx.IntAttr("axis", 1)))
	}
	return rows
}

// along is the logit, [N, 1], that a one-hot row selects.
func (c *objectiveGraph) along(row string) string {
	return c.op("ReduceSum", []string{c.mul(row, logitsName), c.integers(1)})
}

// quotient is the derivative of (n.z) / (d.z + 1e-12) for rows n and d that do
// not depend on z: (n - q d) / (d.z + 1e-12).
func (c *objectiveGraph) quotient(n, d string) string {
	below := c.op("Add", []string{c.along(d), c.number(1e-12)})
	q := c.div(c.along(n), below)
	return c.div(c.sub(n, c.mul(q, d)), below)
}

func (c *objectiveGraph) dlr() string {
	y := c.oneHot(labelsName)
	top := c.top(3)
	return c.quotient(c.sub(c.rival(y), y), c.sub(top[0], top[2]))
}

func (c *objectiveGraph) dlrTargeted() string {
	top := c.top(4)
	half := c.mul(c.op("Add", []string{top[2], top[3]}), c.number(0.5))
	return c.quotient(c.sub(c.oneHot(targetsName), c.oneHot(labelsName)), c.sub(top[0], half))
}

// constraints is the row of W of the constraint with the least slack.
func (c *objectiveGraph) constraints() string {
	z := c.op("Unsqueeze", []string{logitsName, c.integers(2)})
	slack := c.op("Add", []string{c.op("Squeeze", []string{c.op("MatMul", []string{wName, z}), c.integers(2)}), bName})
	least := c.op("ArgMin", []string{slack}, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 1))
	return c.op("GatherND", []string{wName, least}, onnx.IntAttr("batch_dims", 1))
}
