package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// longest is the longest window.
const longest = 366 * 24 * time.Hour

// units are the names of windows.
var units = map[string]time.Duration{
	"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
}

// ParseLimit reads COUNT/WINDOW, where the window is "second", "minute", "hour",
// "day" or a duration: "5/minute", "100/10s".
func ParseLimit(s string) (Limit, error) {
	count, window, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return Limit{}, fmt.Errorf(`read limit %.40q: it is not of the form COUNT/WINDOW, such as "5/minute" or "100/10s"`, s)
	}
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil {
		return Limit{}, fmt.Errorf("read limit %.40q: the count is not a number from 1", s)
	}
	d, named := units[window]
	if !named {
		if d, err = time.ParseDuration(window); err != nil {
			return Limit{}, fmt.Errorf(`read limit %.40q: the window is none of "second", "minute", "hour", "day", and no duration such as "10s"`, s)
		}
	}
	l := Limit{int(n), d}
	if err := l.check(); err != nil {
		return Limit{}, fmt.Errorf("read limit %.40q: %w", s, err)
	}
	return l, nil
}

// ParseLimits reads several, separated by commas: "5/minute, 50/hour, 200/day".
func ParseLimits(s string) ([]Limit, error) {
	var out []Limit
	seen := map[time.Duration]bool{}
	for part := range strings.SplitSeq(s, ",") {
		l, err := ParseLimit(part)
		if err != nil {
			return nil, err
		}
		if seen[l.Window] {
			return nil, fmt.Errorf("read limits %.80q: two have the same window: keep the lower", s)
		}
		seen[l.Window] = true
		out = append(out, l)
	}
	return out, nil
}

func (l Limit) check() error {
	switch {
	case l.Count < 1:
		return errors.New("the count is below 1")
	case l.Window < time.Millisecond || l.Window > longest || l.Window%time.Microsecond != 0:
		return fmt.Errorf("the window is not of whole microseconds from 1ms to %v", longest)
	case int64(l.Count) > math.MaxInt64/4/l.Window.Microseconds():
		return errors.New("so many calls in so long a window cannot be counted: shorten the window")
	}
	return nil
}

// String is the form that [ParseLimit] reads.
func (l Limit) String() string {
	for name, d := range units {
		if d == l.Window {
			return fmt.Sprintf("%d/%s", l.Count, name)
		}
	}
	return fmt.Sprintf("%d/%s", l.Count, l.Window)
}
