package evasion

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Universal makes one perturbation that fools a model on as many samples as it
// can, also on such as it never saw: it is made on one set and measured on
// another, and so it is no [Attack] and not in [All].
//
// By default it is ascent on the mean loss of lots of samples, projected onto
// the ball (Shafahi et al. 2020, arXiv 1811.11304, algorithm 2). Of the two forms
// here it is the stronger and by far the cheaper; Classic is the one published
// first.
type Universal struct {
	Steps int // 0 means 200
	Lot   int // samples that one step looks at; 0 means 100
	// Step is how far a step goes, in units of the input; 0 means a sixteenth of
	// the radius.
	Step float64
	// Classic goes from sample to sample instead and adds, where one still
	// stands, what DeepFool needs to turn it, five times through all of them
	// (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401, algorithm 1). Steps, Lot
	// and Step then mean nothing.
	Classic bool
}

// Fit makes the perturbation, of one sample's length. Its size is at most the
// radius of b's first sample, which is that of all. Whoever applies it adds it to
// a sample and clips the sum to the box. The default form climbs cross-entropy
// and, from the start again, the margin, which does not vanish where the model is
// certain; what fools more of b is kept.
//
// It needs gradients and works in Linf and L2.
func (a Universal) Fit(ctx context.Context, m model.Scores, b *Batch) ([]float32, error) {
	g, err := gradients(m, "universal")
	if err == nil {
		err = only(b, "universal", Linf, L2)
	}
	if err == nil && (b.X.Rows() == 0 || len(b.Eps) == 0) {
		err = errors.New("attack universal has no samples to learn from, or no radius: give both")
	}
	if err != nil {
		return nil, err
	}
	if a.Classic {
		return a.classic(ctx, g, b)
	}
	var best []float32
	most := -1
	for _, loss := range [...]model.Loss{model.CrossEntropy, model.Margin} {
		d, err := a.climb(ctx, g, b, loss)
		if err != nil {
			return nil, err
		}
		n, err := b.turned(ctx, m, func(x []float32, _ int) { displace(x, d, b.Box) })
		if err != nil {
			return nil, err
		}
		if n > most {
			best, most = d, n
		}
	}
	return best, nil
}

// climb is the default form on one loss.
func (a Universal) climb(ctx context.Context, m model.Gradients, b *Batch, loss model.Loss) ([]float32, error) {
	d := make([]float32, b.X.RowLen())
	origin, uphill, room := make([]float32, len(d)), make([]float32, len(d)), b.Box.span()
	deal := b.lots("universal", or(a.Lot, 100))
	for range or(a.Steps, 200) {
		rows, _ := deal()
		x := b.X.Gather(rows)
		for slot := range rows {
			displace(x.Row(slot), d, b.Box)
		}
		clear(uphill)
		err := b.pull(ctx, m, loss, rows, x, func(_ int, g []float32) {
			for j, v := range g {
				uphill[j] += v
			}
		})
		if err != nil {
			return nil, err
		}
		b.Norm.Advance(d, origin, uphill, orFloat(a.Step, b.Eps[0]/16), b.Eps[0], room)
	}
	return d, nil
}

// classic is the form published first.
func (a Universal) classic(ctx context.Context, m model.Gradients, b *Batch) ([]float32, error) {
	const passes = 5
	d := make([]float32, b.X.RowLen())
	origin, room := make([]float32, len(d)), b.Box.span()
	for range passes {
		deal := b.lots("universal classic", 1)
		for range b.X.Rows() {
			rows, _ := deal()
			one := &Batch{X: b.X.Gather(rows), Labels: []int{b.Labels[rows[0]]}, Norm: b.Norm, Box: b.Box,
				Eps: []float64{b.Norm.Size(b.Box.widths(len(d)))}}
			if b.Targets != nil {
				one.Targets = []int{b.Targets[rows[0]]}
			}
			displace(one.X.Row(0), d, b.Box)
			before := one.X.Clone()
			x, err := DeepFool{}.Perturb(ctx, m, one)
			if err != nil {
				return nil, err
			}
			for j, v := range x.Row(0) {
				d[j] += v - before.Data[j]
			}
			b.Norm.Project(d, origin, b.Eps[0], room)
		}
	}
	return d, nil
}

// enough is how large a loss may grow before a sample no longer counts: without
// such a bound the samples that have fallen outweigh those that stand (Shafahi
// et al. 2020, section 3.3, where the bound is 9 too).
const enough = 9

// pull differentiates a loss at x, which stands for some rows of b, and hands out
// the gradient of each row that still counts.
func (b *Batch) pull(ctx context.Context, m model.Gradients, loss model.Loss, rows []int, x *tensor.Tensor, see func(slot int, g []float32)) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	goal := b.objective(loss).Select(rows)
	z, g, err := m.Gradient(ctx, x, goal)
	if err != nil {
		return err
	}
	for slot := range rows {
		if goal.Value(slot, z.Row(slot)) <= enough {
			see(slot, g.Row(slot))
		}
	}
	return nil
}

// turned counts the samples that become what the attack wants once change has
// been done to them.
func (b *Batch) turned(ctx context.Context, m model.Scores, change func(x []float32, row int)) (int, error) {
	goal, n := b.objective(model.Margin), 0
	for lo := 0; lo < b.X.Rows(); lo += chunk {
		hi := min(lo+chunk, b.X.Rows())
		x := b.X.Slice(lo, hi).Clone()
		for row := lo; row < hi; row++ {
			change(x.Row(row-lo), row)
		}
		z, err := m.Scores(ctx, x)
		if err != nil {
			return 0, err
		}
		for row := lo; row < hi; row++ {
			if goal.Reached(row, z.Row(row-lo)) {
				n++
			}
		}
	}
	return n, nil
}

// lots deals out the rows, shuffled, in lots of at most a size, again and again,
// with the randomness that goes with them.
func (b *Batch) lots(attack string, size int) func() ([]int, *rand.Rand) {
	h := fnv.New64a()
	fmt.Fprint(h, attack)
	rng, order := rand.New(rand.NewPCG(b.Seed, h.Sum64())), b.every()
	size = min(size, len(order))
	at := len(order)
	return func() ([]int, *rand.Rand) {
		if at+size > len(order) {
			rng.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
			at = 0
		}
		at += size
		return order[at-size : at], rng
	}
}

// displace adds d to x inside the box.
func displace(x, d []float32, box Box) {
	for j, v := range d {
		x[j] += v
	}
	box.Clip(x)
}

// span is the range of differences between points of the box.
func (b Box) span() Box {
	var s Box
	for j := range max(len(b.Lo), len(b.Hi)) {
		lo, hi := b.At(j)
		s.Lo, s.Hi = append(s.Lo, lo-hi), append(s.Hi, hi-lo)
	}
	return s
}

// widths is how wide the box is at each of n elements.
func (b Box) widths(n int) []float32 {
	w := make([]float32, n)
	for j := range w {
		lo, hi := b.At(j)
		w[j] = hi - lo
	}
	return w
}
