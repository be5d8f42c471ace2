package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Clearance is how much of a model's answer a caller may see. The zero value is
// all of it.
type Clearance struct {
	// Label discloses the winning class and no score.
	Label bool `json:"label,omitempty"`
	// Top discloses the k best classes, 0 for all.
	Top int `json:"top,omitempty"`
	// Round is the decimal places that are left of a score, from 1 to 15; 0 for
	// as many as there are.
	Round int `json:"round,omitempty"`
	// Noise is the standard deviation of the Gaussian noise added to each score
	// before it is rounded, 0 for none.
	Noise float64 `json:"noise,omitempty"`
}

// Narrow is what both clearances allow.
func (c Clearance) Narrow(d Clearance) Clearance {
	return Clearance{
		Label: c.Label || d.Label,
		Top:   least(c.Top, d.Top),
		Round: least(c.Round, d.Round),
		Noise: max(c.Noise, d.Noise),
	}
}

// least is the smaller of two bounds of which 0 is none.
func least(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// ParseClearance reads the form that policies and configurations use: words
// separated by spaces, of "label", "top=K", "round=PLACES" and "noise=SIGMA".
func ParseClearance(s string) (Clearance, error) {
	var c Clearance
	words := strings.Fields(s)
	if len(words) == 0 {
		return c, errors.New(`read clearance: it is empty; write one or more of "label", "top=K", "round=PLACES", "noise=SIGMA"`)
	}
	seen := map[string]bool{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if seen[name] {
			return Clearance{}, fmt.Errorf("read clearance %q: %s is given twice", s, name)
		}
		seen[name] = true
		if err := c.set(name, value); err != nil {
			return Clearance{}, fmt.Errorf("read clearance %q: %w", s, err)
		}
	}
	return c, nil
}

func (c *Clearance) set(name, value string) (err error) {
	switch name {
	case "label":
		if c.Label = true; value != "" {
			return errors.New("label takes no value")
		}
	case "top":
		if c.Top, err = strconv.Atoi(value); err != nil || c.Top < 1 {
			return fmt.Errorf("top=%s is not a number from 1", value)
		}
	case "round":
		if c.Round, err = strconv.Atoi(value); err != nil || c.Round < 1 || c.Round > 15 {
			return fmt.Errorf("round=%s is not a number from 1 to 15", value)
		}
	case "noise":
		if c.Noise, err = strconv.ParseFloat(value, 64); err != nil || !(c.Noise > 0) || math.IsInf(c.Noise, 0) {
			return fmt.Errorf("noise=%s is not a number above 0", value)
		}
	default:
		return fmt.Errorf(`%q is none of "label", "top=K", "round=PLACES", "noise=SIGMA"`, name)
	}
	return nil
}

// String is the form that [ParseClearance] reads, and "all" for the zero value.
func (c Clearance) String() string {
	var words []string
	if c.Label {
		words = append(words, "label")
	}
	if c.Top > 0 {
		words = append(words, "top="+strconv.Itoa(c.Top))
	}
	if c.Round > 0 {
		words = append(words, "round="+strconv.Itoa(c.Round))
	}
	if c.Noise > 0 {
		words = append(words, "noise="+strconv.FormatFloat(c.Noise, 'g', -1, 64))
	}
	if len(words) == 0 {
		return "all"
	}
	return strings.Join(words, " ")
}
