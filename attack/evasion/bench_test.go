package evasion_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
)

// BenchmarkStep compares a step of PGD with the gradient it needs: on a batch
// of 128 that never falls, forty gradients in turn with forty steps and the
// last look at the result. The difference is what the attack itself costs. One
// thread, as an assessment gives each of its workers.
func BenchmarkStep(b *testing.B) {
	mlp, err := train.MLP([]int{784}, []int{256, 128}, 10, 1)
	if err != nil {
		b.Fatal(err)
	}
	cnn, err := train.CNN([3]int{1, 28, 28}, []int{16, 32}, 64, 10, 1)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		m      *onnx.Model
		sample []int
	}{{"mlp", mlp, []int{784}}, {"cnn", cnn, []int{1, 28, 28}}} {
		l, err := model.New(b.Context(), orttest.Runtime(b), c.m, model.Config{})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		const n, steps = 128, 40
		x := tensor.New(append([]int{n}, c.sample...)...)
		rng := rand.New(rand.NewPCG(1, 2))
		for j := range x.Data {
			x.Data[j] = rng.Float32()
		}
		z, err := l.Scores(b.Context(), x)
		if err != nil {
			b.Fatal(err)
		}
		batch := &evasion.Batch{X: x, Norm: evasion.Linf, Eps: make([]float64, n), Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}}
		for i := range n {
			batch.Labels = append(batch.Labels, tensor.ArgMax(z.Row(i)))
			batch.Eps[i] = 1e-6 // too small to change any label
		}
		b.Run("net="+c.name, func(b *testing.B) {
			var gradient, pgd time.Duration
			for b.Loop() {
				in, err := model.Input(l, n, c.sample)
				if err != nil {
					b.Fatal(err)
				}
				copy(in.Data, x.Data)
				obj := &model.Objective{Labels: batch.Labels}
				start := time.Now()
				for range steps {
					if _, _, err := l.Gradient(b.Context(), in, obj); err != nil {
						b.Fatal(err)
					}
				}
				gradient += time.Since(start)
				start = time.Now()
				if _, err := (evasion.Descent{Name: "pgd", Steps: steps}).Perturb(b.Context(), l, batch); err != nil {
					b.Fatal(err)
				}
				pgd += time.Since(start)
			}
			b.ReportMetric(float64(gradient.Nanoseconds())/float64(b.N*steps), "ns/gradient")
			b.ReportMetric(float64(pgd.Nanoseconds())/float64(b.N*steps), "ns/step")
			b.ReportMetric(float64(pgd)/float64(gradient), "step/gradient")
		})
	}
}
