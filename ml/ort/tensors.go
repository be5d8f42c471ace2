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
	got, err := s.call(ctx, in)
	if err != nil {
		return nil, err
	}
	defer got.release()
	out := make(map[string]*onnx.Tensor, len(s.outputs))
	for i, name := range s.outputs {
		t, err := s.rt.read(got.values[i], &got.views[i])
		if err != nil {
			return nil, fmt.Errorf("read output %q: %w", name, err)
		}
		t.Name = name
		out[name] = t
	}
	return out, nil
}

// made are the outputs of a run, in the library's memory.
type made struct {
	rt     *Runtime
	values []unsafe.Pointer
	views  []C.redoubt_view
}

func (m made) release() {
	for i := range m.views {
		if failed := m.views[i].failed; failed != nil {
			C.free(unsafe.Pointer(failed))
		}
	}
	m.rt.release(m.values)
}

// call runs the session on inputs by name.
func (s *Session) call(ctx context.Context, in map[string]*onnx.Tensor) (made, error) {
	for name := range in {
		if !slices.Contains(s.inputs, name) {
			return made{}, fmt.Errorf("run model: it has no input %q, only %q", name, s.inputs)
		}
	}
	tensors := make([]*onnx.Tensor, len(s.inputs))
	for i, name := range s.inputs {
		if tensors[i] = in[name]; tensors[i] == nil {
			return made{}, fmt.Errorf("run model: input %q is missing", name)
		}
	}
	args := make([]unsafe.Pointer, len(s.inputs))
	defer s.rt.release(args)
	if err := s.write(tensors, args); err != nil {
		return made{}, err
	}
	out := made{s.rt, make([]unsafe.Pointer, len(s.outputs)), make([]C.redoubt_view, len(s.outputs))}
	if err := s.run(ctx, args, out.values, out.views); err != nil {
		out.release()
		return made{}, err
	}
	return out, nil
}

func (rt *Runtime) release(values []unsafe.Pointer) {
	C.redoubt_release_values(rt.api, unsafe.SliceData(values), C.size_t(len(values)))
}

// write copies the inputs into memory of the library's, and enters them in values.
func (s *Session) write(tensors []*onnx.Tensor, values []unsafe.Pointer) error {
	var few [32]C.int64_t
	shapes := few[:0]
	for i, t := range tensors {
		if err := complete(t); err != nil {
			return fmt.Errorf("pass input %q: %w", s.inputs[i], err)
		}
		shapes = append(shapes, C.int64_t(elementOf(t.Type)), C.int64_t(len(t.Dims)))
		for _, d := range t.Dims {
			shapes = append(shapes, C.int64_t(d))
		}
	}
	data := make([]unsafe.Pointer, len(tensors))
	if err := check(C.redoubt_alloc(s.rt.api, unsafe.SliceData(shapes), C.size_t(len(tensors)), unsafe.SliceData(values), unsafe.SliceData(data))); err != nil {
		return fmt.Errorf("pass inputs: %w", err)
	}
	for i, t := range tensors {
		if t.Type == onnx.String {
			if err := s.rt.fill(values[i], t.Strings); err != nil {
				return fmt.Errorf("pass input %q: %w", s.inputs[i], err)
			}
		}
		copy(unsafe.Slice((*byte)(data[i]), len(t.Raw)), t.Raw)
	}
	return nil
}

// complete reports whether a tensor has the elements of its shape.
func complete(t *onnx.Tensor) error {
	if t.Len() < 0 {
		return fmt.Errorf("impossible shape %v", t.Dims)
	}
	size, err := bytesOf(max(t.Type, onnx.Float), t.Dims)
	if t.Type == onnx.String {
		size, err = 0, nil
	}
	if err != nil {
		return err
	}
	if size != len(t.Raw) || t.Type == onnx.String && int64(len(t.Strings)) != t.Len() {
		return fmt.Errorf("%v%v wants %d bytes, has %d", t.Type, t.Dims, size, len(t.Raw))
	}
	return nil
}

// fill sets the elements of a tensor of strings.
func (rt *Runtime) fill(v unsafe.Pointer, text [][]byte) error {
	if len(text) == 0 {
		return nil
	}
	ptrs := make([]*C.char, len(text))
	for i, s := range text {
		ptrs[i] = C.CString(string(s))
		defer C.free(unsafe.Pointer(ptrs[i]))
	}
	return check(C.redoubt_set_strings(rt.api, v, &ptrs[0], C.size_t(len(ptrs))))
}

// Kinds of OrtValue.
const kindTensor = 1

var kinds = map[C.int]string{0: "nothing", 2: "a sequence", 3: "a map", 4: "opaque", 5: "a sparse tensor", 6: "an optional"}

// shape is the type and shape of a value, which must be a dense tensor.
func (rt *Runtime) shape(v unsafe.Pointer, seen *C.redoubt_view) (onnx.Shape, error) {
	if seen.failed != nil {
		return onnx.Shape{}, errorOf(seen.failed)
	}
	if seen.kind != kindTensor {
		return onnx.Shape{}, fmt.Errorf("it is %s, only dense tensors are supported", kinds[seen.kind])
	}
	dims := make([]int64, seen.rank)
	if seen.rank > C.redoubt_rank { // ONNX Runtime itself has kernels for no more; a few copy more
		err := check(C.redoubt_dims(rt.api, v, (*C.int64_t)(&dims[0]), seen.rank))
		return onnx.Shape{Elem: elementType(seen._type), Dims: dims}, err
	}
	for i := range dims {
		dims[i] = int64(seen.dims[i])
	}
	return onnx.Shape{Elem: elementType(seen._type), Dims: dims}, nil
}

// read copies a value out of the library's memory.
func (rt *Runtime) read(v unsafe.Pointer, seen *C.redoubt_view) (*onnx.Tensor, error) {
	sh, err := rt.shape(v, seen)
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
	copy(t.Raw, unsafe.Slice((*byte)(seen.data), size))
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
