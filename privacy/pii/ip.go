package pii

import (
	"bytes"
	"net/netip"
)

// ipv4 and ipv6 are addresses on the network: RFC 791 and RFC 4291.
var ipv4 = Recognizer{
	Name: "ipv4", Type: "IP_ADDRESS", Doc: "addresses of four numbers (RFC 791); those that are no machine's and those that look like versions need context",
	Forms: []string{"9{1,3}.9{1,3}.9{1,3}.9{1,3}"}, tail: ":/-",
	Check: func(m Match) (float64, string) {
		b, ok := quad(m.Text)
		if !ok {
			return 0, ""
		}
		a := netip.AddrFrom4(b)
		switch {
		case b[0] == 0, b[0] == 127, b[0] == 255, a.IsMulticast():
			return 0.3, "is four numbers of one byte; no machine has it for itself"
		case b[0] < 20 && b[1] < 20 && b[2] < 20 && b[3] < 20:
			return 0.4, "is four small numbers"
		case a.IsPrivate():
			return 0.6, "is an address of a private network"
		}
		return 0.8, "is four numbers of one byte"
	},
	Context: []string{"ip", "ipv4", "address", "host", "client", "remote", "server", "addr", "dns", "ping"},
	Against: []string{"version", "ver", "v", "release", "build", "chapter", "section"},
}

// quad reads four numbers of one byte, without zeros before them.
func quad(text []byte) (out [4]byte, ok bool) {
	i, n, length := 0, 0, 0
	for _, b := range text {
		if b == '.' {
			i, n, length = i+1, 0, 0
			continue
		}
		if length > 0 && n == 0 {
			return out, false
		}
		n, length = n*10+int(b-'0'), length+1
		if n > 255 {
			return out, false
		}
		out[i] = byte(n)
	}
	return out, true
}

var ipv6 = Recognizer{
	Name: "ipv6", Type: "IP_ADDRESS", Doc: "addresses of eight groups of hexadecimal digits (RFC 4291)",
	on: onHex | onColons,
	find: func(v *view, at int) {
		text := v.text
		if at < v.colons {
			return // in what was read already
		}
		part := func(b byte) bool { return isHex(b) || b == ':' }
		start := at
		for start > 0 && at-start < 45 && part(text[start-1]) {
			start--
		}
		end := at
		for end < len(text) && end-start < 46 && (part(text[end]) || text[end] == '.' && end > at+1 && isDigit(text[end-1])) {
			end++
		}
		for end > start && (text[end-1] == '.' || text[end-1] == ':' && !bytes.HasSuffix(text[start:end], []byte("::"))) {
			end--
		}
		v.steps += end - start
		v.colons = end
		if start > 0 && isAlnum(text[start-1]) || end < len(text) && isAlnum(text[end]) || !bytes.Contains(text[start:end], []byte("::")) && bytes.Count(text[start:end], []byte{':'}) < 6 {
			return
		}
		a, err := netip.ParseAddr(string(text[start:end]))
		if err != nil || !a.Is6() {
			return
		}
		switch groups := len(bytes.FieldsFunc(text[start:end], func(r rune) bool { return r == ':' })); {
		case a.IsUnspecified(), a.IsLoopback():
			v.found(start, end, 0.2, "is an address of IPv6; no machine has it for itself")
		case groups < 3 || !bytes.ContainsAny(text[start:end], "0123456789"):
			v.found(start, end, 0.4, "is a short address of IPv6")
		default:
			v.found(start, end, 0.9, "is an address of IPv6")
		}
	},
	Context: []string{"ip", "ipv6", "address", "host", "client", "remote", "server", "addr", "dns", "ping"},
}
