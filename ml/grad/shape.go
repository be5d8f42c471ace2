package grad

import (
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// look finds the shape of a value of the graph.
func (e *emitter) look(name string) (onnx.Shape, bool) {
	if s, ok := e.shapes[name]; ok {
		return s, true
	}
	if s, ok := e.local[name]; ok {
		return s, true
	}
	if t := e.inits[name]; t != nil {
		return onnx.Shape{Elem: t.Type, Dims: t.Dims}, true
	}
	return onnx.Shape{}, false
}

func (e *emitter) shape(name string) onnx.Shape {
	s, ok := e.look(name)
	if !ok {
		e.fail("the shape of %q is not known", name)
	}
	return s
}

// dims are a value's dimensions, -1 where they vary.
func (e *emitter) dims(name string) []int64 { return e.shape(name).Dims }

func (e *emitter) rank(name string) int { return len(e.dims(name)) }

// fixed is a dimension that the rule needs as a number.
func (e *emitter) fixed(name string, axis int) int64 {
	d := e.dims(name)[axis]
	if d < 0 {
		e.fail("dimension %d of %q varies from run to run, and this needs a fixed one", axis, name)
	}
	return d
}

// spatial are the dimensions of a convolution's or pool's value after batch
// and channels, as numbers.
func (e *emitter) spatial(name string) []int64 {
	var s []int64
	for i := 2; i < e.rank(name); i++ {
		s = append(s, e.fixed(name, i))
	}
	return s
}

// gradElem is the type that the gradient of a value has: the value's own,
// or float32 for a quantised one.
func (e *emitter) gradElem(name string) onnx.DataType {
	if t := e.shape(name).Elem; t.IsFloat() {
		return t
	}
	return onnx.Float
}

// axis makes an axis of a value of the given rank count from the front.
func (e *emitter) axis(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		e.fail("its axis is outside the %d dimensions of its input", rank)
	}
	return int(a)
}

// constInts is the content of an integer value that must be a constant.
func (e *emitter) constInts(name, what string) []int64 {
	v, ok := e.tryInts(name)
	if !ok {
		e.fail("its %s is computed at run time, and this needs a constant", what)
	}
	return v
}

func (e *emitter) tryInts(name string) ([]int64, bool) {
	t := e.inits[name]
	if t == nil || t.Type != onnx.Int64 && t.Type != onnx.Int32 {
		return nil, false
	}
	return t.Ints(), true
}

// constFloats is the content of a float value that must be a constant.
func (e *emitter) constFloats(name, what string) []float64 {
	v, ok := e.tryFloats(name)
	if !ok {
		e.fail("its %s is computed at run time, and this needs a constant", what)
	}
	return v
}

func (e *emitter) tryFloats(name string) ([]float64, bool) {
	t := e.inits[name]
	if t == nil {
		return nil, false
	}
	return numbers(t)
}

// sizes names a vector with a value's dimensions: a constant if they are
// fixed, else read at run time.
func (e *emitter) sizes(name string) string {
	d := e.dims(name)
	if !slices.Contains(d, -1) {
		return e.ints(d...)
	}
	return e.once("shape:"+name, func() string { return e.apply("Shape", name) })
}

// size names a vector of one element, a value's dimension.
func (e *emitter) size(name string, axis int) string {
	if d := e.dims(name)[axis]; d >= 0 {
		return e.ints(d)
	}
	shape := e.sizes(name)
	return e.once(fmt.Sprint("dim:", axis, ":", name), func() string {
		return e.apply("Gather", shape, e.ints(int64(axis)))
	})
}

// extent is one dimension of a shape being put together: a number, or a
// dimension of a value.
type extent struct {
	n    int64
	of   string // the value, when the number is not known
	axis int
}

// extents are the dimensions lo to hi (exclusive) of a value.
func (e *emitter) extents(name string, lo, hi int) []extent {
	var x []extent
	for i := lo; i < hi; i++ {
		x = append(x, extent{e.dims(name)[i], name, i})
	}
	return x
}

