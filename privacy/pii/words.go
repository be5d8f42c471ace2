package pii

import "unicode/utf8"

// A word is a run of letters and digits. Digits and letters beyond ASCII do not
// mix, so that a number is told from the ideographs around it.
type word struct {
	start, end int32
	kind       kind
}

func (w word) len() int { return int(w.end - w.start) }

// A kind says which bytes are in a word.
type kind uint8

const (
	digit kind = 1 << iota
	lower
	upper
	high // beyond ASCII
)

// classes are the bytes by what a word makes of them: a kind, or 0 for what parts
// words; mark is a separator that can lead to a finding.
const mark kind = 1 << 7

var classes = func() (c [256]kind) {
	for b := range c {
		switch {
		case b >= '0' && b <= '9':
			c[b] = digit
		case b >= 'a' && b <= 'z':
			c[b] = lower
		case b >= 'A' && b <= 'Z':
			c[b] = upper
		case b >= utf8.RuneSelf:
			c[b] = high
		case b == '@' || b == ':':
			c[b] = mark
		}
	}
	return
}()

func isDigit(b byte) bool  { return b-'0' <= 9 }
func isLetter(b byte) bool { return b|0x20-'a' < 26 }
func isAlnum(b byte) bool  { return isDigit(b) || isLetter(b) }
func isSpace(b byte) bool  { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

func isHex(b byte) bool { return isDigit(b) || b|0x20-'a' < 6 }

// letters is how many bytes beyond ASCII at the start of text are letters, and if
// none, how many bytes the sign is long that is none. Bytes that are no UTF-8 count
// as letters: most are those of older character sets.
func letter(text []byte) (n int, is bool) {
	r, n := utf8.DecodeRune(text)
	switch {
	case r == utf8.RuneError && n == 1:
		return 1, true
	case r < 0xC0, r == '×', r == '÷',
		r >= 0x2000 && r < 0x2C00, r >= 0x3000 && r < 0x3040,
		r >= 0xE000 && r < 0xF900, r >= 0xFF00 && r < 0xFF21, r >= 0x1F000 && r < 0x20000, r == 0xFEFF, r == utf8.RuneError:
		return n, false
	}
	return n, true
}

// split finds the words and marks of the text.
func (v *view) split() {
	text, words, marks := v.text, v.words[:0], v.marks[:0]
	for i := 0; i < len(text); {
		k := classes[text[i]]
		if k == 0 {
			i++
			continue
		}
		if k == mark {
			marks = append(marks, int32(i))
			i++
			continue
		}
		start, all := i, kind(0)
		for k&(digit|lower|upper) != 0 {
			all |= k
			if i++; i == len(text) {
				break
			}
			k = classes[text[i]]
		}
		if k == high && i < len(text) && (i == start || !isDigit(text[i-1])) {
			i, all = v.highWord(i, all)
		}
		if all != 0 {
			words = append(words, word{int32(start), int32(i), all})
		}
	}
	v.words, v.marks = words, marks
}

// highWord reads on in a word from its first letter beyond ASCII. Where none is, it moves
// past the sign only if the word has not begun.
func (v *view) highWord(i int, all kind) (int, kind) {
	for i < len(v.text) {
		switch k := classes[v.text[i]]; {
		case k == high:
			n, is := letter(v.text[i:])
			if !is && all == 0 {
				return i + n, 0
			}
			if !is {
				return i, all
			}
			all |= high
			i += n
		case k&(lower|upper) != 0 || k == digit && classes[v.text[i-1]] != high:
			all |= k
			i++
		default:
			return i, all
		}
	}
	return i, all
}
