package certify

import (
	"context"
	"math"
	"sync"
)

// analysis is what is known of every value of a network over a region.
type analysis struct {
	n      *Network
	region *region
	lo, hi [][]float64 // by node
	// slack, by node and element, bounds what rounding can take away from a
	// linear function for each unit of its coefficient there.
	slack   [][]float64
	float32 bool
	threads int
}

// analyse bounds every value over a region: by interval arithmetic (Gowal et
// al. 2018, arXiv 1810.12715), and, where a ReLU depends on the sign, by
// linear bounds carried back to the input, whose slopes are improved for some
// rounds. Bounds that are known from before, or nil, are kept where they are
// better.
func (n *Network) analyse(ctx context.Context, g *region, o settings, before *analysis) (*analysis, error) {
	count := len(n.nodes)
	a := &analysis{n: n, region: g, lo: make([][]float64, count), hi: make([][]float64, count), slack: make([][]float64, count),
		float32: !o.real, threads: o.threads}
	a.lo[0], a.hi[0] = g.lo, g.hi
	a.slack[0] = make([]float64, len(g.lo))
	most := make([]float64, len(g.lo))
	for i := range most {
		most[i] = math.Max(math.Abs(g.lo[i]), math.Abs(g.hi[i]))
	}
	n.inputSlack(a.slack[0], most)
	for v := 1; v < count; v++ {
		if n.nodes[v].relu {
			a.relu(v)
			continue
		}
		a.affine(v)
		if before != nil {
			for i := range a.lo[v] {
				a.lo[v][i], a.hi[v][i] = math.Max(a.lo[v][i], before.lo[v][i]), math.Min(a.hi[v][i], before.hi[v][i])
			}
		}
		if !n.feeds[v] || o.method == IBP {
			continue
		}
		if err := a.refine(ctx, v, o.rounds); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// tiny stands for what underflow can take away; gamma times it is more than
// the smallest float32 for each product.
const tiny = 1e-30

func (a *analysis) relu(v int) {
	d := &a.n.nodes[v]
	from := d.terms[0].from
	a.lo[v], a.hi[v], a.slack[v] = make([]float64, d.size), make([]float64, d.size), make([]float64, d.size)
	for i := range a.lo[v] {
		lo, hi := a.lo[from][i], a.hi[from][i]
		a.lo[v][i], a.hi[v][i] = math.Max(lo, 0), math.Max(hi, 0)
		a.slack[v][i] = a.n.reluSlack(v, lo, hi)
	}
}

// inputSlack enters the slack of the inputs, of which a last sum is made.
func (n *Network) inputSlack(slack, most []float64) {
	g := gamma(2*n.Inputs()+64, unit64)
	for i, m := range most {
		slack[i] = g * (m + tiny)
	}
}

// reluSlack is the slack of a ReLU: a product with a slope, and one with a
// shift, that are added up.
func (n *Network) reluSlack(v int, lo, hi float64) float64 {
	if hi <= 0 {
		return 0
	}
	return gamma(n.nodes[v].size+64, unit64) * 2 * (math.Max(hi, -lo) + tiny)
}

// unit is the slack of an affine value for each unit of the magnitudes that are
// summed up in it.
func (n *Network) unit(v int, float32 bool) float64 {
	u := gamma(n.sums[v]+64, unit64)
	if float32 {
		u += gamma(n.nodes[v].roundings, unit32)
	}
	return u
}

// affine bounds an affine map by centre and radius, and enters its slack: the
// error of a sum is at most gamma times the sum of the magnitudes (|W| |x| +
// |b|). That holds for the sums of this package, in float64, and for those of a
// runtime, in float32. The latter makes another network of what runs, one whose
// affine values are off by no more than that; all bounds are of such networks.
func (a *analysis) affine(v int) {
	d := &a.n.nodes[v]
	lo, hi, slack := make([]float64, d.size), make([]float64, d.size), make([]float64, d.size)
	radius := make([]float64, d.size)
	copy(lo, d.bias)
	copy(slack, d.biasSize)
	var w scratch
	for t, from := range d.terms {
		size := a.n.nodes[from.from].size
		centre, rad, most := make([]float64, size), make([]float64, size), make([]float64, size)
		for i := range centre {
			l, h := a.lo[from.from][i], a.hi[from.from][i]
			centre[i], rad[i] = middle(l, h)
			most[i] = math.Max(math.Abs(l), math.Abs(h))
		}
		if from.op == nil {
			for i := range centre {
				lo[i] += centre[i]
				radius[i] += rad[i]
				slack[i] += most[i]
			}
			continue
		}
		from.op.forward(lo, centre, 1, &w)
		a.n.abs[v][t].forward(radius, rad, 1, &w)
		a.n.abs[v][t].forward(slack, most, 1, &w)
	}
	unit := a.n.unit(v, a.float32)
	for i, c := range lo {
		slack[i] = outward(unit * (slack[i] + tiny))
		lo[i], hi[i] = c-outward(radius[i])-slack[i], c+outward(radius[i])+slack[i]
	}
	a.lo[v], a.hi[v], a.slack[v] = lo, hi, slack
}

// relax enters the linear bounds of one ReLU over lo <= h <= hi. The upper one
// is raised by a few roundings, so that it holds as written; the lower one
// holds for any slope between 0 and 1, of which this is the one of least area.
func relax(r relaxation, i int, lo, hi float64) {
	switch {
	case hi <= 0:
		r.low[i], r.up[i], r.shift[i] = 0, 0, 0
	case lo >= 0:
		r.low[i], r.up[i], r.shift[i] = 1, 1, 0
	default:
		up := outward(hi / (hi - lo))
		r.up[i], r.shift[i] = up, outward(-up*lo)
		r.low[i] = 0
		if hi > -lo {
			r.low[i] = 1
		}
	}
}

// slopes are the bounds of all ReLUs up to the target, whose inputs are known
// by then.
func (a *analysis) slopes(target int) *slopes {
	k := len(a.n.relus)
	s := &slopes{make([][]float64, k), make([][]float64, k), make([][]float64, k)}
	for k, v := range a.n.relus {
		if v > target {
			break
		}
		size, from := a.n.nodes[v].size, a.n.nodes[v].terms[0].from
		s.low[k], s.up[k], s.shift[k] = make([]float64, size), make([]float64, size), make([]float64, size)
		for i := range size {
			relax(relaxation{s.low[k], s.up[k], s.shift[k]}, i, a.lo[from][i], a.hi[from][i])
		}
	}
	return s
}

// refine bounds the elements of a node that may have either sign. Each has two
// rows, itself and its negative, of which the least is sought.
func (a *analysis) refine(ctx context.Context, target, rounds int) error {
	var rows []int // 2i for element i, 2i+1 for its negative
	for i := range a.lo[target] {
		if a.lo[target][i] < 0 && a.hi[target][i] > 0 {
			rows = append(rows, 2*i, 2*i+1)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	size := a.n.nodes[target].size
	rounds = min(rounds, affordable/(a.n.cost(target)*len(rows)))
	bound, err := a.rows(ctx, target, len(rows), a.slopes(target), rounds, 0, func(_ *pass, c []float64, first, count int) {
		for r := range count {
			c[r*size+rows[first+r]/2] = 1 - 2*float64(rows[first+r]%2)
		}
	})
	if err != nil {
		return err
	}
	for r, b := range bound {
		i := rows[r] / 2
		if rows[r]%2 == 0 {
			a.lo[target][i] = math.Max(a.lo[target][i], b)
		} else {
			a.hi[target][i] = math.Min(a.hi[target][i], -b)
		}
	}
	return nil
}

// affordable is how many multiplications may go into improving the bounds of
// one node: some seconds. Wide convolutional networks get fewer rounds.
const affordable = 1 << 37

// cost is the number of multiplications of a row's way back from a node and
// forth again.
func (n *Network) cost(target int) int {
	total := 1
	for v := range target + 1 {
		for _, t := range n.nodes[v].terms {
			if t.op != nil {
				total += 2 * t.op.cost()
			}
		}
	}
	return total
}

// rows finds lower bounds of linear functions of a node, whose coefficients
// seed puts in place, improving the slopes of each for some rounds or until all
// bounds are more than enough.
func (a *analysis) rows(ctx context.Context, target, rows int, s *slopes, rounds int, enough float64, seed func(p *pass, c []float64, first, count int)) ([]float64, error) {
	bound := make([]float64, rows)
	chunk := a.n.chunk()
	err := parallel(ctx, a.threads, (rows+chunk-1)/chunk, func() func(int) {
		p := newPass(a.n)
		p.slack = a.slack
		return func(job int) {
			first := job * chunk
			count := min(chunk, rows-first)
			seed(p, p.start(target, count), first, count)
			p.share(s, a.region)
			if rounds == 0 {
				p.back(target, bound[first:first+count])
				return
			}
			p.own(target)
			p.ascend(ctx, target, rounds, enough, bound[first:first+count])
		}
	})
	return bound, err
}

// chunk is how many rows go back together: enough to keep the processor busy,
// few enough to stay near it.
func (n *Network) chunk() int { return min(max(1<<18/n.width, 16), 128) }

// parallel does the jobs on a number of threads, each with a worker of its own,
// and stops when the context ends.
func parallel(ctx context.Context, threads, jobs int, worker func() func(job int)) error {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(threads, jobs) {
		wg.Go(func() {
			do := worker()
			for j := range next {
				do(j)
			}
		})
	}
	for j := range jobs {
		if ctx.Err() != nil {
			break
		}
		next <- j
	}
	close(next)
	wg.Wait()
	return ctx.Err()
}
