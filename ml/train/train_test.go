package train_test

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/train"
)

// digits reads the UCI digits, 8x8 pixels in [0,1], and splits them: every
// fifth is for testing.
func digits(t *testing.T) (x, xTest *tensor.Tensor, y, yTest []int) {
	t.Helper()
	f, err := os.Open(need.Data(t, "tabular/digits.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	x, xTest = &tensor.Tensor{Shape: []int{0, 64}}, &tensor.Tensor{Shape: []int{0, 64}}
	for i, row := range rows {
		to, labels := x, &y
		if i%5 == 4 {
			to, labels = xTest, &yTest
		}
		for _, cell := range row[:64] {
			v, err := strconv.ParseFloat(cell, 32)
			if err != nil {
				t.Fatal(err)
			}
			to.Data = append(to.Data, float32(v/16))
		}
		label, err := strconv.ParseFloat(row[64], 32)
		if err != nil {
			t.Fatal(err)
		}
		*labels = append(*labels, int(label))
		to.Shape[0]++
	}
	if len(rows) != 1797 {
		t.Fatalf("%d digits, want 1797", len(rows))
	}
	return x, xTest, y, yTest
}

// open makes a trained model answer.
func open(t *testing.T, m *onnx.Model) *model.Local {
	t.Helper()
	l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func accuracy(t *testing.T, m model.Scores, x *tensor.Tensor, y []int) float64 {
	t.Helper()
	z, err := m.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for i := range y {
		if tensor.ArgMax(z.Row(i)) == y[i] {
			right++
		}
	}
	return float64(right) / float64(len(y))
}

// ascend is projected gradient ascent on the cross-entropy in an L-infinity
// ball within [0,1], from a random point of it (Madry et al. 2018).
func ascend(ctx context.Context, m model.Gradients, x *tensor.Tensor, y []int, eps, step float32, steps int, rng *rand.Rand) (*tensor.Tensor, error) {
	adv := x.Clone()
	clip := func(i int, v float32) { adv.Data[i] = min(max(v, x.Data[i]-eps, 0), x.Data[i]+eps, 1) }
	for i, v := range x.Data {
		clip(i, v+eps*(2*rng.Float32()-1))
	}
	for range steps {
		_, g, err := m.Gradient(ctx, adv, &model.Objective{Labels: y})
		if err != nil {
			return nil, err
		}
		for i, d := range g.Data {
			if d != 0 {
				clip(i, adv.Data[i]+float32(math.Copysign(float64(step), float64(d))))
			}
		}
	}
	return adv, nil
}

func mlp(t *testing.T) *onnx.Model {
	t.Helper()
	m, err := train.MLP([]int{64}, []int{64}, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDigits(t *testing.T) {
	x, xTest, y, yTest := digits(t)
	rt := orttest.Runtime(t)
	for name, cfg := range map[string]train.Config{
		"adam":     {Epochs: 15, Rate: train.Constant(0.003), Decay: 0.01},
		"momentum": {Epochs: 15, Optimiser: train.Momentum(0.9), Rate: train.Cosine(0.1)},
		"sgd":      {Epochs: 20, Optimiser: train.SGD(), Rate: train.Cyclic(0.8, 0.3)},
	} {
		m := mlp(t)
		trained, history, err := train.Fit(t.Context(), rt, m, x, y, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := onnx.Check(trained); err != nil {
			t.Fatal(err)
		}
		if len(history) != cfg.Epochs || history[0].Loss < 2*history[cfg.Epochs-1].Loss {
			t.Errorf("%s: the loss did not fall: %v", name, history)
		}
		before, after := accuracy(t, open(t, m), xTest, yTest), accuracy(t, open(t, trained), xTest, yTest)
		t.Logf("%s: test accuracy %.3f before, %.3f after, train accuracy %.3f", name, before, after, history[cfg.Epochs-1].Accuracy)
		if before > 0.3 || after < 0.95 {
			t.Errorf("%s: test accuracy %.3f before and %.3f after training, want 0.1 or so and 0.95", name, before, after)
		}
	}
}

func TestAdversarialTraining(t *testing.T) {
	x, xTest, y, yTest := digits(t)
	rt := orttest.Runtime(t)
	const eps = 0.15
	robust := func(perturb func(context.Context, *train.Batch) error) (clean, attacked float64) {
		m, _, err := train.Fit(t.Context(), rt, mlp(t), x, y, train.Config{Epochs: 20, Rate: train.Constant(0.003), Perturb: perturb})
		if err != nil {
			t.Fatal(err)
		}
		l := open(t, m)
		adv, err := ascend(t.Context(), l, xTest, yTest, eps, eps/8, 30, rand.New(rand.NewPCG(9, 9)))
		if err != nil {
			t.Fatal(err)
		}
		return accuracy(t, l, xTest, yTest), accuracy(t, l, adv, yTest)
	}
	clean, attacked := robust(nil)
	cleanAdv, attackedAdv := robust(func(ctx context.Context, b *train.Batch) error {
		adv, err := ascend(ctx, b.Net, b.X, b.Y, eps, eps/3, 7, b.Rand)
		if err == nil {
			copy(b.X.Data, adv.Data)
		}
		return err
	})
	t.Logf("accuracy clean and under PGD at %v: standard %.3f %.3f, adversarially trained %.3f %.3f", eps, clean, attacked, cleanAdv, attackedAdv)
	if attackedAdv < attacked+0.2 || cleanAdv < 0.9 {
		t.Errorf("under attack %.3f after standard and %.3f after adversarial training, want 0.2 more; clean %.3f, want 0.9", attacked, attackedAdv, cleanAdv)
	}
}

// encode is a model's bytes.
func encode(t *testing.T, m *onnx.Model) string {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The same seed gives the same weights, another one others, and the model that
// was passed in stays as it was.
func TestDeterminism(t *testing.T) {
	x, _, y, _ := digits(t)
	x, y = x.Slice(0, 300), y[:300] // 300 is not a multiple of the batch
	m := mlp(t)
	before := encode(t, m)
	fit := func(seed uint64) string {
		trained, _, err := train.Fit(t.Context(), orttest.Runtime(t), m, x, y, train.Config{Epochs: 2, Seed: seed, Perturb: func(_ context.Context, b *train.Batch) error {
			for i := range b.X.Data {
				b.X.Data[i] += 0.01 * float32(b.Rand.NormFloat64())
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return encode(t, trained)
	}
	first, again := fit(1), fit(1)
	if first != again {
		t.Error("the same seed gave different weights")
	}
	if first == fit(2) {
		t.Error("different seeds gave the same weights")
	}
	if encode(t, m) != before {
		t.Error("training changed the model that was passed in")
	}
	if encode(t, mlp(t)) != before {
		t.Error("the same seed made different networks")
	}
}

// The training graph's steps agree with the optimisers' formulas, computed
// here in float64 for softmax regression, where the gradient is
// x' (softmax(xw) - target) / n.
func TestStepsFollowTheFormulas(t *testing.T) {
	const n, in, classes, epochs, decay = 5, 3, 4, 6, 0.1
	rng := rand.New(rand.NewPCG(4, 4))
	x := tensor.New(n, in)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	y := []int{0, 1, 2, 3, 1}
	start, err := train.MLP([]int{in}, nil, classes, 3)
	if err != nil {
		t.Fatal(err)
	}
	rate := train.Steps(0.5, 0.5, 0.5)
	for name, test := range map[string]struct {
		opt train.Optimiser
		dir func(step int, g float64, s *[2]float64) float64
	}{
		"sgd": {train.SGD(), func(_ int, g float64, _ *[2]float64) float64 { return g }},
		"momentum": {train.Momentum(0.8), func(_ int, g float64, s *[2]float64) float64 {
			s[0] = 0.8*s[0] + g
			return s[0]
		}},
		"adam": {train.Adam(0.9, 0.99, 1e-6), func(step int, g float64, s *[2]float64) float64 {
			s[0], s[1] = 0.9*s[0]+0.1*g, 0.99*s[1]+0.01*g*g
			k := float64(step + 1)
			return s[0] / (1 - math.Pow(0.9, k)) / (math.Sqrt(s[1]/(1-math.Pow(0.99, k))) + 1e-6)
		}},
	} {
		trained, _, err := train.Fit(t.Context(), orttest.Runtime(t), start, x, y,
			train.Config{Epochs: epochs, Batch: n, Optimiser: test.opt, Rate: rate, Decay: decay})
		if err != nil {
			t.Fatal(err)
		}
		w, b := float64s(start, "w1"), float64s(start, "b1")
		state := make([][2]float64, len(w)+len(b))
		for step := range epochs {
			gw, gb := regressionGradient(x, y, w, b)
			r := rate(float64(step) / epochs)
			for i := range w {
				w[i] -= r * (test.dir(step, gw[i], &state[i]) + decay*w[i])
			}
			for i := range b { // one dimension: no decay
				b[i] -= r * test.dir(step, gb[i], &state[len(w)+i])
			}
		}
		for i, want := range append(w, b...) {
			got := append(float64s(trained, "w1"), float64s(trained, "b1")...)[i]
			if math.Abs(got-want) > 1e-4 {
				t.Errorf("%s: weight %d is %v, want %v", name, i, got, want)
			}
		}
	}
}

func float64s(m *onnx.Model, name string) []float64 {
	var v []float64
	for _, f := range m.Graph.Initializer(name).Floats() {
		v = append(v, float64(f))
	}
	return v
}

func regressionGradient(x *tensor.Tensor, y []int, w, b []float64) (gw, gb []float64) {
	gw, gb = make([]float64, len(w)), make([]float64, len(b))
	k, n := len(b), x.Rows()
	for i := range n {
		z, sum := slices.Clone(b), 0.0
		for j, v := range x.Row(i) {
			for c := range k {
				z[c] += float64(v) * w[j*k+c]
			}
		}
		for c := range z {
			z[c] = math.Exp(z[c])
			sum += z[c]
		}
		for c := range z {
			d := z[c] / sum
			if c == y[i] {
				d--
			}
			d /= float64(n)
			gb[c] += d
			for j, v := range x.Row(i) {
				gw[j*k+c] += d * float64(v)
			}
		}
	}
	return gw, gb
}

// The batch's network has the weights of the moment, and its gradient is the
// derivative of the loss.
func TestNetFollowsTheWeights(t *testing.T) {
	x, _, y, _ := digits(t)
	x, y = x.Slice(0, 40), y[:40]
	var last []float32
	steps := 0
	_, _, err := train.Fit(t.Context(), orttest.Runtime(t), mlp(t), x, y, train.Config{Epochs: 3, Batch: 16, Seed: 2, Perturb: func(ctx context.Context, b *train.Batch) error {
		steps++
		z, err := b.Net.Scores(ctx, b.X)
		if err != nil {
			return err
		}
		z = z.Clone()
		if last != nil && slices.Equal(z.Row(0), last) {
			t.Errorf("step %d: the scores did not change", b.Step)
		}
		last = slices.Clone(z.Row(0))
		other := make([]int, len(b.Y))
		for i, c := range b.Y {
			other[i] = (c + 1) % 10
		}
		for _, obj := range []*model.Objective{
			{Loss: model.CrossEntropy, Labels: b.Y}, {Loss: model.CrossEntropy, Labels: b.Y, Targets: other},
			{Loss: model.Margin, Labels: b.Y}, {Loss: model.Margin, Labels: b.Y, Targets: other},
		} {
			if err := rises(ctx, b, z, obj); err != nil {
				t.Errorf("step %d, %v, targeted %v: %v", b.Step, obj.Loss, obj.Targets != nil, err)
			}
		}
		if _, _, err := b.Net.Gradient(ctx, b.X, &model.Objective{Loss: model.DLR, Labels: b.Y}); err == nil {
			t.Error("an objective that is not supported was accepted")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if steps != 9 {
		t.Errorf("%d steps, want 9", steps)
	}
}

// rises checks a gradient against the objective's own value: along the gradient
// of sample 0, a small step changes it by the gradient's squared length.
func rises(ctx context.Context, b *train.Batch, z *tensor.Tensor, obj *model.Objective) error {
	zg, g, err := b.Net.Gradient(ctx, b.X, obj)
	if err != nil {
		return err
	}
	for i, v := range zg.Data {
		if math.Abs(float64(v-z.Data[i])) > 1e-4 {
			return fmt.Errorf("scores %v with the gradient and %v without", v, z.Data[i])
		}
	}
	const h = 1e-3
	moved, norm := b.X.Clone(), 0.0
	for j, d := range g.Row(0) {
		norm += float64(d) * float64(d)
		moved.Row(0)[j] += h * d
	}
	if norm == 0 {
		return errors.New("the gradient is zero")
	}
	zm, err := b.Net.Scores(ctx, moved)
	if err != nil {
		return err
	}
	if got := (obj.Value(0, zm.Row(0)) - obj.Value(0, z.Row(0))) / h; math.Abs(got-norm) > 0.05*norm+1e-2 {
		return fmt.Errorf("the objective rises by %v, want %v", got, norm)
	}
	return nil
}

// Soft targets change what is learnt: with all targets even, the network
// becomes indifferent.
func TestSoftTargets(t *testing.T) {
	x, _, y, _ := digits(t)
	m, history, err := train.Fit(t.Context(), orttest.Runtime(t), mlp(t), x, y, train.Config{Epochs: 5, Perturb: func(_ context.Context, b *train.Batch) error {
		for i := range b.Target.Data {
			b.Target.Data[i] = 0.1
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := history[4].Loss, math.Log(10); math.Abs(got-want) > 0.02 {
		t.Errorf("loss %v, want ln 10 = %v", got, want)
	}
	if a := accuracy(t, open(t, m), x, y); a > 0.6 {
		t.Errorf("accuracy %v although the targets say nothing", a)
	}
}

func TestCNNLearns(t *testing.T) {
	x, xTest, y, yTest := digits(t)
	image := func(x *tensor.Tensor) *tensor.Tensor { return tensor.Of(x.Data, x.Rows(), 1, 8, 8) }
	m, err := train.CNN([3]int{1, 8, 8}, []int{8, 16}, 32, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err = train.Fit(t.Context(), orttest.Runtime(t), m, image(x), y, train.Config{Epochs: 10, Rate: train.Constant(0.003)})
	if err != nil {
		t.Fatal(err)
	}
	if a := accuracy(t, open(t, m), image(xTest), yTest); a < 0.95 {
		t.Errorf("test accuracy %.3f, want 0.95", a)
	}
}

// Training stops when told to, and hands over what it has.
func TestCancellation(t *testing.T) {
	x, _, y, _ := digits(t)
	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	m, _, err := train.Fit(ctx, orttest.Runtime(t), mlp(t), x, y, train.Config{Epochs: 1000, Progress: func(p train.Progress) {
		if steps++; steps == 30 {
			cancel()
		}
		if p.Step != steps || p.Steps != 1000*23 || p.Accuracy > 1 {
			t.Errorf("progress %+v at step %d", p, steps)
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if steps != 30 || m == nil || encode(t, m) == encode(t, mlp(t)) {
		t.Errorf("%d steps, model %v; want 30 steps and their weights", steps, m != nil)
	}
}

func TestRefusals(t *testing.T) {
	rt := orttest.Runtime(t)
	x := tensor.New(4, 64)
	bad := tensor.New(4, 64)
	bad.Data[7] = float32(math.NaN())
	y := []int{0, 1, 2, 3}
	for _, test := range []struct {
		name string
		x    *tensor.Tensor
		y    []int
		cfg  train.Config
		want string
	}{
		{"label", x, []int{0, 1, 2, 10}, train.Config{}, "sample 3 has label 10"},
		{"labels", x, []int{0}, train.Config{}, "4 samples and 1 labels"},
		{"values", bad, y, train.Config{}, "finite"},
		{"shape", tensor.New(4, 63), y, train.Config{}, "samples of shape [63]"},
		{"weights", x, y, train.Config{Weights: []string{"absent"}}, `weight "absent"`},
		{"hook", x, y, train.Config{Perturb: func(context.Context, *train.Batch) error { return errors.New("out of ideas") }}, "out of ideas"},
		{"rate", tensor.Of(slices.Repeat([]float32{1e30}, 4*64), 4, 64), y, train.Config{Rate: train.Constant(1e30), Optimiser: train.SGD()}, "lower the rate"},
		{"negative", x, y, train.Config{Epochs: -1}, "-1 epochs"},
	} {
		_, _, err := train.Fit(t.Context(), rt, mlp(t), test.x, test.y, test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	for name, make := range map[string]func() (*onnx.Model, error){
		"no classes": func() (*onnx.Model, error) { return train.MLP([]int{3}, nil, 0, 1) },
		"no sample":  func() (*onnx.Model, error) { return train.MLP(nil, nil, 2, 1) },
		"odd":        func() (*onnx.Model, error) { return train.CNN([3]int{1, 6, 8}, []int{4, 4}, 8, 2, 1) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A network read from a file, with a Softmax at its end and weights in its
// initializers, trains further.
func TestFineTunesAFile(t *testing.T) {
	m, err := onnx.Read(need.Data(t, "models/tabular/german_mlp.onnx"), onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	x := tensor.New(64, 61)
	y := make([]int, 64)
	for i := range y {
		for j := range x.Row(i) {
			x.Row(i)[j] = rng.Float32()
		}
		y[i] = rng.IntN(2)
	}
	trained, history, err := train.Fit(t.Context(), orttest.Runtime(t), m, x, y, train.Config{Epochs: 60, Batch: 32})
	if err != nil {
		t.Fatal(err)
	}
	if history[59].Loss > history[0].Loss/2 {
		t.Errorf("the loss went from %v to %v", history[0].Loss, history[59].Loss)
	}
	for _, w := range m.Graph.Initializers {
		changed := !slices.Equal(w.Raw, trained.Graph.Initializer(w.Name).Raw)
		layer := slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "Gemm" && slices.Contains(n.Inputs, w.Name) })
		if changed != layer {
			t.Errorf("initializer %q changed: %v, want %v", w.Name, changed, layer)
		}
	}
	s, err := orttest.Runtime(t).NewSession(trained, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.RunTensors(t.Context(), map[string]*onnx.Tensor{"X": onnx.FloatTensor("X", x.Data, 64, 61)})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range out["probabilities"].Floats() {
		if p < 0 || p > 1 {
			t.Fatalf("element %d of the probabilities is %v: the Softmax was lost", i, p)
		}
	}
}

func TestSchedules(t *testing.T) {
	for _, test := range []struct {
		name string
		s    train.Schedule
		want []float64 // at 0, 1/4, 1/2, 3/4
	}{
		{"constant", train.Constant(2), []float64{2, 2, 2, 2}},
		{"steps", train.Steps(1, 0.1, 0.5, 0.75), []float64{1, 1, 0.1, 0.01}},
		{"cosine", train.Cosine(2), []float64{2, 1 + math.Sqrt2/2, 1, 1 - math.Sqrt2/2}},
		{"cyclic", train.Cyclic(4, 0.5), []float64{0, 2, 4, 2}},
	} {
		for i, want := range test.want {
			if got := test.s(float64(i) / 4); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s at %d/4: %v, want %v", test.name, i, got, want)
			}
		}
	}
}
