package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func graph(in, out []*onnx.Value, nodes []*onnx.Node, weights ...*onnx.Tensor) *onnx.Model {
	m := &onnx.Model{IRVersion: 8, Graph: &onnx.Graph{Name: "g", Inputs: in, Outputs: out, Nodes: nodes, Initializers: weights}}
	m.SetOpset("", 18)
	return m
}

// value declares a tensor; a dimension is a number, a symbol, or -1.
func value(name string, elem onnx.DataType, dims ...any) *onnx.Value {
	t := &onnx.TensorType{Elem: elem, HasShape: true}
	for _, d := range dims {
		switch d := d.(type) {
		case int:
			t.Dims = append(t.Dims, onnx.Dim{Size: int64(d)})
		case string:
			t.Dims = append(t.Dims, onnx.Dim{Size: -1, Symbol: d})
		}
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: t, Kind: "tensor"}}
}

func list[T any](v ...T) []T { return v }

// simple is the model of Triton's examples: two inputs, their sum and their
// difference.
func simple() *onnx.Model {
	return graph(list(value("INPUT0", onnx.Int32, "batch", 16), value("INPUT1", onnx.Int32, "batch", 16)),
		list(value("OUTPUT0", onnx.Int32, "batch", 16), value("OUTPUT1", onnx.Int32, "batch", 16)),
		list(onnx.NewNode("Add", list("INPUT0", "INPUT1"), list("OUTPUT0")), onnx.NewNode("Sub", list("INPUT0", "INPUT1"), list("OUTPUT1"))))
}

