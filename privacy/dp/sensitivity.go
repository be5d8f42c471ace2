package dp

import (
	"cmp"
	"errors"
	"math"
	"math/big"
)

// Contribution bounds what one privacy unit, usually a person, adds to an answer
// of one number for each group. It must be enforced before the sum: rows beyond
// the bounds dropped, values clamped. All numbers are in steps of the [Grid].
type Contribution struct {
	// Groups is how many numbers of the answer a unit may touch; 0 means 1.
	Groups int64
	// Among is how many numbers the answer has, 0 if that is not known before.
	// Where it is 1, as for a total, noise under replace is less.
	Among int64
	// Rows is how many rows it may have in each of them; 0 means 1.
	Rows int64
	// Low and High bound the value of a row. Required: to count, both are 1.
	Low, High int64
}

// Sensitivity is how far an answer moves between two neighbouring data sets. It
// is made by [Contribution.Sensitivity] alone, so that no noise is scaled to a
// number somebody believed.
type Sensitivity struct {
	adjacency Adjacency
	l0        int64
	l1, l2    *big.Int // of l2 the square
	linf      int64
	oneWay    bool
}

// Sensitivity derives it. In a group, a unit's rows sum to somewhere between
// min(0, Rows*Low) and max(0, Rows*High), as it may also have no rows there. Let M
// be the greater of these in size and R their distance. When the unit comes or
// goes, Groups numbers move by M. When another takes its place, numbers move by R
// where both have rows, and by M where one of them has. The norms are linear in
// how many groups the two share, so that either all is the worst or as few as can
// be.
func (c Contribution) Sensitivity(a Adjacency) (Sensitivity, error) {
	if err := cmp.Or(a.Check(), c.check()); err != nil {
		return Sensitivity{}, err
	}
	groups := max(c.Groups, 1)
	touched := 2 * groups // by two units that share as few groups as can be
	if c.Among > 0 {
		groups, touched = min(groups, c.Among), min(touched, c.Among)
	}
	rows := big.NewInt(max(c.Rows, 1))
	low := mul(rows, big.NewInt(min(c.Low, 0)))
	high := mul(rows, big.NewInt(max(c.High, 0)))
	size, spread := new(big.Int).Neg(low), new(big.Int).Sub(high, low)
	if high.Cmp(size) > 0 {
		size = high
	}
	s := Sensitivity{adjacency: a, l0: groups, oneWay: a == AddRemove && (c.Low >= 0 || c.High <= 0)}
	g, linf := big.NewInt(groups), size
	s.l1, s.l2 = mul(g, size), mul(g, size, size)
	if a == Replace {
		shared, single := big.NewInt(2*groups-touched), big.NewInt(2*(touched-groups))
		s.l0, linf = touched, spread
		s.l1 = mul(shared, spread)
		s.l1.Add(s.l1, mul(single, size)) // all shared is no worse: spread <= 2*size
		s.l2 = mul(shared, spread, spread)
		s.l2.Add(s.l2, mul(single, size, size))
		if all := mul(g, spread, spread); all.Cmp(s.l2) > 0 {
			s.l2 = all
		}
	}
	if s.l1.BitLen() > 52 {
		return Sensitivity{}, errors.New("contribution bounds: one unit may move the answer by 2^52 steps or more; take a coarser grid or tighter bounds")
	}
	s.linf = linf.Int64()
	return s, nil
}

func (c Contribution) check() error {
	switch {
	case c.Groups < 0 || c.Rows < 0 || c.Among < 0:
		return errors.New("contribution bounds: groups, numbers and rows must not be negative")
	case c.Groups > math.MaxInt32 || c.Among > math.MaxInt32:
		return errors.New("contribution bounds: groups and numbers must be less than 2^31")
	case c.Low > c.High:
		return errors.New("contribution bounds: low is above high")
	case c.Low == 0 && c.High == 0:
		return errors.New("contribution bounds: low and high are both 0, so that nobody contributes anything; to count, set both to 1")
	}
	return nil
}

func mul(xs ...*big.Int) *big.Int {
	p := big.NewInt(1)
	for _, x := range xs {
		p.Mul(p, x)
	}
	return p
}

// Adjacency is the relation that the sensitivity was derived for.
func (s Sensitivity) Adjacency() Adjacency { return s.adjacency }

// L0 is how many numbers of the answer move.
func (s Sensitivity) L0() int64 { return s.l0 }

// L1 is by how much they move in sum.
func (s Sensitivity) L1() int64 { return s.l1.Int64() }

// L2 is the Euclidean length of the move.
func (s Sensitivity) L2() float64 { return math.Sqrt(s.l2Squared()) }

// Linf is the farthest that one number moves.
func (s Sensitivity) Linf() int64 { return s.linf }

func (s Sensitivity) l2Squared() float64 {
	f, _ := new(big.Float).SetInt(s.l2).Float64()
	return f
}

// check refuses the zero value.
func (s Sensitivity) check() error {
	if s.l1 == nil {
		return errors.New("no sensitivity given: derive one from contribution bounds and an adjacency")
	}
	return nil
}
