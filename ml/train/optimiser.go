package train

import "math"

// Optimiser says how a gradient becomes a step. [SGD], [Momentum] and [Adam]
// make one. Its state lives in the training graph.
type Optimiser struct {
	// slots is the number of tensors of state that a weight has, zero at first.
	slots int
	// scalars are the numbers that depend on the step, counted from 0.
	scalars func(step int) []float32
	// direction adds to the graph what turns a gradient into the direction of
	// a step; it also returns the next state.
	direction func(b *builder, grad string, state, scalars []string) (string, []string)
}

func none(int) []float32 { return nil }

// SGD steps along the gradient.
func SGD() Optimiser {
	return Optimiser{0, none, func(_ *builder, g string, _, _ []string) (string, []string) { return g, nil }}
}

// Momentum steps along v = mu v + g (Polyak 1964, in the form of Sutskever et
// al. 2013 without the look-ahead). mu is commonly 0.9.
func Momentum(mu float64) Optimiser {
	return Optimiser{1, none, func(b *builder, g string, state, _ []string) (string, []string) {
		v := b.op("Add", b.op("Mul", state[0], b.scalar(mu)), g)
		return v, []string{v}
	}}
}

// Adam divides a running mean of the gradient by the root of a running mean of
// its square, both corrected for starting at zero (Kingma and Ba 2015,
// algorithm 1; usually 0.9, 0.999 and 1e-8).
func Adam(beta1, beta2, epsilon float64) Optimiser {
	corrections := func(step int) []float32 {
		t := float64(step + 1)
		return []float32{float32(1 / (1 - math.Pow(beta1, t))), float32(1 / (1 - math.Pow(beta2, t)))}
	}
	return Optimiser{2, corrections, func(b *builder, g string, state, scalars []string) (string, []string) {
		m := b.op("Add", b.op("Mul", state[0], b.scalar(beta1)), b.op("Mul", g, b.scalar(1-beta1)))
		v := b.op("Add", b.op("Mul", state[1], b.scalar(beta2)), b.op("Mul", b.op("Mul", g, g), b.scalar(1-beta2)))
		root := b.op("Sqrt", b.op("Mul", v, scalars[1]))
		return b.op("Div", b.op("Mul", m, scalars[0]), b.op("Add", root, b.scalar(epsilon))), []string{m, v}
	}}
}

// Schedule is the learning rate when the fraction t of the steps is done,
// 0 <= t < 1.
type Schedule func(t float64) float64

// Constant is the same rate throughout.
func Constant(rate float64) Schedule { return func(float64) float64 { return rate } }

// Steps multiplies the rate by factor at each of the given fractions.
func Steps(rate, factor float64, at ...float64) Schedule {
	return func(t float64) float64 {
		r := rate
		for _, a := range at {
			if t >= a {
				r *= factor
			}
		}
		return r
	}
}

// Cosine falls from the rate to zero along half a cosine (Loshchilov and
// Hutter 2017, without restarts).
func Cosine(rate float64) Schedule {
	return func(t float64) float64 { return rate * (1 + math.Cos(math.Pi*t)) / 2 }
}

// Cyclic rises in a straight line from zero to the peak at the fraction up,
// and falls to zero at the end (Smith 2017, one cycle).
func Cyclic(peak, up float64) Schedule {
	return func(t float64) float64 {
		if t < up {
			return peak * t / up
		}
		return peak * (1 - t) / (1 - up)
	}
}
