//go:build !cgo

package certify

func multiply(c, a []float64, b columns, rows int, add bool) { multiplyPlain(c, a, b, rows, add) }

func relaxBack(pre, post []float64, r relaxation, add bool) float64 {
	return relaxBackPlain(pre, post, r, add)
}

func relaxForward(z, h, post []float64, r relaxation) { relaxForwardPlain(z, h, post, r) }

func weigh(a, c, r []float64) float64 { return weighPlain(a, c, r) }

func climbSlopes(r relaxation, m, v, post, h []float64, a adam) {
	climbSlopesPlain(r, m, v, post, h, a)
}
