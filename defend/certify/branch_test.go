package certify

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

// Splitting, on inputs and on ReLUs, proves a threshold just below the least
// value of y0 - y1 that a search finds over a box, and never one just above.
func TestSplittingMeetsTheSearch(t *testing.T) {
	for seed, inputs := range []int{4, 16, 4, 16, 16} {
		m, err := train.MLP([]int{inputs}, []int{12, 12}, 2, uint64(seed))
		if err != nil {
			t.Fatal(err)
		}
		least, lo, hi := search(t, m, rand.New(rand.NewPCG(uint64(seed), 1)), inputs)
		n := read(t, m)
		for _, c := range []struct {
			threshold float64
			want      bool
		}{{least - 0.02, true}, {least + 1e-4, false}} {
			// What must not happen: y0 - y1 <= threshold.
			p := &vnnlib.Property{Inputs: inputs, Outputs: 2, Cases: []vnnlib.Case{{Lo: lo, Hi: hi, W: [][]float64{{-1, 1}}, B: []float64{c.threshold}}}}
			domains := 0
			limit := 2 * time.Second
			if c.want {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			got, err := n.Prove(ctx, p, Options{Progress: func(done, _ int) { domains = done }})
			cancel()
			if err != nil || got != c.want {
				t.Errorf("network %d: y0 - y1 > %v proved: %v (%v), want %v, since the least found is %v", seed, c.threshold, got, err, c.want, least)
			}
			if domains == 0 {
				t.Errorf("network %d: nothing was split, so this tests nothing", seed)
			}
		}
	}
}

// search finds a small value of y0 - y1 over a box: from corners, by random
// steps that become shorter.
func search(t *testing.T, m *onnx.Model, rng *rand.Rand, inputs int) (least float64, lo, hi []float64) {
	t.Helper()
	l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	least = math.Inf(1)
	tries := tensor.New(64, inputs)
	for range 20 {
		x, at := make([]float32, inputs), math.Inf(1)
		for j := range x {
			x[j] = float32(2*rng.IntN(2) - 1)
		}
		for step := 1.0; step > 1e-3; step *= 0.95 {
			for r := range tries.Rows() {
				for j, v := range x {
					if rng.IntN(2) == 0 {
						v += float32(step * rng.NormFloat64())
					}
					tries.Row(r)[j] = min(max(v, -1), 1)
				}
			}
			z, err := l.Scores(t.Context(), tries)
			if err != nil {
				t.Fatal(err)
			}
			for r := range tries.Rows() {
				if v := float64(z.Row(r)[0]) - float64(z.Row(r)[1]); v < at {
					at = v
					copy(x, tries.Row(r))
				}
			}
		}
		least = math.Min(least, at)
	}
	return least, fill(inputs, -1), fill(inputs, 1)
}
