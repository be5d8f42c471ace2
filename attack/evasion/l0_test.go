package evasion_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
)

var unit = evasion.Box{Lo: []float32{0}, Hi: []float32{1}}

// No choice of elements gives a point of ball and box nearer than the
// projection: all 2^d choices are tried.
func TestProjectL0IsNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 62))
	const d = 7
	for trial := range 300 {
		origin, far := make([]float32, d), make([]float32, d)
		for j := range origin {
			origin[j], far[j] = rng.Float32(), 4*rng.Float32()-1.5
		}
		radius := trial % (d + 1)
		got := slices.Clone(far)
		evasion.L0.Project(got, origin, float64(radius)+0.9, unit)
		if n := size(evasion.L0, got, origin); n > float64(radius) {
			t.Fatalf("%v elements changed, allowed %d", n, radius)
		}
		best := math.Inf(1)
		for chosen := range 1 << d {
			p, n := slices.Clone(origin), 0
			for j := range p {
				if chosen>>j&1 == 1 {
					p[j] = min(max(far[j], 0), 1)
					n++
				}
			}
			if n <= radius {
				best = min(best, distance(p, far))
			}
		}
		if s := distance(got, far); s > best+1e-6 {
			t.Fatalf("projection of %v to %d elements is %v away, the nearest point %v", far, radius, s, best)
		}
	}
}

// From the origin one step as large as the ball reaches the maximum of a linear
// function over ball and box, and further steps of a single element do as well.
func TestAdvanceL0ClimbsLinearFunctions(t *testing.T) {
	rng := rand.New(rand.NewPCG(63, 64))
	const d, radius = 12, 4
	for range 200 {
		origin, g, gains := make([]float32, d), make([]float32, d), make([]float64, d)
		for j := range g {
			origin[j], g[j] = rng.Float32(), float32(rng.NormFloat64())
			gains[j] = math.Max(float64(g[j])*float64(1-origin[j]), -float64(g[j])*float64(origin[j]))
		}
		slices.Sort(gains)
		want := 0.0
		for _, v := range gains[d-radius:] {
			want += v
		}
		for steps, step := range map[int]float64{1: radius, 12: 1} {
			// A start with the wrong elements, to be exchanged.
			x := slices.Clone(origin)
			if steps > 1 {
				for j := range radius {
					x[j] = rng.Float32()
				}
			}
			for range steps {
				evasion.L0.Advance(x, origin, g, step, radius, unit)
			}
			got := 0.0
			for j, v := range x {
				got += float64(g[j]) * float64(v-origin[j])
			}
			if n := size(evasion.L0, x, origin); n > radius || got < want-1e-5 {
				t.Errorf("%d steps reach %v with %v elements, want %v with %d", steps, got, n, want, radius)
			}
		}
	}
}

// Samples change as many elements as allowed, each as likely as another. A
// count of 4,000 draws of 2 in 8 has the standard deviation 27.4; 140 is five of
// them, a false alarm in 200,000 runs of eight counts.
func TestSampleL0(t *testing.T) {
	rng := rand.New(rand.NewPCG(65, 66))
	d, count := make([]float32, 8), make([]float64, 8)
	for range 4000 {
		evasion.L0.Sample(rng, d, 2.5)
		if n := evasion.L0.Size(d); n != 2 {
			t.Fatalf("%v elements are changed, want 2", n)
		}
		for j, v := range d {
			if v != 0 {
				count[j]++
			}
		}
	}
	for j, n := range count {
		if math.Abs(n-1000) > 140 {
			t.Errorf("element %d was drawn %v times of 4,000, want about 1,000", j, n)
		}
	}
}

// What PGD0 of Croce and Hein 2019 breaks, in PyTorch, of the first hundred
// images that the network gets right: ten restarts of twenty steps of 120000/255
// on cross-entropy, seed 0. sigma-zero of adv-lib 0.2.8 breaks 6, 35 and 77.
func TestDescentL0(t *testing.T) {
	l := network(t, "mnist_cnn_std_s1.onnx", "none")
	b := correct(t, l, "mnist", 100)
	b.Norm = evasion.L0
	s, err := evasion.Find("pgd-margin")
	if err != nil {
		t.Fatal(err)
	}
	for radius, want := range map[float64]int{3: 5, 6: 36, 10: 74} {
		for i := range b.Eps {
			b.Eps[i] = radius
		}
		x, err := s.New(evasion.Settings{}).Perturb(t.Context(), l, b)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for i, ok := range fooled(t, l, b, x) {
			if ok {
				got++
			}
			if n := size(b.Norm, x.Row(i), b.X.Row(i)); n > radius {
				t.Errorf("image %d has %v elements changed, allowed %v", i, n, radius)
			}
		}
		t.Logf("%v elements: pgd-margin breaks %d, PGD0 %d", radius, got, want)
		if got < want-1 {
			t.Errorf("%v elements: pgd-margin breaks %d images, PGD0 %d: want at most one fewer", radius, got, want)
		}
	}
}
