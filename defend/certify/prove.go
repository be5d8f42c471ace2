package certify

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

// Method is how hard to try.
type Method int

const (
	// Complete bounds with optimised slopes and then splits inputs or ReLUs
	// until everything is proved or the context ends.
	Complete Method = iota
	// CROWN is linear bounds carried back from the output, without splitting.
	CROWN
	// IBP is interval arithmetic.
	IBP
)

func (m Method) String() string { return [...]string{"complete", "crown", "ibp"}[m] }

// Options of a proof; the zero value works.
type Options struct {
	Method  Method
	Threads int // 0 means all processors
	// Real proves what holds for the network of real numbers only. Otherwise
	// a proof also covers every evaluation in float32, in any order of
	// summation, of the graph as it is: bounds are widened by the largest
	// error there can be.
	Real bool
	// Progress is told how many domains were bounded and how many are left;
	// nil is silence. It is called from one goroutine at a time.
	Progress func(done, open int)
}

// settings are options with their defaults.
type settings struct {
	method  Method
	threads int
	real    bool
	rounds  int // of improving the slopes of intermediate bounds
	// enough is the bound at which a goal is no longer improved.
	enough   float64
	progress func(done, open int)
}

func (o Options) settings() settings {
	s := settings{method: o.Method, threads: o.Threads, real: o.Real, progress: o.Progress}
	if s.threads <= 0 {
		s.threads = runtime.GOMAXPROCS(0)
	}
	if s.method == Complete {
		s.rounds = 20
	}
	if s.progress == nil {
		s.progress = func(int, int) {}
	}
	return s
}

// lowDimensional is up to how many inputs splitting them is tried instead of
// splitting ReLUs.
const lowDimensional = 12

// goal is a linear function of the outputs that is to be proved positive over
// a region: w . y + b > 0. One goal of each case is enough.
type goal struct {
	w []float64
	b float64
}

// Prove reports whether it is proved that a property holds: that no input of
// any case's box gives outputs that satisfy the case's constraints. False means
// that there is no proof, not that the property fails. When the context ends it
// returns what it has, without an error.
func (n *Network) Prove(ctx context.Context, p *vnnlib.Property, o Options) (bool, error) {
	if p.Inputs != n.Inputs() || p.Outputs != n.Outputs() {
		return false, fmt.Errorf("prove: the property has %d inputs and %d outputs, the network %d and %d", p.Inputs, p.Outputs, n.Inputs(), n.Outputs())
	}
	s := o.settings()
	for rest := p.Cases; len(rest) > 0; {
		// Cases over the same box share their bounds.
		same := func(c vnnlib.Case) bool { return slices.Equal(c.Lo, rest[0].Lo) && slices.Equal(c.Hi, rest[0].Hi) }
		var cases [][]goal
		var others []vnnlib.Case
		for _, c := range rest {
			if same(c) {
				cases = append(cases, goals(c))
			} else {
				others = append(others, c)
			}
		}
		lo, hi := slices.Clone(rest[0].Lo), slices.Clone(rest[0].Hi)
		for i := range lo { // the network may see its input rounded
			lo[i], hi[i] = math.Min(lo[i], float64(float32(lo[i]))), math.Max(hi[i], float64(float32(hi[i])))
		}
		proved, err := n.prove(ctx, boxed(lo, hi), cases, s)
		if err != nil && ctx.Err() == nil {
			return false, err
		}
		if !proved || ctx.Err() != nil {
			return false, nil
		}
		rest = others
	}
	return true, nil
}

// goals negates the constraints of a case: one that cannot hold is a proof.
func goals(c vnnlib.Case) []goal {
	var out []goal
	for i, w := range c.W {
		g := goal{make([]float64, len(w)), -c.B[i]}
		for j, v := range w {
			g.w[j] = -v
		}
		out = append(out, g)
	}
	return out
}

func (n *Network) prove(ctx context.Context, g *region, cases [][]goal, s settings) (bool, error) {
	if s.method == Complete && n.Inputs() <= lowDimensional && g.ball == nil {
		return n.splitInputs(ctx, g, cases, s)
	}
	// Three degrees of effort for what lies between input and output: interval
	// arithmetic costs next to nothing and is often enough.
	var a *analysis
	for _, step := range []settings{{method: IBP}, {method: CROWN}, {method: Complete, rounds: s.rounds}} {
		if step.method != IBP && s.method == IBP || step.method == Complete && s.method != Complete {
			return false, nil
		}
		step.threads, step.real = s.threads, s.real
		var err error
		if a, err = n.analyse(ctx, g, step, a); err != nil {
			return false, err
		}
		bounds, err := a.goals(ctx, cases, s)
		if err != nil {
			return false, err
		}
		open := unproved(cases, bounds)
		if len(open) == 0 {
			return true, nil
		}
		if step.method == Complete {
			return a.splitReLUs(ctx, open, s)
		}
	}
	return false, nil
}

// unproved is, for each case none of whose goals is proved, the one nearest to
// it.
func unproved(cases [][]goal, bounds [][]float64) []*branch {
	var open []*branch
	for i, b := range bounds {
		best := 0
		for j := range b {
			if b[j] > b[best] {
				best = j
			}
		}
		if !(b[best] > 0) {
			open = append(open, &branch{goal: &cases[i][best], bound: b[best]})
		}
	}
	return open
}

// goals are lower bounds of every goal of every case.
func (a *analysis) goals(ctx context.Context, cases [][]goal, s settings) ([][]float64, error) {
	var all []goal
	for _, c := range cases {
		all = append(all, c...)
	}
	out := len(a.n.nodes) - 1
	var bound []float64
	if s.method == IBP {
		bound = make([]float64, len(all))
		centre, radius := make([]float64, a.n.Outputs()), make([]float64, a.n.Outputs())
		for i := range centre {
			centre[i], radius[i] = middle(a.lo[out][i], a.hi[out][i])
		}
		for r, g := range all {
			bound[r] = weigh(g.w, centre, radius) - gamma(len(g.w)+64, unit64)*weigh(magnitudes(g.w), magnitudes(centre), radius) + g.b
		}
	} else {
		rounds := 0
		if s.method == Complete {
			rounds = 50
		}
		var err error
		bound, err = a.rows(ctx, out, len(all), a.slopes(out), rounds, s.enough, func(p *pass, c []float64, first, count int) {
			for r := range count {
				copy(c[r*a.n.Outputs():], all[first+r].w)
				p.offset[r] = all[first+r].b
			}
		})
		if err != nil {
			return nil, err
		}
	}
	var split [][]float64
	for _, c := range cases {
		split = append(split, bound[:len(c)])
		bound = bound[len(c):]
	}
	return split, nil
}
