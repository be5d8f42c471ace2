package evasion

import (
	"context"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Spatial tries rotations and translations of images on a grid and keeps the
// worst (Engstrom et al. 2019, arXiv 1712.02779, section 4.2). It sees scores
// only. Its bounds are degrees and pixels, which no norm's ball describes, and so
// it is no [Attack] and not in [All]: what it finds is a [Pose], from which
// [Pose.Apply] makes the same image again for whoever wants to check it.
type Spatial struct {
	Degrees float64 // largest rotation either way; 0 means 30
	Pixels  float64 // largest shift either way, of rows and of columns; 0 means 3
	Angles  int     // values of the rotation; 0 means 31
	Shifts  int     // values of each shift; 0 means 5
}

// Pose is how an image is moved: turned about its middle, then shifted.
type Pose struct {
	Degrees     float64 // counter-clockwise
	Down, Right float64 // pixels
}

// Within reports whether the pose respects the attack's bounds.
func (p Pose) Within(a Spatial) bool {
	degrees, pixels := orFloat(a.Degrees, 30), orFloat(a.Pixels, 3)
	return math.Abs(p.Degrees) <= degrees && math.Abs(p.Down) <= pixels && math.Abs(p.Right) <= pixels
}

// Apply returns an image of a shape, [C, H, W] or [H, W, C], in the pose. Values
// between pixels are interpolated bilinearly; beyond the image's edge each
// element has the lowest value of the box.
func (p Pose) Apply(x []float32, shape []int, box Box) ([]float32, error) {
	q := planeOf(shape)
	if q.height == 1 || tensor.Len(shape) != len(x) {
		return nil, fmt.Errorf("a pose is for images, and the sample has shape %v and %d elements: give samples as [C, H, W]", shape, len(x))
	}
	out := make([]float32, len(x))
	sin, cos := math.Sincos(p.Degrees * math.Pi / 180)
	middleI, middleK := float64(q.height-1)/2, float64(q.width-1)/2
	for i := range q.height {
		for k := range q.width {
			// Where pixel (i, k) comes from: the shift taken back, then the turn.
			di, dk := float64(i)-p.Down-middleI, float64(k)-p.Right-middleK
			fromI, fromK := middleI+cos*di+sin*dk, middleK-sin*di+cos*dk
			for c := range q.channels {
				at := q.at(c, i, k)
				lo, _ := box.At(at)
				out[at] = q.between(x, c, fromI, fromK, lo)
			}
		}
	}
	box.Clip(out)
	return out, nil
}

// between is channel c at a place between pixels.
func (p plane) between(x []float32, c int, i, k float64, beyond float32) float32 {
	top, left := math.Floor(i), math.Floor(k)
	sum := 0.0
	for _, a := range [...]float64{top, top + 1} {
		for _, b := range [...]float64{left, left + 1} {
			weight := (1 - math.Abs(i-a)) * (1 - math.Abs(k-b))
			v := beyond
			if a >= 0 && a < float64(p.height) && b >= 0 && b < float64(p.width) {
				v = x[p.at(c, int(a), int(b))]
			}
			sum += weight * float64(v)
		}
	}
	return float32(sum)
}

// Search returns for each sample of b the pose that succeeds with the largest
// margin, or, where none does, the one that comes nearest; b's norm and radii
// mean nothing here.
func (a Spatial) Search(ctx context.Context, m model.Scores, b *Batch) ([]Pose, error) {
	if shape := b.X.Shape[1:]; planeOf(shape).height == 1 {
		return nil, fmt.Errorf("the spatial attack is for images, and samples have shape %v: give samples as [C, H, W]", shape)
	}
	goal, poses := b.objective(model.Margin), a.grid()
	best := make([]Pose, b.X.Rows())
	var failed error
	err := b.inquire(ctx, m, b.every(), func(row int, ask ask) {
		worst := math.Inf(-1)
		for _, p := range poses {
			x, err := p.Apply(b.X.Row(row), b.X.Shape[1:], b.Box)
			if err != nil {
				failed = err
				return
			}
			z := ask(x)
			if z == nil {
				return
			}
			if v := goal.Value(row, z.Row(0)); v > worst {
				best[row], worst = p, v
			}
		}
	})
	if err == nil {
		err = failed
	}
	return best, err
}

// grid is every pose to try, the sample's own among them where the counts are
// odd.
func (a Spatial) grid() []Pose {
	var poses []Pose
	degrees, pixels := orFloat(a.Degrees, 30), orFloat(a.Pixels, 3)
	for _, angle := range spread(degrees, or(a.Angles, 31)) {
		for _, down := range spread(pixels, or(a.Shifts, 5)) {
			for _, right := range spread(pixels, or(a.Shifts, 5)) {
				poses = append(poses, Pose{angle, down, right})
			}
		}
	}
	return poses
}

// spread is n values from -most to most, evenly.
func spread(most float64, n int) []float64 {
	if n < 2 {
		return []float64{0}
	}
	v := make([]float64, n)
	for i := range v {
		v[i] = most * (2*float64(i)/float64(n-1) - 1)
	}
	return v
}
