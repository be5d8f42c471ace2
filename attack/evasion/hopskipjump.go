package evasion

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var hopskipjump = &Spec{
	Name:      "hopskipjump",
	Doc:       "HopSkipJump\n\nSees predicted classes only. From a wrong point far away it walks along the boundary towards the sample. Five thousand queries, fewer once it is inside the ball.",
	Paper:     "Chen, Jordan and Wainwright 2020, arXiv 1904.02144",
	Technique: evade,
	Access:    model.Labels,
	Norms:     []Norm{Linf, L2},
	New:       func(s Settings) Attack { return HopSkipJump{Queries: s.Queries, Within: true} },
}

// HopSkipJump looks for the smallest perturbation in L2 or Linf from labels
// alone (Chen et al. 2020, algorithm 2), within a number of queries rather than
// of iterations.
type HopSkipJump struct {
	Queries int // answers a sample, all told; 0 means 5,000
	First   int // of them for the first gradient; the t-th takes sqrt(t) times as many; 0 means 100
	// Within ends the search of a sample at the first successful point inside
	// its ball, instead of looking for the nearest.
	Within bool
	// Starts are points from where to begin, such as samples of other classes:
	// the first that succeeds is taken. Without one, as without Starts, it
	// begins at a random point of the box, which rarely is of a given target.
	Starts *tensor.Tensor
}

// Limits of the authors' code: answers for one gradient, and random points
// tried for a start.
const (
	hopMost   = 10_000
	hopStarts = 10_000
)

// Perturb returns for each sample the closest successful point if it lies in
// the ball, else the sample itself.
func (a HopSkipJump) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	if err := only(b, "hopskipjump", Linf, L2); err != nil {
		return nil, err
	}
	found := b.nearest()
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		h := &hop{
			HopSkipJump: a, found: found, row: row, origin: b.X.Row(row), ask: ask,
			rng: b.stream("hopskipjump", row, 0), left: or(a.Queries, 5000),
		}
		h.run()
	})
	if err != nil {
		return nil, err
	}
	return found.inside(), nil
}

// hop is the search of one sample.
type hop struct {
	HopSkipJump
	found  *nearest
	row    int
	origin []float32
	ask    ask
	rng    *rand.Rand
	left   int  // queries
	over   bool // out of queries, or of use
}

// run walks until the queries are spent.
func (h *hop) run() {
	if h.wins(h.origin) || h.over {
		return
	}
	x := h.start()
	for t := 1; !h.over; t++ {
		x = h.descend(x)
		away := h.found.distance(h.row, x)
		if h.over || away == 0 {
			return
		}
		direction := h.gradient(x, h.reach(t, away), min(int(float64(or(h.First, 100))*math.Sqrt(float64(t))), hopMost))
		if h.over {
			return
		}
		x = h.leap(x, direction, away/math.Sqrt(float64(t)))
	}
}

// wins reports whether a point succeeds.
func (h *hop) wins(x []float32) bool {
	won := h.outcomes(x)
	return len(won) > 0 && won[0]
}

// outcomes asks about as many of the points as the queries allow.
func (h *hop) outcomes(points []float32) []bool {
	width := len(h.origin)
	n := min(len(points)/width, h.left)
	if n == 0 || h.over {
		h.over = true
		return nil
	}
	h.left -= n
	z := h.ask(points[:n*width])
	if z == nil {
		h.over = true
		return nil
	}
	won := make([]bool, n)
	for i := range won {
		won[i] = h.found.offer(h.row, points[i*width:(i+1)*width], z.Row(i))
	}
	if h.Within && h.found.size[h.row] <= h.found.b.Eps[h.row] {
		h.over = true
	}
	return won
}

// several is how many points to ask about at once: enough to fill batches when
// few samples are left, and not so many that large samples fill the memory.
func (h *hop) several() int { return min(max((1<<18)/len(h.origin), 1), 32) }

// start is a point that succeeds, drawn towards the sample by halving the
// straight line between them to a thousandth.
func (h *hop) start() []float32 {
	far := h.begin()
	if far == nil {
		h.over = true
		return nil
	}
	x := make([]float32, len(far))
	lo, hi := 0.0, 1.0
	for hi-lo > 1e-3 && !h.over {
		middle := (lo + hi) / 2
		h.blend(x, far, middle)
		if h.wins(x) {
			hi = middle
		} else {
			lo = middle
		}
	}
	h.blend(x, far, hi)
	return x
}

// begin looks for any point that succeeds.
func (h *hop) begin() []float32 {
	if h.Starts != nil {
		for i := range h.Starts.Rows() {
			if h.wins(h.Starts.Row(i)) {
				return h.Starts.Row(i)
			}
			if h.over {
				return nil
			}
		}
	}
	width := len(h.origin)
	for tried, n := 0, 1; tried < hopStarts && !h.over; tried, n = tried+n, min(2*n, h.several()) {
		points := make([]float32, n*width)
		for k := range points {
			lo, hi := h.found.b.Box.At(k % width)
			points[k] = lo + h.rng.Float32()*(hi-lo)
		}
		for i, won := range h.outcomes(points) {
			if won {
				return points[i*width : (i+1)*width]
			}
		}
	}
	return nil
}

