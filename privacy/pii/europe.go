package pii

import (
	"bytes"
	"strings"
)

// spain is what its authorities number.
var spain = []Recognizer{
	{
		Name: "es-nif", Type: "ES_NIF", Doc: "citizens: eight digits and the letter of their remainder by 23 (Ministerio del Interior)",
		Forms: []string{"99999999A", "99999999-A", "99999999 A", "9999999A", "9999999-A", "99.999.999-A", "99.999.999A"},
		Check: func(m Match) (float64, string) {
			n := len(m.Plain) - 1
			if letterES(number(m.Plain[:n])) != m.Plain[n] {
				return 0, ""
			}
			return 0.6, "has the letter of its remainder by 23"
		},
		Context: []string{"nif", "dni", "documento", "identidad", "documento nacional"},
	},
	{
		Name: "es-nie", Type: "ES_NIE", Doc: "foreigners: X, Y or Z, seven digits and the letter of their remainder by 23",
		Forms: []string{"A9999999A", "A-9999999-A", "A9999999-A", "A 9999999 A"},
		Check: func(m Match) (float64, string) {
			first := strings.IndexByte("XYZ", m.Plain[0])
			if first < 0 || letterES(first*1e7+number(m.Plain[1:8])) != m.Plain[8] {
				return 0, ""
			}
			return 0.75, "has the letter of its remainder by 23"
		},
		Context: []string{"nie", "extranjero", "número de identificación", "identificación"},
	},
	{
		Name: "es-passport", Type: "ES_PASSPORT", Doc: "passports: three letters and six digits; told by context",
		Forms: []string{"AAA999999", "AA999999"}, Check: unchecked(0.05),
		Context: []string{"pasaporte", "passport", "número de pasaporte"},
	},
}

