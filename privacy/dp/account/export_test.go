package account

// Divergence is the Rényi divergence of a plan, exactly.
func Divergence(p Plan, order float64) float64 { return Renyi{Exact: true}.curve(p)(order) }

// Convert is the best epsilon of a curve over orders.
func Convert(curve func(float64) float64, orders []float64, delta float64) (least, at float64) {
	r := Renyi{Orders: orders}
	return r.best(curve, func(order, rdp float64) float64 { return r.epsilon(order, rdp, delta) })
}

// Series is the same as the libraries bound it.
func Series(p Plan, order float64) float64 { return Renyi{}.curve(p)(order) }

// Attained says whether a lower bound is one for every accountant.
func Attained(p Plan) bool { return p.attained() }
