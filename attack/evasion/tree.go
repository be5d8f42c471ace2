package evasion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
	"github.com/redoubt-ml/redoubt/ml/tree"
)

var trees = &Spec{
	Name: "trees",
	Doc: "Branch and bound on decision trees\n\nFinds the nearest point that a tree ensemble gets wrong, or proves that the ball holds none, " +
		"by splitting the ball at the thresholds and bounding what each part can do. Needs a model that is a tree ensemble; --steps above 4,000 lets it look at more parts.",
	Paper:     "exact as Kantchelian, Tygar and Joseph 2016, arXiv 1509.07892; bounds tree by tree as Chen et al. 2019, arXiv 1906.03849",
	Technique: evade,
	Access:    model.ScoresOnly,
	New:       func(s Settings) Attack { return Trees{States: max(s.Steps, partsOfBall)} },
}

// ErrUnfit is wrapped by attacks that only work on models of a certain kind,
// when they are given another.
var ErrUnfit = errors.New("the attack does not fit the model")

// Prover is an attack that knows when a result is final.
type Prover interface {
	Attack
	// Decide is Perturb, and says of each sample whether its result is proved:
	// that no point of the ball is wrong where the candidate is not, and that
	// none is nearer where it is.
	Decide(ctx context.Context, m model.Scores, b *Batch) (x *tensor.Tensor, proved []bool, err error)
}

// Forest is a model that is a tree ensemble, in the units of its samples; see
// [model.As].
type Forest interface{ Forest() *tree.Ensemble }

// Trees searches the ball of a sample for the nearest point that a tree
// ensemble gets wrong. The space between thresholds is split in two again and
// again; a part is given up when even the best leaf of every tree that it
// reaches, within the distance of the best point found so far, does not
// outweigh the class. When nothing is left the answer is exact, but for linked
// rules: a proof that nothing is there holds under them too, a distance might
// still be improved. It keeps to the rules of the batch by itself.
type Trees struct {
	States int // parts looked at for each sample and class; 0 means 4,000
}

// partsOfBall is how many parts are looked at by default, and at the least on a
// command line, whose number of steps is meant for descents.
const partsOfBall = 4000

func (Trees) keepsRules() {}

// Perturb returns the nearest wrong point found of each sample, or the sample.
func (a Trees) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	x, _, err := a.Decide(ctx, m, b)
	return x, err
}

// Decide implements [Prover]. It asks the model about what it found: where it
// does not agree, nothing is proved.
func (a Trees) Decide(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, []bool, error) {
	f, ok := model.As[Forest](m)
	if !ok {
		return nil, nil, fmt.Errorf("attack trees: the model is not a tree ensemble that can be read: %w", ErrUnfit)
	}
	e := f.Forest()
	if e.Features != b.X.RowLen() {
		return nil, nil, fmt.Errorf("attack trees: the ensemble takes %d features, the samples have %d: %w", e.Features, b.X.RowLen(), ErrUnfit)
	}
	out, proved := b.X.Clone(), make([]bool, b.X.Rows())
	for row := range b.X.Rows() {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		proved[row] = a.search(e, b, row, out.Row(row))
	}
	z, err := m.Scores(ctx, out)
	if err != nil {
		return nil, nil, err
	}
	goal := b.objective(model.Margin)
	for row := range proved {
		if moved := !slices.Equal(out.Row(row), b.X.Row(row)); moved != goal.Reached(row, z.Row(row)) {
			proved[row] = false
		}
	}
	return out, proved, nil
}

// search looks for each class that would do, the likeliest first.
func (a Trees) search(e *tree.Ensemble, b *Batch, row int, out []float32) (proved bool) {
	s := newTreeSearch(e, b, row)
	proved = true
	for _, class := range s.goals() {
		s.states, s.open = or(a.States, partsOfBall), false
		s.aim(class)
		s.dive()
		proved = proved && !s.open
	}
	if s.best != nil {
		copy(out, s.best)
	}
	return proved
}

// goals are the classes that the sample may become, by their sums.
func (s *treeSearch) goals() []int {
	if s.b.Targets != nil {
		return []int{s.b.Targets[s.row]}
	}
	sums := make([]float32, max(s.e.Outputs, 2))
	s.e.Sums(sums[:s.e.Outputs], s.origin)
	var goals []int
	for c := range s.e.Classes() {
		if c != s.label {
			goals = append(goals, c)
		}
	}
	slices.SortStableFunc(goals, func(i, j int) int { return cmp.Compare(sums[j], sums[i]) })
	return goals
}

// aim makes the search one for points of a class. Untargeted, a point of yet
// another class does as well.
func (s *treeSearch) aim(class int) {
	s.class = class
	if s.e.Outputs == 1 {
		s.constant = -float64(s.e.Cut)
		if s.e.Base != nil {
			s.constant += float64(s.e.Base[0])
		}
		if class == 0 {
			s.constant = -s.constant
		}
		return
	}
	s.constant = 0
	if s.e.Base != nil {
		s.constant = float64(s.e.Base[class]) - float64(s.e.Base[s.label])
	}
}

// gain is what a leaf adds to the lead of the wanted class.
func (s *treeSearch) gain(n *tree.Node) float64 {
	if s.e.Outputs == 1 {
		return float64(n.Values[0]) * float64(2*s.class-1)
	}
	return float64(n.Values[s.class]) - float64(n.Values[s.label])
}

// wanted reports whether the ensemble gives a point a class that will do.
func (s *treeSearch) wanted(x []float32) bool {
	got := s.e.Decide(x)
	if s.b.Targets != nil {
		return got == s.b.Targets[s.row]
	}
	return got != s.label
}

// price is what moving one element by a difference adds to the distance, which
// is their sum but in Linf, where it is the largest, and in L2, of which it is
// the square.
func (s *treeSearch) price(d float64) float64 {
	switch s.b.Norm {
	case L0:
		if d != 0 {
			return 1
		}
		return 0
	case L2:
		return d * d
	}
	return math.Abs(d)
}

// measure is a distance as prices are.
func (s *treeSearch) measure(distance float64) float64 {
	if s.b.Norm == L2 {
		return distance * distance
	}
	return distance
}