func local(t testing.TB, m *onnx.Model, cfg LocalConfig) *Local {
	t.Helper()
	cfg.Name = "m"
	l, err := New(t.Context(), orttest.Runtime(t), m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func int32s(name string, rows int64, v ...int32) oip.Tensor {
	t := oip.Tensor{Name: name, Datatype: oip.INT32, Shape: []int64{rows, int64(len(v)) / rows}}
	for _, v := range v {
		t.Raw = binary.LittleEndian.AppendUint32(t.Raw, uint32(v))
	}
	return t
}

func floats(name string, shape []int64, v ...float32) oip.Tensor {
	t := oip.Tensor{Name: name, Datatype: oip.FP32, Shape: shape}
	for _, v := range v {
		t.Raw = binary.LittleEndian.AppendUint32(t.Raw, math.Float32bits(v))
	}
	return t
}

func code(err error) oip.Code {
	var e *oip.Error
	if !errors.As(err, &e) {
		return 255
	}
	return e.Code
}

// pair is a request to simple: sixteen times a, sixteen times b.
func pair(a, b int32) *oip.Request {
	return &oip.Request{ID: fmt.Sprint(a), Inputs: []oip.Tensor{
		int32s("INPUT0", 1, slices.Repeat([]int32{a}, 16)...), int32s("INPUT1", 1, slices.Repeat([]int32{b}, 16)...)}}
}

func checkPair(t *testing.T, a, b int32, r *oip.Response, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	sum, difference := int32s("OUTPUT0", 1, slices.Repeat([]int32{a + b}, 16)...), int32s("OUTPUT1", 1, slices.Repeat([]int32{a - b}, 16)...)
	want := &oip.Response{ModelName: "m", ID: fmt.Sprint(a), Outputs: []oip.Tensor{sum, difference}}
	for i := range r.Outputs {
		r.Outputs[i].Strings = nil
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%d, %d: %+v, want %+v", a, b, r, want)
	}
}

func TestLocal(t *testing.T) {
	l := local(t, simple(), LocalConfig{})
	if !l.Batched() {
		t.Error("simple is not batched")
	}
	m, err := l.Metadata(t.Context())
	two := func(a, b string) []oip.TensorMetadata {
		return []oip.TensorMetadata{{Name: a, Datatype: oip.INT32, Shape: []int64{-1, 16}}, {Name: b, Datatype: oip.INT32, Shape: []int64{-1, 16}}}
	}
	if want := (&oip.Metadata{Name: "m", Platform: "onnxruntime_onnx", Inputs: two("INPUT0", "INPUT1"), Outputs: two("OUTPUT0", "OUTPUT1")}); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("metadata %+v %v, want %+v", m, err, want)
	}
	r, err := l.Infer(t.Context(), pair(7, 2))
	checkPair(t, 7, 2, r, err)

	q := pair(7, 2)
	q.Outputs = []oip.Output{{Name: "OUTPUT1"}}
	if r, err = l.Infer(t.Context(), q); err != nil || len(r.Outputs) != 1 || r.Outputs[0].Name != "OUTPUT1" {
		t.Errorf("%v %v, want OUTPUT1 alone", r, err)
	}
	if s := l.Statistics(); s.InferenceCount != 2 || s.ExecutionCount != 2 || s.Inference.Success.Count != 2 || s.Batches[0].Size != 1 || s.LastInference == 0 {
		t.Errorf("statistics %+v", s)
	}
	if err := l.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if _, err := l.Infer(t.Context(), pair(1, 1)); code(err) != oip.Unavailable || code(l.Ready(t.Context())) != oip.Unavailable {
		t.Errorf("closed: %v, want unavailable", err)
	}
}

func TestLocalRefuses(t *testing.T) {
	l := local(t, simple(), LocalConfig{Memory: 1 << 12})
	two := local(t, graph(list(value("a", onnx.String, "n", "k"), value("b", onnx.String, "n", "k")), list(value("y", onnx.String, "n", "k")),
		list(onnx.NewNode("Identity", list("a"), list("y")), onnx.NewNode("Identity", list("b"), list("z")))), LocalConfig{})
	word := func(name, s string, shape ...int64) oip.Tensor {
		return oip.Tensor{Name: name, Datatype: oip.BYTES, Shape: shape, Strings: slices.Repeat([][]byte{[]byte(s)}, int((&oip.Tensor{Shape: shape}).Len()))}
	}
	for _, c := range []struct {
		name   string
		l      *Local
		change func(q *oip.Request)
		code   oip.Code
		why    string
	}{
		{"input missing", l, func(q *oip.Request) { q.Inputs = q.Inputs[:1] }, oip.BadInput, `"INPUT1" is missing`},
		{"input unknown", l, func(q *oip.Request) { q.Inputs[1].Name = "INPUT2" }, oip.BadInput, `no input "INPUT2"`},
		{"input too many", l, func(q *oip.Request) { q.Inputs = append(q.Inputs, int32s("INPUT2", 1, 1)) }, oip.BadInput, "no input"},
		{"type", l, func(q *oip.Request) { q.Inputs[0].Datatype = oip.FP32 }, oip.BadInput, "takes INT32"},
		{"size", l, func(q *oip.Request) { q.Inputs[0] = int32s("INPUT0", 1, 1, 2) }, oip.BadInput, "takes [-1 16]"},
		{"rank", l, func(q *oip.Request) { q.Inputs[0].Shape = []int64{16} }, oip.BadInput, "takes [-1 16]"},
		{"bytes", l, func(q *oip.Request) { q.Inputs[0].Raw = q.Inputs[0].Raw[1:] }, oip.BadInput, "takes 64 bytes"},
		{"rows that differ", l, func(q *oip.Request) { q.Inputs[0] = int32s("INPUT0", 2, make([]int32, 32)...) }, oip.BadInput, "as in other inputs"},
		{"output unknown", l, func(q *oip.Request) { q.Outputs = []oip.Output{{Name: "y"}} }, oip.BadInput, `no output "y"`},
		{"classification", l, func(q *oip.Request) {
			q.Outputs = []oip.Output{{Name: "OUTPUT0", Parameters: oip.Parameters{"classification": int64(1)}}}
		}, oip.Unsupported, "classification"},
		{"too large", l, func(q *oip.Request) {
			q.Inputs = []oip.Tensor{int32s("INPUT0", 100, make([]int32, 1600)...), int32s("INPUT1", 100, make([]int32, 1600)...)}
		}, oip.TooLarge, "larger"},
		{"zero byte", two, func(q *oip.Request) { q.Inputs = []oip.Tensor{word("a", "x\x00y", 1, 1), word("b", "x", 1, 1)} }, oip.BadInput, "zero byte"},
		{"rows of nothing", two, func(q *oip.Request) {
			q.Inputs = []oip.Tensor{word("a", "", 1_000_000, 0), word("b", "", 1_000_000, 0)}
		}, oip.BadInput, "no elements"},
		{"nothing of much", two, func(q *oip.Request) {
			q.Inputs = []oip.Tensor{word("a", "", 0, math.MaxInt64), word("b", "", 0, math.MaxInt64)}
		}, oip.BadInput, "no elements"},
		{"symbols that differ", two, func(q *oip.Request) { q.Inputs = []oip.Tensor{word("a", "x", 1, 2), word("b", "x", 1, 3)} }, oip.BadInput, "as in other inputs"},
	} {
		q := pair(1, 2)
		c.change(q)
		if _, err := c.l.Infer(t.Context(), q); code(err) != c.code || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: error %v (%v), want %v that says %q", c.name, err, code(err), c.code, c.why)
		}
	}
}

