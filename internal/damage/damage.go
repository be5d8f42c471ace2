// Package damage spoils files for tests of readers.
package damage

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// Some is b with one to five places changed: bits turned, bytes replaced, taken out
// or doubled. The last eight bytes stay, and half of the places are in the first
// third of b.
func Some(r *rand.Rand, b []byte) []byte {
	x := bytes.Clone(b)
	for range 1 + r.IntN(5) {
		at := r.IntN(len(x) - 8)
		if r.IntN(2) == 0 {
			at = r.IntN(len(x) / 3)
		}
		n := r.IntN(min(16, len(x)-8-at) + 1)
		switch r.IntN(4) {
		case 0:
			x = slices.Delete(x, at, at+n)
		case 1:
			x = slices.Insert(x, at, bytes.Clone(x[at:at+n])...)
		case 2:
			x[at] ^= 1 << r.IntN(8)
		case 3:
			x[at] = []byte{0, 0xff, 0x7f, 0x80}[r.IntN(4)]
		}
	}
	return x
}
