package audit

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt"
)

// Limits on what an event holds, in bytes. What is longer is cut, with a mark
// that names the length and digest of the whole.
const (
	maxField   = 4 << 10
	maxState   = 256 << 10 // before and after a change
	maxDetails = 64
	// maxLine is more than an entry within these limits takes when every byte
	// becomes six: what is longer was not written by this log.
	maxLine = 6*(2*maxState+maxCheckpoint+(10+2*maxDetails)*(maxField+200)) + 4096
)

// presentable is an event as it may be written: fields within their limits, and
// what is secret or personal masked. Who acted and with which credential are what
// the log is for, and are left as they are.
//
// more, if it is there, finds what mask is too small for. It is asked about what an
// entry says, and not about the names of requests and resources, which have to stay
// what they are; nor about checkpoints of other logs, which are signed.
func presentable(e redoubt.Event, more func(string) string) redoubt.Event {
	hide := func(s string) string {
		if more != nil {
			s = more(s)
		}
		return mask(s)
	}
	for _, f := range []*string{&e.Action, (*string)(&e.Outcome), &e.Actor, &e.Method, &e.Credential, &e.From} {
		*f = cut(*f, maxField)
	}
	for _, f := range []*string{&e.Resource, &e.Request} {
		*f = cut(mask(*f), maxField)
	}
	e.Reason, e.Before, e.After = cut(hide(e.Reason), maxField), cut(hide(e.Before), maxState), cut(hide(e.After), maxState)
	say := func(k, v string) string {
		if e.Action == actionNote && k == noteWhole && utf8.ValidString(v) {
			if _, err := ParseCheckpoint([]byte(v)); err == nil {
				return v // a signature that looks like a token would be none afterwards
			}
		}
		return cut(hide(v), maxField)
	}
	if !plain(e.Details, say) {
		details := make(map[string]string, min(len(e.Details), maxDetails))
		for _, k := range slices.Sorted(maps.Keys(e.Details)) {
			if len(details) == maxDetails {
				break
			}
			details[cut(mask(k), maxField)] = say(k, e.Details[k])
		}
		e.Details = details
	}
	if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
		e.Time = time.Time{} // RFC 3339 has no such years; the log sets its own
	}
	return e
}

// plain reports whether details may be written as they are.
func plain(details map[string]string, say func(k, v string) string) bool {
	for k, v := range details {
		if cut(mask(k), maxField) != k || say(k, v) != v {
			return false
		}
	}
	return len(details) <= maxDetails
}

func cut(s string, limit int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	if len(s) <= limit {
		return s
	}
	keep := limit
	for !utf8.RuneStart(s[keep]) {
		keep--
	}
	return fmt.Sprintf("%s [cut from %d bytes, sha256 %x]", s[:keep], len(s), sha256.Sum256([]byte(s)))
}

// mask hides card numbers, e-mail addresses and bearer tokens. It is small: what
// finds personal data of every kind is package pii, which the program has the log
// ask by Config.Mask.
func mask(s string) string {
	digits, marked := glance(s)
	if marked {
		s = maskTokens(maskMail(s))
	}
	if digits >= shortestPAN {
		s = maskPAN(s)
	}
	return s
}

// glance counts the digits of s, and says whether a byte is among the others without
// which there is no address and no token. Most of what a log says has neither, and each
// call of a model has a dozen of texts.
func glance(s string) (digits int, marked bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case c == '@', c == ' ', c|0x20 == 'j':
			marked = true
		}
	}
	return digits, marked
}

// Card numbers have 13 to 19 digits (ISO/IEC 7812-1), and a check digit.
const (
	shortestPAN = 13
	longestPAN  = 19
)

func digits(s string) (n int) {
	for i := range len(s) {
		if isDigit(s[i]) {
			n++
		}
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// maskPAN hides all but the last four digits of whatever could be a card number:
// groups of digits with single spaces or hyphens between, that begin as cards do
// and pass Luhn's check. One random id in five hundred has such a run, and would no
// longer be found: digits within an identifier stay.
func maskPAN(s string) string {
	var out []byte // nil while nothing is hidden
	var few [longestPAN]int
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) || i > 0 && isDigit(s[i-1]) || !issuer(s[i]) {
			continue
		}
		places := run(few[:0], s, i)
		for n := len(places); n >= shortestPAN; n-- {
			last := places[n-1]
			if last+1 < len(s) && isDigit(s[last+1]) || !luhn(s, places[:n]) {
				continue
			}
			if end := identifier(s, i); end > 0 {
				i = end - 1
				break
			}
			if out == nil {
				out = []byte(s)
			}
			for _, p := range places[:n-4] {
				out[p] = '*'
			}
			i = last
			break
		}
	}
	if out == nil {
		return s
	}
	return string(out)
}

