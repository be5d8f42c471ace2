// Package anon makes tables about people safer to publish, and checks that they are.
//
//	p, err := anon.ParsePolicy(text, "folder/of/the/policy")
//	t, err := anon.ReadTable(ctx, "patients.csv", p.Drop, nil)
//	r, err := anon.Apply(ctx, p, t, nil)
//	err = r.Write(w, "released.csv")
//	claims, err := r.Claims(ctx, "released.csv", anon.VerifyOptions{})
//
// A [Policy] names the quasi-identifiers (what others may know of a person), the
// sensitive columns (what they must not learn) and the [Models] that must hold.
// [Apply] recodes the quasi-identifiers by a [Hierarchy] each until they do, losing
// as little as it can by one of the [Metrics]: each column to one level, found by an
// exact search, or, by Mondrian, each part of the table for itself. Anybody can then
// hold the released file against its [Claims]:
//
//	checks, err := anon.Verify(ctx, "released.csv", claims, anon.VerifyOptions{})
//
// Package risk measures what is left of the risk, table reads and writes the files,
// and group counts rows that do not fit into memory.
//
// # What is promised
//
// Every model of the policy holds in every class of the released rows: it is checked
// by the search and, with other code, on the file before claims are written. A
// search that ends with Optimal has shown that no combination of levels loses less;
// one that its budget ended states a bound below which nothing can be. The same
// table and policy give the same release on any number of processors, except when
// time ends the search. Input is never changed. [Verify] and package risk read
// tables of any size in bounded memory; [Apply] holds the table.
//
// # What is not promised
//
// The models speak of quasi-identifiers and of one release. They do not hold against
// somebody who knows more, who compares two releases of the same people, or who
// added rows himself; package privacy/dp is for that. What classes do not protect
// against is listed in the claims, in words.
package anon
