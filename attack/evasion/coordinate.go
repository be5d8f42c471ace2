package evasion

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var coordinate = &Spec{
	Name: "coordinate",
	Doc: "Coordinate search, feature by feature\n\nA beam search over allowed changes of single features, with a one-hot group as one of them; what a success does not need is undone. " +
		"For tables, and for sequences of bytes or tokens in L0. Sees scores only.",
	Paper:     "greedy and beam search over word or feature substitutions, as in Ebrahimi et al. 2018, arXiv 1712.06751, and Yang et al. 2020, arXiv 1805.12316",
	Technique: evade,
	Access:    model.ScoresOnly,
	New:       func(s Settings) Attack { return Coordinate{Queries: s.Queries} },
}

// Coordinate changes one feature after another: of all changes of the best
// points so far, or a draw from them where there are many, it keeps those that
// help most. It keeps to the rules of the batch by itself.
type Coordinate struct {
	Queries int // answers a sample; 0 means 1,000
	Beam    int // points kept; 0 means 3
}

func (Coordinate) keepsRules() {}

// proposals is how many changes are tried of the points kept in one round.
const proposals = 48

// Perturb returns for each sample a wrong point of few changes, or else the
// best.
func (a Coordinate) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	out := b.X.Clone()
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		s := &coordinateSearch{
			b: b, row: row, origin: b.X.Row(row), ask: ask, left: or(a.Queries, 1000),
			rng: b.stream("coordinate", row, 0), goal: b.objective(model.Margin),
		}
		copy(out.Row(row), s.run(or(a.Beam, 3)))
	})
	return out, err
}

type coordinateSearch struct {
	b      *Batch
	row    int
	origin []float32
	ask    ask
	left   int // answers
	rng    *rand.Rand
	goal   *model.Objective
	// gains say how much each element's changes have helped so far: elements
	// that mattered are drawn more often.
	gains []float64
}

// point is a point of the ball, and the objective there.
type point struct {
	x     []float32
	value float64
	won   bool
}

// run searches until it succeeds or has no answers left.
func (s *coordinateSearch) run(width int) []float32 {
	s.gains = make([]float64, len(s.origin))
	start := s.values([][]float32{slices.Clone(s.origin)}, nil)
	if len(start) == 0 {
		return s.origin
	}
	beam := start
	for !beam[0].won {
		var next [][]float32
		var moved []int
		for _, p := range beam {
			for range (proposals + len(beam) - 1) / len(beam) {
				if x, j := s.propose(p.x); x != nil {
					next, moved = append(next, x), append(moved, j)
				}
			}
		}
		found := s.values(next, moved)
		if len(found) == 0 {
			return beam[0].x
		}
		beam = best(append(beam, found...), width)
	}
	return s.fewer(beam[0].x)
}

// best is the points of the highest objective, each once.
func best(points []point, n int) []point {
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(b.value, a.value) })
	points = slices.CompactFunc(points, func(a, b point) bool { return slices.Equal(a.x, b.x) })
	return points[:min(n, len(points))]
}

// values asks about points, as far as the answers last.
func (s *coordinateSearch) values(points [][]float32, moved []int) []point {
	points = points[:min(len(points), s.left)]
	if len(points) == 0 {
		return nil
	}
	s.left -= len(points)
	z := s.ask(slices.Concat(points...))
	if z == nil {
		return nil
	}
	out := make([]point, len(points))
	middle := 0.0
	for i, x := range points {
		out[i] = point{x, s.goal.Value(s.row, z.Row(i)), s.goal.Reached(s.row, z.Row(i))}
		middle += out[i].value / float64(len(points))
	}
	for i, j := range moved[:min(len(moved), len(out))] {
		s.gains[j] = math.Max(s.gains[j], out[i].value-middle)
	}
	return out
}

// propose changes one feature of x; nil if that cannot be done within the ball.
func (s *coordinateSearch) propose(x []float32) (changed []float32, at int) {
	const tries = 8
	for range tries {
		j := s.draw()
		y := slices.Clone(x)
		if !s.change(y, j) || !s.fit(y, j) || slices.Equal(y, x) {
			continue
		}
		return y, j
	}
	return nil, 0
}

