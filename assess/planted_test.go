package assess

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
)

// before puts nodes between a model's input and its first layer. They read "in"
// and write "out".
func before(m *onnx.Model, constants []*onnx.Tensor, nodes ...*onnx.Node) {
	g := m.Graph
	x := g.Feeds()[0].Name
	for _, n := range g.Nodes {
		for i, in := range n.Inputs {
			if in == x {
				n.Inputs[i] = "out"
			}
		}
	}
	for _, n := range nodes {
		for i, in := range n.Inputs {
			if in == "in" {
				n.Inputs[i] = x
			}
		}
	}
	g.Nodes = append(slices.Clone(nodes), g.Nodes...)
	g.Initializers = append(g.Initializers, constants...)
	g.Values = nil
}

func number(name string, v float32) *onnx.Tensor { return onnx.FloatTensor(name, []float32{v}) }

// planted assesses a shared network with a fault put into it, on a few images.
func planted(t *testing.T, plant func(*onnx.Model), prepare func(*data.Set), cfg Config) *redoubt.Assessment {
	t.Helper()
	m, err := onnx.Read(filepath.Join(need.Data(t, "models/mnist"), "mnist_cnn_std_s1.onnx"), onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.Upgrade(m, 18); err != nil {
		t.Fatal(err)
	}
	plant(m)
	l, err := model.New(t.Context(), orttest.Runtime(t), m, model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	set := images(t, reference{dataset: "mnist", n: 60}, l)
	prepare(set)
	if cfg.Eps == nil {
		cfg.Eps = []float64{0.1}
	}
	if cfg.Box.Lo == nil {
		cfg.Box = unit
	}
	if cfg.Attacks == nil {
		cfg.Attacks = specs(t, "pgd", "apgd-dlr")
	}
	cfg.Workers = 2
	a, err := Run(t.Context(), Local(l), set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestPlantedFailures puts each way of failing into a network that is
// trustworthy without it. The first case is the network itself.
func TestPlantedFailures(t *testing.T) {
	honest := 0.0
	for _, c := range []struct {
		name    string
		plant   func(*onnx.Model)
		prepare func(*data.Set)
		cfg     Config
		flag    string // "" for none
		verdict string
	}{
		{name: "none", verdict: redoubt.Trustworthy, cfg: Config{Attacks: Fast(Target{Access: model.WhiteBox}, false)}},
		{name: "rounds its input", flag: "zero-gradients", verdict: redoubt.Suspect, plant: func(m *onnx.Model) {
			before(m, []*onnx.Tensor{number("steps", 8)}, onnx.NewNode("Mul", []string{"in", "steps"}, []string{"many"}),
				onnx.NewNode("Round", []string{"many"}, []string{"whole"}), onnx.NewNode("Div", []string{"whole", "steps"}, []string{"out"}))
		}},
		{name: "thresholds its input", flag: "zero-gradients", verdict: redoubt.Suspect, plant: func(m *onnx.Model) {
			before(m, []*onnx.Tensor{number("half", 0.5)}, onnx.NewNode("Greater", []string{"in", "half"}, []string{"white"}),
				onnx.NewNode("Cast", []string{"white"}, []string{"out"}, onnx.IntAttr("to", int64(onnx.Float))))
		}},
		{name: "counts beside its input", flag: "blocked-gradients", verdict: redoubt.Suspect, plant: func(m *onnx.Model) {
			// BitShift has no gradient that could go straight through it.
			shift := onnx.NewNode("BitShift", []string{"whole", "one"}, []string{"half"}, onnx.StringAttr("direction", "RIGHT"))
			one := &onnx.Tensor{Name: "one", Type: onnx.Uint64, Raw: []byte{1, 0, 0, 0, 0, 0, 0, 0}}
			before(m, []*onnx.Tensor{one}, onnx.NewNode("Cast", []string{"in"}, []string{"whole"}, onnx.IntAttr("to", int64(onnx.Uint64))), shift,
				onnx.NewNode("Cast", []string{"half"}, []string{"count"}, onnx.IntAttr("to", int64(onnx.Float))),
				onnx.NewNode("Add", []string{"in", "count"}, []string{"out"}))
		}},
		{name: "adds noise", flag: "random-model", verdict: redoubt.Suspect, plant: func(m *onnx.Model) {
			before(m, nil, onnx.NewNode("RandomNormalLike", []string{"in"}, []string{"noise"}, onnx.FloatAttr("scale", 0.02)),
				onnx.NewNode("Add", []string{"in", "noise"}, []string{"out"}))
		}},
		{name: "oscillates", flag: "shattered-gradients", verdict: redoubt.Suspect, plant: func(m *onnx.Model) {
			// x + sin(2000 x)/100: the slope is 1 + 20 cos.
			before(m, []*onnx.Tensor{number("fast", 2000), number("small", 0.01)},
				onnx.NewNode("Mul", []string{"in", "fast"}, []string{"angle"}), onnx.NewNode("Sin", []string{"angle"}, []string{"wave"}),
				onnx.NewNode("Mul", []string{"wave", "small"}, []string{"ripple"}), onnx.NewNode("Add", []string{"in", "ripple"}, []string{"out"}))
		}},
		{name: "is certain", flag: "saturated-softmax", verdict: redoubt.Trustworthy, plant: func(m *onnx.Model) {
			g := m.Graph
			out := g.Outputs[0].Name
			g.Nodes = append(g.Nodes, onnx.NewNode("Mul", []string{out, "factor"}, []string{"certain"}))
			g.Initializers = append(g.Initializers, number("factor", 1e4))
			g.Outputs = []*onnx.Value{{Name: "certain"}}
		}},
		{name: "too few steps", flag: "loss-still-rising", verdict: redoubt.Suspect, cfg: Config{
			Attacks: []*evasion.Spec{{Name: "short", Access: model.WhiteBox, New: func(evasion.Settings) evasion.Attack {
				return evasion.Descent{Name: "short", Steps: 2, Step: 0.02, Loss: model.Margin}
			}}}}},
		{name: "wants pixels up to 255", flag: "wrong-preprocessing", verdict: redoubt.Invalid, plant: func(m *onnx.Model) {
			before(m, []*onnx.Tensor{number("white", 255)}, onnx.NewNode("Div", []string{"in", "white"}, []string{"out"}))
		}},
		{name: "inverted images", flag: "wrong-preprocessing", verdict: redoubt.Invalid, prepare: func(s *data.Set) {
			for i, v := range s.X.Data {
				s.X.Data[i] = 1 - v
			}
		}},
		{name: "labels of another data set", flag: "no-better-than-guessing", verdict: redoubt.Invalid, prepare: func(s *data.Set) {
			for i := range s.Y {
				s.Y[i] = (s.Y[i] + 1) % 10
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.plant == nil {
				c.plant = func(*onnx.Model) {}
			}
			if c.prepare == nil {
				c.prepare = func(*data.Set) {}
			}
			a := planted(t, c.plant, c.prepare, c.cfg)
			got := a.Threats[0]
			t.Logf("clean %.3f, robust %.3f, %s", a.CleanAccuracy, got.RobustAccuracy, got.Reliability.Verdict)
			for _, f := range got.Reliability.Flags {
				t.Logf("%s (%s): %s", f.ID, f.Verdict, f.Evidence)
			}
			if got.Reliability.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s", got.Reliability.Verdict, c.verdict)
			}
			if c.flag != "" && raised(a, c.flag) == nil {
				t.Errorf("flag %s is not raised", c.flag)
			}
			switch c.name {
			case "none":
				honest = got.RobustAccuracy
			case "rounds its input", "adds noise":
				// The repair must find nearly what is found without the fault.
				if got.RobustAccuracy > honest+0.1 {
					t.Errorf("robust accuracy %v, without the fault %v: not repaired", got.RobustAccuracy, honest)
				}
			}
		})
	}
}

// TestSharedNetworksAreTrustworthy: the verdict is silent on networks without a
// fault, plain ones and adversarially trained ones.
func TestSharedNetworksAreTrustworthy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	seen := map[string]bool{}
	for _, r := range references(t) {
		if seen[r.network] {
			continue
		}
		seen[r.network] = true
		t.Run(r.network, func(t *testing.T) {
			l := network(t, r)
			r.n = 50
			a, err := Run(t.Context(), Local(l), images(t, r, l), Config{Eps: []float64{r.eps}, Box: unit, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			got := a.Threats[0]
			t.Logf("eps %v: clean %.3f, robust %.3f, %s", r.eps, a.CleanAccuracy, got.RobustAccuracy, got.Reliability.Verdict)
			for _, f := range got.Reliability.Flags {
				t.Logf("%s (%s): %s", f.ID, f.Verdict, f.Evidence)
			}
			if got.Reliability.Verdict != redoubt.Trustworthy {
				t.Errorf("verdict %s", got.Reliability.Verdict)
			}
		})
	}
}
