package tagger

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// A kind says what a token is made of, as far as a name shows in it.
type kind uint8

const (
	edge     kind = iota // before the first token and behind the last
	lower                // all small letters
	title                // one capital, then small letters
	upper                // capitals, two or more
	initial              // one capital letter
	camel                // capitals and small letters in another order
	caseless             // letters of a script without capitals
	digits               // up to five digits
	number               // six digits and more
	mixed                // letters and digits
	junk                 // addresses, paths, encodings: what holds no name, whole
	punct                // one sign, or a run of the same
	known                // what a recogniser has found
)

// Flags of where a token stands.
const (
	afterSpace uint8 = 1 << iota
	lineStart
	blankLine // at least one empty line before it
	accented  // has letters beyond ASCII
)

// A Token is a word, a number, a sign, or what a recogniser found.
type Token struct {
	Start, End int // bytes of the text

	word    uint32    // hash of the folded letters
	prefix  uint32    // of the first three
	suffix  [3]uint32 // of the last two, three and four
	size    uint8     // folded letters, at most maxWord
	kind    kind
	flags   uint8
	gaz     uint16 // what the gazetteer says of the word
	context uint8  // what capitals mean around it
	prose   uint8  // how much running text stands before it in its paragraph, to 3
}

const (
	// maxWord is how many letters of a word are looked at.
	maxWord = 40
	// maxTag is how long a tag of HTML may be.
	maxTag = 1000
	// maxRun is the length from which a run without spaces is an encoding.
	maxRun = 200
)

// A Span is a part of a text that is read as one token: what somebody else has
// found in it.
type Span struct {
	Start, End int
	Class      uint32 // hash of its type
}

// A scanner cuts text into tokens.
type scanner struct {
	text  []byte
	pos   int
	spans []Span // in order of Start, from pos on
	gaz   *Gazetteer
}

// next sets t to the next token, and is false at the end of the text.
func (s *scanner) next(t *Token) bool {
	var flags uint8
	text, p := s.text, s.pos
	lines := 0
	if p == 0 {
		lines = 1
	}
	for len(s.spans) > 0 && s.spans[0].End <= p {
		s.spans = s.spans[1:]
	}
	for p < len(text) && !(len(s.spans) > 0 && s.spans[0].Start <= p) {
		c := text[p]
		if c == '\n' {
			lines++
		} else if c > ' ' && !(c == 0xc2 && p+1 < len(text) && text[p+1] == 0xa0) {
			break
		} else if c == 0xc2 {
			p++
		}
		flags |= afterSpace
		p++
	}
	if p >= len(text) {
		s.pos = p
		return false
	}
	if lines > 0 {
		flags |= lineStart
	}
	if lines > 1 {
		flags |= blankLine
	}
	*t = Token{Start: p, flags: flags}
	limit := len(text)
	if len(s.spans) > 0 {
		if sp := s.spans[0]; sp.Start <= p {
			t.End, t.kind, t.word = sp.End, known, sp.Class
			s.pos, s.spans = sp.End, s.spans[1:]
			return true
		} else if sp.Start < limit {
			limit = sp.Start
		}
	}
	switch c := text[p]; {
	case c >= utf8.RuneSelf || class[c]&letter != 0:
		p = s.scanWord(t, limit)
	case class[c]&digit != 0:
		p = s.scanNumber(t, limit)
	case c == '<' && markup(text[p:limit]) > 0:
		p += markup(text[p:limit])
		t.kind, t.word = junk, junkSeed+1
	default:
		t.kind, t.word = punct, mix(signSeed, uint32(c))
		for p++; p < limit && text[p] == c; p++ {
		}
	}
	t.End, s.pos = p, p
	return true
}

