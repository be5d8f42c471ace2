package pii

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// A List names texts: whole findings that are none, or texts that are always found.
type List struct {
	// Texts are compared in any case of letters. Those of a deny list are found as
	// whole words.
	Texts []string
	// Patterns are expressions. A finding is allowed when one matches all of it;
	// every match of a deny list is a finding.
	Patterns []*regexp.Regexp
	// Type is that of a deny list's findings: DENY_LIST when it is empty.
	Type string
}

// LoadList reads a list from YAML: texts, patterns and type.
//
//	texts: [Project Nightjar, ACME-7]
//	patterns: ['NJ-[0-9]{4}']
func LoadList(text []byte) (List, error) {
	var y struct {
		Texts    []string `yaml:"texts"`
		Patterns []string `yaml:"patterns"`
		Type     string   `yaml:"type"`
	}
	if err := strictyaml.Unmarshal(text, &y); err != nil {
		return List{}, err
	}
	l := List{Texts: y.Texts, Type: y.Type}
	for _, t := range y.Texts {
		if len(tokens(t)) == 0 || len(t) > maxMatch {
			return List{}, fmt.Errorf("text %.40q: must have a letter or a digit, and at most %d bytes", t, maxMatch)
		}
	}
	for _, p := range y.Patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return List{}, fmt.Errorf("pattern %q: %w", p, err)
		}
		l.Patterns = append(l.Patterns, re)
	}
	return l, nil
}

// allowed is an allow list, ready to be asked.
type allowed struct {
	texts    map[string]bool
	patterns []*regexp.Regexp
}

func newAllowed(l List) allowed {
	a := allowed{map[string]bool{}, nil}
	for _, t := range l.Texts {
		a.texts[strings.ToLower(t)] = true
	}
	for _, p := range l.Patterns {
		p = regexp.MustCompile(p.String()) // a copy, and it was compiled before
		p.Longest()                        // so that the longest match is the whole finding where that matches
		a.patterns = append(a.patterns, p)
	}
	return a
}

func (a *allowed) has(text []byte) bool {
	if len(a.texts) > 0 && a.texts[string(bytes.ToLower(text))] {
		return true
	}
	return slices.ContainsFunc(a.patterns, func(p *regexp.Regexp) bool {
		at := p.FindIndex(text)
		return at != nil && at[0] == 0 && at[1] == len(text)
	})
}

// recognizer finds what is on a deny list.
func (l List) recognizer() (r Recognizer, any bool) {
	r = Recognizer{Name: "deny-list", Type: l.Type, Doc: "what the user's list names", on: onWords}
	if r.Type == "" {
		r.Type = "DENY_LIST"
	}
	byWord := map[string][][]byte{}
	for _, t := range l.Texts {
		words := tokens(t)
		if len(words) == 0 {
			continue
		}
		first := strings.ToLower(words[0])
		// What stands before the first word, such as the bracket of "[x]", is no part
		// of where a word begins.
		from := strings.Index(t, words[0])
		byWord[first] = append(byWord[first], []byte(t[from:]))
		if !slices.Contains(r.words, first) {
			r.words = append(r.words, first)
		}
	}
	r.find = func(v *view, at int) {
		w := v.words[at]
		for _, t := range byWord[string(bytes.ToLower(v.text[w.start:w.end]))] {
			end := int(w.start) + len(t)
			if end <= len(v.text) && bytes.EqualFold(v.text[w.start:end], t) && (end == len(v.text) || !isAlnum(v.text[end]) || !isAlnum(t[len(t)-1])) {
				v.found(int(w.start), end, 1, "is on the deny list")
			}
		}
	}
	for _, p := range l.Patterns {
		r.expr = append(r.expr, expression{p, 1})
	}
	return r, len(r.words) > 0 || len(r.expr) > 0
}
