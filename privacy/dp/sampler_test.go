package dp_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/dptest"
)

// falseAlarm is how often each statistical test fails a right sampler. There are
// fewer than a hundred of them.
const falseAlarm = 1e-9

func noises(t *testing.T) map[string]*dp.Noise {
	out := map[string]*dp.Noise{}
	for _, text := range []string{"1/10", "1/2", "1", "7/3", "20", "340/7", "1000000007/33554432"} {
		x, _ := new(big.Rat).SetString(text)
		laplace, err := dp.LaplaceNoise(x)
		if err != nil {
			t.Fatal(err)
		}
		gaussian, err := dp.GaussianNoise(x)
		if err != nil {
			t.Fatal(err)
		}
		out["laplace "+text], out["gaussian "+text] = laplace, gaussian
	}
	return out
}

// Every sampler in words and in full against its own formula, whose values are
// held against others' in TestShapes.
func TestNoiseFitsItsDistribution(t *testing.T) {
	for name, noise := range noises(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draws := make([]int64, 300_000)
			noise.Fill(dp.Source{}, draws)
			dptest.Fits(t, draws, noise.Probability, falseAlarm)
			draws = draws[:20_000]
			for i := range draws {
				draws[i] = dp.BigDraw(noise, dp.Source{})
			}
			dptest.Fits(t, draws, noise.Probability, falseAlarm)
		})
	}
}

// Noise whose parameters do not fit in words is drawn in full by itself.
func TestNoiseOfAwkwardFractions(t *testing.T) {
	awkward := new(big.Rat).SetFrac(
		new(big.Int).Add(new(big.Int).Exp(big.NewInt(3), big.NewInt(90), nil), big.NewInt(1)),
		new(big.Int).Exp(big.NewInt(3), big.NewInt(89), nil))
	for _, build := range []func(*big.Rat) (*dp.Noise, error){dp.LaplaceNoise, dp.GaussianNoise} {
		noise, err := build(awkward)
		if err != nil {
			t.Fatal(err)
		}
		draws := make([]int64, 20_000)
		noise.Fill(dp.Source{}, draws)
		dptest.Fits(t, draws, noise.Probability, falseAlarm)
	}
}

// Wide noise has no value that comes twice; its ranks must fit instead.
func TestWideNoiseFits(t *testing.T) {
	for _, bits := range []uint{20, 30, 44, 51} {
		scale := new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), bits))
		laplace, err := dp.LaplaceNoise(scale)
		if err != nil {
			t.Fatal(err)
		}
		gaussian, err := dp.GaussianNoise(new(big.Rat).Mul(scale, scale))
		if err != nil {
			t.Fatal(err)
		}
		width := math.Ldexp(1, int(bits))
		for _, c := range []struct {
			noise *dp.Noise
			cdf   func(float64) float64
			n     int
		}{
			{laplace, func(x float64) float64 {
				if x < 0 {
					return math.Exp(x) / 2
				}
				return 1 - math.Exp(-x)/2
			}, 100_000},
			{gaussian, func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }, 20_000},
		} {
			draws := make([]int64, c.n)
			c.noise.Fill(dp.Source{}, draws)
			for i, x := range draws { // into 64 cells, each as likely but for less than 2^-19
				draws[i] = int64(64 * c.cdf((float64(x)+0.5)/width))
			}
			dptest.Fits(t, draws, func(k int64) float64 {
				if k < 0 || k > 63 {
					return 0
				}
				return 1.0 / 64
			}, falseAlarm)
		}
	}
}

func TestCoins(t *testing.T) {
	count := func(flip func() (bool, error)) []int64 {
		out := make([]int64, 100_000)
		for i := range out {
			heads, err := flip()
			if err != nil {
				t.Fatal(err)
			}
			if heads {
				out[i] = 1
			}
		}
		return out
	}
	coin := func(p float64) func(int64) float64 {
		return func(k int64) float64 {
			switch k {
			case 0:
				return 1 - p
			case 1:
				return p
			}
			return 0
		}
	}
	var s dp.Source
	huge := new(big.Rat).SetFrac(new(big.Int).Lsh(big.NewInt(1), 200), new(big.Int).Mul(big.NewInt(3), new(big.Int).Lsh(big.NewInt(1), 200)))
	for _, p := range []*big.Rat{big.NewRat(1, 3), big.NewRat(1, 1000), big.NewRat(99, 100), big.NewRat(math.MaxInt64-1, math.MaxInt64), huge} {
		f, _ := p.Float64()
		dptest.Fits(t, count(func() (bool, error) { return s.Bernoulli(p) }), coin(f), falseAlarm)
	}
	for _, text := range []string{"0", "1/1000", "1/3", "1", "5/2", "123456789012345678901/98765432109876543210", "7"} {
		x, _ := new(big.Rat).SetString(text)
		f, _ := x.Float64()
		dptest.Fits(t, count(func() (bool, error) { return s.BernoulliExp(x) }), coin(math.Exp(-f)), falseAlarm)
	}
	for _, n := range []uint64{1, 2, 3, 10, 1000} {
		draws := make([]int64, 100_000)
		for i := range draws {
			draws[i] = int64(s.Uniform(n))
		}
		dptest.Fits(t, draws, func(k int64) float64 {
			if k < 0 || k >= int64(n) {
				return 0
			}
			return 1 / float64(n)
		}, falseAlarm)
	}
	geometric := make([]int64, 100_000)
	for i := range geometric {
		x, err := s.Geometric(big.NewRat(1, 5))
		if err != nil {
			t.Fatal(err)
		}
		geometric[i] = x
	}
	dptest.Fits(t, geometric, func(k int64) float64 {
		if k < 0 {
			return 0
		}
		return -math.Expm1(-0.2) * math.Exp(-0.2*float64(k))
	}, falseAlarm)
	// Without rejection multiples of three would come twice as often as others, and
	// with a modulus small numbers.
	thirds, low := make([]int64, 100_000), make([]int64, 100_000)
	for i := range thirds {
		x := s.Uniform(3 << 62)
		thirds[i] = int64(x % 3)
		if x < 1<<62 {
			low[i] = 1
		}
	}
	dptest.Fits(t, thirds, func(k int64) float64 {
		if k < 0 || k > 2 {
			return 0
		}
		return 1.0 / 3
	}, falseAlarm)
	dptest.Fits(t, low, coin(1.0/3), falseAlarm)
}

