package account

import (
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
)

func BenchmarkEpsilon(b *testing.B) {
	for _, r := range []struct {
		name           string
		sigma, q       float64
		times          int
		delta, epsilon float64
	}{
		{"mnist", 1.1, 256. / 60000, 14062, 1e-5, 2.38},
		{"rare", 0.8, 0.001, 5000, 1e-6, 0.7336},
		{"long", 1.5, .05, 20000, 1e-6, 38.3},
	} {
		b.Run(r.name, func(b *testing.B) {
			p := Plan{Adjacency: dp.AddRemove, Steps: []Step{{Gaussian{r.sigma, 1, Poisson{r.q}}, r.times}}}
			for b.Loop() {
				if _, err := (PLD{}).Epsilon(p, r.delta); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
