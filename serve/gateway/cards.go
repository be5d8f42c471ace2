package gateway

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// forbiddenWithCards are the data that authenticate a payment: after it was
// authorised nobody may keep them (PCI DSS 4.0, requirement 3.3.1), and no score
// needs them. An input whose name holds one of these words is refused.
var forbiddenWithCards = []string{"cvv", "cvc", "cvv2", "cvc2", "cid", "cav2", "csc", "pin", "pinblock", "track", "track1", "track2", "magstripe", "securitycode", "verificationcode"}

// checkCards holds a request to what a model that handles card data may be sent:
// no authentication data, and card numbers that are card numbers, in inputs of
// their own.
func checkCards(q *oip.Request) error {
	for i := range q.Inputs {
		in := &q.Inputs[i]
		if word := sensitiveName(in.Name); word != "" {
			return oip.Errorf(oip.Unprocessable, "input '%s' holds card authentication data, which may not be sent to a model", in.Name)
		}
		own := cardName(in.Name)
		for n, s := range in.Strings {
			switch {
			case trackData(string(s)):
				return oip.Errorf(oip.Unprocessable, "input '%s', text %d holds the track of a card, which may not be sent to a model", in.Name, n)
			case own && !cardNumber(string(s)):
				return oip.Errorf(oip.Unprocessable, "input '%s', text %d is not a card number", in.Name, n)
			case !own && holdsCard(string(s)):
				return oip.Errorf(oip.Unprocessable, "input '%s', text %d holds a card number, which belongs into an input of its own or nowhere", in.Name, n)
			}
		}
	}
	return nil
}

// words are the words of a name in snake_case, kebab-case or camelCase, and the
// whole of it without separators.
func words(name string) []string {
	var list []string
	var word, whole strings.Builder
	flush := func() {
		if word.Len() > 0 {
			list = append(list, word.String())
			word.Reset()
		}
	}
	lower := false
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		upper := r >= 'A' && r <= 'Z'
		switch {
		case upper && lower, !letter && !upper:
			flush()
		}
		if upper {
			r += 'a' - 'A'
		}
		if letter || upper {
			word.WriteRune(r)
			whole.WriteRune(r)
		}
		lower = letter
	}
	flush()
	return append(list, whole.String())
}

func sensitiveName(name string) string {
	for _, w := range words(name) {
		for _, f := range forbiddenWithCards {
			if w == f {
				return f
			}
		}
	}
	return ""
}

// cardName reports whether an input is meant for card numbers.
func cardName(name string) bool {
	for _, w := range words(name) {
		switch w {
		case "pan", "cardnumber", "creditcard", "creditcardnumber", "ccnumber":
			return true
		}
	}
	return false
}

// cardNumber reports whether s is one: 12 to 19 digits, which may be parted by
// spaces or dashes, whose check digit fits (ISO/IEC 7812-1).
func cardNumber(s string) bool {
	n, sum, double := 0, 0, false
	for i := len(s) - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == ' ' || c == '-':
		case c < '0' || c > '9':
			return false
		default:
			d := int(c - '0')
			if double {
				if d *= 2; d > 9 {
					d -= 9
				}
			}
			n, sum, double = n+1, sum+d, !double
		}
	}
	return n >= 12 && n <= 19 && sum%10 == 0
}

var (
	// digitRuns are groups of digits that follow one another.
	digitRuns = regexp.MustCompile(`\d+(?:[ -]{1,2}\d+)*`)
	// printedDigits are groups as they are on cards, parted otherwise.
	printedDigits = regexp.MustCompile(`\d{4}(?:[._/]\d{4}){3}|\d{4}[._/]\d{6}[._/]\d{4,5}`)
)

// holdsCard reports whether a card number stands somewhere in a text, also beside other
// numbers, such as when the card expires.
func holdsCard(s string) bool {
	s = plainDigits(s)
	for _, run := range digitRuns.FindAllString(s, -1) {
		if cardAmong(strings.FieldsFunc(run, func(r rune) bool { return r == ' ' || r == '-' })) {
			return true
		}
	}
	for _, n := range printedDigits.FindAllString(s, -1) {
		if cardNumber(strings.NewReplacer(".", "", "_", "", "/", "").Replace(n)) && n[0] != '0' {
			return true
		}
	}
	return false
}

// cardAmong looks for a card number in a run of groups: one of them, all together, or
// some that are as long as those on cards.
func cardAmong(groups []string) bool {
	for i := range groups {
		number, printed := "", len(groups[i]) == 4
		for j := i; j < len(groups) && len(number)+len(groups[j]) <= 19; j++ {
			number += groups[j]
			all := i == 0 && j == len(groups)-1
			if (i == j || all || printed && len(number) >= 14) && cardNumber(number) && number[0] != '0' {
				return true
			}
			printed = printed && (len(groups[j]) == 4 || len(groups[j]) == 6) // but for the last
		}
	}
	return false
}

// plainDigits spells digits, spaces and dashes of all kinds as ASCII does, and leaves
// out what is not seen.
func plainDigits(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf && r > ' ':
			return r
		case r >= '\uff10' && r <= '\uff19': // digits as wide as Chinese characters
			return r - '\uff10' + '0'
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Pd, r), r == '\u2212': // minus
			return '-'
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

// trackData reports whether a text holds what a magnetic stripe does (ISO/IEC
// 7813): the start sentinel, a card number and the separator after it.
func trackData(s string) bool {
	for _, form := range []struct{ start, end string }{{"%B", "^"}, {"%b", "^"}, {";", "="}} {
		for rest := s; ; {
			_, after, found := strings.Cut(rest, form.start)
			if !found {
				break
			}
			if number, _, ended := strings.Cut(after, form.end); ended && len(number) <= 25 && cardNumber(number) {
				return true
			}
			rest = after
		}
	}
	return false
}
