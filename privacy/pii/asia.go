package pii

import (
	"bytes"
	"strings"
)

// india is what its authorities number.
var india = []Recognizer{
	{
		Name: "in-aadhaar", Type: "IN_AADHAAR", Doc: "residents: twelve digits, the first from 2, Verhoeff's check digit (UIDAI)",
		Forms: []string{"9999~9999~9999", "9999:9999:9999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if p[0] < '2' || !verhoeff(p) || p[0] == p[11] && p[1] == p[10] && p[2] == p[9] && p[3] == p[8] && p[4] == p[7] && p[5] == p[6] {
				return 0, ""
			}
			return printed(m, 0.2, 0.5, 0.55), "passes Verhoeff's checksum"
		},
		Context: []string{"aadhaar", "uidai", "aadhar", "adhaar", "आधार"},
	},
	{
		Name: "in-pan", Type: "IN_PAN", Doc: "taxpayers: five letters, the fourth the kind of holder, four digits, a letter",
		Forms: []string{"AAAAA9999A"},
		Check: func(m Match) (float64, string) {
			if !capitals(m) {
				return 0, ""
			}
			if strings.IndexByte("ABCEFGHJLPT", m.Plain[3]) < 0 {
				return 0.2, "has the form, with no kind of holder that there is"
			}
			return 0.6, "has a kind of holder at the fourth place"
		},
		Context: []string{"pan", "permanent account", "income tax"},
	},
	{
		Name: "in-gstin", Type: "IN_GSTIN", Doc: "businesses: state, permanent account number, Z, and a check sign modulo 36 (GSTN)",
		Forms: []string{"99AAAAA9999AXXX"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := 0
			for i, b := range p[:14] {
				v := value(b) * (1 + i%2)
				sum += v/36 + v%36
			}
			if state := pair(p, 0); state == 0 || state > 38 && state != 97 && state != 99 || p[13] != 'Z' || (36-sum%36)%36 != value(p[14]) {
				return 0, ""
			}
			return 0.9, "has its check sign"
		},
		Context: []string{"gstin", "gst"},
	},
	{
		Name: "in-voter", Type: "IN_VOTER", Doc: "voters: three letters and seven digits; told by context", Forms: []string{"AAA9999999"}, Check: unchecked(0.2),
		Context: []string{"voter", "epic", "elector", "election"},
	},
	{
		Name: "in-passport", Type: "IN_PASSPORT", Doc: "passports: a letter and seven digits; told by context", Forms: []string{"A9999999", "A9 99999"}, Check: unchecked(0.05),
		Context: []string{"passport", "indian passport"},
	},
	{
		Name: "in-vehicle", Type: "IN_VEHICLE_REGISTRATION", Doc: "number plates: a state, a district, letters and digits",
		Forms: []string{"AA99A9999", "AA99AA9999", "AA 99 AA 9999", "AA-99-AA-9999", "AA 99 A 9999", "AA99 AA 9999", "AA-99-A-9999", "AA9AAA9999"},
		Check: func(m Match) (float64, string) {
			if !strings.Contains(" AN AP AR AS BR CG CH DD DL DN GA GJ HP HR JH JK KA KL LA LD MH ML MN MP MZ NL OD OR PB PY RJ SK TN TR TS UK UP WB ", " "+string(m.Plain[:2])+" ") || m.Plain[2] == '0' && m.Plain[3] == '0' || !capitals(m) {
				return 0, ""
			}
			return 0.35, "begins with a state"
		},
		Context: []string{"vehicle", "registration", "plate", "rto", "car", "rc"},
	},
}