// scanWord reads a word that starts at t.Start.
func (s *scanner) scanWord(t *Token, limit int) int {
	var (
		fold           [maxWord]byte
		n, caps, small int
		bare           int // letters of scripts without case
		numbers        bool
		text, p        = s.text, t.Start
		firstCap       bool
	)
scan:
	for p < limit {
		c := text[p]
		var folded byte
		width := 1
		switch {
		case c >= utf8.RuneSelf:
			var r rune
			if r, width = utf8.DecodeRune(text[p:limit]); r == utf8.RuneError {
				return s.scanRun(t, limit) // of another encoding
			}
			var cased caseOf
			folded, cased = foldRune(r)
			switch cased {
			case notLetter:
				if p == t.Start { // a sign of its own
					t.kind, t.word = punct, mix(signSeed, uint32(r))
					return p + width
				}
				if r != '’' || !joins(text, p, width, limit) {
					break scan
				}
				p += width
				continue
			case capital:
				caps++
				firstCap = firstCap || n == 0
			case smallLetter:
				small++
			case noCase:
				bare++
			case mark:
				p += width
				continue
			}
			t.flags |= accented
		case class[c]&letter != 0:
			folded = c | 0x20
			if c < 'a' {
				caps++
				firstCap = firstCap || n == 0
			} else {
				small++
			}
		case class[c]&digit != 0:
			numbers, folded = true, '0'
		case c == '\'' && joins(text, p, 1, limit):
			p++
			continue
		case class[c]&glue != 0 && glued(text, t.Start, p, limit):
			return s.scanRun(t, limit)
		default:
			break scan
		}
		if n < maxWord {
			fold[n] = folded
			n++
		}
		p += width
		if p-t.Start > maxRun {
			return s.scanRun(t, limit)
		}
	}
	if p-t.Start > 3*maxWord || n == maxWord && numbers {
		return s.scanRun(t, limit)
	}
	t.size = uint8(n)
	hashWord(t, fold[:n])
	switch {
	case numbers:
		t.kind = mixed
	case caps == 0 && small == 0 && bare > 0:
		t.kind = caseless
	case caps == 0:
		t.kind = lower
	case firstCap && caps == 1 && small > 0:
		t.kind = title
	case small > 0:
		t.kind = camel
	case caps == 1:
		t.kind = initial
	default:
		t.kind = upper
	}
	if s.gaz != nil && t.kind != mixed {
		t.gaz = s.gaz.Lookup(t.word)
	}
	return p
}

// joins tells whether the apostrophe at p is inside a name (O'Brien) rather than
// before an ending (Anna's, don't).
func joins(text []byte, p, width, limit int) bool {
	q := p + width
	if q >= limit || text[q] < utf8.RuneSelf && class[text[q]]&letter == 0 {
		return false
	}
	n := 0
	for q+n < limit && (text[q+n] >= utf8.RuneSelf || class[text[q+n]]&letter != 0) {
		if n++; n > 2 {
			return true
		}
	}
	return false
}

// glued tells whether the sign at p makes the whole run a thing that holds no
// name: an address of the network, a path, an identifier of a program.
func glued(text []byte, start, p, limit int) bool {
	if p+1 >= limit {
		return false
	}
	next := text[p+1]
	word := next >= utf8.RuneSelf || class[next]&(letter|digit) != 0
	switch text[p] {
	case '@', '_':
		return word
	case '=':
		return word || next == '"'
	case ':':
		return next == '/' && p+2 < limit && text[p+2] == '/'
	case '.': // Dr.Smith and J.R. are words, example.com and os.Open are not
		if !word || p-start == 1 {
			return false
		}
		capital := next >= 'A' && next <= 'Z'
		return class[next]&digit == 0 && !(capital && p-start <= 4)
	}
	return false
}

// scanRun reads everything up to the next space as one token.
func (s *scanner) scanRun(t *Token, limit int) int {
	p := t.Start
	for p < limit && s.text[p] > ' ' && s.text[p] != '<' && s.text[p] != '>' && s.text[p] != '"' && s.text[p] != ')' {
		p++
	}
	for p > t.Start+1 && (s.text[p-1] == '.' || s.text[p-1] == ',' || s.text[p-1] == ';' || s.text[p-1] == ':') {
		p--
	}
	if p == t.Start {
		p++
	}
	t.kind, t.word = junk, junkSeed
	return p
}

// markup is the length of the tag of HTML at the start of b, 0 if there is none.
// Only tags whose attributes hold no words for people count.
func markup(b []byte) int {
	i := 1
	if i < len(b) && b[i] == '/' {
		i++
	}
	start := i
	for i < len(b) && i < start+12 && class[b[i]]&(letter|digit) != 0 {
		i++
	}
	switch string(bytes.ToLower(b[start:i])) {
	case "a", "b", "body", "br", "center", "div", "em", "font", "h1", "h2", "h3", "head", "hr", "html", "i", "li", "link",
		"ol", "p", "script", "small", "span", "strong", "style", "table", "tbody", "td", "th", "title", "tr", "tt", "u", "ul":
	default:
		return 0
	}
	end := bytes.IndexByte(b[:min(len(b), maxTag)], '>')
	return end + 1
}

// scanNumber reads digits, and letters that follow them at once.
func (s *scanner) scanNumber(t *Token, limit int) int {
	p := t.Start
	for p < limit && class[s.text[p]]&digit != 0 {
		p++
	}
	n := p - t.Start
	t.size = uint8(min(n, maxWord))
	if p < limit && class[s.text[p]]&letter != 0 {
		for p < limit && class[s.text[p]]&(letter|digit) != 0 {
			p++
		}
		if p-t.Start > maxWord {
			return s.scanRun(t, limit)
		}
		t.kind = mixed
		t.size = uint8(p - t.Start)
		t.word = mix(numberSeed, uint32(min(n, 6))<<8|uint32(s.text[p-1]|0x20))
		return p
	}
	t.kind = digits
	if n > 5 {
		t.kind = number
	}
	t.word = mix(numberSeed, uint32(min(n, 9)))
	return p
}

