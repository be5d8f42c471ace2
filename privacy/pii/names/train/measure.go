package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/privacy/pii/names/internal/tagger"
)

// A tally counts words: found and right, found and wrong, missed.
type tally struct {
	right, wrong, missed map[string]int
	scores               [5]struct{ n, right int } // of names by score, from 0.5 in steps of 0.1
}

// measure counts the words of names, type by type and for places of all kinds
// together (the types that presidio-research counts as one).
func measure(m *tagger.Model, samples []sample) *tally {
	t := &tally{right: map[string]int{}, wrong: map[string]int{}, missed: map[string]int{}}
	g := tagger.Tagger{Model: m}
	for _, s := range samples {
		var spans []tagger.Span
		for _, p := range s.pieces {
			if _, learnt := typeOf[p.kind]; !learnt {
				spans = append(spans, tagger.Span{Start: p.start, End: p.end, Class: tagger.Class(p.kind)})
			}
		}
		var found []piece
		g.Tag([]byte(s.text), spans, func() bool { return false }, func(n tagger.Name) {
			found = append(found, piece{n.Start, n.End, tagger.Types[n.Type]})
			bin := &t.scores[min(4, int((n.Score-0.5)*10))]
			if bin.n++; kindAt(s.pieces, n.Start) != "" {
				bin.right++
			}
		})
		for at := 0; at < len(s.text); {
			end := at
			for end < len(s.text) {
				r, n := utf8.DecodeRuneInString(s.text[end:])
				if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
					break
				}
				end += n
			}
			if end > at {
				t.count(kindAt(s.pieces, at), kindAt(found, at))
				at = end
			} else {
				_, n := utf8.DecodeRuneInString(s.text[at:])
				at += n
			}
		}
	}
	return t
}

func kindAt(pieces []piece, at int) string {
	for _, p := range pieces {
		if p.start <= at && at < p.end {
			if _, learnt := typeOf[p.kind]; learnt {
				return p.kind
			}
		}
	}
	return ""
}

func (t *tally) count(want, got string) {
	t.one(want, got)
	w, g := place(want), place(got)
	if w != "" || g != "" {
		t.one(w, g)
	}
	name := func(s string) string {
		if s == "" {
			return ""
		}
		return "ANY"
	}
	t.one(name(want), name(got))
}

func place(s string) string {
	switch s {
	case "LOCATION", "STREET_ADDRESS", "ZIP_CODE":
		return "(place)"
	}
	return ""
}

func (t *tally) one(want, got string) {
	switch {
	case want == got && want != "":
		t.right[want]++
	default:
		if got != "" {
			t.wrong[got]++
		}
		if want != "" {
			t.missed[want]++
		}
	}
}

func (t *tally) print() {
	for i, b := range t.scores {
		if b.n > 0 {
			fmt.Printf("score %.1f to %.1f   %6d names, of a name %.2f\n", 0.5+float64(i)/10, 0.6+float64(i)/10, b.n, float64(b.right)/float64(b.n))
		}
	}
	all := slices.Concat([]string{"(place)", "ANY"}, tagger.Types[:])
	slices.Sort(all)
	for _, k := range all {
		r, w, m := float64(t.right[k]), float64(t.wrong[k]), float64(t.missed[k])
		if r+m == 0 {
			if w > 0 {
				fmt.Printf("%-16s      false alarms %d\n", k, t.wrong[k])
			}
			continue
		}
		fmt.Printf("%-16s %5.0f precision %.3f recall %.3f F2 %.3f\n", k, r+m, r/(r+w), r/(r+m), 5*r/(5*r+4*m+w))
	}
}

// readPresidio reads sentences as presidio-research writes them.
func readPresidio(path string) ([]sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var in []struct {
		Text  string `json:"full_text"`
		Spans []struct {
			Type  string `json:"entity_type"`
			Start int    `json:"start_position"`
			End   int    `json:"end_position"`
		} `json:"spans"`
	}
	if err := json.NewDecoder(z).Decode(&in); err != nil {
		return nil, err
	}
	var out []sample
	for _, d := range in {
		at := make([]int, 0, len(d.Text)+1)
		for i := range d.Text {
			at = append(at, i)
		}
		at = append(at, len(d.Text))
		s := sample{text: d.Text, group: "dev"}
		for _, sp := range d.Spans {
			kind := strings.Replace(sp.Type, "GPE", "LOCATION", 1)
			s.pieces = append(s.pieces, piece{at[sp.Start], at[sp.End], kind})
		}
		slices.SortFunc(s.pieces, func(a, b piece) int { return a.start - b.start })
		out = append(out, s)
	}
	return out, nil
}
