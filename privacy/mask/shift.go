package mask

import (
	"errors"
	"strings"
	"time"
)

var shift = Method{
	Name: "shift", Doc: "a date moved by some days, the same for all dates of a subject, so that the time between them stays; what is no date is redacted",
	Settings: []string{"days"},
	New: func(r Rule, in Settings) (Masker, error) {
		key, err := in.derive("shift", 32)
		if err != nil {
			return nil, err
		}
		if r.Days == 0 {
			r.Days = 365
		}
		if r.Days < 1 || r.Days > 30_000 {
			return nil, errors.New("days: must be between 1 and 30,000")
		}
		d := drawer{key}
		return maskFunc(func(v Value) (string, error) {
			date, ok := parseDate(v.Text)
			if !ok {
				return "[" + v.Type + "]", nil
			}
			c := d.of(v.Subject)
			by := 1 + c.below(r.Days) // never by none
			if c.below(2) == 0 {
				by = -by
			}
			moved := date.time.AddDate(0, 0, by)
			if moved.Year() < 1 || moved.Year() > 9999 {
				return "[" + v.Type + "]", nil
			}
			return date.format(moved), nil
		}), nil
	},
}

// date is a day in the form in which somebody wrote it.
type date struct {
	time   time.Time
	layout string
	upper  bool
	after  string // a time of the day and what else follows, which stays
}

// layouts are forms of dates. Of what is ambiguous (1/2/2006) the American reading
// comes first: moved by days it stays a date in either.
var layouts = []string{
	"2006-01-02", "2006/01/02", "2006/1/2", "20060102", "02.01.2006", "2.1.2006", "2.1.06", "01/02/2006", "1/2/2006", "02/01/2006", "2/1/2006",
	"1/2/06", "2/1/06", "01-02-2006", "02-01-2006", "1-2-2006", "2-1-2006",
	"January 2, 2006", "January 2 2006", "2 January 2006", "2. January 2006", "Jan 2, 2006", "Jan 2 2006", "2 Jan 2006", "2-Jan-2006", "02-Jan-06", "02-Jan-2006",
	"Monday, January 2, 2006", "Mon, 2 Jan 2006", "Monday 2 January 2006",
}

func parseDate(s string) (d date, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return d, false
	}
	day, after := s, ""
	if i := strings.IndexAny(s, "Tt"); i == len("2006-01-02") && s[4] == '-' {
		day, after = s[:i], s[i:]
	} else if i := strings.LastIndexByte(s, ' '); i > 0 && strings.Contains(s[i:], ":") {
		day, after = s[:i], s[i:]
	}
	for _, layout := range layouts {
		t, err := time.Parse(layout, day)
		if err != nil || t.Format(layout) != day && !strings.EqualFold(t.Format(layout), day) {
			continue
		}
		return date{t, layout, day == strings.ToUpper(day), after}, true
	}
	return d, false
}

func (d date) format(t time.Time) string {
	s := t.Format(d.layout)
	if d.upper {
		s = strings.ToUpper(s)
	}
	return s + d.after
}
