package oip

import (
	"math"
	"strconv"
)

// span is a part of the input, by its first byte and the byte behind it. It is
// no slice because storing one costs a write barrier for each number.
type span struct{ from, to int }

// of is the part's bytes.
func (p span) of(b []byte) []byte { return b[p.from:p.to] }

// decimal is a number as it stood in JSON: ±mantissa × 10^exponent.
type decimal struct {
	text     span
	mantissa uint64
	exponent int
	negative bool
	fraction bool // written with a point or an exponent
	// exact is false where mantissa and exponent do not say it all: more than
	// 19 digits, or an exponent beyond any float's.
	exact bool
}

// number reads a number. The result is valid until the next is read.
func (s *scanner) number() (*decimal, error) {
	s.space()
	b, start := s.b, s.i
	d := &s.num
	*d = decimal{exact: true}
	if s.at('-') {
		d.negative = true
		s.i++
	}
	first := s.i
	s.digits(d, 0)
	switch {
	case s.i == first:
		return d, s.syntax("expected a number")
	case b[first] == '0' && s.i-first > 1:
		return d, s.syntax("a number that begins with 0")
	}
	if s.at('.') {
		s.i++
		point := s.i
		s.digits(d, -1)
		if d.fraction = true; s.i == point {
			return d, s.syntax("a number without digits behind its point")
		}
	}
	if s.at('e') || s.at('E') {
		if d.fraction = true; !s.power(d) {
			return d, s.syntax("a number without digits in its exponent")
		}
	}
	d.text = span{start, s.i}
	return d, nil
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

// digits reads digits into the mantissa; each moves the exponent by shift.
func (s *scanner) digits(d *decimal, shift int) {
	m, i := d.mantissa, s.i
	for ; i < len(s.b); i++ {
		c := s.b[i] - '0'
		if c > 9 {
			break
		}
		if m >= 1e18 { // one more digit may not fit
			d.exact = false
			continue
		}
		m = 10*m + uint64(c)
		d.exponent += shift
	}
	d.mantissa, s.i = m, i
}

// power reads an exponent and reports whether it has digits.
func (s *scanner) power(d *decimal) bool {
	s.i++
	negative := s.at('-')
	if negative || s.at('+') {
		s.i++
	}
	start, e := s.i, 0
	for ; s.i < len(s.b) && s.b[s.i]-'0' <= 9; s.i++ {
		if e = 10*e + int(s.b[s.i]-'0'); e > 10_000 {
			d.exact = false
			e = 10_000
		}
	}
	if negative {
		e = -e
	}
	d.exponent += e
	return s.i > start
}

// powers are the powers of ten that a float64 holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10,
	1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// scaled is mantissa × 10^exponent after one rounding of the mantissa and one
// of the product; ok is false where more roundings would be needed.
func (d *decimal) scaled() (f float64, ok bool) {
	if !d.exact || d.exponent < -22 || d.exponent > 22 {
		return 0, false
	}
	f = float64(d.mantissa)
	if d.exponent < 0 {
		f /= powers[-d.exponent]
	} else {
		f *= powers[d.exponent]
	}
	if d.negative {
		f = -f
	}
	return f, true
}

// float64 is the nearest float64, ties to even; ok is false beyond its range.
func (d *decimal) float64(input []byte) (float64, bool) {
	if d.mantissa <= 1<<53 { // held exactly, so that scaled rounds once
		if f, ok := d.scaled(); ok {
			return f, true
		}
	}
	f, err := strconv.ParseFloat(string(d.text.of(input)), 64)
	return f, err == nil
}

// float32 is the nearest float32, ties to even; ok is false beyond its range.
//
// It rounds the scaled float64 to a float32. That is within 1.5 units in the
// last of its 53 places, so rounding it gives the nearest float32 unless it
// lies that close to the middle between two: then, and where float32 is
// subnormal or overflows, the exact way is gone.
func (d *decimal) float32(input []byte) (float32, bool) {
	if f, ok := d.scaled(); ok {
		const middle, near = 1 << 28, 4 // of the 29 places that float32 lacks
		low := math.Float64bits(f) & (1<<29 - 1)
		clear := low < middle-near || low > middle+near
		if a := math.Abs(f); a == 0 || clear && a >= 0x1p-125 && a < 0x1p127 {
			return float32(f), true
		}
	}
	f, err := strconv.ParseFloat(string(d.text.of(input)), 32)
	return float32(f), err == nil
}

// integer is the two's complement of a whole number of so many bytes; ok is
// false where the number is none, or beyond the range.
func (d *decimal) integer(input []byte, size int, signed bool) (bits uint64, ok bool) {
	if d.fraction {
		return 0, false
	}
	m := d.mantissa
	if !d.exact { // 19 or 20 digits, or too many
		var err error
		if m, err = strconv.ParseUint(string(trimMinus(d.text.of(input))), 10, 64); err != nil {
			return 0, false
		}
	}
	most := uint64(1)<<(8*size-1) - 1 // of the positive ones
	switch {
	case !signed && d.negative:
		return 0, m == 0
	case !signed:
		return m, m <= 2*most+1
	case d.negative:
		return -m, m <= most+1
	}
	return m, m <= most
}

func trimMinus(b []byte) []byte {
	if b[0] == '-' {
		return b[1:]
	}
	return b
}
