package grad

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	paths "path"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// TestOperatorForms differentiates the standard's own operator tests at their
// own inputs: the forms that others thought of.
func TestOperatorForms(t *testing.T) {
	rt := orttest.Runtime(t)
	done, refused := 0, map[string]int{}
	atKink := func(name string) bool {
		return slices.ContainsFunc(kinked, func(k string) bool { return strings.HasPrefix(name, k) })
	}
	for name, files := range nodeTests(t) {
		if strings.Contains(name, "training_dropout") { // draws anew every run
			continue
		}
		tr, ok := operatorTrial(t, rt, files)
		if !ok {
			continue
		}
		off, err := tr.disagreement(t, rt)
		var p Problem
		switch {
		case errors.As(err, &p):
			refused[p.Op+": "+p.Reason]++
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !(off <= 0.02) && !atKink(name):
			t.Errorf("%s: the difference quotient is off by %.2g", name, off)
		default:
			done++
		}
	}
	for reason, n := range refused {
		t.Logf("%d refused: %s", n, reason)
	}
	if t.Logf("%d agree", done); done < 345 {
		t.Errorf("%d tests agree, want at least the 345 that once did", done)
	}
}

// kinked are the tests at a point without a derivative: a corner or jump at
// one of their inputs, a vector of zeros to normalise, an attention row masked
// out entirely, which is NaN before the graph repairs it.
var kinked = []string{
	"test_elu_example", "test_selu_example", "test_sign", "test_floor_example", "test_round", "test_acosh_example",
	"test_l2normalization_axis_0",
	"test_attention_23_fullymasked", "test_attention_24_fullymasked", "test_attention_causal_boolmask_nan_robustness",
	"test_attention_4d_causal_nonpad_negative_offset", "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
}

// nodeTests reads ONNX's operator tests: file contents by test and name.
func nodeTests(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	f, err := os.Open(need.Data(t, "onnx-node-tests/node.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return tests
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		test, file, _ := strings.Cut(strings.TrimPrefix(paths.Clean(h.Name), "node/"), "/")
		if tests[test] == nil {
			tests[test] = map[string][]byte{}
		}
		tests[test][file] = b
	}
}

// operatorTrial makes a trial of a test that is about float32 functions of
// float32 arguments; other inputs become constants.
func operatorTrial(t *testing.T, rt *ort.Runtime, files map[string][]byte) (*trial, bool) {
	m, err := onnx.Decode(files["model.onnx"], onnx.DefaultLimits)
	if err != nil || m.Opset("") == 0 && m.Opset("ai.onnx.ml") == 0 || m.Opset("ai.onnx.preview.training") != 0 {
		return nil, false
	}
	if m.Opset("") < 18 && onnx.Upgrade(m, 18) != nil {
		return nil, false
	}
	tr := &trial{model: m, point: map[string]*onnx.Tensor{}}
	feeds := map[string][]int64{}
	var inputs []*onnx.Value
	for i, v := range m.Graph.Inputs {
		x, err := onnx.DecodeTensor(files["test_data_set_0/input_"+string(rune('0'+i))+".pb"], onnx.DefaultLimits)
		if err != nil || v.Type == nil || v.Type.Tensor == nil {
			return nil, false
		}
		x.Name = v.Name
		if x.Type != onnx.Float || x.Len() == 0 {
			m.Graph.Initializers = append(m.Graph.Initializers, x)
			continue
		}
		inputs = append(inputs, v)
		feeds[v.Name], tr.point[v.Name], tr.wrt = x.Dims, x, append(tr.wrt, v.Name)
	}
	m.Graph.Inputs = inputs
	if tr.wrt == nil {
		return nil, false
	}
	if tr.shapes, err = rt.Shapes(context.Background(), m, feeds); err != nil {
		return nil, false
	}
	for _, v := range m.Graph.Outputs {
		if sh := tr.shapes[v.Name]; sh.Elem == onnx.Float && !slices.Contains(sh.Dims, 0) {
			tr.out = append(tr.out, v.Name)
		}
	}
	return tr, tr.out != nil
}

// disagreement is how far the difference quotient is from the gradient, at the
// best of several widths, relative to what either adds up.
func (tr *trial) disagreement(t *testing.T, rt *ort.Runtime) (float64, error) {
	t.Helper()
	g := tr.model.Graph.Clone()
	if _, err := VJP(g, tr.shapes, tr.out, make([]string, len(tr.out)), tr.wrt); err != nil {
		return 0, err
	}
	best := math.Inf(1)
	for _, h := range []float64{1e-1, 1e-2, 1e-3} {
		got, want, size, _ := tr.compare(t, rt, Rules, rand.New(rand.NewPCG(3, 3)), h, false)
		if size == 0 {
			return 0, nil
		}
		if off := math.Abs(got-want) / size; off < best {
			best = off
		}
	}
	return best, nil
}