// korea is what its authorities number.
var korea = []Recognizer{
	{
		Name: "kr-rrn", Type: "KR_RRN", Doc: "residents: birthday, sex and century, region and number; a check digit until October 2020",
		Forms: []string{"999999-9999999", "9999999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !monthDay(pair(p, 2), pair(p, 4)) || p[6] < '1' || p[6] > '4' {
				return 0, ""
			}
			if (11-weighed(p, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == int(p[12]-'0') && pair(p, 7) <= 95 {
				return printed(m, 0.4, 0.8, 0), "has a birthday in its place and passes modulo 11"
			}
			return printed(m, 0.05, 0.45, 0), "has a birthday in its place"
		},
		Context: []string{"주민등록번호", "주민번호", "rrn", "resident registration", "korean resident"},
	},
	{
		Name: "kr-frn", Type: "KR_FRN", Doc: "foreigners: as residents have it, with 5 to 8 for the century",
		Forms: []string{"999999-9999999", "9999999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !monthDay(pair(p, 2), pair(p, 4)) || p[6] < '5' || p[6] > '8' {
				return 0, ""
			}
			if (13-weighed(p, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == int(p[12]-'0') {
				return printed(m, 0.3, 0.8, 0), "has a birthday in its place and passes modulo 11"
			}
			return printed(m, 0.05, 0.45, 0), "has a birthday in its place"
		},
		Context: []string{"외국인등록번호", "frn", "foreigner registration", "alien registration"},
	},
	{
		Name: "kr-brn", Type: "KR_BRN", Doc: "businesses: ten digits, weights 1, 3, 7, 1, 3, 7, 1, 3 and 5 (NTS)",
		Forms: []string{"999-99-99999", "9999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := weighed(p, 1, 3, 7, 1, 3, 7, 1, 3, 5) + int(p[8]-'0')*5/10
			if (10-sum%10)%10 != int(p[9]-'0') || same(p) {
				return 0, ""
			}
			return printed(m, 0.05, 0.55, 0), "passes its check digit"
		},
		Context: []string{"사업자등록번호", "사업자", "brn", "business registration"},
	},
	{
		Name: "kr-passport", Type: "KR_PASSPORT", Doc: "passports: a letter and eight signs; told by context", Forms: []string{"A99999999", "A999A9999"}, Check: unchecked(0.05),
		Context: []string{"여권", "여권번호", "korean passport", "passport"},
	},
	{
		Name: "kr-driver-license", Type: "KR_DRIVER_LICENSE", Doc: "driver licences: region, year, number and check; told by context",
		Forms: []string{"99-99-999999-99", "99 99 999999 99", "999999999999"},
		Check: func(m Match) (float64, string) {
			if r := pair(m.Plain, 0); r < 11 || r > 28 {
				return 0, ""
			}
			return printed(m, 0.05, 0.5, 0.4), "begins with a region"
		},
		Context: []string{"운전면허", "운전면허번호", "면허번호", "driver license", "drivers license"},
	},
}

// restOfAsia is what its other countries number.
var restOfAsia = []Recognizer{
	{
		Name: "sg-nric", Type: "SG_NRIC_FIN", Doc: "citizens, residents and foreigners of Singapore: S, T, F, G or M, seven digits and a check letter (ICA)",
		Forms: []string{"A9999999A"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := weighed(p[1:], 2, 7, 6, 5, 4, 3, 2)
			letters := ""
			switch p[0] {
			case 'S':
				letters = "JZIHGFEDCBA"
			case 'T':
				letters, sum = "JZIHGFEDCBA", sum+4
			case 'F':
				letters = "XWUTRQPNMLK"
			case 'G':
				letters, sum = "XWUTRQPNMLK", sum+4
			case 'M':
				letters, sum = "XWUTRQPNJLK", sum+3
			}
			if letters == "" || letters[sum%11] != p[8] {
				return 0, ""
			}
			return 0.75, "has its check letter"
		},
		Context: []string{"nric", "fin", "singapore", "identification"},
	},
	{
		Name: "sg-uen", Type: "SG_UEN", Doc: "businesses and companies of Singapore: three forms with check letters (ACRA)",
		Forms: []string{"99999999A", "999999999A", "A99AA9999A"},
		Check: func(m Match) (float64, string) {
			if !uenSG(m.Plain) {
				return 0, ""
			}
			return 0.55, "has its check letter"
		},
		Context: []string{"uen", "unique entity", "acra", "business registration"},
	},
	{
		Name: "th-tnin", Type: "TH_TNIN", Doc: "citizens of Thailand: thirteen digits, the last modulo 11",
		Forms: []string{"9999999999999", "9-9999-99999-99-9", "9 9999 99999 99 9"},
		Check: func(m Match) (float64, string) {
			c := (11 - weighed(m.Plain, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 10
			if m.Plain[0] == '0' || pair(m.Plain, 1) < 10 || pair(m.Plain, 1) > 96 || c != int(m.Plain[12]-'0') || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.15, 0.8, 0.75), "passes modulo 11"
		},
		Context: []string{"thai", "national id", "เลขประจำตัวประชาชน", "บัตรประชาชน", "ประชาชน", "tnin"},
	},
	{
		Name: "tr-national-id", Type: "TR_NATIONAL_ID", Doc: "citizens of Turkey: eleven digits, two of them check digits (NVI)",
		Forms: []string{"99999999999", "999 999 999 99"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			odd, even := weighed(p, 1, 0, 1, 0, 1, 0, 1, 0, 1), weighed(p, 0, 1, 0, 1, 0, 1, 0, 1)
			if p[0] == '0' || (odd*7-even+100)%10 != int(p[9]-'0') || (odd+even+int(p[9]-'0'))%10 != int(p[10]-'0') {
				return 0, ""
			}
			return printed(m, 0.35, 0, 0.5), "passes both check digits"
		},
		Context: []string{"tc", "tckn", "kimlik", "tc kimlik", "kimlik no", "nüfus", "vatandaşlık"},
	},
	{
		Name: "tr-plate", Type: "TR_LICENSE_PLATE", Doc: "number plates of Turkey: province, letters, digits; told by context",
		Forms: []string{"99 A{1,3} 9{2,4}", "99A{1,3}9{2,4}"},
		Check: func(m Match) (float64, string) {
			if n := pair(m.Plain, 0); n == 0 || n > 81 || !bytes.Equal(m.Text, bytes.ToUpper(m.Text)) || bytes.ContainsAny(m.Plain, "QWX") {
				return 0, ""
			}
			return 0.15, "begins with a province"
		},
		Context: []string{"plaka", "araç", "plate", "license plate", "otomobil"},
	},
	{
		Name: "cn-id", Type: "CN_ID_CARD", Doc: "citizens of China: region, birthday, order and check sign, ISO 7064 MOD 11-2 (GB 11643)",
		Forms: []string{"99999999999999999X"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := weighed(p, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
			if y := number(p[6:10]); y < 1880 || y > 2100 || !monthDay(pair(p, 10), pair(p, 12)) || "10X98765432"[sum%11] != p[17] {
				return 0, ""
			}
			return 0.9, "has a birthday in its place and passes MOD 11-2"
		},
		Context: []string{"身份证", "身份證", "公民身份号码", "id card", "identity card"},
	},
	{
		Name: "hk-id", Type: "HK_ID_CARD", Doc: "residents of Hong Kong: one or two letters, six digits, a check sign modulo 11",
		Forms: []string{"A999999X", "AA999999X", "A999999(X)", "AA999999(X)", "A999999 (X)"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := 36 * 9
			if len(p) == 9 {
				sum, p = value(p[0])*9, p[1:]
			}
			sum += weighed(p, 8, 7, 6, 5, 4, 3, 2)
			if c := (11 - sum%11) % 11; !(p[7] == 'A' && c == 10) && int(p[7]) != c+'0' {
				return 0, ""
			}
			return 0.2, "has its check sign"
		},
		Context: []string{"hkid", "hong kong", "身份證", "identity card"},
	},
	{
		Name: "tw-id", Type: "TW_NATIONAL_ID", Doc: "citizens of Taiwan: a letter, nine digits, weights 1, 9, 8 to 1",
		Forms: []string{"A999999999"},
		Check: func(m Match) (float64, string) {
			n := strings.IndexByte("ABCDEFGHJKLMNPQRSTUVXYWZIO", m.Plain[0]) + 10
			if d := m.Plain[1]; d != '1' && d != '2' || (n/10+n%10*9+weighed(m.Plain[1:], 8, 7, 6, 5, 4, 3, 2, 1, 1))%10 != 0 {
				return 0, ""
			}
			return 0.3, "passes its check digit"
		},
		Context: []string{"身分證", "身份證", "身分證字號", "taiwan"},
	},
	{
		Name: "jp-my-number", Type: "JP_MY_NUMBER", Doc: "residents of Japan: twelve digits, the last modulo 11",
		Forms: []string{"9999~9999~9999"},
		Check: func(m Match) (float64, string) {
			c := 11 - weighed(m.Plain, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
			if c > 9 {
				c = 0
			}
			if c != int(m.Plain[11]-'0') || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.1, 0.2, 0.2), "passes modulo 11"
		},
		Context: []string{"マイナンバー", "個人番号", "my number"},
	},
	{
		Name: "il-id", Type: "IL_ID", Doc: "residents of Israel: nine digits, Luhn's formula",
		Forms: []string{"999999999", "99999999-9"},
		Check: func(m Match) (float64, string) {
			if !luhn(m.Plain) {
				return 0, ""
			}
			return 0.05, "passes Luhn's formula"
		},
		Context: []string{"teudat", "teudat zehut", "זהות", "תעודת", "israeli id"},
	},
	{
		Name: "ph-tin", Type: "PH_TIN", Doc: "taxpayers of the Philippines: nine digits and perhaps a branch; told by context",
		Forms: []string{"999-999-999", "999-999-999-999", "999-999-999-99999", "999999999999"}, Check: unchecked(0.15),
		Context: []string{"tin", "bir", "taxpayer", "tax identification"},
	},
}

func uenSG(p []byte) bool {
	last := p[len(p)-1]
	switch {
	case len(p) == 9:
		return "XMKECAWLJDB"[weighed(p, 10, 4, 9, 3, 8, 2, 7, 1)%11] == last
	case isDigit(p[0]):
		y := number(p[:4])
		return y >= 1800 && y < 2100 && "ZKCMDNERGWH"[weighed(p, 10, 8, 6, 4, 9, 7, 5, 3, 1)%11] == last
	}
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWX0123456789"
	sum := 0
	for i, w := range []int{4, 3, 5, 3, 10, 2, 2, 5, 7} {
		v := strings.IndexByte(alphabet, p[i])
		if v < 0 {
			return false
		}
		sum += v * w
	}
	kinds := " LP LL FC PF RF MQ MM NB CC CS MB FM GS DP CP NR CM CD MD HS VH CH MH CL XL CX RP TU TC FB FN PA PB SS MC SM GA GB "
	return strings.IndexByte("RST", p[0]) >= 0 && strings.Contains(kinds, " "+string(p[3:5])+" ") && alphabet[(sum-5+11)%11] == last
}
