// Package half converts the two floating-point types of 16 bits, which Go does
// not have: float16 (IEEE 754 binary16) and bfloat16 (the upper half of a
// float32).
//
//	bits := half.Float16(1.5)     // 0x3e00
//	v := half.FromFloat16(bits)   // 1.5
package half

import "math"

// Float16 is the nearest float16, ties to even, in its bits. What is too large
// becomes infinite.
func Float16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, a := uint16(b>>16)&0x8000, b&0x7fffffff
	switch {
	case a > 0x7f800000:
		return sign | 0x7e00 // NaN
	case a >= 0x477ff000: // half-way from the largest, 65504, to 65536
		return sign | 0x7c00
	case a < 0x38800000: // subnormal: in units of 2^-24; 1024 of them carry into the normal ones
		return sign | uint16(math.RoundToEven(math.Abs(float64(v))*(1<<24)))
	}
	a -= 112 << 23 // from the exponent's bias of 127 to 15
	a += 0xfff + a>>13&1
	return sign | uint16(a>>13)
}

// FromFloat16 is the value of a float16, which float32 holds exactly.
func FromFloat16(bits uint16) float32 {
	exponent, mantissa := int(bits>>10&0x1f), float64(bits&0x3ff)
	v := math.Ldexp(mantissa, -24)
	switch {
	case exponent == 0x1f && mantissa == 0:
		v = math.Inf(1)
	case exponent == 0x1f:
		v = math.NaN()
	case exponent > 0:
		v = math.Ldexp(mantissa+1024, exponent-25)
	}
	if bits&0x8000 != 0 {
		v = -v
	}
	return float32(v)
}

// Bfloat16 is the nearest bfloat16, ties to even, in its bits.
func Bfloat16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40 // still NaN without the lower half
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBfloat16 is the value of a bfloat16.
func FromBfloat16(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }
