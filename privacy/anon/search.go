package anon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// ErrNoSolution says that even the coarsest table breaks its promises.
var ErrNoSolution = errors.New("no solution")

// budget bounds a search. The zero value searches until it is done.
type budget struct {
	Steps   int64         // groupings of the table, 0 for as many as it takes
	Time    time.Duration // 0 for as long as it takes
	Workers int           // 0 for one a processor
}

// Found is how a search ended.
type Found struct {
	Levels     []int   // of each quasi-identifier
	Value      float64 // of the metric
	Lower      float64 // no generalisation is better than this
	Optimal    bool    // none is better than Value
	Checked    int64   // groupings that were looked at
	Lattice    float64 // generalisations there are
	Suppressed int64   // rows
}

// String is the verdict in words.
func (f *Found) String() string {
	if f.Optimal {
		return "optimal: yes"
	}
	return fmt.Sprintf("heuristic: best found; no better than %.6g known", f.Lower)
}

// huge is a lattice that is searched greedily before it is searched in full.
const huge = 1 << 17

// search is a branch and bound over the lattice: axis after axis is set to each of
// its levels, from the finest on, and the classes of a coarser level are merged
// from those of the finer one, never from rows. A branch is left when what it loses
// already exceeds the best found, for coarser tables never lose less; and when too
// many rows lie in too small classes although everything that is not set yet is
// merged, for finer tables never have larger classes. What is left is proved to
// hold nothing better, so that the search is exact unless its budget ends.
type search struct {
	*space
	metric   *Metric
	levels   [][]float64 // losses of each axis at each level
	claims   []atomic.Bool
	second   int // levels of the second axis
	steps    atomic.Int64
	most     int64
	stop     atomic.Bool
	progress func(done, all int64)

	mu    sync.Mutex
	best  Found
	bound atomic.Uint64 // bits of best.Value
	lower float64       // of what was left out
}

// worker has room for each depth: two groupings, since a level is merged from the
// one before.
type worker struct {
	scratch
	room   [][2]grouping
	levels []int
	losses []float64
	passes []bool
}

// optimise finds the generalisation that loses least.
func (s *space) optimise(ctx context.Context, metric *Metric, b budget, progress func(done, all int64)) (*Found, error) {
	x := newSearch(s, metric, b, progress)
	if err := x.top(); err != nil {
		return nil, err
	}
	search := ctx
	if b.Time > 0 {
		var cancel context.CancelFunc
		search, cancel = context.WithTimeout(ctx, b.Time)
		defer cancel()
	}
	if x.best.Lattice > huge {
		x.descendGreedily(search)
	}
	x.run(search, cmp.Or(b.Workers, runtime.GOMAXPROCS(0)))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if x.best.Levels == nil {
		if math.IsInf(x.lower, 1) {
			return nil, fmt.Errorf("%w: no generalisation keeps the promises with at most %d of %d rows suppressed, and some left: ask for less, or allow more suppression", ErrNoSolution, x.limit, x.rows)
		}
		return nil, fmt.Errorf("%w: the search found no solution within its budget: raise steps or seconds under search", redoubt.ErrUndecided)
	}
	x.best.Checked = x.steps.Load()
	x.best.Lower = min(x.best.Value, x.lower)
	x.best.Optimal = x.best.Lower == x.best.Value
	return &x.best, nil
}

func newSearch(s *space, metric *Metric, b budget, progress func(done, all int64)) *search {
	x := &search{space: s, metric: metric, most: b.Steps, progress: progress, lower: math.Inf(1)}
	if x.most <= 0 {
		x.most = math.MaxInt64
	}
	x.best.Value, x.best.Lattice = math.Inf(1), 1
	x.bound.Store(math.Float64bits(math.Inf(1)))
	for i := range s.axes {
		x.best.Lattice *= float64(s.axes[i].max - s.axes[i].min + 1)
		x.levels = append(x.levels, make([]float64, s.axes[i].h.Levels()))
		for l := range x.levels[i] {
			if metric.level != nil {
				x.levels[i][l] = metric.level(s, i, l)
			}
		}
	}
	return x
}

// top tries the coarsest table, and says what is wrong with it.
func (x *search) top() error {
	levels := make([]int, len(x.axes))
	for i := range levels {
		levels[i] = x.axes[i].max
	}
	var w scratch
	if _, ok := x.try(&w, levels); ok {
		return nil
	}
	g, _ := x.at(&w, levels)
	if x.absorbing() || x.limit == 0 {
		return fmt.Errorf("%w: even the coarsest table (%s) breaks its promises: %s", ErrNoSolution, x.describe(levels), x.complain(g))
	}
	return nil // with suppression, a finer one may still pass
}

// absorbing tells whether coarser tables never suppress more.
func (s *space) absorbing() bool {
	return !slices.ContainsFunc(s.tests, func(t promise) bool { return !t.absorbs })
}

// complain says which tests how many classes fail.
func (s *space) complain(g *grouping) string {
	text := ""
	for i := range s.tests {
		failed, rows, worst := 0, int64(0), math.NaN()
		for id := range g.rep {
			c := alike{Count: g.count[id]}
			if g.pop != nil {
				c.Population = g.pop[id]
			}
			for k := range g.sensitive {
				c.Sensitive = append(c.Sensitive, g.sensitive[k].of(id))
			}
			if v, ok := s.tests[i].keeps(&c); !ok {
				failed, rows, worst = failed+1, rows+c.Count, v
			}
		}
		if failed > 0 {
			text += fmt.Sprintf("%s fails in %d of %d classes with %d rows (%.4g, for one); ", s.tests[i].Spec.Model, failed, len(g.rep), rows, worst)
		}
	}
	return text + fmt.Sprintf("at most %d of %d rows may be suppressed: ask for less, allow more suppression, or name fewer quasi-identifiers", s.limit, s.rows)
}

// try looks at one generalisation, grouping the tuples afresh.
func (x *search) try(w *scratch, levels []int) (float64, bool) {
	x.steps.Add(1)
	g, _ := x.at(w, levels)
	passes := make([]bool, len(g.rep))
	lost, ok := x.judge(g, passes)
	if !ok {
		return 0, false
	}
	losses := make([]float64, len(x.axes))
	for i := range losses {
		losses[i] = x.levels[i][levels[i]]
	}
	v := x.metric.value(x.space, g, levels, losses, passes)
	x.offer(v, levels, lost)
	return v, true
}

// offer keeps the best; of equals the one with the lowest levels, so that the
// answer does not depend on who was first.
func (x *search) offer(v float64, levels []int, lost int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := func(levels []int) (n int) {
		for _, l := range levels {
			n += l
		}
		return n
	}
	order := cmp.Compare(v, x.best.Value)
	if order == 0 {
		order = cmp.Or(cmp.Compare(sum(levels), sum(x.best.Levels)), slices.Compare(levels, x.best.Levels))
	}
	if order < 0 {
		x.best.Value, x.best.Levels, x.best.Suppressed = v, slices.Clone(levels), lost
		x.bound.Store(math.Float64bits(v))
	}
}

// descendGreedily goes from the coarsest table downwards, first by the best step
// each time, then a few times at random: on a lattice that may be too large to
// finish, this finds something good at once.
func (x *search) descendGreedily(ctx context.Context) {
	var w scratch
	r := rand.New(rand.NewPCG(1, 2)) // which way to look first, nothing secret
	const restarts = 8
	for round := range restarts {
		levels := make([]int, len(x.axes))
		for i := range levels {
			levels[i] = x.axes[i].max
		}
		value := math.Inf(1)
		for {
			next, lowest := -1, value
			for _, i := range r.Perm(len(levels)) {
				if ctx.Err() != nil || x.steps.Load() >= x.most/2 {
					return
				}
				if levels[i] == x.axes[i].min {
					continue
				}
				levels[i]--
				v, ok := x.try(&w, levels)
				levels[i]++
				if ok && v < lowest {
					next, lowest = i, v
					if round > 0 {
						break
					}
				}
			}
			if next < 0 {
				break
			}
			levels[next]--
			value = lowest
		}
	}
}

