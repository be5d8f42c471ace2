package subword

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// bytePair merges bytes into pieces, the pair that was most frequent in training
// first (GPT-2, RoBERTa).
type bytePair struct {
	vocab  map[string]int64
	ranks  map[[2]string]int
	prefix bool // a space before the text
	ignore bool // a word that is in the vocabulary is not merged
}

// longest is how many bytes are merged at a time. Longer runs without a space are
// cut there, so that merging stays linear in the text.
const longest = 512

func (f *file) bytePair() (*Tokenizer, error) {
	m := f.Model
	if m.Prefix != "" || m.Suffix != "" || m.Fallback {
		return nil, errors.New("BPE with prefixes, suffixes or byte_fallback, which is not supported: byte-level BPE is")
	}
	if f.Normalizer != nil {
		return nil, fmt.Errorf("a normalizer %s, which is not supported with BPE", f.Normalizer.Type)
	}
	p := f.PreTokenizer
	if p == nil || p.Type != "ByteLevel" || !yes(p.Regex, true) {
		return nil, errors.New("no pre_tokenizer ByteLevel with its own expression, which alone is supported with BPE")
	}
	vocab, err := f.vocab()
	if err != nil {
		return nil, err
	}
	merges, err := readMerges(m.Merges)
	if err != nil {
		return nil, err
	}
	b := &bytePair{vocab: vocab, ranks: make(map[[2]string]int, len(merges)), prefix: yes(p.PrefixSpace, true), ignore: m.Ignore}
	for i, pair := range merges {
		b.ranks[pair] = i
	}
	for _, s := range byteLetters {
		if _, ok := vocab[s]; !ok {
			return nil, fmt.Errorf("a vocabulary without the byte %q", s)
		}
	}
	for pair := range b.ranks {
		if _, ok := vocab[pair[0]+pair[1]]; !ok {
			return nil, fmt.Errorf("a merge of %q and %q into what is not in the vocabulary", pair[0], pair[1])
		}
	}
	return &Tokenizer{cut: b.cut}, nil
}

// readMerges reads merges in both forms: "a b", and ["a", "b"].
func readMerges(raw json.RawMessage) ([][2]string, error) {
	var pairs [][2]string
	if json.Unmarshal(raw, &pairs) == nil {
		return pairs, nil
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, fmt.Errorf("its merges: %w", err)
	}
	pairs = make([][2]string, len(lines))
	for i, line := range lines {
		a, b, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("its merge %d: %q is no pair", i, line)
		}
		pairs[i] = [2]string{a, b}
	}
	return pairs, nil
}

func (b *bytePair) cut(text []byte, out []Piece) []Piece {
	for i, word := 0, 0; i < len(text); word++ {
		n := chunk(text[i:])
		for end := i + n; i < end; {
			part := min(end-i, longest)
			out = b.merge(text, i, i+part, word, i == 0 && b.prefix && !unicode.IsSpace(first(text)), out)
			i += part
		}
	}
	return out
}

// letterAt moves i to where a letter begins or text ends, for a piece may hold a
// part of one.
func letterAt(text []byte, i, by int) int {
	for range utf8.UTFMax - 1 {
		if i > 0 && i < len(text) && !utf8.RuneStart(text[i]) {
			i += by
		}
	}
	return i
}

func first(text []byte) rune {
	r, _ := utf8.DecodeRune(text)
	return r
}

// merge cuts text[base:end], of one chunk.
func (b *bytePair) merge(text []byte, base, end, word int, prefix bool, out []Piece) []Piece {
	chunk := text[base:end]
	symbols := make([]string, 0, len(chunk)+1)
	if prefix {
		symbols = append(symbols, byteLetters[' '])
	}
	for _, c := range chunk {
		symbols = append(symbols, byteLetters[c])
	}
	if id, ok := b.vocab[strings.Join(symbols, "")]; ok && b.ignore {
		return append(out, Piece{id, base, base + len(chunk), word})
	}
	for len(symbols) > 1 {
		best, where := -1, -1
		for i := range symbols[1:] {
			if rank, ok := b.ranks[[2]string{symbols[i], symbols[i+1]}]; ok && (best < 0 || rank < best) {
				best, where = rank, i
			}
		}
		if where < 0 {
			break
		}
		a, c := symbols[where], symbols[where+1]
		n := where
		for i := where; i < len(symbols); i++ { // every place of this pair
			if i+1 < len(symbols) && symbols[i] == a && symbols[i+1] == c {
				symbols[n] = a + c
				i++
			} else {
				symbols[n] = symbols[i]
			}
			n++
		}
		symbols = symbols[:n]
	}
	at := base
	if prefix {
		at--
	}
	for _, s := range symbols {
		end := at + utf8.RuneCountInString(s) // a letter a byte
		out = append(out, Piece{b.vocab[s], letterAt(text, max(at, base), -1), letterAt(text, max(end, base+1), 1), word})
		at = end
	}
	return out
}

// chunk is the length of the first piece of text that merges do not cross: what
// GPT-2's expression matches,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func chunk(text []byte) int {
	if text[0] == '\'' {
		for _, s := range []string{"s", "t", "re", "ve", "m", "ll", "d"} {
			if strings.HasPrefix(string(text[1:min(3, len(text))]), s) {
				return 1 + len(s)
			}
		}
	}
	r, n := utf8.DecodeRune(text)
	start := 0
	if r == ' ' && len(text) > 1 {
		if next, m := utf8.DecodeRune(text[1:]); !unicode.IsSpace(next) {
			r, start, n = next, 1, 1+m
		}
	}
	kind := kindOf(r)
	end, last := n, start
	for end < len(text) {
		next, m := utf8.DecodeRune(text[end:])
		if kindOf(next) != kind {
			break
		}
		last = end
		end += m
	}
	if kind == space && end < len(text) && last > 0 { // the last space is left to the word behind it
		return last
	}
	return end
}

const (
	letter = iota
	number
	space
	other
)

func kindOf(r rune) int {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// byteLetters are the letters that stand for bytes: their own for those that can
// be seen, others from U+0100 on.
var byteLetters = func() (out [256]string) {
	n := rune(0x100)
	for c := range out {
		if r := rune(c); r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ' {
			out[c] = string(r)
		} else {
			out[c] = string(n)
			n++
		}
	}
	return out
}()
