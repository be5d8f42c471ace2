package pii

import (
	"bytes"
	"slices"
	"strings"
)

// age is how old people are. The finding is the number.
var age = Recognizer{
	Name: "age", Type: Age, Doc: "numbers from 1 to 120 that the words beside them say are ages",
	on: onNumber,
	knows: strings.Fields("year years yr yrs old olds young of age ages y yo o yrold jährige jähriger jährigen jahre alt jung años de edad ans ai a aged alter âge is was at " +
		"anni anos lat tengo tiene ho ha tenho tem mam ma turned turning turns m am i today yesterday on last this next in and but now when"),
	find: func(v *view, at int) {
		w := v.words[at]
		if w.len() > 3 || w.kind != digit {
			return
		}
		if n := number(v.text[w.start:w.end]); n > 120 || n == 0 || glued(v.text, int(w.end)) || v.gluedLeft(at) {
			return
		}
		if score := v.aged(at); score > 0 {
			v.found(int(w.start), int(w.end), score, "the words beside it speak of an age")
		}
	},
}

// aged looks at the words beside a number.
func (v *view) aged(at int) float64 {
	next, then := v.lower(at+1), v.lower(at+2)
	last, before := v.lower(at-1), v.lower(at-2)
	w := v.words[at]
	near := at+1 < len(v.words) && v.words[at+1].start-w.end <= 2
	switch {
	case near && slices.Contains([]string{"year", "years", "yr", "yrs"}, next) && slices.Contains([]string{"old", "olds", "young"}, then),
		near && (next == "years" || next == "year") && then == "of" && v.lower(at+3) == "age",
		near && next == "y" && (then == "o" || then == "old"),
		near && slices.Contains([]string{"yo", "yrold", "jährige", "jähriger", "jährigen"}, next),
		near && next == "jahre" && (then == "alt" || then == "jung"),
		near && next == "años" && then == "de" && v.lower(at+3) == "edad",
		near && next == "ans" && (last == "de" || last == "ai" || last == "a") && then != "de":
		return 0.9
	case (last == "aged" || last == "age" || last == "alter" || last == "edad" || last == "âge") && v.tells(at),
		slices.Contains([]string{"of", "is", "was"}, last) && slices.Contains([]string{"age", "ages"}, before),
		before == "at" && last == "age":
		return 0.85
	case near && (next == "años" || next == "anni" || next == "anos" || next == "lat") && slices.Contains([]string{"tengo", "tiene", "ho", "ha", "tenho", "tem", "mam", "ma"}, last):
		return 0.85
	case (last == "turned" || last == "turning" || last == "turns") && v.closes(at):
		return 0.7
	case (last == "m" || last == "am") && (before == "i" || last == "am" && before == "i") && v.closes(at):
		return 0.6
	}
	return 0
}

// lower is a word in lower case if a recogniser knows it, and "" if none does.
func (v *view) lower(at int) string {
	if at >= len(v.words) {
		return ""
	}
	return v.s.vocabulary.names[v.id(at)]
}

// tells reports whether nothing but a colon, an equals sign, quotes and spaces stands
// between a word and the one before it, or the name of the part.
func (v *view) tells(at int) bool {
	from := int32(0)
	if at > 0 {
		from = v.words[at-1].end
	}
	gap := v.text[from:v.words[at].start]
	return len(gap) <= 4 && len(bytes.Trim(gap, " \t:=\"'")) == 0
}

// closes reports whether a clause ends after a word: what follows is no noun that the
// number counts.
func (v *view) closes(at int) bool {
	end := int(v.words[at].end)
	for end < len(v.text) && v.text[end] == ' ' {
		end++
	}
	if end == len(v.text) || slices.Contains([]byte(".,;!?)\n\r"), v.text[end]) {
		return true
	}
	return slices.Contains([]string{"today", "yesterday", "on", "last", "this", "next", "in", "and", "but", "now", "when", "years"}, v.lower(at+1))
}
