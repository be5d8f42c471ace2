package pii

import (
	"bytes"
	"crypto/sha256"
	"strings"

	"golang.org/x/crypto/sha3"
)

// bitcoin is addresses that Bitcoin and its relatives pay to.
var bitcoin = Recognizer{
	Name: "bitcoin", Type: "CRYPTO",
	Doc: "addresses of Bitcoin, Litecoin, Dogecoin, Dash, Zcash and Tron: Base58Check, Bech32 (BIP 173) and Bech32m (BIP 350)",
	on:  onLong,
	find: func(v *view, at int) {
		w := v.words[at]
		text := v.text[w.start:w.end]
		if len(text) < 25 || len(text) > 90 || w.kind&high != 0 {
			return
		}
		v.steps += len(text)
		switch {
		case len(text) <= 35 && strings.IndexByte("13LMDXtTmn29A", text[0]) >= 0:
			if version, ok := base58Check(text); ok && len(version) > 0 && coinVersion(version) {
				v.found(int(w.start), int(w.end), 0.95, "passes the checksum of Base58Check")
			}
		case bech32(text):
			v.found(int(w.start), int(w.end), 0.98, "passes the checksum of Bech32")
		}
	},
}

// ethereum is addresses of Ethereum and what runs as it does.
var ethereum = Recognizer{
	Name: "ethereum", Type: "CRYPTO", Doc: "addresses of Ethereum: 0x and forty hexadecimal digits, with the checksum of EIP-55 where letters are of both cases",
	on: onLong,
	find: func(v *view, at int) {
		w := v.words[at]
		text := v.text[w.start:w.end]
		if len(text) != 42 || text[0] != '0' || text[1] != 'x' {
			return
		}
		address := text[2:]
		for _, b := range address {
			if !isHex(b) {
				return
			}
		}
		v.steps += len(text)
		switch {
		case same(address):
		case bytes.Equal(bytes.ToLower(address), address) || bytes.Equal(bytes.ToUpper(address), address):
			v.found(int(w.start), int(w.end), 0.7, "is twenty bytes in hexadecimal digits")
		case eip55(address):
			v.found(int(w.start), int(w.end), 0.98, "passes the checksum of EIP-55")
		}
	},
	Context: []string{"eth", "ethereum", "wallet", "address", "usdt", "erc20"},
	Against: []string{"hash", "commit", "sha1", "digest"},
}

// otherCoin is addresses of other currencies.
var otherCoin = Recognizer{
	Name: "other-coin", Type: "CRYPTO", Doc: "addresses of Ripple (its own Base58Check), Cardano (Bech32), Monero and Solana (by context)",
	on: onLong,
	find: func(v *view, at int) {
		w := v.words[at]
		text := v.text[w.start:w.end]
		if len(text) > 110 || w.kind&high != 0 {
			return
		}
		v.steps += len(text)
		switch {
		case text[0] == 'r' && len(text) >= 25 && len(text) <= 35:
			if version, ok := base58Check(ripple(text)); ok && version[0] == 0 {
				v.found(int(w.start), int(w.end), 0.95, "passes the checksum of Ripple")
			}
		case bytes.HasPrefix(text, []byte("addr1")) && bech32(text):
			v.found(int(w.start), int(w.end), 0.98, "passes the checksum of Bech32")
		case (text[0] == '4' || text[0] == '8') && len(text) == 95 && base58Only(text):
			v.found(int(w.start), int(w.end), 0.6, "has the length and alphabet of Monero")
		case len(text) >= 32 && len(text) <= 44 && w.kind&(digit|upper|lower) == digit|upper|lower && base58Only(text):
			v.found(int(w.start), int(w.end), 0.1, "has the length and alphabet of Solana")
		}
	},
	Context: []string{"wallet", "solana", "monero", "xmr", "xrp", "ripple", "cardano", "ada", "crypto"},
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

var base58Digits = func() (d [256]int8) {
	for i := range d {
		d[i] = int8(strings.IndexByte(base58, byte(i)))
	}
	return
}()

func base58Only(text []byte) bool {
	for _, b := range text {
		if base58Digits[b] < 0 {
			return false
		}
	}
	return true
}

// base58Check decodes up to 26 bytes and checks the last four of them, which begin
// the double SHA-256 of the others.
func base58Check(text []byte) (payload []byte, ok bool) {
	var out [26]byte
	for _, b := range text {
		carry := int(base58Digits[b])
		if carry < 0 {
			return nil, false
		}
		for i := len(out) - 1; i >= 0; i-- {
			carry += int(out[i]) * 58
			out[i] = byte(carry)
			carry >>= 8
		}
		if carry != 0 {
			return nil, false
		}
	}
	for _, n := range []int{25, 26} {
		b := out[26-n:]
		if n == 25 && out[0] != 0 {
			continue
		}
		first := sha256.Sum256(b[:n-4])
		sum := sha256.Sum256(first[:])
		if bytes.Equal(sum[:4], b[n-4:]) {
			return b[:n-4], true
		}
	}
	return nil, false
}

// coinVersion reports whether a payload of twenty bytes has the version of an
// address: Bitcoin's, its test network's, Litecoin's, Dogecoin's, Dash's, Tron's, or
// the two bytes of Zcash's.
func coinVersion(payload []byte) bool {
	if len(payload) == 22 {
		return payload[0] == 0x1C && (payload[1] == 0xB8 || payload[1] == 0xBD)
	}
	return len(payload) == 21 && bytes.IndexByte([]byte{0x00, 0x05, 0x6F, 0xC4, 0x30, 0x32, 0x1E, 0x16, 0x4C, 0x10, 0x41}, payload[0]) >= 0
}

// ripple writes an address of Ripple in Bitcoin's alphabet.
func ripple(text []byte) []byte {
	out := make([]byte, len(text))
	for i, b := range text {
		n := strings.IndexByte("rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz", b)
		if n < 0 {
			return nil
		}
		out[i] = base58[n]
	}
	return out
}

const bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32 checks an address of Bitcoin, Litecoin or Cardano: BIP 173 and BIP 350.
func bech32(text []byte) bool {
	lowered := bytes.ToLower(text)
	if !bytes.Equal(text, lowered) && !bytes.Equal(text, bytes.ToUpper(text)) {
		return false
	}
	one := bytes.LastIndexByte(lowered, '1')
	if one < 1 || len(lowered)-one < 8 || !strings.Contains(" bc tb bcrt ltc addr ", " "+string(lowered[:one])+" ") {
		return false
	}
	sum := uint32(1)
	step := func(v byte) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for _, b := range lowered[:one] {
		step(b >> 5)
	}
	step(0)
	for _, b := range lowered[:one] {
		step(b & 31)
	}
	for _, b := range lowered[one+1:] {
		n := strings.IndexByte(bech32Alphabet, b)
		if n < 0 {
			return false
		}
		step(byte(n))
	}
	return sum == 1 || sum == 0x2bc830a3
}

// eip55 checks the letters' case against the hash of the address in lower case.
func eip55(address []byte) bool {
	h := sha3.NewLegacyKeccak256()
	h.Write(bytes.ToLower(address))
	sum := h.Sum(nil)
	for i, b := range address {
		nibble := sum[i/2] >> (4 * (1 - i%2)) & 15
		if isLetter(b) && (nibble >= 8) != (b <= 'Z') {
			return false
		}
	}
	return true
}
