package gateway

import (
	"strings"

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

// holdsCard reports whether a card number stands somewhere in a text.
func holdsCard(s string) bool {
	for from := 0; from < len(s); {
		if s[from] < '0' || s[from] > '9' {
			from++
			continue
		}
		to := from
		for to < len(s) && (s[to] >= '0' && s[to] <= '9' || (s[to] == ' ' || s[to] == '-') && to+1 < len(s) && s[to+1] >= '0' && s[to+1] <= '9') {
			to++
		}
		if len(s[from:to]) <= 40 && cardNumber(s[from:to]) && s[from] != '0' {
			return true
		}
		from = to
	}
	return false
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
