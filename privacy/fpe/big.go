package fpe

import (
	"encoding/binary"
	"math/big"
)

// What follows is the same for numbers beyond 64 bits.

func (r *rounds) encryptBig() {
	a, b := r.bigNumber(r.x[:r.u]), r.bigNumber(r.x[r.u:])
	for i := range 10 {
		a.Add(a, r.addBig(i, b))
		a.Mod(a, r.modulus(i))
		a, b = b, a
	}
	r.putBig(r.x[:r.u], a)
	r.putBig(r.x[r.u:], b)
}

func (r *rounds) decryptBig() {
	a, b := r.bigNumber(r.x[:r.u]), r.bigNumber(r.x[r.u:])
	for i := 9; i >= 0; i-- {
		b.Sub(b, r.addBig(i, a))
		b.Mod(b, r.modulus(i))
		a, b = b, a
	}
	r.putBig(r.x[:r.u], a)
	r.putBig(r.x[r.u:], b)
}

func (r *rounds) modulus(round int) *big.Int {
	if round%2 == 0 {
		return r.bigU
	}
	return r.bigV
}

// addBig is y of a round: d bytes out of R and the encryptions of R with a counter.
func (r *rounds) addBig(round int, number *big.Int) *big.Int {
	number.FillBytes(r.last[len(r.last)-r.b:])
	r.prf(round)
	r.s = append(r.s[:0], r.r[:]...)
	var block [16]byte
	for j := uint64(1); len(r.s) < r.d; j++ {
		binary.BigEndian.PutUint64(block[8:], j^binary.BigEndian.Uint64(r.r[8:]))
		copy(block[:8], r.r[:8])
		r.block.Encrypt(block[:], block[:])
		r.s = append(r.s, block[:]...)
	}
	return new(big.Int).SetBytes(r.s[:r.d])
}

// bigNumber and putBig go by as many letters as fit into a word at a time.
func (r *rounds) bigNumber(x []uint16) *big.Int {
	n, word := new(big.Int), new(big.Int)
	for len(x) > 0 {
		k := min(len(x), r.letters())
		shift, _ := power(r.radix, k)
		n.Mul(n, word.SetUint64(shift))
		n.Add(n, word.SetUint64(r.number(x[:k])))
		x = x[k:]
	}
	return n
}

func (r *rounds) putBig(x []uint16, n *big.Int) {
	word, rest := new(big.Int), new(big.Int)
	for len(x) > 0 {
		k := min(len(x), r.letters())
		shift, _ := power(r.radix, k)
		n.QuoRem(n, word.SetUint64(shift), rest)
		r.put(x[len(x)-k:], rest.Uint64())
		x = x[:len(x)-k]
	}
}

// letters is how many letters fit into 63 bits.
func (r *rounds) letters() int {
	k := 1
	for {
		if _, ok := power(r.radix, k+1); !ok {
			return k
		}
		k++
	}
}
