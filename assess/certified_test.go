package assess

import (
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Proof and attack bracket the robust accuracy, also where there is no time to prove
// much: how much is proved by then depends on the machine.
func TestCertificates(t *testing.T) {
	r := reference{network: "mnist_cnn_pgd_s1.onnx", dataset: "mnist", n: 16}
	robust := network(t, r)
	cfg := Config{Eps: []float64{0.1, 0.2}, Box: unit, Attacks: specs(t, "pgd-margin"), Certify: time.Second / 2, Workers: 2}
	a, err := Run(t.Context(), Local(robust), images(t, r, robust), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range a.Threats {
		t.Logf("%g: certified %.3f, robust %.3f", m.Eps, *m.CertifiedAccuracy, m.RobustAccuracy)
		if *m.CertifiedAccuracy > m.RobustAccuracy || raised(a, "certified") == nil {
			t.Errorf("certified %v, robust %v, flags %+v", *m.CertifiedAccuracy, m.RobustAccuracy, m.Reliability.Flags)
		}
	}
}

// Nearly all can be proved at 0.1, most of it in a fraction of a second: there is time
// for a machine at a twentieth of the usual speed.
func TestCertificatesOfNearlyAll(t *testing.T) {
	r := reference{network: "mnist_cnn_pgd_s1.onnx", dataset: "mnist", n: 8}
	robust := network(t, r)
	cfg := Config{Eps: []float64{0.1}, Box: unit, Attacks: specs(t, "pgd-margin"), Certify: 10 * time.Second, Workers: 2}
	a, err := Run(t.Context(), Local(robust), images(t, r, robust), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if c := *a.Threats[0].CertifiedAccuracy; c < 0.75 {
		t.Errorf("certified %v, where nearly all can be proved", c)
	}
	g, err := ParseGate("certified_accuracy[linf@0.1]>=0.75")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := g.Check(a); err != nil || !got.Pass {
		t.Errorf("gate: %+v, %v", got, err)
	}
}

// Where proof and attack contradict each other the run ends: here the certificate is
// made to speak of another network, which is robust where the one attacked is not. Both
// are so small that a proof takes no time, whatever the machine does beside.
func TestCertificateOfWhatFell(t *testing.T) {
	robust, weak := thresholdAt(t, 0.5), thresholdAt(t, 0.32)
	liar := Local(weak)
	liar.Network = Local(robust).Network
	set := &data.Set{X: tensor.New(8, 2), Y: make([]int, 8)}
	for i := range set.Y {
		set.X.Row(i)[0], set.X.Row(i)[1] = 0.3, float32(i)/8
		if i%2 == 1 {
			set.X.Row(i)[0], set.Y[i] = 0.7, 1
		}
	}
	cfg := Config{Eps: []float64{0.05}, Box: unit, Attacks: specs(t, "pgd-margin"), Certify: time.Minute, Workers: 2}
	if _, err := Run(t.Context(), liar, set, cfg); err == nil || !strings.Contains(err.Error(), "one of the two is wrong") {
		t.Errorf("a certificate for what an attack broke: %v", err)
	}
	if a, err := Run(t.Context(), Local(weak), set, cfg); err != nil || a.Threats[0].RobustAccuracy != 0.5 || *a.Threats[0].CertifiedAccuracy != 0.5 {
		t.Errorf("without the lie: %+v, %v", a, err)
	}
}

// thresholdAt is a network that says 1 where the first of two features is above a value.
func thresholdAt(t *testing.T, at float32) *model.Local {
	t.Helper()
	value := func(name string) *onnx.Value {
		dims := []onnx.Dim{{Size: -1, Symbol: "n"}, {Size: 2}}
		return &onnx.Value{Name: name, Type: &onnx.Type{Kind: "tensor", Tensor: &onnx.TensorType{Elem: onnx.Float, HasShape: true, Dims: dims}}}
	}
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: &onnx.Graph{
		Name: "threshold", Inputs: []*onnx.Value{value("x")}, Outputs: []*onnx.Value{value("scores")},
		Initializers: []*onnx.Tensor{onnx.FloatTensor("w", []float32{-1, 1, 0, 0}, 2, 2), onnx.FloatTensor("b", []float32{at, -at}, 2)},
		Nodes: []*onnx.Node{
			onnx.NewNode("MatMul", []string{"x", "w"}, []string{"xw"}),
			onnx.NewNode("Add", []string{"xw", "b"}, []string{"scores"}),
		},
	}}
	l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}
