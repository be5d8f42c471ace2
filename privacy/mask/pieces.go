package mask

import (
	"context"
	"io"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// longestMark is more than the token of any finding: a finding lies within a piece
// of 64 KB, and base64 makes four bytes of three.
const longestMark = 128 << 10

// Pieces reads a text of any length and hands it over in pieces that do not end
// within a token, for Restore. The pieces one after another are what was read.
// They are valid until do returns.
func Pieces(ctx context.Context, r io.Reader, do func(text []byte) error) error {
	buf := make([]byte, 4*longestMark)
	for kept := 0; ; {
		n, err := io.ReadFull(r, buf[kept:])
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		text := buf[:kept+n]
		cut := len(text)
		if !last {
			cut = outside(text)
		}
		if cut > 0 {
			if err := do(text[:cut]); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		kept = copy(buf, text[cut:])
	}
}

// outside is the end of the text, or the beginning of a token that may go on
// beyond it.
func outside(text []byte) int {
	for i := len(text) - 1; i >= 0 && i >= len(text)-longestMark; i-- {
		c := text[i]
		if c == '[' {
			return i
		}
		if !typeByte(c) && c != '=' && c != ':' && c != '#' {
			break
		}
	}
	return len(text)
}

// Unscanned lets package document cut a text for Restore: it finds nothing.
type Unscanned struct{}

// ScanNamed finds nothing.
func (Unscanned) ScanNamed(context.Context, string, []byte) ([]pii.Finding, error) { return nil, nil }

// Pieces cuts as the function of the same name does.
func (Unscanned) Pieces(ctx context.Context, r io.Reader, do func([]byte, []pii.Finding) error) error {
	return Pieces(ctx, r, func(text []byte) error { return do(text, nil) })
}
