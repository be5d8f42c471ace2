package pii

// zipCode is postal codes that are named as such. Those in addresses are the tagger's.
var zipCode = Recognizer{
	Name: "zip-code", Type: ZipCode, Doc: "postal codes of many countries, told by context alone",
	Forms: []string{"9{3,6}", "99999-9999", "9999-999", "99999-999", "99-999", "999 99", "999-9999", "A9A 9A9", "A9A9A9", "A9A-9A9", "9999 AA", "9999AA", "99 999"},
	Check: unchecked(0.12),
	Context: []string{"zip", "zipcode", "zip code", "postal code", "postalcode", "postcode", "post code", "plz", "postleitzahl", "code postal", "código postal",
		"codigo postal", "cep", "codice postale", "pincode", "pin code", "postnummer", "postinumero", "kod pocztowy", "psč", "eircode", "邮编", "우편번호", "郵便番号"},
	Against: []string{"file", "files", "archive", "bytes", "unzip", "gzip", "download", "folder"},
}
