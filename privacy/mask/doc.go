// Package mask puts something else in the place of personal data.
//
//	p, _ := mask.ParsePolicy(yaml)
//	m, _ := mask.New(p, mask.Settings{Key: key})
//	out, _ := m.Text(ctx, text, found, "")          // found by package pii
//	back, _ := m.Restore(ctx, out)
//
// A policy says by which [Method] values of each type are replaced in running text,
// and by which the values of each column:
//
//	tenant: hospital
//	default: {method: redact}
//	types:
//	  PERSON: {method: surrogate}
//	  CREDIT_CARD: {method: partial}
//	  DATE_TIME: {method: shift, days: 30}
//	columns:
//	  patient_id: {method: fpe, alphabet: digits}
//	  email: {method: token, type: EMAIL_ADDRESS}
//	subject: patient_id
//
// With the same key and tenant a value is replaced by the same one wherever it
// stands, so that what belonged together still does. Dates of one subject move by
// the same number of days.
//
// Promises. A value of a type that the policy does not name is redacted, never
// left. What token, vault and fpe made can be restored by who has the key (and, of
// the vault, a grant): the text that comes back is the one that went in, byte for
// byte. Nothing that is not of this key is taken for a token of it.
//
// Not promised. What the scanner does not find stays. Except by redact, whoever
// sees many masked values can count how often each occurs. A surrogate may be the
// name of somebody who exists.
package mask
