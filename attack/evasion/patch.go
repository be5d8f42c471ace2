package evasion

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Patch makes a sticker that fools a model wherever it lies on an image (Brown et
// al. 2017, arXiv 1712.09665): ascent by Adam on the mean loss over images and
// over random places, sizes and turns of the sticker. It is made on one set and
// measured on another, and so it is no [Attack] and not in [All].
//
// Samples are images, [C, H, W] or [H, W, C].
type Patch struct {
	// Share is the part of an image's area that the sticker covers at its
	// largest; 0 means 0.05.
	Share float64
	Round bool // a disc instead of a square
	// Degrees is the largest turn either way; 0 means 22.5.
	Degrees float64
	// Shrink is the smallest side as a share of the largest; 0 means 0.8.
	Shrink float64
	Steps  int     // 0 means 200
	Lot    int     // images that one step looks at, each with a place of its own; 0 means 50
	Rate   float64 // of Adam, as a share of the box's width; 0 means 0.05
}

// Sticker is a picture to be stuck on images.
type Sticker struct {
	Side  float64 // of the square, or diameter of the disc, in pixels of the image at scale 1
	Round bool
	Cells int // along each side of the picture
	// Picture has a plane of Cells x Cells values for each channel of the image.
	Picture []float32
}

// Placement is where a sticker lies: its middle in pixels from the middle of the
// first, its turn, and its side relative to the largest.
type Placement struct {
	Row, Column float64
	Degrees     float64 // counter-clockwise
	Scale       float64
}

// Within reports whether the placement respects the attack's bounds on images of
// a shape: the sticker's middle is on the image.
func (p Placement) Within(a Patch, shape []int) bool {
	q := planeOf(shape)
	return math.Abs(p.Degrees) <= orFloat(a.Degrees, 22.5) && p.Scale >= orFloat(a.Shrink, 0.8) && p.Scale <= 1 &&
		p.Row >= 0 && p.Row <= float64(q.height-1) && p.Column >= 0 && p.Column <= float64(q.width-1)
}

// Check says what is wrong with the settings for images of a shape, nil if
// nothing is.
func (a Patch) Check(shape []int) error {
	share, shrink := orFloat(a.Share, 0.05), orFloat(a.Shrink, 0.8)
	switch {
	case planeOf(shape).height == 1:
		return fmt.Errorf("a patch is for images, and samples have shape %v: give samples as [C, H, W]", shape)
	case !(share > 0 && share <= 0.5):
		return fmt.Errorf("a patch on a share of %v of the image: want more than 0 and at most 0.5", share)
	case !(shrink > 0 && shrink <= 1):
		return fmt.Errorf("a patch shrunk to %v of its side: want more than 0 and at most 1", shrink)
	case !(orFloat(a.Degrees, 22.5) <= 180 && a.Degrees >= 0):
		return fmt.Errorf("a patch turned by %v degrees: want 0 to 180", a.Degrees)
	}
	return nil
}

// Blank is a sticker of the attack's size and shape for images of a shape, with
// random values of the box: what a made one must outdo.
func (a Patch) Blank(rng *rand.Rand, shape []int, box Box) Sticker {
	q := planeOf(shape)
	side := math.Sqrt(orFloat(a.Share, 0.05) * float64(q.height*q.width))
	if a.Round {
		side *= 2 / math.Sqrt(math.Pi)
	}
	s := Sticker{Side: side, Round: a.Round, Cells: max(int(math.Ceil(side)), 1)}
	s.Picture = make([]float32, q.channels*s.Cells*s.Cells)
	for j := range s.Picture {
		lo, hi := s.limits(j, q, box)
		s.Picture[j] = lo + (hi-lo)*rng.Float32()
	}
	return s
}

// Place draws a placement: the sticker, turned, lies wholly on the image where it
// fits, and in the middle where it does not.
func (a Patch) Place(rng *rand.Rand, s Sticker, shape []int) Placement {
	q, shrink := planeOf(shape), orFloat(a.Shrink, 0.8)
	p := Placement{Scale: shrink + (1-shrink)*rng.Float64(), Degrees: orFloat(a.Degrees, 22.5) * (2*rng.Float64() - 1)}
	p.Row = somewhere(rng, q.height, s.reach(p))
	p.Column = somewhere(rng, q.width, s.reach(p))
	return p
}

// somewhere is a coordinate at least reach from both edges of n pixels, which
// stand half a pixel beyond the first and the last.
func somewhere(rng *rand.Rand, n int, reach float64) float64 {
	u, middle := 2*rng.Float64()-1, float64(n-1)/2
	return middle + u*math.Max(float64(n)/2-reach, 0)
}

// reach is how far from its middle the sticker extends along an axis.
func (s Sticker) reach(p Placement) float64 {
	if s.Round {
		return p.Scale * s.Side / 2
	}
	sin, cos := math.Sincos(p.Degrees * math.Pi / 180)
	return p.Scale * s.Side / 2 * (math.Abs(sin) + math.Abs(cos))
}

// limits is the range of the picture's element j: that of its channel's pixels.
func (s Sticker) limits(j int, q plane, box Box) (lo, hi float32) {
	c := j / (s.Cells * s.Cells)
	lo, hi = box.At(q.at(c, 0, 0))
	if len(box.Lo) == 1 && len(box.Hi) == 1 {
		return lo, hi
	}
	for i := range q.height {
		for k := range q.width {
			l, h := box.At(q.at(c, i, k))
			lo, hi = min(lo, l), max(hi, h)
		}
	}
	return lo, hi
}

// Apply sticks the sticker on a copy of an image of a shape. A pixel is covered
// when its middle is, and takes the picture's value there, interpolated
// bilinearly between the middles of the cells and inside the box. It fails where
// shape, image and picture do not fit together, or the placement is none.
func (s Sticker) Apply(x []float32, shape []int, box Box, p Placement) ([]float32, error) {
	q := planeOf(shape)
	if q.height == 1 || tensor.Len(shape) != len(x) {
		return nil, fmt.Errorf("a sticker is for images, and the sample has shape %v and %d elements: give samples as [C, H, W]", shape, len(x))
	}
	if s.Cells < 1 || len(s.Picture) != q.channels*s.Cells*s.Cells {
		return nil, fmt.Errorf("a sticker of %d values does not fit images of shape %v: it needs %d channels of %d x %d", len(s.Picture), shape, q.channels, s.Cells, s.Cells)
	}
	if side, sum := p.Scale*s.Side, p.Row+p.Column+p.Degrees; !(side > 0) || math.IsInf(side, 0) || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return nil, fmt.Errorf("a sticker of side %v at %+v: want a positive scale and finite numbers", s.Side, p)
	}
	out := append([]float32(nil), x...)
	s.stick(out, q, box, p)
	return out, nil
}

