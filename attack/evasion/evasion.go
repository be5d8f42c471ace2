// Package evasion finds inputs close to given samples that a model gets wrong.
//
// An attack is a struct whose fields are its settings and whose one method
// proposes a point for each sample of a batch:
//
//	pgd := evasion.Descent{Steps: 40}
//	candidates, err := pgd.Perturb(ctx, m, &evasion.Batch{
//		X: x, Labels: y, Norm: evasion.Linf, Eps: eps, Box: evasion.Box{Lo: []float32{0}, Hi: []float32{1}},
//	})
//
// A candidate lies in the ball and in the box, but nothing is promised about
// whether it fools the model: whoever calls re-measures it and asks the model
// again, as package assess does. An attack never changes its input, and its
// randomness is keyed by (seed, attack, sample, restart), so that neither the
// size of a batch nor the order of samples changes a result.
//
// [All] lists the attacks by name for command lines and reports. To add one,
// write a file with its struct and its [Spec], and name the spec in the list.
package evasion

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Attack proposes adversarial points.
type Attack interface {
	// Perturb returns a tensor of the shape of b.X. It fails only if the model
	// does, or does not give the access that the attack needs.
	Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error)
}

// Batch is what an attack works on: samples, what is wanted of them, and how
// far they may move.
type Batch struct {
	X       *tensor.Tensor // [N, sample...], inside the box; never changed
	Labels  []int          // true classes
	Targets []int          // wanted classes; nil for any wrong class
	Norm    Norm
	Eps     []float64 // radius of each sample's ball
	Box     Box
	// Rules say which changes of a sample could exist at all; nil allows every
	// one. [Perturb] makes any attack keep to them.
	Rules *data.Constraints
	// IDs tell samples apart for randomness, whatever batch they are in; nil
	// means their position in the batch.
	IDs  []int
	Seed uint64
}

// Box is the range of valid inputs: one bound for all elements, or one an
// element of a sample.
type Box struct {
	Lo, Hi []float32
	rules  *data.Constraints // kept to by every projection, see Perturb
}

// At is the range of element j.
func (b Box) At(j int) (lo, hi float32) {
	if len(b.Lo) > 1 {
		lo = b.Lo[j]
	} else {
		lo = b.Lo[0]
	}
	if len(b.Hi) > 1 {
		hi = b.Hi[j]
	} else {
		hi = b.Hi[0]
	}
	return lo, hi
}

// Clip moves x into the box.
func (b Box) Clip(x []float32) {
	if len(b.Lo) == 1 && len(b.Hi) == 1 {
		lo, hi := b.Lo[0], b.Hi[0]
		for j, v := range x {
			if v < lo {
				x[j] = lo
			} else if v > hi {
				x[j] = hi
			}
		}
		return
	}
	for j, v := range x {
		lo, hi := b.At(j)
		if v < lo {
			x[j] = lo
		} else if v > hi {
			x[j] = hi
		}
	}
}

// Spec describes an attack for lists, help and reports.
type Spec struct {
	Name string
	// Doc's first line is a title; the rest says what the attack is good for.
	Doc       string
	Paper     string       // author, year, identifier
	Technique string       // MITRE ATLAS
	Access    model.Access // what it needs to see
	Norms     []Norm       // the norms it works in; nil means every one
	Images    bool         // whether samples must be images, [C, H, W] or [H, W, C]
	// New makes the attack with the given settings; zero settings mean the
	// attack's own defaults.
	New func(Settings) Attack
}

// Settings are the knobs that command lines offer for every attack. An attack
// ignores those that mean nothing to it.
type Settings struct {
	Steps    int     // iterations
	Step     float64 // step size in units of the input; 0 chooses one from eps and steps
	Restarts int     // random restarts, each only on samples still standing
	Queries  int     // model answers a sample, for attacks without gradients
}

// Works reports whether the attack knows the norm.
func (s *Spec) Works(n Norm) bool { return s.Norms == nil || slices.Contains(s.Norms, n) }

// All lists every attack, the quick ones first.
var All = []*Spec{
	fgsm,
	bim,
	pgd,
	pgdMargin,
	pgdDLR,
	mifgsm,
	difgsm,
	tifgsm,
	apgdCE,
	apgdDLR,
	apgdT,
	fabT,
	fab,
	square,
	trees,
	coordinate,
	linearModel,
	lowProFool,
	deepfool,
	ddn,
	fmn,
	cw,
	cwLinf,
	cwL0,
	ead,
	jsma,
	sigmaZero,
	simba,
	simbaDCT,
	spsa,
	nes,
	zoo,
	hopskipjump,
	geoda,
	boundary,
	noise,
}

// Find returns the attack of a name.
func Find(name string) (*Spec, error) {
	var names []string
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("no attack %q: want one of %v", name, names)
}

// gradients asks for white-box access.
func gradients(m model.Scores, attack string) (model.Gradients, error) {
	if g, ok := m.(model.Gradients); ok {
		return g, nil
	}
	return nil, fmt.Errorf("attack %s needs gradients, which this model does not give: use an attack that needs scores only", attack)
}

// id is the identity of row i.
func (b *Batch) id(i int) int {
	if b.IDs == nil {
		return i
	}
	return b.IDs[i]
}

// stream is the randomness of one attack on one sample in one restart.
func (b *Batch) stream(attack string, row, restart int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, attack)
	return rand.New(rand.NewPCG(b.Seed^h.Sum64(), uint64(b.id(row))<<20|uint64(restart)))
}

// objective is what an attack on the batch increases.
func (b *Batch) objective(loss model.Loss) *model.Objective {
	return &model.Objective{Loss: loss, Labels: b.Labels, Targets: b.Targets}
}

// every lists all rows.
func (b *Batch) every() []int {
	rows := make([]int, b.X.Rows())
	for i := range rows {
		rows[i] = i
	}
	return rows
}