// draw chooses an element: any of them, or half of the time the better of a
// few by what their changes gained.
func (s *coordinateSearch) draw() int {
	j := s.rng.IntN(len(s.origin))
	if s.rng.IntN(2) == 0 {
		for range len(s.origin) / 4 {
			if k := s.rng.IntN(len(s.origin)); s.gains[k] > s.gains[j] {
				j = k
			}
		}
	}
	return j
}

// change gives element j of y another value, one of those that it may have;
// of a one-hot group it sets the member j.
func (s *coordinateSearch) change(y []float32, j int) bool {
	lo, hi := s.span(j)
	if lo >= hi {
		return false
	}
	if s.b.Rules == nil {
		y[j] = s.between(lo, hi)
		return true
	}
	c := &s.b.Rules.Columns[j]
	if c.Group >= 0 {
		for _, i := range s.b.Rules.Groups[c.Group] {
			y[i] = s.b.Rules.Columns[i].Min
		}
		y[j] = c.Max
		return true
	}
	y[j] = s.between(lo, hi)
	return true
}

// span is how far element j may go.
func (s *coordinateSearch) span(j int) (lo, hi float32) {
	lo, hi = s.b.Box.At(j)
	room := s.b.room(s.row)
	if s.b.Rules != nil {
		l, h := s.b.Rules.Reach(j, s.origin[j], room)
		return max(lo, l), min(hi, h)
	}
	return max(lo, float32(float64(s.origin[j])-room)), min(hi, float32(float64(s.origin[j])+room))
}

// between draws an end of an interval, or as often a value inside.
func (s *coordinateSearch) between(lo, hi float32) float32 {
	switch s.rng.IntN(4) {
	case 0:
		return lo
	case 1:
		return hi
	}
	return lo + (hi-lo)*s.rng.Float32()
}

// fit brings y, whose element j was just changed, into the ball and under the
// rules, undoing other changes rather than this one.
func (s *coordinateSearch) fit(y []float32, j int) bool {
	if s.b.Rules != nil {
		s.b.Rules.Repair(y, s.origin)
	}
	if s.b.Norm != L0 {
		if s.b.Rules != nil {
			s.b.keep(y, s.row)
		} else {
			s.b.Norm.Project(y, s.origin, s.b.Eps[s.row], s.b.Box)
		}
		return true
	}
	others := slices.DeleteFunc(bySize(y, s.origin), func(i int) bool { return s.together(i, j) })
	for !s.b.within(y, s.row) {
		if len(others) == 0 {
			return false
		}
		k := s.rng.IntN(len(others))
		s.revert(y, others[k])
		others = slices.Delete(others, k, k+1)
	}
	return s.b.Rules == nil || s.b.Rules.Check(y, s.origin) == nil
}

func (s *coordinateSearch) together(i, j int) bool {
	return i == j || s.b.Rules != nil && s.b.Rules.Columns[i].Group >= 0 && s.b.Rules.Columns[i].Group == s.b.Rules.Columns[j].Group
}

func (s *coordinateSearch) revert(y []float32, j int) {
	if s.b.Rules != nil {
		s.b.undo(y, s.origin, j)
	} else {
		y[j] = s.origin[j]
	}
}

// fewer undoes what a wrong point does not need: of all points with one change
// less that are wrong still, it goes on from the nearest.
func (s *coordinateSearch) fewer(x []float32) []float32 {
	for {
		var tries [][]float32
		for _, j := range bySize(x, s.origin) {
			y := slices.Clone(x)
			if s.revert(y, j); s.b.Rules == nil || s.b.Rules.Check(y, s.origin) == nil {
				tries = append(tries, y)
			}
		}
		next := x
		for _, p := range s.values(tries, nil) {
			if p.won && s.distance(p.x) < s.distance(next) {
				next = p.x
			}
		}
		if len(tries) == 0 || slices.Equal(next, x) {
			return x
		}
		x = next
	}
}

func (s *coordinateSearch) distance(x []float32) float64 {
	d := make([]float32, len(x))
	difference(d, x, s.origin)
	return s.b.Norm.Size(d)
}
