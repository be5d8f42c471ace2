package gateway

import (
	"encoding/binary"
	"math"

	"github.com/redoubt-ml/redoubt/ml/half"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// numbers gives access to the elements of a tensor as float64. It has none for
// BOOL and BYTES, which no rule is about.
type numbers struct {
	n   int
	at  func(i int) float64
	set func(i int, v float64)
}

func numbersOf(t *oip.Tensor) numbers {
	b, order := t.Raw, binary.LittleEndian
	switch t.Datatype {
	case oip.FP32:
		return numbers{len(b) / 4,
			func(i int) float64 { return float64(math.Float32frombits(order.Uint32(b[4*i:]))) },
			func(i int, v float64) { order.PutUint32(b[4*i:], math.Float32bits(float32(v))) }}
	case oip.FP64:
		return numbers{len(b) / 8,
			func(i int) float64 { return math.Float64frombits(order.Uint64(b[8*i:])) },
			func(i int, v float64) { order.PutUint64(b[8*i:], math.Float64bits(v)) }}
	case oip.FP16:
		return numbers{len(b) / 2,
			func(i int) float64 { return float64(half.FromFloat16(order.Uint16(b[2*i:]))) },
			func(i int, v float64) { order.PutUint16(b[2*i:], half.Float16(float32(v))) }}
	case oip.BF16:
		return numbers{len(b) / 2,
			func(i int) float64 { return float64(half.FromBfloat16(order.Uint16(b[2*i:]))) },
			func(i int, v float64) { order.PutUint16(b[2*i:], half.Bfloat16(float32(v))) }}
	case oip.INT8:
		return numbers{len(b),
			func(i int) float64 { return float64(int8(b[i])) },
			func(i int, v float64) { b[i] = byte(int8(v)) }}
	case oip.UINT8:
		return numbers{len(b),
			func(i int) float64 { return float64(b[i]) },
			func(i int, v float64) { b[i] = byte(v) }}
	case oip.INT16:
		return numbers{len(b) / 2,
			func(i int) float64 { return float64(int16(order.Uint16(b[2*i:]))) },
			func(i int, v float64) { order.PutUint16(b[2*i:], uint16(int16(v))) }}
	case oip.UINT16:
		return numbers{len(b) / 2,
			func(i int) float64 { return float64(order.Uint16(b[2*i:])) },
			func(i int, v float64) { order.PutUint16(b[2*i:], uint16(v)) }}
	case oip.INT32:
		return numbers{len(b) / 4,
			func(i int) float64 { return float64(int32(order.Uint32(b[4*i:]))) },
			func(i int, v float64) { order.PutUint32(b[4*i:], uint32(int32(v))) }}
	case oip.UINT32:
		return numbers{len(b) / 4,
			func(i int) float64 { return float64(order.Uint32(b[4*i:])) },
			func(i int, v float64) { order.PutUint32(b[4*i:], uint32(v)) }}
	case oip.INT64:
		return numbers{len(b) / 8,
			func(i int) float64 { return float64(int64(order.Uint64(b[8*i:]))) },
			func(i int, v float64) { order.PutUint64(b[8*i:], uint64(int64(v))) }}
	case oip.UINT64:
		return numbers{len(b) / 8,
			func(i int) float64 { return float64(order.Uint64(b[8*i:])) },
			func(i int, v float64) { order.PutUint64(b[8*i:], uint64(v)) }}
	}
	return numbers{}
}

// rounded is a number as near as a type of floats has it, and as it is for others.
func rounded(t oip.Datatype, v float64) float64 {
	switch t {
	case oip.FP32:
		return float64(float32(v))
	case oip.FP16:
		return float64(half.FromFloat16(half.Float16(float32(v))))
	case oip.BF16:
		return float64(half.FromBfloat16(half.Bfloat16(float32(v))))
	}
	return v
}

// finite reports whether no element of a tensor of floats is infinite, or NaN
// unless those are allowed. It looks at bits, because it runs for every call.
func finite(t *oip.Tensor, missing bool) bool {
	b := t.Raw
	switch t.Datatype {
	case oip.FP16:
		return plain(b, 0x7c00, 0x03ff, missing)
	case oip.BF16:
		return plain(b, 0x7f80, 0x007f, missing)
	case oip.FP32:
		for ; len(b) >= 4; b = b[4:] {
			if v := binary.LittleEndian.Uint32(b); v&0x7f800000 == 0x7f800000 && !(missing && v&0x007fffff != 0) {
				return false
			}
		}
	case oip.FP64:
		for ; len(b) >= 8; b = b[8:] {
			if v := binary.LittleEndian.Uint64(b); v&(0x7ff<<52) == 0x7ff<<52 && !(missing && v&(1<<52-1) != 0) {
				return false
			}
		}
	}
	return true
}

// plain is finite for the types of two bytes.
func plain(b []byte, exponent, mantissa uint16, missing bool) bool {
	for ; len(b) >= 2; b = b[2:] {
		if v := binary.LittleEndian.Uint16(b); v&exponent == exponent && !(missing && v&mantissa != 0) {
			return false
		}
	}
	return true
}
