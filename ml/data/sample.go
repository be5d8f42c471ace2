package data

import (
	"math/rand/v2"
	"slices"
)

// Pick is the set of the samples at the given positions, in that order. The
// samples are copied, the descriptions shared.
func (s *Set) Pick(at []int) *Set {
	out := *s
	out.X = s.X.Gather(at)
	out.Y, out.Rows = make([]int, len(at)), make([]int, len(at))
	for i, j := range at {
		out.Y[i], out.Rows[i] = s.Y[j], j
		if s.Rows != nil {
			out.Rows[i] = s.Rows[j]
		}
	}
	return &out
}

// Head is the first n samples, or all if there are fewer. It shares memory
// with s.
func (s *Set) Head(n int) *Set {
	out := *s
	n = min(max(n, 0), len(s.Y))
	out.X, out.Y = s.X.Slice(0, n), s.Y[:n:n]
	if s.Rows != nil {
		out.Rows = s.Rows[:n:n]
	}
	return &out
}

// Stratified is n samples with every class in its share, drawn without
// replacement and the same for the same seed, in the order of the set. Shares
// are rounded by largest remainder, the lower class first on a tie. All
// samples are returned if there are no more than n.
func (s *Set) Stratified(n int, seed uint64) *Set {
	if n >= len(s.Y) {
		return s.Head(n)
	}
	return s.Pick(s.draw(max(n, 0), seed))
}

// Split parts the set in two, share of it (between 0 and 1) in the first, with
// every class in its share on both sides and the same for the same seed.
func (s *Set) Split(share float64, seed uint64) (first, second *Set) {
	n := int(min(max(share, 0), 1)*float64(len(s.Y)) + 0.5)
	in := s.draw(n, seed)
	var rest []int
	for i := range s.Y {
		if _, found := slices.BinarySearch(in, i); !found {
			rest = append(rest, i)
		}
	}
	return s.Pick(in), s.Pick(rest)
}

// draw chooses n positions, stratified, in ascending order.
func (s *Set) draw(n int, seed uint64) []int {
	members := map[int][]int{}
	for i, y := range s.Y {
		members[y] = append(members[y], i)
	}
	classes := make([]int, 0, len(members))
	for y := range members {
		classes = append(classes, y)
	}
	slices.Sort(classes)

	var out []int
	for k, quota := range quotas(n, len(s.Y), classes, members) {
		// A stream of its own for each class: that one class gains a sample
		// does not change what is drawn from the others.
		rng := rand.New(rand.NewPCG(seed, uint64(classes[k])))
		of := slices.Clone(members[classes[k]])
		rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		out = append(out, of[:quota]...)
	}
	slices.Sort(out)
	return out
}

// quotas shares n of total among the classes by largest remainder (Hamilton's
// method), in whole numbers throughout.
func quotas(n, total int, classes []int, members map[int][]int) []int {
	quota, byRemainder := make([]int, len(classes)), make([]int, len(classes))
	left := n
	for k, y := range classes {
		quota[k], byRemainder[k] = len(members[y])*n/total, k
		left -= quota[k]
	}
	slices.SortStableFunc(byRemainder, func(a, b int) int {
		return len(members[classes[b]])*n%total - len(members[classes[a]])*n%total
	})
	for _, k := range byRemainder[:left] {
		quota[k]++
	}
	return quota
}
