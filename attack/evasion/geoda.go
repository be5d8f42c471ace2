package evasion

import (
	"context"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var geoda = &Spec{
	Name:      "geoda",
	Doc:       "Geometric decision-based attack\n\nSees predicted classes only. Takes the boundary for flat: estimates its normal at a few points, and goes from the sample along it. Good with few queries.",
	Paper:     "Rahmati et al. 2020, arXiv 2003.06468",
	Technique: evade,
	Access:    model.Labels,
	Norms:     []Norm{Linf, L2},
	New:       func(s Settings) Attack { return GeoDA{Queries: s.Queries, Within: true} },
}

// GeoDA looks for the smallest perturbation in L2 or Linf from labels alone
// (Rahmati et al. 2020, algorithm 2). Each iteration estimates the normal of
// the boundary at the nearest point found, with Growth times the queries of the
// iteration before, and looks for the boundary from the sample along it, for
// Linf along its sign. The estimate is that of [HopSkipJump], which takes the mean
// of the answers off them; random points are drawn from all frequencies.
type GeoDA struct {
	Queries int     // answers a sample, all told; 0 means 5,000
	First   int     // of them for the first normal; 0 means 60
	Growth  float64 // 0 means 0.6^(-2/3), the paper's optimum at its rate of convergence
	// Reach is how far around a boundary point the normal is looked for, in
	// units of the box's widest side for each element; 0 means 0.0005.
	Reach float64
	// Within ends the search of a sample at the first successful point inside
	// its ball, instead of looking for the nearest.
	Within bool
	// Starts are points from where to begin, as for [HopSkipJump].
	Starts *tensor.Tensor
}

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a GeoDA) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if err := only(b, "geoda", Linf, L2); err != nil {
		return nil, err
	}
	found, unit := b.nearest(), b.Box.widest(b.X.RowLen())
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		h := &hop{
			HopSkipJump: HopSkipJump{Within: a.Within, Starts: a.Starts}, found: found, row: row, origin: b.X.Row(row), ask: ask,
			rng: b.stream("geoda", row, 0), left: or(a.Queries, 5000),
		}
		a.run(h, unit)
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// run looks along one normal after another until the queries are spent.
func (a GeoDA) run(h *hop, unit float64) {
	if h.wins(h.origin) || h.over {
		return
	}
	x := h.start()
	n := float64(or(a.First, 60))
	reach := orFloat(a.Reach, 0.0005) * unit * math.Sqrt(float64(len(h.origin)))
	for !h.over {
		x = h.descend(x)
		if h.over || h.found.size[h.row] == 0 {
			return
		}
		normal := h.gradient(x, reach, min(int(n), hopMost))
		n *= orFloat(a.Growth, math.Pow(0.6, -2.0/3))
		if p := h.outwards(normal, h.found.distance(h.row, x)); p != nil {
			x = p
		}
	}
}

// outwards looks for a point that succeeds on the way from the sample in a
// direction, first at half the distance of the last and then ever farther, until
// the box ends the way. Nil means that there was none, or no query left.
func (h *hop) outwards(direction []float32, away float64) []float32 {
	out := make([]float32, len(direction))
	for r := away / 2; r < 8*away; r *= 1.2 {
		for j, v := range h.origin {
			out[j] = v + float32(r)*direction[j]
		}
		h.found.b.Box.Clip(out)
		if h.wins(out) {
			return out
		}
		if h.over {
			return nil
		}
	}
	return nil
}
