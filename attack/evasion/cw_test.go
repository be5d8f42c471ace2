package evasion

import (
	"math"
	"testing"
)

// The search for the weight closes in on the least that succeeds: from 1e-3 it
// goes up tenfold, then halves the interval.
func TestWeight(t *testing.T) {
	for _, least := range []float64{1e-5, 0.0042, 0.37, 8, 1e9} {
		w := weight{c: 1e-3, hi: math.Inf(1)}
		for range 30 {
			w.success = w.c >= least
			w.next()
		}
		if math.Abs(w.c-least) > 1e-3*least {
			t.Errorf("the search ends at %v, want %v", w.c, least)
		}
	}
}
