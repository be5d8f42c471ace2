package certify

import (
	"context"
	"math"
)

// share gives every row the same slopes and region.
func (p *pass) share(s *slopes, g *region) {
	p.entitle(s)
	for range p.rows {
		p.belongs(0, g, 0)
	}
}

// own gives every row lower slopes of its own, which begin as those it shares.
func (p *pass) own(target int) {
	s := &slopes{make([][]float64, len(p.s.low)), p.s.up, p.s.shift}
	for k, v := range p.n.relus {
		if v > target {
			break
		}
		size := p.n.nodes[v].size
		s.low[k] = make([]float64, p.rows*size)
		for r := range p.rows {
			copy(s.low[k][r*size:(r+1)*size], p.s.low[k][p.low[r]*size:])
		}
	}
	for r := range p.rows {
		p.low[r] = r
	}
	p.s = s
}

// rates of the ascent: for slopes and for the multipliers of splits, as Wang et
// al. 2021 (arXiv 2103.06624) have them, falling by a fiftieth each round.
const (
	slopeRate = 0.1
	betaRate  = 0.05
	rateDecay = 0.98
)

// ascend improves each row's own slopes, and the multipliers of its splits, by
// gradient ascent on its bound (Xu et al. 2020, arXiv 2011.13824), and enters
// the best bound that each had: one holds for any slopes and multipliers. It
// ends early when every bound is more than enough.
func (p *pass) ascend(ctx context.Context, target, rounds int, enough float64, best []float64) {
	bound := make([]float64, p.rows)
	m, v := make([][]float64, len(p.s.low)), make([][]float64, len(p.s.low))
	for k, low := range p.s.low {
		m[k], v[k] = make([]float64, len(low)), make([]float64, len(low))
	}
	for i := range best {
		best[i] = math.Inf(-1)
	}
	for t := 0; ; t++ {
		p.back(target, bound)
		open := false
		for r, b := range bound {
			best[r] = math.Max(best[r], b)
			open = open || best[r] <= enough
		}
		if t == rounds || !open || ctx.Err() != nil {
			return
		}
		p.forth(target)
		decay := math.Pow(rateDecay, float64(t))
		p.climb(target, m, v, adamAt(t+1, slopeRate*decay), adamAt(t+1, betaRate*decay))
	}
}

func (p *pass) climb(target int, m, v [][]float64, slope, beta adam) {
	for k, node := range p.n.relus {
		if node > target || !p.have[node] {
			continue
		}
		size := p.n.nodes[node].size
		h := p.value[p.n.nodes[node].terms[0].from]
		for r := range p.rows {
			lo, hi := r*size, (r+1)*size
			climbSlopes(p.s.row(k, size, p.low[r], p.domain[r]), m[k][lo:hi], v[k][lo:hi], p.coef[node][lo:hi], h[lo:hi], slope)
		}
	}
	for r := range p.splits {
		for i := range p.splits[r] {
			s := &p.splits[r][i]
			node := p.n.relus[s.layer]
			from := p.n.nodes[node].terms[0].from
			if !p.have[node] {
				continue
			}
			h := p.value[from][r*p.n.nodes[node].size+s.neuron]
			s.beta = math.Max(0, beta.climb(s.beta, -s.sign*h, &s.m, &s.v))
		}
	}
}
