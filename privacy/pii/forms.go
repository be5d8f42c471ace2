package pii

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// The forms of all recognisers become one automaton over classes of bytes, which
// runs from the beginning of each word that could begin one.

const (
	formDigit = iota
	formLetter
	formSpace
	formDash
	formDot
	formSlash
	formColon
	formParen
	formClasses
)

const maxForm = 64

// formClass is the class of each byte of ASCII; formClasses stands for none.
var formClass = func() (c [128]uint8) {
	for b := range c {
		switch {
		case isDigit(byte(b)):
			c[b] = formDigit
		case isLetter(byte(b)):
			c[b] = formLetter
		default:
			c[b] = formClasses
			if i := strings.IndexByte(" -./:(", byte(b)); i >= 0 {
				c[b] = uint8(formSpace + i)
			}
			if b == ')' {
				c[b] = formParen
			}
		}
	}
	return
}()

// A place is one byte of a form: the classes that may stand there, and whether the
// form may go on at after instead.
type place struct {
	classes uint8
	skip    int // to which place may be gone without this one; -1 for none
}

// parseForm expands a form into the sequences of places it stands for.
func parseForm(form string) ([][]place, error) {
	seps := []string{""}
	if strings.Contains(form, "~") {
		seps = []string{"", " ", "-"}
	}
	var out [][]place
	for _, sep := range seps {
		places, err := parsePlaces(strings.ReplaceAll(form, "~", sep))
		if err != nil {
			return nil, err
		}
		if len(places) > maxForm {
			return nil, fmt.Errorf("form %q: longer than %d", form, maxForm)
		}
		out = append(out, places)
	}
	return out, nil
}

func parsePlaces(form string) ([]place, error) {
	var out []place
	for i := 0; i < len(form); i++ {
		var p place
		switch c := form[i]; c {
		case '9':
			p.classes = 1 << formDigit
		case 'A':
			p.classes = 1 << formLetter
		case 'X':
			p.classes = 1<<formDigit | 1<<formLetter
		default:
			if c >= 128 || isAlnum(c) || formClass[c] == formClasses {
				return nil, fmt.Errorf("form %q: %q is not 9, A, X, ~ or a separator", form, c)
			}
			p.classes = 1 << formClass[c]
		}
		low, top := 1, 1
		if rest := form[i+1:]; strings.HasPrefix(rest, "{") {
			inside, _, ok := strings.Cut(rest[1:], "}")
			n, err := fmt.Sscanf(inside, "%d,%d", &low, &top)
			if n == 1 {
				top, err = low, nil
			}
			if !ok || err != nil || low < 0 || top < low || top > maxForm {
				return nil, fmt.Errorf("form %q: want a number or two in braces, such as {8} or {8,17}", form)
			}
			i += len(inside) + 2
		}
		end := len(out) + top
		for n := range top {
			p.skip = -1
			if n >= low {
				p.skip = end
			}
			out = append(out, p)
		}
	}
	if len(out) == 0 || out[0].classes&(1<<formDigit|1<<formLetter) == 0 {
		return nil, fmt.Errorf("form %q: must begin with a letter or a digit", form)
	}
	return out, nil
}

// An automaton is what the forms of a list of recognisers become. State 0 is the
// end of every hope, state 1 the beginning.
type automaton struct {
	next   [][formClasses]uint16
	ends   []uint16   // what ends in a state: an index of accept, 0 for nothing
	accept [][]uint16 // recognisers whose forms end together
}

// maxStates bounds what forms of users can make: those of All need about 3,000.
const maxStates = 1<<16 - 1

