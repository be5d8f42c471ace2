//go:build cgo

package tensor

/*
#cgo CFLAGS: -O3
#include <stddef.h>

// The compiler vectorises this loop; the clones pick the widest vectors that
// the processor has, at load time.
#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void sign_step(float *restrict x, const float *restrict o, const float *restrict g, size_t n,
                      float step, float eps, float lo, float hi) {
	for (size_t j = 0; j < n; j++) {
		float y = x[j] + step * (float)((g[j] > 0) - (g[j] < 0));
		float a = o[j] - eps, b = o[j] + eps;
		a = a > lo ? a : lo;
		b = b < hi ? b : hi;
		y = y > a ? y : a;
		x[j] = y < b ? y : b;
	}
}

void redoubt_sign_step(float *x, const float *o, const float *g, size_t n,
                       float step, float eps, float lo, float hi) {
	sign_step(x, o, g, n, step, eps, lo, hi);
}
*/
import "C"

import "unsafe"

// SignStep moves x by step along the sign of g (zero stays), then into the
// interval of radius eps around origin and into [lo, hi]. The slices have one
// length. It is the inner loop of Linf attacks, written in C because Go does
// not vectorise: it costs less than a thirtieth of the gradient before it.
func SignStep(x, origin, g []float32, step, eps, lo, hi float32) {
	if len(x) == 0 {
		return
	}
	_, _ = origin[len(x)-1], g[len(x)-1]
	C.redoubt_sign_step((*C.float)(unsafe.Pointer(&x[0])), (*C.float)(unsafe.Pointer(&origin[0])),
		(*C.float)(unsafe.Pointer(&g[0])), C.size_t(len(x)), C.float(step), C.float(eps), C.float(lo), C.float(hi))
}
