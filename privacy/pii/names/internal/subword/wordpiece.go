package subword

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordPiece cuts words into the longest pieces of its vocabulary, from the left.
type wordPiece struct {
	vocab   map[string]int64
	unknown int64
	prefix  string // of pieces inside a word
	most    int    // letters of a word that is cut at all

	clean, chinese, lower, strip bool
}

func (f *file) wordPiece() (*Tokenizer, error) {
	vocab, err := f.vocab()
	if err != nil {
		return nil, err
	}
	w := &wordPiece{vocab: vocab, prefix: f.Model.Prefix, most: f.Model.MaxChars}
	unknown, ok := vocab[f.Model.Unk]
	if !ok {
		return nil, fmt.Errorf("its unknown token %q is not in its vocabulary", f.Model.Unk)
	}
	w.unknown = unknown
	if w.most <= 0 {
		w.most = 100
	}
	if n := f.Normalizer; n != nil {
		if n.Type != "BertNormalizer" {
			return nil, fmt.Errorf("a normalizer %s, which is not supported with WordPiece: BertNormalizer is", n.Type)
		}
		w.clean, w.chinese, w.lower = yes(n.CleanText, true), yes(n.ChineseChars, true), yes(n.Lowercase, true)
		w.strip = yes(n.StripAccents, w.lower)
	}
	if f.PreTokenizer == nil || f.PreTokenizer.Type != "BertPreTokenizer" {
		return nil, errors.New("no BertPreTokenizer, which alone is supported with WordPiece")
	}
	return &Tokenizer{cut: w.cut}, nil
}

// at is a letter of a word as the model sees it, and where it stands in the text.
type at struct {
	r          rune
	start, end int
}

func (w *wordPiece) cut(text []byte, out []Piece) []Piece {
	var letters []at
	word := 0
	flush := func() {
		if len(letters) > 0 {
			out = w.pieces(letters, word, out)
			word++
		}
		letters = letters[:0]
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		start, end := i, i+n
		i = end
		switch {
		case w.clean && (r == 0 || r == utf8.RuneError || control(r)):
			continue
		case unicode.IsSpace(r):
			flush()
			continue
		case w.chinese && chinese(r):
			flush()
			letters = append(letters, at{r, start, end})
			flush()
			continue
		}
		for _, r := range w.normal(r) {
			if sign(r) {
				flush()
				letters = append(letters, at{r, start, end})
				flush()
			} else if len(letters) <= w.most { // more are not needed to refuse the word
				letters = append(letters, at{r, start, end})
			} else {
				letters[w.most].end = end
			}
		}
	}
	flush()
	return out
}

// normal is a letter without accents and in small, where the model wants that.
// Hangul, which decomposes too, is put together again by nobody: models were
// trained on its parts.
func (w *wordPiece) normal(r rune) []rune {
	rs := []rune{r}
	if w.strip && r >= utf8.RuneSelf {
		rs = rs[:0]
		for _, d := range norm.NFD.String(string(r)) {
			if !unicode.Is(unicode.Mn, d) {
				rs = append(rs, d)
			}
		}
	}
	if !w.lower {
		return rs
	}
	if len(rs) == 1 && rs[0] == 'İ' { // two letters in small
		return []rune{'i', 0x307}
	}
	for i, c := range rs {
		rs[i] = unicode.ToLower(c)
	}
	return rs
}

// pieces cuts one word. A word that cannot be cut is one unknown piece.
func (w *wordPiece) pieces(letters []at, word int, out []Piece) []Piece {
	whole := Piece{w.unknown, letters[0].start, letters[len(letters)-1].end, word}
	if len(letters) > w.most {
		return append(out, whole)
	}
	keep := len(out)
	buf := make([]byte, 0, 4*len(letters)+len(w.prefix))
	for i := 0; i < len(letters); {
		end := len(letters)
		for ; end > i; end-- {
			buf = buf[:0]
			if i > 0 {
				buf = append(buf, w.prefix...)
			}
			for _, l := range letters[i:end] {
				buf = utf8.AppendRune(buf, l.r)
			}
			if id, ok := w.vocab[string(buf)]; ok {
				out = append(out, Piece{id, letters[i].start, letters[end-1].end, word})
				break
			}
		}
		if end == i {
			return append(out[:keep], whole)
		}
		i = end
	}
	return out
}

func control(r rune) bool {
	return r != '\t' && r != '\n' && r != '\r' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs)
}

// sign is what BERT takes for punctuation: that of Unicode, and all signs of ASCII.
func sign(r rune) bool {
	return r > ' ' && r < 0x7f && !unicode.IsLetter(r) && !unicode.IsDigit(r) || unicode.Is(unicode.P, r)
}

func chinese(r rune) bool {
	for _, b := range [][2]rune{{0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
		{0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF}, {0x2F800, 0x2FA1F}} {
		if b[0] <= r && r <= b[1] {
			return true
		}
	}
	return false
}
