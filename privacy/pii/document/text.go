package document

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"golang.org/x/text/encoding/unicode"
)

// Text is plain text in any encoding that keeps ASCII, or in UTF-16 with a byte order
// mark, which can be read and not be rewritten. It is streamed: each part is a piece
// of it, cut where no finding is.
var Text = Format{Name: "text", Extensions: []string{".txt", ".log", ".md"}, writes: true, walk: readText}

func readText(j *job, r io.Reader) error {
	b := bufio.NewReaderSize(r, 4096)
	if head, _ := b.Peek(2); utf16Mark(head) {
		if j.w != nil {
			return fmt.Errorf("text in UTF-16: %w", ErrReadOnly)
		}
		return j.stream("", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(b))
	}
	return j.stream("", b)
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
