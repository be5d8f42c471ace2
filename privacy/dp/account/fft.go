package account

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// fft is the discrete Fourier transform in place, of a length that is a power of
// two, by radix 2. The inverse is not divided by the length.
type fft struct {
	n     int
	roots []complex128 // exp(-2 pi i k/n)
}

func newFFT(n int) *fft {
	f := &fft{n, make([]complex128, n/2)}
	for k := range f.roots {
		s, c := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
		f.roots[k] = complex(c, s)
	}
	return f
}

func (f *fft) transform(x []complex128, inverse bool) {
	shift := bits.UintSize - bits.Len(uint(f.n-1))
	for i := range x {
		if j := int(bits.Reverse(uint(i)) >> shift); i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	if inverse {
		for i := range x {
			x[i] = cmplx.Conj(x[i])
		}
	}
	for half := 1; half < f.n; half *= 2 {
		stride := f.n / (2 * half)
		for start := 0; start < f.n; start += 2 * half {
			a, b := x[start:start+half], x[start+half:start+2*half]
			for k := range a {
				t := b[k] * f.roots[k*stride]
				a[k], b[k] = a[k]+t, a[k]-t
			}
		}
	}
	if inverse {
		for i := range x {
			x[i] = cmplx.Conj(x[i])
		}
	}
}

// rounding bounds the error of each coefficient of a transform, relative to the
// sum of the absolute values that went in: a path through the butterflies takes
// one product and one sum each of log2(n) times, of complex numbers and a root
// that is rounded itself, together at most 6 units of 2^-53 (Higham, Accuracy and
// Stability of Numerical Algorithms, section 24.1).
func (f *fft) rounding() float64 {
	return 6 * float64(bits.Len(uint(f.n-1))) * 0x1p-53
}
