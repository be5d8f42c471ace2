package assess

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
	"github.com/redoubt-ml/redoubt/ml/model"
)

func threatOf(t *testing.T, s string) Threat {
	t.Helper()
	threat, err := ParseThreat(s)
	if err != nil {
		t.Fatal(err)
	}
	return threat
}

func TestParseThreat(t *testing.T) {
	for s, want := range map[string]Threat{
		"spatial:15deg,3px":  {Norm: "spatial", Eps: 15},
		"spatial: 5deg, 1px": {Norm: "spatial", Eps: 5},
		"patch:5%":           {Norm: "patch", Eps: 0.05},
		"patch:2.5%,round":   {Norm: "patch", Eps: 0.025},
		"universal:linf@0.1": {Norm: "universal-linf", Eps: 0.1},
		"universal:l2@2":     {Norm: "universal-l2", Eps: 2},
	} {
		if got := threatOf(t, s); got.Norm != want.Norm || got.Eps != want.Eps || got.Bound == "" {
			t.Errorf("%s: %s@%v (%s), want %s@%v", s, got.Norm, got.Eps, got.Bound, want.Norm, want.Eps)
		}
	}
	for _, s := range []string{
		"", "blur:3", "spatial", "spatial:15", "spatial:15deg", "spatial:15deg,3", "spatial:-1deg,3px", "spatial:NaNdeg,3px", "spatial:181deg,3px", "spatial:15deg,1e9px",
		"patch:", "patch:5", "patch:0%", "patch:51%", "patch:NaN%", "patch:5%,star", "universal:l1@1", "universal:linf", "universal:linf@0", "universal:linf@NaN",
	} {
		if _, err := ParseThreat(s); err == nil || !strings.Contains(err.Error(), "write one like") {
			t.Errorf("%q: error %v, want one that shows how to write it", s, err)
		}
	}
	// What help shows as an example is one.
	for _, k := range ThreatKinds {
		threatOf(t, k.Form)
	}
}

