package pii

// australia is what its agencies number.
var australia = []Recognizer{
	{
		Name: "au-tfn", Type: "AU_TFN", Doc: "tax file numbers: weights 1, 4, 3, 7, 5, 8, 6, 9 and 10, modulo 11 (ATO)",
		Forms: []string{"999999999", "999 999 999", "999-999-999"},
		Check: func(m Match) (float64, string) {
			if weighed(m.Plain, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 != 0 || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0.2, 0.25), "passes modulo 11"
		},
		Context: []string{"tfn", "tax file", "ato"},
	},
	{
		Name: "au-abn", Type: "AU_ABN", Doc: "businesses: eleven digits, modulo 89 (ABR)",
		Forms: []string{"99999999999", "99 999 999 999", "99-999-999-999"},
		Check: func(m Match) (float64, string) {
			if m.Plain[0] == '0' || (weighed(m.Plain, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 != 0 {
				return 0, ""
			}
			return printed(m, 0.15, 0.6, 0.65), "passes modulo 89"
		},
		Context: []string{"abn", "australian business", "business number"},
	},
	{
		Name: "au-acn", Type: "AU_ACN", Doc: "companies: nine digits, weights 8 to 1 (ASIC)",
		Forms: []string{"999999999", "999 999 999", "999-999-999"},
		Check: func(m Match) (float64, string) {
			if (10-weighed(m.Plain, 8, 7, 6, 5, 4, 3, 2, 1)%10)%10 != int(m.Plain[8]-'0') || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0.15, 0.2), "passes modulo 10"
		},
		Context: []string{"acn", "australian company", "company number", "asic"},
	},
	{
		Name: "au-medicare", Type: "AU_MEDICARE", Doc: "Medicare cards: ten digits, the ninth a check digit (Services Australia)",
		Forms: []string{"9999999999", "9999 99999 9", "9999-99999-9"},
		Check: func(m Match) (float64, string) {
			if m.Plain[0] < '2' || m.Plain[0] > '6' || weighed(m.Plain, 1, 3, 7, 9, 1, 3, 7, 9)%10 != int(m.Plain[8]-'0') {
				return 0, ""
			}
			return printed(m, 0.05, 0.4, 0.45), "passes modulo 10"
		},
		Context: []string{"medicare"},
	},
}
