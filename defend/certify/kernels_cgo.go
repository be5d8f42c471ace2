//go:build cgo

package certify

/*
#cgo CFLAGS: -O3
#cgo LDFLAGS: -lm
// Without these the compiler keeps the square roots one by one.
#pragma GCC optimize ("no-math-errno", "no-trapping-math")
#include <math.h>
#include <stddef.h>

typedef double v8 __attribute__((vector_size(64), aligned(8)));

// The clones pick the widest vectors that the processor has, at load time.
#if defined(__x86_64__) && defined(__linux__)
#define VECTOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define VECTOR
#endif

// Six rows of the result, eight columns at a time, stay in registers while the
// sum runs: the smallest tile that keeps the multipliers of AVX2 busy.
#define ROWS 6
#define TILE(r) { v8 s[r]; \
	for (int i = 0; i < r; i++) s[i] = (v8){0}; \
	for (size_t p = 0; p < k; p++) { \
		v8 t = *(const v8 *)(b + p * ldb); \
		_Pragma("GCC unroll 6") \
		for (int i = 0; i < r; i++) s[i] += a[i * k + p] * t; \
	} \
	if (add) for (int i = 0; i < r; i++) *(v8 *)(c + i * n) += s[i]; \
	else for (int i = 0; i < r; i++) *(v8 *)(c + i * n) = s[i]; }

VECTOR
static void multiply(double *c0, const double *a0, const double *b0, size_t ldb, size_t step,
                     size_t rows, size_t k, size_t n, int add) {
	// A block of rows stays in the second cache while the panels pass by.
	for (size_t block = 0; block < rows; block += 96) {
		size_t end = block + 96 < rows ? block + 96 : rows;
		size_t j = 0;
		for (; j + 8 <= n; j += 8) {
			const double *b = b0 + j / 8 * step;
			for (size_t r = block; r < end; r += ROWS) {
				const double *a = a0 + r * k;
				double *c = c0 + r * n + j;
				switch (end - r) {
				case 1: TILE(1) break;
				case 2: TILE(2) break;
				case 3: TILE(3) break;
				case 4: TILE(4) break;
				case 5: TILE(5) break;
				default: TILE(ROWS)
				}
			}
		}
		const double *b = b0 + j / 8 * step;
		for (size_t r = block; j < n && r < end; r++)
			for (size_t q = 0; q < n - j; q++) {
				double s = 0;
				for (size_t p = 0; p < k; p++)
					s += a0[r * k + p] * b[p * ldb + q];
				c0[r * n + j + q] = add ? c0[r * n + j + q] + s : s;
			}
	}
}

void redoubt_multiply(double *c, const double *a, const double *b, size_t ldb, size_t step,
                      size_t rows, size_t k, size_t n, int add) {
	multiply(c, a, b, ldb, step, rows, k, n, add);
}

VECTOR
static double relax_back(double *restrict pre, const double *restrict post, const double *restrict low,
                         const double *restrict up, const double *restrict shift, size_t n, double keep) {
	double s[8] = {0};
	for (size_t i = 0; i < n; i += 8)
		for (size_t j = 0; j < 8 && i + j < n; j++) {
			double v = post[i + j];
			double neg = v < 0 ? v : 0, pos = v - neg;
			s[j] += neg * shift[i + j];
			pre[i + j] = keep * pre[i + j] + (pos * low[i + j] + neg * up[i + j]);
		}
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

double redoubt_relax_back(double *pre, const double *post, const double *low, const double *up,
                          const double *shift, size_t n, int add) {
	if (!add)
		for (size_t i = 0; i < n; i++)
			pre[i] = 0;
	return relax_back(pre, post, low, up, shift, n, 1);
}

VECTOR
static void relax_forward(double *restrict z, const double *restrict h, const double *restrict post,
                          const double *restrict low, const double *restrict up, const double *restrict shift, size_t n) {
	for (size_t i = 0; i < n; i++)
		z[i] = post[i] < 0 ? up[i] * h[i] + shift[i] : low[i] * h[i];
}

void redoubt_relax_forward(double *z, const double *h, const double *post, const double *low,
                           const double *up, const double *shift, size_t n) {
	relax_forward(z, h, post, low, up, shift, n);
}

VECTOR
static double weigh(const double *restrict a, const double *restrict c, const double *restrict r, size_t n) {
	double s[8] = {0};
	for (size_t i = 0; i < n; i += 8)
		for (size_t j = 0; j < 8 && i + j < n; j++)
			s[j] += a[i + j] * c[i + j] - fabs(a[i + j]) * r[i + j];
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

double redoubt_weigh(const double *a, const double *c, const double *r, size_t n) {
	return weigh(a, c, r, n);
}

VECTOR
static void climb_slopes(double *restrict low, const double *restrict shift, double *restrict m, double *restrict v,
                         const double *restrict post, const double *restrict h, size_t n, double step, double second) {
	for (size_t i = 0; i < n; i++) {
		double g = (post[i] > 0) & (shift[i] > 0) ? post[i] * h[i] : 0;
		m[i] = 0.9 * m[i] + (1 - 0.9) * g;
		v[i] = 0.999 * v[i] + (1 - 0.999) * g * g;
		double x = low[i] + step * m[i] / (sqrt(v[i] * second) + 1e-12);
		x = x > 0 ? x : 0;
		low[i] = x < 1 ? x : 1;
	}
}

void redoubt_climb_slopes(double *low, const double *shift, double *m, double *v, const double *post,
                          const double *h, size_t n, double step, double second) {
	climb_slopes(low, shift, m, v, post, h, n, step, second);
}
*/
import "C"

import "unsafe"

// at is the address of a slice that holds at least n elements, none if n is 0.
func at(v []float64, n int) *C.double {
	if n == 0 {
		return nil
	}
	return (*C.double)(unsafe.Pointer(&v[:n][0]))
}

// multiply is where bounds spend most of their time. It is written in C
// because Go does not vectorise.
func multiply(c, a []float64, b columns, rows int, add bool) {
	if rows == 0 || b.k == 0 || b.n == 0 {
		multiplyPlain(c, a, b, rows, add)
		return
	}
	C.redoubt_multiply(at(c, rows*b.n), at(a, rows*b.k), at(b.data, b.last()+1), C.size_t(b.ldb), C.size_t(b.step),
		C.size_t(rows), C.size_t(b.k), C.size_t(b.n), truth(add))
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func relaxBack(pre, post []float64, r relaxation, add bool) float64 {
	n := len(post)
	return float64(C.redoubt_relax_back(at(pre, n), at(post, n), at(r.low, n), at(r.up, n), at(r.shift, n), C.size_t(n), truth(add)))
}

func relaxForward(z, h, post []float64, r relaxation) {
	n := len(post)
	C.redoubt_relax_forward(at(z, n), at(h, n), at(post, n), at(r.low, n), at(r.up, n), at(r.shift, n), C.size_t(n))
}

func weigh(a, c, r []float64) float64 {
	n := len(a)
	return float64(C.redoubt_weigh(at(a, n), at(c, n), at(r, n), C.size_t(n)))
}

func climbSlopes(r relaxation, m, v, post, h []float64, a adam) {
	n := len(post)
	C.redoubt_climb_slopes(at(r.low, n), at(r.shift, n), at(m, n), at(v, n), at(post, n), at(h, n), C.size_t(n), C.double(a.step), C.double(a.second))
}
