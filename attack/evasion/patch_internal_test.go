package evasion

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The gradient of the picture is that of sticking it on: for random gradients g
// of the image, differences of <g, Apply> with respect to each cell agree with
// unstick. The map is linear, so differences of any size do.
func TestUnstickIsTheTransposeOfStick(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	box := Box{Lo: []float32{-10}, Hi: []float32{10}}
	for _, shape := range [][]int{{1, 12, 9}, {3, 10, 14}, {11, 13, 3}} {
		for _, round := range []bool{false, true} {
			a, q := Patch{Share: 0.3, Round: round, Degrees: 45, Shrink: 0.5}, planeOf(shape)
			s := a.Blank(rng, shape, Box{Lo: []float32{-1}, Hi: []float32{1}})
			x, g := make([]float32, q.channels*q.height*q.width), make([]float32, q.channels*q.height*q.width)
			for j := range x {
				x[j], g[j] = 2*rng.Float32()-1, 2*rng.Float32()-1
			}
			for range 5 {
				p := a.Place(rng, s, shape)
				got := make([]float32, len(s.Picture))
				s.unstick(got, g, q, p)
				value := func() float64 {
					out, err := s.Apply(x, shape, box, p)
					if err != nil {
						t.Fatal(err)
					}
					sum := 0.0
					for j, v := range out {
						sum += float64(v) * float64(g[j])
					}
					return sum
				}
				for j, v := range s.Picture {
					s.Picture[j] = v + 1
					up := value()
					s.Picture[j] = v - 1
					want := (up - value()) / 2
					s.Picture[j] = v
					if math.Abs(want-float64(got[j])) > 1e-5 {
						t.Fatalf("%v round %v at %+v: cell %d has derivative %v, want %v", shape, round, p, j, got[j], want)
					}
				}
			}
		}
	}
}
