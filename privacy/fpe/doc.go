// Package fpe encrypts numbers and codes into numbers and codes of the same form:
// sixteen digits become sixteen digits.
//
//	f, _ := fpe.New(key, fpe.Digits)
//	masked, _ := f.Encrypt("4000001234567899", tweak)
//	number, _ := f.Decrypt(masked, tweak)
//
// It is FF1 of NIST SP 800-38G: a Feistel network of ten rounds of AES. The tweak
// is not secret; with another tweak the same text becomes another one, so give each
// column, tenant or kind of text its own, or equal values in different places can
// be seen to be equal.
//
// Promises. What leaves Encrypt has the letters, the length and nothing else in
// common with what went in, and Decrypt with the same key and tweak gives it back.
// A text whose form has fewer than a million values is refused, as revision 1 of
// the standard demands: somebody could try them all. Both are bounded in time by
// [MaxLength] and safe for several goroutines at once.
//
// Not promised. Nothing tells Decrypt that a text was never encrypted, or under
// another key: every text has a meaning. Equal texts with equal tweaks stay equal.
// FF3 and FF3-1 are not here: both were broken (Durak and Vaudenay 2017; Beyne
// 2021, arXiv and CRYPTO), and NIST has withdrawn them.
package fpe