// run shares the branches out by their first two levels.
func (x *search) run(ctx context.Context, workers int) {
	first, second := x.axes[0].max-x.axes[0].min+1, 1
	if len(x.axes) > 1 {
		second = x.axes[1].max - x.axes[1].min + 1
	}
	x.second, x.claims = second, make([]atomic.Bool, first*second)
	defer context.AfterFunc(ctx, func() { x.stop.Store(true) })()
	var wg sync.WaitGroup
	for range max(1, workers) {
		wg.Go(func() {
			w := &worker{room: make([][2]grouping, len(x.axes)), levels: make([]int, len(x.axes)), losses: make([]float64, len(x.axes))}
			for i := range w.levels {
				w.levels[i] = x.axes[i].min
				w.losses[i] = x.levels[i][x.axes[i].min]
			}
			x.branch(w, x.base(), 0, x.limitOf(w, nil))
		})
	}
	wg.Wait()
}

// limitOf is what the branch at hand loses at least.
func (x *search) limitOf(w *worker, g *grouping) float64 {
	if x.metric.level != nil {
		return x.metric.total(x.space, w.losses)
	}
	if g == nil {
		return math.Inf(-1)
	}
	return x.metric.bound(x.space, g, w.levels)
}

func (x *search) beaten(lower float64) bool {
	best := math.Float64frombits(x.bound.Load())
	return lower > best+math.Abs(best)*1e-12
}

// branch tries every level of axis i, given the levels of those before.
func (x *search) branch(w *worker, g *grouping, i int, lower float64) {
	a := &x.axes[i]
	defer func() { w.levels[i], w.losses[i] = a.min, x.levels[i][a.min] }()
	from := *g
	for level, turn := a.min, 0; level <= a.max; level++ {
		w.levels[i], w.losses[i] = level, x.levels[i][level]
		if x.metric.level != nil {
			if lower = x.limitOf(w, nil); x.beaten(lower) {
				return
			}
		}
		if i == min(1, len(x.axes)-1) && x.claims[x.claim(w)].Swap(true) {
			continue
		}
		if x.stop.Load() {
			x.leave(lower)
			continue
		}
		out := &w.room[i][turn]
		if x.count(); !x.step(&w.scratch, &from, out, i, level) {
			continue
		}
		from, turn = *out, 1-turn
		if i == len(x.axes)-1 {
			x.leaf(w, out)
			continue
		}
		below := lower
		if x.metric.level == nil {
			below = x.limitOf(w, out)
			if x.beaten(below) {
				return // higher levels lose no less
			}
		}
		child := *out
		child.parent = out.prefix
		x.branch(w, &child, i+1, below)
	}
}

// claim is the place of the branch among those shared out.
func (x *search) claim(w *worker) int {
	n := w.levels[0] - x.axes[0].min
	if len(x.axes) > 1 {
		n = n*x.second + w.levels[1] - x.axes[1].min
	}
	return n
}

// leave notes that a branch was not searched, and what it loses at least.
func (x *search) leave(lower float64) {
	x.mu.Lock()
	x.lower = min(x.lower, lower)
	x.mu.Unlock()
}

func (x *search) count() {
	n := x.steps.Add(1)
	if n >= x.most {
		x.stop.Store(true)
	}
	if x.progress != nil && n%1024 == 0 {
		x.progress(n, int64(min(x.best.Lattice, math.MaxInt64/2)))
	}
}

// leaf judges a generalisation that is set on every axis.
func (x *search) leaf(w *worker, g *grouping) {
	w.passes = resize(w.passes, len(g.rep))
	if lost, ok := x.judge(g, w.passes); ok {
		x.offer(x.metric.value(x.space, g, w.levels, w.losses, w.passes), w.levels, lost)
	}
}
