package pii

// creditCard is numbers of payment cards: ISO/IEC 7812.
var creditCard = Recognizer{
	Name: "credit-card", Type: "CREDIT_CARD",
	Doc: "payment cards: Luhn's formula, and the ranges and lengths of their networks (ISO/IEC 7812)",
	Forms: []string{
		"9{12,19}", "9999 9999 9999 9999", "9999-9999-9999-9999", "9999.9999.9999.9999",
		"9999 999999 99999", "9999-999999-99999", "9999 999999 9999", "9999-999999-9999",
		"9999 9999 9999 9999 999", "9999-9999-9999-9999-999", "9999 9999 9999 999", "9999 9999 9999 9",
		"999999 9999999999", "999999 9999999999999", "99999999 99999999",
	},
	Check: func(m Match) (float64, string) {
		score, name := cardNetwork(m.Plain)
		if score == 0 || !luhn(m.Plain) || same(m.Plain) {
			return 0, ""
		}
		if len(m.Text) > len(m.Plain) { // printed as on a card
			score += (1 - score) / 2
		}
		return score, "passes Luhn's formula, in the range of " + name
	},
	Context: []string{"card", "cards", "credit", "debit", "cc", "ccn", "visa", "mastercard", "amex", "maestro", "discover", "diners",
		"jcb", "unionpay", "pan", "cvv", "cvc", "payment", "charge", "charged", "kreditkarte", "kartennummer", "karte", "kreditkartennummer",
		"carte", "bancaire", "tarjeta", "crédito", "credito", "carta", "cartão", "cartao", "karta", "kort", "kortnummer", "creditcard", "cardnumber",
		"карта", "карты", "信用卡", "カード", "카드"},
	Against: []string{"timestamp", "order", "tracking", "isbn", "ean", "serial", "imei", "id", "uuid", "message", "session"},
}

// cardNetworks are ranges of the first six digits with the lengths of their numbers,
// as bits, and how sure such a number alone is: networks that share their lengths
// and ranges with much else are less so. From the networks' published ranges.
var cardNetworks = []struct {
	low, top int
	lengths  uint32
	score    float64
	name     string
}{
	{400000, 499999, 1<<13 | 1<<16 | 1<<19, 0.8, "Visa"},
	{510000, 559999, 1 << 16, 0.85, "Mastercard"},
	{222100, 272099, 1 << 16, 0.8, "Mastercard"},
	{340000, 349999, 1 << 15, 0.8, "American Express"},
	{370000, 379999, 1 << 15, 0.8, "American Express"},
	{300000, 305999, 1 << 14, 0.6, "Diners Club"},
	{309500, 309599, 1 << 14, 0.6, "Diners Club"},
	{360000, 369999, 1<<14 | 1<<16 | 1<<19, 0.6, "Diners Club"},
	{380000, 399999, 1<<14 | 1<<16 | 1<<19, 0.6, "Diners Club"},
	{601100, 601199, 1<<16 | 1<<19, 0.85, "Discover"},
	{622126, 622925, 1<<16 | 1<<19, 0.85, "Discover"},
	{644000, 659999, 1<<16 | 1<<19, 0.8, "Discover"},
	{352800, 358999, 1<<16 | 1<<19, 0.85, "JCB"},
	{180000, 180099, 1 << 15, 0.6, "JCB"},
	{213100, 213199, 1 << 15, 0.6, "JCB"},
	{620000, 629999, 1<<16 | 1<<17 | 1<<18 | 1<<19, 0.7, "UnionPay"},
	{810000, 819999, 1<<16 | 1<<17 | 1<<18 | 1<<19, 0.6, "UnionPay"},
	{220000, 220499, 1<<16 | 1<<17 | 1<<18 | 1<<19, 0.7, "Mir"},
	{979200, 979289, 1 << 16, 0.7, "Troy"},
	{603600, 603690, 1 << 16, 0.6, "RuPay or Cartão Mercantil"},
	{508500, 508999, 1 << 16, 0.7, "RuPay"},
	{606985, 607984, 1 << 16, 0.7, "RuPay"},
	{608001, 608500, 1 << 16, 0.7, "RuPay"},
	{652150, 653149, 1 << 16, 0.7, "RuPay"},
	{506699, 506778, 1 << 16, 0.7, "Elo"},
	{636368, 636369, 1 << 16, 0.7, "Elo"},
	{636297, 636297, 1 << 16, 0.7, "Elo"},
	{650031, 650033, 1 << 16, 0.7, "Elo"},
	{606282, 606282, 1<<13 | 1<<16 | 1<<19, 0.6, "Hipercard"},
	{506099, 506198, 1<<16 | 1<<18 | 1<<19, 0.7, "Verve"},
	{650002, 650027, 1<<16 | 1<<18 | 1<<19, 0.7, "Verve"},
	{986000, 986099, 1 << 16, 0.5, "Uzcard or Humo"},
	{560000, 589999, maestro, 0.3, "Maestro"},
	{500000, 509999, maestro, 0.3, "Maestro"},
	{639000, 639099, maestro, 0.3, "Maestro"},
	{670000, 679999, maestro, 0.3, "Maestro"},
	{600000, 609999, maestro, 0.2, "Maestro"},
	{630000, 639999, maestro, 0.2, "Maestro"},
	{60400, 60499, maestro, 0.1, "Maestro"},
	{100000, 199999, 1 << 15, 0.2, "UATP"},
}

const maestro = 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<17 | 1<<18 | 1<<19

// cardNetwork is the network that a number of this length belongs to.
func cardNetwork(d []byte) (score float64, name string) {
	first := number(d[:6])
	for _, n := range cardNetworks {
		if first >= n.low && first <= n.top && n.lengths>>len(d)&1 == 1 && n.score > score {
			score, name = n.score, n.name
		}
	}
	if len(d) == 13 {
		score /= 2 // Visa gave up 13 digits; times in milliseconds have them
	}
	if score == 0 && len(d) >= 13 && d[0] != '0' {
		return 0.12, "no network that is listed"
	}
	return score, name
}
