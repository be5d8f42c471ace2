package certify

import (
	"context"
	"math"
	"slices"
)

// part is a piece of the input box with bounds of the ReLUs' inputs, those of
// the piece it was cut from until it is bounded itself.
type part struct {
	g      *region
	lo, hi [][]float64 // by ReLU layer
	cases  []int       // not proved yet
}

// partBatch is how many parts are taken together, partChunk how many go through
// the bounds at once.
const (
	partBatch = 128
	partChunk = 16
)

// splitInputs proves one goal of each case by cutting the box in two, again and
// again, always on the pieces that were cut last, which keeps them few.
func (n *Network) splitInputs(ctx context.Context, g *region, cases [][]goal, s settings) (bool, error) {
	s.rounds = 0
	a, err := n.analyse(ctx, g, s, nil)
	if err != nil {
		return false, err
	}
	first := &part{g: g}
	for _, v := range n.relus {
		from := n.nodes[v].terms[0].from
		first.lo, first.hi = append(first.lo, a.lo[from]), append(first.hi, a.hi[from])
	}
	for i := range cases {
		first.cases = append(first.cases, i)
	}
	open := []*part{first}
	for done := 0; len(open) > 0; {
		count := min(len(open), partBatch)
		batch := open[len(open)-count:]
		pieces := make([][]*part, count)
		stuck := make([]bool, (count+partChunk-1)/partChunk)
		err := parallel(ctx, s.threads, len(stuck), func() func(int) {
			c := &cutter{n: n, p: newPass(n), cases: cases, float32: a.float32}
			return func(job int) {
				lo := job * partChunk
				hi := min(lo+partChunk, count)
				stuck[job] = !c.cut(batch[lo:hi], pieces[lo:hi])
			}
		})
		if err != nil {
			return false, err
		}
		if slices.Contains(stuck, true) {
			return false, nil
		}
		open = open[:len(open)-count]
		for _, c := range pieces {
			open = append(open, c...)
		}
		done += count
		s.progress(done, len(open))
	}
	return true, nil
}

// cutter bounds parts together and cuts those that are not proved.
type cutter struct {
	n       *Network
	p       *pass
	cases   [][]goal
	float32 bool

	parts []*part
	s     *slopes
	most  [][]float64 // magnitudes of every value on each part
	// share is, by ReLU layer, part and neuron, how much of the width of the
	// neuron's linear bound comes from each input.
	share [][]float64
}

// cut reports false if a part that is not proved is too small to be cut.
func (c *cutter) cut(parts []*part, pieces [][]*part) bool {
	c.parts = parts
	c.bound()
	n, p, out := c.n, c.p, len(c.n.nodes)-1
	var rows []*goal
	var of []int
	for i, t := range parts {
		for _, k := range t.cases {
			for j := range c.cases[k] {
				rows, of = append(rows, &c.cases[k][j]), append(of, i)
			}
		}
	}
	seeds := p.start(out, len(rows))
	p.entitle(c.s)
	for r, g := range rows {
		copy(seeds[r*n.Outputs():], g.w)
		p.offset[r] = g.b
		p.belongs(of[r], parts[of[r]].g, of[r])
	}
	bound := make([]float64, len(rows))
	p.back(out, bound)
	r := 0
	for i, t := range parts {
		var left []int
		guide := -1 // the row of the goal that is furthest from being proved
		for _, k := range t.cases {
			best := r
			for range c.cases[k] {
				if bound[r] > bound[best] {
					best = r
				}
				r++
			}
			if bound[best] > 0 {
				continue
			}
			left = append(left, k)
			if guide < 0 || bound[best] < bound[guide] {
				guide = best
			}
		}
		if left == nil {
			continue
		}
		if pieces[i] = t.halves(c.influence(i, guide), left); pieces[i] == nil {
			return false
		}
	}
	return true
}

// influence scores the inputs by what cutting them can do for a row: an input
// has its share in the width of the row's linear bound, and in the widths of
// the neurons whose relaxation makes that bound loose.
func (c *cutter) influence(i, row int) []float64 {
	in := c.n.Inputs()
	g := c.parts[i].g
	score := make([]float64, in)
	for j, v := range c.p.coef[0][row*in : (row+1)*in] {
		score[j] = math.Abs(v) * g.radius[j]
	}
	for k, v := range c.n.relus {
		if !c.p.have[v] {
			continue
		}
		size := c.n.nodes[v].size
		x := c.s.row(k, size, i, i)
		for q, coef := range c.p.coef[v][row*size : (row+1)*size] {
			if x.shift[q] == 0 || coef == 0 {
				continue
			}
			loose := -coef * x.shift[q]
			if coef > 0 {
				loose = coef * math.Min(c.parts[i].hi[k][q], -c.parts[i].lo[k][q])
			}
			for j, s := range c.share[k][(i*size+q)*in : (i*size+q+1)*in] {
				score[j] += loose * s
			}
		}
	}
	return score
}

