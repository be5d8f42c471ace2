package mask

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

var surrogate = Method{
	Name: "surrogate", Doc: "a value that could be real: a name of the same language, a number with a right check digit, in the form of the one it stands for; nobody gets back",
	Settings: []string{"locale", "by"},
	New: func(r Rule, in Settings) (Masker, error) {
		key, err := in.derive("surrogate", 32)
		if err != nil {
			return nil, err
		}
		if r.Locale == "" {
			r.Locale = "en"
		}
		if _, ok := locales()[r.Locale]; !ok {
			return nil, fmt.Errorf("locale %q: must be one of %s", r.Locale, strings.Join(localeNames(), ", "))
		}
		if r.By != "" && r.By != "subject" {
			return nil, fmt.Errorf("by %q: must be subject, or be left out", r.By)
		}
		return &inventor{r, drawer{key}, in.Valid}, nil
	},
}

func (m *inventor) Mask(_ context.Context, v Value) (string, error) { return m.mask(v), nil }

// inventor makes surrogates.
type inventor struct {
	rule  Rule
	draw  drawer
	valid func(typ, text string) bool
}

// ways are how values of types are invented. Others keep their shape.
var ways = map[string]func(*inventor, *draws, string) string{
	"PERSON":         (*inventor).person,
	"LOCATION":       (*inventor).place,
	"ORGANIZATION":   (*inventor).organisation,
	"STREET_ADDRESS": (*inventor).address,
	"EMAIL_ADDRESS":  (*inventor).email,
	"URL":            (*inventor).url,
	"IP_ADDRESS":     (*inventor).network,
	"CREDIT_CARD":    (*inventor).card,
	"IBAN_CODE":      (*inventor).account,
	"TITLE":          func(_ *inventor, _ *draws, s string) string { return s }, // "Dr." is nobody's
}

// tries bounds the search for a value that is as valid as the one it stands for:
// the rarest common check, IBAN's, holds for one in 97. After half of them only
// digits are replaced.
const tries = 4000

func (m *inventor) mask(v Value) string {
	way := ways[v.Type]
	if way == nil {
		way = (*inventor).shape
	}
	d := m.draw.of(v.Type, canonical(v.Text))
	if m.rule.By == "subject" && v.Subject != "" {
		d = m.draw.of(v.Type, "subject", v.Subject)
		d.subject = true
	}
	wanted := m.valid != nil && m.valid(v.Type, v.Text)
	for i := range tries {
		if i == tries/2 { // its letters may be those of a country, or of a check
			way = (*inventor).digits
		}
		s := way(m, d, v.Text)
		if s == v.Text && v.Type != "TITLE" {
			continue
		}
		if !wanted || m.valid(v.Type, s) {
			return s
		}
	}
	// Nothing like it was found, as of a text without letters and digits.
	return "[" + v.Type + "]"
}

// canonical makes spellings of one value the same.
func canonical(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// shape keeps everything but letters and digits, and of these the kind.
func (m *inventor) shape(d *draws, s string) string {
	return strings.Map(func(r rune) rune { return shaped(d, r) }, s)
}

// digits keeps everything but digits.
func (m *inventor) digits(d *draws, s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return shaped(d, r)
		}
		return r
	}, s)
}

func shaped(d *draws, r rune) rune {
	switch {
	case r >= '0' && r <= '9':
		return '0' + rune(d.below(10))
	case r >= 'a' && r <= 'z':
		return 'a' + rune(d.below(26))
	case r >= 'A' && r <= 'Z':
		return 'A' + rune(d.below(26))
	case unicode.IsUpper(r):
		return 'A' + rune(d.below(26))
	case unicode.IsLetter(r):
		return 'a' + rune(d.below(26))
	}
	return r
}

// account keeps the country.
func (m *inventor) account(d *draws, s string) string {
	if len(s) < 2 {
		return m.shape(d, s)
	}
	return s[:2] + m.shape(d, s[2:])
}

// card keeps the network: the first digits, by which shops choose the logo.
func (m *inventor) card(d *draws, s string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return r
		}
		if n++; n <= 2 {
			return r
		}
		return '0' + rune(d.below(10))
	}, s)
}

// person replaces each part of a name by one of its own, so that somebody who is
// called by his first name later is the same person. Titles, initials' dots and
// the way it is written stay.
func (m *inventor) person(d *draws, s string) string {
	l := m.localeOf(s)
	if d.subject {
		first := l.female
		if d.below(2) == 0 {
			first = l.male
		}
		return like(s, first.draw(d)+" "+l.last.draw(d))
	}
	parts := words(s)
	names := 0
	for _, w := range parts {
		if w.name {
			names++
		}
	}
	var b strings.Builder
	seen := 0
	for _, w := range parts {
		if !w.name {
			b.WriteString(w.text)
			continue
		}
		seen++
		b.WriteString(m.part(l, w.text, seen == names && names > 1))
	}
	return b.String()
}

