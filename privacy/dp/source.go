package dp

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"math/bits"
)

// Source is where coins come from. The zero value is the operating system's
// generator and the only one fit for real data. It keeps nothing between calls
// and is safe for concurrent use if Rand is.
type Source struct {
	// Rand replaces crypto/rand in tests. A reader that fails ends the program
	// with a panic, as crypto/rand does: without coins there is no safe answer.
	Rand io.Reader
}

// Uniform is a whole number below n, each equally likely; 0 for an n of 0.
func (s Source) Uniform(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	var buf [small]byte
	c := s.open(buf[:])
	defer c.close()
	return c.uniform(n)
}

// Bernoulli is true with exactly probability p, which must be in [0, 1].
func (s Source) Bernoulli(p *big.Rat) (bool, error) {
	if p.Sign() < 0 || p.Cmp(one) > 0 {
		return false, fmt.Errorf("probability %s: must be in [0, 1]", p.FloatString(6))
	}
	var buf [small]byte
	c := s.open(buf[:])
	defer c.close()
	return c.bigRatio(p.Num(), p.Denom()), nil
}

// BernoulliExp is true with exactly probability exp(-x), for x of 0 or more
// (Canonne, Kamath, Steinke 2020, algorithm 1).
func (s Source) BernoulliExp(x *big.Rat) (bool, error) {
	if x.Sign() < 0 {
		return false, fmt.Errorf("exponent -%s: must not be positive", x.FloatString(6))
	}
	var buf [small]byte
	c := s.open(buf[:])
	defer c.close()
	return c.exp(newRatio(x)), nil
}

// Geometric is how often a coin that is true with probability exp(-x) comes up
// true before it first does not, for x above 0. It saturates.
func (s Source) Geometric(x *big.Rat) (int64, error) {
	if x.Sign() <= 0 {
		return 0, fmt.Errorf("exponent -%s: must be negative", x.FloatString(6))
	}
	l, err := newLaplace(new(big.Rat).Inv(x))
	if err != nil {
		return 0, err
	}
	var buf [small]byte
	c := s.open(buf[:])
	defer c.close()
	return l.magnitude(&c), nil
}

// small is how many bytes are drawn at once for one number: about what it takes.
const small = 64

// ahead is how many bytes to draw at once for n numbers.
func ahead(n int) int { return small * min(max(n, 1), 64) }

// coins are random bits for one call: drawn ahead, each used once and wiped,
// what is left wiped at the end.
type coins struct {
	rand  io.Reader
	buf   []byte
	at    int
	bits  uint64 // single coins not yet used
	nbits int
}

func (s Source) open(buf []byte) coins {
	return coins{rand: s.Rand, buf: buf, at: len(buf)}
}

func (c *coins) close() {
	clear(c.buf)
	c.bits = 0
}

func (c *coins) word() uint64 {
	if c.at == len(c.buf) {
		c.fill()
	}
	b := c.buf[c.at : c.at+8]
	w := binary.LittleEndian.Uint64(b)
	clear(b)
	c.at += 8
	return w
}

func (c *coins) fill() {
	c.at = 0
	if c.rand == nil {
		rand.Read(c.buf) // never fails; it ends the program first
		return
	}
	fresh := make([]byte, len(c.buf)) // what an interface sees moves to the heap: keep that to tests
	if _, err := io.ReadFull(c.rand, fresh); err != nil {
		panic(fmt.Sprintf("privacy/dp: read randomness: %v", err))
	}
	copy(c.buf, fresh)
}

func (c *coins) coin() bool {
	if c.nbits == 0 {
		c.bits, c.nbits = c.word(), 64
	}
	heads := c.bits&1 == 1
	c.bits >>= 1
	c.nbits--
	return heads
}

// uniform is a number below n > 0 without bias (Lemire 2019, "Fast random
// integer generation in an interval").
func (c *coins) uniform(n uint64) uint64 {
	hi, lo := bits.Mul64(c.word(), n)
	if lo < n {
		for biased := -n % n; lo < biased; {
			hi, lo = bits.Mul64(c.word(), n)
		}
	}
	return hi
}

// oneIn is true with probability 1/k, for k of 2 or more.
func (c *coins) oneIn(k uint64) bool {
	if k == 2 {
		return c.coin() // a bit, and not a word, where most trials are
	}
	return c.uniform(k) == 0
}

// u128 is an unsigned number of 128 bits.
type u128 struct{ hi, lo uint64 }

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a u128) minus(b u128) u128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return u128{hi, lo}
}

func (a u128) shl(n uint) u128 {
	if n >= 64 {
		return u128{a.lo << (n - 64), 0}
	}
	return u128{a.hi<<n | a.lo>>(64-n), a.lo << n}
}

func (a u128) big() *big.Int {
	x := new(big.Int).SetUint64(a.hi)
	return x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(a.lo))
}

// below is true with exactly probability n/d, for n < d. One word decides but
// for a sliver of 2^-61, where the rest of the comparison is done in full.
func (c *coins) below(n, d u128) bool {
	if d.hi == 0 {
		return c.uniform(d.lo) < n.lo
	}
	shift := uint(bits.LeadingZeros64(d.hi))
	n, d = n.shl(shift), d.shl(shift)
	// lo <= n*2^64/d, by dividing by the top word of d rounded up. As that word
	// is at least 2^63 and n < d, the true quotient is less than lo+6.
	lo := n.hi
	if d.hi != 1<<64-1 {
		lo, _ = bits.Div64(n.hi, n.lo, d.hi+1)
	}
	w := c.word()
	switch {
	case w < lo:
		return true
	case w-lo > 6:
		return false
	}
	return c.rest(w, n.big(), d.big())
}

// rest compares a uniform number in [0, 1) whose first 64 binary digits are w
// with n/d, drawing the digits that follow.
func (c *coins) rest(w uint64, n, d *big.Int) bool {
	r := new(big.Int).Lsh(n, 64)
	r.Sub(r, new(big.Int).Mul(new(big.Int).SetUint64(w), d))
	if r.Sign() <= 0 {
		return false
	}
	return r.Cmp(d) >= 0 || c.bigRatio(r, d)
}

// ratio is a fraction of 0 or more, in words where it fits.
type ratio struct {
	n, d  u128
	exact *big.Rat // set where it does not
}

func newRatio(x *big.Rat) ratio {
	if x.Num().BitLen() <= 128 && x.Denom().BitLen() <= 128 {
		return ratio{n: words(x.Num()), d: words(x.Denom())}
	}
	return ratio{exact: x}
}

func words(x *big.Int) u128 {
	var b [16]byte
	x.FillBytes(b[:])
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// exp is true with probability exp(-x).
func (c *coins) exp(x ratio) bool {
	if x.exact != nil {
		return c.bigExp(x.exact)
	}
	n := x.n
	for !n.less(x.d) {
		if !c.expOne() {
			return false
		}
		n = n.minus(x.d)
	}
	return c.expFraction(n, x.d)
}

// expOne is true with probability 1/e.
func (c *coins) expOne() bool {
	for k := uint64(2); ; k++ {
		if !c.oneIn(k) {
			return k%2 == 1 // the series of expFraction, whose first coin is certain
		}
	}
}

// expFraction is true with probability exp(-n/d), for n < d: flip coins of
// n/(1d), n/(2d), n/(3d), ... until one fails, and say whether it was an odd
// one. It is the series of the exponential, term by term.
func (c *coins) expFraction(n, d u128) bool {
	for k := uint64(1); ; k++ {
		if !c.below(n, d) || k > 1 && !c.oneIn(k) {
			return k%2 == 1
		}
	}
}
