package model_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/train"
)

// BenchmarkForward compares Scores with the bare runtime on the file as it is,
// in turn: the difference is what preparation and this package cost.
func BenchmarkForward(b *testing.B) {
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
		const n = 128
		rt := orttest.Runtime(b)
		rng := rand.New(rand.NewPCG(1, 2))
		fill := func(v []float32) {
			for j := range v {
				v[j] = rng.Float32()
			}
		}
		b.Run("net="+c.name, func(b *testing.B) {
			s, err := rt.NewSession(c.m, ort.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			dims := []int64{n}
			for _, d := range c.sample {
				dims = append(dims, int64(d))
			}
			xa, err := rt.NewArray(onnx.Float, dims...)
			if err != nil {
				b.Fatal(err)
			}
			defer xa.Close()
			za, err := rt.NewArray(onnx.Float, n, 10)
			if err != nil {
				b.Fatal(err)
			}
			defer za.Close()
			l, err := model.New(b.Context(), rt, c.m, model.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			x, err := model.Input(l, n, c.sample)
			if err != nil {
				b.Fatal(err)
			}
			fill(x.Data)
			copy(xa.Float32(), x.Data)
			var bare, ours time.Duration
			const runs = 10
			for b.Loop() {
				start := time.Now()
				for range runs {
					if err := s.Run(b.Context(), []*ort.Array{xa}, []*ort.Array{za}); err != nil {
						b.Fatal(err)
					}
				}
				bare += time.Since(start)
				start = time.Now()
				for range runs {
					if _, err := l.Scores(b.Context(), x); err != nil {
						b.Fatal(err)
					}
				}
				ours += time.Since(start)
			}
			b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N*runs), "ns/runtime")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*runs), "ns/scores")
			b.ReportMetric(float64(ours)/float64(bare), "scores/runtime")
		})
	}
}