// identifier is the end of the UUID (RFC 9562), or of the random id or digest in
// hexadecimal, that place i stands in; 0 if it stands in neither. What is digits
// alone could be several cards, and is none.
func identifier(s string, i int) (end int) {
	const longest, uuid = 512 / 4, 36
	for begin := max(i-uuid+1, 0); begin <= i && begin+uuid <= len(s); begin++ {
		if id := s[begin : begin+uuid]; isUUID(id) && whole(s, begin, begin+uuid) && digits(id) < uuid-4 {
			return begin + uuid
		}
	}
	begin := i
	for begin > 0 && i-begin <= longest && isHex(s[begin-1]) {
		begin--
	}
	end = i
	for end < len(s) && end-i <= longest && isHex(s[end]) {
		end++
	}
	known := slices.Contains([]int{128 / 4, 160 / 4, 256 / 4, 384 / 4, longest}, end-begin)
	if known && whole(s, begin, end) && digits(s[begin:end]) < end-begin {
		return end
	}
	return 0
}

func isUUID(s string) bool {
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

// whole reports whether neither a letter nor a digit joins a part of s.
func whole(s string, begin, end int) bool {
	return (begin == 0 || !word(s[begin-1])) && (end == len(s) || !word(s[end]))
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// word reports whether a byte goes on what is written before it: a letter, also
// beyond ASCII, or a digit.
func word(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= utf8.RuneSelf }

// issuer reports whether payment cards begin with a digit: the others belong to
// airlines, health care and national bodies.
func issuer(c byte) bool { return '2' <= c && c <= '6' }

// run appends the places of the digits from i on, with single separators between,
// as far as a card number could reach.
func run(places []int, s string, i int) []int {
	for ; i < len(s) && len(places) < longestPAN; i++ {
		switch {
		case isDigit(s[i]):
			places = append(places, i)
		case (s[i] == ' ' || s[i] == '-') && i+1 < len(s) && isDigit(s[i+1]):
		default:
			return places
		}
	}
	return places
}

// luhn is the check of ISO/IEC 7812-1, annex B.
func luhn(s string, places []int) bool {
	sum := 0
	for i, p := range places {
		d := int(s[p] - '0')
		if (len(places)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// maskMail leaves the first letter and the domain of an address.
func maskMail(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	var b strings.Builder
	for {
		at := strings.IndexByte(s, '@')
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		begin := at
		for begin > 0 && local(s[begin-1]) {
			begin--
		}
		if begin < at && at+1 < len(s) && local(s[at+1]) && !radius(s[at+1:]) {
			b.WriteString(s[:begin+1])
			b.WriteString("***@")
		} else {
			b.WriteString(s[:at+1])
		}
		s = s[at+1:]
	}
}

// radius reports whether a number follows, and no domain: a bound of an assessment,
// such as linf@0.3, is nobody's address.
func radius(s string) bool {
	end, dots := 0, 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.' && dots == 0) {
		if s[end] == '.' {
			dots++
		}
		end++
	}
	return end > 0 && (end == len(s) || !local(s[end]))
}

// local reports whether a byte may stand in an address: letters beyond ASCII are
// taken for such.
func local(c byte) bool { return word(c) || strings.IndexByte("._%+-", c) >= 0 }

const shortestToken = 8 // what is long enough to be one

// maskTokens hides what follows "Bearer" or "Basic", and whatever looks like a
// signed token (the beginning of a JSON object in base64).
func maskTokens(s string) string {
	for _, mark := range []string{"bearer ", "basic ", "eyj"} {
		for from := 0; ; {
			at := indexFold(s[from:], mark)
			if at < 0 {
				break
			}
			begin := from + at + len(mark)
			end := begin
			for end < len(s) && tokenByte(s[end]) {
				end++
			}
			if end-begin >= shortestToken {
				s = s[:begin] + "***" + s[end:]
				end = begin + 3
			}
			from = end
		}
	}
	return s
}

// indexFold is strings.Index of a mark in lower case, whatever the case of s.
func indexFold(s, mark string) int {
	for i := 0; i+len(mark) <= len(s); i++ {
		if s[i]|0x20 == mark[0] && strings.EqualFold(s[i:i+len(mark)], mark) {
			return i
		}
	}
	return -1
}

// tokenByte is a byte of a token (RFC 6750, section 2.1).
func tokenByte(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._~+/=", c) >= 0
}
