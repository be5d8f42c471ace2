package tagger

import (
	"bytes"
	"math"
	"strings"
	"unicode/utf8"
)

// A Name is what Tag finds.
type Name struct {
	Start, End int // bytes of the text
	Type       int // into Types
	Score      float64
	Evidence   Evidence
}

// Evidence is what spoke for a name.
type Evidence uint8

const (
	InShape Evidence = iota // how it is written and where it stands
	OnList                  // a word of it is on a list of names, too
)

// A Tagger tags one text after another. It is not for use by several goroutines
// at once; it may be reused.
type Tagger struct {
	Model *Model

	tokens   []Token
	features []uint32
	back     [][Labels]uint8
	scores   [][Labels + 1]int32
	labels   []uint8
}

// blockSize is how many tokens are searched at a time. What a text costs in
// memory does not depend on its length.
const blockSize = 1024

// Tag calls found for each name of text, in order. Spans are read as one token
// each, and no name overlaps them. It stops when stop says so, asked now and
// then.
func (g *Tagger) Tag(text []byte, spans []Span, stop func() bool, found func(Name)) {
	s := scanner{text: text, spans: spans, gaz: g.Model.Gazetteer}
	g.tokens = append(g.tokens[:0], Token{}, Token{})
	last, more := uint8(0), true // the label before the block
	open := Name{Type: -1}
	report := func(n Name) {
		if n, ok := trim(text, n); ok {
			found(n)
		}
	}
	for more && !stop() {
		for len(g.tokens) < blockSize {
			var t Token
			if more = s.next(&t); !more {
				break
			}
			g.tokens = append(g.tokens, t)
		}
		n := len(g.tokens) - margin // those with all they look at
		setContext(g.tokens[margin:])
		if more {
			n = g.cut()
		} else {
			g.tokens = append(g.tokens, Token{}, Token{})
			n += margin
		}
		g.search(n, last)
		for i := margin; i < n; i++ {
			open = g.join(open, i, report)
		}
		if n > margin {
			last = g.labels[n-1]
		}
		g.tokens = append(g.tokens[:0], g.tokens[n-margin:]...)
	}
	if open.Type >= 0 {
		report(open)
	}
}

// cut chooses where a block ends when text goes on: at the last empty line or
// line of its second half, and otherwise as far as features can be told.
func (g *Tagger) cut() int {
	end := len(g.tokens) - margin
	for _, flag := range []uint8{blankLine, lineStart} {
		for i := end; i > end/2; i-- {
			if g.tokens[i].flags&flag != 0 {
				return i
			}
		}
	}
	return end
}

// search finds the sequence of labels with the highest sum of weights (Viterbi)
// for tokens[margin:n], after the label last. The time is that of the number of
// tokens times the square of the number of labels.
func (g *Tagger) search(n int, last uint8) {
	g.back = resize(g.back, n)
	g.scores = resize(g.scores, n)
	g.labels = resize(g.labels, n)
	if n <= margin {
		return
	}
	var sum [Labels]int32
	for l := range sum {
		sum[l] = never
	}
	sum[last] = 0
	for i := margin; i < n; i++ {
		alone := g.noneLeads(&sum, i)
		if alone && g.tokens[i].beginsNothing() {
			g.back[i], g.scores[i] = [Labels]uint8{}, [Labels + 1]int32{}
			continue
		}
		g.features = Features(g.features[:0], g.tokens, i)
		g.scores[i] = g.Model.score(g.features)
		if g.tokens[i].kind == known {
			for l := 1; l < Labels; l++ {
				g.scores[i][l] = never / 2
			}
		}
		if alone {
			sum = g.Model.start(sum[0], &g.scores[i])
			g.back[i] = [Labels]uint8{}
		} else {
			sum = g.Model.step(&sum, &g.scores[i], &g.back[i])
		}
	}
	best := uint8(0)
	for l := range sum {
		if sum[l] > sum[best] {
			best = uint8(l)
		}
	}
	for i := n - 1; i >= margin; i-- {
		g.labels[i] = best
		best = g.back[i][best]
	}
}

// A lead of no name before all names that no later word makes up for: right behind
// words that may begin one, and behind such as begin nothing.
const (
	farAhead = 2500
	ahead    = 800
)

// noneLeads tells whether the best sequence so far, up to the token before i, surely
// ends in no name.
func (g *Tagger) noneLeads(sum *[Labels]int32, i int) bool {
	best := sum[1]
	for _, v := range sum[2:] {
		best = max(best, v)
	}
	lead := sum[0] - best
	return lead > farAhead || lead > ahead && g.tokens[i-1].quiet() && g.tokens[i-2].quiet()
}

// quiet tells of a token behind which no name is open: a sign, what a recogniser has
// found, a word in small letters where capitals mean something.
func (t *Token) quiet() bool {
	switch t.kind {
	case punct, junk, known:
		return true
	case lower:
		return t.context == mixedCase
	}
	return false
}

// beginsNothing tells of a token that is quiet and begins no name either: of words
// in small letters, those that are ordinary.
func (t *Token) beginsNothing() bool {
	return t.quiet() && (t.kind != lower || t.gaz&Frequent != 0)
}

