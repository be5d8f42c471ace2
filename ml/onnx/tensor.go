package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
)

// DataType is TensorProto.DataType: the element type of a tensor.
type DataType int32

// The element types of the ONNX standard.
const (
	Undefined      DataType = 0
	Float          DataType = 1
	Uint8          DataType = 2
	Int8           DataType = 3
	Uint16         DataType = 4
	Int16          DataType = 5
	Int32          DataType = 6
	Int64          DataType = 7
	String         DataType = 8
	Bool           DataType = 9
	Float16        DataType = 10
	Double         DataType = 11
	Uint32         DataType = 12
	Uint64         DataType = 13
	Complex64      DataType = 14
	Complex128     DataType = 15
	BFloat16       DataType = 16
	Float8E4M3FN   DataType = 17
	Float8E4M3FNUZ DataType = 18
	Float8E5M2     DataType = 19
	Float8E5M2FNUZ DataType = 20
	Uint4          DataType = 21
	Int4           DataType = 22
	Float4E2M1     DataType = 23
	Float8E8M0     DataType = 24
	Uint2          DataType = 25
	Int2           DataType = 26
)

var dataTypes = map[DataType]struct {
	name string
	bits int
}{
	Float: {"float32", 32}, Uint8: {"uint8", 8}, Int8: {"int8", 8}, Uint16: {"uint16", 16},
	Int16: {"int16", 16}, Int32: {"int32", 32}, Int64: {"int64", 64}, String: {"string", 0},
	Bool: {"bool", 8}, Float16: {"float16", 16}, Double: {"float64", 64}, Uint32: {"uint32", 32},
	Uint64: {"uint64", 64}, Complex64: {"complex64", 64}, Complex128: {"complex128", 128},
	BFloat16: {"bfloat16", 16}, Float8E4M3FN: {"float8e4m3fn", 8}, Float8E4M3FNUZ: {"float8e4m3fnuz", 8},
	Float8E5M2: {"float8e5m2", 8}, Float8E5M2FNUZ: {"float8e5m2fnuz", 8}, Uint4: {"uint4", 4},
	Int4: {"int4", 4}, Float4E2M1: {"float4e2m1", 4}, Float8E8M0: {"float8e8m0", 8},
	Uint2: {"uint2", 2}, Int2: {"int2", 2},
}

func (t DataType) String() string {
	if d, ok := dataTypes[t]; ok {
		return d.name
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Bits is the width of one element, 0 for strings and unknown types. Elements
// narrower than a byte are packed, the first in the low bits.
func (t DataType) Bits() int { return dataTypes[t].bits }

// IsFloat reports whether gradients can flow through values of this type.
func (t DataType) IsFloat() bool {
	return t == Float || t == Double || t == Float16 || t == BFloat16
}

// Tensor is a TensorProto: a dense array of any element type.
//
// However the file stored it (raw bytes, typed lists, another file), Raw holds
// the elements little-endian and packed, and Strings holds those of a string
// tensor.
type Tensor struct {
	Name     string
	Doc      string
	Type     DataType
	Dims     []int64
	Raw      []byte
	Strings  [][]byte
	Metadata []Property

	external *external // set between decoding and loading
	unknown  []byte
}

// Len is the number of elements that the dimensions ask for; a tensor without
// dimensions is a scalar and has one. It is -1 if a dimension is negative or
// the product exceeds an int64.
func (t *Tensor) Len() int64 { return count(t.Dims) }

func count(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > 0 && n > math.MaxInt64/d {
			return -1
		}
		n *= d
	}
	return n
}

// size is the number of bytes that n elements of a type take, -1 on overflow.
func (t DataType) size(n int64) int64 {
	b := int64(t.Bits())
	if n < 0 || b > 0 && n > (math.MaxInt64-7)/b {
		return -1
	}
	return (n*b + 7) / 8
}

// Floats returns the elements of a float32 tensor as a new slice. It panics on
// any other type: the caller knows what it holds.
func (t *Tensor) Floats() []float32 {
	t.must(Float)
	v := make([]float32, len(t.Raw)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Raw[4*i:]))
	}
	return v
}

// Ints returns the elements of an int64 or int32 tensor as a new slice. It
// panics on any other type.
func (t *Tensor) Ints() []int64 {
	if t.Type == Int32 {
		v := make([]int64, len(t.Raw)/4)
		for i := range v {
			v[i] = int64(int32(binary.LittleEndian.Uint32(t.Raw[4*i:])))
		}
		return v
	}
	t.must(Int64)
	v := make([]int64, len(t.Raw)/8)
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(t.Raw[8*i:]))
	}
	return v
}

func (t *Tensor) must(want DataType) {
	if t.Type != want {
		panic(fmt.Sprintf("onnx: tensor %q is %v, not %v", t.Name, t.Type, want))
	}
}

// FloatTensor makes a float32 tensor. No dimensions make a scalar.
func FloatTensor(name string, data []float32, dims ...int64) *Tensor {
	raw := make([]byte, 4*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return newTensor(name, Float, raw, dims)
}

// IntTensor makes an int64 tensor. No dimensions make a scalar.
func IntTensor(name string, data []int64, dims ...int64) *Tensor {
	raw := make([]byte, 8*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint64(raw[8*i:], uint64(v))
	}
	return newTensor(name, Int64, raw, dims)
}

// RawTensor makes a tensor of any type over the given little-endian bytes,
// which it keeps.
func RawTensor(name string, t DataType, raw []byte, dims ...int64) *Tensor {
	return newTensor(name, t, raw, dims)
}

func newTensor(name string, typ DataType, raw []byte, dims []int64) *Tensor {
	t := &Tensor{Name: name, Type: typ, Raw: raw, Dims: dims}
	if typ.size(t.Len()) != int64(len(raw)) {
		panic(fmt.Sprintf("onnx: tensor %q of %v%v wants %d bytes, has %d", name, typ, dims, typ.size(t.Len()), len(raw)))
	}
	return t
}
