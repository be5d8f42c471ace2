package tensor

// signStep is the definition that the vectorised SignStep must agree with.
func signStep(x, origin, g []float32, step, eps, lo, hi float32) {
	for j, v := range g {
		y := x[j]
		if v > 0 {
			y += step
		} else if v < 0 {
			y -= step
		}
		x[j] = min(max(y, origin[j]-eps, lo), origin[j]+eps, hi)
	}
}
