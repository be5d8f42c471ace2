package pii

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nyaruka/phonenumbers"
)

// phoneNumber is numbers of telephones: E.164, and what countries make of it.
var phoneNumber = Recognizer{
	Name: "phone", Type: "PHONE_NUMBER",
	Doc: "numbers of telephones: with a country code, or as the regions of the settings write them; others, local ones too, by context",
	on:  onNumber,
	find: func(v *view, at int) {
		if p, ok := v.phoneAt(at); ok {
			v.phone(p)
		}
	},
	Context: []string{"phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "cellular", "fax", "facsimile", "call", "calls", "called", "calling",
		"dial", "ring", "rang", "sms", "text me", "text us", "whatsapp", "telegram", "contact", "answering", "answer", "reach", "reached", "hotline", "helpline", "voicemail",
		"messages to", "messages at", "office", "landline", "pager", "toll", "phonenumber", "msisdn",
		"telefon", "telefonnummer", "handy", "handynummer", "mobil", "mobiltelefon", "rufnummer", "anrufen", "durchwahl", "téléphone", "portable", "appeler",
		"teléfono", "telefono", "móvil", "movil", "celular", "llamar", "cellulare", "telefone", "telemóvel", "telefoon", "telefoonnummer", "gsm", "puhelin", "puhelinnumero",
		"telefonnumer", "numer telefonu", "komórka", "тел", "телефон", "мобильный", "电话", "電話", "手机", "手機", "전화", "휴대폰", "携帯", "โทร"},
	Against: []string{"isbn", "issn", "invoice", "version", "serial", "bytes", "id", "uid", "pid", "ticket", "bug", "rfc", "price", "usd", "eur"},
}

// A phonePlan is the regions whose numbers are known without a country code.
type phonePlan struct {
	regions []string // but those of the North American plan
	america bool
	// known remembers, by length and the three digits behind the zero, in which region
	// such numbers are valid: 1 for none, 2 for the first.
	known []atomic.Int32
	codes map[int]bool // of countries
}

// given reports whether a number without its plus begins with the code of a country;
// in North America, also whether it has the length and an area code. Which numbers
// behind it exist is not asked: that takes longer than reading a thousand bytes.
func (p *phonePlan) given(d []byte) bool {
	if len(d) < 8 {
		return false
	}
	if d[0] == '1' {
		return len(d) == 11 && areaCodes()[number(d[1:4])]
	}
	return p.codes[number(d[:1])] || p.codes[number(d[:2])] || p.codes[number(d[:3])]
}

// national is the region in which numbers of a length that begin so are valid, "" for
// none. The library is asked about a number made up for each beginning, once, so that
// texts full of numbers cannot make it work for each.
func (p *phonePlan) national(d []byte) string {
	known := &p.known[(len(d)-9)*1000+number(d[1:4])]
	if n := known.Load(); n > 0 {
		return p.name(n)
	}
	n := int32(1)
	for i, r := range p.regions {
		start := string(d[:4])
		if n == 1 && (valid(start+"23456789"[:len(d)-4], r) || valid(start+"55512345"[:len(d)-4], r)) {
			n = int32(i) + 2
		}
	}
	known.Store(n)
	return p.name(n)
}

func (p *phonePlan) name(n int32) string {
	if n == 1 {
		return ""
	}
	return p.regions[n-2]
}

func newPhonePlan(regions []string) (phonePlan, error) {
	if regions == nil {
		regions = []string{"US", "GB", "DE", "FR", "IT", "ES", "NL", "SE", "CH", "AT", "IN", "BR", "AU", "CA", "ZA"}
	}
	p := phonePlan{known: make([]atomic.Int32, 4*1000), codes: phonenumbers.GetSupportedCallingCodes()}
	known := phonenumbers.GetSupportedRegions()
	for _, r := range regions {
		r = strings.ToUpper(r)
		if !known[r] {
			return p, fmt.Errorf("region %q: not one of ISO 3166, such as GB", r)
		}
		if phonenumbers.GetCountryCodeForRegion(r) == 1 {
			p.america = true
		} else if !slices.Contains(p.regions, r) {
			p.regions = append(p.regions, r)
		}
	}
	return p, nil
}

const maxGroups = 8

