package data

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// rule links columns of a schema: then holds whenever when does. Without a
// premise it always does.
type rule struct {
	text string
	when *condition
	then *condition
}

// condition is either linear, sum of coefficient x value <= bound (= bound if
// equal is set), or about a category: a column has a code, or has it not.
type condition struct {
	terms []term
	equal bool
	bound float64

	column string
	code   int
	not    bool
}

// term is a coefficient and a column, in the file's units.
type term struct {
	column string
	factor float64
}

// rulesLimit bounds the rules of a schema.
const rulesLimit = 1000

func (s *Schema) parseRules() ([]rule, error) {
	if len(s.Rules) > rulesLimit {
		return nil, fmt.Errorf("%d rules; the limit is %d", len(s.Rules), rulesLimit)
	}
	var out []rule
	for _, text := range s.Rules {
		r, err := s.parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w; write 'a + 2 * b <= c', 'job is clerk' or 'when ... then ...'", text, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// parseRule reads "[when CONDITION then] CONDITION".
func (s *Schema) parseRule(text string) (rule, error) {
	words, err := ruleWords(text)
	if err != nil {
		return rule{}, err
	}
	r := rule{text: text}
	if len(words) > 0 && words[0] == "when" {
		then := slices.Index(words, "then")
		if then < 0 {
			return r, errors.New("it has a when and no then")
		}
		if r.when, err = s.parseCondition(words[1:then]); err != nil {
			return r, err
		}
		words = words[then+1:]
	}
	r.then, err = s.parseCondition(words)
	return r, err
}

// ruleWords splits a rule into names, numbers and signs. A name with other
// than letters, digits, _ and . stands in quotes, and keeps its first one so
// that "when" can be a column too.
func ruleWords(text string) ([]string, error) {
	var words []string
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		n := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '.' })
		switch c := rest[0]; {
		case c == '"' || c == '\'' || c == '`':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				return nil, fmt.Errorf("the quote %c is not closed", c)
			}
			words, rest = append(words, `"`+rest[1:1+end]), rest[end+2:]
		case strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "=="):
			words, rest = append(words, rest[:2]), rest[2:]
		case strings.ContainsRune("+-*/=", rune(c)):
			words, rest = append(words, rest[:1]), rest[1:]
		case n < 0:
			words, rest = append(words, rest), ""
		case n == 0:
			return nil, fmt.Errorf("%.10q means nothing here", rest)
		default:
			words, rest = append(words, rest[:n]), rest[n:]
		}
	}
	return words, nil
}

func (s *Schema) parseCondition(words []string) (*condition, error) {
	if len(words) >= 3 && words[1] == "is" {
		return s.parseCategory(words)
	}
	at := slices.IndexFunc(words, func(w string) bool { return w == "<=" || w == ">=" || w == "==" || w == "=" })
	if at < 0 {
		return nil, errors.New("it compares nothing")
	}
	left, err := s.parseSum(words[:at])
	if err != nil {
		return nil, err
	}
	right, err := s.parseSum(words[at+1:])
	if err != nil {
		return nil, err
	}
	sign := 1.0
	if words[at] == ">=" {
		sign = -1
	}
	c := &condition{equal: words[at] == "==" || words[at] == "="}
	for side, sum := range []sum{left, right} {
		k := sign * float64(1-2*side)
		c.bound -= k * sum.constant
		for _, t := range sum.terms {
			c.add(term{t.column, k * t.factor})
		}
	}
	if len(c.terms) == 0 {
		return nil, errors.New("it names no column")
	}
	return c, nil
}

// add joins the terms of one column.
func (c *condition) add(t term) {
	for i := range c.terms {
		if c.terms[i].column == t.column {
			c.terms[i].factor += t.factor
			return
		}
	}
	c.terms = append(c.terms, t)
}

// parseCategory reads "COLUMN is [not] CATEGORY".
func (s *Schema) parseCategory(words []string) (*condition, error) {
	f, err := s.field(words[0])
	if err != nil {
		return nil, err
	}
	c := &condition{column: f.Name, not: words[2] == "not"}
	value := words[2:]
	if c.not {
		value = words[3:]
	}
	if len(value) != 1 {
		return nil, fmt.Errorf("what %q is to be is not one word; put it in quotes", f.Name)
	}
	name := strings.TrimPrefix(value[0], `"`)
	if c.code = slices.Index(f.Categories, name); c.code < 0 {
		c.code = slices.Index(f.Names, name)
	}
	if c.code < 0 {
		return nil, fmt.Errorf("column %q has no category %q", f.Name, name)
	}
	return c, nil
}

type sum struct {
	terms    []term
	constant float64
}

// parseSum reads products with + and - between them.
func (s *Schema) parseSum(words []string) (sum, error) {
	var out sum
	for len(words) > 0 {
		sign := 1.0
		for len(words) > 0 && (words[0] == "+" || words[0] == "-") {
			if words[0] == "-" {
				sign = -sign
			}
			words = words[1:]
		}
		end := slices.IndexFunc(words, func(w string) bool { return w == "+" || w == "-" })
		if end < 0 {
			end = len(words)
		}
		column, factor, err := s.parseProduct(words[:end])
		if err != nil {
			return out, err
		}
		if column == "" {
			out.constant += sign * factor
		} else {
			out.terms = append(out.terms, term{column, sign * factor})
		}
		words = words[end:]
	}
	return out, nil
}

// parseProduct reads numbers and at most one column with * and / between them.
func (s *Schema) parseProduct(words []string) (column string, factor float64, err error) {
	factor = 1
	for i, w := range words {
		if i%2 == 1 {
			if w != "*" && w != "/" {
				return "", 0, fmt.Errorf("%q stands where + - * / is wanted", w)
			}
			continue
		}
		divide := i > 0 && words[i-1] == "/"
		v, bad := strconv.ParseFloat(w, 64)
		switch {
		case bad == nil && divide && v != 0:
			factor /= v
		case bad == nil && !divide && finite(v):
			factor *= v
		case bad == nil || divide || column != "":
			return "", 0, errors.New("it is not linear; multiply out what is divided by")
		default:
			f, err := s.field(w)
			if err != nil {
				return "", 0, err
			}
			if f.Type == "categorical" && f.Encode != "code" {
				return "", 0, fmt.Errorf("column %q has categories; say what it is", f.Name)
			}
			column = f.Name
		}
	}
	if len(words)%2 == 0 {
		return "", 0, errors.New("a number or a column is missing")
	}
	return column, factor, nil
}

// field is the input column of a name, as a rule spells it.
func (s *Schema) field(word string) (*Field, error) {
	name := strings.TrimPrefix(word, `"`)
	for i := range s.Columns {
		if f := &s.Columns[i]; f.Name == name && f.Type != "ignore" && f.Type != "label" {
			return f, nil
		}
	}
	return nil, fmt.Errorf("no input column is named %q", name)
}
