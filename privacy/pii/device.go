package pii

import "strings"

// macAddress is addresses of network cards: IEEE 802.
var macAddress = Recognizer{
	Name: "mac", Type: "MAC_ADDRESS", Doc: "addresses of network cards: six bytes in hexadecimal digits (IEEE 802)",
	Forms: []string{"XX:XX:XX:XX:XX:XX", "XX-XX-XX-XX-XX-XX", "XXXX.XXXX.XXXX"},
	Check: func(m Match) (float64, string) {
		for _, b := range m.Plain {
			if !isHex(b) {
				return 0, ""
			}
		}
		if same(m.Plain) {
			return 0, ""
		}
		switch {
		case m.Text[2] == ':':
			return 0.85, "is six bytes in hexadecimal digits"
		case digits(m.Plain):
			return 0.3, "is six bytes in decimal digits"
		}
		return 0.65, "is six bytes in hexadecimal digits"
	},
	Context: []string{"mac", "mac address", "hwaddr", "ethernet", "ether", "bssid", "wifi", "wlan", "bluetooth", "physical address"},
}

// imei is numbers of mobile equipment: 3GPP TS 23.003.
var imei = Recognizer{
	Name: "imei", Type: "IMEI", Doc: "mobile equipment: fifteen digits, Luhn's formula (3GPP TS 23.003); told by context",
	Forms: []string{"9{15}", "99-999999-999999-9", "99 999999 999999 9"},
	Check: func(m Match) (float64, string) {
		if !luhn(m.Plain) || same(m.Plain) {
			return 0, ""
		}
		return printed(m, 0.2, 0.75, 0.7), "passes Luhn's formula"
	},
	Context: []string{"imei", "handset", "equipment", "device"},
}

// deviceID is identifiers that phones give to advertisers.
var deviceID = Recognizer{
	Name: "device-id", Type: "DEVICE_ID", Doc: "advertising and device ids: UUIDs (RFC 9562) that the words around them say are a device's",
	Forms: []string{"X{8}-X{4}-X{4}-X{4}-X{12}"},
	Check: func(m Match) (float64, string) {
		for _, b := range m.Plain {
			if !isHex(b) {
				return 0, ""
			}
		}
		return 0.2, "is a UUID"
	},
	Context: []string{"idfa", "idfv", "gaid", "aaid", "advertising", "device id", "device", "deviceid", "androidid", "android id", "udid"},
}

// vehicleID is numbers of vehicles: ISO 3779.
var vehicleID = Recognizer{
	Name: "vin", Type: "VIN", Doc: "vehicles: seventeen signs without I, O and Q; the ninth is a check sign in North America and China (ISO 3779, 49 CFR 565)",
	Forms: []string{"X{17}"},
	Check: func(m Match) (float64, string) {
		const weights = "\x08\x07\x06\x05\x04\x03\x02\x0a\x00\x09\x08\x07\x06\x05\x04\x03\x02"
		sum, letters := 0, 0
		for i, b := range m.Plain {
			v := strings.IndexByte("0123456789.ABCDEFGH..JKLMN.P.R..STUVWXYZ", b)
			if v < 0 || b == '.' {
				return 0, ""
			}
			if !isDigit(b) {
				letters++
			}
			sum += v % 10 * int(weights[i])
		}
		if letters < 2 || letters > 12 || !digits(m.Plain[13:]) || !capitals(m) {
			return 0, ""
		}
		if "0123456789X"[sum%11] == m.Plain[8] {
			return 0.6, "has its check sign"
		}
		return 0.1, "has the form"
	},
	Context: []string{"vin", "vehicle", "chassis", "fahrgestellnummer", "fin", "car"},
}
