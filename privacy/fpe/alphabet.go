package fpe

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Alphabet is the letters of texts: characters, each with its place.
type Alphabet struct {
	letters []rune
	ascii   [utf8.RuneSelf]uint16 // place + 1
	other   map[rune]uint16
}

// Common alphabets.
var (
	Digits   = must("0123456789")
	Hex      = must("0123456789abcdef")
	Base36   = must("0123456789abcdefghijklmnopqrstuvwxyz") // NIST's samples write it so
	Lower    = must("abcdefghijklmnopqrstuvwxyz")
	Upper    = must("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	Alphanum = must("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
)

func must(letters string) *Alphabet {
	a, err := NewAlphabet(letters)
	if err != nil {
		panic(err)
	}
	return a
}

// NewAlphabet is an alphabet of 2 to 65,535 characters, none of them twice.
func NewAlphabet(letters string) (*Alphabet, error) {
	if !utf8.ValidString(letters) {
		return nil, errors.New("alphabet: not UTF-8")
	}
	a := &Alphabet{letters: []rune(letters), other: map[rune]uint16{}}
	if n := len(a.letters); n < 2 || n > 65535 {
		return nil, fmt.Errorf("alphabet of %d letters: must have 2 to 65,535", n)
	}
	for i, r := range a.letters {
		if _, ok := a.place(r); ok {
			return nil, fmt.Errorf("alphabet: has %q twice", r)
		}
		if r < utf8.RuneSelf {
			a.ascii[r] = uint16(i) + 1
		} else {
			a.other[r] = uint16(i)
		}
	}
	return a, nil
}

// Len is how many letters there are: the radix.
func (a *Alphabet) Len() int { return len(a.letters) }

// Has reports whether r is a letter.
func (a *Alphabet) Has(r rune) bool { _, ok := a.place(r); return ok }

func (a *Alphabet) place(r rune) (uint16, bool) {
	if r >= 0 && r < utf8.RuneSelf {
		return a.ascii[r] - 1, a.ascii[r] > 0
	}
	n, ok := a.other[r]
	return n, ok
}

// numerals appends the places of the letters of text. The error names a place and
// not the letter, which is somebody's.
func (a *Alphabet) numerals(x []uint16, text string) ([]uint16, error) {
	for i, r := range text {
		n, ok := a.place(r)
		if !ok {
			return x, fmt.Errorf("byte %d: a letter that is not in the alphabet of %d", i+1, a.Len())
		}
		x = append(x, n)
	}
	return x, nil
}

func (a *Alphabet) text(x []uint16) string {
	var b strings.Builder
	b.Grow(len(x))
	for _, n := range x {
		b.WriteRune(a.letters[n])
	}
	return b.String()
}
