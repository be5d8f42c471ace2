package pii

import "strings"

// americas is what the countries of the Americas number, but for the United States.
var americas = []Recognizer{
	{
		Name: "ca-sin", Type: "CA_SIN", Doc: "social insurance of Canada: nine digits, the first not 0 or 8, Luhn's formula",
		Forms: []string{"999-999-999", "999 999 999", "999999999"},
		Check: func(m Match) (float64, string) {
			if m.Plain[0] == '0' || m.Plain[0] == '8' || !luhn(m.Plain) || same(m.Plain) {
				return 0, ""
			}
			return printed(m, 0.05, 0.4, 0.3), "passes Luhn's formula"
		},
		Context: []string{"sin", "social insurance", "nas", "assurance sociale", "numéro d’assurance"},
	},
	{
		Name: "br-cpf", Type: "BR_CPF", Doc: "taxpayers of Brazil: eleven digits, two of them check digits modulo 11 (Receita Federal)",
		Forms: []string{"999.999.999-99", "99999999999", "999 999 999 99", "999999999-99"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if same(p) || checkBR(weighed(p, 10, 9, 8, 7, 6, 5, 4, 3, 2)) != p[9] || checkBR(weighed(p, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) != p[10] {
				return 0, ""
			}
			return printed(m, 0.35, 0.95, 0.6), "passes both check digits"
		},
		Context: []string{"cpf", "cadastro", "contribuinte"},
	},
	{
		Name: "br-cnpj", Type: "BR_CNPJ", Doc: "companies of Brazil: twelve signs and two check digits modulo 11 (Receita Federal, with letters since 2026)",
		Forms: []string{"99.999.999/9999-99", "99999999999999", "XX.XXX.XXX/XXXX-99", "X{12}99"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := func(n int) int {
				s := 0
				for i, b := range p[:n] {
					s += int(b-'0') * (2 + (n-1-i)%8)
				}
				return s
			}
			if same(p) || checkBR(sum(12)) != p[12] || checkBR(sum(13)) != p[13] {
				return 0, ""
			}
			if !digits(p) && len(m.Text) == len(p) {
				return 0.1, "passes both check digits"
			}
			return printed(m, 0.35, 0.95, 0), "passes both check digits"
		},
		Context: []string{"cnpj", "empresa"},
	},
	{
		Name: "mx-curp", Type: "MX_CURP", Doc: "people in Mexico: letters of the name, birthday, sex, state and a check digit (RENAPO)",
		Forms: []string{"AAAA999999AAAAAAX9"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			sum := 0
			for i, b := range p[:17] {
				v := value(b)
				if b > 'N' {
					v++ // Ñ stands between
				}
				sum += v * (18 - i)
			}
			if !monthDay(pair(p, 6), pair(p, 8)) || strings.IndexByte("HMX", p[10]) < 0 || (10-sum%10)%10 != int(p[17]-'0') {
				return 0, ""
			}
			return 0.9, "has a birthday in its place and passes its check digit"
		},
		Context: []string{"curp"},
	},
	{
		Name: "cl-rut", Type: "CL_RUT", Doc: "people and companies of Chile: seven or eight digits and a sign modulo 11",
		Forms: []string{"99.999.999-X", "9.999.999-X", "99999999-X", "9999999-X", "9{7,8}X"},
		Check: func(m Match) (float64, string) {
			n, sum := len(m.Plain)-1, 0
			for i := range n {
				sum += int(m.Plain[n-1-i]-'0') * (2 + i%6)
			}
			if "0K987654321"[sum%11] != m.Plain[n] {
				return 0, ""
			}
			return printed(m, 0.05, 0.45, 0), "passes modulo 11"
		},
		Context: []string{"rut", "run", "rol único", "cédula"},
	},
	{
		Name: "ar-cuit", Type: "AR_CUIT", Doc: "taxpayers of Argentina: kind, number, and a check digit modulo 11 (AFIP)",
		Forms: []string{"99-99999999-9", "99999999999"},
		Check: func(m Match) (float64, string) {
			p := m.Plain
			if !strings.Contains(" 20 23 24 25 26 27 30 33 34 ", " "+string(p[:2])+" ") || (weighed(p, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)+int(p[10]-'0'))%11 != 0 {
				return 0, ""
			}
			return printed(m, 0.1, 0.8, 0), "passes modulo 11"
		},
		Context: []string{"cuit", "cuil"},
	},
}

// checkBR is a check digit: eleven less the remainder, 0 where that is no digit.
func checkBR(sum int) byte {
	if c := 11 - sum%11; c < 10 {
		return byte('0' + c)
	}
	return '0'
}
