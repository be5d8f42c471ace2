package pii

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Settings say what a Scanner looks for. The zero value looks for everything that
// [All] knows.
type Settings struct {
	// Recognizers are asked in this order; nil stands for All.
	Recognizers []Recognizer
	// Tagger finds names in running text; nil for none.
	Tagger Tagger
	// Types, if not empty, are the only ones that are found. Exclude are not.
	Types, Exclude []string
	// Threshold is the least score of a finding, in (0, 1]: 0.5 when it is 0.
	Threshold float64
	// Thresholds are those of single types.
	Thresholds map[string]float64
	// Regions are the countries, as ISO 3166 has them, whose telephone numbers are
	// known when written without a country code: US, GB, DE, FR, IT, ES, NL, SE,
	// CH, AT, IN, BR, AU, CA and ZA when it is nil.
	Regions []string
	// Allow is never found, Deny always.
	Allow, Deny List
	// Explain fills in Why.
	Explain bool
}

// Scanner finds personal data. It is made by New and does not change.
type Scanner struct {
	settings   Settings
	list       []Recognizer
	forms      *automaton
	vocabulary vocabulary
	context    []hints // of each recogniser
	against    []hints
	starts     [][]uint16 // recognisers by the number of a word of theirs
	on         [7][]uint16
	expr       []uint16 // those with expressions
	thresholds []float64
	allow      allowed
	phone      phonePlan
	views      sync.Pool
}

// New makes a Scanner. It fails on settings that make no sense, such as a form
// that is none or a threshold outside of (0, 1].
func New(settings Settings) (*Scanner, error) {
	s := &Scanner{settings: settings}
	if settings.Recognizers == nil {
		settings.Recognizers = All
	}
	for _, t := range append(slices.Collect(mapValues(settings.Thresholds)), settings.Threshold) {
		if !(t >= 0 && t <= 1) {
			return nil, fmt.Errorf("threshold %v: must be above 0 and at most 1", t)
		}
	}
	for _, r := range settings.Recognizers {
		if r.Name == "" || r.Type == "" {
			return nil, fmt.Errorf("recogniser %q of type %q: both are required", r.Name, r.Type)
		}
		if s.wanted(r.Type) {
			s.list = append(s.list, r)
		}
	}
	if d, any := settings.Deny.recognizer(); any && s.wanted(d.Type) {
		s.list = append([]Recognizer{d}, s.list...)
	}
	s.allow = newAllowed(settings.Allow)
	if len(s.list) > 1000 {
		return nil, errors.New("more than 1000 recognisers")
	}
	var err error
	if s.phone, err = newPhonePlan(settings.Regions); err != nil {
		return nil, err
	}
	if s.forms, err = newAutomaton(s.list); err != nil {
		return nil, err
	}
	s.index()
	s.views.New = func() any { return &view{s: s} }
	return s, nil
}

