package dp

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// Noise is a distribution over the whole numbers, symmetric about zero, that
// can be drawn exactly. It is made by [LaplaceNoise] or [GaussianNoise], knows
// its own tails, and is safe for concurrent use. Ask [Laplace] or [Gaussian] for
// one that is worth a given epsilon.
type Noise struct {
	draw      func(*coins) int64
	parameter *big.Rat
	shape     shape
}

// LaplaceNoise is the discrete Laplace, or two-sided geometric, distribution:
// P(k) is proportional to exp(-|k|/scale). Drawn as in Canonne, Kamath, Steinke
// 2020, algorithm 2. The scale is above 0 and at most 2^52.
func LaplaceNoise(scale *big.Rat) (*Noise, error) {
	l, err := newLaplace(scale)
	if err != nil {
		return nil, err
	}
	t, _ := scale.Float64()
	return &Noise{draw: l.draw, parameter: l.scale, shape: laplaceShape(t)}, nil
}

// GaussianNoise is the discrete Gaussian distribution: P(k) is proportional to
// exp(-k^2/(2 variance)). Drawn as in Canonne, Kamath, Steinke 2020, algorithm
// 3. The parameter is above 0 and at most 2^104; it is very nearly, and for
// small ones slightly more than, the variance.
func GaussianNoise(variance *big.Rat) (*Noise, error) {
	if variance.Sign() <= 0 || variance.Cmp(maxVariance) > 0 {
		return nil, errors.New("variance of Gaussian noise: must be above 0 and at most 2^104 in steps of the grid")
	}
	g := newGaussian(new(big.Rat).Set(variance))
	v, _ := variance.Float64()
	return &Noise{draw: g.draw, parameter: g.variance, shape: newGaussianShape(v)}, nil
}

var (
	maxScale    = new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 52))
	maxVariance = new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 104))
)

// Parameter is the scale of Laplace noise, and of Gaussian noise the variance
// that it was made with.
func (n *Noise) Parameter() *big.Rat { return new(big.Rat).Set(n.parameter) }

// String names the distribution and its parameter.
func (n *Noise) String() string { return n.shape.String() }

// Draw is one draw, saturated to ±(2^63-1).
func (n *Noise) Draw(s Source) int64 {
	var buf [small]byte
	c := s.open(buf[:])
	defer c.close()
	return n.draw(&c)
}

// Fill sets every element to a draw of its own. It is faster than as many calls
// of Draw.
func (n *Noise) Fill(s Source, dst []int64) {
	c := s.open(make([]byte, ahead(len(dst))))
	defer c.close()
	for i := range dst {
		dst[i] = n.draw(&c)
	}
}

// laplace draws from LaplaceNoise; num and den are zero where the scale does
// not fit in words.
type laplace struct {
	scale    *big.Rat
	num, den uint64
}

func newLaplace(scale *big.Rat) (*laplace, error) {
	if scale.Sign() <= 0 || scale.Cmp(maxScale) > 0 {
		return nil, errors.New("scale of Laplace noise: must be above 0 and at most 2^52 steps of the grid")
	}
	l := &laplace{scale: new(big.Rat).Set(scale)}
	if n, d := scale.Num(), scale.Denom(); n.IsUint64() && d.IsUint64() {
		l.num, l.den = n.Uint64(), d.Uint64()
	}
	return l, nil
}

// magnitude is one-sided geometric: P(k) is proportional to exp(-k/scale).
func (l *laplace) magnitude(c *coins) int64 {
	if l.den == 0 {
		return saturate(c.bigMagnitude(l.scale))
	}
	num := u128{0, l.num}
	u := c.uniform(l.num)
	for !c.expFraction(u128{0, u}, num) {
		u = c.uniform(l.num)
	}
	v := uint64(0)
	for c.expOne() {
		v++
	}
	hi, lo := bits.Mul64(v, l.num)
	lo, carry := bits.Add64(lo, u, 0)
	if hi += carry; hi >= l.den {
		return math.MaxInt64
	}
	if hi != 0 || l.den != 1 {
		lo, _ = bits.Div64(hi, lo, l.den)
	}
	return int64(min(lo, math.MaxInt64))
}

