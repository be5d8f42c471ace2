package dp

import (
	"fmt"
	"math/big"
	"testing"
)

func BenchmarkNoise(b *testing.B) {
	for _, scale := range []int64{1, 100, 1 << 20, 1 << 40} {
		laplace, err := LaplaceNoise(big.NewRat(scale, 1))
		if err != nil {
			b.Fatal(err)
		}
		gaussian, err := GaussianNoise(big.NewRat(scale, 1))
		if err != nil {
			b.Fatal(err)
		}
		for name, noise := range map[string]*Noise{
			fmt.Sprintf("laplace-scale-%d", scale):     laplace,
			fmt.Sprintf("gaussian-variance-%d", scale): gaussian,
		} {
			b.Run(name, func(b *testing.B) {
				dst := make([]int64, 1000)
				for n := 0; n < b.N; n += len(dst) {
					noise.Fill(Source{}, dst)
				}
				b.ReportMetric(float64(b.N)/1e6/b.Elapsed().Seconds(), "Mdraws/s")
			})
		}
	}
	b.Run("one", func(b *testing.B) {
		n, _ := LaplaceNoise(big.NewRat(100, 1))
		for b.Loop() {
			n.Draw(Source{})
		}
	})
}
