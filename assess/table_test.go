package assess

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// lender says yes from a score of income in thousands less age: class 1.
type lender struct{}

func (lender) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), 2)
	for i := range x.Rows() {
		z.Row(i)[1] = x.Row(i)[1]/1000 - x.Row(i)[0]
	}
	return z, nil
}

func applicants(t *testing.T) *data.Set {
	t.Helper()
	schema, err := data.ParseSchema([]byte(`
columns:
  - {name: age, type: integer, min: 18, max: 98, immutable: true}
  - {name: income, type: numeric, min: 0, max: 100000, step: 500, scale: 10000}
  - {name: y, type: label}`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := data.ParseCSV([]byte("age,income,y\n30,36000,1\n50,41500,0\n40,90000,1\n"), schema)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func lend(t *testing.T, attacks ...evasion.Attack) (*redoubt.Assessment, error) {
	var specs []*evasion.Spec
	for _, a := range attacks {
		specs = append(specs, &evasion.Spec{Name: "planted", Access: model.ScoresOnly, New: func(evasion.Settings) evasion.Attack { return a }})
	}
	target := Target{Open: func() (model.Scores, func()) { return lender{}, func() {} }, Access: model.ScoresOnly, Sample: []int{2}, Classes: 2}
	return Run(t.Context(), target, applicants(t), Config{Eps: []float64{1}, Attacks: specs})
}

// A radius of 1 is as much income as its scale says: 10,000 turn the first two
// applicants and not the third, and the report says what it took in the file's units.
func TestTableUnits(t *testing.T) {
	a, err := lend(t, evasion.Coordinate{Queries: 200})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Threats[0]
	if r.Robust != 1 || r.Correct != 3 {
		t.Fatalf("%d of %d stand, want the third only", r.Robust, r.Correct)
	}
	if len(r.Features) != 1 || r.Features[0].Feature != "income" || r.Features[0].Up != 1 || r.Features[0].Down != 1 {
		t.Errorf("features changed: %+v", r.Features)
	}
	change := a.Samples[0].Outcomes[0].Changes
	if len(change) != 1 || change[0].From != "36000" || change[0].By > -6000 || change[0].By < -10000 {
		t.Errorf("the first applicant changed %+v", change)
	}
}

// rogue changes an age, and passes for an attack that needs no repair.
type rogue struct{}

func (rogue) Decide(_ context.Context, _ model.Scores, b *evasion.Batch) (*tensor.Tensor, []bool, error) {
	x := b.X.Clone()
	x.Row(1)[0] = 0.9
	return x, make([]bool, x.Rows()), nil
}

func (r rogue) Perturb(ctx context.Context, m model.Scores, b *evasion.Batch) (*tensor.Tensor, error) {
	x, _, err := r.Decide(ctx, m, b)
	return x, err
}

// The driver checks candidates itself: one against the rules ends the run.
func TestRogueAttack(t *testing.T) {
	if _, err := lend(t, rogue{}); err == nil || !strings.Contains(err.Error(), `planted at linf 1: sample 1: the attack broke the rules: column "age" is immutable: 50 became 90`) {
		t.Errorf("an attack that changes an age: %v", err)
	}
}

// prophet proves that nothing can be broken.
type prophet struct{ rogue }

func (prophet) Decide(_ context.Context, _ model.Scores, b *evasion.Batch) (*tensor.Tensor, []bool, error) {
	return b.X.Clone(), slices.Repeat([]bool{true}, b.X.Rows()), nil
}

// A proof is put to the test by the attacks after it.
func TestFalseProof(t *testing.T) {
	a, err := lend(t, prophet{}, evasion.Coordinate{Queries: 200})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Threats[0].Reliability
	if r.Verdict != redoubt.Invalid || !slices.ContainsFunc(r.Flags, func(f redoubt.Flag) bool { return f.ID == "proof-contradicted" }) {
		t.Errorf("a false proof is graded %+v", r)
	}
	if a.Threats[0].Robust != 1 {
		t.Errorf("%d stand after a false proof, want 1", a.Threats[0].Robust)
	}
}
