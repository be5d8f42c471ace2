// Package piitest measures detectors of personal data on sentences whose spans are
// known.
//
//	set, err := piitest.Load(file)
//	scores, err := piitest.Evaluate(set, piitest.Presidio, func(text []byte) ([]pii.Finding, error) {
//		return scanner.Scan(ctx, text)
//	})
//	fmt.Print(scores)
//
// There are two counts, as in presidio-research. By token, each word or mark of a
// text is right when it has the type it should: long names weigh more than short
// ones. By span, a finding is right when it has the type of a true span and shares at
// least half of the bytes that the two cover; presidio-research asks for nine tenths
// unless told otherwise, see [Evaluation.Overlap]. A false finding counts against the
// precision of its own type, and a missed span against the recall of its own.
//
// F2, which weighs recall four times as much as precision, is (5 P R) / (4 P + R).
//
// Promises: every finding and every span is counted, those of types that the set does
// not know as false ones unless [Evaluation.Ignore] names them.
package piitest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// A Sentence is a text and what is to be found in it.
type Sentence struct {
	Text  string
	Spans []Span
}

// A Span is a part of a text, in bytes.
type Span struct {
	Start, End int
	Type       string
}

// Load reads the JSON of presidio-research: sentences with full_text and spans, whose
// positions are code points.
func Load(r io.Reader) ([]Sentence, error) {
	var in []struct {
		Text  string `json:"full_text"`
		Spans []struct {
			Type  string `json:"entity_type"`
			Start int    `json:"start_position"`
			End   int    `json:"end_position"`
		} `json:"spans"`
	}
	if err := json.NewDecoder(r).Decode(&in); err != nil {
		return nil, fmt.Errorf("read sentences: %w", err)
	}
	out := make([]Sentence, len(in))
	for i, s := range in {
		at := make([]int, 0, len(s.Text)+1)
		for b := range s.Text {
			at = append(at, b)
		}
		at = append(at, len(s.Text))
		out[i].Text = s.Text
		for _, sp := range s.Spans {
			if sp.Start < 0 || sp.End > len(at)-1 || sp.Start >= sp.End {
				return nil, fmt.Errorf("sentence %d: span %d to %d of %d code points", i, sp.Start, sp.End, len(at)-1)
			}
			out[i].Spans = append(out[i].Spans, Span{at[sp.Start], at[sp.End], sp.Type})
		}
	}
	return out, nil
}

// An Evaluation says how findings are compared.
type Evaluation struct {
	// Rename maps the types of the set, and those of findings, to the names they are
	// compared by; what it lacks keeps its name.
	Rename map[string]string
	// Ignore are types of findings that count as none.
	Ignore []string
	// Overlap is the share of the bytes covered by a span or its finding that both
	// have to cover: 0.5 when it is 0.
	Overlap float64
}

// Presidio compares with the sets of presidio-research.
var Presidio = Evaluation{Rename: map[string]string{"GPE": "LOCATION", "DOMAIN_NAME": "URL"}}

// A Count is what a detector got right and wrong.
type Count struct{ True, Found, Right int }

// Precision is the share of findings that are right, 1 when there are none.
func (c Count) Precision() float64 { return share(c.Right, c.Found) }

// Recall is the share of what is to be found that is found, 1 when there is nothing.
func (c Count) Recall() float64 { return share(c.Right, c.True) }

// F2 weighs recall four times as much as precision.
func (c Count) F2() float64 {
	p, r := c.Precision(), c.Recall()
	if p+r == 0 {
		return 0
	}
	return 5 * p * r / (4*p + r)
}

func share(a, b int) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// Scores are the counts of an evaluation. All counts types as right or wrong; Any asks
// only whether personal data was found where there is some, as presidio-research does
// for its figures over all types.
type Scores struct {
	Tokens, Spans map[string]Count // by type
	All, Any      Count            // tokens
	AllSpans      Count
	Missed, False []Example
}

// An Example is a span that was missed, or a false finding.
type Example struct {
	Sentence int
	Span
	Text string
}

