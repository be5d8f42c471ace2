package gateway

import (
	"net/netip"
	"sync"
	"time"
)

// strangers keeps callers that nobody knows from filling the log: of each
// network, so many refusals a minute are entered one by one, and the rest are
// counted.
type strangers struct {
	mu    sync.Mutex
	since time.Time
	seen  map[netip.Prefix]int
}

const (
	strangersMinute   = 10     // entries of each network
	strangersNetworks = 10_000 // networks in memory; further ones share a count
)

// admit reports whether a refusal is to be entered. The first of a minute also
// learns how many were left out in the one before.
func (s *strangers) admit(from netip.Addr, now time.Time) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || now.Sub(s.since) > time.Minute {
		for _, n := range s.seen {
			left += max(0, n-strangersMinute)
		}
		s.since, s.seen = now, map[netip.Prefix]int{}
	}
	network := networkOf(from)
	if _, known := s.seen[network]; !known && len(s.seen) >= strangersNetworks {
		network = netip.Prefix{}
	}
	s.seen[network]++
	return left, s.seen[network] <= strangersMinute
}

// networkOf is the network that one subscriber has: an IPv4 address, or a /64.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil { // the zero address, of a socket without one
		return netip.Prefix{}
	}
	return p
}
