package certify

// slopes are the linear bounds of all ReLUs for a number of domains: by ReLU
// layer, one row a domain. The lower ones may be each row's own.
type slopes struct {
	low, up, shift [][]float64
}

// row is the bounds of layer k for a row whose lower slopes are at place l and
// whose upper ones at place d.
func (s *slopes) row(k, size, l, d int) relaxation {
	return relaxation{s.low[k][l*size : (l+1)*size], s.up[k][d*size : (d+1)*size], s.shift[k][d*size : (d+1)*size]}
}

// split is a decision on a ReLU: h >= 0 where sign is 1, h <= 0 where it is -1,
// with the multiplier that enforces it and the moments of its ascent.
type split struct {
	layer, neuron int
	sign          float64
	beta, m, v    float64
}

// pass is linear functions on their way from one node back to the input: row r
// is a function of the values of the nodes, which a lower bound replaces step
// by step until only the input is left (Zhang et al. 2018, arXiv 1811.00866).
type pass struct {
	n    *Network
	rows int
	// coef holds the coefficients of each row in each node's value, have
	// whether there are any; constant is the rest.
	coef     [][]float64
	have     []bool
	constant []float64
	// offset is what each row begins with.
	offset []float64
	// value holds the point at which each row's bound is attained, as it moves
	// forward through the relaxed network.
	value [][]float64
	w     scratch

	s      *slopes
	low    []int // by row: the place of its lower slopes
	domain []int // by row: the place of its upper slopes
	region []*region
	splits [][]split // by row; nil where there are none
	// slack, by node, holds one row a zone; zone is the row of each of ours.
	slack [][]float64
	zone  []int
	zeros []float64
}

func newPass(n *Network) *pass {
	return &pass{n: n, coef: make([][]float64, len(n.nodes)), have: make([]bool, len(n.nodes)),
		value: make([][]float64, len(n.nodes)), zeros: make([]float64, n.widest)}
}

// start makes room for rows that begin at a node and returns their
// coefficients there, all zero.
func (p *pass) start(target, rows int) []float64 {
	p.rows = rows
	p.constant, p.offset = resized(p.constant, rows), resized(p.offset, rows)
	clear(p.offset)
	c := p.at(target)
	clear(c)
	return c
}

func resized(v []float64, n int) []float64 {
	if cap(v) < n {
		return make([]float64, n)
	}
	return v[:n]
}

func (p *pass) slackOf(v, r int) []float64 {
	size := p.n.nodes[v].size
	return p.slack[v][p.zone[r]*size : (p.zone[r]+1)*size]
}

// entitle empties the lists of what belongs to each row.
func (p *pass) entitle(s *slopes) {
	p.s, p.splits = s, nil
	p.low, p.domain, p.region, p.zone = p.low[:0], p.domain[:0], p.region[:0], p.zone[:0]
}

// belongs gives the next row its slopes, region and slack.
func (p *pass) belongs(domain int, g *region, zone int) {
	p.low, p.domain, p.region, p.zone = append(p.low, domain), append(p.domain, domain), append(p.region, g), append(p.zone, zone)
}

func (p *pass) at(v int) []float64 {
	p.coef[v] = resized(p.coef[v], p.rows*p.n.nodes[v].size)
	return p.coef[v]
}

// back carries the rows from the target to the input and returns their lower
// bounds.
func (p *pass) back(target int, bound []float64) {
	copy(p.constant, p.offset)
	clear(p.have)
	p.have[target] = true
	for v := target; v > 0; v-- {
		switch {
		case !p.have[v]:
		case p.n.nodes[v].relu:
			p.backRelu(v)
		default:
			p.backAffine(v)
		}
	}
	in := p.n.nodes[0].size
	for r := range p.rows {
		bound[r] = p.constant[r]
		if p.have[0] {
			a := p.coef[0][r*in : (r+1)*in]
			bound[r] += p.region[r].least(a) + weigh(a, p.zeros[:in], p.slackOf(0, r))
		}
	}
}

func (p *pass) backAffine(v int) {
	d := &p.n.nodes[v]
	c := p.coef[v]
	for r := range p.rows {
		p.constant[r] += weigh(c[r*d.size:(r+1)*d.size], d.bias, p.slackOf(v, r))
	}
	for _, t := range d.terms {
		to := p.at(t.from)
		switch {
		case t.op == nil && p.have[t.from]:
			for i, x := range c[:p.rows*d.size] {
				to[i] += x
			}
		case t.op == nil:
			copy(to, c)
		default:
			if !p.have[t.from] {
				clear(to)
			}
			t.op.backward(to, c, p.rows, &p.w)
		}
		p.have[t.from] = true
	}
}

func (p *pass) backRelu(v int) {
	d := &p.n.nodes[v]
	k, from := p.n.ordinal[v], d.terms[0].from
	pre, post := p.at(from), p.coef[v]
	for r := range p.rows {
		c := post[r*d.size : (r+1)*d.size]
		p.constant[r] += relaxBack(pre[r*d.size:(r+1)*d.size], c, p.s.row(k, d.size, p.low[r], p.domain[r]), p.have[from])
		p.constant[r] += weigh(c, p.zeros[:d.size], p.slackOf(v, r))
		if p.splits == nil {
			continue
		}
		for _, s := range p.splits[r] {
			if s.layer == k {
				pre[r*d.size+s.neuron] -= s.beta * s.sign
			}
		}
	}
	p.have[from] = true
}

// forth moves the points where the bounds are attained forward, up to the
// target. With the coefficients on the way back they give the gradients of the
// bounds: with respect to a lower slope, the coefficient behind the ReLU times
// the value before it; with respect to a multiplier, the value against the
// split's sign.
func (p *pass) forth(target int) {
	in := p.n.nodes[0].size
	p.value[0] = resized(p.value[0], p.rows*in)
	for r := range p.rows {
		x := p.value[0][r*in : (r+1)*in]
		if !p.have[0] {
			copy(x, p.region[r].centre)
			continue
		}
		p.region[r].worst(x, p.coef[0][r*in:(r+1)*in])
	}
	for v := 1; v < target; v++ {
		if !p.have[v] {
			continue
		}
		d := &p.n.nodes[v]
		p.value[v] = resized(p.value[v], p.rows*d.size)
		if d.relu {
			h := p.value[d.terms[0].from]
			k := p.n.ordinal[v]
			for r := range p.rows {
				lo, hi := r*d.size, (r+1)*d.size
				relaxForward(p.value[v][lo:hi], h[lo:hi], p.coef[v][lo:hi], p.s.row(k, d.size, p.low[r], p.domain[r]))
			}
			continue
		}
		p.affineForth(v)
	}
}

func (p *pass) affineForth(v int) {
	d := &p.n.nodes[v]
	out := p.value[v]
	for r := range p.rows {
		copy(out[r*d.size:(r+1)*d.size], d.bias)
	}
	for _, t := range d.terms {
		if t.op == nil {
			for i, x := range p.value[t.from] {
				out[i] += x
			}
			continue
		}
		t.op.forward(out, p.value[t.from], p.rows, &p.w)
	}
}
