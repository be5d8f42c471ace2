package certify

import "math"

// The functions of this file define what kernels_cgo.go computes with vectors;
// builds without a C compiler run them as they are.

// columns is a matrix of k rows and n columns as a right operand. [packed]
// ones lie in panels of eight columns, so that the inner loop of a product
// reads memory in order. Element (i, j) lies at data[j/8*step + i*ldb + j%8].
type columns struct {
	data      []float64
	k, n      int
	ldb, step int
}

// unpacked reads a row-major matrix where it lies, which is right for matrices
// of few rows that are used once.
func unpacked(data []float64, k, n int) columns {
	return columns{data, k, n, n, 8}
}

// packed copies a matrix given by its elements into panels.
func packed(k, n int, at func(i, j int) float64) columns {
	c := columns{data: make([]float64, (n+7)/8*8*k), k: k, n: n, ldb: 8, step: 8 * k}
	for j := range n {
		for i := range k {
			c.data[j/8*c.step+i*8+j%8] = at(i, j)
		}
	}
	return c
}

// last is the position of the last element.
func (c columns) last() int {
	j := c.n - 1
	return j/8*c.step + (c.k-1)*c.ldb + j%8
}

// multiplyPlain is c = a b, or c += a b: a is rows times k, c rows times n,
// both row-major and without gaps.
func multiplyPlain(c, a []float64, b columns, rows int, add bool) {
	for r := range rows {
		out := c[r*b.n : (r+1)*b.n]
		if !add {
			clear(out)
		}
		for p, v := range a[r*b.k : (r+1)*b.k] {
			if v == 0 {
				continue
			}
			for j := range out {
				out[j] += v * b.data[j/8*b.step+p*b.ldb+j%8]
			}
		}
	}
}

// relaxation is the linear bounds of the ReLUs of one layer:
// low h <= max(h, 0) <= up h + shift.
type relaxation struct{ low, up, shift []float64 }

// relaxBackPlain takes coefficients of a layer's outputs to coefficients of its
// inputs, so that the sum does not grow: a positive one through the lower
// bound, a negative one through the upper. It returns the constant that is
// left over.
func relaxBackPlain(pre, post []float64, r relaxation, add bool) float64 {
	constant := 0.0
	for i, v := range post {
		p := v * r.low[i]
		if v < 0 {
			p = v * r.up[i]
			constant += v * r.shift[i]
		}
		if add {
			p += pre[i]
		}
		pre[i] = p
	}
	return constant
}

// relaxForwardPlain is the output z of the relaxed layer at h: the bound that
// the coefficient post chose.
func relaxForwardPlain(z, h, post []float64, r relaxation) {
	for i, v := range post {
		z[i] = r.low[i] * h[i]
		if v < 0 {
			z[i] = r.up[i]*h[i] + r.shift[i]
		}
	}
}

// weighPlain is a . c - |a| . r: the least of a . x over the box with centre c
// and radii r.
func weighPlain(a, c, r []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += v*c[i] - math.Abs(v)*r[i]
	}
	return s
}

// adam is one step's constants of Adam (Kingma and Ba 2014, arXiv 1412.6980)
// with its usual decay rates: the step size over the correction of the first
// moment, and the correction of the second.
type adam struct{ step, second float64 }

const decay1, decay2 = 0.9, 0.999

// adamAt is Adam's step t, from 1.
func adamAt(t int, rate float64) adam {
	return adam{rate / (1 - math.Pow(decay1, float64(t))), 1 / (1 - math.Pow(decay2, float64(t)))}
}

// climb moves a number up its gradient g; m and v are its moments.
func (a adam) climb(x, g float64, m, v *float64) float64 {
	*m = decay1**m + (1-decay1)*g
	*v = decay2**v + (1-decay2)*g*g
	return x + a.step**m/(math.Sqrt(*v*a.second)+1e-12)
}

// climbSlopesPlain takes one step on the lower slopes that are free to move,
// those of neurons with a shift, and keeps them between 0 and 1. The gradient
// of a bound in such a slope is post h where the slope was used.
func climbSlopesPlain(r relaxation, m, v, post, h []float64, a adam) {
	for i, p := range post {
		g := 0.0
		if p > 0 && r.shift[i] > 0 {
			g = p * h[i]
		}
		r.low[i] = min(max(a.climb(r.low[i], g, &m[i], &v[i]), 0), 1)
	}
}
