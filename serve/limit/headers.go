package limit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
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
	var policies, limits []string
	var tightest *State
	for i := range a.States {
		s := &a.States[i]
		if s.Shared {
			continue
		}
		name := `"` + itemName(s) + `"`
		policies = append(policies, name+";q="+strconv.Itoa(s.Limit.Count)+";w="+seconds(s.Limit.Window))
		limits = append(limits, name+";r="+strconv.Itoa(s.Remaining)+";t="+seconds(s.Reset))
		if tightest == nil || s.Remaining < tightest.Remaining || s.Remaining == tightest.Remaining && s.Reset > tightest.Reset {
			tightest = s
		}
	}
	if tightest != nil {
		header.Set("RateLimit-Policy", strings.Join(policies, ", "))
		header.Set("RateLimit", strings.Join(limits, ", "))
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

// itemName tells the windows of a bucket apart: "principal-60s". What a
// structured string may not hold (RFC 8941, section 3.3.3) becomes "_".
func itemName(s *State) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, s.Bucket) + "-" + seconds(s.Limit.Window) + "s"
}

// seconds rounds up: who waits that long has waited long enough.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}
