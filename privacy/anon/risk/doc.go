// Package risk measures how likely people are found in a table by what others know
// of them.
//
//	r, err := risk.Measure(ctx, "patients.csv", risk.Options{Quasi: []string{"age", "zip"}})
//	fmt.Println(r.Prosecutor.Highest, r.Uniques)
//
// [Measure] reads a table of any size once, in bounded memory. [Discover] looks for
// the columns that tell people apart when nobody has said which do, and [Hints]
// marks columns that the Safe Harbor rule of HIPAA names.
//
// # What is promised
//
// The figures of the three attackers are exact for the table. Population uniqueness
// is an estimate from a model, and the model is named. No figure says what an
// attacker knows who knows more than the quasi-identifiers.
package risk
