// Package vnnlib reads properties of networks in VNN-LIB, the language of the
// verification competitions (vnnlib.org, version 1).
//
// A property is a box of inputs and linear constraints on the outputs,
// together describing what must not happen.
//
//	p, err := vnnlib.Read("prop.vnnlib")
//
// Looking for a point where it does happen is package assess/falsify; proving
// that there is none, package defend/certify.
package vnnlib

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Limits on property files, far above those of the competitions.
const (
	maxFile      = 64 << 20
	maxVariables = 4 << 20
	maxCases     = 4096
	maxDepth     = 64
)

// Property describes, as a disjunction of cases, what must not happen.
type Property struct {
	Inputs, Outputs int
	Cases           []Case
}

// Case is a box of inputs and a conjunction of constraints on the outputs:
// W[c] . y + B[c] >= 0 for every c.
type Case struct {
	Lo, Hi []float64
	W      [][]float64 // each of Outputs
	B      []float64
}

// Slack is the least of the constraints' left sides at outputs y: not negative
// where the case holds.
func (c *Case) Slack(y []float32) float64 {
	least := math.Inf(1)
	for i, w := range c.W {
		sum := c.B[i]
		for j, v := range w {
			if v != 0 {
				sum += v * float64(y[j])
			}
		}
		if !(sum >= least) {
			least = sum
		}
	}
	return least
}

// Read reads a VNN-LIB file, gunzipped if its name ends in .gz.
func Read(path string) (*Property, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read property: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("read property %s: %w", path, err)
		}
	}
	p, err := Parse(r)
	if err != nil {
		return nil, fmt.Errorf("read property %s: %w", path, err)
	}
	return p, nil
}

// Parse reads VNN-LIB: declare-const of X_i and Y_i, and assert of
// <=, >=, < and > between linear terms, joined by and and or. Strict and weak
// comparisons are one. Every input must be bounded on both sides, and no
// constraint may mix inputs and outputs or several inputs.
func Parse(r io.Reader) (*Property, error) {
	lr := &io.LimitedReader{R: r, N: maxFile + 1}
	s := &scanner{r: bufio.NewReader(lr), line: 1}
	p := &parser{}
	formula := expression{list: []expression{{atom: "and"}}}
	for {
		e, err := s.expression(0)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if lr.N == 0 {
			return nil, fmt.Errorf("larger than %d bytes", maxFile)
		}
		switch e.head() {
		case "declare-const":
			if err := p.declare(e); err != nil {
				return nil, err
			}
		case "assert":
			if len(e.list) != 2 {
				return nil, e.errorf("assert takes one formula")
			}
			formula.list = append(formula.list, e.list[1])
		default:
			return nil, e.errorf("want declare-const or assert, got %q", e.head())
		}
	}
	return p.property(formula)
}

type parser struct{ inputs, outputs int }

func (p *parser) declare(e expression) error {
	if len(e.list) != 3 {
		return e.errorf("want (declare-const NAME Real)")
	}
	input, i, err := variable(e.list[1])
	if err != nil {
		return err
	}
	n := &p.outputs
	if input {
		n = &p.inputs
	}
	*n = max(*n, i+1)
	return nil
}

// variable reads X_i or Y_i.
func variable(e expression) (input bool, i int, err error) {
	name, digits, ok := strings.Cut(e.atom, "_")
	i, err = strconv.Atoi(digits)
	if !ok || err != nil || i < 0 || i >= maxVariables || name != "X" && name != "Y" {
		return false, 0, e.errorf("%q is no variable: want X_i or Y_i", e.atom)
	}
	return name == "X", i, nil
}

// linear is sum of coefficients times variables, plus a constant.
type linear struct {
	x, y     map[int]float64
	constant float64
}

func (p *parser) linear(e expression) (linear, error) {
	l := linear{map[int]float64{}, map[int]float64{}, 0}
	if e.list == nil {
		if v, err := strconv.ParseFloat(e.atom, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			l.constant = v
			return l, nil
		}
		input, i, err := variable(e)
		switch {
		case err != nil:
			return l, err
		case input && i < p.inputs:
			l.x[i] = 1
		case !input && i < p.outputs:
			l.y[i] = 1
		default:
			return l, e.errorf("%s is not declared", e.atom)
		}
		return l, nil
	}
	if len(e.list) < 2 {
		return l, e.errorf("an empty term")
	}
	var terms []linear
	for _, sub := range e.list[1:] {
		t, err := p.linear(sub)
		if err != nil {
			return l, err
		}
		terms = append(terms, t)
	}
	switch e.head() {
	case "+":
		for _, t := range terms {
			l.add(t, 1)
		}
		return l, nil
	case "-":
		if len(terms) == 1 {
			l.add(terms[0], -1)
			return l, nil
		}
		l.add(terms[0], 1)
		for _, t := range terms[1:] {
			l.add(t, -1)
		}
		return l, nil
	case "*":
		scale := 1.0
		varying := -1
		for i, t := range terms {
			if len(t.x)+len(t.y) == 0 {
				scale *= t.constant
			} else if varying >= 0 {
				return l, e.errorf("a product of variables is not linear")
			} else {
				varying = i
			}
		}
		if varying < 0 {
			l.constant = scale
		} else {
			l.add(terms[varying], scale)
		}
		return l, nil
	}
	return l, e.errorf("unknown operator %q: want +, - or *", e.head())
}

