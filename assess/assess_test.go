package assess

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

const features, classes = 24, 5

// toy is a target of any model, with samples that the curved classifier
// labels.
func toy(t *testing.T, m model.Gradients) (Target, *data.Set) {
	t.Helper()
	rng := rand.New(rand.NewPCG(51, 52))
	set := &data.Set{X: tensor.New(120, features), Y: make([]int, 120)}
	for j := range set.X.Data {
		set.X.Data[j] = rng.Float32()
	}
	z, err := evasiontest.NewCurved().Scores(t.Context(), set.X)
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Y {
		set.Y[i] = tensor.ArgMax(z.Row(i))
	}
	return Target{
		Open:   func() (model.Scores, func()) { return m, func() {} },
		Access: model.WhiteBox, Sample: []int{features}, Classes: classes,
	}, set
}

func run(t *testing.T, m model.Gradients, cfg Config) *redoubt.Assessment {
	t.Helper()
	target, set := toy(t, m)
	cfg.Box = unit
	if cfg.Eps == nil {
		cfg.Eps = []float64{0.08}
	}
	a, err := Run(t.Context(), target, set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// raised returns the flag of an id in the last threat model, nil if it is not
// raised.
func raised(a *redoubt.Assessment, id string) *redoubt.Flag {
	for _, f := range a.Threats[len(a.Threats)-1].Reliability.Flags {
		if f.ID == id {
			return &f
		}
	}
	return nil
}

func specs(t *testing.T, names ...string) []*evasion.Spec {
	var out []*evasion.Spec
	for _, n := range names {
		out = append(out, spec(t, n))
	}
	return out
}

func TestGoodModelIsTrustworthy(t *testing.T) {
	a := run(t, evasiontest.NewCurved(), Config{Eps: []float64{0.02, 0.08, 0.2}})
	for _, r := range a.Threats {
		if r.Reliability.Verdict != redoubt.Trustworthy {
			t.Errorf("eps %v: %s: %+v", r.Eps, r.Reliability.Verdict, r.Reliability.Flags)
		}
	}
	if a.CleanAccuracy != 1 || a.Threats[0].RobustAccuracy <= a.Threats[2].RobustAccuracy {
		t.Errorf("clean %v, robust %v and %v", a.CleanAccuracy, a.Threats[0].RobustAccuracy, a.Threats[2].RobustAccuracy)
	}
}

// scaled has logits so large that cross-entropy has no gradient.
type scaled struct{ *evasiontest.Curved }

func (s scaled) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := s.Curved.Scores(ctx, x)
	for i := range z.Data {
		z.Data[i] *= 1e4
	}
	return z, err
}

func (s scaled) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, err := s.Scores(ctx, x)
	if err != nil || obj.Loss == model.CrossEntropy {
		return z, tensor.New(x.Shape...), err
	}
	_, g, err := s.Curved.Gradient(ctx, x, obj)
	return z, g, err
}

func TestMaskedCrossEntropyIsSeenAndRepaired(t *testing.T) {
	honest := run(t, evasiontest.NewCurved(), Config{Attacks: specs(t, "pgd")})
	a := run(t, scaled{evasiontest.NewCurved()}, Config{Attacks: specs(t, "pgd")})
	for _, id := range []string{"saturated-softmax", "masked-cross-entropy"} {
		if raised(a, id) == nil {
			t.Errorf("flag %s is not raised: %+v", id, a.Threats[0].Reliability.Flags)
		}
	}
	// 0.05 is six samples.
	if got, want := a.Threats[0].RobustAccuracy, honest.Threats[0].RobustAccuracy; math.Abs(got-want) > 0.05 {
		t.Errorf("robust accuracy %v, without the mask it is %v", got, want)
	}
}

// shattered gives true scores and no gradient.
type shattered struct{ *evasiontest.Curved }

func (s shattered) Gradient(ctx context.Context, x *tensor.Tensor, _ *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, err := s.Scores(ctx, x)
	return z, tensor.New(x.Shape...), err
}

func TestShatteredGradientsAreInvalid(t *testing.T) {
	a := run(t, shattered{evasiontest.NewCurved()}, Config{Eps: []float64{0.15}})
	for _, id := range []string{"zero-gradients", "blind-beats-gradients"} {
		if raised(a, id) == nil {
			t.Errorf("flag %s is not raised: %+v", id, a.Threats[0].Reliability.Flags)
		}
	}
	if v := a.Threats[0].Reliability.Verdict; v != redoubt.Invalid {
		t.Errorf("verdict %s, want invalid", v)
	}
	a = run(t, shattered{evasiontest.NewCurved()}, Config{Attacks: specs(t, "fgsm")})
	if f := raised(a, "unbounded-attack-fails"); f == nil || f.Verdict == redoubt.Trustworthy {
		t.Errorf("an attack that fails without a bound is not seen: %+v", a.Threats[0].Reliability.Flags)
	}
}