// start is step where only none comes before.
func (m *Model) start(none int32, score *[Labels + 1]int32) (next [Labels]int32) {
	for l := range next {
		next[l] = max(none+m.steps[0][l]+score[l], never)
	}
	return next
}

// step goes from the sums of one token to those of the next.
func (m *Model) step(sum *[Labels]int32, score *[Labels + 1]int32, back *[Labels]uint8) (next [Labels]int32) {
	for b := range next {
		best, from := int32(math.MinInt32), uint8(0)
		if b > 0 && b&1 == 0 { // goes on: only after itself or its begin
			best, from = sum[b]+m.steps[b][b], uint8(b)
			if v := sum[b-1] + m.steps[b-1][b]; v > best {
				best, from = v, uint8(b-1)
			}
		} else {
			for a := range sum {
				if v := sum[a] + m.steps[a][b]; v > best {
					best, from = v, uint8(a)
				}
			}
		}
		next[b], back[b] = max(best+score[b], never), from
	}
	return next
}

// join adds token i to the name that is open, or closes that and opens another. No
// name goes on behind an empty line.
func (g *Tagger) join(open Name, i int, found func(Name)) Name {
	label, t := g.labels[i], &g.tokens[i]
	k := Type(label)
	if open.Type >= 0 && (k != open.Type || begins(label) || t.flags&blankLine != 0) {
		found(open)
		open.Type = -1
	}
	if k < 0 {
		return open
	}
	score := certainty(g.scores[i][label] - g.scores[i][0])
	if open.Type < 0 {
		open = Name{Start: t.Start, Type: k}
	}
	open.End, open.Score = t.End, max(open.Score, score)
	if t.gaz&(Given|Surname|Place|Country|Demonym|Company|Legal|Street|Honour|Job) != 0 {
		open.Evidence = OnList
	}
	return open
}

// trim takes signs off the ends of a name, and refuses what holds nothing that a
// name of its type holds.
func trim(text []byte, n Name) (Name, bool) {
	open, end := bytes.IndexByte(text[n.Start:n.End], '(') >= 0, n.End
	for n.Start < n.End && edgeSign(text[n.Start]) && !(open && text[n.Start] == '(') {
		n.Start++
	}
	for n.Start < n.End {
		c := text[n.End-1]
		if !edgeSign(c) || c == ')' && open || c == '.' && n.End == end && abbreviated(text[n.Start:n.End-1]) {
			break
		}
		n.End--
	}
	letters, numbers := 0, 0
	for _, c := range text[n.Start:n.End] {
		switch {
		case c >= utf8.RuneSelf || class[c]&letter != 0:
			letters++
		case class[c]&digit != 0:
			numbers++
		}
	}
	if Types[n.Type] == "ZIP_CODE" {
		return n, numbers > 1 && n.End-n.Start <= maxZip
	}
	return n, letters > 0 && (letters > 1 || n.End-n.Start == letters) && n.End-n.Start <= maxName
}

const (
	maxZip  = 11  // longer than any postal code
	maxName = 200 // bytes; longer ones are tables that look like an address
)

func edgeSign(c byte) bool {
	return c < utf8.RuneSelf && class[c]&(letter|digit) == 0 && c != '#'
}

// abbreviated tells whether a point behind b belongs to it: Dr. Jr. J. St. 15.
func abbreviated(b []byte) bool {
	i := len(b)
	for i > 0 && (b[i-1] >= utf8.RuneSelf || class[b[i-1]]&(letter|digit) != 0) {
		i--
	}
	word := b[i:]
	switch strings.ToLower(string(word)) {
	case "prof", "mevr", "dott", "corp", "blvd", "avda":
		return true
	}
	return len(word) > 0 && len(word) <= 3
}

// certainty makes a score of how far a label leads before none: from a half, for
// what is only just believed because of the words around it, to 1.
func certainty(lead int32) float64 {
	return max(0.5, 1/(1+math.Exp(-float64(lead)/unit)))
}

// unit is the lead at which a score is 0.73. It was chosen on templates and corpora
// that were held back from training, so that scores are about as often right as they
// say.
const unit = 400

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, blockSize+2*margin))
	}
	return s[:n]
}

// Each calls do for each token of a text with its features, as learning needs
// them.
func Each(text []byte, spans []Span, gaz *Gazetteer, do func(Token, []uint32)) {
	s := scanner{text: text, spans: spans, gaz: gaz}
	tokens := []Token{{}, {}}
	for t := (Token{}); s.next(&t); {
		tokens = append(tokens, t)
	}
	setContext(tokens[margin:])
	tokens = append(tokens, Token{}, Token{})
	for i := margin; i < len(tokens)-margin; i++ {
		do(tokens[i], Features(nil, tokens, i))
	}
}

// Class is how a span of a type is read.
func Class(kind string) uint32 {
	switch kind {
	case "EMAIL_ADDRESS", "URL", "PHONE_NUMBER", "DATE_TIME", "AGE", "IP_ADDRESS":
		return hashBytes([]byte("@" + kind))
	}
	return hashBytes([]byte("@NUMBER"))
}
