// Package evasiontest is the suite that every evasion attack must pass:
//
//	evasiontest.Check(t, spec, evasion.Settings{})
//
// It attacks two models computed here in plain Go: a curved classifier whose
// boundary the attack must find, and a flat one whose gradient is zero, on
// which an attack shows where it starts from. Some elements of the samples lie
// on the edge of the box, so that an attack that forgets to clip is seen.
package evasiontest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

const (
	features = 24
	classes  = 5
	samples  = 40
)

// radii at which the curved model can be fooled on most samples.
var radii = map[string]float64{"linf": 0.12, "l2": 0.45, "l1": 1.6, "l0": 2}

var box = evasion.Box{Lo: []float32{0}, Hi: []float32{1}}

// Check runs the suite over every norm that the attack works in. Settings other
// than zero are for attacks whose own take too long to be run so often.
func Check(t *testing.T, spec *evasion.Spec, settings evasion.Settings) {
	for _, norm := range evasion.Norms {
		if !spec.Works(norm) {
			continue
		}
		t.Run(norm.Name(), func(t *testing.T) {
			c := check{spec, settings, norm, NewCurved()}
			if _, err := spec.New(settings).Perturb(context.Background(), c.m, c.batch()); errors.Is(err, evasion.ErrUnfit) {
				t.Skip("works on models of another kind only, with tests of its own")
			}
			t.Run("stays in ball and box", c.staysInside)
			t.Run("leaves its input alone", c.leavesInput)
			t.Run("is the same for a seed, whatever the batch", c.reproducible)
			t.Run("is not the same for another seed", c.usesSeed)
			t.Run("beats noise", c.beatsNoise)
			t.Run("reaches targets", c.reachesTargets)
			t.Run("keeps each sample's own radius", c.ownRadius)
			t.Run("returns what succeeded on the way", c.keepsSuccess)
			t.Run("survives a model that fails", c.passesErrors)
		})
	}
}

type check struct {
	spec     *evasion.Spec
	settings evasion.Settings
	norm     evasion.Norm
	m        *Curved
}

// batch is samples with the labels that the curved model gives them.
func (c check) batch() *evasion.Batch {
	rng := rand.New(rand.NewPCG(11, 12))
	x := tensor.New(samples, features)
	if c.spec.Images {
		x = tensor.New(samples, 1, 4, features/4)
	}
	for j := range x.Data {
		switch x.Data[j] = rng.Float32(); rng.IntN(10) {
		case 0:
			x.Data[j] = 0
		case 1:
			x.Data[j] = 1
		}
	}
	b := &evasion.Batch{X: x, Norm: c.norm, Box: box, Seed: 7}
	z := c.m.scores(x)
	for i := range samples {
		b.Labels = append(b.Labels, tensor.ArgMax(z.Row(i)))
		b.Eps = append(b.Eps, radii[c.norm.Name()])
		b.IDs = append(b.IDs, 100+i)
	}
	return b
}

