package fpe

import (
	"crypto/aes"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Numbers of 64 bits are a short cut, which must lead to the same place.
func TestShortCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		radix := rapid.Uint64Range(2, 65535).Draw(t, "radix")
		block, err := aes.NewCipher(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		if err != nil {
			t.Fatal(err)
		}
		most := 2
		for { // as long as the short cut is taken
			if _, ok := power(radix, (most+2)/2); !ok {
				break
			}
			most++
		}
		n := rapid.IntRange(2, most).Draw(t, "length")
		tweak := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "tweak")
		short, long := new(rounds), new(rounds)
		for range n {
			short.x = append(short.x, uint16(rapid.Uint64Range(0, radix-1).Draw(t, "letter")))
		}
		plain := slices.Clone(short.x)
		long.x = slices.Clone(plain)
		short.begin(block, radix, tweak)
		long.begin(block, radix, tweak)
		if !short.small {
			t.Fatalf("%d letters of %d: no short cut", n, radix)
		}
		long.small = false
		long.bigU, long.bigV = new(big.Int).SetUint64(long.mu), new(big.Int).SetUint64(long.mv)
		short.encrypt()
		long.encrypt()
		if !slices.Equal(short.x, long.x) {
			t.Fatalf("%d letters of %d: %d and %d", n, radix, short.x, long.x)
		}
		short.decrypt()
		long.decrypt()
		if !slices.Equal(short.x, plain) || !slices.Equal(long.x, plain) {
			t.Fatalf("%d letters of %d: %d and %d come back as %d", n, radix, short.x, long.x, plain)
		}
	})
}
