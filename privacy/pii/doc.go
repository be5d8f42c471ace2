// Package pii finds personal data and secrets in text.
//
//	s, err := pii.New(pii.Settings{})
//	found, err := s.Scan(ctx, []byte("card 4111 1111 1111 1111"))
//	// found[0]: CREDIT_CARD, bytes 5 to 24, score 0.98
//
// A text is read once. Bytes fall into classes, classes into words; where a word
// could begin something (it has digits, an at sign follows, it is the name of a
// month) the recognisers that ask for it look at it. They check lengths, ranges
// and check digits, and what is left is judged by the words around it: "SSN:"
// before nine digits takes away most of the doubt, "order" adds to it. Context is
// words as a whole, so "public" says nothing about "lic".
//
// [All] lists the recognisers; [Settings] chooses among them, sets thresholds, and
// lists texts that are always or never found. [Load] reads recognisers that people
// wrote in YAML. Names, places and organisations are found by a [Tagger]; without
// one, only what has a form of its own is found.
//
// Streams go through [Scanner.Pieces], documents through package document.
//
// Promises. A scan takes time linear in the length of its text, whatever is in it,
// and memory proportional to it; Pieces needs memory for one piece. Findings are in
// order and do not overlap. Of two that would, the one with the higher score stays,
// then the longer one, then the one that stands first in the list. The same text has
// the same findings, whichever way it was cut by its reader. A Scanner may be used
// by many goroutines at once.
//
// Not promised: that a number is whose it looks like. A checksum proves that digits
// belong together, not that they are a card; scores say how sure it is.
package pii
