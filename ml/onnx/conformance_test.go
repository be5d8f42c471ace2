package onnx_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// dataSet is the inputs and expected outputs of one run, by value name.
type dataSet struct{ in, out map[string]*onnx.Tensor }

// dataSets reads the runs of one node test. It is an error for a test to use
// values that are not dense tensors.
func dataSets(m *onnx.Model, files map[string][]byte) ([]dataSet, error) {
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if v.Type == nil || v.Type.Tensor == nil {
			return nil, fmt.Errorf("%q is not a dense tensor", v.Name)
		}
	}
	read := func(prefix string, names []*onnx.Value) (map[string]*onnx.Tensor, error) {
		set := make(map[string]*onnx.Tensor)
		for i, v := range names {
			b, ok := files[fmt.Sprintf("%s_%d.pb", prefix, i)]
			if !ok {
				continue
			}
			t, err := onnx.DecodeTensor(b, onnx.DefaultLimits)
			if err != nil {
				return nil, err
			}
			set[v.Name] = t
		}
		return set, nil
	}
	var sets []dataSet
	for i := 0; ; i++ {
		dir := fmt.Sprintf("test_data_set_%d/", i)
		if files[dir+"output_0.pb"] == nil {
			return sets, nil
		}
		in, err := read(dir+"input", m.Graph.Feeds())
		if err != nil {
			return nil, err
		}
		out, err := read(dir+"output", m.Graph.Outputs)
		if err != nil {
			return nil, err
		}
		sets = append(sets, dataSet{in, out})
	}
}

// run gives a model's outputs for one set of inputs.
func run(t *testing.T, m *onnx.Model, in map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
	s, err := orttest.Runtime(t).NewSession(m, ort.Options{Plain: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.RunTensors(t.Context(), in)
}

// differ describes the first difference of two tensors beyond the tolerance
// |got-want| <= atol + rtol*|want|, and is empty where there is none. What is
// not floating point must be equal.
func differ(got, want *onnx.Tensor, rtol, atol float64) string {
	if got == nil {
		return "is missing"
	}
	if got.Type != want.Type || !slices.Equal(got.Dims, want.Dims) {
		return fmt.Sprintf("is %v%v, want %v%v", got.Type, got.Dims, want.Type, want.Dims)
	}
	if want.Type == onnx.Float8E5M2 && slices.EqualFunc(got.Raw, want.Raw, func(a, b byte) bool {
		return a == b || a&0x7f > 0x7c && b&0x7f > 0x7c // any NaN
	}) {
		return ""
	}
	if !want.Type.IsFloat() {
		if !bytes.Equal(got.Raw, want.Raw) || !slices.EqualFunc(got.Strings, want.Strings, bytes.Equal) {
			return fmt.Sprintf("%v%v differs", want.Type, want.Dims)
		}
		return ""
	}
	a, b := float64s(got), float64s(want)
	for i := range b {
		near := math.Abs(a[i]-b[i]) <= atol+rtol*math.Abs(b[i])
		if !near && a[i] != b[i] && !(math.IsNaN(a[i]) && math.IsNaN(b[i])) {
			return fmt.Sprintf("element %d is %v, want %v", i, a[i], b[i])
		}
	}
	return ""
}

// float64s reads the elements of a floating-point tensor of any width.
func float64s(t *onnx.Tensor) []float64 {
	var v []float64
	for raw := t.Raw; len(raw) > 0; raw = raw[t.Type.Bits()/8:] {
		switch t.Type {
		case onnx.Float:
			v = append(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
		case onnx.Double:
			v = append(v, math.Float64frombits(binary.LittleEndian.Uint64(raw)))
		case onnx.BFloat16:
			v = append(v, float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw))<<16)))
		case onnx.Float16:
			h := uint32(binary.LittleEndian.Uint16(raw))
			f := float64(h&0x3ff) / 1024
			switch e := int(h >> 10 & 31); e {
			case 0:
				f = math.Ldexp(f, -14)
			case 31:
				f = math.Inf(1)
				if h&0x3ff != 0 {
					f = math.NaN()
				}
			default:
				f = math.Ldexp(1+f, e-15)
			}
			if h>>15 != 0 {
				f = -f
			}
			v = append(v, f)
		}
	}
	return v
}

// runtimeDiffers lists tests, by how their names begin, in which ONNX Runtime
// itself does not give what ONNX expects of the file as it stands. They run
// all the same, to be compared before and after the edits.
var runtimeDiffers = []string{
	// Random numbers are not compared, here as in ONNX's own suite.
	"test_bernoulli", "test_random", "test_training_dropout",
	// Listed as mismatches by ONNX Runtime's own filter of this suite,
	// onnxruntime/test/testdata/onnx_backend_test_series_filters.jsonc.
	"test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners",
	// Sums that cancel to zero: off by float32 rounding, at most 2e-4.
	"test_dft", "test_stft",
}

// begins reports whether a test's name begins as one of a list.
func begins(name string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(name, p) })
}

