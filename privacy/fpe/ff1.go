package fpe

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"sync"
)

// Limits on what is encrypted at once: of letters, and of bytes of a tweak.
const (
	MaxLength = 4096
	MaxTweak  = 1 << 16
)

// Domains are the least numbers of values that the texts of a length may have.
const (
	// MinDomain is that of revision 1 of SP 800-38G.
	MinDomain = 1_000_000
	// SmallDomain is that of the first edition. What has so few values is as
	// good as readable for whoever can have texts encrypted.
	SmallDomain = 100
)

// FF1 encrypts texts of one alphabet under one key. It is safe for use by several
// goroutines at once.
type FF1 struct {
	// Small admits texts with as few as SmallDomain values.
	Small bool

	alphabet *Alphabet
	block    cipher.Block
	scratch  sync.Pool
}

// New is FF1 with an AES key of 16, 24 or 32 bytes. A key is for this alone.
func New(key []byte, a *Alphabet) (*FF1, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key of %d bytes: must have 16, 24 or 32", len(key))
	}
	return &FF1{alphabet: a, block: b, scratch: sync.Pool{New: func() any { return new(rounds) }}}, nil
}

// Encrypt is what stands for text: as long, of the same letters. It refuses a text
// with other letters, or so short that it has too few values.
func (f *FF1) Encrypt(text string, tweak []byte) (string, error) {
	return f.apply(text, tweak, (*rounds).encrypt)
}

// Decrypt is the text that Encrypt made this one of, given the same tweak.
func (f *FF1) Decrypt(text string, tweak []byte) (string, error) {
	return f.apply(text, tweak, (*rounds).decrypt)
}

func (f *FF1) apply(text string, tweak []byte, do func(*rounds)) (string, error) {
	r := f.scratch.Get().(*rounds)
	defer f.scratch.Put(r)
	var err error
	if r.x, err = f.alphabet.numerals(r.x[:0], text); err != nil {
		return "", err
	}
	if err := f.run(r, tweak, do); err != nil {
		return "", err
	}
	return f.alphabet.text(r.x), nil
}

// EncryptNumerals encrypts in place a text given as the places of its letters in
// the alphabet.
func (f *FF1) EncryptNumerals(x []uint16, tweak []byte) error {
	return f.numerals(x, tweak, (*rounds).encrypt)
}

// DecryptNumerals undoes EncryptNumerals in place.
func (f *FF1) DecryptNumerals(x []uint16, tweak []byte) error {
	return f.numerals(x, tweak, (*rounds).decrypt)
}

func (f *FF1) numerals(x []uint16, tweak []byte, do func(*rounds)) error {
	for i, n := range x {
		if int(n) >= f.alphabet.Len() {
			return fmt.Errorf("letter %d: %d is beyond an alphabet of %d", i+1, n, f.alphabet.Len())
		}
	}
	r := f.scratch.Get().(*rounds)
	defer f.scratch.Put(r)
	r.x = append(r.x[:0], x...)
	if err := f.run(r, tweak, do); err != nil {
		return err
	}
	copy(x, r.x)
	return nil
}

var errTweak = errors.New("tweak: longer than 65,536 bytes")

func (f *FF1) run(r *rounds, tweak []byte, do func(*rounds)) error {
	least := float64(MinDomain)
	if f.Small {
		least = SmallDomain
	}
	n, radix := len(r.x), f.alphabet.Len()
	switch {
	case n > MaxLength:
		return fmt.Errorf("text of %d letters: longer than %d", n, MaxLength)
	case n < 2 || math.Pow(float64(radix), float64(n)) < least:
		return fmt.Errorf("text of %d letters out of %d: has fewer than %.0f values, which somebody could try; mask it in another way", n, radix, least)
	case len(tweak) > MaxTweak:
		return errTweak
	}
	r.begin(f.block, uint64(radix), tweak)
	do(r)
	return nil
}

// rounds are the state of one encryption, in the names of SP 800-38G: x is split
// into A of u letters and B of v.
type rounds struct {
	block cipher.Block
	x     []uint16
	radix uint64
	u, v  int
	b, d  int // bytes of a number, and of what the rounds add

	mac  [16]byte // after P and all of Q that does not change
	last []byte   // the rest of Q: tweak, zeros, number of the round, number
	r    [16]byte
	s    []byte

	small      bool   // numbers fit into 64 bits
	mu, mv     uint64 // radix to the power of u and v
	bigU, bigV *big.Int
}

