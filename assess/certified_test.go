package assess

import (
	"strings"
	"testing"
)

// Proof and attack bracket the robust accuracy, and where they contradict each
// other the run ends: here the certificate is made to speak of another network,
// which is robust where the one attacked is not.
func TestCertificates(t *testing.T) {
	r := reference{network: "mnist_cnn_pgd_s1.onnx", dataset: "mnist", n: 16}
	robust := network(t, r)
	cfg := Config{Eps: []float64{0.1, 0.2}, Box: unit, Attacks: specs(t, "pgd-margin"), Certify: proofTime, Workers: 2}
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
	if c := *a.Threats[0].CertifiedAccuracy; c < 0.75 {
		t.Errorf("certified %v at 0.1, where nearly all can be proved", c)
	}
	g, err := ParseGate("certified_accuracy[linf@0.1]>=0.75")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := g.Check(a); err != nil || !got.Pass {
		t.Errorf("gate: %+v, %v", got, err)
	}

	r.network = "mnist_cnn_std_s1.onnx"
	weak := network(t, r)
	liar := Local(weak)
	liar.Network = Local(robust).Network
	if _, err := Run(t.Context(), liar, images(t, r, weak), cfg); err == nil || !strings.Contains(err.Error(), "one of the two is wrong") {
		t.Errorf("a certificate for what an attack broke: %v", err)
	}
}
