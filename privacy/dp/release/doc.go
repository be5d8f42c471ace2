// Package release publishes statistics about people under differential privacy:
// a query file says what, a ledger pays for it, and the result says beside every
// number what it cost and how far off it may be.
//
//	q, err := release.Parse(text)
//	result, err := release.Run(ctx, q, release.Payment{Ledger: l, By: "alice", Key: "report-2026-11"}, dp.Source{},
//		func(ctx context.Context) (*release.State, error) {
//			return release.Aggregate(ctx, q, "visits.parquet", release.Options{})
//		})
//	err = release.Text(os.Stdout, result)
//
// Many workers can add up: each calls [Aggregate] for its shard of the people and
// writes the [State]; one place reads them, merges them and calls [Run]. Noise is
// drawn there only, once, after the ledger has committed.
//
// # What is promised
//
// Each person contributes at most rows_per_group rows to each of at most
// groups_per_person groups, however many he has; which ones depends on nobody
// else. Values are clamped and become whole numbers before they are added. Noise
// is that of package dp, scaled to sensitivities that follow from these bounds and
// the adjacency. Groups whose names come from the data are named by the selection
// of package dp, which keeps as many as can be under its guarantee. The release as
// a whole has the guarantee that the query asks for, and the ledger is charged
// with the mechanisms that make it up.
//
// Memory is bounded by [Options]: rows beyond it go to a temporary file without a
// name and come back a 256th of the people at a time, and the sums take 8 bytes a
// number and group and worker.
//
// # What is not promised
//
// How long a release takes depends on how many rows, people and groups there are,
// and whether it fails for want of memory or disk does too. The operator who runs
// it sees that; do not show it to those who see the results. One person with a
// 256th of all rows makes one part as large. Intervals are about the noise: what
// bounding and clamping took away is not in them, and cannot be told without
// spending more. Which rows were drawn for people with too many of them is decided
// by 64-bit mixing of secret numbers, which is enough to be fair and is not needed
// for privacy.
package release
