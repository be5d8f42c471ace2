package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var boundary = &Spec{
	Name:      "boundary",
	Doc:       "Boundary attack\n\nSees predicted classes only. Walks at random along the boundary and a little towards the sample at each step. The oldest of its kind; hopskipjump needs fewer queries.",
	Paper:     "Brendel, Rauber and Bethge 2018, arXiv 1712.04248",
	Technique: evade,
	Access:    model.Labels,
	Norms:     []Norm{L2},
	New:       func(s Settings) Attack { return Boundary{Queries: s.Queries, Within: true} },
}

// Boundary looks for the smallest perturbation in L2 from labels alone (Brendel
// et al. 2018, section 3). A proposal steps at random on the sphere around the
// sample, then towards it, and is kept if it succeeds. The step on the sphere
// grows while more than half of such steps succeed and shrinks below a fifth,
// the step inwards above a quarter and below a tenth.
type Boundary struct {
	Queries int // answers a sample, all told; 0 means 25,000
	// Within ends the search of a sample at the first successful point inside
	// its ball, instead of looking for the nearest.
	Within bool
	// Starts are points from where to begin, as for [HopSkipJump].
	Starts *tensor.Tensor
	Sphere float64 // first step on the sphere, a share of the distance; 0 means 0.01
	Inward float64 // first step inwards, a share of the distance; 0 means 0.01
	Adapt  float64 // factor by which steps grow and shrink; 0 means 1.5
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a Boundary) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if err := only(b, "boundary", L2); err != nil {
		return nil, err
	}
	found := b.nearest()
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		h := &hop{
			HopSkipJump: HopSkipJump{Within: a.Within, Starts: a.Starts}, found: found, row: row, origin: b.X.Row(row), ask: ask,
			rng: b.stream("boundary", row, 0), left: or(a.Queries, 25_000),
		}
		a.run(h)
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// rate is how often steps of one kind succeeded.
type rate struct{ tried, won int }

// judge enters a step and, after so many, says by which factor to change their
// size.
func (r *rate) judge(won bool, after int, low, high, factor float64) float64 {
	r.tried++
	if won {
		r.won++
	}
	if r.tried < after {
		return 1
	}
	share := float64(r.won) / float64(r.tried)
	*r = rate{}
	switch {
	case share > high:
		return factor
	case share < low:
		return 1 / factor
	}
	return 1
}

// run walks until the queries are spent. Every tenth time it asks about the
// point on the sphere too.
func (a Boundary) run(h *hop) {
	if h.wins(h.origin) || h.over {
		return
	}
	x := h.start()
	sphere, inward, adapt := orFloat(a.Sphere, 0.01), orFloat(a.Inward, 0.01), orFloat(a.Adapt, 1.5)
	var aside, steps rate
	n := len(h.origin)
	points := make([]float32, 2*n)
	for i := 0; !h.over; i++ {
		away := h.found.distance(h.row, x)
		if away == 0 {
			return
		}
		h.turn(points[:n], points[n:], x, away, sphere, inward)
		asked := points[:n]
		if i%10 == 0 {
			asked = points
		}
		won := h.outcomes(asked)
		if len(won) == 0 {
			return
		}
		if len(won) == 2 {
			k := aside.judge(won[1], 10, 0.2, 0.5, adapt)
			sphere, inward = sphere*k, inward*k
		}
		if won[0] {
			copy(x, points)
		}
		inward *= steps.judge(won[0], 30, 0.1, 0.25, adapt)
		// Far out a step that is too short to matter would never be tried again.
		sphere, inward = min(max(sphere, 1e-7), 1), min(max(inward, 1e-7), 0.5)
	}
}

// turn writes to side a random point at the same distance from the sample as x,
// a step of size sphere away from it, and to nearer that point moved inwards;
// both inside the box.
func (h *hop) turn(nearer, side, x []float32, away, sphere, inward float64) {
	along := 0.0
	for j := range side {
		side[j] = float32(h.rng.NormFloat64())
		along += float64(side[j]) * (float64(x[j]) - float64(h.origin[j])) / away
	}
	sum := 0.0
	for j, v := range side {
		side[j] = v - float32(along*(float64(x[j])-float64(h.origin[j]))/away)
		sum += float64(side[j]) * float64(side[j])
	}
	if sum == 0 {
		sum = 1
	}
	k, shrink := sphere*away/math.Sqrt(sum), 1/math.Sqrt(1+sphere*sphere)
	for j, o := range h.origin {
		d := shrink * (float64(x[j]) - float64(o) + k*float64(side[j]))
		side[j] = o + float32(d)
		nearer[j] = o + float32((1-inward)*d)
	}
	h.found.b.Box.Clip(side)
	h.found.b.Box.Clip(nearer)
}
