package certify

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

func read(t testing.TB, m *onnx.Model) *Network {
	t.Helper()
	n, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// chain is x -> matrices with ReLUs between them -> y.
func chain(t testing.TB, in int64, layers ...[]float32) *Network {
	t.Helper()
	f := form{name: "chain", sample: []int64{in}}
	at := "x"
	for i, w := range layers {
		name, out := string(rune('A'+i)), string(rune('a'+i))
		f.constants = append(f.constants, onnx.FloatTensor(name, w, in, int64(len(w))/in))
		in = int64(len(w)) / in
		f.nodes = append(f.nodes, onnx.NewNode("MatMul", []string{at, name}, []string{out}))
		if at = out; i+1 < len(layers) {
			f.nodes = append(f.nodes, onnx.NewNode("Relu", []string{at}, []string{out + "+"}))
			at = out + "+"
		}
	}
	f.nodes = append(f.nodes, onnx.NewNode("Identity", []string{at}, []string{"y"}))
	return read(t, f.model(nil))
}

// y = ReLU(x0 + x1) + ReLU(x0 - x1) over [-1, 1]^2, by hand. Both sums lie in
// [-2, 2], so that intervals give [0, 4]. The upper relaxation of each ReLU is
// h/2 + 1, which makes x0 + 2 <= 3; the lower one with slope 1/2 makes
// x0 >= -1, and slope 0 makes 0, which is the truth. The truth is [0, 2].
func TestBoundsByHand(t *testing.T) {
	n := chain(t, 2, []float32{1, 1, 1, -1}, []float32{1, 1})
	for m, want := range map[Method][2]float64{IBP: {0, 4}, CROWN: {0, 3}} {
		lo, hi, err := n.Bounds(t.Context(), []float64{-1, -1}, []float64{1, 1}, Options{Method: m, Real: true})
		if err != nil {
			t.Fatal(err)
		}
		near(t, m.String(), []float64{lo[0], hi[0]}, want[:])
		if lo[0] > want[0] || hi[0] < want[1] {
			t.Errorf("%v: %v to %v is rounded inwards, want it to contain %v", m, lo[0], hi[0], want)
		}
	}
}

// Linear bounds of a linear network are exact; intervals are not.
func TestLinearNetworkIsExact(t *testing.T) {
	n := chain(t, 2, []float32{1, 2, 3, 4})
	lo, hi, err := n.Bounds(t.Context(), []float64{-1, 0}, []float64{1, 2}, Options{Method: CROWN, Real: true})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "bounds", append(lo, hi...), []float64{-1, -2, 7, 10})
	// (x0 + x1) - (x0 - x1) = 2 x1, which intervals do not see.
	n = chain(t, 2, []float32{1, 1, 1, -1}, []float32{1, -1})
	p := vnnlib.Property{Inputs: 2, Outputs: 1, Cases: []vnnlib.Case{
		{Lo: []float64{9, 1}, Hi: []float64{10, 2}, W: [][]float64{{-1}}, B: []float64{1.5}}}}
	for m, want := range map[Method]bool{IBP: false, CROWN: true} {
		if got, err := n.Prove(t.Context(), &p, Options{Method: m}); err != nil || got != want {
			t.Errorf("%v proves 2 x1 > 1.5 over x1 in [1, 2]: %v (%v), want %v", m, got, err, want)
		}
	}
}

// Random trained-size networks: what ONNX Runtime computes at random points and
// corners never leaves the bounds, nor at points that Linf attacks find.
func TestBoundsHold(t *testing.T) {
	rt := orttest.Runtime(t)
	for seed := range uint64(6) {
		m, err := train.MLP([]int{6}, []int{24, 16, 16}, 4, seed)
		if seed%2 == 1 {
			m, err = train.CNN([3]int{1, 8, 8}, []int{2, 3}, 8, 4, seed)
		}
		if err != nil {
			t.Fatal(err)
		}
		l, err := model.New(t.Context(), rt, m, model.Config{Raw: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n, rng := read(t, m), rand.New(rand.NewPCG(seed, 1))
		for _, width := range []float64{0.02, 0.2, 2} {
			checkBounds(t, n, l, rng, width)
		}
		attacked(t, n, l, rng)
	}
}

// attacked compares, for some samples and radii, the certified margin with the
// least that PGD finds, and asks that no certified sample falls.
func attacked(t *testing.T, n *Network, l *model.Local, rng *rand.Rand) {
	const samples = 4
	x := tensor.New(append([]int{samples}, l.Sample()...)...)
	for i := range x.Data {
		x.Data[i] = rng.Float32()
	}
	z, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]int, samples)
	for i := range labels {
		labels[i] = tensor.ArgMax(z.Row(i))
	}
	spec, err := evasion.Find("pgd-margin")
	if err != nil {
		t.Fatal(err)
	}
	box := evasion.Box{Lo: []float32{0}, Hi: []float32{1}}
	for _, norm := range []evasion.Norm{evasion.Linf, evasion.L2, evasion.L1} {
		for _, eps := range []float64{0.03, 0.1, 0.4} {
			b := &evasion.Batch{X: x, Labels: labels, Norm: norm, Box: box}
			for range samples {
				b.Eps = append(b.Eps, eps)
			}
			adv, err := spec.New(evasion.Settings{}).Perturb(t.Context(), l, b)
			if err != nil {
				t.Fatal(err)
			}
			z, err := l.Scores(t.Context(), adv)
			if err != nil {
				t.Fatal(err)
			}
			z = z.Clone()
			objective := &model.Objective{Loss: model.Margin, Labels: labels}
			for i := range samples {
				ball := Ball{X: x.Row(i), Norm: norm, Eps: eps, Box: box}
				got := -objective.Value(i, z.Row(i))
				margin, err := n.Margin(t.Context(), ball, labels[i], Options{Method: CROWN})
				if err != nil {
					t.Fatal(err)
				}
				if got < margin {
					t.Errorf("%s %v, sample %d: margin %v found, at least %v certified", norm.Name(), eps, i, got, margin)
				}
			}
		}
	}
}