// TestNodeTests runs ONNX's operator tests: what this package decodes and
// encodes again must compute in the runtime what ONNX says it computes, and so
// must its simplified form and the one upgraded to the latest opset. The tolerance is
// ONNX's own. What the runtime refuses must be refused before and after alike.
func TestNodeTests(t *testing.T) {
	tests := nodeTests(t)
	orttest.Runtime(t)
	accepted, upgraded := 0, 0
	refused := make(map[string]int)
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		m, err := onnx.Decode(tests[name]["model.onnx"], onnx.DefaultLimits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sets, err := dataSets(m, tests[name])
		if err != nil {
			refused["values that are not dense tensors"]++
			continue
		}
		if len(sets) == 0 {
			t.Errorf("%s: no data", name)
		}
		for _, set := range sets {
			got, err := run(t, m, set.in)
			if err != nil {
				refused[reason(err)]++
				continue
			}
			if !begins(name, runtimeDiffers) {
				accepted++
				compare(t, name, got, set.out, 1e-3, 1e-7)
			}
			edited := edit(t, name, m)
			if edited == nil {
				continue
			}
			upgraded++
			after, err := run(t, edited, set.in)
			if err != nil {
				t.Errorf("%s: runs, but not after Upgrade and Simplify: %v", name, err)
				continue
			}
			if !begins(name, runtimeDiffers[:3]) {
				compare(t, name+" after Upgrade and Simplify", after, got, 1e-6, 1e-7)
			}
		}
	}
	t.Logf("%d tests run and agree, %d of them also upgraded and simplified; refused: %v", accepted, upgraded, refused)
	if accepted < 800 {
		t.Errorf("only %d of %d tests ran", accepted, len(tests))
	}
}

// reason sorts the runtime's refusals.
func reason(err error) string {
	for part, what := range map[string]string{
		"opset":                            "opset beyond the runtime",
		"is not a registered function":     "operator unknown to the runtime",
		"Could not find an implementation": "no kernel for the type",
		"Failed to find kernel":            "no kernel for the type",
		"StringNormalizer::Locale":         "locale absent from the machine",
	} {
		if strings.Contains(err.Error(), part) {
			return what
		}
	}
	return "refused by the runtime's own checks"
}

// edit is the model upgraded and simplified, nil where that is refused.
func edit(t *testing.T, name string, m *onnx.Model) *onnx.Model {
	c := m.Clone()
	if err := onnx.Check(c); err != nil {
		return nil
	}
	if err := onnx.Upgrade(c, onnx.MaxUpgrade); err != nil {
		t.Logf("%s: %v", name, err)
		return nil
	}
	if err := onnx.Simplify(c); err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	return c
}

func compare(t *testing.T, what string, got, want map[string]*onnx.Tensor, rtol, atol float64) {
	t.Helper()
	for name, w := range want {
		if d := differ(got[name], w, rtol, atol); d != "" {
			t.Errorf("%s: %q %s", what, name, d)
		}
	}
}

// TestSharedNetworks compares with the outputs that ONNX Runtime gave for the
// files themselves, elsewhere, with its optimisations off.
func TestSharedNetworks(t *testing.T) {
	type array struct {
		DType string
		Dims  []int64
		B64   []byte
	}
	var cases []struct {
		Model           string
		Case            int
		Inputs, Outputs map[string]array
	}
	f, err := os.Open(need.Data(t, "reference/onnxruntime_outputs.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 118 {
		t.Fatalf("%d cases, want 118", len(cases))
	}
	elem := map[string]onnx.DataType{"float32": onnx.Float, "float64": onnx.Double, "int64": onnx.Int64, "int32": onnx.Int32,
		"uint8": onnx.Uint8, "int16": onnx.Int16, "bfloat16": onnx.BFloat16, "bool": onnx.Bool}
	tensors := func(arrays map[string]array) map[string]*onnx.Tensor {
		set := make(map[string]*onnx.Tensor)
		for name, a := range arrays {
			if elem[a.DType] == 0 {
				t.Fatalf("element type %q", a.DType)
			}
			set[name] = onnx.RawTensor(name, elem[a.DType], a.B64, a.Dims...)
		}
		return set
	}
	for _, c := range cases {
		m, err := onnx.Read(need.Data(t, c.Model), onnx.DefaultLimits)
		if err != nil {
			t.Error(err)
			continue
		}
		in, want := tensors(c.Inputs), tensors(c.Outputs)
		for _, form := range []string{"as it is", "upgraded and simplified"} {
			if form != "as it is" {
				if m = edit(t, c.Model, m); m == nil {
					t.Errorf("%s: cannot be upgraded", c.Model)
					break
				}
			}
			got, err := run(t, m, in)
			if err != nil {
				t.Errorf("%s %s: %v", c.Model, form, err)
				continue
			}
			compare(t, fmt.Sprintf("%s case %d %s", c.Model, c.Case, form), got, want, 1e-4, 1e-5)
		}
	}
}
