package vnnlib

import (
	"bufio"
	"fmt"
	"io"
)

// expression is an S-expression: an atom or a list.
type expression struct {
	atom string
	list []expression
	line int
}

func (e expression) head() string {
	if len(e.list) > 0 {
		return e.list[0].atom
	}
	return e.atom
}

func (e expression) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", e.line, fmt.Sprintf(format, args...))
}

type scanner struct {
	r    *bufio.Reader
	line int
}

// token is "(", ")" or an atom.
func (s *scanner) token() (string, error) {
	var atom []byte
	for {
		c, err := s.r.ReadByte()
		if err == io.EOF && atom != nil {
			return string(atom), nil
		}
		if err != nil {
			return "", err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ';', '(', ')':
			if atom != nil {
				return string(atom), s.r.UnreadByte()
			}
			switch c {
			case '\n':
				s.line++
			case ';':
				if err := s.comment(); err != nil {
					return "", err
				}
			case '(', ')':
				return string(c), nil
			}
		default:
			if atom = append(atom, c); len(atom) > 256 {
				return "", fmt.Errorf("line %d: a word of more than 256 characters", s.line)
			}
		}
	}
}

// comment reads up to the end of the line, which it leaves.
func (s *scanner) comment() error {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		if c == '\n' {
			return s.r.UnreadByte()
		}
	}
}

func (s *scanner) expression(depth int) (expression, error) {
	t, err := s.token()
	if err != nil {
		return expression{}, err
	}
	return s.rest(t, depth)
}

func (s *scanner) rest(t string, depth int) (expression, error) {
	e := expression{line: s.line}
	if depth > maxDepth {
		return e, e.errorf("nested deeper than %d", maxDepth)
	}
	switch t {
	case ")":
		return e, e.errorf("a closing bracket too many")
	case "(":
		e.list = []expression{}
		for {
			t, err := s.token()
			if err == io.EOF {
				return e, e.errorf("a bracket that is never closed")
			}
			if err != nil {
				return e, err
			}
			if t == ")" {
				return e, nil
			}
			sub, err := s.rest(t, depth+1)
			if err != nil {
				return e, err
			}
			e.list = append(e.list, sub)
		}
	}
	e.atom = t
	return e, nil
}
