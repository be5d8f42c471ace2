package pii

import "slices"

// All are the recognisers of this package. Their order decides between findings that
// are equally sure and equally long.
//
// Left out are identifiers that no rule tells from other numbers and few texts name,
// such as the numbers of customers and invoices: describe yours in YAML. See Load.
var All = slices.Concat(
	[]Recognizer{
		emailAddress, webAddress, wwwAddress, bareDomain, creditCard, iban, swift, phoneNumber, ipv4, ipv6,
		dateTime, age, zipCode, coordinates,
		privateKey, vendorKey, webToken, password, secretValue,
		bitcoin, ethereum, otherCoin,
		macAddress, imei, deviceID, vehicleID,
	},
	unitedStates, unitedKingdom, australia, germany, spain, italy, nordic, otherEurope,
	india, korea, restOfAsia, americas, africa,
)
