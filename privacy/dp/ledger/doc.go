// Package ledger keeps privacy budgets that outlive the process: who spent how
// much of which data set's budget, on what, and what is left.
//
//	l, err := ledger.Open(ctx, db)
//	err = l.Create(ctx, ledger.Budget{
//		Dataset: "visits", Unit: "patient", Adjacency: dp.AddRemove,
//		Guarantee: dp.Guarantee{Epsilon: 3, Delta: 1e-6}, Rule: ledger.Filter,
//	}, "alice")
//	r, err := l.Reserve(ctx, ledger.Request{
//		Dataset: "visits", Unit: "patient", By: "alice", Key: "report-2026-11",
//		Adjacency: dp.AddRemove,
//		Steps: []account.Step{{Mechanism: account.Gaussian{StdDev: 8, Clip: 1}, Times: 1}},
//	})
//	// read the data, bound contributions, add up; then, before any noise:
//	err = l.Commit(ctx, r.ID)
//
// A reservation counts as spent from the moment it is made. It ends in one of
// two ways and never in both: committed, after which noise may be drawn and
// nothing brings the budget back, or refunded, after which it cannot be
// committed. One that is never ended stays spent. Its owner may refund it at any
// time, others when it has expired, for nobody can commit it then.
//
// # What a release costs
//
// What is kept is what was done, mechanisms with their noise and bounds, and not
// an epsilon; see package account. The [Rule] of a budget says how that is added
// up:
//
//   - Filter holds however the parameters of each release were chosen, also from
//     the answers of earlier ones. It adds pure epsilons (Rogers, Roth, Ullman and
//     Vadhan 2016, arXiv 1605.08294) and zero-concentrated losses (Whitehouse,
//     Ramdas, Rogers and Wu 2023, arXiv 2203.05481) side by side, and admits while
//     one of the sums is within its bound. See doc of [Filter] for the proof that
//     this is sound.
//   - Composed composes privacy loss distributions. It is tighter and knows
//     amplification by sampling, and holds when the parameters of releases do
//     not depend on earlier answers: a training run, a yearly publication.
//
// # What is promised
//
// Transactions are serialisable, so that no interleaving, crash, lost
// connection or second node makes a budget go further than it does. Times are
// notes for people and decide only when a reservation expires; a clock that jumps
// refuses commits or allows refunds, never both for one reservation. Each entry
// holds the SHA-256 of the one before it: [Ledger.Verify] finds what was changed,
// left out or put in by whoever could write to the database, but for one who
// wrote the whole chain anew. Note the head that it returns elsewhere, in the
// log of package watch/audit for instance, and such a one is found too.
//
// What is not promised: that spenders tell the truth about their noise, or that
// two budgets for the same people add up. One data set, one budget.
package ledger
