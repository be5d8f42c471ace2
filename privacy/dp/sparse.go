package dp

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"sync"
)

// SparseVector says of one answer after another whether it is above a
// threshold, and pays only for those that are. It stops after a number of them.
//
// Of the six variants in print four are broken; this is the one that is right
// and leaks least (Lyu, Su, Li 2017, algorithm 7 without its numeric answers): the
// threshold's noise is drawn once, each answer gets noise of its own that grows
// with the number of positives, noise never leaves, and the budget is split
// between the two as their section 4.2 finds best. It is made by
// [NewSparseVector] and safe for concurrent use.
type SparseVector struct {
	mu        sync.Mutex
	src       Source
	noise     *laplace
	threshold *big.Int
	left      int
}

// ErrExhausted is what a mechanism answers that has given all it was paid for.
var ErrExhausted = errors.New("the budget of this mechanism is spent: make another, and pay for it")

// NewSparseVector is ready to say "above" count times. The sensitivity is that of
// each answer alone (its Linf), and all answers together are
// epsilon-differentially private.
func NewSparseVector(src Source, threshold int64, count int, s Sensitivity, epsilon float64) (*SparseVector, error) {
	if err := cmp.Or(s.check(), checkEpsilon(epsilon)); err != nil {
		return nil, err
	}
	if count < 1 || count > math.MaxInt32 {
		return nil, fmt.Errorf("count %d: must be between 1 and 2^31-1", count)
	}
	// The answers' share is what is left of epsilon after the threshold's, in
	// fractions, so that the two never add up to more.
	weight := math.Cbrt(math.Pow(float64(count)*float64(s.moves())/float64(s.linf), 2))
	share := rat(epsilon / (1 + weight))
	rest := new(big.Rat).Sub(rat(epsilon), share)
	first, err := newLaplace(roundUp(new(big.Rat).Quo(new(big.Rat).SetInt64(s.linf), share), 40))
	if err != nil {
		return nil, err
	}
	moves := new(big.Rat).SetInt(new(big.Int).Mul(big.NewInt(int64(count)), big.NewInt(s.moves())))
	noise, err := newLaplace(roundUp(moves.Quo(moves, rest), 40))
	if err != nil {
		return nil, err
	}
	var buf [small]byte
	c := src.open(buf[:])
	defer c.close()
	noisy := new(big.Int).Add(big.NewInt(threshold), big.NewInt(first.draw(&c)))
	return &SparseVector{src: src, noise: noise, threshold: noisy, left: count}, nil
}

// Above says whether an answer is above the threshold, both with noise. After the
// last positive it returns [ErrExhausted].
func (v *SparseVector) Above(answer int64) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left == 0 {
		return false, ErrExhausted
	}
	var buf [small]byte
	c := v.src.open(buf[:])
	defer c.close()
	noisy := new(big.Int).Add(big.NewInt(answer), big.NewInt(v.noise.draw(&c)))
	if noisy.Cmp(v.threshold) < 0 {
		return false, nil
	}
	v.left--
	return true, nil
}
