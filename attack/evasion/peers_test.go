package evasion_test

import (
	"context"
	"math"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// What others need without gradients for the first ten images that the network
// gets right: ART 1.20.1's GeoDA with 5,000 queries and a subspace of 28
// frequencies; Foolbox 3.3.4's boundary attack with 5,000 steps, which are more
// queries; and ART's ZOO, with 200 steps of 128 elements of rate 0.05 and c = 10,
// which asked 5,914 times a sample.
func TestDistancesWithoutGradients(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of answers a sample")
	}
	l := network(t, "mnist_cnn_std_s1.onnx", "none")
	b := correct(t, l, "mnist", 10)
	for _, c := range []struct {
		name   string
		attack evasion.Attack
		norm   evasion.Norm
		want   float64
	}{
		{"geoda", evasion.GeoDA{Queries: 5000}, evasion.L2, 7.67249},
		{"geoda", evasion.GeoDA{Queries: 5000}, evasion.Linf, 0.36809},
		{"boundary", evasion.Boundary{Queries: 5000}, evasion.L2, 1.51654},
		{"zoo", evasion.ZOO{Queries: 5914}, evasion.L2, 3.36369},
	} {
		b.Norm = c.norm
		got := medianDistance(t, c.attack, l, b)
		t.Logf("%s %s %.4f, reference %.4f", c.name, c.norm.Name(), got, c.want)
		if got > c.want {
			t.Errorf("%s needs %.4f in %s, the reference %.4f", c.name, got, c.norm.Name(), c.want)
		}
	}
}

// Points found on the overfitted network fool the standard one more often when
// gradients are smoothed or inputs diverse than with momentum alone, or as often.
func TestTransfer(t *testing.T) {
	from, to := network(t, "mnist_cnn_overfit_s1.onnx", "none"), network(t, "mnist_cnn_std_s1.onnx", "none")
	b := correct(t, to, "mnist", 200)
	b.Norm = evasion.Linf
	for i := range b.Eps {
		b.Eps[i] = 0.15
	}
	count := func(a evasion.Attack) (n int) {
		x, err := a.Perturb(t.Context(), unstoppable{from}, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, ok := range fooled(t, to, b, x) {
			if ok {
				n++
			}
		}
		return n
	}
	plain := count(evasion.Transfer{Momentum: 1})
	diverse := count(evasion.Transfer{Name: "di", Momentum: 1, Diversity: 0.7})
	smooth := count(evasion.Transfer{Momentum: 1, Kernel: 7})
	t.Logf("of 200: momentum %d, diverse %d, smooth %d", plain, diverse, smooth)
	if diverse < plain || smooth < plain {
		t.Errorf("of 200 points momentum transfers %d, diverse inputs %d, smoothed gradients %d: want no fewer", plain, diverse, smooth)
	}
}

// unstoppable keeps an attack going to its last step: scores that are not
// numbers are never a success.
type unstoppable struct{ model.Gradients }

func (u unstoppable) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := u.Gradients.Scores(ctx, x)
	if err != nil {
		return nil, err
	}
	out := tensor.New(z.Shape...)
	for j := range out.Data {
		out.Data[j] = float32(math.NaN()) // never a success
	}
	return out, nil
}
