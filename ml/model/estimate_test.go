package model_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// The estimate is an average of independent u (u . g), of mean g and relative
// error sqrt((d+1)/pairs) at most: 0.055 here, so that 0.2 is more than three
// times what is expected. The seed makes it the same every time.
func TestEstimateNearsTheGradient(t *testing.T) {
	const n, d, k, pairs = 7, 5, 4, 2000
	rng := rand.New(rand.NewPCG(61, 62))
	l := local(t, network(rng, d, 9, k), model.Config{})
	x, obj := tensor.New(n, d), &model.Objective{}
	for j := range x.Data {
		x.Data[j] = float32(rng.NormFloat64()) / 4
	}
	for i := range n {
		obj.Labels = append(obj.Labels, i%k)
	}
	logits, exact, err := l.Gradient(t.Context(), x, obj)
	if err != nil {
		t.Fatal(err)
	}
	logits, exact = logits.Clone(), exact.Clone()
	for _, dir := range []model.Directions{model.SPSA, model.NES} {
		var tally model.Tally
		e := model.Estimate(model.Count(model.WithoutGradients(l), &tally), model.Estimator{Directions: dir, Pairs: pairs, Radius: 0.003})
		z, g, err := e.Gradient(t.Context(), x, obj)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(n * (2*pairs + 1)); tally.Forwards != want {
			t.Errorf("%v: asked %d answers, promised %d", dir, tally.Forwards, want)
		}
		if !slices.Equal(z.Data, logits.Data) {
			t.Errorf("%v: logits %v, want those of the model, %v", dir, z.Data, logits.Data)
		}
		for i := range n {
			if err := apart(g.Row(i), exact.Row(i)); err > 0.2 {
				t.Errorf("%v: sample %d: estimate %v, gradient %v: relative error %.3f", dir, i, g.Row(i), exact.Row(i), err)
			}
		}
		part := &model.Objective{Labels: obj.Labels[3:5]}
		if _, h, err := e.Gradient(t.Context(), x.Slice(3, 5), part); err != nil || apart(h.Data, g.Slice(3, 5).Data) > 1e-5 {
			t.Errorf("%v: samples 3 and 4 alone have other estimates (%v)", dir, err)
		}
	}
}

// No point outside the range of valid inputs is asked about.
func TestEstimateClips(t *testing.T) {
	rng := rand.New(rand.NewPCG(63, 64))
	l := local(t, network(rng, 3, 4, 3), model.Config{})
	clipped := 0
	e := model.Estimate(l, model.Estimator{Pairs: 10, Radius: 1, Clip: func(x []float32) {
		for j, v := range x {
			if v < 0 || v > 1 {
				clipped++
			}
			x[j] = min(max(v, 0), 1)
		}
	}})
	x := tensor.Of([]float32{0, 1, 0.5}, 1, 3)
	if _, _, err := e.Gradient(t.Context(), x, &model.Objective{Labels: []int{0}}); err != nil {
		t.Fatal(err)
	}
	if clipped == 0 {
		t.Error("points with elements a whole box away were not shown to Clip")
	}
	if !slices.Equal(x.Data, []float32{0, 1, 0.5}) {
		t.Error("the input was changed")
	}
	if _, _, err := e.Gradient(t.Context(), x, &model.Objective{Labels: []int{3}}); err == nil {
		t.Error("a label outside the classes was accepted")
	}
}

// apart is the distance of a from b over the size of b.
func apart(a, b []float32) float64 {
	var d, s float64
	for j, v := range b {
		d += float64(a[j]-v) * float64(a[j]-v)
		s += float64(v) * float64(v)
	}
	return math.Sqrt(d / s)
}