// reshape gives a value the dimensions put together. One unknown dimension is
// left for Reshape to infer, so that a dynamic batch costs no more nodes.
func (e *emitter) reshape(v string, to ...extent) string {
	dims := make([]int64, len(to))
	unknown, empty := 0, false
	for i, x := range to {
		dims[i] = x.n
		if x.n < 0 {
			unknown++
		}
		empty = empty || x.n == 0
	}
	if unknown == 0 && !empty || unknown == 1 && !empty {
		return e.apply("Reshape", v, e.ints(dims...))
	}
	return e.emit("Reshape", []string{v, e.join(to)}, onnx.IntAttr("allowzero", 1))
}

// join names the vector of the dimensions put together.
func (e *emitter) join(to []extent) string {
	var parts []string
	var run []int64
	flush := func() {
		if run != nil {
			parts = append(parts, e.ints(run...))
			run = nil
		}
	}
	for _, x := range to {
		if x.n >= 0 {
			run = append(run, x.n)
			continue
		}
		flush()
		parts = append(parts, e.size(x.of, x.axis))
	}
	flush()
	switch len(parts) {
	case 0:
		return e.ints()
	case 1:
		return parts[0]
	}
	return e.emit("Concat", parts, onnx.IntAttr("axis", 0))
}

func lit(n ...int64) []extent {
	x := make([]extent, len(n))
	for i, v := range n {
		x[i].n = v
	}
	return x
}

// reshapeLike gives a value the shape of another.
func (e *emitter) reshapeLike(v, like string) string {
	return e.reshape(v, e.extents(like, 0, e.rank(like))...)
}

// flat makes a value one-dimensional.
func (e *emitter) flat(v string) string { return e.apply("Reshape", v, e.ints(-1)) }

// fill is a number in the shape of a value, in the gradient's type.
func (e *emitter) fill(v float64, like string) string { return e.fillShape(v, e.sizes(like)) }

// fillShape is a number in the shape that a vector holds.
func (e *emitter) fillShape(v float64, shape string) string {
	return e.emit("ConstantOfShape", []string{shape}, onnx.TensorAttr("value", floats([]float64{v}, e.elem, []int64{1})))
}

// expandLike repeats a value that broadcasts to the shape of another.
func (e *emitter) expandLike(v, like string) string { return e.apply("Expand", v, e.sizes(like)) }

// unbroadcast turns a gradient in the broadcast shape of y into one in the
// shape of x: it sums over what broadcasting repeated.
func (e *emitter) unbroadcast(grad, y, x string) string {
	ys, xs := e.dims(y), e.dims(x)
	lead := len(ys) - len(xs)
	var outer, inner []int64
	for i := range ys {
		switch {
		case i < lead:
			outer = append(outer, int64(i))
		case xs[i-lead] == 1 && ys[i] != 1:
			inner = append(inner, int64(i))
		case xs[i-lead] == -1 && ys[i] >= 0:
			return e.unbroadcastAtRun(grad, y, x)
		}
	}
	if inner != nil {
		grad = e.sum(grad, append(slices.Clone(outer), inner...), true)
		if outer != nil {
			grad = e.apply("Squeeze", grad, e.ints(outer...))
		}
		return grad
	}
	if outer != nil {
		grad = e.sum(grad, outer, false)
	}
	return grad
}

// unbroadcastAtRun is for a dimension of x that is sometimes 1 and sometimes
// that of y: which axes to sum over is then computed.
func (e *emitter) unbroadcastAtRun(grad, y, x string) string {
	xs := e.sizes(x)
	if lead := e.rank(y) - e.rank(x); lead > 0 {
		ones := slices.Repeat([]int64{1}, lead)
		xs = e.emit("Concat", []string{e.ints(ones...), xs}, onnx.IntAttr("axis", 0))
	}
	differ := e.apply("Not", e.apply("Equal", xs, e.sizes(y)))
	axes := e.flat(e.apply("NonZero", differ))
	grad = e.emit("ReduceSum", []string{grad, axes}, onnx.IntAttr("keepdims", 1), onnx.IntAttr("noop_with_empty_axes", 1))
	return e.reshapeLike(grad, x)
}

