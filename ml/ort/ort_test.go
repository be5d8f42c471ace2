package ort_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// model makes a model of one graph at opset 18.
func model(in, out []*onnx.Value, nodes []*onnx.Node, weights ...*onnx.Tensor) *onnx.Model {
	m := &onnx.Model{IRVersion: 8, Graph: &onnx.Graph{Name: "g", Inputs: in, Outputs: out, Nodes: nodes, Initializers: weights}}
	m.SetOpset("", 18)
	return m
}

func value(name string, elem onnx.DataType, dims ...int64) *onnx.Value {
	t := &onnx.TensorType{Elem: elem, HasShape: true}
	for _, d := range dims {
		t.Dims = append(t.Dims, onnx.Dim{Size: d})
	}
	return &onnx.Value{Name: name, Type: &onnx.Type{Tensor: t, Kind: "tensor"}}
}

func affine() *onnx.Model {
	return model([]*onnx.Value{value("x", onnx.Float, -1, 2)}, []*onnx.Value{value("y", onnx.Float, -1, 2)},
		[]*onnx.Node{
			onnx.NewNode("MatMul", []string{"x", "w"}, []string{"h"}),
			onnx.NewNode("Add", []string{"h", "b"}, []string{"y"}),
		},
		onnx.FloatTensor("w", []float32{1, 2, 3, 4}, 2, 2), onnx.FloatTensor("b", []float32{10, 20}, 2))
}

