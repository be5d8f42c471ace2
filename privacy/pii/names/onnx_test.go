package names_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/names"
)

var modelLabels = []string{"O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-MISC"}

// words of the classifier: what they are by themselves, and what the word behind
// them gains.
var modelWords = []struct {
	word      string
	own, next int // into modelLabels
}{
	{"[PAD]", 0, 0}, {"[UNK]", 0, 0}, {"[CLS]", 0, 0}, {"[SEP]", 0, 0},
	{"the", 0, 0}, {"of", 0, 0}, {"met", 0, 0}, {".", 0, 0}, {",", 0, 0},
	{"anna", 1, 0}, {"be", 2, 0}, {"##rg", 2, 0}, {"ole", 1, 0},
	{"acme", 3, 4}, {"group", 0, 0}, {"french", 5, 0},
}

// classifier writes a folder with a token classifier: an embedding, a convolution
// over each word and the one before it, scores. Its arithmetic is real, and small
// enough to be done by hand.
func classifier(t testing.TB, change func(m *onnx.Model, config map[string]any)) string {
	t.Helper()
	dir, l := t.TempDir(), len(modelLabels)
	embedding := make([]float32, len(modelWords)*2*l)
	vocab := ""
	for i, w := range modelWords {
		vocab += w.word + "\n"
		embedding[i*2*l+w.own] = 4
		if w.next > 0 {
			embedding[i*2*l+l+w.next] = 6
		}
	}
	kernel := make([]float32, l*2*l*3) // out, in, position: the word before, the word, the next
	for k := range l {
		kernel[(k*2*l+k)*3+1] = 1
		kernel[(k*2*l+l+k)*3+0] = 1
	}
	value := func(name string, elem onnx.DataType, dims ...onnx.Dim) *onnx.Value {
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: elem, HasShape: true, Dims: dims}}}
	}
	free := onnx.Dim{Size: -1, Symbol: "n"}
	m := &onnx.Model{IRVersion: 8, Graph: &onnx.Graph{
		Name: "classifier",
		Inputs: []*onnx.Value{
			value("input_ids", onnx.Int64, onnx.Dim{Size: 1}, free),
			value("attention_mask", onnx.Int64, onnx.Dim{Size: 1}, free),
		},
		Outputs: []*onnx.Value{value("logits", onnx.Float, onnx.Dim{Size: 1}, free, onnx.Dim{Size: int64(l)})},
		Nodes: []*onnx.Node{
			onnx.NewNode("Gather", []string{"embedding", "input_ids"}, []string{"e"}),
			onnx.NewNode("Transpose", []string{"e"}, []string{"t"}, onnx.IntsAttr("perm", 0, 2, 1)),
			onnx.NewNode("Conv", []string{"t", "kernel"}, []string{"c"}, onnx.IntsAttr("kernel_shape", 3), onnx.IntsAttr("pads", 1, 1)),
			onnx.NewNode("Transpose", []string{"c"}, []string{"raw"}, onnx.IntsAttr("perm", 0, 2, 1)),
			onnx.NewNode("Cast", []string{"attention_mask"}, []string{"mask"}, onnx.IntAttr("to", int64(onnx.Float))),
			onnx.NewNode("Unsqueeze", []string{"mask", "last"}, []string{"column"}),
			onnx.NewNode("Mul", []string{"raw", "column"}, []string{"logits"}),
		},
		Initializers: []*onnx.Tensor{
			onnx.FloatTensor("embedding", embedding, int64(len(modelWords)), int64(2*l)),
			onnx.FloatTensor("kernel", kernel, int64(l), int64(2*l), 3),
			onnx.IntTensor("last", []int64{-1}, 1),
		},
	}}
	m.SetOpset("", 17)
	config := map[string]any{"id2label": map[string]string{}, "max_position_embeddings": 64}
	for i, name := range modelLabels {
		config["id2label"].(map[string]string)[fmt.Sprint(i)] = name
	}
	if change != nil {
		change(m, config)
	}
	if err := onnx.Write(filepath.Join(dir, "model.onnx"), m); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.json": string(b), "vocab.txt": vocab} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openClassifier(t testing.TB, x *names.ONNX) *names.ONNX {
	t.Helper()
	if err := x.Open(orttest.Runtime(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func show(text string, found []pii.Finding) string {
	var parts []string
	for _, f := range found {
		parts = append(parts, f.Type+":"+text[f.Start:f.End])
	}
	return strings.Join(parts, " ")
}

func TestONNXFindsWhatItsModelFinds(t *testing.T) {
	x := openClassifier(t, &names.ONNX{Dir: classifier(t, nil)})
	for text, want := range map[string]string{
		"":                               "",
		"the of .":                       "",
		"Anna Berg met Ole.":             "PERSON:Anna Berg PERSON:Ole",
		"anna ole":                       "PERSON:anna PERSON:ole",
		"Acme group, the group":          "ORGANIZATION:Acme group",
		"the French":                     "",
		"of Acme Anna":                   "ORGANIZATION:Acme Anna",
		"Änna\u0301 BERG, unknown words": "PERSON:Änna\u0301 BERG",
	} {
		found, err := x.Tag(t.Context(), []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := show(text, found); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// However short the windows, the findings are those of one.
func TestONNXWindowsDoNotShow(t *testing.T) {
	text := strings.Repeat("Anna Berg met the Acme group, of Ole. ", 30)
	dir := classifier(t, func(_ *onnx.Model, config map[string]any) { config["max_position_embeddings"] = 1000 })
	want, err := openClassifier(t, &names.ONNX{Dir: dir, Window: 1000}).Tag(t.Context(), []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 90 {
		t.Fatalf("%d findings in one window, want 90", len(want))
	}
	for _, window := range []int{8, 11, 16, 33, 200} {
		got, err := openClassifier(t, &names.ONNX{Dir: dir, Window: window, Overlap: 4}).Tag(t.Context(), []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("windows of %d: %s", window, show(text, got))
		}
	}
}

func TestONNXLabels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels.yaml")
	if err := os.WriteFile(path, []byte("MISC: NRP\nPER: CUSTOMER\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	labels, err := names.ReadLabels(path)
	if err != nil {
		t.Fatal(err)
	}
	text := "French Anna of Acme"
	found, err := openClassifier(t, &names.ONNX{Dir: classifier(t, nil), Labels: labels}).Tag(t.Context(), []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(text, found), "NRP:French CUSTOMER:Anna"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := os.WriteFile(path, []byte("MISC:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := names.ReadLabels(path); err == nil || !strings.Contains(err.Error(), "want LABEL: TYPE") {
		t.Errorf("a label without a type: %v", err)
	}
}

func TestONNXAddsNothingThatOverlaps(t *testing.T) {
	text := "Anna Berg met Ole"
	before := []pii.Finding{{Start: 5, End: 9, Type: "CUSTOM"}}
	found, err := openClassifier(t, &names.ONNX{Dir: classifier(t, nil)}).Tag(t.Context(), []byte(text), before)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(text, found), "CUSTOM:Berg PERSON:Anna PERSON:Ole"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestONNXRefusesWhatItCannotRun(t *testing.T) {
	rt := orttest.Runtime(t)
	for want, x := range map[string]*names.ONNX{
		"want 8 to 64":               {Dir: classifier(t, nil), Window: 65},
		"half a window":              {Dir: classifier(t, nil), Window: 20, Overlap: 11},
		"is this a token classifier": {Dir: classifier(t, func(_ *onnx.Model, c map[string]any) { delete(c, "id2label") })},
		"none of its labels":         {Dir: classifier(t, nil), Labels: map[string]string{"X": "PERSON"}},
		`it asks for "pixels"`: {Dir: classifier(t, func(m *onnx.Model, _ map[string]any) {
			m.Graph.Inputs[1].Name = "pixels"
			m.Graph.Nodes[4].Inputs[0] = "pixels"
		})},
		"config.json": {Dir: t.TempDir()},
	} {
		if err := x.Open(rt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
			x.Close()
		}
	}
	x := openClassifier(t, &names.ONNX{Dir: classifier(t, func(_ *onnx.Model, c map[string]any) {
		c["id2label"].(map[string]string)["6"] = "I-MISC"
	})})
	if _, err := x.Tag(t.Context(), []byte("Anna"), nil); err == nil || !strings.Contains(err.Error(), "is not float32 of 1 x 3 x 7") {
		t.Errorf("a model with fewer scores than labels: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openClassifier(t, &names.ONNX{Dir: classifier(t, nil)}).Tag(ctx, []byte("Anna"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after it was cancelled: %v", err)
	}
}
