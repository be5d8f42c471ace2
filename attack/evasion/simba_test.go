package evasion

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The directions of SimBA are an orthonormal basis, dealt out once each, and
// the first of the cosine waves are low ones.
func TestCoordinates(t *testing.T) {
	for _, shape := range [][]int{{2, 6, 5}, {16, 12, 3}, {10}} {
		for _, dct := range []bool{false, true} {
			c := &coordinates{SimBA: SimBA{DCT: dct}, plane: planeOf(shape), rng: rand.New(rand.NewPCG(1, 2))}
			n := c.plane.channels * c.plane.height * c.plane.width
			var basis [][]float32
			for k := range n {
				w := append([]float32(nil), c.next()...)
				for i, v := range basis {
					if p := dot(v, w); math.Abs(p) > 1e-5 {
						t.Fatalf("shape %v, dct %v: directions %d and %d have product %v", shape, dct, i, k, p)
					}
				}
				if p := dot(w, w); math.Abs(p-1) > 1e-5 {
					t.Fatalf("shape %v, dct %v: direction %d has size %v", shape, dct, k, p)
				}
				basis = append(basis, w)
			}
			if dct && changes(basis[0]) >= changes(basis[n-1]) {
				t.Errorf("shape %v: the first wave is not lower than the last", shape)
			}
		}
	}
}

func dot(a, b []float32) float64 {
	s := 0.0
	for j, v := range a {
		s += float64(v) * float64(b[j])
	}
	return s
}

// changes counts changes of sign, over elements that are not zero.
func changes(w []float32) (n int) {
	last := float32(0)
	for _, v := range w {
		if max(v, -v) < 1e-6 {
			continue
		}
		if v*last < 0 {
			n++
		}
		last = v
	}
	return n
}