func letterES(n int) byte { return "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] }

// italy is what its authorities number.
var italy = []Recognizer{
	{
		Name: "it-fiscal-code", Type: "IT_FISCAL_CODE", Doc: "people: letters of the name, date and place of birth, check letter (DM 23/12/1976)",
		Forms: []string{"AAAAAAXXAXXAXXXA"},
		Check: func(m Match) (float64, string) {
			sum := 0
			for i, b := range m.Plain[:15] {
				v := value(b)
				if !isDigit(b) {
					v -= 10
				}
				if i%2 == 0 {
					v = fiscalOdd[v]
				}
				sum += v
			}
			if byte('A'+sum%26) != m.Plain[15] || strings.IndexByte("ABCDEHLMPRST", m.Plain[8]) < 0 {
				return 0, ""
			}
			return 0.9, "has its check letter"
		},
		Context: []string{"codice", "fiscale", "cf", "codice fiscale", "fiscal"},
	},
	{
		Name: "it-vat", Type: "IT_VAT_CODE", Doc: "businesses: eleven digits, Luhn's formula (Agenzia delle Entrate)",
		Forms: []string{"99999999999", "AA99999999999", "AA 99999999999"},
		Check: func(m Match) (float64, string) {
			d := m.Plain[len(m.Plain)-11:]
			if !luhn(d) || number(d[:7]) == 0 || len(m.Plain) == 13 && string(m.Plain[:2]) != "IT" {
				return 0, ""
			}
			if len(m.Plain) == 13 {
				return 0.8, "begins with IT and passes Luhn's formula"
			}
			return 0.1, "passes Luhn's formula"
		},
		Context: []string{"piva", "partita iva", "p iva", "iva", "partita", "vat"},
	},
	{
		Name: "it-passport", Type: "IT_PASSPORT", Doc: "passports: two letters and seven digits; told by context",
		Forms: []string{"AA9999999"}, Check: unchecked(0.05),
		Context: []string{"passaporto", "italian passport", "italiano"},
	},
	{
		Name: "it-driver-license", Type: "IT_DRIVER_LICENSE", Doc: "driving licences: two letters, seven digits, a letter; told by context",
		Forms: []string{"AA9999999A", "A9X{7}A"},
		Check: func(m Match) (float64, string) {
			if isDigit(m.Plain[1]) && string(m.Plain[:2]) != "U1" {
				return 0, ""
			}
			return 0.15, "has the form"
		},
		Context: []string{"patente", "patente di guida", "licenza", "guida"},
	},
	{
		Name: "it-identity-card", Type: "IT_IDENTITY_CARD", Doc: "identity cards: paper, and electronic ones; told by context",
		Forms: []string{"AA9999999", "AA99999AA", "9999999AA"}, Check: unchecked(0.05),
		Context: []string{"carta", "identità", "identita", "elettronica", "cie", "identity card"},
	},
}

// fiscalOdd is what digits and letters count at odd places: both have the same ten
// first values.
var fiscalOdd = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// nordic is what Finland, Sweden, Norway and Denmark number.
var nordic = []Recognizer{
	{
		Name: "fi-hetu", Type: "FI_PERSONAL_IDENTITY_CODE", Doc: "people: birthday, century, number and the sign of the remainder by 31 (DVV)",
		Forms: []string{"999999-999X", "999999A999X"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			century, rest := byte('-'), p[6:]
			if len(p) == 11 {
				century, rest = p[6], p[7:]
			}
			if strings.IndexByte("-ABCDEFUVWXY", century) < 0 || !monthDay(pair(p, 2), pair(p, 0)) ||
				"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number(p[:6])*1000+number(rest[:3]))%31] != rest[3] {
				return 0, ""
			}
			return 0.8, "has a birthday in its place and passes modulo 31"
		},
		Context: []string{"hetu", "henkilötunnus", "personbeteckning", "sotu", "identity code"},
	},
	{
		Name: "se-personnummer", Type: "SE_PERSONNUMMER", Doc: "people: birthday, number, Luhn's formula; days from 61 are coordination numbers (Skatteverket)",
		Forms: []string{"999999-9999", "99999999-9999", "9999999999", "999999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if len(p) == 12 {
				if c := pair(p, 0); c < 18 || c > 20 {
					return 0, ""
				}
				p = p[2:]
			}
			day := pair(p, 4)
			if day > 60 {
				day -= 60
			}
			if !monthDay(pair(p, 2), day) || !luhn(p) {
				return 0, ""
			}
			if len(m.Plain) == 12 {
				return printed(m, 0.4, 0.75, 0), "has a birthday in its place and passes Luhn's formula"
			}
			return printed(m, 0.15, 0.6, 0), "has a birthday in its place and passes Luhn's formula"
		},
		Context: []string{"personnummer", "pnr", "persnr", "samordningsnummer", "personal identity", "svenskt", "personnr"},
	},
	{
		Name: "se-organisationsnummer", Type: "SE_ORGANISATIONSNUMMER", Doc: "companies: ten digits, the third at least 2, Luhn's formula (Bolagsverket)",
		Forms: []string{"999999-9999", "9999999999"},
		Check: func(m Match) (float64, string) {
			if m.Plain[2] < '2' || m.Plain[0] == '0' || m.Plain[0] == '4' || !luhn(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0.3, 0), "passes Luhn's formula"
		},
		Context: []string{"organisationsnummer", "orgnr", "org nr", "organisationsnr", "bolag", "företag"},
	},
	{
		Name: "no-fodselsnummer", Type: "NO_FODSELSNUMMER", Doc: "people: birthday, number, two check digits modulo 11 (Skatteetaten)",
		Forms: []string{"99999999999", "999999 99999", "999999-99999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			day, month := pair(p, 0)%40, pair(p, 2)%40 // D numbers add 40 to the day, others to the month
			if !monthDay(month, day) || weighed(p, 3, 7, 6, 1, 8, 9, 4, 5, 2, 1)%11 != 0 || weighed(p, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 != 0 {
				return 0, ""
			}
			return printed(m, 0.5, 0.6, 0.7), "has a birthday in its place and passes modulo 11 twice"
		},
		Context: []string{"fødselsnummer", "fodselsnummer", "personnummer", "fnr", "fødselsnr"},
	},
	{
		Name: "dk-cpr", Type: "DK_CPR", Doc: "people: birthday and number; modulo 11 for those before 2007 (CPR)",
		Forms: []string{"999999-9999", "999999 9999", "9999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !monthDay(pair(p, 2), pair(p, 0)) {
				return 0, ""
			}
			if weighed(p, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0 {
				return printed(m, 0.1, 0.45, 0.3), "has a birthday in its place and passes modulo 11"
			}
			return printed(m, 0.02, 0.2, 0.1), "has a birthday in its place"
		},
		Context: []string{"cpr", "cpr nummer", "personnummer", "cprnr", "cprnummer"},
	},
}

