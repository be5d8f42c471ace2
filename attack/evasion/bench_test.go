package evasion_test

import (
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
)

// BenchmarkStep compares a step of PGD with the gradient it needs: on a batch
// of 128 that never falls, forty steps and the last look at the result, over
// forty, against one gradient. The difference is what the attack itself costs.
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
		l, err := model.New(b.Context(), orttest.Runtime(b), c.m, model.Config{Threads: 2, Spin: true})
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
		b.Run(c.name+"/gradient", func(b *testing.B) {
			in, err := model.Input(l, n, c.sample)
			if err != nil {
				b.Fatal(err)
			}
			copy(in.Data, x.Data)
			obj := &model.Objective{Labels: batch.Labels}
			for b.Loop() {
				for range steps {
					if _, _, err := l.Gradient(b.Context(), in, obj); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
		})
		b.Run(c.name+"/pgd", func(b *testing.B) {
			for b.Loop() {
				if _, err := (evasion.Descent{Name: "pgd", Steps: steps}).Perturb(b.Context(), l, batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
		})
	}
}
