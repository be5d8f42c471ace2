package evasion

import (
	"context"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var fab = &Spec{
	Name:      "fab",
	Doc:       "Fast adaptive boundary attack\n\nLooks for the nearest point beyond the boundary rather than for the highest loss in a ball, with a gradient for every class in each of a hundred steps. Dear where there are many classes.",
	Paper:     "Croce and Hein 2020, arXiv 1907.02044",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New: func(s Settings) Attack {
		return FAB{Name: "fab", Steps: s.Steps, Restarts: s.Restarts}
	},
}

var fabT = &Spec{
	Name:      "fab-t",
	Doc:       "Fast adaptive boundary attack, targeted\n\nFAB towards each of the next nine classes in turn, with one gradient a step. The version of AutoAttack.",
	Paper:     "Croce and Hein 2020, arXiv 1907.02044 and arXiv 2003.01690",
	Technique: evade,
	Access:    model.WhiteBox,
	Norms:     []Norm{Linf, L2, L1},
	New: func(s Settings) Attack {
		return FAB{Name: "fab-t", Targeted: true, Steps: s.Steps, Restarts: s.Restarts}
	},
}

// FAB is the fast adaptive boundary attack of Croce and Hein 2020: steps onto
// the linearised boundary, pulled back towards the sample. It minimises the
// distance; the radius only says when a sample is finished, which is as soon as
// a point beyond the boundary is near enough.
type FAB struct {
	Name string
	// Targeted considers the boundary to one class at a time, nine classes in
	// the order of their clean scores, fewer where there are fewer; otherwise
	// it considers the nearest boundary. Any wrong class is a success. It
	// means nothing where the batch names the classes wanted.
	Targeted bool
	Steps    int // 0 means 100
	Restarts int // runs, against each class if Targeted, on the samples still standing; 0 means 1
}

// Its constants: the largest weight of the pull towards the sample, how far a
// step overshoots the boundary, and how far a point beyond it is moved back.
const (
	fabPull    = 0.1
	fabOver    = 1.05
	fabBack    = 0.9
	fabLeast   = 1e-8 // distances below it count as it
	fabClasses = 9    // considered in turn if Targeted
)

// Perturb returns for each sample a point in its ball that succeeds, or the
// sample itself where none was found.
func (a FAB) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, a.Name)
	if err != nil {
		return nil, err
	}
	turns, err := a.turns(ctx, g, b)
	if err != nil {
		return nil, err
	}
	found, rows, runs := b.nearest(), b.every(), max(a.Restarts, 1)
	for i, faces := range turns {
		for r := range runs {
			if len(rows) == 0 {
				break
			}
			s := boundarySearch{b: b, found: found, rows: rows, faces: faces}
			if rows, err = s.run(ctx, g, a, i*runs+r, r > 0); err != nil {
				return nil, err
			}
		}
	}
	return found.inside(), nil
}

// turns lists the boundaries to be considered in each of the attack's turns, as
// functions that are zero on them and positive beyond.
func (a FAB) turns(ctx context.Context, m model.Scores, b *Batch) ([][]*model.Objective, error) {
	if b.Targets != nil {
		return [][]*model.Objective{{b.objective(model.Margin)}}, nil
	}
	most := math.MaxInt
	if a.Targeted {
		most = fabClasses
	}
	ranked, err := b.next(ctx, m, most)
	if err != nil {
		return nil, err
	}
	var all []*model.Objective
	var one [][]*model.Objective
	for _, classes := range ranked {
		f := b.lead(classes, len(ranked)+1)
		all, one = append(all, f), append(one, []*model.Objective{f})
	}
	if a.Targeted {
		return one, nil
	}
	return [][]*model.Objective{all}, nil
}

// lead is the logit of a class, one for every row, less that of the label.
func (b *Batch) lead(classes []int, k int) *model.Objective {
	n := b.X.Rows()
	o := &model.Objective{Loss: model.Constraints, W: tensor.New(n, 1, k), B: tensor.New(n, 1)}
	for row, c := range classes {
		w := o.W.Row(row)
		w[c], w[b.Labels[row]] = 1, -1
	}
	return o
}

// boundarySearch is a run of FAB under way: slot i of x is the iterate of
// rows[i].
type boundarySearch struct {
	b     *Batch
	found *nearest
	faces []*model.Objective
	rows  []int
	x     *tensor.Tensor
	// The tangent that replaces the nearest boundary of each slot.
	tangents []tangent
	d1, d2   []float32 // scratch
	bends    []bend
}

// tangent is value + normal.(z - x), as seen from an iterate x.
type tangent struct {
	value, distance float64
	normal          []float32
}

