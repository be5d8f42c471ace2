package dp

import (
	"cmp"
	"errors"
	"math/big"
)

// Exponential chooses an index with probability proportional to exp(epsilon
// score / (2 Linf)) (McSherry and Talwar 2007), without the 2 where a unit can
// move all scores one way only, such as counts under add-remove. It is exact: an
// index drawn evenly is kept with the probability that its score falls short of
// the best, and drawn again otherwise, which takes at most as many tries as there
// are scores, on average. Scores are whole numbers, on a grid.
func Exponential(src Source, scores []int64, s Sensitivity, epsilon float64) (int, error) {
	short, err := shortfalls(scores, s, epsilon)
	if err != nil {
		return 0, err
	}
	var buf [small]byte // two tries are enough mostly
	c := src.open(buf[:])
	defer c.close()
	for {
		i := int(c.uniform(uint64(len(short))))
		if c.exp(short[i]) {
			return i, nil
		}
	}
}

// PermuteAndFlip chooses as [Exponential] does, at the same cost in privacy, but
// is never worse and up to twice as good: each index has only one chance, in
// random order (McKenna and Sheldon 2020).
func PermuteAndFlip(src Source, scores []int64, s Sensitivity, epsilon float64) (int, error) {
	short, err := shortfalls(scores, s, epsilon)
	if err != nil {
		return 0, err
	}
	c := src.open(make([]byte, ahead(len(scores))))
	defer c.close()
	order := make([]int, len(short))
	for i := range order {
		order[i] = i
	}
	for left := len(order); ; left-- { // the best score is kept for certain
		at := c.uniform(uint64(left))
		i := order[at]
		if c.exp(short[i]) {
			return i, nil
		}
		order[at] = order[left-1]
	}
}

// shortfalls are epsilon (best - score)/(2 Linf), exactly but for an epsilon
// rounded down to 40 bits.
func shortfalls(scores []int64, s Sensitivity, epsilon float64) ([]ratio, error) {
	scale, err := choiceScale(scores, s, epsilon)
	if err != nil {
		return nil, err
	}
	best := scores[0]
	for _, x := range scores {
		best = max(best, x)
	}
	out := make([]ratio, len(scores))
	for i, x := range scores {
		gap := new(big.Int).Sub(big.NewInt(best), big.NewInt(x))
		out[i] = newRatio(new(big.Rat).Quo(new(big.Rat).SetInt(gap), scale))
	}
	return out, nil
}

// choiceScale is 2 Linf/epsilon, or half that, rounded up.
func choiceScale(scores []int64, s Sensitivity, epsilon float64) (*big.Rat, error) {
	if len(scores) == 0 {
		return nil, errors.New("no scores to choose from")
	}
	if err := cmp.Or(s.check(), checkEpsilon(epsilon)); err != nil {
		return nil, err
	}
	return roundUp(new(big.Rat).Quo(new(big.Rat).SetInt64(s.moves()), rat(epsilon)), 40), nil
}

// moves is by how much two scores can move against each other.
func (s Sensitivity) moves() int64 {
	if s.oneWay {
		return s.linf
	}
	return 2 * s.linf
}

// NoisyMax is the index of the greatest score after noise, one-sided geometric of
// scale 2 Linf/epsilon or half that as in [Exponential]; the first index wins a
// tie. It is epsilon-differentially private whatever the number of scores (Dwork
// and Roth 2014, section 3.3; Ding and others 2021). The proof asks that P(noise
// >= k+d) is at least exp(-d/scale) P(noise >= k) for every k, which holds on the
// whole numbers too, and that a winner with more noise still wins, which a fixed
// order of ties leaves true.
func NoisyMax(src Source, scores []int64, s Sensitivity, epsilon float64) (int, error) {
	scale, err := choiceScale(scores, s, epsilon)
	if err != nil {
		return 0, err
	}
	noise, err := newLaplace(scale)
	if err != nil {
		return 0, err
	}
	c := src.open(make([]byte, ahead(len(scores))))
	defer c.close()
	winner, most := 0, new(big.Int)
	for i, x := range scores {
		y := new(big.Int).Add(big.NewInt(x), big.NewInt(noise.magnitude(&c))) // a sum that saturates would make ties
		if i == 0 || y.Cmp(most) > 0 {
			winner, most = i, y
		}
	}
	return winner, nil
}
