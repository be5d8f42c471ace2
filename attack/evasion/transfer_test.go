package evasion

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A view's way back is the transpose of its way there: for any image x and
// gradient g, view(x).g = x.back(g), where the background is zero.
func TestViewIsTransposed(t *testing.T) {
	rng := rand.New(rand.NewPCG(71, 72))
	for _, shape := range [][]int{{2, 9, 7}, {9, 7, 2}, {1, 4, 6}} {
		p := planeOf(shape)
		n := p.channels * p.height * p.width
		for range 50 {
			v := Transfer{Diversity: 1, Shrink: 0.5}.look(rng, p)
			x, g, seen, back := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
			for j := range x {
				x[j], g[j] = rng.Float32(), float32(rng.NormFloat64())
			}
			v.forth(seen, x, Box{Lo: []float32{0}, Hi: []float32{1}})
			v.back(back, g)
			forth, home := 0.0, 0.0
			for j := range x {
				forth += float64(seen[j]) * float64(g[j])
				home += float64(x[j]) * float64(back[j])
			}
			if math.Abs(forth-home) > 1e-4 {
				t.Fatalf("shape %v, view %v: %v there, %v back", shape, v.window, forth, home)
			}
		}
	}
}

// A single point becomes the kernel's product with itself; the kernel is the
// authors': the normal density at fifteen points from -3 to 3, its middle
// 0.1709 of the sum.
func TestSmooth(t *testing.T) {
	p := planeOf([]int{1, 21, 21})
	d, k := make([]float32, 441), gaussian(15)
	d[p.at(0, 10, 10)] = 1
	p.smooth(d, k)
	for i := range 21 {
		for j := range 21 {
			want := 0.0
			if i >= 3 && i <= 17 && j >= 3 && j <= 17 {
				want = k[i-3] * k[j-3]
			}
			if got := float64(d[p.at(0, i, j)]); math.Abs(got-want) > 1e-7 {
				t.Fatalf("pixel (%d, %d) is %v, want %v", i, j, got, want)
			}
		}
	}
	if math.Abs(k[7]-0.1709) > 5e-4 {
		t.Errorf("the middle of the kernel is %v, want 0.1709", k[7])
	}
}