func (s *boundarySearch) run(ctx context.Context, m model.Gradients, a FAB, restart int, jump bool) ([]int, error) {
	b := s.b
	x, err := model.Input(m, len(s.rows), b.X.Shape[1:])
	if err != nil {
		return nil, err
	}
	s.x, s.tangents = x, make([]tangent, len(s.rows))
	s.d1, s.d2 = make([]float32, b.X.RowLen()), make([]float32, b.X.RowLen())
	for slot, row := range s.rows {
		copy(x.Row(slot), b.X.Row(row))
		s.tangents[slot].normal = make([]float32, b.X.RowLen())
		if jump {
			b.shell(x.Row(slot), row, b.Eps[row]/2, a.Name, restart)
		}
	}
	aims := make([]aim, len(s.faces))
	for i, f := range s.faces {
		aims[i].all = f
	}
	for range or(a.Steps, 100) {
		if err := s.linearise(ctx, m, aims); err != nil {
			return nil, err
		}
		for slot, row := range s.rows {
			if err := s.step(slot, row); err != nil {
				return nil, fmt.Errorf("attack %s: %w", a.Name, err)
			}
		}
		logits, err := m.Scores(ctx, s.x)
		if err != nil {
			return nil, err
		}
		if s.judge(logits); len(s.rows) == 0 {
			break
		}
	}
	return s.rows, nil
}

// linearise finds the tangent of each slot: of all boundaries, the one that
// the slope puts nearest.
func (s *boundarySearch) linearise(ctx context.Context, m model.Gradients, aims []aim) error {
	for slot := range s.rows {
		s.tangents[slot].distance = math.Inf(1)
	}
	for i := range aims {
		logits, grad, err := m.Gradient(ctx, s.x, aims[i].at(s.rows))
		if err != nil {
			return err
		}
		for slot, value := range aims[i].values(s.rows, logits) {
			t, g := &s.tangents[slot], grad.Row(slot)
			steepness := dual(s.b.Norm).Size(g)
			if distance := math.Abs(value) / (1e-12 + steepness); distance < t.distance && !math.IsInf(steepness, 0) {
				t.value, t.distance = value, distance
				copy(t.normal, g)
			}
		}
	}
	return nil
}

// step goes beyond the tangent, from the iterate and a little from the sample:
// the more so the nearer the iterate already was.
func (s *boundarySearch) step(slot, row int) error {
	b, t := s.b, &s.tangents[slot]
	if math.IsInf(t.distance, 0) {
		return nil // no gradient was a number
	}
	x, origin := s.x.Row(slot), b.X.Row(row)
	if err := toHyperplane(b.Norm, s.d1, x, t.normal, t.value, b.Box, &s.bends); err != nil {
		return err
	}
	value := t.value // at the sample
	for j, w := range t.normal {
		value += float64(w) * (float64(origin[j]) - float64(x[j]))
	}
	if err := toHyperplane(b.Norm, s.d2, origin, t.normal, value, b.Box, &s.bends); err != nil {
		return err
	}
	a1, a2 := math.Max(b.Norm.Size(s.d1), fabLeast), math.Max(b.Norm.Size(s.d2), fabLeast)
	pull := math.Min(a1/(a1+a2), fabPull)
	for j := range x {
		from := float64(x[j]) + fabOver*float64(s.d1[j])
		home := float64(origin[j]) + fabOver*float64(s.d2[j])
		x[j] = float32(from*(1-pull) + home*pull)
	}
	b.Box.Clip(x)
	return nil
}

// judge keeps what lies beyond the boundary, lets samples go that have such a
// point in their ball, and moves the other iterates there back.
func (s *boundarySearch) judge(logits *tensor.Tensor) {
	now := 0
	for was, row := range s.rows {
		x := s.x.Row(was)
		beyond := s.found.offer(row, x, logits.Row(was))
		if s.found.size[row] <= s.b.Eps[row] {
			continue
		}
		if beyond {
			for j, o := range s.b.X.Row(row) {
				x[j] = o + fabBack*(x[j]-o)
			}
		}
		copy(s.x.Row(now), x)
		s.rows[now] = row
		now++
	}
	s.rows, s.x = s.rows[:now], s.x.Slice(0, now)
}

// shell moves x a distance in a random direction, and into the box.
func (b *Batch) shell(x []float32, row int, distance float64, attack string, restart int) {
	rng := b.stream(attack, row, restart)
	d := make([]float32, len(x))
	for j := range d {
		if b.Norm == Linf {
			d[j] = float32(2*rng.Float64() - 1)
		} else {
			d[j] = float32(rng.NormFloat64())
		}
	}
	k := float32(distance / b.Norm.Size(d))
	for j := range x {
		x[j] += k * d[j]
	}
	b.Box.Clip(x)
}
