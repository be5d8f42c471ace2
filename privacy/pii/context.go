package pii

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How far around a finding its context reaches.
const (
	wordsBefore, bytesBefore = 8, 120
	wordsAfter, bytesAfter   = 3, 48
)

// A vocabulary numbers the words that mean something to a recogniser, from 1.
type vocabulary struct {
	ids   map[string]uint16
	table [4096]uint16 // numbers by hash, the next one where one is taken
	names []string     // by number
	maybe sieve        // of all words
	first sieve        // of those that begin what a recogniser looks for
	// unspaced are words of scripts that put no space between words: there, and
	// only there, a part of a word is a word.
	unspaced []string
}

func (d *vocabulary) add(w string) uint16 {
	if id, ok := d.ids[w]; ok {
		return id
	}
	id := uint16(len(d.names))
	d.ids[w] = id
	d.names = append(d.names, w)
	if len(d.names) > len(d.table)/2 {
		return id // the map has it
	}
	h := hashWord([]byte(w))
	for d.table[h&4095] != 0 {
		h++
	}
	d.table[h&4095] = id
	d.maybe.add(w)
	if r, _ := utf8.DecodeRuneInString(w); unspaced(r) {
		d.unspaced = append(d.unspaced, w)
	}
	return id
}

// hashWord is FNV-1a.
func hashWord(w []byte) uint32 {
	h := uint32(2166136261)
	for _, b := range w {
		h = (h ^ uint32(b)) * 16777619
	}
	return h ^ h>>15
}

// lookup finds the number of a word in lower case. Go's map would take twice as long,
// and this is asked for every word near a number.
func (d *vocabulary) lookup(w []byte) uint16 {
	if len(d.names) > len(d.table)/2 {
		return d.ids[string(w)]
	}
	for h := hashWord(w); ; h++ {
		id := d.table[h&4095]
		if id == 0 || d.names[id] == string(w) {
			return id
		}
	}
}

// A sieve knows which words cannot be in a set, by their first two bytes, their last
// and their length. Words beyond ASCII always may be.
type sieve [2048]uint64

func (s *sieve) place(w []byte) (bits *uint64, n int) {
	// Five bits tell letters apart, whichever case they are of.
	first, last := w[0]&31, w[len(w)-1]&31
	second := first
	if len(w) > 1 {
		second = w[1] & 31
	}
	return &s[(int(first)|int(second)<<5|int(last)<<10^int(last)<<6)&2047], min(len(w), 63)
}

func (s *sieve) add(w string) {
	bits, n := s.place([]byte(w))
	*bits |= 1 << n
}

func (s *sieve) has(w []byte) bool {
	bits, n := s.place(w)
	return *bits>>n&1 == 1 || w[0] >= utf8.RuneSelf || len(w) > 1 && w[1] >= utf8.RuneSelf
}

func unspaced(r rune) bool {
	return r >= 0x0E00 && r < 0x0E80 || r >= 0x3040 && r < 0xA000 || r >= 0xAC00 && r < 0xD7B0
}

// id is the number of a word, 0 for one that means nothing.
func (d *vocabulary) id(w []byte) uint16 {
	if len(w) == 0 || len(w) > 60 || !d.maybe.has(w) {
		return 0
	}
	var buf [64]byte
	folded := buf[:0]
	for _, b := range w {
		if b >= utf8.RuneSelf {
			folded = foldHigh(folded[:0], w)
			break
		}
		folded = append(folded, lowerByte(b))
	}
	if id := d.lookup(folded); id != 0 {
		return id
	}
	if r, _ := utf8.DecodeRune(w); unspaced(r) {
		for _, u := range d.unspaced {
			if bytes.Contains(w, []byte(u)) {
				return d.ids[u]
			}
		}
	}
	return 0
}

func lowerByte(b byte) byte {
	if b-'A' < 26 {
		b += 'a' - 'A'
	}
	return b
}

func foldHigh(dst, w []byte) []byte {
	for len(w) > 0 {
		r, n := utf8.DecodeRune(w)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, w[0])
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		w = w[n:]
	}
	return dst
}

// hints are the context words of one recogniser by their numbers.
type hints struct {
	set     []uint64   // single words
	phrases [][]uint16 // several, each in order
}

