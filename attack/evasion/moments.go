package evasion

import "math"

// moments is the memory of Adam (Kingma and Ba 2015, arXiv 1412.6980), with its
// authors' decays.
type moments struct {
	m, v []float64
	turn int
}

func newMoments(n int) *moments {
	memory := make([]float64, 2*n)
	return &moments{m: memory[:n], v: memory[n:]}
}

// descend moves w down the gradient g.
func (s *moments) descend(w, g []float64, rate float64) {
	const beta1, beta2 = 0.9, 0.999
	s.turn++
	bias1, bias2 := 1-math.Pow(beta1, float64(s.turn)), 1-math.Pow(beta2, float64(s.turn))
	for j, v := range g {
		s.m[j] += (1 - beta1) * (v - s.m[j])
		s.v[j] += (1 - beta2) * (v*v - s.v[j])
		w[j] -= rate * (s.m[j] / bias1) / (math.Sqrt(s.v[j]/bias2) + 1e-8)
	}
}
