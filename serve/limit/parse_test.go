package limit

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]Limit{
		"5/minute": {5, time.Minute}, "50/hour": {50, time.Hour}, "200/day": {200, 24 * time.Hour},
		"1/second": {1, time.Second}, " 100/10s ": {100, 10 * time.Second}, "3/1h30m": {3, 90 * time.Minute},
	} {
		if got, err := ParseLimit(s); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                   "COUNT/WINDOW",
		"5":                  "COUNT/WINDOW",
		"0/minute":           "below 1",
		"-1/minute":          "not a number from 1",
		"5/fortnight":        "no duration",
		"5/0s":               "whole microseconds",
		"5/9000h":            "whole microseconds",
		"5/-1s":              "whole microseconds",
		"5/1.0000001s":       "whole microseconds",
		"4000000000/day":     "cannot be counted",
		"5/minute/hour":      "no duration",
		"99999999999/minute": "not a number",
	} {
		if l, err := ParseLimit(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, error %v, want one with %q", s, l, err, want)
		}
	}
	if _, err := ParseLimits("5/minute, 6/60s"); err == nil {
		t.Error("two limits of one window were taken")
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add("5/minute, 50/hour, 200/day")
	f.Add("100/10s")
	f.Fuzz(func(t *testing.T, s string) {
		limits, err := ParseLimits(s)
		if err != nil {
			return
		}
		var again []string
		for _, l := range limits {
			again = append(again, l.String())
		}
		if got, err := ParseLimits(strings.Join(again, ",")); err != nil || !reflect.DeepEqual(got, limits) {
			t.Errorf("%q is %v, and read again %v, %v", s, limits, got, err)
		}
		m := NewMemory(MemoryConfig{})
		if a := m.Take(t.Context(), []Bucket{{Name: "b", Limits: limits}}); !a.Allowed {
			t.Errorf("%q refuses the first call: %+v", s, a)
		}
	})
}

func TestHeaders(t *testing.T) {
	limits := []Limit{{5, time.Minute}, {50, time.Hour}}
	shared := []Limit{{3, 10 * time.Second}}
	m := NewMemory(MemoryConfig{})
	take := func() Answer {
		return m.Take(t.Context(), []Bucket{{Name: `prin"cipal`, Key: "a", Limits: limits}, {Name: "model", Key: "loans", Limits: shared, Shared: true}})
	}
	h := http.Header{}
	a := take()
	a.States[0].Reset, a.States[1].Reset = 12*time.Second, 72*time.Second // the clock has gone on since
	Headers{Legacy: true}.Write(h, a)
	want := http.Header{
		"Ratelimit-Policy":      {`"prin_cipal-60s";q=5;w=60, "prin_cipal-3600s";q=50;w=3600`},
		"Ratelimit":             {`"prin_cipal-60s";r=4;t=12, "prin_cipal-3600s";r=49;t=72`},
		"X-Ratelimit-Limit":     {"5"},
		"X-Ratelimit-Remaining": {"4"},
		"X-Ratelimit-Reset":     {"12"},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got  %v\nwant %v", h, want)
	}
	take()
	take()
	h = http.Header{}
	Headers{}.Write(h, take())
	if h.Get("Retry-After") != "4" || strings.Contains(h.Get("RateLimit"), "model") || h.Get("X-RateLimit-Limit") != "" {
		t.Errorf("%v", h)
	}
}
