package evasion

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var zoo = &Spec{
	Name:      "zoo",
	Doc:       "Zeroth-order optimisation\n\nCarlini and Wagner's sum, descended element by element on differences of scores. Sees scores only; it takes many queries where samples are large.",
	Paper:     "Chen et al. 2017, arXiv 1708.03999",
	Technique: evade,
	Access:    model.ScoresOnly,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return ZOO{Queries: s.Queries, Rate: s.Step, Within: true} },
}

// ZOO looks for the smallest perturbation d in L2 from scores (Chen et al. 2017,
// algorithm 2). It minimises
//
//	|d|_2^2 + c max(-margin(x+d), 0)
//
// with d in units of the box's widest side. A step draws as many different
// elements as Together, asks on both sides of each, and moves each with an Adam
// of its own. A logit is as good as its log-probability here: the margin is the
// same. Where it has not succeeded yet c doubles with every tenth of the
// queries; once it has it stays.
type ZOO struct {
	Queries  int     // answers a sample; 0 means 10,000
	Together int     // elements a step; 0 means 128, fewer where there are fewer
	Rate     float64 // Adam's learning rate; 0 means 0.02
	Const    float64 // the first c; 0 means 10
	Look     float64 // how far to each side of an element to ask; 0 means 0.01
	// Uniform draws elements alike. Otherwise those that moved are drawn more
	// often, in proportion to the mean of |d| around them, where samples are
	// images: the paper's importance sampling.
	Uniform bool
	// Within ends the search of a sample at the first successful point inside
	// its ball, instead of looking for the nearest.
	Within bool
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a ZOO) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if err := only(b, "zoo", L2); err != nil {
		return nil, err
	}
	found, unit := b.nearest(), b.Box.widest(b.X.RowLen())
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		a.search(found, row, ask, unit)
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// search descends for one sample until the queries are spent.
func (a ZOO) search(found *nearest, row int, ask ask, unit float64) {
	b, origin := found.b, found.b.X.Row(row)
	n, queries := len(origin), or(a.Queries, 10_000)
	rng, plane := b.stream("zoo", row, 0), planeOf(b.X.Shape[1:])
	together := min(or(a.Together, 128), n)
	x, adams := append([]float32(nil), origin...), newCoordinateAdam(n)
	c, look := orFloat(a.Const, 10), float32(orFloat(a.Look, 0.01)*unit)
	won := false
	for left, tenth := queries, 1; left > 0; {
		chosen := a.choose(rng, plane, x, origin, min(together, max((left-1)/2, 0)))
		points := append([]float32(nil), x...)
		for _, j := range chosen {
			for _, side := range [...]float32{look, -look} {
				points = append(points, x...)
				points[len(points)-n+j] += side
				b.Box.Clip(points[len(points)-n:])
			}
		}
		left -= 1 + 2*len(chosen)
		z := ask(points)
		if z == nil {
			return
		}
		won = found.offer(row, x, z.Row(0)) || won
		for i := range 2 * len(chosen) { // looking may succeed where the path has not yet
			found.offer(row, points[(1+i)*n:(2+i)*n], z.Row(1+i))
		}
		if found.size[row] == 0 || a.Within && found.size[row] <= b.Eps[row] {
			return
		}
		for ; !won && queries-left >= tenth*queries/10; tenth++ {
			c *= 2
		}
		for k, j := range chosen {
			up, down := 1+2*k, 2+2*k
			width := float64(points[up*n+j]) - float64(points[down*n+j])
			if width == 0 {
				continue // no room in the box
			}
			rise := math.Min(found.goal.Value(row, z.Row(up)), 0) - math.Min(found.goal.Value(row, z.Row(down)), 0)
			g := 2*(float64(x[j])-float64(origin[j]))/unit - c*unit*rise/width
			lo, hi := b.Box.At(j)
			x[j] = min(max(x[j]-float32(unit*adams.step(j, g, orFloat(a.Rate, 0.02))), lo), hi)
		}
	}
}

// choose draws different elements. One has the weight of the mean change of the
// three by three around it in its channel, and a tenth of the mean of all, so
// that none is out of reach: it takes the largest of u^(1/weight) for uniform u
// (Efraimidis and Spirakis 2006).
func (a ZOO) choose(rng *rand.Rand, p plane, x, origin []float32, count int) []int {
	total := 0.0
	for j, v := range x {
		total += math.Abs(float64(v) - float64(origin[j]))
	}
	if a.Uniform || p.height == 1 || total == 0 {
		return rng.Perm(len(x))[:count]
	}
	floor := 0.1 * total / float64(len(x))
	keys := make([]element, 0, len(x))
	for c := range p.channels {
		for i := range p.height {
			for k := range p.width {
				sum := 0.0
				for di := max(i-1, 0); di <= min(i+1, p.height-1); di++ {
					for dk := max(k-1, 0); dk <= min(k+1, p.width-1); dk++ {
						at := p.at(c, di, dk)
						sum += math.Abs(float64(x[at]) - float64(origin[at]))
					}
				}
				keys = append(keys, element{p.at(c, i, k), -rng.ExpFloat64() / (floor + sum/9)})
			}
		}
	}
	largest(keys)
	chosen := make([]int, count)
	for i := range chosen {
		chosen[i] = keys[i].j
	}
	return chosen
}

// coordinateAdam is Adam with a turn count for each element, for steps that
// move a few at a time.
type coordinateAdam struct {
	m, v []float64
	turn []int
}

func newCoordinateAdam(n int) *coordinateAdam {
	return &coordinateAdam{make([]float64, n), make([]float64, n), make([]int, n)}
}

// step is how far element j goes down its gradient g.
func (s *coordinateAdam) step(j int, g, rate float64) float64 {
	const beta1, beta2 = 0.9, 0.999
	s.turn[j]++
	s.m[j] += (1 - beta1) * (g - s.m[j])
	s.v[j] += (1 - beta2) * (g*g - s.v[j])
	bias1, bias2 := 1-math.Pow(beta1, float64(s.turn[j])), 1-math.Pow(beta2, float64(s.turn[j]))
	return rate * (s.m[j] / bias1) / (math.Sqrt(s.v[j]/bias2) + 1e-8)
}
