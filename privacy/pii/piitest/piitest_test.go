package piitest

import (
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// A sentence worked out by hand: Müller is right, half of the card is found, Rome has the
// wrong type, and "today" is false.
func TestEvaluate(t *testing.T) {
	set, err := Load(strings.NewReader(`[{"full_text": "Müller, 41 42, in Rome today", "spans": [
		{"entity_type": "PERSON", "start_position": 0, "end_position": 6},
		{"entity_type": "CREDIT_CARD", "start_position": 8, "end_position": 13},
		{"entity_type": "GPE", "start_position": 18, "end_position": 22}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	text := set[0].Text
	at := func(part, typ string) pii.Finding {
		i := strings.Index(text, part)
		return pii.Finding{Start: i, End: i + len(part), Type: typ}
	}
	if s := set[0].Spans[0]; text[s.Start:s.End] != "Müller" {
		t.Fatalf("code points became %q", text[s.Start:s.End])
	}
	found := []pii.Finding{at("Müller", "PERSON"), at("41", "CREDIT_CARD"), at("Rome", "PERSON"), at("today", "DATE_TIME"), at("in", "NOISE")}
	e := Presidio
	e.Ignore = []string{"NOISE"}
	s, err := Evaluate(set, e, func([]byte) ([]pii.Finding, error) { return found, nil })
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ got, want Count }{
		"persons":     {s.Spans["PERSON"], Count{1, 2, 1}},
		"cards":       {s.Spans["CREDIT_CARD"], Count{1, 1, 0}}, // two of five bytes
		"card tokens": {s.Tokens["CREDIT_CARD"], Count{2, 1, 1}},
		"places":      {s.Spans["LOCATION"], Count{1, 0, 0}},
		"all spans":   {s.AllSpans, Count{3, 4, 1}},
		"all":         {s.All, Count{4, 4, 2}},
		"any":         {s.Any, Count{4, 4, 3}},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, c.got, c.want)
		}
	}
	if len(s.Missed) != 2 || len(s.False) != 3 {
		t.Errorf("missed %+v, false %+v", s.Missed, s.False)
	}
	if f := (Count{True: 4, Found: 2, Right: 1}).F2(); f < 0.2777 || f > 0.2778 { // 5/2/4 / (4/2 + 1/4) = 5/18
		t.Errorf("F2 %v", f)
	}
	e.Overlap = 0.4
	if s, _ = Evaluate(set, e, func([]byte) ([]pii.Finding, error) { return found, nil }); s.Spans["CREDIT_CARD"].Right != 1 {
		t.Errorf("at 0.4 the card is right: %+v", s.Spans["CREDIT_CARD"])
	}
	for _, bad := range []string{"{", `[{"full_text": "a", "spans": [{"start_position": 0, "end_position": 2}]}]`} {
		if _, err := Load(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
