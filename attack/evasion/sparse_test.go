package evasion_test

import (
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
)

// What others need, as a median over the first images that the network gets
// right: the elastic-net attack of Foolbox 3.3.4 with the same settings and
// without its early end, which looks at the sum over the batch; Carlini and
// Wagner's Linf attack of adv-lib 0.2.8 with its defaults, five times the steps
// of a tenth the size; JSMA of ART 1.20.1 with theta and gamma 1, towards the
// class after the label; and for Carlini and Wagner's L0 attack, which fails in
// ART, our sigma-zero, which equals adv-lib's.
func TestDistancesOfSparsePeers(t *testing.T) {
	l := network(t, "mnist_cnn_std_s1.onnx", "none")
	for _, c := range []struct {
		name     string
		attack   evasion.Attack
		norm     evasion.Norm
		images   int
		targeted bool
		want     float64
	}{
		{"ead", evasion.EAD{Steps: 200, Beta: 0.01}, evasion.L1, 10, false, 5.65385},
		{"ead, elastic", evasion.EAD{Steps: 200, Beta: 0.01, Elastic: true}, evasion.L1, 10, false, 10.17571},
		{"cw-linf", evasion.CarliniWagnerLinf{Steps: 200, Rate: 0.05}, evasion.Linf, 10, false, 0.07213},
		{"cw-l0", evasion.CarliniWagnerL0{Steps: 100, Rate: 0.1}, evasion.L0, 4, false, 7},
		{"jsma", evasion.JSMA{}, evasion.L0, 40, true, 26},
		{"jsma", evasion.JSMA{}, evasion.L0, 40, false, 8},
	} {
		b := correct(t, l, "mnist", c.images)
		b.Norm = c.norm
		if c.targeted {
			for _, y := range b.Labels {
				b.Targets = append(b.Targets, (y+1)%10)
			}
		}
		got := medianDistance(t, c.attack, l, b)
		t.Logf("%s %s %.5f, reference %.5f", c.name, c.norm.Name(), got, c.want)
		if got > 1.02*c.want {
			t.Errorf("%s needs %.5f in %s, the reference %.5f: want at most 1.02 times as much", c.name, got, c.norm.Name(), c.want)
		}
	}
}

// The paper's JSMA only raises, and no more than its share of elements.
func TestJSMARising(t *testing.T) {
	l := network(t, "mnist_cnn_std_s1.onnx", "none")
	b := correct(t, l, "mnist", 10)
	b.Norm = evasion.L0
	x, err := evasion.JSMA{Rising: true, Gamma: 0.01}.Perturb(t.Context(), l, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Labels {
		if n := size(b.Norm, x.Row(i), b.X.Row(i)); n == 0 || n > 7 {
			t.Errorf("image %d: %v elements of 784 changed, want some, at most a hundredth", i, n)
		}
		for j, v := range x.Row(i) {
			if v < b.X.Row(i)[j] {
				t.Fatalf("image %d: element %d fell", i, j)
			}
		}
	}
}