// halves cuts a part in two across the input of the highest score.
func (t *part) halves(score []float64, cases []int) []*part {
	at, mid := -1, 0.0
	for j, s := range score {
		m := t.g.lo[j] + (t.g.hi[j]-t.g.lo[j])/2
		if m > t.g.lo[j] && m < t.g.hi[j] && (at < 0 || s > score[at]) {
			at, mid = j, m
		}
	}
	if at < 0 {
		return nil
	}
	lo, hi := slices.Clone(t.g.lo), slices.Clone(t.g.hi)
	lo[at], hi[at] = mid, mid
	return []*part{
		{boxed(t.g.lo, hi), t.lo, t.hi, cases},
		{boxed(lo, t.g.hi), t.lo, t.hi, cases},
	}
}

// bound bounds the inputs of all ReLUs on each part, with the slack that
// rounding needs there.
func (c *cutter) bound() {
	n, k := c.n, len(c.n.relus)
	c.s = &slopes{make([][]float64, k), make([][]float64, k), make([][]float64, k)}
	c.share = make([][]float64, k)
	c.most = make([][]float64, len(n.nodes))
	c.p.slack = make([][]float64, len(n.nodes))
	for v := range n.nodes {
		size := n.nodes[v].size * len(c.parts)
		c.most[v], c.p.slack[v] = make([]float64, size), make([]float64, size)
		switch {
		case v == 0:
			c.input()
		case n.nodes[v].relu:
			c.relu(v)
		default:
			c.affine(v)
			if n.feeds[v] {
				c.refine(v)
			}
		}
	}
}

func (c *cutter) input() {
	in := c.n.Inputs()
	for i, t := range c.parts {
		for j := range in {
			c.most[0][i*in+j] = math.Max(math.Abs(t.g.lo[j]), math.Abs(t.g.hi[j]))
		}
	}
	c.n.inputSlack(c.p.slack[0], c.most[0])
}

func (c *cutter) affine(v int) {
	d := &c.n.nodes[v]
	most := c.most[v]
	for i := range c.parts {
		copy(most[i*d.size:], d.biasSize)
	}
	for t, from := range d.terms {
		if from.op == nil {
			for i, x := range c.most[from.from] {
				most[i] += x
			}
			continue
		}
		c.n.abs[v][t].forward(most, c.most[from.from], len(c.parts), &c.p.w)
	}
	unit := c.n.unit(v, c.float32)
	for i, x := range most {
		c.p.slack[v][i] = outward(unit * (x + tiny))
		most[i] = outward(x) + c.p.slack[v][i]
	}
}

func (c *cutter) relu(v int) {
	d := &c.n.nodes[v]
	k, from := c.n.ordinal[v], d.terms[0].from
	for _, w := range []*[][]float64{&c.s.low, &c.s.up, &c.s.shift} {
		(*w)[k] = make([]float64, len(c.parts)*d.size)
	}
	for i, t := range c.parts {
		r := c.s.row(k, d.size, i, i)
		for j := range d.size {
			lo, hi := t.lo[k][j], t.hi[k][j]
			relax(r, j, lo, hi)
			at := i*d.size + j
			c.most[v][at] = math.Max(hi, 0)
			c.p.slack[v][at] = c.n.reluSlack(v, lo, hi)
			c.most[from][at] = math.Min(c.most[from][at], math.Max(hi, -lo))
		}
	}
}

// refine bounds the inputs of a ReLU that may have either sign on a part.
func (c *cutter) refine(target int) {
	n, p := c.n, c.p
	k := -1
	for q, v := range n.relus {
		if n.nodes[v].terms[0].from == target {
			k = q
		}
	}
	size, in := n.nodes[target].size, n.Inputs()
	c.share[k] = make([]float64, len(c.parts)*size*in)
	type ask struct{ part, neuron int }
	var rows []ask
	for i, t := range c.parts {
		for j, lo := range t.lo[k] {
			if lo < 0 && t.hi[k][j] > 0 {
				rows = append(rows, ask{i, j})
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	seeds := p.start(target, 2*len(rows))
	p.entitle(c.s)
	for r, q := range rows {
		seeds[2*r*size+q.neuron], seeds[(2*r+1)*size+q.neuron] = 1, -1
		for range 2 {
			p.belongs(q.part, c.parts[q.part].g, q.part)
		}
	}
	bound := make([]float64, 2*len(rows))
	p.back(target, bound)
	for _, t := range c.parts { // the part it was cut from keeps its own
		t.lo, t.hi = slices.Clone(t.lo), slices.Clone(t.hi)
		t.lo[k], t.hi[k] = slices.Clone(t.lo[k]), slices.Clone(t.hi[k])
	}
	for r, q := range rows {
		t := c.parts[q.part]
		t.lo[k][q.neuron] = math.Max(t.lo[k][q.neuron], bound[2*r])
		t.hi[k][q.neuron] = math.Min(t.hi[k][q.neuron], -bound[2*r+1])
		c.shares(c.share[k][(q.part*size+q.neuron)*in:][:in], p.coef[0][2*r*in:][:2*in], t.g.radius)
	}
}

// shares is how much each input contributes to the width between two linear
// bounds, out of one.
func (c *cutter) shares(out, coef, radius []float64) {
	total := 0.0
	for j, r := range radius {
		out[j] = (math.Abs(coef[j]) + math.Abs(coef[len(radius)+j])) * r
		total += out[j]
	}
	for j := range out {
		out[j] /= math.Max(total, math.SmallestNonzeroFloat64)
	}
}
