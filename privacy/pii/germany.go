package pii

import (
	"bytes"
	"strings"
)

// germany is what its authorities, insurers and physicians number.
var germany = []Recognizer{
	{
		Name: "de-tax-id", Type: "DE_TAX_ID", Doc: "tax identification: one digit two or three times among ten, and ISO 7064 MOD 11,10 (BZSt)",
		Forms: []string{"99999999999", "99 999 999 999", "99/999/99999"},
		Check: func(m Match) (float64, string) {
			var count [10]int
			most, once := 0, 0
			for _, b := range m.Plain[:10] {
				count[b-'0']++
			}
			for _, n := range count {
				most = max(most, n)
				if n == 1 {
					once++
				}
			}
			if m.Plain[0] == '0' || !mod11x10(m.Plain) {
				return 0, ""
			}
			if !(most == 2 && once == 8 || most == 3 && once == 7) {
				return 0.1, "passes MOD 11,10, though its digits do not repeat as they must"
			}
			return printed(m, 0.4, 0.6, 0.7), "digits repeat as they must, passes MOD 11,10"
		},
		Context: []string{"steuer", "steuerid", "steuernummer", "steueridentifikationsnummer", "identifikationsnummer", "idnr", "steuer id", "tin", "tax id", "tax", "finanzamt"},
	},
	{
		Name: "de-tax-number", Type: "DE_TAX_NUMBER", Doc: "tax numbers of the states, as their offices print them; told by context",
		Forms: []string{"99/999/99999", "999/999/99999", "999/9999/9999", "999/999/9999", "99 999 99999", "999 9999 9999", "99/999/9999", "99/9999/9999", "9{13}"},
		Check: func(m Match) (float64, string) {
			if state := pair(m.Plain, 0); len(m.Plain) == 13 && (state == 0 || state > 16) || same(m.Plain) {
				return 0, ""
			}
			return 0.2, ""
		},
		Context: []string{"steuernummer", "steuer", "stnr", "st nr", "finanzamt", "tax number"},
	},
	{
		Name: "de-social-security", Type: "DE_SOCIAL_SECURITY", Doc: "pension insurance: area, birthday, initial, serial and check digit (VKVV § 4)",
		Forms: []string{"99999999A999", "99 999999 A 999", "99 999999 A99 9"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			day := pair(p, 2)
			if day > 50 {
				day -= 50 // numbers that clash
			}
			letter := value(p[8]) - 9
			d := append(append(append(make([]byte, 0, 13), p[:8]...), byte('0'+letter/10), byte('0'+letter%10)), p[9:]...)
			if !monthDay(pair(p, 4), day) || crossSum(d[:12], 2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)%10 != int(d[12]-'0') {
				return 0, ""
			}
			return 0.75, "has a date of birth in its place and passes its check digit"
		},
		Context: []string{"rentenversicherung", "rentenversicherungsnummer", "versicherungsnummer", "sozialversicherung", "sozialversicherungsnummer", "rvnr", "sv", "svnr", "vsnr", "social security"},
	},
	{
		Name: "de-health-insurance", Type: "DE_HEALTH_INSURANCE", Doc: "health insurance: a letter, eight digits and a check digit (SGB V § 290)",
		Forms: []string{"A999999999", "A 999999999", "A999 999 999"},
		Check: func(m Match) (float64, string) {
			letter := value(m.Plain[0]) - 9
			d := append([]byte{byte('0' + letter/10), byte('0' + letter%10)}, m.Plain[1:]...)
			if crossSum(d[:10], 1, 2, 1, 2, 1, 2, 1, 2, 1, 2)%10 != int(d[10]-'0') {
				return 0, ""
			}
			return 0.3, "passes its check digit"
		},
		Context: []string{"kvnr", "krankenversicherung", "krankenversichertennummer", "versichertennummer", "krankenkasse", "egk", "gesundheitskarte", "versicherten", "health insurance"},
	},
	{
		Name: "de-lanr", Type: "DE_LANR", Doc: "physicians: six digits, a check digit and the field of work (KBV)",
		Forms: []string{"999999999"},
		Check: func(m Match) (float64, string) {
			if same(m.Plain) || (10-weighed(m.Plain, 4, 9, 4, 9, 4, 9)%10)%10 != int(m.Plain[6]-'0') {
				return 0, ""
			}
			return 0.05, "passes its check digit"
		},
		Context: []string{"lanr", "arztnummer", "arztnr", "arzt", "vertragsarzt", "kbv"},
	},
	{
		Name: "de-bsnr", Type: "DE_BSNR", Doc: "practices: nine digits; told by context", Forms: []string{"999999999"}, Check: unchecked(0.04),
		Context: []string{"bsnr", "betriebsstättennummer", "betriebsstätte", "betriebsstaettennummer", "praxis"},
	},
	{
		Name: "de-id-card", Type: "DE_ID_CARD", Doc: "identity cards: nine signs, and the check digit of ICAO 9303 where it is there",
		Forms: []string{"X{9}", "X{10}", "A99999999"}, Check: documentDE(),
		Context: []string{"personalausweis", "ausweis", "ausweisnummer", "personalausweisnummer", "perso", "id card", "identity card"},
	},
	{
		Name: "de-passport", Type: "DE_PASSPORT", Doc: "passports: nine signs, and the check digit of ICAO 9303 where it is there",
		Forms: []string{"X{9}", "X{10}"}, Check: documentDE(),
		Context: []string{"reisepass", "reisepassnummer", "passnummer", "pass", "german passport"},
	},
	{
		Name: "de-driver-license", Type: "DE_FUEHRERSCHEIN", Doc: "driving licences since 1999: office, serial, check sign and copy; told by context",
		Forms: []string{"X99X{6}9X", "AA9{8}X"}, Check: unchecked(0.05),
		Context: []string{"führerschein", "fuehrerschein", "führerscheinnummer", "fahrerlaubnis", "fahrerlaubnisnummer", "driver license", "driving licence"},
	},
	{
		Name: "de-vat", Type: "DE_VAT_ID", Doc: "businesses: DE and nine digits, ISO 7064 MOD 11,10",
		Forms: []string{"AA999999999", "AA 999999999", "AA 999 999 999", "AA-999-999-999", "AA.999.999.999", "AA 999-999.999"},
		Check: func(m Match) (float64, string) {
			if string(m.Plain[:2]) != "DE" || !mod11x10(m.Plain[2:]) {
				return 0, ""
			}
			return 0.8, "passes MOD 11,10"
		},
		Context: []string{"ust", "ustid", "ust idnr", "umsatzsteuer", "vat", "mwst"},
	},
	{
		Name: "de-commercial-register", Type: "DE_HANDELSREGISTER", Doc: "commercial register: section A or B and a number",
		Forms: []string{"AAA9{1,6}", "AAA 9{1,6}"},
		Check: func(m Match) (float64, string) {
			if s := string(m.Plain[:3]); s != "HRB" && s != "HRA" {
				return 0, ""
			}
			return 0.7, "begins with the section of the register"
		},
		Context: []string{"hrb", "hra", "handelsregister", "handelsregisternummer"}, Against: []string{"seite"},
	},
	{
		Name: "de-plate", Type: "DE_KFZ", Doc: "number plates: town, letters and digits; told by context",
		Forms: []string{"A{1,3}-A{1,2} 9{1,4}", "A{1,3}-A{1,2}-9{1,4}", "A{1,3} A{1,2} 9{1,4}"},
		Check: func(m Match) (float64, string) {
			if !bytes.Equal(bytes.ToUpper(m.Text), m.Text) {
				return 0, ""
			}
			return 0.2, ""
		},
		Context: []string{"kennzeichen", "kfz", "nummernschild", "fahrzeug", "license plate", "plate", "auto"},
	},
}

// documentDE checks the numbers of identity cards and passports, which use no vowels
// and no letter that looks like a digit.
func documentDE() func(Match) (float64, string) {
	return func(m Match) (float64, string) {
		p := m.Plain
		if digits(p[:1]) || strings.IndexByte("CFGHJKLMNPRTVWXYZ", p[0]) < 0 || bytes.ContainsAny(p, "ABDEIOQSU") || !capitals(m) || !bytes.ContainsAny(p, "0123456789") {
			return 0, ""
		}
		if len(p) == 10 {
			if !isDigit(p[9]) || weighed(p, 7, 3, 1, 7, 3, 1, 7, 3, 1)%10 != int(p[9]-'0') {
				return 0, ""
			}
			return 0.3, "passes the check digit of ICAO 9303"
		}
		return 0.1, ""
	}
}

// crossSum is the sum of the cross sums of digits times weights.
func crossSum(d []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		n := int(d[i]-'0') * w
		sum += n/10 + n%10
	}
	return sum
}
