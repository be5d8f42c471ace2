package ort

// #include "api.h"
import "C"

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// RunTensors runs the session once on tensors of any element type, by name.
// Every input must be given. An output that is not a dense tensor (a sequence,
// a map, an optional) is refused by name.
func (s *Session) RunTensors(ctx context.Context, in map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
	values, err := s.call(ctx, in)
	if err != nil {
		return nil, err
	}
	defer s.release(values)
	out := make(map[string]*onnx.Tensor, len(values))
	for i, v := range values {
		t, err := s.rt.read(v)
		if err != nil {
			return nil, fmt.Errorf("read output %q: %w", s.outputs[i], err)
		}
		t.Name = s.outputs[i]
		out[t.Name] = t
	}
	return out, nil
}

// call runs the session on inputs by name and returns its outputs' values.
func (s *Session) call(ctx context.Context, in map[string]*onnx.Tensor) ([]unsafe.Pointer, error) {
	for name := range in {
		if !slices.Contains(s.inputs, name) {
			return nil, fmt.Errorf("run model: it has no input %q, only %q", name, s.inputs)
		}
	}
	args := make([]unsafe.Pointer, len(s.inputs))
	defer func() { s.release(args) }()
	for i, name := range s.inputs {
		t, ok := in[name]
		if !ok {
			return nil, fmt.Errorf("run model: input %q is missing", name)
		}
		v, err := s.rt.write(t)
		if err != nil {
			return nil, fmt.Errorf("pass input %q: %w", name, err)
		}
		args[i] = v
	}
	out := make([]unsafe.Pointer, len(s.outputs))
	if err := s.run(ctx, args, out); err != nil {
		s.release(out)
		return nil, err
	}
	return out, nil
}

func (s *Session) release(values []unsafe.Pointer) {
	for _, v := range values {
		if v != nil {
			C.redoubt_release_value(s.rt.api, v)
		}
	}
}

// write copies a tensor into memory of the library's.
func (rt *Runtime) write(t *onnx.Tensor) (unsafe.Pointer, error) {
	if t.Len() < 0 {
		return nil, fmt.Errorf("impossible shape %v", t.Dims)
	}
	size, err := bytesOf(max(t.Type, onnx.Float), t.Dims)
	if t.Type == onnx.String {
		size, err = 0, nil
	}
	if err != nil {
		return nil, err
	}
	if size != len(t.Raw) || t.Type == onnx.String && int64(len(t.Strings)) != t.Len() {
		return nil, fmt.Errorf("%v%v wants %d bytes, has %d", t.Type, t.Dims, size, len(t.Raw))
	}
	var v unsafe.Pointer
	msg := C.redoubt_alloc(rt.api, (*C.int64_t)(unsafe.SliceData(t.Dims)), C.size_t(len(t.Dims)), elementOf(t.Type), &v)
	if err := check(msg); err != nil {
		return nil, err
	}
	if err := rt.fill(v, t); err != nil {
		C.redoubt_release_value(rt.api, v)
		return nil, err
	}
	return v, nil
}

func (rt *Runtime) fill(v unsafe.Pointer, t *onnx.Tensor) error {
	if t.Type == onnx.String {
		if len(t.Strings) == 0 {
			return nil
		}
		ptrs := make([]*C.char, len(t.Strings))
		for i, s := range t.Strings {
			ptrs[i] = C.CString(string(s))
			defer C.free(unsafe.Pointer(ptrs[i]))
		}
		return check(C.redoubt_set_strings(rt.api, v, &ptrs[0], C.size_t(len(ptrs))))
	}
	var data unsafe.Pointer
	if err := check(C.redoubt_data(rt.api, v, &data)); err != nil {
		return err
	}
	copy(unsafe.Slice((*byte)(data), len(t.Raw)), t.Raw)
	return nil
}

// ONNX Runtime itself has kernels for up to this many dimensions; a few copy more.
const usualRank = 8

// Kinds of OrtValue.
const kindTensor = 1

var kinds = map[C.int]string{0: "nothing", 2: "a sequence", 3: "a map", 4: "opaque", 5: "a sparse tensor", 6: "an optional"}

// shape reads the type and shape of a value, which must be a dense tensor.
func (rt *Runtime) shape(v unsafe.Pointer) (onnx.Shape, error) {
	// What C is pointed at lives on the heap: one small piece for nearly all.
	var got struct {
		kind, elem C.int
		rank       C.size_t
		dims       [usualRank]C.int64_t
	}
	if err := check(C.redoubt_kind(rt.api, v, &got.kind)); err != nil {
		return onnx.Shape{}, err
	}
	if got.kind != kindTensor {
		return onnx.Shape{}, fmt.Errorf("it is %s, only dense tensors are supported", kinds[got.kind])
	}
	if err := check(C.redoubt_shape(rt.api, v, &got.elem, &got.dims[0], usualRank, &got.rank)); err != nil {
		return onnx.Shape{}, err
	}
	dims := got.dims[:]
	if got.rank > usualRank {
		dims = make([]C.int64_t, got.rank)
		if err := check(C.redoubt_shape(rt.api, v, &got.elem, &dims[0], got.rank, &got.rank)); err != nil {
			return onnx.Shape{}, err
		}
	}
	sh := onnx.Shape{Elem: elementType(got.elem), Dims: make([]int64, got.rank)}
	for i := range sh.Dims {
		sh.Dims[i] = int64(dims[i])
	}
	return sh, nil
}

// read copies a value out of the library's memory.
func (rt *Runtime) read(v unsafe.Pointer) (*onnx.Tensor, error) {
	sh, err := rt.shape(v)
	if err != nil {
		return nil, err
	}
	t := &onnx.Tensor{Type: sh.Elem, Dims: sh.Dims}
	if t.Type == onnx.String {
		t.Strings, err = rt.strings(v, int(t.Len()))
		return t, err
	}
	size, err := bytesOf(t.Type, t.Dims)
	if err != nil {
		return nil, err
	}
	t.Raw = make([]byte, size)
	if size == 0 {
		return t, nil
	}
	var data unsafe.Pointer
	if err := check(C.redoubt_data(rt.api, v, &data)); err != nil {
		return nil, err
	}
	copy(t.Raw, unsafe.Slice((*byte)(data), size))
	return t, nil
}

func (rt *Runtime) strings(v unsafe.Pointer, n int) ([][]byte, error) {
	if n == 0 {
		return nil, nil
	}
	var size C.size_t
	if err := check(C.redoubt_strings_len(rt.api, v, &size)); err != nil {
		return nil, err
	}
	buf, offsets := make([]byte, int(size)+1), make([]C.size_t, n+1)
	if err := check(C.redoubt_strings(rt.api, v, unsafe.Pointer(&buf[0]), size, &offsets[0], C.size_t(n))); err != nil {
		return nil, err
	}
	offsets[n] = size
	out := make([][]byte, n)
	for i := range out {
		out[i] = buf[offsets[i]:offsets[i+1]:offsets[i+1]]
	}
	return out, nil
}
