package evasion_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// ruledRows are rows of the suite's 24 features under every kind of rule.
func ruledRows(t *testing.T, n int) *data.Set {
	t.Helper()
	var schema, table strings.Builder
	schema.WriteString("headerless: true\ncolumns:\n")
	extra := []string{"", ", step: 0.25", ", immutable: true", ", monotone: increasing", ", monotone: decreasing, step: 0.125"}
	for j := range 21 {
		fmt.Fprintf(&schema, "  - {name: c%d, type: numeric, min: 0, max: 1%s}\n", j, extra[j%len(extra)])
	}
	schema.WriteString("  - {name: job, type: categorical, categories: [x, y, z]}\n  - {name: label, type: label}\n")
	schema.WriteString("rules:\n  - c0 + c5 <= 1.5\n  - when job is x then c10 <= 0.75\n")
	rng := rand.New(rand.NewPCG(6, 7))
	for range n {
		for range 21 {
			fmt.Fprintf(&table, "%v,", float64(rng.IntN(3))/4)
		}
		fmt.Fprintf(&table, "%c,0\n", 'x'+rune(rng.IntN(3)))
	}
	s, err := data.ParseSchema([]byte(schema.String()))
	if err != nil {
		t.Fatal(err)
	}
	set, err := data.ParseCSV([]byte(table.String()), s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Whatever an attack knows of rules, what comes out of Perturb keeps to them
// and to the ball; and rules do not make every attack harmless.
func TestEveryAttackKeepsRules(t *testing.T) {
	set := ruledRows(t, 12)
	rules := set.Constraints()
	m := evasiontest.NewCurved()
	radii := map[string]float64{"linf": 0.3, "l2": 1.6, "l1": 4, "l0": 6}
	for _, spec := range evasion.All {
		for _, norm := range evasion.Norms {
			if !spec.Works(norm) || spec.Images {
				continue
			}
			t.Run(spec.Name+"/"+norm.Name(), func(t *testing.T) {
				t.Parallel()
				b := &evasion.Batch{X: set.X, Norm: norm, Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}, Rules: rules, Seed: 3}
				z, err := m.Scores(t.Context(), set.X)
				if err != nil {
					t.Fatal(err)
				}
				for i := range set.X.Rows() {
					b.Labels, b.Eps = append(b.Labels, tensor.ArgMax(z.Row(i))), append(b.Eps, radii[norm.Name()])
				}
				var target model.Scores = m
				if spec.Access < model.WhiteBox {
					target = model.WithoutGradients(m)
				}
				settings := evasion.Settings{Steps: 10, Queries: 200}
				x, err := evasion.Perturb(t.Context(), spec.New(settings), target, b)
				if errors.Is(err, evasion.ErrUnfit) {
					t.Skip("works on models of another kind only")
				}
				if err != nil {
					t.Fatal(err)
				}
				z, err = m.Scores(t.Context(), x)
				if err != nil {
					t.Fatal(err)
				}
				fooled := 0
				for i := range x.Rows() {
					if err := rules.Check(x.Row(i), set.X.Row(i)); err != nil {
						t.Errorf("sample %d: %v", i, err)
					}
					if d := lengthOf(norm.Name(), x.Row(i), set.X.Row(i)); d > b.Eps[i]*(1+1e-5) {
						t.Errorf("sample %d moved %v, allowed %v", i, d, b.Eps[i])
					}
					if tensor.ArgMax(z.Row(i)) != b.Labels[i] {
						fooled++
					}
				}
				if bar := map[string]int{"coordinate": 6, "pgd": 4, "square": 3}[spec.Name]; fooled < bar {
					t.Errorf("fooled %d of %d, want %d", fooled, x.Rows(), bar)
				}
			})
		}
	}
}

func lengthOf(norm string, x, y []float32) float64 {
	var top, sum, squares, moved float64
	for j := range x {
		d := math.Abs(float64(x[j]) - float64(y[j]))
		top, sum, squares = math.Max(top, d), sum+d, squares+d*d
		if d != 0 {
			moved++
		}
	}
	return map[string]float64{"linf": top, "l1": sum, "l2": math.Sqrt(squares), "l0": moved}[norm]
}