// Evaluate runs a detector over a set.
func Evaluate(set []Sentence, e Evaluation, find func(text []byte) ([]pii.Finding, error)) (*Scores, error) {
	s := &Scores{Tokens: map[string]Count{}, Spans: map[string]Count{}}
	for i, sentence := range set {
		found, err := find([]byte(sentence.Text))
		if err != nil {
			return nil, fmt.Errorf("sentence %d: %w", i, err)
		}
		var truth, got []Span
		for _, sp := range sentence.Spans {
			truth = append(truth, Span{sp.Start, sp.End, e.name(sp.Type)})
		}
		for _, f := range found {
			if !slices.Contains(e.Ignore, f.Type) {
				got = append(got, Span{f.Start, f.End, e.name(f.Type)})
			}
		}
		s.tokens(sentence.Text, truth, got)
		s.spans(i, sentence.Text, truth, got, e.Overlap)
	}
	return s, nil
}

func (e Evaluation) name(typ string) string {
	if n, ok := e.Rename[typ]; ok {
		return n
	}
	return typ
}

func add(m map[string]Count, typ string, c Count) {
	old := m[typ]
	m[typ] = Count{old.True + c.True, old.Found + c.Found, old.Right + c.Right}
}

// tokens compares the types of each word and mark.
func (s *Scores) tokens(text string, truth, got []Span) {
	for _, t := range split(text) {
		want, is := typeAt(truth, t), typeAt(got, t)
		right := 0
		if want == is {
			right = 1
		}
		if want != "" {
			add(s.Tokens, want, Count{True: 1, Right: right})
			s.All.True, s.Any.True = s.All.True+1, s.Any.True+1
		}
		if is != "" {
			add(s.Tokens, is, Count{Found: 1})
			s.All.Found, s.Any.Found = s.All.Found+1, s.Any.Found+1
		}
		if want != "" && is != "" {
			s.All.Right, s.Any.Right = s.All.Right+right, s.Any.Right+1
		}
	}
}

// split finds words, and marks one by one.
func split(text string) []Span {
	var out []Span
	word := false
	for i, r := range text {
		n := utf8.RuneLen(r)
		if n < 0 || r == utf8.RuneError {
			n = 1
		}
		switch {
		case unicode.IsSpace(r):
			word = false
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			if word {
				out[len(out)-1].End = i + n
			} else {
				out = append(out, Span{Start: i, End: i + n})
			}
			word = true
		default:
			out = append(out, Span{Start: i, End: i + n})
			word = false
		}
	}
	return out
}

// typeAt is the type of the span that a token begins in.
func typeAt(spans []Span, token Span) string {
	for _, s := range spans {
		if token.Start < s.End && s.Start < token.End {
			return s.Type
		}
	}
	return ""
}

// spans matches each true span with a finding of its type.
func (s *Scores) spans(sentence int, text string, truth, got []Span, overlap float64) {
	if overlap == 0 {
		overlap = 0.5
	}
	used := make([]bool, len(got))
	for _, t := range truth {
		right := 0
		for i, g := range got {
			both := min(t.End, g.End) - max(t.Start, g.Start)
			if !used[i] && g.Type == t.Type && both > 0 && float64(both) >= overlap*float64(max(t.End, g.End)-min(t.Start, g.Start)) {
				used[i], right = true, 1
				break
			}
		}
		add(s.Spans, t.Type, Count{True: 1, Right: right})
		s.AllSpans = Count{s.AllSpans.True + 1, s.AllSpans.Found, s.AllSpans.Right + right}
		if right == 0 {
			s.Missed = append(s.Missed, Example{sentence, t, text[t.Start:t.End]})
		}
	}
	for i, g := range got {
		add(s.Spans, g.Type, Count{Found: 1})
		s.AllSpans.Found++
		if !used[i] {
			s.False = append(s.False, Example{sentence, g, text[g.Start:g.End]})
		}
	}
}

// String is a table in Markdown.
func (s *Scores) String() string {
	var b strings.Builder
	b.WriteString("| type | spans | span precision | span recall | span F2 | token precision | token recall | token F2 |\n|---|---|---|---|---|---|---|---|\n")
	row := func(name string, sp, tk Count) {
		fmt.Fprintf(&b, "| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f |\n", name, sp.True, sp.Precision(), sp.Recall(), sp.F2(), tk.Precision(), tk.Recall(), tk.F2())
	}
	for _, t := range slices.Sorted(maps.Keys(s.Tokens)) {
		row(t, s.Spans[t], s.Tokens[t])
	}
	row("all types", s.AllSpans, s.All)
	fmt.Fprintf(&b, "| any type | | | | | %.3f | %.3f | %.3f |\n", s.Any.Precision(), s.Any.Recall(), s.Any.F2())
	return b.String()
}