func TestRunTensors(t *testing.T) {
	s := session(t, affine(), ort.Options{})
	out, err := s.RunTensors(t.Context(), map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{1, 1, 0, 2}, 2, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out["y"].Floats(), []float32{14, 26, 16, 28}; !slices.Equal(got, want) {
		t.Errorf("y = %v, want %v", got, want)
	}
}

func session(t testing.TB, m *onnx.Model, o ort.Options) *ort.Session {
	t.Helper()
	s, err := orttest.Runtime(t).NewSession(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Every element type passes through unchanged, scalars, empty arrays and arrays of
// many dimensions too.
func TestEveryType(t *testing.T) {
	for _, elem := range []onnx.DataType{onnx.Float, onnx.Double, onnx.Float16, onnx.BFloat16, onnx.Int8, onnx.Int16,
		onnx.Int32, onnx.Int64, onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64, onnx.Bool, onnx.Float8E4M3FN} {
		for _, dims := range [][]int64{{}, {3}, {0}, {2, 0, 3}, {2, 2}, {1, 2, 1, 1, 1, 1, 1, 1, 1, 3}} {
			m := model([]*onnx.Value{value("x", elem, dims...)}, []*onnx.Value{value("y", elem, dims...)},
				[]*onnx.Node{onnx.NewNode("Identity", []string{"x"}, []string{"y"})})
			m.IRVersion = 10
			m.SetOpset("", 21)
			s, err := orttest.Runtime(t).NewSession(m, ort.Options{})
			if err != nil {
				t.Fatalf("%v%v: %v", elem, dims, err)
			}
			n := (&onnx.Tensor{Dims: dims}).Len()
			raw := make([]byte, (n*int64(elem.Bits())+7)/8)
			for i := range raw {
				raw[i] = byte(i*37) & 1
			}
			out, err := s.RunTensors(t.Context(), map[string]*onnx.Tensor{"x": onnx.RawTensor("x", elem, raw, dims...)})
			s.Close()
			if err != nil {
				t.Errorf("%v%v: %v", elem, dims, err)
				continue
			}
			if y := out["y"]; y.Type != elem || !slices.Equal(y.Dims, dims) || !slices.Equal(y.Raw, raw) {
				t.Errorf("%v%v: got %v%v %v", elem, dims, y.Type, y.Dims, y.Raw)
			}
		}
	}
}

// The types that ONNX Runtime numbers in its own way are told apart, both on
// their way in and on their way out.
func TestNewestTypes(t *testing.T) {
	x := onnx.FloatTensor("x", []float32{1, 0, 1, 1}, 4)
	for _, elem := range []onnx.DataType{onnx.Uint2, onnx.Int2, onnx.Float8E8M0, onnx.Uint4, onnx.Int4} {
		cast := func(from, to onnx.DataType, in *onnx.Tensor) *onnx.Tensor {
			m := model([]*onnx.Value{value("x", from, 4)}, []*onnx.Value{value("y", to, 4)},
				[]*onnx.Node{onnx.NewNode("Cast", []string{"x"}, []string{"y"}, onnx.IntAttr("to", int64(to)))})
			m.IRVersion = 13
			m.SetOpset("", 25)
			out, err := session(t, m, ort.Options{}).RunTensors(t.Context(), map[string]*onnx.Tensor{"x": in})
			if err != nil {
				t.Fatalf("%v to %v: %v", from, to, err)
			}
			return out["y"]
		}
		y := cast(onnx.Float, elem, x)
		if y.Type != elem {
			t.Errorf("cast to %v gives %v", elem, y.Type)
			continue
		}
		want := []float32{1, 0, 1, 1}
		if elem == onnx.Float8E8M0 {
			want[1] = 0x1p-127 // it has powers of two only
		}
		if got := cast(elem, onnx.Float, y).Floats(); !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", elem, got, want)
		}
	}
}

func TestStrings(t *testing.T) {
	s := session(t, model([]*onnx.Value{value("x", onnx.String, 3)}, []*onnx.Value{value("y", onnx.String, 3)},
		[]*onnx.Node{onnx.NewNode("Identity", []string{"x"}, []string{"y"})}), ort.Options{})
	in := &onnx.Tensor{Type: onnx.String, Dims: []int64{3}, Strings: [][]byte{[]byte("a"), {}, []byte("déjà")}}
	out, err := s.RunTensors(t.Context(), map[string]*onnx.Tensor{"x": in})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range in.Strings {
		if got := out["y"].Strings[i]; string(got) != string(want) {
			t.Errorf("element %d = %q, want %q", i, got, want)
		}
	}
}

func TestArraysRunInPlaceAndShrink(t *testing.T) {
	rt := orttest.Runtime(t)
	s := session(t, affine(), ort.Options{})
	x, y := array(t, rt, 4, 2), array(t, rt, 4, 2)
	for n := int64(4); n > 0; n-- {
		if err := errors.Join(x.Reshape(n, 2), y.Reshape(n, 2)); err != nil {
			t.Fatal(err)
		}
		for i := range x.Float32() {
			x.Float32()[i] = float32(n)
		}
		if err := s.Run(t.Context(), []*ort.Array{x}, []*ort.Array{y}); err != nil {
			t.Fatal(err)
		}
		if got, want := y.Float32()[2*n-1], 6*float32(n)+20; got != want {
			t.Errorf("batch %d: last = %v, want %v", n, got, want)
		}
	}
	if err := x.Reshape(5, 2); err == nil {
		t.Error("an array grew past its memory")
	}
}

func array(t testing.TB, rt *ort.Runtime, dims ...int64) *ort.Array {
	t.Helper()
	a, err := rt.NewArray(onnx.Float, dims...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func TestBadCallsAreRefused(t *testing.T) {
	s := session(t, affine(), ort.Options{})
	for name, in := range map[string]map[string]*onnx.Tensor{
		"missing":   {},
		"unknown":   {"z": onnx.FloatTensor("z", []float32{1, 1}, 1, 2)},
		"shape":     {"x": onnx.FloatTensor("x", []float32{1, 1, 1}, 1, 3)},
		"type":      {"x": onnx.IntTensor("x", []int64{1, 1}, 1, 2)},
		"short":     {"x": {Type: onnx.Float, Dims: []int64{1, 2}, Raw: []byte{1}}},
		"negative":  {"x": {Type: onnx.Float, Dims: []int64{-1, 2}}},
		"undefined": {"x": {Dims: []int64{1, 2}, Raw: make([]byte, 8)}},
		"enormous":  {"x": {Type: onnx.Float, Dims: []int64{1 << 40, 1 << 40}}},
	} {
		if _, err := s.RunTensors(t.Context(), in); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: the error is not one line: %q", name, err)
		}
	}
}

// What is no dense tensor is refused as an output, by name, and left out of shapes.
func TestOtherValues(t *testing.T) {
	m := model([]*onnx.Value{value("x", onnx.Float, 2)}, []*onnx.Value{value("y", onnx.Float, 2), {Name: "s"}},
		[]*onnx.Node{
			onnx.NewNode("Identity", []string{"x"}, []string{"y"}),
			onnx.NewNode("SequenceConstruct", []string{"x", "y"}, []string{"s"}),
		})
	in := map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{1, 2}, 2)}
	if _, err := session(t, m, ort.Options{}).RunTensors(t.Context(), in); err == nil || !strings.Contains(err.Error(), `output "s": it is a sequence`) {
		t.Errorf("err = %v, want that s is a sequence", err)
	}
	got, err := orttest.Runtime(t).Shapes(t.Context(), m, map[string][]int64{"x": {2}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got["s"]; ok || !slices.Equal(got["y"].Dims, []int64{2}) {
		t.Errorf("shapes = %v, want y's and not s's", got)
	}
}

func TestConcurrentRuns(t *testing.T) {
	s := session(t, affine(), ort.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				out, err := s.RunTensors(context.Background(), map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{float32(i), 0}, 1, 2)})
				if err != nil || out["y"].Floats()[0] != float32(i)+10 {
					t.Errorf("run %d: %v %v", i, out, err)
				}
			}
		})
	}
	wg.Wait()
}

