package mask

import (
	"errors"
	"strings"
	"unicode"
)

var partial = Method{
	Name: "partial", Doc: "stars for letters and digits but the last four: ************1234; of an e-mail address the first letter and the domain stay",
	Settings: []string{"first", "last"},
	New: func(r Rule, _ Settings) (Masker, error) {
		first, last := r.First, r.Last
		if first < 0 || last < 0 {
			return nil, errors.New("first and last: must not be negative")
		}
		if first == 0 && last == 0 {
			last = 4
		}
		return maskFunc(func(v Value) (string, error) {
			if local, domain, ok := strings.Cut(v.Text, "@"); ok && v.Type == "EMAIL_ADDRESS" && r.First == 0 && r.Last == 0 {
				return stars(local, 1, 0) + "@" + domain, nil
			}
			return stars(v.Text, first, last), nil
		}), nil
	},
}

// stars replaces letters and digits but some at both ends. At least a third is
// replaced, whatever is to stay.
func stars(s string, first, last int) string {
	n := 0
	for _, r := range s {
		if counts(r) {
			n++
		}
	}
	most := n * 2 / 3
	first = min(first, most)
	last = min(last, most-first)
	i := 0
	return strings.Map(func(r rune) rune {
		if !counts(r) {
			return r
		}
		i++
		if i <= first || i > n-last {
			return r
		}
		return '*'
	}, s)
}

func counts(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }
