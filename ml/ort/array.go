package ort

// #include "api.h"
import "C"

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Array is a tensor in memory of its own, outside the garbage collector's,
// that sessions read and write in place. It must be closed.
type Array struct {
	rt    *Runtime
	elem  onnx.DataType
	shape []int64
	data  unsafe.Pointer
	room  int // bytes
	value unsafe.Pointer
}

// elements are the latest element types by the numbers under which the C
// interface of ONNX Runtime reports them, which are not ONNX's. It still takes
// ONNX's numbers where it makes a tensor (1.30 does, and calls what is made
// with its own a mismatch): so this table is for reading only.
var elements = map[C.int]onnx.DataType{24: onnx.Uint2, 25: onnx.Int2, 26: onnx.Float8E8M0}

// elementOf is the number to make a tensor of an element type with.
func elementOf(t onnx.DataType) C.int { return C.int(t) }

// elementType is the element type that the C interface reports by a number.
func elementType(n C.int) onnx.DataType {
	if t, ok := elements[n]; ok {
		return t
	}
	return onnx.DataType(n)
}

// NewArray allocates a zero array of a type with fixed-width elements.
func (rt *Runtime) NewArray(elem onnx.DataType, shape ...int64) (*Array, error) {
	size, err := bytesOf(elem, shape)
	if err != nil {
		return nil, err
	}
	a := &Array{rt: rt, elem: elem, room: size}
	if a.data = C.redoubt_aligned(C.size_t(size)); a.data == nil {
		return nil, fmt.Errorf("allocate %v%v: out of memory", elem, shape)
	}
	if err := a.Reshape(shape...); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func bytesOf(elem onnx.DataType, shape []int64) (int, error) {
	bits := int64(elem.Bits())
	if bits == 0 {
		return 0, fmt.Errorf("allocate %v%v: not a type of fixed width", elem, shape)
	}
	n := (&onnx.Tensor{Dims: shape}).Len()
	if n < 0 || n > (math.MaxInt64-7)/bits {
		return 0, fmt.Errorf("allocate %v%v: impossible shape", elem, shape)
	}
	return int((n*bits + 7) / 8), nil
}

// Reshape gives the array another shape, no larger than it was made with. The
// elements stay where they are: the first ones keep their place.
func (a *Array) Reshape(shape ...int64) error {
	size, err := bytesOf(a.elem, shape)
	if err != nil {
		return err
	}
	if size > a.room {
		return fmt.Errorf("reshape array to %v: larger than it was made", shape)
	}
	if a.value != nil && slices.Equal(shape, a.shape) {
		return nil
	}
	var value unsafe.Pointer
	msg := C.redoubt_wrap(a.rt.api, a.data, C.size_t(size), (*C.int64_t)(unsafe.SliceData(shape)),
		C.size_t(len(shape)), elementOf(a.elem), &value)
	if err := check(msg); err != nil {
		return fmt.Errorf("reshape array to %v: %w", shape, err)
	}
	a.release()
	a.value, a.shape = value, slices.Clone(shape)
	return nil
}

// Shape is the current shape.
func (a *Array) Shape() []int64 { return a.shape }

// Float32 is the memory of a float32 array. It panics on another type.
func (a *Array) Float32() []float32 { return view[float32](a, onnx.Float) }

// Float64 is the memory of a float64 array. It panics on another type.
func (a *Array) Float64() []float64 { return view[float64](a, onnx.Double) }

// Int64 is the memory of an int64 array. It panics on another type.
func (a *Array) Int64() []int64 { return view[int64](a, onnx.Int64) }

// Int32 is the memory of an int32 array. It panics on another type.
func (a *Array) Int32() []int32 { return view[int32](a, onnx.Int32) }

func view[T any](a *Array, want onnx.DataType) []T {
	if a.elem != want {
		panic(fmt.Sprintf("ort: array is %v, not %v", a.elem, want))
	}
	n := (&onnx.Tensor{Dims: a.shape}).Len()
	return unsafe.Slice((*T)(a.data), n)
}

// Close frees the array's memory; slices of it are dead from then on.
func (a *Array) Close() {
	a.release()
	C.free(a.data)
	a.data = nil
}

func (a *Array) release() {
	if a.value != nil {
		C.redoubt_release_values(a.rt.api, &a.value, 1)
		a.value = nil
	}
}