func newAutomaton(list []Recognizer) (*automaton, error) {
	type item struct{ form, at uint16 }
	var forms [][]place
	var owner []uint16
	for i, r := range list {
		for _, f := range r.Forms {
			expanded, err := parseForm(f)
			if err != nil {
				return nil, fmt.Errorf("recogniser %s: %w", r.Name, err)
			}
			for _, places := range expanded {
				forms, owner = append(forms, places), append(owner, uint16(i))
			}
		}
	}
	a := &automaton{next: make([][formClasses]uint16, 1), ends: make([]uint16, 1), accept: make([][]uint16, 1)}
	states := map[string]uint16{}
	var sets [][]item
	// state is the number of a set of items, new or known.
	state := func(set []item) (uint16, error) {
		for i := 0; i < len(set); i++ { // grows
			if it := set[i]; int(it.at) < len(forms[it.form]) {
				if skip := forms[it.form][it.at].skip; skip >= 0 {
					set = append(set, item{it.form, uint16(skip)})
				}
			}
		}
		slices.SortFunc(set, func(a, b item) int { return int(a.form)<<8 + int(a.at) - int(b.form)<<8 - int(b.at) })
		set = slices.Compact(set)
		var key []byte
		for _, it := range set {
			key = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(key, it.form), it.at)
		}
		n, ok := states[string(key)]
		if !ok {
			if len(a.next) >= maxStates {
				return 0, fmt.Errorf("the forms of the recognisers are too many together")
			}
			n = uint16(len(a.next))
			states[string(key)] = n
			var accept []uint16
			for _, it := range set {
				if int(it.at) == len(forms[it.form]) && !slices.Contains(accept, owner[it.form]) {
					accept = append(accept, owner[it.form])
				}
			}
			end := 0
			if accept != nil {
				if end = slices.IndexFunc(a.accept, func(l []uint16) bool { return slices.Equal(l, accept) }); end < 0 {
					end, a.accept = len(a.accept), append(a.accept, accept)
				}
			}
			a.next, a.ends, sets = append(a.next, [formClasses]uint16{}), append(a.ends, uint16(end)), append(sets, set)
		}
		return n, nil
	}
	var first []item
	for f := range forms {
		first = append(first, item{uint16(f), 0})
	}
	if _, err := state(first); err != nil {
		return nil, err
	}
	for n := 0; n < len(sets); n++ { // grows
		for c := range formClasses {
			var to []item
			for _, it := range sets[n] {
				if int(it.at) < len(forms[it.form]) && forms[it.form][it.at].classes>>c&1 == 1 {
					to = append(to, item{it.form, it.at + 1})
				}
			}
			if len(to) == 0 {
				continue
			}
			s, err := state(to)
			if err != nil {
				return nil, err
			}
			a.next[n+1][c] = s
		}
	}
	return a, nil
}

// step is the class of the sign at the start of text and its length in bytes. The
// spaces and dashes of Unicode that people's numbers are printed with count as those
// of ASCII.
func step(text []byte) (class uint8, n int) {
	b := text[0]
	if b < 128 {
		return formClass[b], 1
	}
	switch {
	case b == 0xC2 && len(text) > 1 && text[1] == 0xA0: // no-break space
		return formSpace, 2
	case b == 0xE2 && len(text) > 2 && text[1] == 0x80:
		switch c := text[2]; {
		case c >= 0x90 && c <= 0x93: // hyphens and dashes
			return formDash, 3
		case c >= 0x80 && c <= 0x8A || c == 0xAF: // spaces of other widths
			return formSpace, 3
		}
	}
	return formClasses, 1
}

// forms runs the automaton from the beginning of a word, and asks the recognisers
// whose forms end with a word.
func (v *view) forms(at int) {
	a, text := v.s.forms, v.text
	start := int(v.words[at].start)
	end := min(len(text), start+2*maxForm)
	state := uint16(1)
	plain := v.plain[:0]
	glued, known := false, false
	for i := start; i < end; {
		var class uint8
		n := 1
		if b := text[i]; b < 128 {
			class = formClass[b]
		} else {
			class, n = step(text[i:])
		}
		if class >= formClasses {
			return
		}
		if state = a.next[state][class]; state == 0 {
			return
		}
		if class <= formLetter {
			b := text[i]
			if b >= 'a' {
				b -= 'a' - 'A'
			}
			plain = append(plain, b)
		}
		i += n
		if a.ends[state] == 0 || i < len(text) && isAlnum(text[i]) {
			continue
		}
		if !known {
			glued, known = v.gluedLeft(at), true
		}
		if glued {
			return
		}
		mark, more := v.gluedRight(i)
		for _, r := range a.accept[a.ends[state]] {
			rec := &v.s.list[r]
			if more && strings.IndexByte(rec.tail, mark) < 0 {
				continue
			}
			score, why := rec.Score, ""
			if rec.Check != nil {
				score, why = rec.Check(Match{Text: text[start:i], Plain: plain})
			}
			if score > 0 {
				v.add(int(r), start, i, at, score, why)
			}
		}
	}
}

// gluedLeft reports whether a word is a later part of something longer: digits and
// one of -._/ stand right before it, as in a version, a UUID or the id of a message.
func (v *view) gluedLeft(at int) bool {
	if at == 0 {
		return false
	}
	w, before := v.words[at], v.words[at-1]
	if w.start-before.end != 1 || before.kind&digit == 0 {
		return false
	}
	switch v.text[before.end] {
	case '-', '.', '_', '/', '$', '+':
		return true
	case ':':
		return isDigit(v.text[before.end-1]) && isDigit(v.text[w.start])
	}
	return false
}

// gluedRight reports whether something longer goes on at i, and with which mark.
func (v *view) gluedRight(i int) (mark byte, is bool) {
	if i+1 >= len(v.text) {
		return 0, false
	}
	next := v.text[i+1]
	switch mark = v.text[i]; mark {
	case '-', '.', '/', ':', '+':
		return mark, isDigit(next)
	case '_', '@', '$', '%':
		return mark, isAlnum(next)
	}
	return 0, false
}