// noisy answers differently each time.
type noisy struct {
	*evasiontest.Curved
	rng *rand.Rand
}

func (n noisy) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := n.Curved.Scores(ctx, x)
	for i := range z.Data {
		z.Data[i] += 0.01 * float32(n.rng.NormFloat64())
	}
	return z, err
}

func TestRandomModelIsSuspect(t *testing.T) {
	a := run(t, noisy{evasiontest.NewCurved(), rand.New(rand.NewPCG(1, 1))}, Config{Attacks: specs(t, "fgsm")})
	if f := raised(a, "random-model"); f == nil || f.Verdict != redoubt.Suspect {
		t.Errorf("a randomised model is not suspect: %+v", a.Threats[0].Reliability.Flags)
	}
}

func TestUnfinishedSearchIsSuspect(t *testing.T) {
	lazy := *spec(t, "pgd")
	lazy.New = func(evasion.Settings) evasion.Attack {
		return evasion.Descent{Name: "lazy", Steps: 2, Step: 0.012, Loss: model.Margin}
	}
	a := run(t, evasiontest.NewCurved(), Config{Attacks: []*evasion.Spec{&lazy}})
	if f := raised(a, "loss-still-rising"); f == nil || f.Verdict != redoubt.Suspect {
		t.Errorf("a search cut short is not suspect: %+v", a.Threats[0].Reliability.Flags)
	}
}

// timid gives up where the ball is large.
type timid struct{}

func (timid) Perturb(ctx context.Context, m model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	if b.Eps[0] > 0.1 {
		return b.X.Clone(), nil
	}
	return evasion.Descent{Name: "timid", Loss: model.Margin}.Perturb(ctx, m, b)
}

func TestAccuracyThatRisesIsSeenAndCarried(t *testing.T) {
	s := *spec(t, "noise")
	s.New = func(evasion.Settings) evasion.Attack { return timid{} }
	a := run(t, evasiontest.NewCurved(), Config{Eps: []float64{0.1, 0.12}, Attacks: []*evasion.Spec{&s}})
	if f := raised(a, "not-monotone"); f == nil || f.Verdict != redoubt.Suspect {
		t.Errorf("accuracy that rises with the radius is not seen: %+v", a.Threats[1].Reliability.Flags)
	}
	if a.Threats[1].RobustAccuracy > a.Threats[0].RobustAccuracy {
		t.Errorf("robust accuracy rises from %v to %v", a.Threats[0].RobustAccuracy, a.Threats[1].RobustAccuracy)
	}
}

// jumper returns points far outside the ball.
type jumper struct{}

func (jumper) Perturb(_ context.Context, _ model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	x := b.X.Clone()
	for j := range x.Data {
		x.Data[j] = 1 - x.Data[j]
	}
	return x, nil
}

// The driver believes no attack: one that leaves its ball is an error.
func TestDriverRemeasures(t *testing.T) {
	s := *spec(t, "noise")
	s.New = func(evasion.Settings) evasion.Attack { return jumper{} }
	target, set := toy(t, evasiontest.NewCurved())
	_, err := Run(t.Context(), target, set, Config{Eps: []float64{0.05}, Attacks: []*evasion.Spec{&s}, Box: unit})
	if err == nil || !strings.Contains(err.Error(), "left its ball") {
		t.Errorf("err = %v, want one about leaving the ball", err)
	}
}

// Counts do not round: in L0 one element too many is an attack gone wrong,
// however small its change.
func TestOneElementTooManyIsRefused(t *testing.T) {
	origin, x := make([]float32, 9), make([]float32, 9)
	x[2], x[5], x[7] = 1, math.SmallestNonzeroFloat32, -1
	if got, err := tighten(evasion.L0, x, origin, 3.5); err != nil || got != 3 {
		t.Errorf("three elements of three: %v, %v", got, err)
	}
	if got, err := tighten(evasion.L0, x, origin, 2.5); err == nil {
		t.Errorf("three elements of two are taken for %v", got)
	}
}

// An attack for images is left out of an assessment of rows, and says so.
func TestImagesOnly(t *testing.T) {
	target, set := toy(t, evasiontest.NewCurved())
	a, err := Run(t.Context(), target, set, Config{Eps: []float64{0.08}, Box: unit, Attacks: specs(t, "mifgsm", "di-mifgsm"), Checks: NoChecks})
	if err != nil {
		t.Fatal(err)
	}
	attacks := a.Threats[0].Attacks
	if len(attacks) != 2 || attacks[0].Attacked == 0 || attacks[1].Attacked != 0 || !strings.Contains(attacks[1].Note, "images") {
		t.Errorf("attacks %+v: want mifgsm to run and di-mifgsm to be left out with a note", attacks)
	}
}

