package remote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/half"
)

// kind is a data type of the Open Inference Protocol.
type kind struct {
	name    string
	size    int // bytes of an element; 0 for words
	float   bool
	signed  bool
	integer bool
	// binaryOnly: the protocol has no JSON form.
	binaryOnly bool
}

// kinds are the types that can be sent and read.
var kinds = []kind{
	{name: "FP32", size: 4, float: true},
	{name: "FP64", size: 8, float: true},
	{name: "FP16", size: 2, float: true, binaryOnly: true},
	{name: "BF16", size: 2, float: true, binaryOnly: true},
	{name: "INT8", size: 1, integer: true, signed: true},
	{name: "INT16", size: 2, integer: true, signed: true},
	{name: "INT32", size: 4, integer: true, signed: true},
	{name: "INT64", size: 8, integer: true, signed: true},
	{name: "UINT8", size: 1, integer: true},
	{name: "UINT16", size: 2, integer: true},
	{name: "UINT32", size: 4, integer: true},
	{name: "UINT64", size: 8, integer: true},
	{name: "BOOL", size: 1, integer: true},
	{name: "BYTES"},
}

func kindOf(name string) (kind, error) {
	for _, k := range kinds {
		if strings.EqualFold(k.name, name) {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("data type %q is not known", excerpt(name))
}

// whole rounds v to the nearest integer that the kind holds.
func (k kind) whole(v float32) int64 {
	bits := 8 * k.size
	lo, hi := 0.0, math.Ldexp(1, min(bits, 63))-1
	if k.signed {
		lo, hi = -math.Ldexp(1, bits-1), math.Ldexp(1, bits-1)-1
	}
	if k.name == "BOOL" {
		hi = 1
	}
	r := math.RoundToEven(float64(v))
	switch {
	case !(r > lo):
		return int64(lo)
	case r >= hi && bits == 64:
		return math.MaxInt64
	case r > hi:
		return int64(hi)
	}
	return int64(r)
}

// appendJSON writes an element as JSON. Shortest digits that give the same
// float32 back lose nothing on the way.
func (k kind) appendJSON(b []byte, v float32) []byte {
	switch {
	case k.name == "BOOL":
		return strconv.AppendBool(b, k.whole(v) != 0)
	case k.integer:
		return strconv.AppendInt(b, k.whole(v), 10)
	}
	return strconv.AppendFloat(b, float64(v), 'g', -1, 32)
}

// appendBinary writes an element in little-endian.
func (k kind) appendBinary(b []byte, v float32) []byte {
	switch {
	case k.name == "FP32":
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	case k.name == "FP64":
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(v)))
	case k.name == "FP16":
		return binary.LittleEndian.AppendUint16(b, half.Float16(v))
	case k.name == "BF16":
		return binary.LittleEndian.AppendUint16(b, half.Bfloat16(v))
	}
	var le [8]byte
	binary.LittleEndian.PutUint64(le[:], uint64(k.whole(v)))
	return append(b, le[:k.size]...)
}

// number reads an element from as many bytes as it has.
func (k kind) number(b []byte) float32 {
	switch k.name {
	case "FP32":
		return math.Float32frombits(binary.LittleEndian.Uint32(b))
	case "FP64":
		return float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case "FP16":
		return half.FromFloat16(binary.LittleEndian.Uint16(b))
	case "BF16":
		return half.FromBfloat16(binary.LittleEndian.Uint16(b))
	}
	var le [8]byte
	copy(le[:], b)
	u := binary.LittleEndian.Uint64(le[:])
	if k.signed {
		shift := 64 - 8*k.size
		return float32(int64(u<<shift) >> shift)
	}
	return float32(u)
}

// values are numbers or words as they stood in JSON, in order.
type values struct {
	numbers []float32
	words   []string
	// fraction is set when a number has a point, an exponent, or is none.
	fraction bool
}

// flat reads all numbers or all words of valid JSON, however deep its arrays
// are; null stands for a number that is none, as some servers write it.
func flat(raw []byte) (*values, error) {
	v := &values{}
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case strings.IndexByte(" \t\r\n[],", c) >= 0:
			i++
		case c == '"':
			end := i + 1
			for ; end < len(raw) && raw[end] != '"'; end++ {
				if raw[end] == '\\' {
					end++
				}
			}
			var s string
			if end >= len(raw) || json.Unmarshal(raw[i:end+1], &s) != nil {
				return nil, errors.New("a word that does not end")
			}
			v.words, i = append(v.words, s), end+1
		case c == '{':
			return nil, errors.New("an object where numbers or words were expected: name the member with --response, such as predictions[*].scores")
		default:
			end := i
			for end < len(raw) && strings.IndexByte(" \t\r\n[],{}\"", raw[end]) < 0 {
				end++
			}
			if err := v.add(string(raw[i:end])); err != nil {
				return nil, err
			}
			i = end
		}
	}
	if len(v.words) > 0 && len(v.numbers) > 0 {
		return nil, errors.New("numbers and words together")
	}
	return v, nil
}

// add reads a number, or what stands for one.
func (v *values) add(literal string) error {
	switch literal {
	case "null":
		v.numbers, v.fraction = append(v.numbers, float32(math.NaN())), true
		return nil
	case "true", "false":
		v.numbers = append(v.numbers, map[string]float32{"true": 1}[literal])
		return nil
	}
	f, err := strconv.ParseFloat(literal, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is not a number", excerpt(literal))
	}
	v.numbers = append(v.numbers, float32(f))
	v.fraction = v.fraction || strings.ContainsAny(literal, ".eE")
	return nil
}
