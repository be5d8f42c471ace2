package document

import (
	"bytes"
	"io"
)

// Text is plain text in UTF-8 or another encoding that keeps ASCII, which is read as
// Windows' code page 1252, or in UTF-16 with a byte order mark, which can be read and
// not be rewritten. It is streamed: each part is a piece of it, cut where no finding
// is.
var Text = Format{Name: "text", Extensions: []string{".txt", ".log", ".md"}, writes: true, walk: readText}

func readText(j *job, r io.Reader) error {
	r, err := j.decoded(r, "text")
	if err != nil {
		return err
	}
	return j.stream("", r)
}

func utf16Mark(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xFF, 0xFE}) || bytes.HasPrefix(head, []byte{0xFE, 0xFF})
}

// IsText tells text from what is for machines alone by its first bytes, 4,096 of them
// where there are as many: text has no zeros, and hardly a control character.
func IsText(head []byte) bool {
	if utf16Mark(head) {
		return true
	}
	control := 0
	for _, b := range head {
		if b == 0 {
			return false
		}
		if b < ' ' && (b < '\a' || b > '\r') && b != 0x1B || b == 0x7F {
			control++
		}
	}
	return control*50 <= len(head)
}