func hashWord(t *Token, fold []byte) {
	n := len(fold)
	t.word = hashBytes(fold)
	t.prefix = hashBytes(fold[:min(3, n)])
	for i := range t.suffix {
		t.suffix[i] = hashBytes(fold[n-min(2+i, n):])
	}
}

// WordHash is the hash under which the gazetteer keeps a word: of its letters
// without case and accents. Words of another kind (numbers, signs) have none.
func WordHash(word string) (hash uint32, ok bool) {
	s := scanner{text: []byte(word)}
	var t Token
	if !s.next(&t) || t.Start != 0 || t.End != len(word) {
		return 0, false
	}
	switch t.kind {
	case lower, title, upper, initial, camel, caseless:
		return t.word, true
	}
	return 0, false
}

// Words calls do for each word of a text, with its hash.
func Words(text string, do func(word string, hash uint32)) {
	s := scanner{text: []byte(text)}
	var t Token
	for s.next(&t) {
		switch t.kind {
		case lower, title, upper, initial, camel, caseless:
			do(text[t.Start:t.End], t.word)
		}
	}
}

const (
	letter byte = 1 << iota
	digit
	glue
)

var class = func() (c [256]byte) {
	for i := 'a'; i <= 'z'; i++ {
		c[i], c[i-0x20] = letter, letter
	}
	for i := '0'; i <= '9'; i++ {
		c[i] = digit
	}
	for _, i := range "@_=:." {
		c[i] = glue
	}
	return c
}()

type caseOf uint8

const (
	notLetter caseOf = iota
	capital
	smallLetter
	noCase
	mark // of the letter before it
)

// foldRune is one byte for a letter, the same for its capital and for it with
// and without accents. Letters of different scripts may share a byte.
func foldRune(r rune) (byte, caseOf) {
	if r < 0x250 {
		f := latin[r]
		return f.base, f.cased
	}
	switch {
	case unicode.IsUpper(r) || unicode.IsTitle(r):
		return foldOther(unicode.ToLower(r)), capital
	case unicode.IsLower(r):
		return foldOther(r), smallLetter
	case unicode.IsLetter(r):
		return foldOther(r), noCase
	case unicode.Is(unicode.M, r):
		return 0, mark
	}
	return 0, notLetter
}

func foldOther(r rune) byte {
	switch r { // Greek with and without tonos; Cyrillic ё, й
	case 'ά':
		r = 'α'
	case 'έ':
		r = 'ε'
	case 'ή':
		r = 'η'
	case 'ί', 'ϊ', 'ΐ':
		r = 'ι'
	case 'ό':
		r = 'ο'
	case 'ύ', 'ϋ', 'ΰ':
		r = 'υ'
	case 'ώ':
		r = 'ω'
	case 'ς':
		r = 'σ'
	case 'ё':
		r = 'е'
	}
	return byte(r^r>>8) | 0x80
}

type folding struct {
	base  byte
	cased caseOf
}

// latin folds the letters below U+0250.
var latin = func() (t [0x250]folding) {
	for r := rune(0); r < 0x250; r++ {
		if !unicode.IsLetter(r) {
			continue
		}
		f := folding{base: byte(unicode.ToLower(r)^r>>8) | 0x80, cased: smallLetter}
		if unicode.IsUpper(r) {
			f.cased = capital
		}
		t[r] = f
	}
	for base, letters := range map[byte]string{
		'a': "aàáâãäåāăąǎæ", 'c': "cçćĉċč", 'd': "dďđð", 'e': "eèéêëēĕėęě", 'g': "gĝğġģ",
		'h': "hĥħ", 'i': "iìíîïĩīĭįı", 'j': "jĵ", 'k': "kķ", 'l': "lĺļľŀł", 'n': "nñńņňŋ",
		'o': "oòóôõöōŏőøœ", 'r': "rŕŗř", 's': "sśŝşšșß", 't': "tţťŧțþ", 'u': "uùúûüũūŭůűų",
		'w': "wŵ", 'y': "yýÿŷ", 'z': "zźżž",
	} {
		for _, r := range letters {
			t[r].base = base
			if u := unicode.ToUpper(r); u < 0x250 {
				t[u].base = base
			}
		}
	}
	t['İ'].base = 'i'
	return t
}()

const (
	signSeed   = 0x51_6e
	numberSeed = 0x6e_75
	junkSeed   = 0x6a_75_6e_6b
)

// mix is one round of a multiplicative hash.
func mix(a, b uint32) uint32 {
	h := (uint64(a)<<32 | uint64(b)) * 0x9E3779B97F4A7C15
	return uint32(h>>32) ^ uint32(h>>3)
}

func hashBytes(b []byte) uint32 {
	h := uint64(len(b)) * 0x9E3779B97F4A7C15
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 29
	return uint32(h>>32) ^ uint32(h)
}
