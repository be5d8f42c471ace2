package evasion_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// straight is a linear model of two classes: class 1 where w.x + c > 0.
type straight struct {
	w []float64
	c float64
}

func (s straight) value(x []float32) float64 {
	sum := s.c
	for j, v := range x {
		sum += s.w[j] * float64(v)
	}
	return sum
}

func (s straight) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), 2)
	for i := range x.Rows() {
		z.Row(i)[1] = float32(s.value(x.Row(i)))
	}
	return z, nil
}

// Gradient knows the margin and single constraints, which are the same up to
// their sign.
func (s straight) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, err := s.Scores(ctx, x)
	g := tensor.New(x.Shape...)
	for i := range x.Rows() {
		sign := float64(1 - 2*obj.Labels[i])
		if obj.Loss == model.Constraints {
			sign = float64(obj.W.Row(i)[1])
		}
		for j := range g.Row(i) {
			g.Row(i)[j] = float32(sign * s.w[j])
		}
	}
	return z, g, err
}

// On a linear model the distance found is the one that the dual norm says:
// |w.x + c| over the dual norm of w, where no bound is in the way (Hoelder).
func TestLinearIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for _, norm := range []evasion.Norm{evasion.Linf, evasion.L2, evasion.L1} {
		for trial := range 30 {
			s := straight{w: make([]float64, 12), c: rng.NormFloat64()}
			x := tensor.New(1, 12)
			var one, two, top float64
			for j := range s.w {
				s.w[j], x.Data[j] = rng.NormFloat64(), float32(rng.NormFloat64())
				one, two, top = one+math.Abs(s.w[j]), two+s.w[j]*s.w[j], math.Max(top, math.Abs(s.w[j]))
			}
			v := s.value(x.Data)
			label := 0
			if v > 0 {
				label = 1
			}
			want := math.Abs(v) / map[evasion.Norm]float64{evasion.Linf: one, evasion.L2: math.Sqrt(two), evasion.L1: top}[norm]
			b := &evasion.Batch{X: x, Labels: []int{label}, Norm: norm, Eps: []float64{100}, Box: evasion.Box{Lo: []float32{-1000}, Hi: []float32{1000}}}
			y, err := evasion.Linear{}.Perturb(t.Context(), s, b)
			if err != nil {
				t.Fatal(err)
			}
			d := make([]float32, 12)
			for j := range d {
				d[j] = y.Data[j] - x.Data[j]
			}
			if got := norm.Size(d); math.Abs(got-want) > 1e-3*want+1e-5 || (s.value(y.Data) > 0) == (v > 0) {
				t.Errorf("%s, trial %d: found %v, the boundary is at %v", norm.Name(), trial, got, want)
			}
		}
	}
}

// Where two features do the same, the change hides in the cheap one.
func TestLowProFoolMindsCosts(t *testing.T) {
	schema, err := data.ParseSchema([]byte("columns:\n  - {name: a, type: numeric, min: 0, max: 1, cost: 9}\n  - {name: b, type: numeric, min: 0, max: 1}\n  - {name: y, type: label}"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := data.ParseCSV([]byte("a,b,y\n0.2,0.2,0\n"), schema)
	if err != nil {
		t.Fatal(err)
	}
	b := &evasion.Batch{
		X: set.X, Labels: []int{0}, Norm: evasion.L2, Eps: []float64{0.6}, Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}, Rules: set.Constraints(),
	}
	m := straight{w: []float64{1, 1}, c: -0.6}
	x, err := evasion.Perturb(t.Context(), evasion.LowProFool{}, m, b)
	if err != nil {
		t.Fatal(err)
	}
	a, c := x.Data[0]-0.2, x.Data[1]-0.2
	if m.value(x.Data) <= 0 || c < 2*a {
		t.Errorf("changed a by %v and b by %v: want mostly b, and enough", a, c)
	}
}
