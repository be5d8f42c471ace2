package pii

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// maxMatch bounds what an expression or a text of a user may match, in bytes.
const maxMatch = 4096

// An expression is one of a user's.
type expression struct {
	*regexp.Regexp
	score float64
}

// custom is a recogniser in YAML.
type custom struct {
	Name        string   `yaml:"name"`
	Type        string   `yaml:"type"`
	Expressions []string `yaml:"expressions"`
	Forms       []string `yaml:"forms"`
	Checksum    string   `yaml:"checksum"`
	Context     []string `yaml:"context"`
	Against     []string `yaml:"against"`
	Score       float64  `yaml:"score"`
	Examples    []string `yaml:"examples"`
	Not         []string `yaml:"not"`
}

// Load reads recognisers from YAML.
//
//	recognizers:
//	  - name: employee
//	    type: EMPLOYEE_ID
//	    forms: ['A-999999']           # as in Recognizer: fast
//	    expressions: ['\bE[0-9]{6}\b'] # RE2 (regexp/syntax): slower, linear all the same
//	    checksum: luhn                # luhn, mod97, mod11-10, verhoeff or damm
//	    score: 0.4                    # without context; 0.5 when absent
//	    context: [employee, staff]
//	    examples: ['employee E-123456'] # have to be found
//	    not: ['E-1234567']              # must not be found
//
// Where an expression has a group, the first one is the finding. Expressions do not
// see across the pieces that [Scanner.Pieces] cuts, nor match more than 4,096 bytes.
// Every example is tried; one that fails is an error.
func Load(text []byte) ([]Recognizer, error) {
	var y struct {
		Recognizers []custom `yaml:"recognizers"`
	}
	if err := strictyaml.Unmarshal(text, &y); err != nil {
		return nil, err
	}
	var list []Recognizer
	for i, c := range y.Recognizers {
		r, err := c.recognizer()
		if err == nil {
			err = c.try(r)
		}
		if err != nil {
			return nil, fmt.Errorf("recogniser %d (%s): %w", i+1, c.Name, err)
		}
		list = append(list, r)
	}
	return list, nil
}

func (c custom) recognizer() (Recognizer, error) {
	score := cmp.Or(c.Score, 0.5)
	r := Recognizer{Name: c.Name, Type: c.Type, Forms: c.Forms, Score: score, Context: c.Context, Against: c.Against}
	switch {
	case c.Name == "" || c.Type == "":
		return r, fmt.Errorf("name and type are required")
	case len(c.Expressions)+len(c.Forms) == 0:
		return r, fmt.Errorf("expressions or forms are required")
	case !(score > 0 && score <= 1):
		return r, fmt.Errorf("score %v: must be above 0 and at most 1", c.Score)
	}
	if c.Checksum != "" {
		check, ok := checksums[c.Checksum]
		if !ok {
			return r, fmt.Errorf("checksum %q: must be one of %s", c.Checksum, strings.Join(slices.Sorted(maps.Keys(checksums)), ", "))
		}
		r.Check = func(m Match) (float64, string) {
			if !check(m.Plain) {
				return 0, ""
			}
			return score, "passes the checksum " + c.Checksum
		}
	}
	for _, e := range c.Expressions {
		re, err := regexp.Compile(e)
		if err != nil {
			return r, fmt.Errorf("expression %q: %w", e, err)
		}
		r.expr = append(r.expr, expression{re, score})
	}
	return r, nil
}

// try holds a recogniser against its own examples.
func (c custom) try(r Recognizer) error {
	s, err := New(Settings{Recognizers: []Recognizer{r}})
	if err != nil {
		return err
	}
	for i, e := range append(slices.Clone(c.Examples), c.Not...) {
		found, err := s.Scan(context.Background(), []byte(e))
		if err != nil {
			return err
		}
		if i < len(c.Examples) && len(found) == 0 {
			return fmt.Errorf("example %q is not found at the threshold of 0.5", e)
		}
		if i >= len(c.Examples) && len(found) > 0 {
			return fmt.Errorf("%q is found and must not be", e)
		}
	}
	return nil
}

// expressions runs those of a recogniser over the text.
func (v *view) expressions(rec int) {
	r := &v.s.list[rec]
	v.cur = rec
	for _, e := range r.expr {
		for _, at := range e.FindAllSubmatchIndex(v.text[v.from:], -1) {
			start, end := at[0], at[1]
			if len(at) > 2 && at[2] >= 0 {
				start, end = at[2], at[3]
			}
			start, end = start+v.from, end+v.from
			if start == end || end-start > maxMatch || len(v.words) == 0 {
				continue
			}
			score, why := e.score, "matches "+e.String()
			if r.Check != nil {
				score, why = r.Check(Match{Text: v.text[start:end], Plain: plain(v.text[start:end])})
			}
			if score > 0 {
				v.found(start, end, score, why)
			}
		}
	}
}

// plain is the letters and digits of a text, in upper case.
func plain(text []byte) []byte {
	var out []byte
	for _, b := range text {
		if isAlnum(b) {
			if b >= 'a' {
				b -= 'a' - 'A'
			}
			out = append(out, b)
		}
	}
	return out
}
