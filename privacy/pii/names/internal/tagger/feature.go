package tagger

// margin is how many tokens on each side of a token its features look at.
const margin = 2

// Features appends to f the features of tokens[i]. At least two tokens stand
// before it and two behind; those beyond the text are of kind edge.
func Features(f []uint32, tokens []Token, i int) []uint32 {
	t := tokens[i-margin : i+margin+1]
	a, b, c, d, e := &t[0], &t[1], &t[2], &t[3], &t[4]
	sb, sc, sd := b.shape(), c.shape(), d.shape()
	gb, gc, gd := uint32(b.gaz), uint32(c.gaz), uint32(d.gaz)
	here := sc<<16 | gc
	form := sc | uint32(c.context)<<8 | uint32(c.flags&(afterSpace|lineStart|blankLine))<<12
	f = append(f,
		mix(1, c.word),
		mix(2, b.word),
		mix(3, d.word),
		mix(4, a.word),
		mix(5, e.word),
		mix(6+b.word, c.word),
		mix(7+c.word, d.word),
		mix(8+a.word, b.word),
		mix(9+d.word, e.word),
		mix(10+b.word, here),
		mix(11+d.word, here),
		mix(12+b.word, sc|sb<<8|sd<<16),
		mix(13, sb|sc<<8|sd<<16|uint32(c.flags&lineStart)<<24),
		mix(16, form),
		mix(17+form, gc),
		mix(18+gb<<16, gc|uint32(c.context)<<16),
		mix(19+gd<<16, gc|uint32(c.context)<<16),
		mix(20+gb<<16|gd, gc<<8^sc),
		mix(23+b.word, d.word),
		mix(33+uint32(c.prose)<<8, here),
		mix(34+uint32(c.prose)<<8|uint32(c.flags&lineStart)<<12, sb<<16|sc<<8|sd),
		mix(24, uint32(d.flags&(afterSpace|lineStart|blankLine))|sd<<8|sc<<16),
	)
	if c.size > 0 && c.kind < digits {
		f = append(f,
			mix(25+sc, c.prefix),
			mix(26+sc, c.suffix[0]),
			mix(27, c.suffix[1]),
			mix(28, c.suffix[2]),
			mix(29+sb, c.suffix[1]+sd),
		)
	} else {
		f = append(f, mix(30+b.suffix[1], sc), mix(31+d.suffix[1], sc), mix(32+b.suffix[2], sc))
	}
	return f
}

// OfNeighbours are the places, in what Features appends, of those that look at
// neighbouring words themselves.
var OfNeighbours = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 18}

// shape is what kind of token it is, in one byte.
func (t *Token) shape() uint32 {
	s := uint32(t.kind)
	if t.flags&accented != 0 {
		s |= 0x10
	}
	if t.kind == digits {
		s |= uint32(t.size) << 5
	}
	if t.kind == punct {
		s |= t.word & 7 << 5
	}
	return s
}

// What stands around a token, as far as capitals mean anything there.
const (
	mixedCase uint8 = iota
	lowerText       // a paragraph without capitals
	upperLine       // a line in capitals
	titleLine       // a line of words with capitals
)

// setContext looks at lines and paragraphs for their use of capitals, and for
// how many ordinary words have been in a paragraph: few in a form or an envelope.
func setContext(tokens []Token) {
	prose := uint8(0)
	for i := range tokens {
		t := &tokens[i]
		if t.flags&blankLine != 0 {
			prose = 0
		}
		t.prose = prose
		if t.gaz&Frequent != 0 && prose < 3 {
			prose++
		}
	}
	for start := 0; start < len(tokens); {
		end, capitals := start, 0
		for end < len(tokens) && (end == start || tokens[end].flags&blankLine == 0) {
			if tokens[end].Capital() {
				capitals++
			}
			end++
		}
		if capitals == 0 {
			for i := start; i < end; i++ {
				tokens[i].context = lowerText
			}
		} else {
			setLines(tokens[start:end])
		}
		start = end
	}
}

func setLines(tokens []Token) {
	for start := 0; start < len(tokens); {
		end, small, caps, titles := start, 0, 0, 0
		for end < len(tokens) && (end == start || tokens[end].flags&lineStart == 0) {
			switch tokens[end].kind {
			case lower:
				if tokens[end].size > 3 {
					small++
				}
			case upper:
				caps++
			case title, camel:
				titles++
			}
			end++
		}
		context := mixedCase
		switch {
		case small == 0 && titles == 0 && caps > 1:
			context = upperLine
		case small == 0 && titles > 2:
			context = titleLine
		}
		for i := start; i < end; i++ {
			tokens[i].context = context
		}
		start = end
	}
}

// Capital tells whether a token is a word that begins with a capital.
func (t *Token) Capital() bool { return t.kind >= title && t.kind <= camel }
