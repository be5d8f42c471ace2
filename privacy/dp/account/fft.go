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
	fill := func(from, to int) {
		for k := from; k < to; k++ {
			s, c := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
			f.roots[k] = complex(c, s)
		}
	}
	both(func() { fill(0, n/4) }, func() { fill(n/4, n/2) })
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
	// All steps but the last stay within a half.
	both(func() { f.within(x[:f.n/2]) }, func() { f.within(x[f.n/2:]) })
	f.merge(x)
	if inverse {
		for i := range x {
			x[i] = cmplx.Conj(x[i])
		}
	}
}

// within transforms a part of what is transformed. It finishes each half before it
// begins the next, while that is in the processor's cache.
func (f *fft) within(x []complex128) {
	if len(x) > 1<<12 {
		f.within(x[:len(x)/2])
		f.within(x[len(x)/2:])
		f.merge(x)
		return
	}
	for n := 2; n <= len(x); n *= 2 {
		for start := 0; start < len(x); start += n {
			f.merge(x[start : start+n])
		}
	}
}

// merge makes the transform of x out of those of its halves.
func (f *fft) merge(x []complex128) {
	stride := f.n / len(x)
	a, b := x[:len(x)/2], x[len(x)/2:]
	for k := range a {
		t := b[k] * f.roots[k*stride]
		a[k], b[k] = a[k]+t, a[k]-t
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
