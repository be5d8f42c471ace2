package mask

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

var generalise = Method{
	Name: "generalise", Doc: "less exact: a number becomes a range, a date its year, a code its beginning, an address of the network its network; anything else is redacted",
	Settings: []string{"step", "digits"},
	New: func(r Rule, _ Settings) (Masker, error) {
		if r.Step < 0 || math.IsInf(r.Step, 0) || math.IsNaN(r.Step) || r.Digits < 0 {
			return nil, errors.New("step and digits: must be positive")
		}
		return maskFunc(func(v Value) (string, error) { return coarse(r, v), nil }), nil
	},
}

func coarse(r Rule, v Value) string {
	text := strings.TrimSpace(v.Text)
	if r.Step > 0 {
		if n, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && math.Abs(n) < 1e15 {
			low := math.Floor(n/r.Step) * r.Step
			return number(low) + "-" + number(low+r.Step)
		}
		return "[" + v.Type + "]"
	}
	if a, err := netip.ParseAddr(text); err == nil {
		bits := 24
		if a.Is6() {
			bits = 48
		}
		if p, err := a.WithZone("").Prefix(bits); err == nil {
			return p.String()
		}
	}
	if d, ok := parseDate(text); ok {
		return fmt.Sprintf("%04d", d.time.Year())
	}
	if v.Type == "ZIP_CODE" || r.Digits > 0 {
		digits := r.Digits
		if digits == 0 {
			digits = 3
		}
		return stars(text, digits, 0)
	}
	return "[" + v.Type + "]"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
