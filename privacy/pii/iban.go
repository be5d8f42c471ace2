package pii

import "strings"

// iban is international bank account numbers: ISO 13616.
var iban = Recognizer{
	Name: "iban", Type: "IBAN_CODE",
	Doc:   "bank accounts: the lengths of the SWIFT registry of IBANs, and ISO 7064 MOD 97-10",
	Forms: ibanForms(),
	Check: func(m Match) (float64, string) {
		i := strings.Index(ibanLengths, string(m.Plain[:2])+":")
		if i < 0 || i%6 != 0 || number([]byte(ibanLengths[i+3:i+5])) != len(m.Plain) || !mod97(m.Plain) {
			return 0, ""
		}
		return 0.95, "has the length of its country and passes mod 97"
	},
	Context: []string{"iban", "account", "konto", "bank", "compte", "cuenta", "conto", "transfer", "rekening"},
}

// ibanLengths are the countries of the registry, release 99 (December 2024), and
// those that use IBANs outside of it.
const ibanLengths = "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DJ:27 " +
	"DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 " +
	"IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 " +
	"NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 " +
	"TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30 " +
	"AO:25 BF:28 BJ:28 CF:27 CG:27 CI:28 CM:27 CV:25 DZ:26 GA:27 GQ:27 GW:25 IR:26 KM:27 MA:28 MG:27 ML:28 MZ:25 NE:28 SN:28 TD:27 TG:28 "

// ibanForms are all lengths in one piece, and in fours with spaces or hyphens.
func ibanForms() []string {
	forms := []string{"AA99X{11,30}"}
	for n := 15; n <= 34; n++ {
		var groups []string
		for at := 4; at < n; at += 4 {
			groups = append(groups, strings.Repeat("X", min(4, n-at)))
		}
		forms = append(forms, "AA99 "+strings.Join(groups, " "), "AA99-"+strings.Join(groups, "-"))
	}
	return forms
}