// A batch of no rows, and rows of no elements, are answered as what they are.
func TestNoElements(t *testing.T) {
	sums := local(t, graph(list(value("x", onnx.Float, "n", "k")), list(value("y", onnx.Float, "n")),
		list(onnx.NewNode("ReduceSum", list("x", "axis"), list("y"), onnx.IntAttr("keepdims", 0))), &onnx.Tensor{Name: "axis", Type: onnx.Int64, Dims: []int64{1}, Raw: []byte{1, 0, 0, 0, 0, 0, 0, 0}}), LocalConfig{})
	for _, shape := range [][]int64{{0, 3}, {0, 0}, {3, 0}, {1024, 0}} {
		a, err := sums.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{floats("x", shape)}})
		if err != nil || !slices.Equal(a.Outputs[0].Shape, shape[:1]) {
			t.Errorf("shape %v: answer %v, error %v; want one of shape %v", shape, a, err, shape[:1])
		}
	}
	_, err := sums.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{1025, 0})}})
	if code(err) != oip.BadInput {
		t.Errorf("a thousand and more rows of nothing: error %v, want bad input", err)
	}
}

// Every type goes through a model and comes back the same, alone and joined.
func TestEveryDatatype(t *testing.T) {
	for elem, d := range datatypes {
		l := local(t, graph(list(value("x", elem, "n", 2)), list(value("y", elem, "n", 2)), list(onnx.NewNode("Identity", list("x"), list("y")))), LocalConfig{})
		x := oip.Tensor{Name: "x", Datatype: d, Shape: []int64{1, 2}}
		if d == oip.BYTES {
			x.Strings = [][]byte{[]byte("é\n"), {}}
		} else {
			x.Raw = bytes.Repeat([]byte{1}, 2*d.Size())
		}
		r, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{x}})
		if err != nil {
			t.Errorf("%s: %v", d, err)
			continue
		}
		y := r.Outputs[0]
		if y.Datatype != d || !bytes.Equal(y.Raw, x.Raw) || !slices.EqualFunc(y.Strings, x.Strings, slices.Equal[[]byte]) {
			t.Errorf("%s: %v, want %v", d, y, x)
		}
		if !l.Batched() {
			t.Errorf("%s: not batched", d)
		}
	}
}

// Whether rows may be joined is found out, whatever the file declares.
func TestBatchIsTried(t *testing.T) {
	x, y := value("x", onnx.Float, "n", 4), value("y", onnx.Float, "n", 4)
	axis := onnx.IntTensor("axis", []int64{0}, 1)
	for _, c := range []struct {
		name    string
		m       *onnx.Model
		batched bool
	}{
		{"element by element", graph(list(x), list(y), list(onnx.NewNode("Exp", list("x"), list("y")))), true},
		{"softmax over the batch", graph(list(x), list(y), list(onnx.NewNode("Softmax", list("x"), list("y"), onnx.IntAttr("axis", 0)))), false},
		{"mean over the batch", graph(list(x), list(value("y", onnx.Float, 1, 4)), list(onnx.NewNode("ReduceMean", list("x", "axis"), list("y"))), axis), false},
		{"less the mean over the batch", graph(list(x), list(y), list(onnx.NewNode("ReduceMean", list("x", "axis"), list("mean")),
			onnx.NewNode("Sub", list("x", "mean"), list("y"))), axis), false},
		{"rows in reverse", graph(list(x), list(y), list(onnx.NewNode("Slice", list("x", "last", "first", "axis", "step"), list("y"))),
			onnx.IntTensor("last", []int64{-1}, 1), onnx.IntTensor("first", []int64{math.MinInt64}, 1), axis, onnx.IntTensor("step", []int64{-1}, 1)), false},
		{"exported for one row", graph(list(value("x", onnx.Float, 1, 4)), list(value("y", onnx.Float, 1, 4)),
			list(onnx.NewNode("Reshape", list("x", "shape"), list("h")), onnx.NewNode("Exp", list("h"), list("y"))), onnx.IntTensor("shape", []int64{1, 4}, 2)), true},
		{"exported for two rows", graph(list(value("x", onnx.Float, 2, 4)), list(value("y", onnx.Float, 2, 4)), list(onnx.NewNode("Exp", list("x"), list("y")))), false},
		{"a number", graph(list(value("x", onnx.Float)), list(value("y", onnx.Float)), list(onnx.NewNode("Exp", list("x"), list("y")))), false},
		{"open size beside the batch", graph(list(value("x", onnx.Float, "n", "k")), list(value("y", onnx.Float, "n", "k")), list(onnx.NewNode("Exp", list("x"), list("y")))), true},
	} {
		l := local(t, c.m, LocalConfig{})
		if l.Batched() != c.batched {
			t.Errorf("%s: batched %v, want %v", c.name, l.Batched(), c.batched)
		}
	}
}

