package document

import "io"

// Text is plain text in any encoding that keeps ASCII. It is streamed: each part
// is a piece of it, cut where no finding is.
var Text = Format{Name: "text", Extensions: []string{".txt", ".log", ".md"}, writes: true,
	walk: func(j *job, r io.Reader) error { return j.stream("", r) }}
