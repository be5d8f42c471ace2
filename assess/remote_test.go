package assess

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/ml/remote/remotetest"
)

// served is the curved classifier behind an address.
func served(t *testing.T, s *remotetest.Server, cfg remote.Config) (Target, *data.Set, *remote.Endpoint) {
	t.Helper()
	_, set := toy(t, evasiontest.NewCurved())
	s.Model, s.Sample = evasiontest.NewCurved(), []int{features}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	cfg.Classes = classes
	e, err := remote.Open(t.Context(), web.URL+"/v2/models/net", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Try(t.Context(), set.Head(4).X); err != nil {
		t.Fatal(err)
	}
	return Remote(e, []int{features}, nil), set, e
}

// What scores give away does not depend on the way they come.
func TestRemoteIsAsRobustAsLocal(t *testing.T) {
	for _, binary := range []bool{false, true} {
		target, set, _ := served(t, &remotetest.Server{Binary: binary}, remote.Config{})
		local, _ := toy(t, evasiontest.NewCurved())
		local.Open = func() (model.Scores, func()) { return model.WithoutGradients(evasiontest.NewCurved()), func() {} }
		local.Access, local.Why = model.ScoresOnly, errors.New("a test")
		cfg := Config{
			Eps: []float64{0.05}, Attacks: Blind(model.ScoresOnly, true), Box: unit, Seed: 3, Checks: NoChecks,
			Settings: evasion.Settings{Queries: 130},
		}
		got, err := Run(t.Context(), target, set, cfg)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Run(t.Context(), local, set, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range want.Threats[0].Attacks {
			b := got.Threats[0].Attacks[i]
			if a.Name != b.Name || a.RobustAccuracy != b.RobustAccuracy || a.Forwards != b.Forwards || a.MedianDistortion != b.MedianDistortion {
				t.Errorf("binary %v: remote %+v, local %+v", binary, b, a)
			}
		}
		if r := got.Threats[0].RobustAccuracy; r == 0 || r == got.CleanAccuracy {
			t.Errorf("robust accuracy %v shows nothing", r)
		}
	}
}

func TestLabelsAreEnough(t *testing.T) {
	target, set, _ := served(t, &remotetest.Server{Labels: true}, remote.Config{})
	a, err := Run(t.Context(), target, set.Head(20), Config{
		Eps: []float64{0.2}, Attacks: Blind(target.Access, false), Box: unit, Checks: NoChecks, Settings: evasion.Settings{Queries: 200},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Model.Access != "labels" || a.Threats[0].RobustAccuracy > 0.5 {
		t.Errorf("%s: robust accuracy %v", a.Model.Access, a.Threats[0].RobustAccuracy)
	}
}

// A network that learnt the endpoint's answers attacks first, at a query a
// sample.
func TestEndpointsAreImitated(t *testing.T) {
	_, set, e := served(t, &remotetest.Server{Labels: true}, remote.Config{})
	target := Remote(e, []int{features}, orttest.Runtime(t))
	a, err := Run(t.Context(), target, set, Config{
		Eps: []float64{0.2}, Attacks: specs(t, "noise"), Box: unit, Settings: evasion.Settings{Queries: 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	first := a.Threats[0].Attacks[0]
	if first.Name != "transfer (check)" || first.Broken < first.Attacked/4 {
		t.Errorf("first comes %+v", first)
	}
}

// Every attack without gradients keeps to the plan, and so do the checks.
func TestPlanBoundsWhatIsAsked(t *testing.T) {
	for _, spec := range evasion.All {
		if spec.Access == model.WhiteBox || !spec.Takes([]int{features}) {
			continue
		}
		for _, settings := range []evasion.Settings{{Queries: 40}, {Queries: 200, Restarts: 2}} {
			target, set, e := served(t, &remotetest.Server{}, remote.Config{})
			norm := evasion.L2
			cfg := Config{Norms: []evasion.Norm{norm}, Eps: []float64{0.02}, Attacks: []*evasion.Spec{spec}, Box: unit, Settings: settings}
			steps, err := Plan(target, set.Head(8), cfg)
			if err != nil {
				t.Errorf("%s: %v", spec.Name, err)
				continue
			}
			most := e.Account().Queries
			for _, s := range steps {
				most += s.Queries
			}
			a, err := Run(t.Context(), target, set.Head(8), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Account().Queries; got > most {
				t.Errorf("%s, %+v: asked %d queries, planned at most %d", spec.Name, settings, got, most)
			}
			if r := a.Threats[0].Attacks[0]; r.Forwards == 0 && spec.Name != "trees" {
				t.Errorf("%s asked nothing", spec.Name)
			}
		}
	}
	if _, err := Plan(Target{Access: model.WhiteBox}, nil, Config{}); err == nil {
		t.Error("a plan for gradients was made")
	}
}

// A budget that ends in the middle ends the run, not the result.
func TestSpentBudgetLeavesAResult(t *testing.T) {
	s := &remotetest.Server{}
	target, set, _ := served(t, s, remote.Config{Budget: 3000})
	a, err := Run(t.Context(), target, set, Config{
		Norms: []evasion.Norm{evasion.Linf, evasion.L2}, Eps: []float64{0.02, 0.05}, Attacks: specs(t, "square"), Box: unit,
		Batch: 16, Settings: evasion.Settings{Queries: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Samples() > 3000 {
		t.Errorf("%d queries, allowed 3000", s.Samples())
	}
	if len(a.Threats) != 4 {
		t.Fatalf("%d threat models, want all four", len(a.Threats))
	}
	for i, verdict := range []string{redoubt.Suspect, redoubt.Invalid, redoubt.Invalid, redoubt.Invalid} {
		r := a.Threats[i]
		var flag string
		for _, f := range r.Reliability.Flags {
			if f.ID == "budget-spent" {
				flag = f.Verdict
			}
		}
		if flag != verdict || r.Reliability.Verdict != verdict {
			t.Errorf("threat model %d: flag %q, verdict %s, want %s", i, flag, r.Reliability.Verdict, verdict)
		}
	}
	if first := a.Threats[0].Attacks[0]; first.Broken == 0 || first.Note == "" {
		t.Errorf("what was found before is lost: %+v", first)
	}
	target, set, _ = served(t, &remotetest.Server{}, remote.Config{Budget: 50})
	if _, err := Run(t.Context(), target, set, Config{Eps: []float64{0.1}, Box: unit}); !errors.Is(err, model.ErrBudget) {
		t.Errorf("a budget below the clean samples: %v", err)
	}
}

// A server that breaks down for good ends the run with its error.
func TestRefusalsEndTheRun(t *testing.T) {
	s := &remotetest.Server{}
	target, set, _ := served(t, s, remote.Config{})
	n := 0
	s.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if n++; n > 20 {
			w.WriteHeader(http.StatusForbidden)
		}
		return n > 20
	}
	if _, err := Run(t.Context(), target, set, Config{Eps: []float64{0.1}, Attacks: specs(t, "square"), Box: unit}); err == nil || errors.Is(err, model.ErrBudget) {
		t.Errorf("error %v", err)
	}
}
