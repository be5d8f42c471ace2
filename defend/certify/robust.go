package certify

import (
	"context"
	"fmt"
	"math"

	"github.com/redoubt-ml/redoubt/attack/evasion"
)

// Ball is the inputs that an attacker may choose: those within Eps of X in the
// norm, and inside the box.
type Ball struct {
	X    []float32
	Norm evasion.Norm
	Eps  float64
	Box  evasion.Box
}

// region checks the ball and describes it.
func (b *Ball) region(inputs int) (*region, error) {
	if len(b.X) != inputs {
		return nil, fmt.Errorf("the sample has %d elements, the network takes %d", len(b.X), inputs)
	}
	if !(b.Eps >= 0) || math.IsInf(b.Eps, 0) {
		return nil, fmt.Errorf("radius %v: want a number that is not negative", b.Eps)
	}
	for _, side := range [][]float32{b.Box.Lo, b.Box.Hi} {
		if len(side) != 1 && len(side) != inputs {
			return nil, fmt.Errorf("%d bounds for %d elements: give one, or one for each", len(side), inputs)
		}
	}
	lo, hi, centre := make([]float64, inputs), make([]float64, inputs), make([]float64, inputs)
	for j, v := range b.X {
		least, most := b.Box.At(j)
		if !(v >= least && v <= most) {
			return nil, fmt.Errorf("element %d is %v, outside the bounds %v to %v", j, v, least, most)
		}
		x := float64(v)
		// No element moves further than the radius in any of the norms.
		step := outward(b.Eps)
		lo[j] = math.Max(float64(least), math.Nextafter(x-step, math.Inf(-1)))
		hi[j] = math.Min(float64(most), math.Nextafter(x+step, math.Inf(1)))
		centre[j] = x
	}
	g := boxed(lo, hi)
	switch b.Norm {
	case evasion.Linf:
	case evasion.L2, evasion.L1:
		g.ball = &ball{centre, outward(b.Eps), b.Norm == evasion.L1}
	default:
		return nil, fmt.Errorf("there are no certificates in the norm %s", b.Norm.Name())
	}
	return g, nil
}

// Robust reports whether it is proved that the network gives every point of the
// ball the label: that its output is larger there than every other. False means
// that there is no proof. When the context ends it returns false, without an
// error.
func (n *Network) Robust(ctx context.Context, b Ball, label int, o Options) (bool, error) {
	cases, err := n.rivals(label)
	if err != nil {
		return false, err
	}
	g, err := b.region(n.Inputs())
	if err != nil {
		return false, fmt.Errorf("certify: %w", err)
	}
	proved, err := n.prove(ctx, g, cases, o.settings())
	if ctx.Err() != nil {
		return false, nil
	}
	return proved, err
}

// rivals are the goals that a label's output is larger than each other one.
func (n *Network) rivals(label int) ([][]goal, error) {
	if n.Outputs() < 2 || label < 0 || label >= n.Outputs() {
		return nil, fmt.Errorf("certify: label %d of a network with %d outputs", label, n.Outputs())
	}
	var cases [][]goal
	for i := range n.Outputs() {
		if i != label {
			w := make([]float64, n.Outputs())
			w[label], w[i] = 1, -1
			cases = append(cases, []goal{{w: w}})
		}
	}
	return cases, nil
}

// Margin is a lower bound, over the ball, of the difference between the label's
// output and the largest other one. It does not split, whatever the method.
func (n *Network) Margin(ctx context.Context, b Ball, label int, o Options) (float64, error) {
	cases, err := n.rivals(label)
	if err != nil {
		return 0, err
	}
	g, err := b.region(n.Inputs())
	if err != nil {
		return 0, fmt.Errorf("certify: %w", err)
	}
	s := o.settings()
	s.enough = math.Inf(1)
	a, err := n.analyse(ctx, g, s, nil)
	if err != nil {
		return 0, err
	}
	bounds, err := a.goals(ctx, cases, s)
	if err != nil {
		return 0, err
	}
	margin := math.Inf(1)
	for _, c := range bounds {
		margin = math.Min(margin, c[0])
	}
	return margin, nil
}

// radiusSteps halve the range of radii: to a 256th.
const radiusSteps = 8

// Radius is the largest radius, of at most most, for which the label is proved,
// found by bisection to a 256th of most; 0 if none is. The radius in b is not
// used.
func (n *Network) Radius(ctx context.Context, b Ball, label int, most float64, o Options) (float64, error) {
	if !(most > 0) || math.IsInf(most, 0) {
		return 0, fmt.Errorf("certify: largest radius %v: want a positive number", most)
	}
	proved, refuted := 0.0, 2*most // beyond most is not asked for
	for b.Eps = most; ; b.Eps = proved + (refuted-proved)/2 {
		ok, err := n.Robust(ctx, b, label, o)
		switch {
		case err != nil:
			return 0, err
		case ok:
			proved = b.Eps
		default:
			refuted = b.Eps
		}
		if proved == most || refuted-proved <= most/(1<<radiusSteps) || ctx.Err() != nil {
			return proved, nil
		}
	}
}

// Bounds are lower and upper bounds of every output over a box of inputs, all
// inside it. It does not split.
func (n *Network) Bounds(ctx context.Context, lo, hi []float64, o Options) (least, most []float64, err error) {
	if len(lo) != n.Inputs() || len(hi) != n.Inputs() {
		return nil, nil, fmt.Errorf("bounds: %d and %d numbers for %d inputs", len(lo), len(hi), n.Inputs())
	}
	for j := range lo {
		if !(lo[j] <= hi[j]) || math.IsInf(lo[j], 0) || math.IsInf(hi[j], 0) {
			return nil, nil, fmt.Errorf("bounds: input %d lies between %v and %v", j, lo[j], hi[j])
		}
	}
	s := o.settings()
	s.enough = math.Inf(1)
	a, err := n.analyse(ctx, boxed(lo, hi), s, nil)
	if err != nil {
		return nil, nil, err
	}
	var cases [][]goal
	for i := range 2 * n.Outputs() {
		w := make([]float64, n.Outputs())
		w[i/2] = 1 - 2*float64(i%2)
		cases = append(cases, []goal{{w: w}})
	}
	bounds, err := a.goals(ctx, cases, s)
	if err != nil {
		return nil, nil, err
	}
	least, most = make([]float64, n.Outputs()), make([]float64, n.Outputs())
	for i := range least {
		least[i], most[i] = bounds[2*i][0], -bounds[2*i+1][0]
	}
	return least, most, nil
}
