package main

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// A piece is a part of a sample that is something: a name to be learnt, or what
// a recogniser would have found before.
type piece struct {
	start, end int
	kind       string // a type of tagger.Types, or that of a recogniser
}

// A sample is a text in which everything is marked.
type sample struct {
	text   string
	pieces []piece // in order
	group  string  // the template or corpus it is from
}

// Kinds of pieces of which less is known: what may be a name, and what is the name
// of a person, a place or an organisation.
const (
	anything = "?"
	somebody = "!"
)

// forget is how often a word is learnt without the words around it. Templates have
// few contexts, and would be learnt by heart.
const forget = 0.25

// noise is how often any other feature is left out, for the same reason.
const noise = 0.3

// withoutNeighbours leaves out the features of the words around a word.
func withoutNeighbours(features []uint32) []uint32 {
	out := features[:0]
	for i, f := range features {
		if !slices.Contains(tagger.OfNeighbours, i) {
			out = append(out, f)
		}
	}
	return out
}

// The labels of their tokens.
const (
	unknown = 0xff - iota
	named
)

// A writer puts a sample together.
type writer struct {
	b      strings.Builder
	pieces []piece
}

func (w *writer) plain(s string) { w.b.WriteString(s) }

func (w *writer) mark(kind, s string) {
	start := w.b.Len()
	w.b.WriteString(s)
	if s != "" {
		w.pieces = append(w.pieces, piece{start, w.b.Len(), kind})
	}
}

func (w *writer) sample(group string) sample { return sample{w.b.String(), w.pieces, group} }

var typeOf = func() map[string]int {
	m := make(map[string]int)
	for k, name := range tagger.Types {
		m[name] = k
	}
	return m
}()

// A sentence is a sample as the search for labels sees it.
type sentence struct {
	features [][]uint32
	gold     []uint8
}

// read cuts a sample into tokens with features and the labels they should get.
// What recognisers would find is found in keep of the cases.
func read(s sample, gaz *tagger.Gazetteer, keep float64, r *rand.Rand) sentence {
	var spans []tagger.Span
	for _, p := range s.pieces {
		if _, learnt := typeOf[p.kind]; !learnt && p.kind != anything && p.kind != somebody && r.Float64() < keep {
			spans = append(spans, tagger.Span{Start: p.start, End: p.end, Class: tagger.Class(p.kind)})
		}
	}
	var out sentence
	i, open := 0, -1
	tagger.Each([]byte(s.text), spans, gaz, func(t tagger.Token, features []uint32) {
		for i < len(s.pieces) && s.pieces[i].end <= t.Start {
			i++
		}
		label := uint8(0)
		if i < len(s.pieces) && s.pieces[i].start < t.End {
			if kind := s.pieces[i].kind; kind == anything {
				label = unknown
			} else if kind == somebody {
				label = named
			} else if k, learnt := typeOf[s.pieces[i].kind]; learnt {
				label = tagger.Begin(k)
				if open == i {
					label = tagger.Inside(k)
				}
				open = i
			}
		}
		if r.Float64() < forget {
			features = withoutNeighbours(features)
		}
		features = slices.DeleteFunc(features, func(uint32) bool { return r.Float64() < noise })
		out.features = append(out.features, features)
		out.gold = append(out.gold, label)
	})
	return out
}

// recase writes a whole sample in small letters or in capitals, as people do.
// Offsets stay true because letters whose length would change stay as they are.
func recase(s sample, to func(rune) rune) sample {
	same := func(r rune) rune {
		if c := to(r); len(string(c)) == len(string(r)) {
			return c
		}
		return r
	}
	s.text = strings.Map(same, s.text)
	return s
}

// vary gives a share of the samples another case.
func vary(s sample, r *rand.Rand) sample {
	switch v := r.Float64(); {
	case v < 0.10:
		return recase(s, unicode.ToLower)
	case v < 0.13:
		return recase(s, unicode.ToUpper)
	}
	return s
}

// held tells whether a group of samples is kept away from training, to measure
// with: one in eight.
func held(group string) bool {
	h := fnv.New32a()
	h.Write([]byte(group))
	return h.Sum32()%8 == 0
}
