package pii

import (
	"bytes"
	"strings"
)

// unitedKingdom is what its services number.
var unitedKingdom = []Recognizer{
	{
		Name: "uk-nhs", Type: "UK_NHS", Doc: "patients: ten digits, the last one modulo 11 (NHS data dictionary)",
		Forms: []string{"9999999999", "999 999 9999", "999-999-9999"},
		Check: func(m Match) (float64, string) {
			c := 11 - weighed(m.Plain, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
			if c%11 != int(m.Plain[9]-'0') || c == 10 || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.1, 0.1, 0.25), "passes modulo 11"
		},
		Context: []string{"nhs", "national health", "patient", "gp"},
		Against: []string{"phone", "tel", "call", "fax"},
	},
	{
		Name: "uk-nino", Type: "UK_NINO", Doc: "national insurance: the prefixes and suffixes that are given out (HMRC NIM39110)",
		Forms: []string{"AA999999A", "AA 99 99 99 A", "AA-99-99-99-A", "AA 999999 A", "AA 999 999 A"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if strings.IndexByte("DFIQUV", p[0]) >= 0 || strings.IndexByte("DFIOQUV", p[1]) >= 0 || p[8] > 'D' ||
				strings.Contains("BG GB KN NK NT TN ZZ", string(p[:2])) || !capitals(m) {
				return 0, ""
			}
			return printed(m, 0.55, 0.7, 0.7), "prefix and suffix are given out"
		},
		Context: []string{"nino", "national insurance", "ni number", "ni", "hmrc", "insurance"},
	},
	{
		Name: "uk-passport", Type: "UK_PASSPORT", Doc: "passports: nine digits, or two letters and seven; told by context alone",
		Forms: []string{"999999999", "AA9999999"}, Check: unchecked(0.04),
		Context: []string{"uk passport", "british passport", "hmpo", "his majesty", "her majesty"},
	},
	{
		Name: "uk-driving-licence", Type: "UK_DRIVING_LICENCE", Doc: "driving licences: surname, birthday, initials and check signs in their places (DVLA)",
		Forms: []string{"XXXXX999999XXXAA", "XXXXX 999999 XXXAA", "XXXXX 999999 XX9AA"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			month := pair(p, 6)
			if month > 50 {
				month -= 50 // women
			}
			nine := false
			for _, b := range p[:5] { // the surname, filled up with nines
				if isDigit(b) && b != '9' || nine && b != '9' {
					return 0, ""
				}
				nine = nine || b == '9'
			}
			if p[0] == '9' || !monthDay(month, pair(p, 8)) || isDigit(p[11]) && p[11] != '9' || isDigit(p[12]) && p[12] != '9' {
				return 0, ""
			}
			return 0.8, "has a name and a date of birth in their places"
		},
		Context: []string{"driving", "licence", "license", "dvla", "driver"},
	},
	{
		Name: "uk-postcode", Type: "UK_POSTCODE", Doc: "postcodes with a space (BS 7666); told by context",
		Forms: []string{"A9 9AA", "A99 9AA", "AA9 9AA", "AA99 9AA", "A9A 9AA", "AA9A 9AA", "A9{1,2}9AA", "AA9{1,2}9AA", "A9A9AA", "AA9A9AA", "AAA 9AA", "AAA9AA"},
		Check: func(m Match) (float64, string) {
			if strings.IndexByte("QVX", m.Plain[0]) >= 0 || bytes.ContainsAny(m.Plain[len(m.Plain)-2:], "CIKMOV") || !capitals(m) {
				return 0, ""
			}
			if p := m.Plain; isLetter(p[1]) && isLetter(p[2]) && string(p) != "GIR0AA" {
				return 0, ""
			}
			return printed(m, 0.1, 0, 0.3), "has the form of a postcode"
		},
		Context: []string{"postcode", "post code", "postal code"},
	},
	{
		Name: "uk-vehicle-registration", Type: "UK_VEHICLE_REGISTRATION", Doc: "number plates since 1963 (DVLA); told by context",
		Forms: []string{"AA99~AAA", "A9{1,3}~AAA", "AAA~9{1,3}A"},
		Check: func(m Match) (float64, string) {
			if bytes.ContainsAny(m.Plain, "IQ") || !capitals(m) {
				return 0, ""
			}
			if p := m.Plain; isLetter(p[1]) && isDigit(p[2]) {
				if age := pair(p, 2); age < 2 || age > 29 && age < 51 || age > 79 {
					return 0, ""
				}
				return 0.2, "has the form of a number plate"
			}
			return 0.1, "has the form of a number plate from before 2001"
		},
		Context: []string{"vehicle", "registration", "plate", "number plate", "vrm", "vrn", "car", "reg"},
	},
}
