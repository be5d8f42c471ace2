// Package dp adds exact noise to integers, so that a claim of differential
// privacy is true of the numbers that leave the program and not only of the
// real numbers in a proof.
//
// Say what one person can do to the answer, and under which [Adjacency]. The
// sensitivity follows; it cannot be typed in:
//
//	visits := dp.Contribution{Groups: 3, High: 1, Low: 1}  // counted once, in 3 wards at most
//	s, err := visits.Sensitivity(dp.AddRemove)
//	m, err := dp.Laplace(s, 0.5)                            // epsilon 0.5
//	noisy := m.Release(dp.Source{}, counts)                 // []int64 in, []int64 out
//
// [Gaussian] does the same for an epsilon and a delta, [Exponential],
// [PermuteAndFlip] and [NoisyMax] choose one of many, [SparseVector] says which
// of many answers pass a threshold, [RandomisedResponse] lets each person lie
// for himself, and [Selection] decides which groups may be shown at all.
//
// Real values are put on a grid first ([Grid]), clamped there, and summed in
// whole numbers ([Sum]): sums of floats depend on their order, and noise in
// floats has gaps that name the data they were added to. NaN and the infinities
// are refused before anything is drawn or spent.
//
// What is promised: every coin is drawn by integer arithmetic from
// crypto/rand with exactly the probability that the paper says. Scales are
// rounded up to the grid that the samplers work on, never down. Random bytes
// are used once, wiped, and not kept between calls, so that neither goroutines
// nor a copied process can share them. A result that would leave int64
// saturates, which is post-processing and costs nothing.
//
// What is not promised: samplers reject and try again, so the time they take
// depends on the noise; who can time single releases to nanoseconds learns
// something of it. Budgets are the accountant's and the ledger's business, in
// the packages beside this one; the [Manager] here keeps one in memory.
package dp
