package dp

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Grid turns real numbers into whole ones: a grid of n has steps of 2^-n. Sums
// and noise live on it. The zero value is the whole numbers; 20 serves most
// measurements. At most 60, at least -60.
type Grid int

// Step is the distance between two numbers of the grid.
func (g Grid) Step() float64 { return math.Ldexp(1, -int(g)) }

// Fix is the nearest number of the grid, ties to even. NaN, the infinities and
// what is 2^62 steps or more from zero are refused, without being named.
func (g Grid) Fix(x float64) (int64, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	steps := math.RoundToEven(math.Ldexp(x, int(g)))
	if !(math.Abs(steps) < 1<<62) { // NaN too
		return 0, errors.New("a value is not a number, infinite, or too large for the grid")
	}
	return int64(steps), nil
}

// Float is the number that n steps are. Beyond 2^53 steps it is the nearest
// float64, which is post-processing of what was released.
func (g Grid) Float(n int64) float64 { return math.Ldexp(float64(n), -int(g)) }

// Contribution is one row for one unit in one group, with a value in [low,
// high]: rounded inwards to the grid, so that what is clamped to it in steps is
// within the bounds. Set Groups and Rows on the result.
func (g Grid) Contribution(low, high float64) (Contribution, error) {
	if err := g.check(); err != nil {
		return Contribution{}, err
	}
	lo, hi := math.Ceil(math.Ldexp(low, int(g))), math.Floor(math.Ldexp(high, int(g)))
	if !(math.Abs(lo) < 1<<52 && math.Abs(hi) < 1<<52) {
		return Contribution{}, fmt.Errorf("bounds [%v, %v]: must be finite and less than 2^52 steps of %v from zero", low, high, g.Step())
	}
	if lo > hi {
		return Contribution{}, fmt.Errorf("bounds [%v, %v]: low must not be above high, and a step of %v must lie between", low, high, g.Step())
	}
	return Contribution{Low: int64(lo), High: int64(hi)}, nil
}

// Clamp is x, or the nearest of a row's bounds.
func (c Contribution) Clamp(x int64) int64 { return min(max(x, c.Low), c.High) }

func (g Grid) check() error {
	if g < -60 || g > 60 {
		return fmt.Errorf("grid %d: must be between -60 and 60", int(g))
	}
	return nil
}

// Sum adds whole numbers in 128 bits, exactly and so in any order, and saturates
// once, when it is read. Reading moves by no more than the exact sum does, so
// that the sensitivity is that of the [Contribution]. The zero value is an empty
// sum. Saturating at each step would depend on the order of the rows.
type Sum struct{ hi, lo uint64 }

// Add adds x. 2^64 numbers can be added before it wraps.
func (s *Sum) Add(x int64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(x), 0)
	s.hi += uint64(x>>63) + carry
}

// Merge adds what another sum has.
func (s *Sum) Merge(o Sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, o.lo, 0)
	s.hi += o.hi + carry
}

// Value is the sum, or the nearest number of 64 bits.
func (s Sum) Value() int64 {
	switch sign := int64(s.hi) >> 63; {
	case int64(s.hi) == int64(s.lo)>>63:
		return int64(s.lo)
	case sign == 0:
		return math.MaxInt64
	default:
		return math.MinInt64
	}
}
