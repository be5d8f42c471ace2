package tensor

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRows(t *testing.T) {
	x := Of([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
	if got := x.Row(1); !slices.Equal(got, []float32{3, 4}) {
		t.Errorf("Row(1) = %v", got)
	}
	if got := x.Gather([]int{2, 0}).Data; !slices.Equal(got, []float32{5, 6, 1, 2}) {
		t.Errorf("Gather = %v", got)
	}
	if got := x.Slice(1, 3); got.Rows() != 2 || got.Data[0] != 3 {
		t.Errorf("Slice = %+v", got)
	}
}

func TestArgMaxTakesLowestOnTie(t *testing.T) {
	for _, c := range []struct {
		row  []float32
		want int
	}{{[]float32{1, 3, 3}, 1}, {[]float32{2}, 0}, {[]float32{-1, -1}, 0}} {
		if got := ArgMax(c.row); got != c.want {
			t.Errorf("ArgMax(%v) = %d, want %d", c.row, got, c.want)
		}
	}
}

func TestSignStepAgreesWithDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 7, 8, 33, 1000} {
		x, o, g := make([]float32, n), make([]float32, n), make([]float32, n)
		for j := range x {
			o[j] = rng.Float32()
			x[j] = o[j] + 0.2*(rng.Float32()-0.5)
			g[j] = rng.Float32() - 0.5
			if j%5 == 0 {
				g[j] = 0
			}
		}
		want := slices.Clone(x)
		signStep(want, o, g, 0.05, 0.1, 0, 1)
		SignStep(x, o, g, 0.05, 0.1, 0, 1)
		if !slices.Equal(x, want) {
			t.Errorf("n = %d: SignStep differs from its definition", n)
		}
	}
}

func BenchmarkSignStep(b *testing.B) {
	n := 128 * 784
	x, o, g := make([]float32, n), make([]float32, n), make([]float32, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for j := range g {
		g[j] = rng.Float32() - 0.5
	}
	for b.Loop() {
		SignStep(x, o, g, 0.01, 0.1, 0, 1)
	}
}
