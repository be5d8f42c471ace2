package evasion_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var update = flag.Bool("update", false, "rewrite docs/attacks.md")

const page = "../../docs/attacks.md"

const head = `# Attacks

Every attack of ` + "`redoubt assess --attacks`" + `, in the order of ` + "`evasion.All`" + `. This page is made from the code: ` + "`go test ./attack/evasion -run TestPage -update`" + ` writes it, and the test fails where it is stale.

*Access* is what an attack must see of the model: predicted classes (labels), scores, or gradients. *Settings* are the flags that it heeds; others change nothing. *Cost* is what one sample that stands was measured to cost with the attack's own settings, on the suite's model of 24 elements and 5 classes, to two digits: answers (forwards, those that come with a gradient included) and gradients. A sample that falls costs most attacks less; more classes cost those that take one class after another (FAB-T, APGD-T, DeepFool) more.
`

// stout is the suite's model with one class so far ahead that no sample falls.
type stout struct {
	*evasiontest.Curved
	label int
}

func (s stout) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := s.Curved.Scores(ctx, x)
	return s.ahead(z), err
}

func (s stout) Gradient(ctx context.Context, x *tensor.Tensor, goal *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, g, err := s.Curved.Gradient(ctx, x, goal)
	return s.ahead(z), g, err
}

func (s stout) ahead(z *tensor.Tensor) *tensor.Tensor {
	for i := range z.Rows() {
		z.Row(i)[s.label] += 100
	}
	return z
}

// cost is what an attack asks about a sample that stands: one that has next to
// no room, or, since no room is no element in L0, one that nothing fools.
func cost(t *testing.T, s *evasion.Spec, n evasion.Norm) model.Tally {
	t.Helper()
	m := evasiontest.NewCurved()
	b := random(t, m, 1)
	b.Norm, b.Eps[0] = n, 1e-9
	if s.Images {
		b.X = tensor.Of(b.X.Data, 1, 1, 4, 6)
	}
	var target model.Scores = m
	if n == evasion.L0 {
		b.Eps[0], target = 4, stout{m, b.Labels[0]}
	}
	if s.Access < model.WhiteBox {
		target = model.WithoutGradients(target)
	}
	if s.Name == "trees" {
		target = wood{grow(rand.New(rand.NewPCG(2, 2)), b.X.RowLen(), 5, 3, 2)}
	}
	var tally model.Tally
	if _, err := s.New(evasion.Settings{}).Perturb(t.Context(), model.Count(target, &tally), b); err != nil {
		t.Fatal(err)
	}
	return tally
}

// digits rounds to two significant ones.
func digits(n int64) string {
	unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Max(1, float64(n))))-1))
	return fmt.Sprint(int64(math.Round(float64(n)/unit) * unit))
}

func spent(c model.Tally) string {
	if c.Gradients == 0 {
		return digits(c.Forwards) + " answers"
	}
	return digits(c.Forwards) + " answers, " + digits(c.Gradients) + " gradients"
}

// heeds lists the flags that make a difference to an attack.
func heeds(s *evasion.Spec) string {
	var flags []string
	for _, f := range []struct {
		name string
		set  evasion.Settings
	}{
		{"--steps", evasion.Settings{Steps: 77}},
		{"--step-size", evasion.Settings{Step: 0.77}},
		{"--restarts", evasion.Settings{Restarts: 7}},
		{"--queries", evasion.Settings{Queries: 7777}},
	} {
		if !reflect.DeepEqual(s.New(f.set), s.New(evasion.Settings{})) {
			flags = append(flags, "`"+f.name+"`")
		}
	}
	if flags == nil {
		return "none"
	}
	return strings.Join(flags, ", ")
}

func TestPage(t *testing.T) {
	var out bytes.Buffer
	out.WriteString(head)
	for _, s := range evasion.All {
		title, rest, _ := strings.Cut(s.Doc, "\n\n")
		var norms, costs []string
		for _, n := range evasion.Norms {
			if !s.Works(n) {
				continue
			}
			c := cost(t, s, n)
			norms = append(norms, n.Name())
			costs = append(costs, fmt.Sprintf("%s in %s", spent(c), n.Name()))
		}
		fmt.Fprintf(&out, "\n## %s\n\n**%s.** %s\n\n- Paper: %s\n- ATLAS: %s\n- Access: %s\n- Norms: %s\n- Settings: %s\n- Cost: %s\n",
			s.Name, title, rest, s.Paper, s.Technique, s.Access, strings.Join(norms, ", "), heeds(s), strings.Join(costs, "; "))
	}
	if *update {
		if err := os.WriteFile(page, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, out.Bytes()) {
		t.Errorf("%s is stale: run go test ./attack/evasion -run TestPage -update and read the difference", page)
	}
}