func (c check) perturb(t *testing.T, m model.Scores, b *evasion.Batch) *tensor.Tensor {
	t.Helper()
	if c.spec.Access < model.WhiteBox {
		m = model.WithoutGradients(m)
	}
	x, err := c.spec.New(c.settings).Perturb(context.Background(), m, b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(x.Shape, b.X.Shape) {
		t.Fatalf("result has shape %v, want %v", x.Shape, b.X.Shape)
	}
	return x
}

// size measures apart from the package under test.
func size(norm string, x, y []float32) float64 {
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

func (c check) staysInside(t *testing.T) {
	for name, m := range map[string]model.Gradients{"curved": c.m, "flat": Flat{}} {
		b := c.batch()
		x := c.perturb(t, m, b)
		for i := range samples {
			if d := size(c.norm.Name(), x.Row(i), b.X.Row(i)); d > b.Eps[i]*(1+1e-5) {
				t.Errorf("%s: sample %d moved %v, allowed %v", name, i, d, b.Eps[i])
			}
			for j, v := range x.Row(i) {
				if !(v >= 0 && v <= 1) {
					t.Errorf("%s: sample %d has %v at element %d, outside the box", name, i, v, j)
				}
			}
		}
	}
}

func (c check) leavesInput(t *testing.T) {
	b := c.batch()
	before := b.X.Clone()
	c.perturb(t, c.m, b)
	if !slices.Equal(before.Data, b.X.Data) {
		t.Error("the attack changed its input")
	}
}

func (c check) reproducible(t *testing.T) {
	for name, m := range map[string]model.Gradients{"curved": c.m, "flat": Flat{}} {
		b := c.batch()
		whole := c.perturb(t, m, b).Clone()
		if again := c.perturb(t, m, b); !slices.Equal(again.Data, whole.Data) {
			t.Errorf("%s: two runs with one seed differ", name)
		}
		for lo := 0; lo < samples; lo += 7 {
			hi := min(lo+7, samples)
			part := &evasion.Batch{X: b.X.Slice(lo, hi), Labels: b.Labels[lo:hi], Norm: b.Norm, Eps: b.Eps[lo:hi], Box: b.Box, IDs: b.IDs[lo:hi], Seed: b.Seed}
			if x := c.perturb(t, m, part); !slices.Equal(x.Data, whole.Slice(lo, hi).Data) {
				t.Errorf("%s: samples %d to %d come out differently in a batch of their own", name, lo, hi)
			}
		}
	}
}

// usesSeed asks of an attack that is random at all that the seed matters. On
// the flat model nothing but chance moves a sample.
func (c check) usesSeed(t *testing.T) {
	b := c.batch()
	first := c.perturb(t, Flat{}, b).Clone()
	if slices.Equal(first.Data, b.X.Data) {
		t.Skip("the attack is not random")
	}
	b.Seed++
	if x := c.perturb(t, Flat{}, b); slices.Equal(x.Data, first.Data) {
		t.Error("another seed changes nothing")
	}
}

// fooled counts the samples that are no longer classified as labelled.
func (c check) fooled(b *evasion.Batch, x *tensor.Tensor) int {
	z, n := c.m.scores(x), 0
	for i := range samples {
		if got := tensor.ArgMax(z.Row(i)); b.Targets != nil && got == b.Targets[i] || b.Targets == nil && got != b.Labels[i] {
			n++
		}
	}
	return n
}

// beatsNoise compares with a hundred uniform draws a sample, in L0 with five: a
// hundred would try half of what there is to try. An attack that is the noise
// baseline itself must reach it.
func (c check) beatsNoise(t *testing.T) {
	b := c.batch()
	got := c.fooled(b, c.perturb(t, c.m, b))
	draws := 100
	if c.norm == evasion.L0 {
		draws = 5
	}
	noise, err := evasion.Noise{Draws: draws}.Perturb(context.Background(), c.m, b)
	if err != nil {
		t.Fatal(err)
	}
	base := c.fooled(b, noise)
	if c.spec.Access == model.Labels && c.spec.Name == "noise" {
		if got == 0 {
			t.Error("noise fooled nothing at this radius; the suite's radius is wrong")
		}
		return
	}
	if got <= base || got < samples/2 {
		t.Errorf("fooled %d of %d, noise %d: want more than noise and at least half", got, samples, base)
	}
}

func (c check) reachesTargets(t *testing.T) {
	b := c.batch()
	for i, y := range b.Labels {
		b.Targets = append(b.Targets, (y+1)%classes)
		b.Eps[i] *= 3
	}
	got := c.fooled(b, c.perturb(t, c.m, b))
	if c.spec.Name == "noise" {
		return // chance reaches few targets
	}
	if got < samples/3 {
		t.Errorf("reached the target of %d of %d samples at three times the radius, want a third", got, samples)
	}
}

// ownRadius gives every other sample no room at all.
func (c check) ownRadius(t *testing.T) {
	b := c.batch()
	for i := range b.Eps {
		if i%2 == 1 {
			b.Eps[i] = 1e-9
		}
	}
	x := c.perturb(t, c.m, b)
	for i := range samples {
		if d := size(c.norm.Name(), x.Row(i), b.X.Row(i)); i%2 == 1 && d > 1e-6 {
			t.Errorf("sample %d moved %v, allowed %v", i, d, b.Eps[i])
		}
	}
}

// witness notes which samples an attack has seen fooled inside their ball.
type witness struct {
	*Curved
	c    check
	b    *evasion.Batch
	seen []bool
}

func (w witness) note(x, z *tensor.Tensor) {
	for i := range x.Rows() {
		for s, y := range w.b.Labels {
			if tensor.ArgMax(z.Row(i)) != y && size(w.c.norm.Name(), x.Row(i), w.b.X.Row(s)) <= w.b.Eps[s] {
				w.seen[s] = true
			}
		}
	}
}

func (w witness) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z, err := w.Curved.Scores(ctx, x)
	w.note(x, z)
	return z, err
}

func (w witness) Gradient(ctx context.Context, x *tensor.Tensor, obj *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	z, g, err := w.Curved.Gradient(ctx, x, obj)
	w.note(x, z)
	return z, g, err
}

// keepsSuccess is against silent success (Pintor et al. 2022): an attack that
// has seen a point of the ball fool the model returns one that does.
func (c check) keepsSuccess(t *testing.T) {
	b := c.batch()
	w := witness{c.m, c, b, make([]bool, samples)}
	x := c.perturb(t, w, b)
	z := c.m.scores(x)
	for i, seen := range w.seen {
		if seen && tensor.ArgMax(z.Row(i)) == b.Labels[i] {
			t.Errorf("sample %d was seen to be fooled inside its ball, and what is returned does not fool the model", i)
		}
	}
}

type broken struct{ model.Gradients }

func (broken) Scores(context.Context, *tensor.Tensor) (*tensor.Tensor, error) {
	return nil, fmt.Errorf("broken model")
}

func (broken) Gradient(context.Context, *tensor.Tensor, *model.Objective) (*tensor.Tensor, *tensor.Tensor, error) {
	return nil, nil, fmt.Errorf("broken model")
}

func (c check) passesErrors(t *testing.T) {
	if _, err := c.spec.New(c.settings).Perturb(context.Background(), broken{}, c.batch()); err == nil {
		t.Error("the model's error was lost")
	}
}
