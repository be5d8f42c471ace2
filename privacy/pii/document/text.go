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
	if head, _ := b.Peek(2); UTF16(head) {
		if j.w != nil {
			return fmt.Errorf("text in UTF-16: %w", ErrReadOnly)
		}
		return j.stream("", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(b))
	}
	return j.stream("", b)
}

// UTF16 reports whether a text begins with a byte order mark of UTF-16.
func UTF16(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xFF, 0xFE}) || bytes.HasPrefix(head, []byte{0xFE, 0xFF})
}
