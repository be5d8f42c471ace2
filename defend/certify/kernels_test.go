package certify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The vectorised product agrees with its definition for every shape of edge.
func TestMultiply(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range [][3]int{{1, 1, 1}, {5, 3, 8}, {6, 7, 9}, {7, 16, 23}, {13, 1, 16}, {100, 20, 31}, {0, 4, 4}, {3, 0, 5}} {
		rows, k, n := s[0], s[1], s[2]
		a, b := normal(rng, rows*k), normal(rng, k*n)
		for _, right := range []columns{unpacked(b, k, n), packed(k, n, func(i, j int) float64 { return b[i*n+j] })} {
			for _, add := range []bool{false, true} {
				want := normal(rng, rows*n)
				got := append([]float64(nil), want...)
				multiplyPlain(want, a, right, rows, add)
				multiply(got, a, right, rows, add)
				near(t, fmt.Sprint(s, add), got, want)
			}
		}
	}
}

func TestElementwiseKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 7, 8, 33} {
		post, h := normal(rng, n), normal(rng, n)
		r := relaxation{normal(rng, n), normal(rng, n), normal(rng, n)}
		for _, add := range []bool{false, true} {
			want := normal(rng, n)
			got := append([]float64(nil), want...)
			a, b := relaxBack(got, post, r, add), relaxBackPlain(want, post, r, add)
			near(t, "relaxBack", append(got, a), append(want, b))
		}
		got, want := make([]float64, n), make([]float64, n)
		relaxForward(got, h, post, r)
		relaxForwardPlain(want, h, post, r)
		near(t, "relaxForward", got, want)
		near(t, "weigh", []float64{weigh(post, h, r.up)}, []float64{weighPlain(post, h, r.up)})
		ours := [3][]float64{append([]float64(nil), r.low...), make([]float64, n), make([]float64, n)}
		theirs := [3][]float64{append([]float64(nil), r.low...), make([]float64, n), make([]float64, n)}
		for step := range 3 {
			climbSlopes(relaxation{ours[0], r.up, r.shift}, ours[1], ours[2], post, h, adamAt(step+1, 0.1))
			climbSlopesPlain(relaxation{theirs[0], r.up, r.shift}, theirs[1], theirs[2], post, h, adamAt(step+1, 0.1))
		}
		for i := range ours {
			near(t, "climbSlopes", ours[i], theirs[i])
		}
	}
}

func near(t testing.TB, what string, got, want []float64) {
	t.Helper()
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-12*(1+math.Abs(want[i])) {
			t.Fatalf("%s: element %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}

func normal(rng *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	return v
}

func BenchmarkMultiply(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range [][3]int{{512, 256, 256}, {512, 256, 784}, {64, 50, 50}} {
		rows, k, n := s[0], s[1], s[2]
		a, w := normal(rng, rows*k), normal(rng, k*n)
		right := packed(k, n, func(i, j int) float64 { return w[i*n+j] })
		c := make([]float64, rows*n)
		b.Run(fmt.Sprintf("size=%dx%dx%d", rows, k, n), func(b *testing.B) {
			for b.Loop() {
				multiply(c, a, right, rows, false)
			}
			b.ReportMetric(2*float64(rows*k*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOPS")
		})
	}
}

func BenchmarkElementwise(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 256
	post, h, m, v, pre := normal(rng, n), normal(rng, n), make([]float64, n), make([]float64, n), make([]float64, n)
	r := relaxation{normal(rng, n), normal(rng, n), normal(rng, n)}
	for name, f := range map[string]func(){
		"back":    func() { relaxBack(pre, post, r, false) },
		"forward": func() { relaxForward(pre, h, post, r) },
		"weigh":   func() { weigh(post, h, r.up) },
		"climb":   func() { climbSlopes(r, m, v, post, h, adamAt(3, 0.1)) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}