// The checks above notice an unsound relaxation: with upper bounds of a third of
// their height, corners leave the bounds.
func TestUnsoundRelaxationIsNoticed(t *testing.T) {
	m, err := train.MLP([]int{6}, []int{24}, 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := read(t, m)
	lo, hi := fill(6, -1), fill(6, 1)
	a, err := n.analyse(t.Context(), boxed(lo, hi), Options{Method: CROWN}.settings(), nil)
	if err != nil {
		t.Fatal(err)
	}
	bounds := func(s *slopes) []float64 {
		b, err := a.rows(t.Context(), len(n.nodes)-1, 2*n.Outputs(), s, 0, 0, func(_ *pass, c []float64, first, count int) {
			for r := range count {
				c[r*n.Outputs()+(first+r)/2] = 1 - 2*float64((first+r)%2)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	x := tensor.New(400, 6)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range x.Data {
		x.Data[i] = float32(math.Round(rng.Float64())*2 - 1)
	}
	y, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for _, sound := range []bool{true, false} {
		s := a.slopes(len(n.nodes) - 1)
		if !sound {
			for k := range s.up {
				for i := range s.up[k] {
					s.up[k][i], s.shift[k][i] = 0.3*s.up[k][i], 0.3*s.shift[k][i]
				}
			}
		}
		least, most := make([]float64, n.Outputs()), make([]float64, n.Outputs())
		for r, b := range bounds(s) {
			if r%2 == 0 {
				least[r/2] = b
			} else {
				most[r/2] = -b
			}
		}
		if msg := violation(y, least, most); (msg == "") != sound {
			t.Errorf("sound %v: violation %q", sound, msg)
		}
	}
}

// Over a ball and a box the least of a linear function is never above what
// random points reach, and the point given for it reaches it.
func TestBalls(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		const d = 5
		x, a := make([]float32, d), normal(rng, d)
		for j := range x {
			x[j] = rng.Float32()
		}
		norm := []evasion.Norm{evasion.Linf, evasion.L2, evasion.L1}[rng.IntN(3)]
		b := Ball{X: x, Norm: norm, Eps: 2 * rng.Float64(), Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}}
		g, err := b.region(d)
		if err != nil {
			t.Fatal(err)
		}
		least := g.least(a)
		worst := make([]float64, d)
		g.worst(worst, a)
		reached := weigh(a, worst, make([]float64, d))
		move := make([]float32, d)
		for j := range move {
			move[j] = float32(worst[j] - float64(x[j]))
			if worst[j] < -1e-6 || worst[j] > 1+1e-6 {
				t.Fatalf("%s: element %d of the worst point is %v, outside the box", norm.Name(), j, worst[j])
			}
		}
		if norm.Size(move) > b.Eps*(1+1e-5) || reached-least > 1e-6 || least > reached+1e-9 {
			t.Fatalf("%s %v: the worst point moves %v and reaches %v, the bound is %v", norm.Name(), b.Eps, norm.Size(move), reached, least)
		}
		for range 200 {
			norm.Sample(rng, move, b.Eps)
			sum := 0.0
			for j := range move {
				sum += a[j] * float64(min(max(x[j]+move[j], 0), 1))
			}
			if sum < least-1e-6 {
				t.Fatalf("%s %v: a point reaches %v, below the bound %v", norm.Name(), b.Eps, sum, least)
			}
		}
	}
}
