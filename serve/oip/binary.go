package oip

import (
	"encoding/binary"
	"math"
)

// packed is the binary form of a tensor's elements. A BYTES element is its
// length in four bytes, little-endian, and its bytes.
func (t *Tensor) packed() [][]byte {
	if t.Datatype != BYTES {
		if len(t.Raw) == 0 {
			return nil
		}
		return [][]byte{t.Raw}
	}
	if len(t.Strings) == 0 {
		return nil
	}
	return [][]byte{AppendBytes(make([]byte, 0, t.Size()), t.Strings)}
}

// AppendBytes appends BYTES elements in binary form. No element may be longer
// than 4 GiB.
func AppendBytes(b []byte, elements [][]byte) []byte {
	for _, s := range elements {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// unpack gives tensors whose elements are in binary form their part of what
// follows the JSON. The parts must be all there is, no more and no less.
func unpack(tensors []pending, tail []byte) ([]Tensor, error) {
	out := make([]Tensor, len(tensors))
	for i := range tensors {
		p := &tensors[i]
		if p.binary >= 0 {
			if p.binary > int64(len(tail)) {
				return nil, Errorf(BadInput, "tensor %s: binary_data_size is %d, %d bytes are left of the body", excerpt(p.Name), p.binary, len(tail))
			}
			if err := p.fill(tail[:p.binary:p.binary]); err != nil {
				return nil, err
			}
			tail = tail[p.binary:]
		}
		out[i] = p.Tensor
	}
	if len(tail) > 0 {
		return nil, Errorf(BadInput, "%d bytes of the body belong to no tensor: binary_data_size says less", len(tail))
	}
	return out, nil
}

// fill sets a tensor's elements from their binary form, which it shares.
func (t *Tensor) fill(raw []byte) error {
	n, err := t.count()
	if err != nil {
		return err
	}
	if t.Datatype != BYTES {
		t.Raw = raw
		return t.Check()
	}
	if n > int64(len(raw)/4) {
		return Errorf(BadInput, "tensor %s: shape %v takes %d elements, %d bytes cannot hold them", excerpt(t.Name), t.Shape, n, len(raw))
	}
	t.Strings = make([][]byte, 0, n)
	for len(raw) >= 4 && int64(len(t.Strings)) < n {
		size := int64(binary.LittleEndian.Uint32(raw))
		if raw = raw[4:]; size > int64(len(raw)) {
			return Errorf(BadInput, "tensor %s: element %d takes %d bytes, %d are left", excerpt(t.Name), len(t.Strings), size, len(raw))
		}
		t.Strings = append(t.Strings, raw[:size:size])
		raw = raw[size:]
	}
	if len(raw) > 0 {
		return Errorf(BadInput, "tensor %s: %d bytes are left behind the last of %d elements", excerpt(t.Name), len(raw), n)
	}
	return t.Check()
}

// rawRequest makes a request of a body that is one input's elements and nothing
// else, for a model with one input whose shape the number of bytes tells: at
// most one dimension varies beside the batch, and the batch is 1. All outputs
// are wanted in binary form.
func rawRequest(body []byte, m *Metadata) (*Request, error) {
	if m == nil || len(m.Inputs) != 1 {
		return nil, Errorf(BadInput, "a body without JSON is taken by models with one input only: send a request with a name and a shape for each")
	}
	in := m.Inputs[0]
	t := Tensor{Name: in.Name, Datatype: in.Datatype, Shape: append([]int64{}, in.Shape...)}
	varies, known := -1, int64(1)
	for i, d := range t.Shape {
		switch {
		case d >= 0:
			if d > 0 && known > math.MaxInt64/d {
				return nil, Errorf(BadInput, "input %s cannot be sent without a shape", excerpt(in.Name))
			}
			known *= d
		case varies == 0:
			t.Shape[0] = 1 // the batch
			varies = i
		case varies > 0:
			return nil, Errorf(BadInput, "input %s has several dimensions that vary: send a request that says its shape", excerpt(in.Name))
		default:
			varies = i
		}
	}
	if in.Datatype == BYTES {
		if varies >= 0 {
			t.Shape[varies] = 1
		}
		t.Strings = [][]byte{body}
	} else {
		if varies >= 0 {
			row := known * int64(in.Datatype.Size())
			if row <= 0 || int64(len(body))%row != 0 {
				return nil, Errorf(BadInput, "input %s takes a multiple of %d bytes, %d given", excerpt(in.Name), row, len(body))
			}
			t.Shape[varies] = int64(len(body)) / row
		}
		t.Raw = body
	}
	q := &Request{Inputs: []Tensor{t}, BinaryOutput: true}
	return q, q.Check()
}