// otherEurope is what its other countries number.
var otherEurope = []Recognizer{
	{
		Name: "pl-pesel", Type: "PL_PESEL", Doc: "people: birthday with its century in the month, number, weights 1, 3, 7 and 9",
		Forms: []string{"99999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !monthDay(pair(p, 2)%20, pair(p, 4)) || weighed(p, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 != 0 {
				return 0, ""
			}
			return 0.4, "has a birthday in its place and passes its check digit"
		},
		Context: []string{"pesel", "nr pesel", "numer pesel"},
	},
	{
		Name: "fr-nir", Type: "FR_NIR", Doc: "people: sex, year, month, place and order of birth, and 97 less the remainder (INSEE)",
		Forms: []string{"9999999999999 99", "999999999999999", "999999A99999999", "9 99 99 99 999 999 99", "9 99 99 9A 999 999 99", "999999A999999 99"},
		Check: func(m Match) (float64, string) {
			p := bytes.Clone(m.Plain)
			less := 0
			switch p[6] { // Corsica
			case 'A':
				p[6], less = '0', 1000000
			case 'B':
				p[6], less = '0', 2000000
			}
			month := pair(p, 3)
			if !digits(p) || strings.IndexByte("123478", p[0]) < 0 || month == 0 || month > 12 && month < 20 || 97-(number(p[:13])-less)%97 != pair(p, 13) {
				return 0, ""
			}
			return 0.8, "has a month in its place and passes modulo 97"
		},
		Context: []string{"nir", "sécurité sociale", "sécu", "insee", "numéro de sécurité", "secu", "sociale"},
	},
	{
		Name: "nl-bsn", Type: "NL_BSN", Doc: "people: nine digits, the test by eleven (RvIG)",
		Forms: []string{"999999999", "9999.99.999", "9999 99 999"},
		Check: func(m Match) (float64, string) {
			if same(m.Plain) || number(m.Plain) == 0 || (weighed(m.Plain, 9, 8, 7, 6, 5, 4, 3, 2)-int(m.Plain[8]-'0'))%11 != 0 {
				return 0, ""
			}
			return printed(m, 0.05, 0.4, 0.2), "passes the test by eleven"
		},
		Context: []string{"bsn", "burgerservicenummer", "sofinummer", "sofi", "burgerservice"},
	},
	{
		Name: "be-nrn", Type: "BE_NATIONAL_NUMBER", Doc: "people: birthday, number, and 97 less the remainder, with 2 before it since 2000",
		Forms: []string{"99.99.99-999.99", "99999999999", "99 99 99 999 99", "999999-999-99", "999999-999.99"},
		Check: func(m Match) (float64, string) {
			n, check := number(m.Plain[:9]), pair(m.Plain, 9)
			if !monthDay(pair(m.Plain, 2)%20, pair(m.Plain, 4)) || 97-n%97 != check && 97-(2e9+n)%97 != check {
				return 0, ""
			}
			return printed(m, 0.4, 0.9, 0.8), "has a birthday in its place and passes modulo 97"
		},
		Context: []string{"rijksregisternummer", "rijksregister", "registre national", "numéro national", "nrn", "insz", "niss"},
	},
	{
		Name: "pt-nif", Type: "PT_NIF", Doc: "taxpayers: nine digits, modulo 11 (AT)",
		Forms: []string{"999999999", "999 999 999"},
		Check: func(m Match) (float64, string) {
			c := 11 - weighed(m.Plain, 9, 8, 7, 6, 5, 4, 3, 2)%11
			if c > 9 {
				c = 0
			}
			if m.Plain[0] == '0' || c != int(m.Plain[8]-'0') || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0, 0.1), "passes modulo 11"
		},
		Context: []string{"nif", "contribuinte", "nipc", "número de contribuinte", "fiscal"},
	},
	{
		Name: "ch-ahv", Type: "CH_AHV", Doc: "people: 756, nine digits and the check digit of EAN-13 (ZAS)",
		Forms: []string{"9999999999999", "999.9999.9999.99", "999 9999 9999 99"},
		Check: func(m Match) (float64, string) {
			if string(m.Plain[:3]) != "756" || weighed(m.Plain, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 != 0 {
				return 0, ""
			}
			return printed(m, 0.5, 0.95, 0.85), "begins with 756 and passes its check digit"
		},
		Context: []string{"ahv", "avs", "ahvn13", "navs", "ahv nummer", "sozialversicherungsnummer"},
	},
	{
		Name: "hr-oib", Type: "HR_OIB", Doc: "people and companies: eleven digits, ISO 7064 MOD 11,10",
		Forms: []string{"99999999999"},
		Check: func(m Match) (float64, string) {
			if !mod11x10(m.Plain) {
				return 0, ""
			}
			return 0.1, "passes MOD 11,10"
		},
		Context: []string{"oib", "osobni identifikacijski broj"},
	},
	{
		Name: "cz-birth-number", Type: "CZ_BIRTH_NUMBER", Doc: "people in Czechia and Slovakia: birthday, women with 50 more in the month, divisible by 11",
		Forms: []string{"999999/9999", "9999999999"},
		Check: func(m Match) (float64, string) {
			month := pair(m.Plain, 2) % 50
			if !monthDay(month, pair(m.Plain, 4)) && !monthDay(month-20, pair(m.Plain, 4)) || number(m.Plain)%11 != 0 {
				return 0, ""
			}
			return printed(m, 0.1, 0.8, 0), "has a birthday in its place and is divisible by 11"
		},
		Context: []string{"rodné číslo", "rodne cislo", "rc", "rč", "birth number"},
	},
	{
		Name: "ro-cnp", Type: "RO_CNP", Doc: "people: sex, birthday, county, number and a check digit modulo 11",
		Forms: []string{"9999999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			c := weighed(p, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
			if c == 10 {
				c = 1
			}
			if p[0] == '0' || !monthDay(pair(p, 3), pair(p, 5)) || pair(p, 7) > 52 && pair(p, 7) < 70 || pair(p, 7) > 83 || c != int(p[12]-'0') {
				return 0, ""
			}
			return 0.5, "has a birthday in its place and passes modulo 11"
		},
		Context: []string{"cnp", "cod numeric personal"},
	},
	{
		Name: "ie-pps", Type: "IE_PPS", Doc: "people: seven digits, a check letter modulo 23, and perhaps a second letter",
		Forms: []string{"9999999A", "9999999AA"},
		Check: func(m Match) (float64, string) {
			sum := weighed(m.Plain, 8, 7, 6, 5, 4, 3, 2)
			if len(m.Plain) == 9 {
				if b := m.Plain[8]; b <= 'I' { // since 2013; before, it said nothing
					sum += 9 * (value(b) - 9)
				}
			}
			if "WABCDEFGHIJKLMNOPQRSTUV"[sum%23] != m.Plain[7] {
				return 0, ""
			}
			return 0.3, "has its check letter"
		},
		Context: []string{"pps", "ppsn", "pps number", "personal public service"},
	},
}
