package mask

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/privacy/fpe"
)

var fpeMethod = Method{
	Name: "fpe", Doc: "as many digits or letters, with the spaces and hyphens where they were (FF1, NIST SP 800-38G); the key gets back",
	Settings:    []string{"alphabet", "first", "last", "check"},
	ColumnsOnly: true,
	New: func(r Rule, in Settings) (Masker, error) {
		a, err := alphabet(r.Alphabet)
		if err != nil {
			return nil, err
		}
		key, err := in.derive("fpe", 32)
		if err != nil {
			return nil, err
		}
		f, err := fpe.New(key, a)
		if err != nil {
			return nil, err
		}
		switch {
		case r.First < 0 || r.Last < 0:
			return nil, errors.New("first and last: must not be negative")
		case r.Check != "" && r.Check != "luhn":
			return nil, fmt.Errorf("check %q: must be luhn", r.Check)
		case r.Check != "" && a != fpe.Digits:
			return nil, errors.New("check luhn: is of digits")
		}
		// What has too few values to be encrypted within its form is a token.
		other, err := newSealer(in)
		if err != nil {
			return nil, err
		}
		return &inForm{r, a, f, other}, nil
	},
}

func alphabet(name string) (*fpe.Alphabet, error) {
	switch name {
	case "", "digits":
		return fpe.Digits, nil
	case "hex":
		return fpe.Hex, nil
	case "base36":
		return fpe.Alphanum, nil
	case "upper":
		return fpe.Upper, nil
	case "lower":
		return fpe.Lower, nil
	}
	return fpe.NewAlphabet(name)
}

// inForm encrypts the letters of an alphabet and leaves all others where they are.
type inForm struct {
	rule     Rule
	alphabet *fpe.Alphabet
	f        *fpe.FF1
	other    *sealer
}

func (m *inForm) Mask(ctx context.Context, v Value) (string, error) {
	out, err := m.walk(v, m.f.Encrypt)
	if err == nil {
		if _, token := parseMark(out); !token {
			return out, nil
		}
	}
	return m.other.Mask(ctx, v)
}

func (m *inForm) Restore(ctx context.Context, v Value) (string, error) {
	if _, token := parseMark(v.Text); token {
		return m.other.Restore(ctx, v)
	}
	return m.walk(v, m.f.Decrypt)
}

// walk encrypts until the check digit is as right or as wrong as it was, and until
// a number has no zero in front: cycle walking (Black and Rogaway 2002), which takes
// some ten steps on average.
func (m *inForm) walk(v Value, step func(string, []byte) (string, error)) (string, error) {
	head, middle, tail := m.split(v.Text)
	tweak := []byte(v.Type + "\x00" + head + "\x00" + tail)
	right := luhn(head + middle + tail)
	for range 10_000 {
		var err error
		if middle, err = step(middle, tweak); err != nil {
			return "", err
		}
		all := head + middle + tail
		if (m.rule.Check == "" || luhn(all) == right) && !(v.Number && all[0] == '0') {
			return m.join(v.Text, all), nil
		}
	}
	return "", errors.New("no value with such a check digit in 10,000 steps")
}

// split is the letters of the alphabet in three parts, of which the middle one is
// encrypted.
func (m *inForm) split(s string) (head, middle, tail string) {
	var letters []rune
	for _, r := range s {
		if m.alphabet.Has(r) {
			letters = append(letters, r)
		}
	}
	first := min(m.rule.First, len(letters))
	last := max(first, len(letters)-m.rule.Last)
	return string(letters[:first]), string(letters[first:last]), string(letters[last:])
}

// join puts letters where those of s were.
func (m *inForm) join(s, letters string) string {
	rest := []rune(letters)
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if m.alphabet.Has(r) {
			b.WriteRune(rest[0])
			rest = rest[1:]
		} else {
			b.WriteString(s[:n]) // also where it is not UTF-8
		}
		s = s[n:]
	}
	return b.String()
}

// luhn is the check of ISO/IEC 7812-1 over the digits of s.
func luhn(s string) bool {
	sum, n := 0, 0
	for i := len(s) - 1; i >= 0; i-- {
		d := int(s[i] - '0')
		if d < 0 || d > 9 {
			continue
		}
		if n++; n%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
