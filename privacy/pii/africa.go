package pii

// africa is what its countries number.
var africa = []Recognizer{
	{
		Name: "za-id", Type: "ZA_ID_NUMBER", Doc: "people in South Africa: birthday, number, citizenship, Luhn's formula (Home Affairs)",
		Forms: []string{"9999999999999", "999999 9999 999", "999999 9999 99 9"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !monthDay(pair(p, 2), pair(p, 4)) || p[10] > '2' || !luhn(p) {
				return 0, ""
			}
			return printed(m, 0.5, 0, 0.75), "has a birthday in its place and passes Luhn's formula"
		},
		Context: []string{"id number", "identity number", "identity", "south african", "said", "rsa id", "id no"},
	},
	{
		Name: "ng-nin", Type: "NG_NIN", Doc: "people in Nigeria: eleven digits, Verhoeff's check digit (NIMC)",
		Forms: []string{"99999999999", "9999 999 9999", "9999-999-9999"},
		Check: func(m Match) (float64, string) {
			if !verhoeff(m.Plain) || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0.1, 0.1), "passes Verhoeff's checksum"
		},
		Context: []string{"nin", "national identification", "nimc", "national identity"},
		Against: []string{"phone", "tel"},
	},
	{
		Name: "ng-vehicle", Type: "NG_VEHICLE_REGISTRATION", Doc: "number plates of Nigeria: a local government, digits, letters; told by context",
		Forms: []string{"AAA-999AA", "AAA 999AA", "AAA999AA", "AAA-999-AA"},
		Check: func(m Match) (float64, string) {
			if !capitals(m) {
				return 0, ""
			}
			return 0.2, "has the form of a number plate"
		},
		Context: []string{"vehicle", "plate", "registration", "frsc", "plate number", "car"},
	},
}
