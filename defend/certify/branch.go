package certify

import (
	"context"
	"math"
)

// branch is a goal under decisions on some ReLUs.
type branch struct {
	goal   *goal
	splits []split
	// low is the lower slopes that the branch inherits, of all ReLUs by layer;
	// nil means those of the analysis.
	low   [][]float32
	bound float64
}

// Branch and bound: how many branches go through the bounds together, and how
// many rounds their slopes and multipliers are improved.
const (
	branchBatch  = 256
	branchRounds = 12
)

// splitReLUs proves the goals of open branches by case distinction on the signs
// of ReLUs (Wang et al. 2021, arXiv 2103.06624), always on the branches that
// were opened last, which keeps them few. It ends when none is left, or with
// the context.
func (a *analysis) splitReLUs(ctx context.Context, open []*branch, s settings) (bool, error) {
	shared := a.slopes(len(a.n.nodes) - 1)
	for done := 0; len(open) > 0; {
		count := min(len(open), branchBatch)
		batch := open[len(open)-count:]
		children := make([][]*branch, count)
		chunk := min(a.n.chunk(), (count+s.threads-1)/s.threads)
		err := parallel(ctx, s.threads, (count+chunk-1)/chunk, func() func(int) {
			p := newPass(a.n)
			p.slack = a.slack
			return func(job int) {
				first := job * chunk
				last := min(first+chunk, count)
				a.bound(ctx, p, batch[first:last], shared)
				if ctx.Err() != nil {
					return
				}
				for r, b := range batch[first:last] {
					if !(b.bound > 0) {
						children[first+r] = a.children(p, r, b)
						if children[first+r] == nil {
							b.bound = math.Inf(-1)
						}
					}
				}
			}
		})
		if err != nil {
			return false, err
		}
		open = open[:len(open)-count]
		for r, c := range children {
			if math.IsInf(batch[r].bound, -1) {
				return false, nil // every ReLU is decided, and the goal not proved
			}
			open = append(open, c...)
		}
		done += count
		s.progress(done, len(open))
	}
	return true, nil
}

// bound bounds the goals of branches together.
func (a *analysis) bound(ctx context.Context, p *pass, batch []*branch, shared *slopes) {
	out := len(a.n.nodes) - 1
	c := p.start(out, len(batch))
	p.share(shared, a.region)
	p.splits = make([][]split, len(batch))
	for r, b := range batch {
		copy(c[r*a.n.Outputs():], b.goal.w)
		p.splits[r] = b.splits
	}
	p.s = a.decided(batch, shared)
	for r := range batch {
		p.low[r], p.domain[r] = r, r
	}
	bound := make([]float64, len(batch))
	for r, b := range batch {
		p.offset[r] = b.goal.b
	}
	p.ascend(ctx, out, branchRounds, 0, bound)
	for r, b := range batch {
		b.bound = math.Max(b.bound, bound[r])
	}
}

// decided is each branch's own slopes: those shared, but for the ReLUs that it
// decided.
func (a *analysis) decided(batch []*branch, shared *slopes) *slopes {
	layers := len(shared.low)
	s := &slopes{make([][]float64, layers), make([][]float64, layers), make([][]float64, layers)}
	for k, v := range a.n.relus {
		size := a.n.nodes[v].size
		s.low[k], s.up[k], s.shift[k] = make([]float64, len(batch)*size), make([]float64, len(batch)*size), make([]float64, len(batch)*size)
		for r, b := range batch {
			copy(s.low[k][r*size:], shared.low[k])
			copy(s.up[k][r*size:], shared.up[k])
			copy(s.shift[k][r*size:], shared.shift[k])
			if b.low != nil {
				for i, x := range b.low[k] {
					s.low[k][r*size+i] = float64(x)
				}
			}
		}
	}
	for r, b := range batch {
		for _, d := range b.splits {
			at := r*a.n.nodes[a.n.relus[d.layer]].size + d.neuron
			on := math.Max(d.sign, 0)
			s.low[d.layer][at], s.up[d.layer][at], s.shift[d.layer][at] = on, on, 0
		}
	}
	return s
}

// children splits the ReLU whose relaxation costs row r the most; nil where
// none is left to decide.
func (a *analysis) children(p *pass, r int, b *branch) []*branch {
	layer, neuron, most := -1, 0, -1.0
	for k, v := range a.n.relus {
		if !p.have[v] {
			continue
		}
		size := a.n.nodes[v].size
		x := p.s.row(k, size, p.low[r], p.domain[r])
		coef := p.coef[v][r*size : (r+1)*size]
		h := p.value[a.n.nodes[v].terms[0].from][r*size : (r+1)*size]
		for i, c := range coef {
			if x.shift[i] == 0 {
				continue
			}
			if s := gap(c, h[i], x, i); s > most {
				layer, neuron, most = k, i, s
			}
		}
	}
	if layer < 0 {
		return nil
	}
	low := make([][]float32, len(p.s.low))
	for k, v := range a.n.relus {
		size := a.n.nodes[v].size
		low[k] = make([]float32, size)
		for i, x := range p.s.low[k][r*size : (r+1)*size] {
			low[k][i] = float32(x)
		}
	}
	var out []*branch
	for _, sign := range []float64{-1, 1} {
		child := &branch{goal: b.goal, low: low, bound: b.bound}
		child.splits = append(append(child.splits, b.splits...), split{layer: layer, neuron: neuron, sign: sign})
		out = append(out, child)
	}
	return out
}

// gap scores the split of a ReLU with coefficient c at the point h where the
// bound is attained.
func gap(c, h float64, x relaxation, i int) float64 {
	if c < 0 {
		return -c * (x.shift[i])
	}
	z := x.low[i] * h
	return c * math.Abs(z-math.Max(h, 0))
}