func (r *rounds) begin(block cipher.Block, radix uint64, tweak []byte) {
	n, t := len(r.x), len(tweak)
	r.block, r.radix = block, radix
	r.u = n / 2
	r.v = n - r.u
	r.mu, r.small = power(radix, r.u)
	if r.small {
		r.mv, r.small = power(radix, r.v)
	}
	if r.small {
		r.b = (bits.Len64(r.mv-1) + 7) / 8
	} else {
		r.bigU = new(big.Int).Exp(new(big.Int).SetUint64(radix), big.NewInt(int64(r.u)), nil)
		r.bigV = new(big.Int).Exp(new(big.Int).SetUint64(radix), big.NewInt(int64(r.v)), nil)
		r.b = (new(big.Int).Sub(r.bigV, big.NewInt(1)).BitLen() + 7) / 8
	}
	r.d = 4*((r.b+3)/4) + 4

	r.mac = [16]byte{1, 2, 1, byte(radix >> 16), byte(radix >> 8), byte(radix), 10, byte(r.u)}
	binary.BigEndian.PutUint32(r.mac[8:], uint32(n))
	binary.BigEndian.PutUint32(r.mac[12:], uint32(t))
	block.Encrypt(r.mac[:], r.mac[:])
	for len(tweak) >= 16 {
		r.chain(tweak[:16])
		tweak = tweak[16:]
	}
	size := (len(tweak) + 1 + r.b + 15) / 16 * 16
	r.last = append(r.last[:0], tweak...)
	for len(r.last) < size {
		r.last = append(r.last, 0)
	}
}

// chain adds a block that is the same in all rounds to the CBC-MAC.
func (r *rounds) chain(q []byte) {
	for i := range r.mac {
		r.mac[i] ^= q[i]
	}
	r.block.Encrypt(r.mac[:], r.mac[:])
}

// power is radix^n, where it has at most 63 bits, so that two of them can be added.
func power(radix uint64, n int) (p uint64, ok bool) {
	p = 1
	for range n {
		hi, lo := bits.Mul64(p, radix)
		if hi != 0 || lo > 1<<63 {
			return 0, false
		}
		p = lo
	}
	return p, true
}

// prf is R of a round: the CBC-MAC of P and Q, whose number is in r.last already.
func (r *rounds) prf(round int) {
	r.last[len(r.last)-r.b-1] = byte(round)
	r.r = r.mac
	for q := r.last; len(q) > 0; q = q[16:] {
		for i := range r.r {
			r.r[i] ^= q[i]
		}
		r.block.Encrypt(r.r[:], r.r[:])
	}
}

func (r *rounds) encrypt() {
	if !r.small {
		r.encryptBig()
		return
	}
	a, b := r.number(r.x[:r.u]), r.number(r.x[r.u:])
	for i := range 10 {
		m := r.mu
		if i%2 == 1 {
			m = r.mv
		}
		a, b = b, (a+r.add(i, b, m))%m
	}
	r.put(r.x[:r.u], a)
	r.put(r.x[r.u:], b)
}

func (r *rounds) decrypt() {
	if !r.small {
		r.decryptBig()
		return
	}
	a, b := r.number(r.x[:r.u]), r.number(r.x[r.u:])
	for i := 9; i >= 0; i-- {
		m := r.mu
		if i%2 == 1 {
			m = r.mv
		}
		a, b = (b+m-r.add(i, a, m))%m, a
	}
	r.put(r.x[:r.u], a)
	r.put(r.x[r.u:], b)
}

// add is y of a round, modulo m: the first d bytes of R, of which there are at most
// twelve where numbers have at most eight.
func (r *rounds) add(round int, number, m uint64) uint64 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], number)
	copy(r.last[len(r.last)-r.b:], b[8-r.b:])
	r.prf(round)
	if r.d == 8 {
		return binary.BigEndian.Uint64(r.r[:8]) % m
	}
	hi := uint64(binary.BigEndian.Uint32(r.r[:4]))
	_, rem := bits.Div64(hi%m, binary.BigEndian.Uint64(r.r[4:12]), m)
	return rem
}

func (r *rounds) number(x []uint16) (n uint64) {
	for _, d := range x {
		n = n*r.radix + uint64(d)
	}
	return n
}

func (r *rounds) put(x []uint16, n uint64) {
	for i := len(x) - 1; i >= 0; i-- {
		x[i] = uint16(n % r.radix)
		n /= r.radix
	}
}