// A phoneRun is groups of digits that may be a number.
type phoneRun struct {
	start  int
	plus   bool
	paren  bool // has something in parentheses
	groups int
	length [maxGroups]int // of each group
	end    [maxGroups]int
	gap    [maxGroups]byte // what stands before each group but the first
}

func (p *phoneRun) digits(groups int) int {
	n := 0
	for _, l := range p.length[:groups] {
		n += l
	}
	return n
}

// phoneAt reads the groups that begin with a word. It refuses the later groups of
// something longer.
func (v *view) phoneAt(at int) (p phoneRun, ok bool) {
	text, w := v.text, v.words[at]
	if w.len() < 7 { // one group is not enough: another has to follow closely
		if at+1 == len(v.words) {
			return p, false
		}
		if next := v.words[at+1]; next.start-w.end > 5 || !isDigit(text[next.start]) {
			return p, false
		}
	}
	p.start = int(w.start)
	if end := int(w.end); p.start > 0 && text[p.start-1] == '(' && end < len(text) && text[end] == ')' {
		p.start--
		p.paren = true
	}
	if p.start > 0 && text[p.start-1] == '+' && (p.start == 1 || !isAlnum(text[p.start-2])) {
		p.start--
		p.plus = true
	}
	if p.start > 1 && strings.IndexByte("-./:_=)@,+$#", text[p.start-1]) >= 0 && (isDigit(text[p.start-2]) || strings.IndexByte("@$#_+", text[p.start-1]) >= 0) {
		return p, false
	}
	i := int(w.start)
	for p.groups < maxGroups {
		n := 0
		for i+n < len(text) && isDigit(text[i+n]) && n <= 15 {
			n++
		}
		if n == 0 || n > 15 || i+n < len(text) && (isLetter(text[i+n]) && text[i+n] != 'x' || text[i+n] == '_') {
			break
		}
		i += n
		p.length[p.groups], p.end[p.groups] = n, i
		p.groups++
		gap := 0
		mark := byte(0)
		for i+gap < len(text) && gap < 5 {
			class, n := step(text[i+gap:])
			switch b := text[i+gap]; {
			case class == formSpace && mark != ' ', class == formDash && mark != '-', class == formDot && mark == 0, class == formSlash && mark == 0:
				if class != formSpace || mark == 0 {
					mark = " -./"[class-formSpace]
				}
			case b == '(' || b == ')':
				p.paren = p.paren || i+gap+n < len(text)
				mark = b
			default:
				n = 0
			}
			if n == 0 {
				break
			}
			gap += n
		}
		if gap == 0 || i+gap >= len(text) || !isDigit(text[i+gap]) || p.groups == maxGroups {
			break
		}
		i += gap
		p.gap[p.groups] = mark
	}
	v.steps += i - p.start
	return p, p.groups > 0 && p.digits(p.groups) >= 6
}

// phone judges the longest run of groups first.
func (v *view) phone(p phoneRun) {
	for k := p.groups; k > 0; k-- {
		n := p.digits(k)
		if n < 6 {
			return
		}
		end := p.end[k-1]
		if n > 15 || glued(v.text, end) {
			continue
		}
		if score, why := v.judgePhone(&p, k, n); score > 0 {
			v.found(p.start, end, score, why)
			return
		}
	}
}

// glued reports whether digits go on behind a mark that parts no telephone numbers.
func glued(text []byte, end int) bool {
	if end >= len(text) {
		return false
	}
	b := text[end]
	if isDigit(b) || b == '@' || b == '_' || b == '%' {
		return true
	}
	return end+1 < len(text) && (b == ':' || b == ',' || b == '.' || b == '/' || b == '-') && isDigit(text[end+1])
}

