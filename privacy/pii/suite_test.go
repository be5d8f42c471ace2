package pii

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"
)

// examples are of recognisers that testdata has none for, or more of them. Sources: the
// standards that the recognisers name, the vendors' documentation, and Wikipedia's
// articles on the numbers; keys were made for the test.
var examples = map[string][]string{
	"www":         {"www.example.com", "www.example.co.uk/path?q=1"},
	"domain":      {"visit example.com", "site: sub.example.de/x"},
	"phone":       {"+44 20 7946 0958", "call 020 7946 0958", "+1 (202) 456-1111", "+49 (0)30 12345678", "phone: 555-0142", "tel +33\u00a01\u00a042\u00a068\u00a053\u00a000", "电话13912345678"},
	"date-time":   {"1978-04-13", "13 April 1978", "April 13th, 1978", "born 13.4.1978", "13 de abril de 1978", "Saturday", "in 1978", "12:20 pm", "2018-01-14 03:07:43"},
	"age":         {"age: 41", "a 79 year old woman", "aged 61", "38-year-old", "ist 42 Jahre alt", "tengo 30 años"},
	"zip-code":    {"zip code 94105", "PLZ 10115", "postcode: B0J 2H0", "CEP 90010-170"},
	"coordinates": {"48.85837, 2.29448", "lat/lon -33.857, 151.215"},
	"private-key": {"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC"},
	"vendor-key": {"AKIAIOSFODNN7EXAMPLE", "AIzaSyA1234567890abcdefGHIJKLMNOPqrstuv", "xoxb-1234567890-abcdefghijKLMNOP", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
		"glpat-x1y2z3A4B5C6D7E8F9g0", "ghp_" + crc("abcdefghijABCDEFGHIJ0123456789")},
	"jwt":                    {"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "eyJhbGciOiJub25lIn0.eyJhIjoxfQ"},
	"password":               {"password = hunter2!", "\"passwd\": \"correct horse\"", "postgres://app:s3cr3t@db/x", "Passwort: geh3im"},
	"secret":                 {"api_key: 9f8Ab7c6D5e4F3a2B1c0", "Authorization: Bearer 9f8Ab7c6D5e4F3a2B1c0"},
	"ethereum":               {"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359"},
	"other-coin":             {"rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"},
	"mac":                    {"00:1A:2B:3C:4D:5E", "MAC 00-1a-2b-3c-4d-5e", "001A.2B3C.4D5E"},
	"device-id":              {"IDFA: 6D92078A-8246-4BA4-AE5B-76104861E7DC"},
	"vin":                    {"1M8GDM9AXKP042788", "VIN WVWZZZ1JZXW000010"},
	"email":                  {"juliet.o'hara+tag@mail.example.co.uk", "用户@例子.广告"},
	"url":                    {"https://example.com/a?b=c#d", "ftp://10.0.0.1/x"},
	"swift":                  {"BIC DEUTDEFF500", "SWIFT: NEDSZAJJ"},
	"us-dea":                 {"DEA AP5836727"},
	"de-commercial-register": {"HRB 86891"},
	"de-plate":               {"Kennzeichen B-MW 1234"},
	"hk-id":                  {"HKID G123456A", "HKID: G123456(A)", "HKID AB987654(3)"},
	"ph-tin":                 {"TIN 000-123-456-000"},
	"tw-id":                  {"taiwan A123456789"},
	"jp-my-number":           {"マイナンバー 123456789018"},
	"ng-nin":                 {"NIN 12345678902"},
	"us-bank-account":        {"bank account 945456787654"},
}

// crc ends a body as GitHub's keys end: with its CRC-32 in six digits of base 62.
func crc(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := []byte(body + "000000")
	for n, i := crc32.ChecksumIEEE([]byte(body)), len(out)-1; n > 0; n, i = n/62, i-1 {
		out[i] = digits[n%62]
	}
	return string(out)
}

type vectors struct{ Valid, Invalid []string }

func load(t testing.TB, name string) (m map[string]vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func only(t testing.TB, threshold float64, list ...Recognizer) *Scanner {
	t.Helper()
	s, err := New(Settings{Recognizers: list, Threshold: threshold, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scanNamed(t testing.TB, s *Scanner, name, text string) []Finding {
	t.Helper()
	found, err := s.ScanNamed(context.Background(), name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// hint is a word that speaks for a recogniser.
func (r Recognizer) hint() string {
	if len(r.Context) == 0 {
		return ""
	}
	return r.Context[0]
}

// Every recogniser of the list finds the examples of somebody else.
func TestEveryRecognizer(t *testing.T) {
	stdnum, presidio := load(t, "stdnum.json"), load(t, "presidio.json")
	names := map[string]bool{}
	for _, r := range All {
		if names[r.Name] || r.Doc == "" || len(r.Forms) == 0 && r.find == nil {
			t.Errorf("%s: named twice, or without a doc, or finds nothing", r.Name)
		}
		names[r.Name] = true
		own := append(slices.Clone(stdnum[r.Name].Valid), examples[r.Name]...)
		s := only(t, 0, r)
		for _, e := range own {
			if found := scanNamed(t, s, r.hint(), e); len(found) != 1 || found[0].Why == "" {
				t.Errorf("%s: found %+v in %q, want one finding", r.Name, found, e)
			}
		}
		if len(own)+len(presidio[r.Type].Valid) == 0 {
			t.Errorf("%s: there is no example of it", r.Name)
		}
	}
	for name := range examples {
		if !names[name] {
			t.Errorf("examples of %q, which is no recogniser", name)
		}
	}
}

// python-stdnum's valid numbers are valid here, and after one sign was changed so that
// it refuses them, they are refused here or are much less sure.
func TestChecksumsOfStdnum(t *testing.T) {
	byName := map[string]Recognizer{}
	for _, r := range All {
		byName[r.Name] = r
	}
	for name, v := range load(t, "stdnum.json") {
		r, ok := byName[name]
		if !ok {
			t.Errorf("%s: no such recogniser", name)
			continue
		}
		s := only(t, 1e-9, r)
		sure := 0.0
		for _, e := range v.Valid {
			if found := scanNamed(t, s, "", e); len(found) == 1 {
				sure = max(sure, found[0].Score)
			}
		}
		for _, e := range v.Invalid {
			if found := scanNamed(t, s, "", e); len(found) > 0 && found[0].Score > sure/2 && found[0].Start == 0 && found[0].End == len(e) {
				t.Errorf("%s: %q has %.2f, and stdnum refuses it (valid ones have %.2f)", name, e, found[0].Score, sure)
			}
		}
	}
}

// otherwise are examples of Presidio's tests that are judged otherwise here, and why.
var otherwise = map[string]string{
	"DE100000001": "no check digit", "DE123456789": "no check digit", "DE987654321": "no check digit",
	"01ABCDE1234F1Z5": "no check sign", "07PQRST6789K1Z2": "no check sign", "27ABCDE1234F1Z5": "no check sign", "37ABCDE1234F1Z5": "no check sign",
	"ABCDE1234F": "a PAN, not a GSTIN", "PQRST6789K": "a PAN, not a GSTIN", "A1111DFSFS": "not the form of a PAN",
	"I15432": "no plate", "MCX1243": "no plate", "MN2412": "no plate",
	"192.168.1.1.1": "five numbers", "192.168.2.1@eth0": "an address with a zone, which IPv4 has not",
	"AAAAAA00B11C333N": "no check letter", "01333550_323": "an underscore within",
	"A1234567Z": "no series", "B1234567Z": "no series", "G1122144L": "no check letter", "T1234567Z": "no check letter",
	"000229": "a birthday alone", "050101": "a birthday alone",
}

// Presidio's own examples (presidio-analyzer/tests at 0aa9f8e, MIT) are found in
// context, and what it refuses is not found without.
func TestExamplesOfPresidio(t *testing.T) {
	for typ, v := range load(t, "presidio.json") {
		var list []Recognizer
		hint := ""
		for _, r := range All {
			if r.Type == typ {
				list = append(list, r)
				hint += " " + r.hint()
			}
		}
		s := only(t, 0, list...)
		for _, e := range v.Valid {
			if found := scanNamed(t, s, hint, e); (len(found) == 0) != (otherwise[e] != "") {
				t.Errorf("%s: found %+v in %q (%s)", typ, found, e, otherwise[e])
			}
		}
		for _, e := range v.Invalid {
			if found := scanNamed(t, s, "", e); len(found) > 0 {
				t.Errorf("%s: found %+v in %q, which Presidio refuses", typ, found, e)
			}
		}
	}
}

// Numbers that people space or hyphenate are found whole, and with the spaces and dashes
// that typesetters use.
func TestSpacedForms(t *testing.T) {
	s := only(t, 0, All...)
	for typ, texts := range map[string][]string{
		"CREDIT_CARD": {"4111 1111 1111 1111", "4111-1111-1111-1111", "4111\u00a01111\u00a01111\u00a01111", "3782 822463 10005", "4111\u20111111\u20111111\u20111111"},
		"IBAN_CODE":   {"GB82 WEST 1234 5698 7654 32", "gb82west12345698765432", "DE89 3704 0044 0532 0130 00", "EG380019000500000000263180002", "LY83002048000020100120361", "UA213223130000026007233566001"},
		"US_SSN":      {"514-69-0360"},
		"UK_NINO":     {"AB 12 34 56 C"},
		"BR_CPF":      {"390.533.447-05"},
		"AU_ABN":      {"51 824 753 556"},
		"CH_AHV":      {"756.9217.0769.85"},
	} {
		for _, text := range texts {
			if found := scanNamed(t, s, "", text); len(found) != 1 || found[0].Type != typ || found[0].End-found[0].Start != len(text) {
				t.Errorf("%q: found %+v, want all of it as %s", text, found, typ)
			}
		}
	}
}

// Parts of something longer are not found: versions, UUIDs, ids of messages, bytes in
// hexadecimal digits, amounts.
func TestPartsOfSomethingElse(t *testing.T) {
	s := only(t, 0, All...)
	for _, text := range []string{
		"Message-ID: <20020911.163532.4111111111111111@mail.example.com>", "In-Reply-To:\n <abc.def@example.com>", "version 1.2.3.4", "kernel-2.4.18-14",
		"550e8400-e29b-41d4-a716-446655440000", "charset=iso-8859-15", "12,345,678.90 USD", "0x7fff5694dc58", "sha1 356a192b7913b04c54574d18c28d46e6395428ab",
		"4111111111111112", "GB82WEST12345698765433", "1.2.3.4.5.6", "icon@2x.png", "std::vector<int>", "10:20:30", "page 1978 of the book", "public 123456789",
		"| AGE | 37 |", "sum 0.44637457", "token := m.keys[0].sign(b2c3", "0.4914,0.4822", "arXiv call 1902.06705", "password: p.password", "password := map[string]bool{", "Wed, 11 Sep 2002 19:42:12 +0100 (IST)", "password: <your password>", "token = os.environ['X']",
	} {
		if found := scanNamed(t, s, "", text); len(found) > 0 {
			t.Errorf("%q: found %+v", text, found)
		}
	}
}

// Context is whole words, in whichever case, before and behind and in the name of the
// part; phrases are all of their words.
func TestContext(t *testing.T) {
	s := only(t, 0, All...)
	for text, want := range map[string]bool{
		"social security 514690360": true, "SSN: 514690360": true, "514690360 is my ssn": true, "socialsecurity=514690360": true,
		"assnn 514690360": false, "security 514690360": false, "ssn " + strings.Repeat("word ", 40) + "514690360": false,
		"Passport 912803456": true, "passporting 912803456": false, "여권번호는 M12345678": true,
	} {
		if found := scanNamed(t, s, "", text); (len(found) > 0) != want {
			t.Errorf("%q: found %+v, want %v", text, found, want)
		}
	}
	for _, name := range []string{"ssn", "row 2, column SSN", "$.user.socialSecurity", "$.user.social_security"} {
		if found := scanNamed(t, s, name, "514690360"); len(found) != 1 || found[0].Type != "US_SSN" {
			t.Errorf("part %q: found %+v", name, found)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, e := range examples {
		f.Add(e[0], e[0])
	}
	f.Add("", "\xff\xfe 4111\xc2")
	s := only(f, 1e-9, All...)
	f.Fuzz(func(t *testing.T, name, text string) {
		last := 0
		for _, x := range scanNamed(t, s, name, text) {
			if x.Start < last || x.End <= x.Start || x.End > len(text) || !(x.Score > 0 && x.Score <= 1) {
				t.Fatalf("%q: %+v after byte %d", text, x, last)
			}
			last = x.End
		}
	})
}