// sum adds up over axes, which must not be empty.
func (e *emitter) sum(v string, axes []int64, keep bool) string {
	return e.reduce("ReduceSum", v, axes, keep)
}

func (e *emitter) mean(v string, axes []int64, keep bool) string {
	return e.reduce("ReduceMean", v, axes, keep)
}

func (e *emitter) reduce(op, v string, axes []int64, keep bool) string {
	k := int64(0)
	if keep {
		k = 1
	}
	return e.emit(op, []string{v, e.ints(axes...)}, onnx.IntAttr("keepdims", k))
}

func (e *emitter) transpose(v string, perm ...int64) string {
	if slices.Equal(perm, span(0, len(perm))) {
		return v
	}
	return e.emit("Transpose", []string{v}, onnx.IntsAttr("perm", perm...))
}

// span is lo, lo+1, ..., hi-1.
func span(lo, hi int) []int64 {
	var s []int64
	for i := lo; i < hi; i++ {
		s = append(s, int64(i))
	}
	return s
}

// slice cuts v on the given axes.
func (e *emitter) slice(v string, starts, ends, axes, steps []int64) string {
	return e.apply("Slice", v, e.ints(starts...), e.ints(ends...), e.ints(axes...), e.ints(steps...))
}

// pad surrounds v with zeros: before and after have an entry an axis, and a
// negative one cuts off.
func (e *emitter) pad(v string, before, after []int64) string {
	if !slices.ContainsFunc(append(slices.Clone(before), after...), func(p int64) bool { return p != 0 }) {
		return v
	}
	return e.apply("Pad", v, e.ints(append(slices.Clone(before), after...)...))
}

// along multiplies the vectors that lie along an axis of v by a constant
// matrix of rows x the axis's size: the general linear map of one axis.
// pre and post are the extents of v before and after the axis.
func (e *emitter) along(v string, pre, post []extent, m matrix) string {
	rows, cols := len(m), len(m[0])
	flat := make([]float64, 0, rows*cols)
	for _, row := range m {
		flat = append(flat, row...)
	}
	if len(post) == 0 { // the axis is the last: v M^T
		t := make([]float64, rows*cols)
		for i := range rows {
			for j := range cols {
				t[j*rows+i] = flat[i*cols+j]
			}
		}
		return e.apply("MatMul", v, e.nums(t, int64(cols), int64(rows)))
	}
	w := e.nums(flat, int64(rows), int64(cols))
	if len(post) == 1 {
		return e.apply("MatMul", w, v)
	}
	// Fold what follows the axis into one dimension and unfold it afterwards.
	folded := int64(1)
	for _, x := range post {
		if x.n < 0 {
			e.fail("dimension %d of %q varies from run to run, and this needs a fixed one", x.axis, x.of)
		}
		folded *= x.n
	}
	v = e.reshape(v, slices.Concat(pre, lit(int64(cols), folded))...)
	v = e.apply("MatMul", w, v)
	return e.reshape(v, slices.Concat(pre, lit(int64(rows)), post)...)
}

// matrix is a dense constant, row by row.
type matrix [][]float64

// largestMatrix bounds what the map of one axis may take: 4096 x 4096.
const largestMatrix = 1 << 24

// matrix makes a zero matrix.
func (e *emitter) matrix(rows, cols int64) matrix {
	if cols > 0 && rows > largestMatrix/cols {
		e.fail("it would take a constant matrix of %d x %d", rows, cols)
	}
	m := make(matrix, rows)
	for i := range m {
		m[i] = make([]float64, cols)
	}
	return m
}

func (m matrix) transpose() matrix {
	t := make(matrix, len(m[0]))
	for j := range t {
		t[j] = make([]float64, len(m))
		for i := range m {
			t[j][i] = m[i][j]
		}
	}
	return t
}
