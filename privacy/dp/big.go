package dp

import (
	"math"
	"math/big"
)

// This file is the same arithmetic in full, for parameters that do not fit in
// words, for the rare draws that leave them, and as the truth that tests hold
// the fast forms against.

var one = big.NewRat(1, 1)

// bigUniform is a number below n > 0.
func (c *coins) bigUniform(n *big.Int) *big.Int {
	last := new(big.Int).Sub(n, big.NewInt(1))
	bits := last.BitLen()
	x := new(big.Int)
	for {
		x.SetUint64(0)
		for have := 0; have < bits; have += 64 {
			w := c.word()
			if left := bits - have; left < 64 {
				w >>= 64 - left
			}
			x.Or(x.Lsh(x, uint(min(64, bits-have))), new(big.Int).SetUint64(w))
		}
		if x.Cmp(n) < 0 {
			return x
		}
	}
}

// bigRatio is true with probability n/d, for 0 <= n <= d.
func (c *coins) bigRatio(n, d *big.Int) bool { return c.bigUniform(d).Cmp(n) < 0 }

// bigExp is true with probability exp(-x), for x >= 0.
func (c *coins) bigExp(x *big.Rat) bool {
	n, d := new(big.Int).Set(x.Num()), x.Denom()
	for n.Cmp(d) >= 0 {
		if !c.expOne() {
			return false
		}
		n.Sub(n, d)
	}
	for k := int64(1); ; k++ {
		if !c.bigRatio(n, new(big.Int).Mul(d, big.NewInt(k))) {
			return k%2 == 1
		}
	}
}

// bigMagnitude is floor((u + num*v)/den), the size of Laplace noise of scale
// num/den before its sign (Canonne, Kamath, Steinke, algorithm 2).
func (c *coins) bigMagnitude(scale *big.Rat) *big.Int {
	num, den := scale.Num(), scale.Denom()
	u := c.bigUniform(num)
	for !c.bigExp(new(big.Rat).SetFrac(u, num)) {
		u = c.bigUniform(num)
	}
	v := int64(0)
	for c.expOne() {
		v++
	}
	x := new(big.Int).Mul(num, big.NewInt(v))
	return x.Quo(x.Add(x, u), den)
}

// bigLaplace is discrete Laplace noise: zero with a minus sign is drawn again,
// or zero would come twice as often as it should.
func (c *coins) bigLaplace(scale *big.Rat) *big.Int {
	for {
		y := c.bigMagnitude(scale)
		switch negative := c.coin(); {
		case !negative:
			return y
		case y.Sign() != 0:
			return y.Neg(y)
		}
	}
}

// bigGaussian is discrete Gaussian noise (algorithm 3): Laplace noise of scale t,
// kept with probability exp(-(|y| - variance/t)^2 / (2 variance)). Any t is
// right; that of floor(deviation)+1 keeps most.
func (c *coins) bigGaussian(variance *big.Rat, t *big.Int) *big.Int {
	scale := new(big.Rat).SetInt(t)
	for {
		y := c.bigLaplace(scale)
		if c.bigExp(gaussianExponent(variance, t, y)) {
			return y
		}
	}
}

func gaussianExponent(variance *big.Rat, t, y *big.Int) *big.Rat {
	x := new(big.Rat).Quo(variance, new(big.Rat).SetInt(t))
	x.Sub(new(big.Rat).SetInt(new(big.Int).Abs(y)), x)
	x.Mul(x, x)
	return x.Quo(x, new(big.Rat).Add(variance, variance))
}

// saturate is x, or the nearest whole number of 64 bits.
func saturate(x *big.Int) int64 {
	switch {
	case x.IsInt64():
		return x.Int64()
	case x.Sign() < 0:
		return -math.MaxInt64
	}
	return math.MaxInt64
}

// roundUp is the least number with a denominator of a power of two and at most
// bits significant bits that is not less than x > 0; a whole number where x
// has that many bits before the point.
func roundUp(x *big.Rat, bits int) *big.Rat {
	shift := bits - (x.Num().BitLen() - x.Denom().BitLen())
	shift = max(shift, 0)
	n := new(big.Int).Lsh(x.Num(), uint(shift))
	n.Add(n, new(big.Int).Sub(x.Denom(), big.NewInt(1)))
	n.Quo(n, x.Denom())
	return new(big.Rat).SetFrac(n, new(big.Int).Lsh(big.NewInt(1), uint(shift)))
}

// rat is a float64 as the fraction that it is.
func rat(x float64) *big.Rat { return new(big.Rat).SetFloat64(x) }
