package evasion_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/tree"
)

// wood is a model of trees.
type wood struct{ e *tree.Ensemble }

func (w wood) Forest() *tree.Ensemble { return w.e }

func (w wood) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), w.e.Classes())
	for i := range x.Rows() {
		z.Row(i)[w.e.Decide(x.Row(i))] = 1
	}
	return z, nil
}

// grow makes trees of random tests with thresholds in (0, 1).
func grow(rng *rand.Rand, features, outputs, count, depth int) *tree.Ensemble {
	e := &tree.Ensemble{Features: features, Outputs: outputs}
	for range count {
		var t tree.Tree
		var add func(depth int) int
		add = func(left int) int {
			at := len(t)
			t = append(t, tree.Node{Feature: -1})
			if left == 0 {
				for range outputs {
					t[at].Values = append(t[at].Values, float32(rng.NormFloat64()))
				}
				return at
			}
			feature, cut := rng.IntN(features), float32(rng.IntN(20))/20+0.025
			yes := add(left - 1)
			no := add(left - 1)
			t[at] = tree.Node{Feature: feature, At: cut, Yes: yes, No: no}
			return at
		}
		add(depth)
		e.Trees = append(e.Trees, t)
	}
	return e
}

const tableOfTrees = `
columns:
  - {name: a, type: numeric, min: 0, max: 1}
  - {name: b, type: numeric, min: 0, max: 1, step: 0.1, monotone: increasing}
  - {name: job, type: categorical, categories: [x, y, z]}
  - {name: c, type: numeric, min: 0, max: 1, immutable: true}
  - {name: label, type: label}
`

// nearestByHand tries one point of every cell between the thresholds: the
// nearest allowed one. It is the answer that the search must find.
func nearestByHand(e *tree.Ensemble, origin []float32, label int, norm evasion.Norm, rules *data.Constraints) float64 {
	options := make([][]float32, e.Features)
	for j := range options {
		cuts := []float32{float32(math.Inf(1))}
		for _, t := range e.Trees {
			for _, n := range t {
				if n.Feature == j {
					cuts = append(cuts, n.At)
				}
			}
		}
		slices.Sort(cuts)
		lo := float32(0)
		for _, cut := range slices.Compact(cuts) {
			hi := min(cut, 1)
			v, ok := min(max(origin[j], lo), hi), lo <= hi
			if ok && rules != nil {
				v, ok = rules.Nearest(j, lo, hi, origin[j])
			}
			if ok {
				options[j] = append(options[j], v)
			}
			lo = math.Nextafter32(cut, 2)
		}
	}
	least := math.Inf(1)
	x, d := make([]float32, e.Features), make([]float32, e.Features)
	var try func(j int)
	try = func(j int) {
		if j == e.Features {
			for i := range d {
				d[i] = x[i] - origin[i]
			}
			if size := norm.Size(d); size < least && e.Decide(x) != label && (rules == nil || rules.Check(x, origin) == nil) {
				least = size
			}
			return
		}
		for _, x[j] = range options[j] {
			try(j + 1)
		}
	}
	try(0)
	return least
}

// The search finds the nearest wrong point, or proves that there is none, as a
// count of every cell says: in every norm, with and without rules.
func TestTreesAreExact(t *testing.T) {
	schema, err := data.ParseSchema([]byte(tableOfTrees))
	if err != nil {
		t.Fatal(err)
	}
	set, err := data.ParseCSV([]byte("a,b,job,c,label\n0.31,0.2,y,0.6,0\n"), schema)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(8, 9))
	found, none := 0, 0
	for trial := range 120 {
		features, rules := 3, (*data.Constraints)(nil)
		origin := []float32{rng.Float32(), rng.Float32(), rng.Float32()}
		if trial%2 == 1 {
			rules, features, origin = set.Constraints(), 6, set.X.Row(0)
		}
		e := grow(rng, features, 1+trial%3, 4, 2)
		norm := evasion.Norms[trial%len(evasion.Norms)]
		label := e.Decide(origin)
		want := nearestByHand(e, origin, label, norm, rules)
		eps := []float64{0.05, 0.3, 0.7}[trial%3]
		if norm == evasion.L0 {
			eps = float64(1 + trial%3)
		}
		b := &evasion.Batch{
			X: tensor.Of(slices.Clone(origin), 1, features), Labels: []int{label}, Norm: norm, Eps: []float64{eps},
			Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}, Rules: rules,
		}
		x, proved, err := evasion.Trees{}.Decide(t.Context(), wood{e}, b)
		if err != nil {
			t.Fatal(err)
		}
		d := make([]float32, features)
		for j := range d {
			d[j] = x.Data[j] - origin[j]
		}
		got, name := norm.Size(d), fmt.Sprintf("trial %d, %s %v", trial, norm.Name(), eps)
		switch {
		case !proved[0]:
			t.Errorf("%s: nothing proved", name)
		case want > eps && got != 0:
			t.Errorf("%s: found %v where the nearest is %v", name, got, want)
		case want <= eps && math.Abs(got-want) > 1e-5:
			t.Errorf("%s: the nearest is at %v, found %v", name, want, got)
		case want <= eps && e.Decide(x.Data) == label:
			t.Errorf("%s: the point found is not wrong", name)
		}
		if want <= eps {
			found++
		} else {
			none++
		}
	}
	if found < 20 || none < 20 {
		t.Errorf("%d balls hold a wrong point and %d do not: the test's radii are wrong", found, none)
	}
}

// A search that is cut short claims nothing, and a model that does not answer
// as its trees do takes the claim back.
func TestTreesClaimOnlyWhatIsProved(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	e := grow(rng, 8, 3, 30, 5)
	x := tensor.New(20, 8)
	b := &evasion.Batch{X: x, Norm: evasion.Linf, Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}}}
	for i := range x.Rows() {
		for j := range x.Row(i) {
			x.Row(i)[j] = rng.Float32()
		}
		b.Labels, b.Eps = append(b.Labels, e.Decide(x.Row(i))), append(b.Eps, 0.2)
	}
	_, proved, err := evasion.Trees{States: 1}.Decide(t.Context(), wood{e}, b)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(proved, true) {
		t.Error("something is proved after one part of the ball")
	}
	two := grow(rng, 8, 1, 5, 2)
	for i := range b.Labels {
		b.Labels[i] = two.Decide(x.Row(i))
	}
	_, proved, err = evasion.Trees{}.Decide(t.Context(), liar{wood{two}}, b)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(proved, true) {
		t.Error("a proof stands although the model answers otherwise")
	}
	if _, _, err = (evasion.Trees{}).Decide(t.Context(), model.WithoutGradients(plain{}), b); !errors.Is(err, evasion.ErrUnfit) {
		t.Errorf("a model without trees: %v", err)
	}
}

// liar answers the other of two classes.
type liar struct{ wood }

func (l liar) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := l.wood.Scores(ctx, x)
	for i := range z.Data {
		z.Data[i] = 1 - z.Data[i]
	}
	return z, err
}

type plain struct{}

func (plain) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	return tensor.New(x.Rows(), 2), nil
}
