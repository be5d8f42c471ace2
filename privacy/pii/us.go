package pii

import "bytes"

// unitedStates is what its agencies and banks number.
var unitedStates = []Recognizer{
	{
		Name: "us-ssn", Type: "US_SSN", Doc: "social security numbers: the areas, groups and serials that are given out (SSA, since 2011)",
		Forms: []string{"999-99-9999", "999 99 9999", "999.99.9999", "999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			area := number(p[:3])
			if area == 0 || area == 666 || area >= 900 || pair(p, 3) == 0 || number(p[5:]) == 0 || same(p) ||
				string(p) == "078051120" || string(p) == "219099999" || string(p) == "123456789" {
				return 0, ""
			}
			return printed(m, 0.05, 0.6, 0.4), "area, group and serial are given out"
		},
		Context: []string{"ssn", "ssns", "ss", "ssid", "socialsecurity", "social security", "social", "soc sec"},
		Against: []string{"phone", "fax", "zip", "part number", "order", "tel"},
	},
	{
		Name: "us-itin", Type: "US_ITIN", Doc: "taxpayer numbers of people without a social security number: 9, then a group that the IRS gives out",
		Forms: []string{"999-99-9999", "999 99 9999", "999999999", "999-999999", "99999-9999"},
		Check: func(m Match) (float64, string) {
			g := pair(m.Plain, 3)
			if m.Plain[0] != '9' || g < 50 || g == 66 || g == 67 || g == 68 || g == 69 || g == 89 || g == 93 {
				return 0, ""
			}
			return printed(m, 0.05, 0.55, 0.3), "begins with 9, in a group that is given out"
		},
		Context: []string{"itin", "individual taxpayer", "taxpayer", "tax id", "tin", "itins", "irs"},
	},
	{
		Name: "us-npi", Type: "US_NPI", Doc: "health care providers: Luhn's formula over 80840 and the number (CMS)",
		Forms: []string{"9999999999", "9999-999-999", "9999 999 999"},
		Check: func(m Match) (float64, string) {
			if m.Plain[0] != '1' && m.Plain[0] != '2' || !luhn(append([]byte("80840"), m.Plain...)) {
				return 0, ""
			}
			return printed(m, 0.1, 0.3, 0.3), "passes Luhn's formula with the prefix 80840"
		},
		Context: []string{"npi", "provider", "national provider", "prescriber", "physician"},
	},
	{
		Name: "us-mbi", Type: "US_MBI", Doc: "Medicare beneficiaries: eleven places, each a digit or a letter of those allowed (CMS)",
		Forms: []string{"9AX9AX9AA99", "9AX9-AX9-AA99", "9AX9 AX9 AA99"},
		Check: func(m Match) (float64, string) {
			if m.Plain[0] == '0' || bytes.ContainsAny(m.Plain, "SLOIBZ") || !capitals(m) {
				return 0, ""
			}
			return printed(m, 0.45, 0.75, 0.65), "every place has a sign that is allowed there"
		},
		Context: []string{"mbi", "medicare", "beneficiary", "hicn"},
	},
	{
		Name: "us-aba", Type: "ABA_ROUTING_NUMBER", Doc: "routing numbers of banks: prefixes of the Federal Reserve, weights 3, 7 and 1",
		Forms: []string{"999999999", "9999-9999-9"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			first := pair(p, 0)
			if !(first <= 12 && first > 0 || first >= 21 && first <= 32 || first >= 61 && first <= 72 || first == 80) || weighed(p, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 != 0 {
				return 0, ""
			}
			return printed(m, 0.05, 0.3, 0.3), "passes the checksum of routing numbers"
		},
		Context: []string{"aba", "routing", "rtn", "bankrouting", "transit", "wire", "ach"},
	},
	{
		Name: "us-bank-account", Type: "US_BANK_NUMBER", Doc: "accounts at banks: 8 to 17 digits, told by context alone",
		Forms: []string{"9{8,17}"}, Check: unchecked(0.05),
		Context: []string{"account number", "account no", "bank account", "account", "acct", "checking", "savings", "debit", "deposit"},
		Against: []string{"phone", "tel"},
	},
	{
		Name: "us-passport", Type: "US_PASSPORT", Doc: "passports: nine digits, or a letter and eight; told by context alone",
		Forms: []string{"999999999", "A99999999"}, Check: unchecked(0.05),
		Context: []string{"passport", "passports", "travel document"},
	},
	{
		Name: "us-driver-license", Type: "US_DRIVER_LICENSE", Doc: "driver licences: the forms of the states (AAMVA); told by context alone",
		Forms: []string{"9{6,14}", "A9{3,14}", "AA9{2,7}", "AA9{6}A", "AAA9{6}", "9{3}AA9{4}", "9{7}A", "9{8}A", "99AAA9{5}", "A{5}X{7}",
			"A999-9999-9999", "A999-9999-99999", "A999 9999 9999", "9999-99-9999", "999-99-9999", "99-999-9999", "999-999-999",
			"A99-99-9999", "A999-999-99-999-9", "A9999-99999-99999", "A9999 99999 99999", "A999-999-999-999", "9-999-999"},
		Check:   unchecked(0.03),
		Context: []string{"driver license", "drivers license", "driver s license", "driver licence", "drivers licence", "driver s licence", "driver’s license", "driving license", "driverlicense", "driverslicense", "license number", "licence number", "dl", "dln", "dl number", "cdl", "permit"},
		Against: []string{"software", "plate", "gnu", "gpl"},
	},
	{
		Name: "us-dea", Type: "MEDICAL_LICENSE", Doc: "prescribers of controlled substances: two letters, six digits and a check digit (DEA)",
		Forms: []string{"AA9999999", "A99999999", "AA-9999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			d := p[2:]
			if !bytes.ContainsRune([]byte("ABCDEFGHJKLMPRSTUX"), rune(p[0])) || isDigit(p[1]) && p[1] != '9' || !capitals(m) ||
				(weighed(d, 1, 0, 1, 0, 1, 0)+2*weighed(d, 0, 1, 0, 1, 0, 1))%10 != int(d[6]-'0') {
				return 0, ""
			}
			return 0.4, "passes the checksum of DEA numbers"
		},
		Context: []string{"dea", "medical", "certificate", "prescriber", "registration", "license"},
	},
}

// unchecked is a check for what has only a form: the fitting score where context
// decides.
func unchecked(score float64) func(Match) (float64, string) {
	return func(m Match) (float64, string) {
		if same(m.Plain) {
			return 0, ""
		}
		return score, ""
	}
}

// printed chooses among scores by how a number is written: in one piece, with
// hyphens or dots, with spaces.
func printed(m Match, plain, hyphens, spaces float64) float64 {
	switch {
	case len(m.Text) == len(m.Plain):
		return plain
	case bytes.IndexByte(m.Text, ' ') >= 0:
		return spaces
	}
	return hyphens
}

// capitals reports whether the letters of a match are all capitals, or all small.
func capitals(m Match) bool {
	return bytes.Equal(bytes.ToUpper(m.Text), m.Text) || bytes.Equal(bytes.ToLower(m.Text), m.Text)
}