// An assessment in L0 finds that one element is enough for some samples, that
// four are for more, and believes itself.
func TestL0(t *testing.T) {
	target, set := toy(t, evasiontest.NewCurved())
	a, err := Run(t.Context(), target, set, Config{Norms: []evasion.Norm{evasion.L0}, Eps: []float64{1, 3}, Box: unit, Attacks: specs(t, "pgd", "pgd-margin", "noise")})
	if err != nil {
		t.Fatal(err)
	}
	one, three := a.Threats[0], a.Threats[1]
	if one.RobustAccuracy >= 0.9 || three.RobustAccuracy >= one.RobustAccuracy {
		t.Errorf("robust accuracy %v with one element, %v with three: want less than 0.9, and less again", one.RobustAccuracy, three.RobustAccuracy)
	}
	if three.Reliability.Verdict == redoubt.Invalid {
		t.Errorf("%v", three.Reliability)
	}
}

// Values of 10,000 are a thousandth apart in float32. What rounding puts
// outside the ball is taken back, and what is reported lies inside.
func TestRoundingStaysInTheBall(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 62))
	for _, n := range evasion.Norms {
		for _, scale := range []float64{1, 1e4} {
			for _, eps := range []float64{0.0101, 0.3, 7} {
				box := evasion.Box{Lo: []float32{float32(-9 * scale)}, Hi: []float32{float32(9 * scale)}}
				origin := make([]float32, 50)
				for j := range origin {
					origin[j] = float32(scale * rng.NormFloat64())
				}
				x := slices.Clone(origin)
				for j := range x {
					x[j] += float32(10 * eps * rng.NormFloat64())
				}
				n.Project(x, origin, eps, box)
				got, err := tighten(n, x, origin, eps)
				if err != nil || got > eps || size(n, x, origin) != got {
					t.Errorf("%s %v at %v: %v, %v", n.Name(), eps, scale, got, err)
				}
			}
		}
	}
}

// A point that the box clipped to zero, from an origin of which float32 makes a little
// more than the radius: the steps of float32 at zero are too small to get back by.
func TestNothingIsOutsideByRounding(t *testing.T) {
	x, origin := []float32{0, 1}, []float32{0.1, 0.9}
	got, err := tighten(evasion.Linf, x, origin, 0.1)
	if err != nil || got > 0.1 || size(evasion.Linf, x, origin) != got {
		t.Errorf("moved %.12v, %v: want at most 0.1", got, err)
	}
}

// A sample that was wrong from the start is not robust, and is not counted as
// a success of the attack.
func TestDenominators(t *testing.T) {
	target, set := toy(t, evasiontest.NewCurved())
	for i := range 30 {
		set.Y[i] = (set.Y[i] + 1) % classes
	}
	a, err := Run(t.Context(), target, set, Config{Eps: []float64{0.08}, Box: unit, Attacks: specs(t, "pgd"), Checks: NoChecks})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Threats[0]
	if a.CleanAccuracy != 0.75 || r.N != 120 || r.Correct != 90 {
		t.Errorf("clean %v, n %d, correct %d", a.CleanAccuracy, r.N, r.Correct)
	}
	fallen := r.Correct - r.Robust
	if r.RobustAccuracy != float64(r.Robust)/120 || r.AttackSuccessRate != float64(fallen)/90 || r.RobustnessScore != 1-r.AttackSuccessRate {
		t.Errorf("robust %v, success %v, score %v with %d fallen", r.RobustAccuracy, r.AttackSuccessRate, r.RobustnessScore, fallen)
	}
	if r.Secure != (r.RobustnessScore > 0.8) {
		t.Error("secure is not a score above 0.8")
	}
}

func TestCancelledRunEnds(t *testing.T) {
	target, set := toy(t, evasiontest.NewCurved())
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{Eps: []float64{0.05}, Box: unit, Progress: func(stage string, _, _ int) {
		if stage != "clean" {
			cancel()
		}
	}}
	if _, err := Run(ctx, target, set, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want context.Canceled", err)
	}
}