// slow is a model of very many matrix products, of matrices as large as its input.
func slow() *onnx.Model {
	const count = 400
	var nodes []*onnx.Node
	last := "x"
	for i := range count {
		next := "h" + string(rune('a'+i%26)) + strings.Repeat("_", i/26)
		nodes = append(nodes, onnx.NewNode("MatMul", []string{last, "x"}, []string{next}))
		last = next
	}
	return model([]*onnx.Value{value("x", onnx.Float, -1, -1)}, []*onnx.Value{value(last, onnx.Float, -1, -1)}, nodes)
}

func TestCancelEndsARun(t *testing.T) {
	s := session(t, slow(), ort.Options{})
	x := onnx.FloatTensor("x", make([]float32, 512*512), 512, 512)
	for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		_, err := s.RunTensors(ctx, map[string]*onnx.Tensor{"x": x})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v, want context.Canceled", err)
		}
	}
	// It does not end the next.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := s.RunTensors(ctx, map[string]*onnx.Tensor{"x": onnx.FloatTensor("x", []float32{1}, 1, 1)}); err != nil {
		t.Error(err)
	}
}

func TestShapesTellTheBatchApart(t *testing.T) {
	rt := orttest.Runtime(t)
	m := model([]*onnx.Value{value("x", onnx.Float, -1, 6)}, []*onnx.Value{value("z", onnx.Float)},
		[]*onnx.Node{
			onnx.NewNode("Reshape", []string{"x", "to"}, []string{"y"}),
			onnx.NewNode("Shape", []string{"y"}, []string{"s"}),
			onnx.NewNode("ReduceSum", []string{"y"}, []string{"z"}, onnx.IntAttr("keepdims", 0)),
		}, onnx.IntTensor("to", []int64{-1, 2, 3}, 3))
	got, err := rt.Shapes(t.Context(), m, map[string][]int64{"x": {-1, 6}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]onnx.Shape{
		"x": {Elem: onnx.Float, Dims: []int64{-1, 6}}, "y": {Elem: onnx.Float, Dims: []int64{-1, 2, 3}},
		"s": {Elem: onnx.Int64, Dims: []int64{3}}, "z": {Elem: onnx.Float, Dims: []int64{}},
		"to": {Elem: onnx.Int64, Dims: []int64{3}},
	} {
		if sh := got[name]; sh.Elem != want.Elem || !slices.Equal(sh.Dims, want.Dims) {
			t.Errorf("%s: %v, want %v", name, sh, want)
		}
	}
}

func TestLibraryErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.so")
	var notFound *ort.NotFoundError
	if _, err := ort.Open(missing); !errors.As(err, &notFound) || !strings.Contains(err.Error(), "redoubt runtime fetch") {
		t.Errorf("missing library: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ort.Open(text); err == nil {
		t.Error("a text file was loaded as a library")
	}
}

func TestFetchRefusesAnotherArchive(t *testing.T) {
	t.Setenv("REDOUBT_CACHE", t.TempDir())
	bad := filepath.Join(t.TempDir(), "bad.tgz")
	if err := os.WriteFile(bad, []byte("not the archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ort.Fetch(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("err = %v, want a digest mismatch", err)
	}
	path, err := ort.CachePath()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("something was left in the cache")
	}
}