// blend writes the point a share of the way from the sample to x.
func (h *hop) blend(out, x []float32, share float64) {
	for j, v := range h.origin {
		out[j] = v + float32(share*(float64(x[j])-float64(v)))
	}
}

// near writes the point of the smaller ball closest to x: for L2 on the straight
// line, for Linf with every element cut.
func (h *hop) near(out, x []float32, radius, away float64) {
	if h.found.b.Norm == L2 {
		h.blend(out, x, radius/away)
		return
	}
	r := float32(radius)
	for j, v := range h.origin {
		out[j] = min(max(x[j], v-r), v+r)
	}
}

// theta is the precision of the walk, relative to the distance.
func (h *hop) theta() float64 {
	d := float64(len(h.origin))
	if h.found.b.Norm == L2 {
		return 1 / (d * math.Sqrt(d))
	}
	return 1 / (d * d)
}

// descend moves a successful point to the boundary, on the side that succeeds.
func (h *hop) descend(x []float32) []float32 {
	away := h.found.distance(h.row, x)
	out := append([]float32(nil), x...)
	middle := make([]float32, len(x))
	// Below float32's precision halving makes no difference.
	enough := away * max(h.theta(), 1e-7)
	for lo, hi := 0.0, away; hi-lo > enough && !h.over; {
		radius := (lo + hi) / 2
		h.near(middle, x, radius, away)
		if h.wins(middle) {
			hi = radius
			copy(out, middle)
		} else {
			lo = radius
		}
	}
	return out
}

// reach is how far around a point at a distance from the sample the t-th
// gradient looks.
func (h *hop) reach(t int, away float64) float64 {
	d := float64(len(h.origin))
	switch {
	case t == 1:
		lo, hi := h.found.b.Box.At(0)
		return 0.1 * float64(hi-lo)
	case h.found.b.Norm == L2:
		return math.Sqrt(d) * h.theta() * away
	}
	return d * h.theta() * away
}

// gradient estimates the direction in which success lies from n points on a
// sphere around x, each weighed with its outcome, 1 or -1, less the mean of all
// (equation 16 of the paper). It is of size 1, for Linf in every element.
func (h *hop) gradient(x []float32, reach float64, n int) []float32 {
	width := len(x)
	weighed, plain := make([]float64, width), make([]float64, width)
	mean, done := 0.0, 0
	for done < n {
		points := make([]float32, min(n-done, h.several())*width)
		for lo := 0; lo < len(points); lo += width {
			h.look(points[lo:lo+width], x, reach)
		}
		won := h.outcomes(points)
		for i, w := range won {
			sign := -1.0
			if w {
				sign = 1
			}
			mean += sign
			for j, v := range x {
				u := (float64(points[i*width+j]) - float64(v)) / reach
				weighed[j] += sign * u
				plain[j] += u
			}
		}
		done += len(won)
		if h.over {
			break
		}
	}
	mean /= float64(max(done, 1))
	if math.Abs(mean) == 1 {
		mean = 0 // all on one side: go there, or away
	}
	g := make([]float32, width)
	for j := range g {
		g[j] = float32(weighed[j] - mean*plain[j])
	}
	size := L2.Size(g)
	for j, v := range g {
		switch {
		case h.found.b.Norm == L2 && usable(size):
			g[j] = float32(float64(v) / size)
		case h.found.b.Norm == Linf && v > 0:
			g[j] = 1
		case h.found.b.Norm == Linf && v < 0:
			g[j] = -1
		}
	}
	return g
}

// look writes a random point on the sphere around x, inside the box: from the
// normal distribution for L2, from the uniform one for Linf.
func (h *hop) look(out, x []float32, reach float64) {
	for j := range out {
		if h.found.b.Norm == L2 {
			out[j] = float32(h.rng.NormFloat64())
		} else {
			out[j] = 2*h.rng.Float32() - 1
		}
	}
	k := float32(reach / L2.Size(out))
	for j, v := range x {
		out[j] = v + k*out[j]
	}
	h.found.b.Box.Clip(out)
}

// leap steps along the direction, halving the step until it succeeds. Where
// none does it stays.
func (h *hop) leap(x, direction []float32, step float64) []float32 {
	out := make([]float32, len(x))
	for range 50 {
		for j, v := range x {
			out[j] = v + float32(step)*direction[j]
		}
		h.found.b.Box.Clip(out)
		if h.wins(out) {
			return out
		}
		if h.over {
			break
		}
		step /= 2
	}
	return x
}