func newHints(d *vocabulary, words []string) hints {
	var h hints
	for _, w := range words {
		var ids []uint16
		for _, part := range tokens(w) {
			ids = append(ids, d.add(strings.ToLower(part)))
		}
		switch {
		case len(ids) == 1:
			for len(h.set) <= int(ids[0]>>6) {
				h.set = append(h.set, 0)
			}
			h.set[ids[0]>>6] |= 1 << (ids[0] & 63)
		case len(ids) > 1:
			h.phrases = append(h.phrases, ids)
		}
	}
	return h
}

func (h *hints) empty() bool { return len(h.set) == 0 && len(h.phrases) == 0 }

// tokens splits a string the way texts are split.
func tokens(s string) []string {
	v := view{text: []byte(s)}
	v.split()
	var out []string
	for _, w := range v.words {
		out = append(out, s[w.start:w.end])
	}
	return out
}

// id is the number of the word at an index. Negative ones are the words of the
// part's name, the last of them -1.
func (v *view) id(at int) uint16 {
	if at < 0 {
		if n := len(v.name) + at; n >= 0 {
			return v.name[n]
		}
		return 0
	}
	if id := v.ids[at]; id != unasked {
		return id
	}
	w := v.words[at]
	v.ids[at] = v.s.vocabulary.id(v.text[w.start:w.end])
	return v.ids[at]
}

const unasked = 1<<16 - 1

// A side is the words on one side of a place that mean something. It is remembered:
// many recognisers ask about the same place.
type side struct {
	of    int
	words []int
}

// before are the words before one.
func (v *view) before(first int) []int {
	if v.left.of == first {
		return v.left.words
	}
	v.left.of, v.left.words = first, v.left.words[:0]
	start := v.words[first].start
	low := first - wordsBefore
	for i := first - 1; i >= max(low, 0); i-- {
		if start-v.words[i].start > bytesBefore {
			return v.left.words
		}
		if id := v.ids[i]; id != 0 && (id != unasked || v.id(i) != 0) {
			v.left.words = append(v.left.words, i)
		}
	}
	for i := -1; i >= max(low, -len(v.name)); i-- {
		if v.id(i) != 0 {
			v.left.words = append(v.left.words, i)
		}
	}
	return v.left.words
}

// after are the words behind one.
func (v *view) after(last int) []int {
	if v.right.of == last {
		return v.right.words
	}
	v.right.of, v.right.words = last, v.right.words[:0]
	end := v.words[last].end
	for i := last + 1; i <= last+wordsAfter && i < len(v.words) && v.words[i].end-end <= bytesAfter; i++ {
		if v.id(i) != 0 {
			v.right.words = append(v.right.words, i)
		}
	}
	return v.right.words
}

// hint looks for a word of h around the words from first to last. It returns the
// index of the word, or of the last of several.
func (v *view) hint(h *hints, first, last int) (at int, ok bool) {
	if h.empty() {
		return 0, false
	}
	for _, i := range v.before(first) {
		if v.hinted(h, i) {
			return i, true
		}
	}
	for _, i := range v.after(last) {
		if v.hinted(h, i) {
			return i, true
		}
	}
	return 0, false
}

func (v *view) hinted(h *hints, at int) bool {
	id := v.id(at)
	if n := int(id >> 6); n < len(h.set) && h.set[n]>>(id&63)&1 == 1 {
		return true
	}
phrases:
	for _, p := range h.phrases {
		for i := range p {
			if v.id(at-i) != p[len(p)-1-i] {
				continue phrases
			}
		}
		return true
	}
	return false
}

// nameWords are the numbers of the words in a part's name. Names in camel case are
// several words.
func (s *Scanner) nameWords(name string, into []uint16) []uint16 {
	if len(name) > 256 {
		name = name[len(name)-256:]
	}
	from := 0
	for i := 0; i <= len(name); i++ {
		ends := i == len(name) || !isAlnum(name[i]) && name[i] < utf8.RuneSelf
		turns := !ends && i > 0 && name[i]-'A' < 26 && name[i-1]-'a' < 26
		if ends || turns {
			if from < i {
				into = append(into, s.vocabulary.id([]byte(name[from:i])))
			}
			from = i
			if ends {
				from++
			}
		}
	}
	return into
}