// A file for single rows is run on several, and goes on taking what it
// declares and nothing else.
func TestFixedBatch(t *testing.T) {
	m := graph(list(value("x", onnx.Float, 1, 2)), list(value("y", onnx.Float, 1, 2)), list(onnx.NewNode("Neg", list("x"), list("y"))))
	l := local(t, m, LocalConfig{})
	meta, _ := l.Metadata(t.Context())
	if !l.Batched() || !slices.Equal(meta.Inputs[0].Shape, []int64{1, 2}) {
		t.Errorf("batched %v, %+v", l.Batched(), meta)
	}
	r, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{1, 2}, 1, 2)}})
	if err != nil || !bytes.Equal(r.Outputs[0].Raw, floats("", nil, -1, -2).Raw) {
		t.Errorf("%v %v", r, err)
	}
	if _, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{2, 2}, 1, 2, 3, 4)}}); code(err) != oip.BadInput {
		t.Errorf("two rows: error %v, want bad input", err)
	}
}

// A random forest of scikit-learn ends in a label and a sequence of maps, which
// becomes its probabilities, and single rows get the reference's answers joined
// with others.
func TestScikitLearn(t *testing.T) {
	l, err := Open(t.Context(), orttest.Runtime(t), need.Data(t, "models/misc/yalue_sklearn_randomforest.onnx"), LocalConfig{Name: "forest"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, _ := l.Metadata(t.Context())
	x := oip.Tensor{Name: m.Inputs[0].Name, Datatype: m.Inputs[0].Datatype, Shape: []int64{1, m.Inputs[0].Shape[1]}}
	x.Raw = make([]byte, x.Len()*int64(x.Datatype.Size()))
	r, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{x}})
	if err != nil || len(r.Outputs) != 2 || r.Outputs[1].Datatype != oip.FP32 || len(r.Outputs[1].Shape) != 2 || !l.Batched() {
		t.Errorf("batched %v: %v %+v %+v, want a label and probabilities", l.Batched(), err, r, m)
	}
}

// Rows asked for one by one, at once, are answered as scikit-learn did.
func TestReferenceAnswers(t *testing.T) {
	for _, name := range []string{"adult_rf40", "german_mlp"} {
		b, err := os.ReadFile(need.Data(t, "models/tabular/"+name+".ref.json"))
		if err != nil {
			t.Fatal(err)
		}
		var ref struct {
			Input string
			Shape []int64
			X     []byte `json:"x_f32le_b64"`
			P     []byte `json:"probabilities_f32le_b64"`
		}
		if err := json.Unmarshal(b, &ref); err != nil {
			t.Fatal(err)
		}
		l, err := Open(t.Context(), orttest.Runtime(t), need.Data(t, "models/tabular/"+name+".onnx"), LocalConfig{Name: name, Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if !l.Batched() {
			t.Errorf("%s: not batched", name)
		}
		rows := ref.Shape[0]
		var all sync.WaitGroup
		for i := range rows {
			all.Go(func() {
				x := oip.Tensor{Name: ref.Input, Datatype: oip.FP32, Shape: []int64{1, ref.Shape[1]}, Raw: part(ref.X, i, rows)}
				r, err := l.Infer(t.Context(), &oip.Request{Inputs: []oip.Tensor{x}})
				if err != nil {
					t.Errorf("%s, row %d: %v", name, i, err)
					return
				}
				want := oip.Tensor{Datatype: oip.FP32, Raw: part(ref.P, i, rows)}
				got := oip.Tensor{Datatype: oip.FP32, Raw: r.Outputs[len(r.Outputs)-1].Raw}
				if len(got.Raw) != len(want.Raw) || !near(&got, &want) {
					t.Errorf("%s, row %d: %x, want %x", name, i, got.Raw, want.Raw)
				}
			})
		}
		all.Wait()
		if s := l.Statistics(); s.InferenceCount != uint64(rows) || s.ExecutionCount == s.InferenceCount {
			t.Errorf("%s: %d rows in %d runs, want fewer runs", name, s.InferenceCount, s.ExecutionCount)
		}
	}
}

func part(b []byte, i, n int64) []byte {
	size := int64(len(b)) / n
	return b[i*size : (i+1)*size]
}