// An interrupted run goes on from its journal and ends as an uninterrupted one
// does, without asking again for what was done.
func TestResume(t *testing.T) {
	cfg := Config{Eps: []float64{0.05, 0.1}, Box: unit, Batch: 20}
	whole := run(t, evasiontest.NewCurved(), cfg)
	path := filepath.Join(t.TempDir(), "journal")
	target, set := toy(t, evasiontest.NewCurved())

	ctx, cancel := context.WithCancel(t.Context())
	first := cfg
	stages := map[string]bool{}
	first.Progress = func(stage string, _, _ int) {
		if stages[stage] = true; len(stages) == 5 {
			cancel()
		}
	}
	var err error
	if first.Journal, err = OpenJournal(path, "key"); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(ctx, target, set, first); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first.Journal.Close()

	second := cfg
	if second.Journal, err = OpenJournal(path, "key"); err != nil {
		t.Fatal(err)
	}
	defer second.Journal.Close()
	if len(second.Journal.done) == 0 {
		t.Fatal("the journal is empty")
	}
	a, err := Run(t.Context(), target, set, second)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Threats {
		if a.Threats[i].Robust != whole.Threats[i].Robust {
			t.Errorf("threat %d: %d robust after resuming, %d without", i, a.Threats[i].Robust, whole.Threats[i].Robust)
		}
	}
	if _, err := OpenJournal(path, "other"); err == nil {
		t.Error("a journal of another run was taken")
	}
}

func TestGates(t *testing.T) {
	a := &redoubt.Assessment{CleanAccuracy: 0.9, Threats: []redoubt.ThreatResult{
		{Norm: "linf", Eps: 0.1, RobustAccuracy: 0.7, AttackSuccessRate: 0.2, RobustnessScore: 0.8, Reliability: redoubt.Reliability{Verdict: redoubt.Trustworthy}},
		{Norm: "linf", Eps: 0.3, RobustAccuracy: 0.3, AttackSuccessRate: 0.6, RobustnessScore: 0.4, Reliability: redoubt.Reliability{Verdict: redoubt.Suspect}},
	}}
	for expr, want := range map[string]struct {
		value float64
		pass  bool
	}{
		"clean_accuracy>=0.9":               {0.9, true},
		"clean_accuracy > 0.9":              {0.9, false},
		"robust_accuracy[linf@0.3]>=0.5":    {0.3, false},
		"robust_accuracy[ linf @ 0.10 ]>.5": {0.7, true},
		"robust_accuracy>=0.5":              {0.3, false},
		"attack_success_rate<=0.5":          {0.6, false},
		"attack_success_rate[linf@0.1]<0.5": {0.2, true},
		"robustness_score[linf@0.1]>=0.8":   {0.8, true},
		"trustworthy>=1":                    {0, false},
	} {
		g, err := ParseGate(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		r, err := g.Check(a)
		if err != nil || r.Value != want.value || r.Pass != want.pass {
			t.Errorf("%s: %+v %v, want %+v", expr, r, err, want)
		}
	}
	for _, expr := range []string{"", "robust_accuracy", "robust_accuracy[linf@0.3]=0.5", "magic>=1", "clean_accuracy[linf@1]>=0", "robust_accuracy[linf@x]>=0", "robust_accuracy>=NaN"} {
		if _, err := ParseGate(expr); err == nil {
			t.Errorf("%q was taken for a gate", expr)
		}
	}
	g, err := ParseGate("robust_accuracy[l2@0.3]>=0.5")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Check(a); err == nil {
		t.Error("a gate on what was not assessed did not fail")
	}
}

// Values of R's binom::binom.wilson and statsmodels' proportion_confint.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{{0, 10, 0, 0.27753}, {10, 10, 0.72247, 1}, {7, 10, 0.39678, 0.89221}, {50, 100, 0.40383, 0.59617}, {0, 0, 0, 1}} {
		lo, hi := Wilson(c.k, c.n)
		if math.Abs(lo-c.lo) > 1e-4 || math.Abs(hi-c.hi) > 1e-4 {
			t.Errorf("Wilson(%d, %d) = %.5f, %.5f, want %v, %v", c.k, c.n, lo, hi, c.lo, c.hi)
		}
	}
}

// The same rows share a batch whatever the number of workers, so the outcome
// is the same to the last sample.
func TestWorkersDoNotChangeTheResult(t *testing.T) {
	one := run(t, evasiontest.NewCurved(), Config{Batch: 7, Workers: 1})
	four := run(t, evasiontest.NewCurved(), Config{Batch: 7, Workers: 4})
	same := slices.EqualFunc(one.Samples, four.Samples, func(a, b redoubt.Sample) bool {
		return slices.EqualFunc(a.Outcomes, b.Outcomes, func(a, b redoubt.SampleOutcome) bool {
			return a.Robust == b.Robust && a.Attack == b.Attack && a.Distortion == b.Distortion
		})
	})
	if !same {
		t.Error("four workers found other things than one")
	}
}