func (l *laplace) draw(c *coins) int64 {
	for {
		y := l.magnitude(c)
		switch negative := c.coin(); {
		case !negative:
			return y
		case y != 0: // see bigLaplace
			return -y
		}
	}
}

// gaussian draws from GaussianNoise. With variance a/b, noise y is kept with
// probability exp(-(|y|bt - a)^2 / (2abt^2)); bt is zero where that does not fit
// in words.
type gaussian struct {
	variance *big.Rat
	t        *big.Int
	proposal *laplace
	a, bt    uint64
	twice    u128 // 2abt^2
}

func newGaussian(variance *big.Rat) *gaussian {
	t := new(big.Int).Sqrt(new(big.Int).Quo(variance.Num(), variance.Denom()))
	t.Add(t, big.NewInt(1))
	proposal, err := newLaplace(new(big.Rat).SetInt(t))
	if err != nil {
		proposal = &laplace{scale: new(big.Rat).SetInt(t)} // one step past 2^52, in full
	}
	g := &gaussian{variance: variance, t: t, proposal: proposal}
	a, bt := variance.Num(), new(big.Int).Mul(variance.Denom(), t)
	twice := new(big.Int).Mul(new(big.Int).Mul(a, bt), new(big.Int).Lsh(t, 1))
	if a.BitLen() < 63 && bt.BitLen() < 63 && twice.BitLen() <= 128 {
		g.a, g.bt, g.twice = a.Uint64(), bt.Uint64(), words(twice)
	}
	return g
}

func (g *gaussian) draw(c *coins) int64 {
	if g.bt == 0 {
		return saturate(c.bigGaussian(g.variance, g.t))
	}
	for {
		y := g.proposal.draw(c)
		if g.keep(c, y) {
			return y
		}
	}
}

func (g *gaussian) keep(c *coins, y int64) bool {
	hi, far := bits.Mul64(uint64(max(y, -y)), g.bt)
	if hi != 0 || far >= 1<<63 {
		return c.bigExp(gaussianExponent(g.variance, g.t, big.NewInt(y)))
	}
	off := max(int64(far)-int64(g.a), int64(g.a)-int64(far))
	hi, lo := bits.Mul64(uint64(off), uint64(off))
	return c.exp(ratio{n: u128{hi, lo}, d: g.twice})
}

// A shape is what a distribution knows about itself, in floating point: for
// intervals and accounting, never for drawing.
type shape interface {
	fmt.Stringer
	probability(k int64) float64
	above(k int64) float64 // P(noise > k) for k >= 0, at least the true value
	variance() float64
}

// Probability is that of drawing k.
func (n *Noise) Probability(k int64) float64 { return n.shape.probability(k) }

// Variance is the mean square of a draw.
func (n *Noise) Variance() float64 { return n.shape.variance() }

// Above is the probability of a draw above k, or slightly more.
func (n *Noise) Above(k int64) float64 {
	if k < 0 {
		return 1 - n.shape.above(-k-1)
	}
	return n.shape.above(k)
}

// Interval is the least w for which a draw lies in [-w, w] with at least the
// given confidence, a number in (0, 1).
func (n *Noise) Interval(confidence float64) (int64, error) {
	if !(confidence > 0 && confidence < 1) {
		return 0, fmt.Errorf("confidence %v: must be between 0 and 1", confidence)
	}
	return n.quantile((1 - confidence) / 2), nil
}

// quantile is the least k of 0 or more with P(noise > k) <= tail.
func (n *Noise) quantile(tail float64) int64 {
	lo, hi := int64(-1), int64(1)
	for hi < 1<<61 && n.shape.above(hi) > tail {
		lo, hi = hi, 2*hi
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; n.shape.above(mid) > tail {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
