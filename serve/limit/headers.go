package limit

import (
	"net/http"
	"strconv"
	"time"
)

// Headers writes what a client may know of an answer: the fields RateLimit-Policy
// and RateLimit of the IETF draft "RateLimit header fields for HTTP" (revision
// 10), and Retry-After (RFC 9110, section 10.2.3) when refused.
type Headers struct {
	// Legacy adds X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset
	// (seconds), of the window with the least left.
	Legacy bool
}

// Write sets the fields. Of shared buckets nothing is told but, in Retry-After,
// how long to wait.
func (h Headers) Write(header http.Header, a Answer) {
	var few [2][256]byte
	policies, limits := few[0][:0], few[1][:0]
	var tightest *State
	for i := range a.States {
		s := &a.States[i]
		if s.Shared {
			continue
		}
		if tightest != nil {
			policies, limits = append(policies, ", "...), append(limits, ", "...)
		}
		begin := len(policies)
		policies = appendItem(policies, s)
		limits = append(limits, policies[begin:]...)
		policies = appendSeconds(append(strconv.AppendInt(append(policies, ";q="...), int64(s.Limit.Count), 10), ";w="...), s.Limit.Window)
		limits = appendSeconds(append(strconv.AppendInt(append(limits, ";r="...), int64(s.Remaining), 10), ";t="...), s.Reset)
		if tightest == nil || s.Remaining < tightest.Remaining || s.Remaining == tightest.Remaining && s.Reset > tightest.Reset {
			tightest = s
		}
	}
	if tightest != nil {
		// As Set does, with one string and one array for both values.
		n := len(policies)
		both := string(append(policies, limits...))
		v := [...]string{both[:n], both[n:]}
		header["Ratelimit-Policy"], header["Ratelimit"] = v[0:1:1], v[1:2:2]
		if h.Legacy {
			header.Set("X-RateLimit-Limit", strconv.Itoa(tightest.Limit.Count))
			header.Set("X-RateLimit-Remaining", strconv.Itoa(tightest.Remaining))
			header.Set("X-RateLimit-Reset", seconds(tightest.Reset))
		}
	}
	if !a.Allowed {
		header.Set("Retry-After", seconds(max(a.RetryAfter, time.Second)))
	}
}

// appendItem appends the name that tells the windows of a bucket apart:
// "principal-60s", quoted. What a structured string may not hold (RFC 8941,
// section 3.3.3) becomes "_".
func appendItem(b []byte, s *State) []byte {
	b = append(b, '"')
	for _, r := range s.Bucket {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			r = '_'
		}
		b = append(b, byte(r))
	}
	b = appendSeconds(append(b, '-'), s.Limit.Window)
	return append(b, 's', '"')
}

// appendSeconds rounds up: who waits that long has waited long enough.
func appendSeconds(b []byte, d time.Duration) []byte {
	whole := d / time.Second
	if d > whole*time.Second {
		whole++
	}
	return strconv.AppendInt(b, int64(whole), 10)
}

func seconds(d time.Duration) string { return string(appendSeconds(nil, d)) }
