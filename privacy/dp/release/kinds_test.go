package release

import (
	"math"
	"testing"
)

// The lower end of an interval about few values is zero, and not printed as -0.
func TestDistinctEndsAtZero(t *testing.T) {
	got := distinct(Statistic{Bits: 64}).answer([][]int64{{2}}, []spread{{one: 5}})[0]
	if got.Low != 0 || math.Signbit(got.Low) || got.Value <= 0 || got.High <= got.Value {
		t.Errorf("got %+v, want a value above the lower end, 0", got)
	}
}
