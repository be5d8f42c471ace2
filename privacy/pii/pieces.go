package pii

import (
	"bytes"
	"context"
	"io"
	"unicode/utf8"
)

const (
	pieceSize = 64 << 10
	// before and after are what a piece sees of its neighbours.
	before, after = 256, 1024
	// longest is more than any finding without a space in it.
	longest = 6 << 10
)

// Pieces reads a text of any length and hands it over in pieces of at most 64 KB,
// each with what was found in it; offsets count from the start of the piece. The
// pieces one after another are what was read, byte for byte. They end with a line
// where they can, with a word where a line is too long, and never within a finding.
// Text and findings are valid until do returns.
func (s *Scanner) Pieces(ctx context.Context, r io.Reader, do func(text []byte, found []Finding) error) error {
	buf := make([]byte, before+pieceSize)
	from, end := 0, 0 // buf[:from] is context that was handed over already
	for {
		n, err := io.ReadFull(r, buf[end:])
		end += n
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		text := buf[:end]
		found, err := s.window(ctx, "", text, from)
		if err != nil {
			return err
		}
		cut := end
		if !last {
			cut = cutAt(text, from, found)
		}
		k := 0
		for k < len(found) && found[k].End <= cut {
			found[k].Start -= from
			found[k].End -= from
			k++
		}
		if cut > from {
			if err := do(text[from:cut], found[:k]); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		keep := whole(text[:cut])
		end = copy(buf, text[keep:])
		from = cut - keep
	}
}

// whole is where the context of the next piece begins: with a word.
func whole(text []byte) int {
	keep := max(0, len(text)-before)
	for keep > 0 && keep < len(text) && classes[text[keep-1]]&^mark != 0 {
		keep++
	}
	return keep
}

// cutAt is where a full buffer is cut: after a line, or else after a space, or else
// where nothing is being spelt, and always outside of findings. What is near the end
// of the buffer is left for the next piece, because its context is not there yet.
func cutAt(text []byte, from int, found []Finding) int {
	half := from + (len(text)-from)/2
	try := func(end int, good func(i int) bool) int {
		f := len(found) - 1
		for i := end; i > half; i-- {
			for f >= 0 && found[f].Start >= i {
				f--
			}
			if f >= 0 && found[f].End > i {
				i = found[f].Start + 1
				continue
			}
			if good(i) {
				return i
			}
		}
		return 0
	}
	if i := try(len(text)-after, func(i int) bool { return text[i-1] == '\n' }); i > 0 {
		return i
	}
	if i := try(len(text)-longest, func(i int) bool { return isSpace(text[i-1]) && !isSpace(text[i]) }); i > 0 {
		return i
	}
	spelling := []byte("-_.=+/@:%&#~")
	if i := try(len(text)-longest, func(i int) bool { return classes[text[i-1]]&^mark == 0 && bytes.IndexByte(spelling, text[i-1]) < 0 }); i > 0 {
		return i
	}
	if i := try(len(text)-longest, func(i int) bool { return utf8.RuneStart(text[i]) }); i > 0 {
		return i
	}
	// Findings fill half of the buffer, each beginning where another ends: any of
	// these ends will do.
	for i := len(found) - 1; i >= 0; i-- {
		if found[i].End <= len(text)-after {
			return found[i].End
		}
	}
	return len(text)
}