func (v *view) judgePhone(p *phoneRun, k, n int) (float64, string) {
	text := v.text[p.start:p.end[k-1]]
	shape := p.length[:k]
	zeros := !p.plus && text[0] == '0' && len(text) > 2 && text[1] == '0' && text[2] >= '1' && text[2] <= '9' && n >= 10
	switch {
	case p.plus || zeros:
		if n < 8 || k > 7 {
			return 0, ""
		}
		d := bytes.TrimLeft(plainPhone(text), "+0")
		switch given := v.s.phone.given(d); {
		case given && p.plus:
			return 0.8, "has the code of a country"
		case given && k > 1:
			return 0.65, "has the code of a country"
		case !p.plus && k == 1:
			return 0.03, "begins as an international number"
		}
		return 0.3, "begins as an international number"
	case p.gap[1] == '/':
		return v.localPhone(p, k, n)
	case slices.Equal(shape, []int{3, 3, 4}) || slices.Equal(shape, []int{1, 3, 3, 4}) && text[0] == '1':
		d := plainPhone(text)
		d = d[len(d)-10:]
		if d[0] < '2' || d[3] < '2' {
			return v.localPhone(p, k, n)
		}
		if v.s.phone.america && areaCodes()[number(d[:3])] {
			if !p.paren && p.gap[k-1] == ' ' {
				return 0.5, "is a valid number of North America"
			}
			return 0.65, "is a valid number of North America"
		}
		return 0.25, "has the form of a number of North America"
	case text[0] == '0' || text[0] == '(' && text[1] == '0':
		if k >= 2 && n >= 9 && n <= 12 && !(k == 2 && p.gap[1] == '.') && !dateLike(p, k) && !p.mixed(k) {
			if r := v.s.phone.national(plainPhone(text)); r != "" {
				return 0.55, "is a valid number in " + r
			}
		}
	}
	return v.localPhone(p, k, n)
}

// localPhone is what only context can tell.
func (v *view) localPhone(p *phoneRun, k, n int) (float64, string) {
	if p.start > 1 && v.text[p.start-1] == '-' && isLetter(v.text[p.start-2]) {
		return 0, "" // the end of a name such as iso-8859-15
	}
	if k == 2 && p.gap[1] == '.' || k == 1 && bytes.HasSuffix(v.text[:p.end[0]], []byte("000")) {
		return 0, "" // a number with a point in it, or a round one
	}
	if n < 7 || n > 13 || k > 6 || dateLike(p, k) || p.mixed(k) || k == 1 && (n < 7 || n > 12) || same(plainPhone(v.text[p.start:p.end[k-1]])) {
		return 0, ""
	}
	if end := p.end[k-1]; k > 2 && p.gap[1] == '/' || k == 4 && end+1 < len(v.text) && v.text[end] == '-' && p.gap[1] == '-' && p.length[0] <= 3 && isLetter(v.text[end+1]) {
		return 0, "" // models of a thing, and an IP address within the name of a host
	}
	for i, l := range p.length[:k] {
		if l < 2 && i > 0 || l > 8 && k > 1 || l > 4 && k == 2 && p.length[0] > 4 {
			return 0, ""
		}
	}
	if k == 1 {
		return 0.05, "has as many digits as a local number"
	}
	return 0.1, "has the groups of a local number"
}

// mixed reports whether dots or slashes stand beside other marks: amounts, dates and
// versions do that.
func (p *phoneRun) mixed(k int) bool {
	dots := 0
	for _, g := range p.gap[1:k] {
		if g == '.' {
			dots++
		}
	}
	return dots > 0 && dots < k-1
}

// dateLike reports whether the groups are those of a date or of an IP address.
func dateLike(p *phoneRun, k int) bool {
	l := p.length[:k]
	if k == 4 && p.gap[1] == '.' && p.gap[2] == '.' && p.gap[3] == '.' {
		return true
	}
	if k < 3 || p.gap[1] != p.gap[2] || p.gap[1] == ' ' || p.paren || p.plus {
		return false
	}
	first, last := l[0] == 4 && l[1] <= 2 && l[2] <= 2, l[0] <= 2 && l[1] <= 2 && l[2] == 4
	return first || last || k == 3 && l[0] <= 2 && l[1] <= 2 && l[2] <= 2
}

// plainPhone is the digits of a number, and its plus.
func plainPhone(text []byte) []byte {
	out := make([]byte, 0, 20)
	for i, b := range text {
		if isDigit(b) || b == '+' && i < 2 {
			out = append(out, b)
		}
	}
	return out
}

// areaCodes are those of North America that are given out: asked once, for they decide
// whether a number of ten digits is valid, and the library takes as long for one number
// as the rest does for a thousand bytes.
var areaCodes = sync.OnceValue(func() (given [1000]bool) {
	for area := 200; area < 1000; area++ {
		given[area] = valid(strconv.Itoa(area)+"2345678", "US")
	}
	return
})

// valid asks the library, which is slow: everything cheap has been asked before.
func valid(number, region string) bool {
	n, err := phonenumbers.Parse(number, region)
	return err == nil && phonenumbers.IsValidNumber(n)
}
