package oip

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON (RFC 8259) from memory, strictly, and never calls itself:
// the depth of what it reads costs a bit a level, up to maxDepth.
type scanner struct {
	b   []byte
	i   int     // next byte
	num decimal // where number leaves what it read
	// word is where strings with escapes are put together, used again.
	word []byte
}

// maxDepth bounds nested arrays and objects; real tensors have a few levels.
const maxDepth = 128

// syntax is a mistake in JSON at the scanner's place.
func (s *scanner) syntax(what string) error {
	return Errorf(BadInput, "the request is not valid JSON: %s at byte %d", what, s.i)
}

var errEnd = errors.New("end")

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte that is no space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// take reads one byte that must come next.
func (s *scanner) take(c byte) error {
	if s.peek() != c || s.i >= len(s.b) {
		return s.syntax("expected " + string(rune(c)))
	}
	s.i++
	return nil
}

// next reads what separates the members of an array or object: it returns
// errEnd at its closing byte. first is set in front of the first member.
func (s *scanner) next(closing byte, first bool) error {
	switch c := s.peek(); {
	case c == closing:
		s.i++
		return errEnd
	case first:
		return nil
	case c == ',':
		s.i++
		if s.peek() == closing {
			return s.syntax("a comma before " + string(rune(closing)))
		}
		return nil
	}
	return s.syntax("expected a comma or " + string(rune(closing)))
}

// literal reads true, false or null.
func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.syntax("unexpected character")
	}
	s.i += len(word)
	return nil
}

// key reads a member's name and the colon. The bytes are valid until the next
// string is read.
func (s *scanner) key() ([]byte, error) {
	name, err := s.str()
	if err != nil {
		return nil, err
	}
	return name, s.take(':')
}

// str reads a string of valid UTF-8. The result is part of the input, or of
// s.word where there were escapes; it is valid until the next string is read.
func (s *scanner) str() ([]byte, error) {
	if err := s.take('"'); err != nil {
		return nil, err
	}
	start, ascii := s.i, true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			word := s.b[start:s.i]
			if !ascii && !utf8.Valid(word) {
				return nil, s.syntax("text that is not UTF-8")
			}
			s.i++
			return word, nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return nil, s.syntax("a control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.i++
	}
	return nil, s.syntax("a string that does not end")
}

// escaped reads on at the first escape of a string that began at start.
func (s *scanner) escaped(start int) ([]byte, error) {
	s.word = append(s.word[:0], s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			if !utf8.Valid(s.word) {
				return nil, s.syntax("text that is not UTF-8")
			}
			s.i++
			return s.word, nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
			continue
		case c < ' ':
			return nil, s.syntax("a control character in a string")
		}
		s.word = append(s.word, c)
		s.i++
	}
	return nil, s.syntax("a string that does not end")
}

// escape reads one escape into word.
func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return s.syntax("a string that does not end")
	}
	c := s.b[s.i+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.unicode()
	default:
		return s.syntax("an unknown escape")
	}
	s.word = append(s.word, c)
	s.i += 2
	return nil
}

// unicode reads a \uXXXX, or the two of a surrogate pair.
func (s *scanner) unicode() error {
	r, ok := s.hex(s.i)
	if !ok {
		return s.syntax("an unknown escape")
	}
	s.i += 6
	if utf16.IsSurrogate(r) {
		low, ok := s.hex(s.i)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return s.syntax("half a surrogate pair")
		}
		s.i += 6
	}
	s.word = utf8.AppendRune(s.word, r)
	return nil
}

// hex reads \uXXXX at a place.
func (s *scanner) hex(at int) (rune, bool) {
	if len(s.b)-at < 6 || s.b[at] != '\\' || s.b[at+1] != 'u' {
		return 0, false
	}
	r := rune(0)
	for _, c := range s.b[at+2 : at+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip passes over one value of any kind, checked for syntax.
func (s *scanner) skip() error {
	var objects [maxDepth/64 + 1]uint64 // a bit a level: object, or array
	depth := 0
	inObject := func() bool { return objects[depth/64]>>(depth%64)&1 == 1 }
	for first := false; ; {
		switch c := s.peek(); c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return s.tooDeep()
			}
			objects[depth/64] &^= 1 << (depth % 64)
			if c == '{' {
				objects[depth/64] |= 1 << (depth % 64)
			}
			s.i++
			first = true
		default:
			if err := s.scalar(c); err != nil {
				return err
			}
			first = false
		}
		for depth > 0 {
			closing := byte(']')
			if inObject() {
				closing = '}'
			}
			err := s.next(closing, first)
			if err == nil {
				break
			}
			if err != errEnd {
				return err
			}
			depth--
			first = false
		}
		if depth == 0 {
			return nil
		}
		if inObject() {
			if _, err := s.key(); err != nil {
				return err
			}
		}
	}
}

func (s *scanner) tooDeep() error {
	return Errorf(BadInput, "the request nests deeper than %d levels", maxDepth)
}

// scalar passes over a value that holds no others and begins with c.
func (s *scanner) scalar(c byte) error {
	switch c {
	case '"':
		_, err := s.str()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, err := s.number()
	return err
}

// object reads an object: member is called with the index of each known name,
// at its value. What it reads of other members is their syntax.
func (s *scanner) object(known []string, member func(i int) error) error {
	if err := s.take('{'); err != nil {
		return err
	}
	seen := uint64(0)
	var others []string
	for first := true; ; first = false {
		if err := s.next('}', first); err != nil {
			if err == errEnd {
				return nil
			}
			return err
		}
		name, err := s.key()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(known, func(k string) bool { return k == string(name) })
		if i < 0 {
			if others, err = s.other(known, others, string(name)); err == nil {
				err = s.skip()
			}
		} else if seen>>i&1 == 1 {
			err = Errorf(BadInput, "member %s stands twice", excerpt(known[i]))
		} else {
			seen |= 1 << i
			err = member(i)
		}
		if err != nil {
			return err
		}
	}
}

// other notes a member that the protocol does not know.
func (s *scanner) other(known, others []string, name string) ([]string, error) {
	switch {
	case slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }):
		return nil, Errorf(BadInput, "member %s is written otherwise than the protocol does, and other parsers may take it for that", excerpt(name))
	case slices.Contains(others, name):
		return nil, Errorf(BadInput, "member %s stands twice", excerpt(name))
	case len(others) == maxParameters:
		return nil, Errorf(BadInput, "an object has more than %d members that the protocol does not know", maxParameters)
	}
	return append(others, name), nil
}

// array calls element at each value of an array.
func (s *scanner) array(element func() error) error {
	if err := s.take('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		if err := s.next(']', first); err != nil {
			if err == errEnd {
				return nil
			}
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// null passes over a null, which stands for a member left out, if one is next.
func (s *scanner) null() (bool, error) {
	if s.peek() != 'n' {
		return false, nil
	}
	return true, s.literal("null")
}