// part is what stands for a part of a name.
func (m *inventor) part(l *locale, w string, last bool) string {
	lower := strings.ToLower(w)
	d := m.draw.of("part of a name", lower)
	if utf8.RuneCountInString(w) == 1 {
		return like(w, string(rune('a'+d.below(26))))
	}
	list := l.last
	switch {
	case l.female.has(lower):
		list = l.female
	case l.male.has(lower):
		list = l.male
	case l.last.has(lower):
	case particles[lower]:
		return w
	case !last && !l.last.has(lower):
		list = l.female
		if d.below(2) == 0 {
			list = l.male
		}
	}
	for {
		if s := list.draw(d); !strings.EqualFold(s, w) {
			return like(w, s)
		}
	}
}

var particles = map[string]bool{
	"de": true, "del": true, "della": true, "di": true, "da": true, "dos": true, "von": true, "van": true, "der": true, "den": true,
	"zu": true, "la": true, "le": true, "al": true, "el": true, "bin": true, "y": true, "ter": true,
	"mr": true, "mrs": true, "ms": true, "miss": true, "dr": true, "prof": true, "sir": true, "jr": true, "sr": true, "herr": true, "frau": true, "mme": true,
}

// place and organisation take one of the lists, written as the original is.
func (m *inventor) place(d *draws, s string) string {
	l := m.localeOf(s)
	return like(s, l.cities.draw(d))
}

func (m *inventor) organisation(d *draws, s string) string {
	l := m.localeOf(s)
	name := l.last.draw(d)
	words := strings.Fields(s)
	if end := words[max(len(words)-1, 0):]; len(words) > 1 && len(end) > 0 && forms[strings.ToLower(strings.Trim(end[0], ".,"))] {
		return like(s, name) + " " + end[0]
	}
	trades := []string{"Trading", "Works", "Partners", "Group", "Logistics", "Foods", "Systems", "Supplies"}
	return like(s, name+" "+trades[d.below(len(trades))])
}

var forms = map[string]bool{"inc": true, "ltd": true, "llc": true, "plc": true, "gmbh": true, "ag": true, "sa": true, "bv": true, "ab": true, "oy": true, "spa": true, "srl": true, "kg": true, "corp": true, "co": true}

// address replaces the words of a street by another street, and its digits.
func (m *inventor) address(d *draws, s string) string {
	l := m.localeOf(s)
	street := l.streets.draw(d)
	done := false
	var b strings.Builder
	for _, w := range words(s) {
		switch {
		case !w.name:
			b.WriteString(m.shape(d, w.text))
		case !done && utf8.RuneCountInString(w.text) > 2 && !kept[strings.ToLower(w.text)]:
			b.WriteString(like(w.text, street))
			done = true
		case kept[strings.ToLower(w.text)] || utf8.RuneCountInString(w.text) <= 2:
			b.WriteString(w.text)
		default:
			b.WriteString(like(w.text, l.streets.draw(d)))
		}
	}
	return b.String()
}

// kept are words of addresses that are nobody's.
var kept = map[string]bool{
	"street": true, "road": true, "avenue": true, "lane": true, "drive": true, "court": true, "place": true, "square": true, "apt": true, "suite": true, "box": true,
	"rue": true, "via": true, "calle": true, "rua": true, "ulica": true, "straße": true, "strasse": true, "platz": true, "weg": true, "avenida": true, "boulevard": true, "piazza": true, "laan": true, "straat": true,
}

// email is at a domain that nobody can have (RFC 2606).
func (m *inventor) email(d *draws, s string) string {
	l := locales()["en"]
	local, _, _ := strings.Cut(s, "@")
	name := l.female.draw(d)
	if d.below(2) == 0 {
		name = l.male.draw(d)
	}
	if d.subject || strings.ContainsAny(local, "._-") {
		name += "." + l.last.draw(d)
	}
	return fmt.Sprintf("%s%d@example.%s", strings.ToLower(name), 10+d.below(9990), []string{"com", "org", "net"}[d.below(3)])
}

// url keeps the scheme and the number of steps of the path.
func (m *inventor) url(d *draws, s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return scheme + "www" + fmt.Sprint(1+d.below(9999)) + ".example.com" + m.shape(d, rest[end:])
}

// network is an address of the ranges that are routed nowhere (RFC 2544, RFC 3849).
func (m *inventor) network(d *draws, s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return m.shape(d, s)
	}
	if a.Is4() {
		return netip.AddrFrom4([4]byte{198, 18 + d.byte()&1, d.byte(), d.byte()}).String()
	}
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	for i := 4; i < 16; i++ {
		b[i] = d.byte()
	}
	return netip.AddrFrom16(b).String()
}

// word is a part of a text: letters, or what stands between.
type word struct {
	text string
	name bool
}

func words(s string) (out []word) {
	for len(s) > 0 {
		r, _ := utf8.DecodeRuneInString(s)
		name := nameRune(r)
		n := strings.IndexFunc(s, func(r rune) bool { return nameRune(r) != name })
		if n < 0 {
			n = len(s)
		}
		out = append(out, word{s[:n], name})
		s = s[n:]
	}
	return out
}

func nameRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || r == '\'' || r == '’'
}

// like writes s as w is written: in capitals, in small letters, or as it is.
func like(w, s string) string {
	switch {
	case utf8.RuneCountInString(w) > 1 && w == strings.ToUpper(w) && w != strings.ToLower(w):
		return strings.ToUpper(s)
	case w == strings.ToLower(w) && w != strings.ToUpper(w):
		return strings.ToLower(s)
	}
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
