// Package names finds the names in running text: persons, places, organisations,
// street addresses, nationalities, titles. No pattern tells these, so they are
// learnt: a linear model looks at each word, its endings, its capitals, its
// neighbours and at lists of names, and the best sequence of labels wins.
//
//	t := names.Default()
//	found, err := t.Tag(ctx, []byte("Dr. Anna Berg lives at Kirkegata 12, Oslo."), nil)
//
//	TITLE           Dr.
//	PERSON          Anna Berg
//	STREET_ADDRESS  Kirkegata 12
//	LOCATION        Oslo
//
// The model is part of the binary: four megabytes that are used where they lie, so
// that the first text costs no more than the next. ONNX runs a larger one where
// there is one: any token classifier with its tokenizer.
//
//	t := &names.ONNX{Dir: "bert-base-ner"}
//	err := t.Open(rt)
//
// An address written in one go, with postal code and town, is one STREET_ADDRESS;
// a town that stands alone behind a street, or on a line of its own in a form, is
// a LOCATION, and a postal code there a ZIP_CODE.
//
// # Promises
//
// Time is linear in the text and memory does not depend on it, whatever the text.
// The same text gives the same findings. A Tagger may be used by several
// goroutines at once. How good it is, by type, on which texts and in which
// languages, stands in docs/pii-scorecard.md and docs/pii-names.md; it errs, and
// what must not be missed needs a person's eye.
package names
