package risk

import (
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt/privacy/anon"
)

// Hint says that a column looks like one of the identifiers that the Safe Harbor
// rule of HIPAA has removed (45 CFR 164.514(b)(2)(i)).
type Hint struct {
	Column     string `json:"column"`
	Identifier string `json:"identifier"` // with the letter of the rule
	Reason     string `json:"reason"`
}

// identifier is one of the eighteen.
type identifier struct {
	name   string
	tokens []string            // of column names; several words are all needed
	looks  func(v string) bool // what most values look like; nil for no shape of their own
}

// identifiers lists them. Dates and codes of places are allowed when they are coarse
// (years; three digits of a postcode): the hint then says what to do.
var identifiers = []identifier{
	{"(A) names", []string{"name", "firstname", "lastname", "surname", "fullname", "forename", "givenname", "familyname", "username", "patientname"}, nil},
	{"(B) places smaller than a state; of a postcode, three digits may stay", []string{"zip", "zipcode", "postcode", "postal", "plz", "address", "street", "city", "town", "county", "village", "district", "parish", "location"}, nil},
	{"(C) dates finer than a year, and ages above 89", []string{"dob", "birth", "birthday", "birthdate", "admission", "admitted", "discharge", "discharged", "death", "date", "timestamp"}, looksDate},
	{"(D) telephone numbers", []string{"phone", "telephone", "tel", "mobile", "cell", "handy"}, nil},
	{"(E) fax numbers", []string{"fax", "telefax"}, nil},
	{"(F) e-mail addresses", []string{"email", "mail", "e-mail"}, looksEmail},
	{"(G) social security numbers", []string{"ssn", "social security", "socialsecuritynumber"}, looksSSN},
	{"(H) medical record numbers", []string{"mrn", "medical record", "chart number", "patient id", "patientid"}, nil},
	{"(I) health plan numbers", []string{"health plan", "insurance", "beneficiary", "member id", "policy number", "medicare", "medicaid"}, nil},
	{"(J) account numbers", []string{"account", "iban", "accountnumber"}, nil},
	{"(K) certificate and licence numbers", []string{"licence", "license", "certificate", "passport"}, nil},
	{"(L) vehicle identifiers and number plates", []string{"vin", "plate", "vehicle"}, nil},
	{"(M) device identifiers and serial numbers", []string{"device", "serial", "imei", "mac"}, looksMAC},
	{"(N) URLs", []string{"url", "website", "homepage"}, looksURL},
	{"(O) IP addresses", []string{"ip", "ipaddress"}, looksIP},
	{"(P) biometric identifiers", []string{"fingerprint", "voiceprint", "iris", "retina", "biometric", "dna"}, nil},
	{"(Q) photographs of faces", []string{"photo", "photograph", "face", "portrait", "picture"}, nil},
	{"(R) any other unique number or code", []string{"id", "uuid", "guid", "identifier"}, looksUUID},
}

// Hints looks at the names of columns, token by token, and at the shape of up to a
// thousand of each column's values. A hint is a reason to look, not a finding; that
// there is none proves nothing.
func Hints(t *anon.Table) []Hint {
	var out []Hint
	for i := range t.Columns {
		c := &t.Columns[i]
		tokens := tokensOf(c.Name)
		for _, id := range identifiers {
			if reason := id.match(tokens, c.Values); reason != "" {
				out = append(out, Hint{c.Name, id.name, reason})
				break
			}
		}
	}
	return out
}

func (id *identifier) match(tokens map[string]bool, values []string) string {
	for _, t := range id.tokens {
		all := true
		for _, word := range strings.Fields(t) {
			all = all && tokens[word]
		}
		if all {
			return "the column's name has " + t
		}
	}
	if id.looks == nil {
		return ""
	}
	n, hits := 0, 0
	for _, v := range values[:min(1000, len(values))] {
		if v != "" {
			n++
			if id.looks(v) {
				hits++
			}
		}
	}
	if n > 0 && 10*hits >= 9*n {
		return "its values look like them"
	}
	return ""
}

// tokensOf splits a name at what is no letter or digit, and at capitals: and has
// the whole of it in lower case too.
func tokensOf(name string) map[string]bool {
	out := map[string]bool{strings.ToLower(name): true}
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			out[strings.ToLower(word.String())] = true
			word.Reset()
		}
	}
	lower := false
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			lower = false
			continue
		case unicode.IsUpper(r) && lower:
			flush()
		}
		lower = unicode.IsLower(r)
		word.WriteRune(r)
	}
	flush()
	return out
}

// shape is a value with digits as 9 and hexadecimal or other letters as a.
func shape(v string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			return '9'
		case unicode.IsLetter(r):
			return 'a'
		}
		return r
	}, v)
}

func looksDate(v string) bool {
	s := shape(v)
	for _, form := range []string{"9999-99-99", "9999/99/99", "99/99/9999", "99.99.9999", "9/9/9999", "99/9/9999", "9/99/9999"} {
		if s == form || strings.HasPrefix(s, form+" ") || strings.HasPrefix(s, form+"a") {
			return true
		}
	}
	return false
}

func looksEmail(v string) bool {
	at := strings.IndexByte(v, '@')
	return at > 0 && strings.IndexByte(v[at:], '.') > 1 && !strings.ContainsAny(v, " ,;")
}

func looksSSN(v string) bool { return shape(v) == "999-99-9999" }

func looksURL(v string) bool {
	return strings.HasPrefix(v, "http://") || strings.HasPrefix(v, "https://") || strings.HasPrefix(v, "www.")
}

func looksIP(v string) bool {
	parts := strings.Split(v, ".")
	if len(parts) != 4 {
		return strings.Count(v, ":") > 2 && strings.Trim(v, "0123456789abcdefABCDEF:") == ""
	}
	for _, p := range parts {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

func looksMAC(v string) bool {
	return len(v) == 17 && strings.Trim(v, "0123456789abcdefABCDEF:-") == "" && strings.Count(v, v[2:3]) == 5 && strings.ContainsAny(v[2:3], ":-")
}

func looksUUID(v string) bool {
	return len(v) == 36 && v[8] == '-' && v[13] == '-' && v[18] == '-' && v[23] == '-' && strings.Trim(v, "0123456789abcdefABCDEF-") == ""
}