func TestGatesOnThreats(t *testing.T) {
	a := &redoubt.Assessment{Threats: []redoubt.ThreatResult{
		{Norm: "linf", Eps: 0.1, RobustAccuracy: 0.7}, {Norm: "linf", Eps: 0.2, RobustAccuracy: 0.4},
		{Norm: "spatial", Eps: 15, RobustAccuracy: 0.6, Bound: "b"}, {Norm: "universal-linf", Eps: 0.1, RobustAccuracy: 0.5, Bound: "b"},
	}}
	for expr, want := range map[string]float64{
		"robust_accuracy[spatial]>=0.5": 0.6, "robust_accuracy[spatial@15]>=0.5": 0.6, "robust_accuracy[ universal-linf @ 0.1 ]>=0.5": 0.5,
		"robust_accuracy[linf]>=0.5": 0.4, "robust_accuracy[linf@0.1]>=0.5": 0.7,
	} {
		g, err := ParseGate(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.Check(a); err != nil || got.Value != want || got.Pass != (want >= 0.5) {
			t.Errorf("%s: %+v (%v), want %v", expr, got, err, want)
		}
	}
	if g, err := ParseGate("robust_accuracy[patch]>=0.5"); err != nil {
		t.Error(err)
	} else if _, err := g.Check(a); err == nil {
		t.Error("a gate on a threat that was not assessed passed")
	}
	for _, bad := range []string{"robust_accuracy[linf@0]>=0.5", "robust_accuracy[]>=0.5", "robust_accuracy[@1]>=0.5"} {
		if _, err := ParseGate(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// The three kinds on a network of images: what is reported is what the model
// answers, whatever the number of workers; what is made on one half is measured
// on the other; chance does less.
func TestThreatsOnImages(t *testing.T) {
	r := reference{network: "mnist_cnn_std_s1.onnx", dataset: "mnist", n: 120}
	l := network(t, r)
	set := images(t, r, l)
	cfg := Config{Box: unit, Seed: 3, Threats: []Threat{threatOf(t, "spatial:15deg,2px"), threatOf(t, "patch:10%"), threatOf(t, "universal:linf@0.2")}}
	cfg.Settings.Steps, cfg.Settings.Queries = 60, 63
	a, err := Run(t.Context(), Local(l), set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Workers, cfg.Batch = 2, 17
	again, err := Run(t.Context(), Local(l), set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		norm string
		n    int
		most float64 // robust accuracy
	}{{"spatial", 120, 0.4}, {"patch", 60, 0.8}, {"universal-linf", 60, 0.6}} {
		got, other := a.Threats[i], again.Threats[i]
		if got.Norm != want.norm || got.N != want.n || got.RobustAccuracy > want.most || got.Bound == "" || len(got.Attacks) == 0 {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got.Reliability.Verdict != redoubt.Trustworthy || raisedIn(got, "chance") == nil {
			t.Errorf("%s: %+v, want it trustworthy and compared with chance", got.Norm, got.Reliability)
		}
		if got.Robust != other.Robust {
			t.Errorf("%s: %d stand, with two workers %d", got.Norm, got.Robust, other.Robust)
		}
		robust, fitted := 0, 0
		for _, s := range a.Samples {
			o := s.Outcomes[i]
			if o.Robust {
				robust++
			}
			if o.Fitted {
				fitted++
			}
			if o.Attack != "" && (o.Class == nil || *o.Class == s.Label || o.Fitted) {
				t.Errorf("%s: sample %d: %+v", got.Norm, s.Index, o)
			}
		}
		if robust != got.Robust || fitted+got.N != 120 {
			t.Errorf("%s: samples say that %d stand and %d were fitted on, the threat model says %d of %d", got.Norm, robust, fitted, got.Robust, got.N)
		}
		if !slices.ContainsFunc(a.Examples, func(e redoubt.Example) bool { return e.Norm == got.Norm && e.After != e.Label }) {
			t.Errorf("%s: no picture", got.Norm)
		}
	}
	if len(a.Findings) != 3 || a.Findings[1].Rule != "evasion/patch" {
		t.Errorf("findings %+v", a.Findings)
	}
}

func raisedIn(r redoubt.ThreatResult, id string) *redoubt.Flag {
	for _, f := range r.Reliability.Flags {
		if f.ID == id {
			return &f
		}
	}
	return nil
}

// A search that leaves its bounds is an error, and one that does no better than
// chance makes the number suspect.
func TestPlantedThreats(t *testing.T) {
	planted := func(scale float32) (*redoubt.Assessment, error) {
		threat := threatOf(t, "universal:linf@0.6")
		norm, found := evasion.Linf, threat.means.find
		threat.means.find = func(ctx context.Context, d *driver, rows []int, round int, tally *model.Tally) (change, error) {
			if _, err := found(ctx, d, rows, round, tally); err != nil {
				return nil, err
			}
			v := d.edge(norm, 0.6)
			for j := range v {
				v[j] *= scale
			}
			return d.added(v, norm, 0.6), nil
		}
		target, set := toy(t, evasiontest.NewCurved())
		return Run(t.Context(), target, set, Config{Box: unit, Threats: []Threat{threat}, Checks: FullChecks})
	}
	if _, err := planted(1.5); err == nil || !strings.Contains(err.Error(), "left its ball") {
		t.Errorf("a perturbation beyond the radius: %v", err)
	}
	a, err := planted(1)
	if err != nil {
		t.Fatal(err)
	}
	if f := raisedIn(a.Threats[0], "chance-as-good"); f == nil || a.Threats[0].Reliability.Verdict != redoubt.Suspect {
		t.Errorf("a search that found chance: %+v", a.Threats[0].Reliability)
	}
}

// What a target does not allow is refused before anything runs.
func TestThreatsRefused(t *testing.T) {
	target, set := toy(t, evasiontest.NewCurved())
	blind := target
	blind.Access = model.ScoresOnly
	single := set.Head(1)
	for name, try := range map[string]func() error{
		"patch on rows":     func() error { _, err := Run(t.Context(), target, set, withThreats(t, "patch:5%")); return err },
		"spatial on rows":   func() error { _, err := Run(t.Context(), target, set, withThreats(t, "spatial:5deg,1px")); return err },
		"without gradients": func() error { _, err := Run(t.Context(), blind, set, withThreats(t, "universal:linf@0.1")); return err },
		"one sample": func() error {
			_, err := Run(t.Context(), target, single, withThreats(t, "universal:linf@0.1"))
			return err
		},
		"twice": func() error {
			_, err := Run(t.Context(), target, set, withThreats(t, "universal:linf@0.1", "universal:linf@0.1"))
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Beside a norm, in the order asked for.
	cfg := withThreats(t, "universal:linf@0.1")
	cfg.Eps = []float64{0.05}
	a, err := Run(t.Context(), target, set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Threats) != 2 || a.Threats[0].Norm != "linf" || a.Threats[1].Norm != "universal-linf" || len(a.PerClass) == 0 {
		t.Errorf("threats %+v", a.Threats)
	}
}

func withThreats(t *testing.T, forms ...string) Config {
	cfg := Config{Box: unit}
	for _, f := range forms {
		cfg.Threats = append(cfg.Threats, threatOf(t, f))
	}
	return cfg
}
