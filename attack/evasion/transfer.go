package evasion

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var difgsm = &Spec{
	Name:      "di-mifgsm",
	Doc:       "Momentum iterative method with diverse inputs\n\nTakes each gradient at the image shrunk and shifted at random; made to transfer to other models. Images only.",
	Paper:     "Xie et al. 2019, arXiv 1803.06978",
	Technique: evade,
	Access:    model.WhiteBox,
	Images:    true,
	New: func(s Settings) Attack {
		return Transfer{Name: "di-mifgsm", Steps: s.Steps, Step: s.Step, Momentum: 1, Diversity: 0.5}
	},
}

var tifgsm = &Spec{
	Name:      "ti-mifgsm",
	Doc:       "Momentum iterative method, translation-invariant\n\nSmooths each gradient with a Gaussian, as if the image had been shifted every way, on images of eight pixels and more; made to transfer to other models. Images only.",
	Paper:     "Dong et al. 2019, arXiv 1904.02884",
	Technique: evade,
	Access:    model.WhiteBox,
	Images:    true,
	New: func(s Settings) Attack {
		return Transfer{Name: "ti-mifgsm", Steps: s.Steps, Step: s.Step, Momentum: 1, Kernel: 15}
	},
}

// Transfer is projected ascent on cross-entropy with the means that make a point
// found on one model fool another: momentum, diverse inputs, and smoothed
// gradients, together or alone. Samples are images, [C, H, W] or [H, W, C]. A
// sample is finished at its first successful iterate.
type Transfer struct {
	Name     string // names the random stream
	Steps    int    // 0 means 10
	Step     float64
	Momentum float64 // decay of the accumulated gradient; 0 switches it off
	// Diversity is the probability that a gradient is taken at an image shrunk
	// to between Shrink and all of its size and put at a random place on a
	// background of the lowest value; 0 switches it off.
	Diversity float64
	Shrink    float64 // 0 means 0.9
	// Kernel is the width in pixels of the Gaussian that smooths gradients,
	// whose edge is three standard deviations out; 0 switches it off. It is no
	// wider than a quarter of the image's shorter side: the authors' 15 is for
	// images of 299 pixels.
	Kernel int
}

// Takes reports whether the attack makes sense on samples of a shape.
func (s *Spec) Takes(sample []int) bool { return !s.Images || planeOf(sample).height > 1 }

// Perturb returns the first successful iterate of each sample, or the last. It
// fails where samples are not images.
func (a Transfer) Perturb(ctx context.Context, m model.Scores, b *Batch) (*tensor.Tensor, error) {
	g, err := gradients(m, a.Name)
	if err != nil {
		return nil, err
	}
	p := planeOf(b.X.Shape[1:])
	if p.height == 1 {
		return nil, fmt.Errorf("attack %s is for images, and samples have shape %v: use mifgsm, or give samples as [C, H, W]", a.Name, b.X.Shape[1:])
	}
	steps := or(a.Steps, 10)
	w := walk{b: b, x: b.X.Clone(), out: b.X.Clone(), rows: b.every(), objective: b.objective(model.CrossEntropy)}
	velocity, kernel := tensor.New(b.X.Shape...), gaussian(min(a.Kernel, min(p.height, p.width)/4))
	for i := range steps {
		logits, err := m.Scores(ctx, w.x)
		if err != nil {
			return nil, err
		}
		if w.standing(logits); len(w.rows) == 0 {
			return w.out, nil
		}
		seen, views := w.x.Clone(), make([]view, len(w.rows))
		for slot, row := range w.rows {
			views[slot] = a.look(b.stream(a.Name, row, i), p)
			views[slot].forth(seen.Row(slot), w.x.Row(slot), b.Box)
		}
		_, grad, err := g.Gradient(ctx, seen, w.goal())
		if err != nil {
			return nil, err
		}
		for slot, row := range w.rows {
			d := make([]float32, b.X.RowLen())
			views[slot].back(d, grad.Row(slot))
			p.smooth(d, kernel)
			if a.Momentum > 0 {
				d = accumulate(velocity.Row(row), d, a.Momentum)
			}
			step := Descent{Step: a.Step}.stepSize(b.Eps[row], steps)
			b.Norm.Advance(w.x.Row(slot), b.X.Row(row), d, step, b.Eps[row], b.Box)
		}
	}
	for slot, row := range w.rows {
		copy(w.out.Row(row), w.x.Row(slot))
	}
	return w.out, nil
}

// view is an image as it is shown to the model: shrunk to height by width pixels,
// each its nearest one, at a place on a background.
type view struct {
	plane
	window
}

// look draws a view.
func (a Transfer) look(rng *rand.Rand, p plane) view {
	v := view{p, window{0, 0, p.height, p.width}}
	if a.Diversity <= 0 || rng.Float64() >= a.Diversity {
		return v
	}
	least := orFloat(a.Shrink, 0.9)
	share := least + (1-least)*rng.Float64()
	v.window.height = max(int(share*float64(p.height)), 1)
	v.window.width = max(int(share*float64(p.width)), 1)
	v.top, v.left = rng.IntN(p.height-v.window.height+1), rng.IntN(p.width-v.window.width+1)
	return v
}

// pixels calls do for every element of the view with its place in the image.
func (v view) pixels(do func(seen, at int)) {
	for c := range v.channels {
		for i := range v.window.height {
			for k := range v.window.width {
				do(v.at(c, v.top+i, v.left+k), v.at(c, i*v.plane.height/v.window.height, k*v.plane.width/v.window.width))
			}
		}
	}
}

// forth writes the view of x.
func (v view) forth(seen, x []float32, box Box) {
	for j := range seen {
		seen[j], _ = box.At(j)
	}
	v.pixels(func(to, from int) { seen[to] = x[from] })
}

// back adds the gradient with respect to x, given that with respect to the view.
func (v view) back(d, seen []float32) {
	v.pixels(func(from, to int) { d[to] += seen[from] })
}

// gaussian is a row of weights of sum 1.
func gaussian(n int) []float64 {
	if n < 2 {
		return nil
	}
	k, sum := make([]float64, n), 0.0
	for i := range k {
		z := 3 * (2*float64(i)/float64(n-1) - 1)
		k[i] = math.Exp(-z * z / 2)
		sum += k[i]
	}
	for i := range k {
		k[i] /= sum
	}
	return k
}

// smooth convolves each channel with a kernel, along rows and along columns;
// beyond the image there is nothing.
func (p plane) smooth(d []float32, kernel []float64) {
	if kernel == nil {
		return
	}
	for c := range p.channels {
		for i := range p.height {
			along(d, p.at(c, i, 0), p.dj, p.width, kernel)
		}
		for j := range p.width {
			along(d, p.at(c, 0, j), p.di, p.height, kernel)
		}
	}
}

// along convolves n elements, a stride apart, with a kernel.
func along(d []float32, first, stride, n int, kernel []float64) {
	out := make([]float32, n)
	for i := range out {
		sum := 0.0
		for k, w := range kernel {
			if at := i + k - len(kernel)/2; at >= 0 && at < n {
				sum += w * float64(d[first+at*stride])
			}
		}
		out[i] = float32(sum)
	}
	for i, v := range out {
		d[first+i*stride] = v
	}
}
