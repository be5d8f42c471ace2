package onnx

import (
	"fmt"
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a protobuf message as it stands in the file.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	bits uint64 // the value of a varint, fixed32 or fixed64
	data []byte // the content of a length-delimited field
	raw  []byte // the whole field with its tag, to be kept when unknown
}

// fieldError says that a known field is encoded in an unexpected way.
func (f field) fieldError() error {
	return fmt.Errorf("field %d has wire type %d, which the ONNX format does not use there; the file is damaged or not ONNX", f.num, f.typ)
}

// walk calls visit for every field of a message in the order of the file.
func walk(message []byte, visit func(field) error) error {
	for b := message; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		f := field{num: num, typ: typ}
		var m int
		switch typ {
		case protowire.VarintType:
			f.bits, m = protowire.ConsumeVarint(b[n:])
		case protowire.Fixed32Type:
			var v uint32
			v, m = protowire.ConsumeFixed32(b[n:])
			f.bits = uint64(v)
		case protowire.Fixed64Type:
			f.bits, m = protowire.ConsumeFixed64(b[n:])
		case protowire.BytesType:
			f.data, m = protowire.ConsumeBytes(b[n:])
		default:
			m = protowire.ConsumeFieldValue(num, typ, b[n:])
		}
		if m < 0 {
			return malformed(m)
		}
		f.raw, b = b[:n+m:n+m], b[n+m:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func malformed(n int) error {
	return fmt.Errorf("%w; the file is cut short, damaged or not ONNX", protowire.ParseError(n))
}

// scalars calls visit for every element of a repeated number, packed or not.
// want is the wire type of one element.
func (f field) scalars(want protowire.Type, visit func(uint64) error) error {
	if f.typ == want {
		return visit(f.bits)
	}
	if f.typ != protowire.BytesType {
		return f.fieldError()
	}
	for b := f.data; len(b) > 0; {
		var v uint64
		var n int
		switch want {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		}
		if n < 0 {
			return malformed(n)
		}
		if err := visit(v); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// decoder reads messages within a budget. Its methods named after protobuf
// types set *to from a field, or say that the field is not of that type.
type decoder struct{ *budget }

func (d decoder) int64(f field, to *int64) error {
	if f.typ != protowire.VarintType {
		return f.fieldError()
	}
	*to = int64(f.bits)
	return nil
}

// enum reads an int32 as protobuf does, from the low bits of the varint.
func enum[T ~int32](f field, to *T) error {
	if f.typ != protowire.VarintType {
		return f.fieldError()
	}
	*to = T(int32(f.bits))
	return nil
}

func (d decoder) float(f field, to *float32) error {
	if f.typ != protowire.Fixed32Type {
		return f.fieldError()
	}
	*to = math.Float32frombits(uint32(f.bits))
	return nil
}

func (d decoder) bytes(f field, to *[]byte) error {
	if f.typ != protowire.BytesType {
		return f.fieldError()
	}
	if err := d.structure(len(f.data)); err != nil {
		return err
	}
	*to = append(make([]byte, 0, len(f.data)), f.data...)
	return nil
}

func (d decoder) string(f field, to *string) error {
	if f.typ != protowire.BytesType {
		return f.fieldError()
	}
	if err := d.structure(len(f.data)); err != nil {
		return err
	}
	*to = string(f.data)
	return nil
}

// domain reads an operator domain, whose default has two spellings.
func (d decoder) domain(f field, to *string) error {
	err := d.string(f, to)
	if *to == "ai.onnx" {
		*to = ""
	}
	return err
}

func (d decoder) strings(f field, to *[]string) error {
	var s string
	if err := d.string(f, &s); err != nil {
		return err
	}
	return add(d, to, s)
}

func (d decoder) ints(f field, to *[]int64) error {
	return f.scalars(protowire.VarintType, func(v uint64) error { return add(d, to, int64(v)) })
}

// keep sets an unknown field aside to be written back as it was read.
func (d decoder) keep(f field, to *[]byte) error {
	if err := d.structure(len(f.raw)); err != nil {
		return err
	}
	*to = append(*to, f.raw...)
	return nil
}

// add appends within the budget. A slice doubles as it grows, so an element is
// charged twice.
func add[T any](d decoder, to *[]T, v T) error {
	if err := d.structure(2 * int(unsafe.Sizeof(v))); err != nil {
		return err
	}
	*to = append(*to, v)
	return nil
}

// message reads a nested message with read, whose errors it labels with what.
func message[T any](d decoder, f field, what string, read func(decoder, []byte, *T) error) (*T, error) {
	if f.typ != protowire.BytesType {
		return nil, f.fieldError()
	}
	v := new(T)
	if err := d.structure(int(unsafe.Sizeof(*v))); err != nil {
		return nil, err
	}
	if err := read(d, f.data, v); err != nil {
		if what == "" {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}

// messages is message for a repeated field held by pointers.
func messages[T any](d decoder, f field, to *[]*T, what string, read func(decoder, []byte, *T) error) error {
	if err := add(d, to, nil); err != nil {
		return err
	}
	v, err := message(d, f, what, read)
	if err != nil {
		return err
	}
	(*to)[len(*to)-1] = v
	return nil
}

// values is message for a repeated field held by value.
func values[T any](d decoder, f field, to *[]T, what string, read func(decoder, []byte, *T) error) error {
	v, err := message(d, f, what, read)
	if err != nil {
		return err
	}
	return add(d, to, *v)
}