// stick is Apply in place.
func (s Sticker) stick(x []float32, q plane, box Box, p Placement) {
	s.cover(q, p, func(i, k int, from [4]int, weight [4]float64) {
		for c := range q.channels {
			sum := 0.0
			for n, cell := range from {
				sum += weight[n] * float64(s.Picture[c*s.Cells*s.Cells+cell])
			}
			at := q.at(c, i, k)
			lo, hi := box.At(at)
			x[at] = min(max(float32(sum), lo), hi)
		}
	})
}

// unstick adds to d the gradient with respect to the picture, given that with
// respect to the image: the transpose of stick, which is linear in the picture.
func (s Sticker) unstick(d, image []float32, q plane, p Placement) {
	s.cover(q, p, func(i, k int, from [4]int, weight [4]float64) {
		for c := range q.channels {
			g := image[q.at(c, i, k)]
			for n, cell := range from {
				d[c*s.Cells*s.Cells+cell] += float32(weight[n]) * g
			}
		}
	})
}

// cover calls do for every pixel under the sticker, with the cells that its
// value is made of and their weights.
func (s Sticker) cover(q plane, p Placement, do func(i, k int, from [4]int, weight [4]float64)) {
	sin, cos := math.Sincos(p.Degrees * math.Pi / 180)
	reach, side := s.reach(p), p.Scale*s.Side
	for i := max(int(math.Ceil(p.Row-reach)), 0); i <= min(int(p.Row+reach), q.height-1); i++ {
		for k := max(int(math.Ceil(p.Column-reach)), 0); k <= min(int(p.Column+reach), q.width-1); k++ {
			di, dk := float64(i)-p.Row, float64(k)-p.Column
			u, v := (cos*di+sin*dk)/side, (cos*dk-sin*di)/side // from the middle, in sides
			if s.Round && u*u+v*v > 0.25 || math.Abs(u) > 0.5 || math.Abs(v) > 0.5 {
				continue
			}
			top, below := s.between(u)
			left, right := s.between(v)
			do(i, k, [4]int{top*s.Cells + left, top*s.Cells + min(left+1, s.Cells-1), min(top+1, s.Cells-1)*s.Cells + left, min(top+1, s.Cells-1)*s.Cells + min(left+1, s.Cells-1)},
				[4]float64{(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right})
		}
	}
}

// between is the cell whose middle comes before a coordinate in [-1/2, 1/2], and
// how far towards the next one the coordinate lies; before the first middle and
// behind the last it is the cell itself.
func (s Sticker) between(u float64) (cell int, on float64) {
	at := min(max((u+0.5)*float64(s.Cells)-0.5, 0), float64(s.Cells-1))
	return int(at), at - math.Floor(at)
}

// Fit makes the sticker. As in [Universal.Fit] it is made with cross-entropy and,
// from the start again, with the margin, and the one is kept that turns more of
// b, each image at a fresh place. b's norm and radii mean nothing here.
//
// It needs gradients.
func (a Patch) Fit(ctx context.Context, m model.Scores, b *Batch) (Sticker, error) {
	g, err := gradients(m, "patch")
	if err == nil {
		err = a.Check(b.X.Shape[1:])
	}
	if err == nil && b.X.Rows() == 0 {
		err = errors.New("attack patch has no images to learn from: give some")
	}
	if err != nil {
		return Sticker{}, err
	}
	shape, best, most := b.X.Shape[1:], Sticker{}, -1
	for _, loss := range [...]model.Loss{model.CrossEntropy, model.Margin} {
		s, err := a.climb(ctx, g, b, loss)
		if err != nil {
			return Sticker{}, err
		}
		n, err := b.turned(ctx, m, func(x []float32, row int) {
			s.stick(x, planeOf(shape), b.Box, a.Place(b.stream("patch choice", row, 0), s, shape))
		})
		if err != nil {
			return Sticker{}, err
		}
		if n > most {
			best, most = s, n
		}
	}
	return best, nil
}

// climb makes the sticker on one loss.
func (a Patch) climb(ctx context.Context, m model.Gradients, b *Batch, loss model.Loss) (Sticker, error) {
	shape, deal := b.X.Shape[1:], b.lots("patch", or(a.Lot, 50))
	q := planeOf(shape)
	s := a.Blank(b.stream("patch start", 0, 0), shape, b.Box)
	n := len(s.Picture)
	lo, width, w, uphill, down := make([]float64, n), make([]float64, n), make([]float64, n), make([]float32, n), make([]float64, n)
	for j, v := range s.Picture { // w is the picture in units of the box
		l, h := s.limits(j, q, b.Box)
		lo[j], width[j] = float64(l), float64(h)-float64(l)
		if width[j] > 0 {
			w[j] = (float64(v) - lo[j]) / width[j]
		}
	}
	adam := newMoments(n)
	for range or(a.Steps, 200) {
		rows, rng := deal()
		x, places := b.X.Gather(rows), make([]Placement, len(rows))
		for slot := range rows {
			places[slot] = a.Place(rng, s, shape)
			s.stick(x.Row(slot), q, b.Box, places[slot])
		}
		clear(uphill)
		err := b.pull(ctx, m, loss, rows, x, func(slot int, g []float32) { s.unstick(uphill, g, q, places[slot]) })
		if err != nil {
			return s, err
		}
		for j, g := range uphill {
			down[j] = -float64(g) * width[j]
		}
		adam.descend(w, down, orFloat(a.Rate, 0.05))
		for j := range w {
			w[j] = min(max(w[j], 0), 1)
			s.Picture[j] = float32(lo[j] + width[j]*w[j])
		}
	}
	return s, nil
}
