package dp

import (
	"io"
	"math/big"
)

// BigDraw draws noise in full, where words would do.
func BigDraw(n *Noise, s Source) int64 {
	c := s.open(make([]byte, small))
	switch n.shape.(type) {
	case laplaceShape:
		return saturate(c.bigLaplace(n.parameter))
	default:
		t := newGaussian(n.parameter).t
		return saturate(c.bigGaussian(n.parameter, t))
	}
}

// Below draws n/d by words, and BelowBig in full, d in (n, 2^128).
func Below(r io.Reader, n, d *big.Int) bool {
	c := Source{Rand: r}.open(make([]byte, 8))
	return c.below(words(n), words(d))
}

// BelowBig is Below for a uniform number of many digits, by comparing fractions.
func BelowBig(digits []uint64, n, d *big.Int) bool {
	u := new(big.Int)
	for _, w := range digits {
		u.Lsh(u, 64).Or(u, new(big.Int).SetUint64(w))
	}
	left := u.Mul(u, d)
	return left.Cmp(new(big.Int).Lsh(n, uint(64*len(digits)))) < 0
}