func mapValues(m map[string]float64) func(func(float64) bool) {
	return func(yield func(float64) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// wanted reports whether a type is asked for.
func (s *Scanner) wanted(typ string) bool {
	return (len(s.settings.Types) == 0 || slices.Contains(s.settings.Types, typ)) && !slices.Contains(s.settings.Exclude, typ)
}

func (s *Scanner) threshold(typ string) float64 {
	return cmp.Or(s.settings.Thresholds[typ], s.settings.Threshold, 0.5)
}

// index sorts the recognisers by what they look at.
func (s *Scanner) index() {
	s.vocabulary.ids, s.vocabulary.names = map[string]uint16{}, []string{""}
	for i, r := range s.list {
		s.context = append(s.context, newHints(&s.vocabulary, r.Context))
		s.against = append(s.against, newHints(&s.vocabulary, r.Against))
		s.thresholds = append(s.thresholds, s.threshold(r.Type))
		for bit := range s.on {
			if r.on>>bit&1 == 1 {
				s.on[bit] = append(s.on[bit], uint16(i))
			}
		}
		if r.expr != nil {
			s.expr = append(s.expr, uint16(i))
		}
		for _, w := range r.knows {
			s.vocabulary.add(w)
		}
		for _, w := range r.words {
			id := int(s.vocabulary.add(w))
			s.vocabulary.first.add(w)
			for len(s.starts) <= id {
				s.starts = append(s.starts, nil)
			}
			s.starts[id] = append(s.starts[id], uint16(i))
		}
	}
}

// Scan finds personal data in a text. Findings are in order of Start and do not
// overlap; offsets are bytes. The error is the Tagger's or the context's. Files are
// better given to Pieces, in whose memory only a part of them is.
func (s *Scanner) Scan(ctx context.Context, text []byte) ([]Finding, error) {
	return s.ScanNamed(ctx, "", text)
}

// ScanNamed is Scan for a text that has a name, such as that of a column. The words
// of the name are context, as if they stood before the text.
func (s *Scanner) ScanNamed(ctx context.Context, name string, text []byte) ([]Finding, error) {
	return s.scan(ctx, name, text)
}

// scan finds what is in a text, window by window where it is long, so that what is kept
// and sorted at once stays small.
func (s *Scanner) scan(ctx context.Context, name string, text []byte) ([]Finding, error) {
	if len(text) <= 2*pieceSize {
		return s.window(ctx, name, text, 0)
	}
	var all []Finding
	for at := 0; at < len(text); {
		start := whole(text[:at])
		end := min(at+pieceSize, len(text))
		found, err := s.window(ctx, name, text[start:end], at-start)
		if err != nil {
			return nil, err
		}
		cut := end - start
		if end < len(text) {
			cut = cutAt(text[start:end], at-start, found)
		}
		for _, f := range found {
			if f.End <= cut {
				f.Start, f.End = f.Start+start, f.End+start
				all = append(all, f)
			}
		}
		at = start + cut
	}
	return all, nil
}

// window finds what begins at from or later; what stands before it is context.
func (s *Scanner) window(ctx context.Context, name string, text []byte, from int) ([]Finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v := s.views.Get().(*view)
	defer s.release(v)
	v.text, v.from = text, from
	v.name = s.nameWords(name, v.name[:0])
	v.look()
	found := v.resolve()
	if s.settings.Tagger == nil {
		return found, nil
	}
	return s.tag(ctx, text, from, found)
}

func (s *Scanner) release(v *view) {
	v.text = nil
	s.views.Put(v)
}

// tag adds what the tagger finds.
func (s *Scanner) tag(ctx context.Context, text []byte, from int, found []Finding) ([]Finding, error) {
	for i := range found {
		found[i].Start, found[i].End = found[i].Start-from, found[i].End-from
	}
	n := len(found)
	found, err := s.settings.Tagger.Tag(ctx, text[from:], found)
	if err != nil {
		return nil, err
	}
	keep := found[:n]
	for _, f := range found[n:] {
		if s.wanted(f.Type) && f.Score >= s.threshold(f.Type) && !s.allow.has(text[from+f.Start:from+f.End]) {
			if !s.settings.Explain {
				f.Why = ""
			}
			keep = append(keep, f)
		}
	}
	for i := range keep {
		keep[i].Start, keep[i].End = keep[i].Start+from, keep[i].End+from
	}
	slices.SortFunc(keep, func(a, b Finding) int { return a.Start - b.Start })
	return keep, nil
}

// A view is one text being looked at, with what is worth keeping for the next one.
type view struct {
	s           *Scanner
	text        []byte
	from        int
	name        []uint16 // the words of the part's name
	words       []word
	ids         []uint16 // the number of each word in the vocabulary, once asked
	marks       []int32
	cands       []candidate
	taken       []uint64 // a bit for each byte that has been given to a finding
	plain       [maxForm]byte
	cur         int  // the recogniser whose find is running
	left, right side // of the place that was asked about last
	near        int  // the word that was at hand last
	// Where the last date, key, address and run with colons ended: what is within is not read again.
	dated, keyed, linked, colons int
	// steps counts the bytes that were looked at more than once: tests hold it
	// against the length.
	steps int
}

// A candidate is a finding that may yet lose to another.
type candidate struct {
	start, end int32
	rec        uint16
	score      float32
	why        string
	context    string // the word of context, where there is one
}

// look asks every recogniser at its places.
func (v *view) look() {
	v.cands, v.near, v.left.of, v.right.of = v.cands[:0], 0, -1, -1
	v.dated, v.keyed, v.linked, v.colons = 0, 0, 0, 0
	v.split()
	v.ids = slices.Grow(v.ids[:0], len(v.words))[:len(v.words)]
	for i := range v.ids {
		v.ids[i] = unasked
	}
	first, _ := slices.BinarySearchFunc(v.words, v.from, func(w word, from int) int { return int(w.start) - from })
	for i := first; i < len(v.words); i++ {
		v.near = i
		v.word(i)
	}
	v.near, v.linked, v.colons = min(first, len(v.words)-1), 0, 0
	for _, m := range v.marks {
		if int(m) >= v.from {
			v.mark(int(m))
		}
	}
	for _, r := range v.s.expr {
		v.expressions(int(r))
	}
}

func (v *view) word(i int) {
	w, text := v.words[i], v.text
	if w.kind&digit != 0 {
		if isDigit(text[w.start]) {
			v.ask(v.s.on[0], i)
		}
		v.forms(i)
	} else if v.leads(i) {
		v.forms(i)
	}
	if w.len() >= 16 {
		v.ask(v.s.on[1], i)
	}
	if w.len() <= 4 && int(w.end)+1 < len(text) && text[w.end] == ':' && isHex(text[w.end+1]) {
		v.ask(v.s.on[3], int(w.start))
	}
	if v.s.vocabulary.first.has(text[w.start:w.end]) {
		if id := int(v.id(i)); id > 0 && id < len(v.s.starts) {
			v.ask(v.s.starts[id], i)
		}
	}
}

// leads reports whether a word without digits can begin a form: it is short and a
// number follows, at once or behind another such word, or it has the length of a bank's code in capitals.
func (v *view) leads(i int) bool {
	w := v.words[i]
	if w.kind == upper && (w.len() == 8 || w.len() == 11) {
		return true
	}
	if w.len() > 4 || w.kind&high != 0 || i+1 == len(v.words) {
		return false
	}
	next := v.words[i+1]
	if next.start-w.end == 1 && next.len() <= 4 && next.kind&digit == 0 && i+2 < len(v.words) {
		w, next = next, v.words[i+2]
	}
	return next.start-w.end <= 3 && next.kind&digit != 0
}

func (v *view) mark(i int) {
	rest := v.text[i:]
	switch {
	case rest[0] == '@':
		v.ask(v.s.on[4], i)
	case len(rest) > 2 && rest[1] == '/' && rest[2] == '/':
		v.ask(v.s.on[5], i)
	case len(rest) > 1 && rest[1] == ':':
		v.ask(v.s.on[6], i)
	}
}

func (v *view) ask(recs []uint16, at int) {
	for _, r := range recs {
		v.cur = int(r)
		v.s.list[r].find(v, at)
	}
}

// found adds what the recogniser that is running has found from byte start to end.
func (v *view) found(start, end int, score float64, why string) {
	if start < v.from || start >= end {
		return
	}
	v.add(v.cur, start, end, v.wordAt(start), score, why)
}

// wordAt is the index of the word at a byte, or of the next one, or of the last. It
// begins to look where it was asked last.
func (v *view) wordAt(i int) int {
	k := v.near
	for k+1 < len(v.words) && int(v.words[k].end) <= i {
		k++
	}
	for k > 0 && int(v.words[k-1].end) > i {
		k--
	}
	v.near = k
	return k
}

// closest is how many words before a finding say the most about it: "passport no".
const closest = 2

// add judges a match, which begins in the word at, by the words around it.
func (v *view) add(rec, start, end, at int, score float64, why string) {
	last := at
	for last+1 < len(v.words) && int(v.words[last+1].start) < end {
		last++
	}
	v.steps += end - start
	alone, context := score, ""
	if i, ok := v.hint(&v.s.context[rec], at, last); ok {
		doubt := 0.2
		if i >= 0 && i < at && at-i <= closest {
			doubt = 0.15 // nearer words win over those that are further away
		}
		score += (1 - doubt) * (1 - score)
		if context = "the name of the part"; i >= 0 && v.s.settings.Explain {
			context = string(v.text[v.words[i].start:v.words[i].end])
		}
	}
	if _, ok := v.hint(&v.s.against[rec], at, last); ok && context != "" {
		score = alone // the words contradict each other
	} else if ok {
		score *= 0.4
	}
	if score < v.s.thresholds[rec] {
		return
	}
	v.cands = append(v.cands, candidate{int32(start), int32(end), uint16(rec), float32(score), why, context})
}

// resolve keeps of candidates that overlap the one with the highest score, then the
// longest, then the first in the list.
func (v *view) resolve() []Finding {
	if len(v.cands) == 0 {
		return nil
	}
	slices.SortFunc(v.cands, func(a, b candidate) int { return int(a.start - b.start) })
	out := make([]Finding, 0, len(v.cands))
	for i := 0; i < len(v.cands); {
		// Those that overlap one another, directly or by others between them.
		end, j := v.cands[i].end, i+1
		for j < len(v.cands) && v.cands[j].start < end {
			end = max(end, v.cands[j].end)
			j++
		}
		from := len(out)
		for _, c := range v.winners(v.cands[i:j], int(end)) {
			if v.s.allow.has(v.text[c.start:c.end]) {
				continue
			}
			rec := &v.s.list[c.rec]
			f := Finding{Start: int(c.start), End: int(c.end), Type: rec.Type, Score: float64(c.score), Recognizer: rec.Name}
			if v.s.settings.Explain {
				f.Why = c.explain()
			}
			out = append(out, f)
		}
		slices.SortFunc(out[from:], func(a, b Finding) int { return a.Start - b.Start })
		i = j
	}
	return out
}

// winners sorts the ones that stay to the front. A bit for each byte tells what has been
// given away.
func (v *view) winners(group []candidate, end int) []candidate {
	if len(group) == 1 {
		return group
	}
	slices.SortFunc(group, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.end-b.start, a.end-a.start), cmp.Compare(a.rec, b.rec), cmp.Compare(a.start, b.start))
	})
	low := int(group[0].start)
	for _, c := range group {
		low = min(low, int(c.start))
	}
	n := (end-low)/64 + 1
	v.taken = slices.Grow(v.taken[:0], n)[:n]
	clear(v.taken)
	kept := group[:0]
	for _, c := range group {
		if v.take(int(c.start)-low, int(c.end)-low) {
			kept = append(kept, c)
		}
	}
	return kept
}

// take marks bytes as given away, unless one of them was.
func (v *view) take(start, end int) bool {
	v.steps += end - start
	for i := start; i < end; i++ {
		if v.taken[i>>6]>>(i&63)&1 == 1 {
			return false
		}
	}
	for i := start; i < end; i++ {
		v.taken[i>>6] |= 1 << (i & 63)
	}
	return true
}

func (c candidate) explain() string {
	parts := make([]string, 0, 2)
	if c.why != "" {
		parts = append(parts, c.why)
	}
	if c.context != "" {
		parts = append(parts, "near the word "+c.context)
	}
	if len(parts) == 0 {
		return "has the form"
	}
	return strings.Join(parts, "; ")
}
