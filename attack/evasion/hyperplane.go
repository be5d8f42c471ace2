package evasion

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// toHyperplane writes to d the smallest move, in the norm, that takes a point x
// of the box to the hyperplane on which w.z takes the value it has at x less
// excess: w.(x+d) = w.x - excess, with x+d in the box. Where the box does not
// reach that far, d goes to the corner nearest to the hyperplane (Croce and
// Hein 2020, arXiv 1907.02044, section 2.2 and appendix A).
//
// In Linf and L2 element j moves min(t v_j, room_j) against the sign of
// excess w_j, with v_j = 1 or |w_j|, for the one t that covers the excess. In
// L1 the elements of largest |w_j| move as far as they can, one after the
// other. Work is memory that calls share.
func toHyperplane(norm Norm, d, x, w []float32, excess float64, box Box, work *[]bend) error {
	s := &slope{w: w, x: x, box: box, down: excess >= 0}
	excess = math.Abs(excess)
	switch norm {
	case Linf, L2:
		t := s.time(excess, norm == L2, work)
		for j := range d {
			v := 1.0
			if norm == L2 {
				v = math.Abs(float64(w[j]))
			}
			d[j] = 0
			if room := s.room(j); room > 0 {
				d[j] = s.move(j, math.Min(t*v, room))
			}
		}
	case L1:
		s.greedy(d, excess)
	default:
		return fmt.Errorf("no projection onto a hyperplane in %s", norm.Name())
	}
	return nil
}

// slope is a linear function w.z to be taken down, or up, from x in the box.
type slope struct {
	w, x []float32
	box  Box
	down bool
}

// falls reports whether element j falls to take the function the right way.
func (s *slope) falls(j int) bool { return s.w[j] > 0 == s.down }

// room is how far element j can move that way; none where it has no influence.
func (s *slope) room(j int) float64 {
	w := s.w[j]
	if w == 0 {
		return 0
	}
	lo, hi := s.box.At(j)
	if w > 0 == s.down {
		return float64(s.x[j] - lo)
	}
	return float64(hi - s.x[j])
}

// move gives a distance the direction of element j.
func (s *slope) move(j int, distance float64) float32 {
	if s.falls(j) {
		return float32(-distance)
	}
	return float32(distance)
}

// bend is where an element stops: at a time it has covered its share, until
// then at a rate.
type bend struct{ at, rate, share float64 }

// time solves sum_j |w_j| min(t v_j, room_j) = excess for t, with v_j = |w_j|
// if weighted and 1 if not; +Inf where the box is too small. The sum is
// concave, increasing and made of straight pieces, so Newton's method from 0
// approaches the solution from below and is there after finitely many passes,
// each over the elements that still move.
func (s *slope) time(excess float64, weighted bool, work *[]bend) float64 {
	moving, rate := (*work)[:0], 0.0
	for j, w := range s.w {
		room := s.room(j)
		if room <= 0 {
			continue
		}
		size := math.Abs(float64(w))
		v := 1.0
		if weighted {
			v = size
		}
		moving = append(moving, bend{room / v, size * v, size * room})
		rate += size * v
	}
	*work = moving
	t, rest := 0.0, excess // what elements that still move must cover
	for rate > 0 {
		next := rest / rate
		if !(next > t) { // rounding may take it back a little
			return t
		}
		t, rate = next, 0
		kept := moving[:0]
		for _, b := range moving {
			if b.at > t {
				kept = append(kept, b)
				rate += b.rate
			} else {
				rest -= b.share
			}
		}
		if len(kept) == len(moving) {
			return t
		}
		moving = kept
	}
	return math.Inf(1)
}

// greedy moves the most influential elements first, the lower index first
// among equals.
func (s *slope) greedy(d []float32, excess float64) {
	clear(d)
	order := make([]int, 0, len(d))
	for j := range d {
		if s.room(j) > 0 {
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Compare(max(s.w[j], -s.w[j]), max(s.w[i], -s.w[i]))
	})
	for _, j := range order {
		size := math.Abs(float64(s.w[j]))
		distance := math.Min(excess/size, s.room(j))
		d[j] = s.move(j, distance)
		if excess -= size * distance; !(excess > 0) {
			return
		}
	}
}