func (l *linear) add(t linear, k float64) {
	for i, v := range t.x {
		l.x[i] += k * v
	}
	for i, v := range t.y {
		l.y[i] += k * v
	}
	l.constant += k * t.constant
}

// clause is a conjunction of linear terms that are not negative.
type clause []linear

// cases brings a formula into disjunctive form.
func (p *parser) cases(e expression) ([]clause, error) {
	switch e.head() {
	case "and":
		out := []clause{nil}
		for _, sub := range e.list[1:] {
			more, err := p.cases(sub)
			if err != nil {
				return nil, err
			}
			if out, err = product(e, out, more); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "or":
		var out []clause
		for _, sub := range e.list[1:] {
			more, err := p.cases(sub)
			if err != nil {
				return nil, err
			}
			if out = append(out, more...); len(out) > maxCases {
				return nil, e.errorf("more than %d cases", maxCases)
			}
		}
		return out, nil
	case "<=", "<", ">=", ">":
		if len(e.list) != 3 {
			return nil, e.errorf("a comparison takes two terms")
		}
		a, err := p.linear(e.list[1])
		if err != nil {
			return nil, err
		}
		b, err := p.linear(e.list[2])
		if err != nil {
			return nil, err
		}
		if e.head()[0] == '<' {
			a, b = b, a
		}
		a.add(b, -1)
		return []clause{{a}}, nil
	}
	return nil, e.errorf("unknown connective %q: want and, or, <=, >=", e.head())
}

func product(e expression, a, b []clause) ([]clause, error) {
	if len(b) == 1 { // the common case, without copying
		for i := range a {
			a[i] = append(a[i], b[0]...)
		}
		return a, nil
	}
	if len(a)*len(b) > maxCases {
		return nil, e.errorf("more than %d cases", maxCases)
	}
	var out []clause
	for _, x := range a {
		for _, y := range b {
			out = append(out, slices.Concat(x, y))
		}
	}
	return out, nil
}

func (p *parser) property(formula expression) (*Property, error) {
	if p.inputs == 0 || p.outputs == 0 {
		return nil, fmt.Errorf("it declares %d inputs and %d outputs: want both", p.inputs, p.outputs)
	}
	// Disjunctions last: the bounds of thousands of inputs are then collected
	// once and shared.
	slices.SortStableFunc(formula.list[1:], func(a, b expression) int { return boolInt(a.head() == "or") - boolInt(b.head() == "or") })
	clauses, err := p.cases(formula)
	if err != nil {
		return nil, err
	}
	out := &Property{Inputs: p.inputs, Outputs: p.outputs}
	for _, c := range clauses {
		k, err := p.single(c)
		if err != nil {
			return nil, err
		}
		if k != nil {
			out.Cases = append(out.Cases, *k)
		}
	}
	return out, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// single turns a conjunction into a case; nil if its box is empty.
func (p *parser) single(c clause) (*Case, error) {
	k := &Case{Lo: fill(p.inputs, math.Inf(-1)), Hi: fill(p.inputs, math.Inf(1))}
	for _, l := range c {
		switch {
		case len(l.x) == 1 && len(l.y) == 0:
			for i, a := range l.x {
				bound := -l.constant / a
				if a > 0 {
					k.Lo[i] = math.Max(k.Lo[i], bound)
				} else if a < 0 {
					k.Hi[i] = math.Min(k.Hi[i], bound)
				}
			}
		case len(l.x) == 0 && len(l.y) > 0:
			w := make([]float64, p.outputs)
			for i, a := range l.y {
				w[i] = a
			}
			k.W, k.B = append(k.W, w), append(k.B, l.constant)
		case len(l.x) == 0:
			if l.constant < 0 {
				return nil, nil
			}
		default:
			return nil, fmt.Errorf("a constraint over several inputs, or over inputs and outputs, is not supported")
		}
	}
	for i := range k.Lo {
		if math.IsInf(k.Lo[i], 0) || math.IsInf(k.Hi[i], 0) {
			return nil, fmt.Errorf("input X_%d is not bounded on both sides", i)
		}
		if k.Lo[i] > k.Hi[i] {
			return nil, nil
		}
	}
	if len(k.W) == 0 {
		return nil, fmt.Errorf("a case does not constrain the outputs")
	}
	return k, nil
}

func fill(n int, v float64) []float64 {
	return slices.Repeat([]float64{v}, n)
}