// The fast comparison decides as the long one does, on first words next to the
// boundary on either side.
func TestBelowAgreesWithFractions(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		d := new(big.Int).SetUint64(r.Uint64() | 1<<63)
		d.Lsh(d, 64).Or(d, new(big.Int).SetUint64(r.Uint64()))
		d.Rsh(d, r.UintN(60))
		n := new(big.Int).SetUint64(r.Uint64())
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(r.Uint64())).Mod(n, d)
		top := new(big.Int).Lsh(n, 64)
		top.Quo(top, d)
		digits := make([]uint64, 64)
		for i := range digits {
			digits[i] = r.Uint64()
		}
		digits[0] = top.Uint64() + r.Uint64N(17) - 8
		if close := digits[0] == top.Uint64(); close {
			continue // decided by a fresh comparison, not by digits: TestBelowOnTies
		}
		if got, want := dp.Below(reader(digits), n, d), dp.BelowBig(digits[:1], n, d); got != want {
			t.Fatalf("%v/%v on %x: %v, want %v", n, d, digits[0], got, want)
		}
	}
}

// When the first word leaves it open, what is left is decided with the right
// probability.
func TestBelowOnTies(t *testing.T) {
	d := new(big.Int).Lsh(big.NewInt(3), 100)
	n := new(big.Int).Lsh(big.NewInt(1), 100) // a third: every word of it is 5555...
	r := rand.New(rand.NewPCG(7, 8))
	draws := make([]int64, 50_000)
	for i := range draws {
		bits := []uint64{0x5555555555555555}
		for range 64 {
			bits = append(bits, r.Uint64())
		}
		if dp.Below(reader(bits), n, d) {
			draws[i] = 1
		}
	}
	dptest.Fits(t, draws, func(k int64) float64 {
		return map[int64]float64{0: 2.0 / 3, 1: 1.0 / 3}[k]
	}, falseAlarm)
}

func reader(words []uint64) *bytes.Reader {
	var b bytes.Buffer
	for _, w := range words {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], w)
		b.Write(word[:])
	}
	return bytes.NewReader(b.Bytes())
}

// A source gives each byte to one caller and keeps none: as many goroutines as
// like draw at once, and what they draw is independent.
func TestSourceIsNotShared(t *testing.T) {
	noise, err := dp.LaplaceNoise(new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 50)))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := make([]int64, 2000)
			for i := range mine {
				mine[i] = noise.Draw(dp.Source{})
			}
			mu.Lock()
			defer mu.Unlock()
			for _, x := range mine {
				if seen[x] { // once in 10^7 runs by chance
					t.Errorf("%d was drawn twice", x)
				}
				seen[x] = true
			}
		})
	}
	wg.Wait()
}

// Without randomness there is no noise.
func TestSourceThatFailsEndsTheProgram(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("drew from nothing")
		}
	}()
	dp.Source{Rand: strings.NewReader("too short")}.Uniform(10)
}

func TestNoiseRefuses(t *testing.T) {
	for _, x := range []*big.Rat{new(big.Rat), big.NewRat(-1, 2), new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 200))} {
		if _, err := dp.LaplaceNoise(x); err == nil {
			t.Errorf("Laplace noise of scale %v", x)
		}
		if _, err := dp.GaussianNoise(x); err == nil {
			t.Errorf("Gaussian noise of variance %v", x)
		}
	}
	for _, p := range []*big.Rat{big.NewRat(-1, 2), big.NewRat(3, 2)} {
		if _, err := (dp.Source{}).Bernoulli(p); err == nil {
			t.Errorf("a coin of %v", p)
		}
	}
	if _, err := (dp.Source{}).BernoulliExp(big.NewRat(-1, 2)); err == nil {
		t.Error("a coin of exp(1/2)")
	}
	if _, err := (dp.Source{}).Geometric(new(big.Rat)); err == nil {
		t.Error("a coin that never fails")
	}
}
