//go:build !cgo

package tensor

// SignStep moves x by step along the sign of g (zero stays), then into the
// interval of radius eps around origin and into [lo, hi].
func SignStep(x, origin, g []float32, step, eps, lo, hi float32) {
	signStep(x, origin, g, step, eps, lo, hi)
}
