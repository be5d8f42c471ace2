package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

func float32frombits(v uint64) float32 { return math.Float32frombits(uint32(v)) }

// external says where a tensor's elements are that the file keeps elsewhere.
type external struct {
	location       string
	offset, length int64 // length -1: as long as the type and dimensions ask
	entries        []Property
}

// readTensor reads in two passes: the elements of a typed list cannot be
// placed before the element type is known, and the format does not promise
// that the type stands first.
func readTensor(d decoder, b []byte, t *Tensor) error {
	var entries []Property
	var location int32
	hasRaw, list := false, protowire.Number(0)
	err := walk(b, func(f field) error {
		switch f.num {
		case 1:
			return d.ints(f, &t.Dims)
		case 2:
			return enum(f, &t.Type)
		case 3:
			return fmt.Errorf("it is stored in segments, which no ONNX writer uses; save the model again")
		case 4, 5, 6, 7, 10, 11:
			if list != 0 && list != f.num {
				return fmt.Errorf("its elements stand in two lists (fields %d and %d); the file is damaged", list, f.num)
			}
			list = f.num
			return nil
		case 8:
			return d.string(f, &t.Name)
		case 9:
			if f.typ != protowire.BytesType {
				return f.fieldError()
			}
			if err := d.tensor(int64(len(f.data))); err != nil {
				return err
			}
			hasRaw, t.Raw = true, f.data[:len(f.data):len(f.data)]
			return nil
		case 12:
			return d.string(f, &t.Doc)
		case 13:
			return values(d, f, &entries, "external data", readProperty)
		case 14:
			return enum(f, &location)
		case 16:
			return values(d, f, &t.Metadata, "metadata", readProperty)
		}
		return d.keep(f, &t.unknown)
	})
	if err == nil && location == 1 {
		if hasRaw || list != 0 {
			err = fmt.Errorf("it has elements both in the file and outside; the file is damaged")
		} else {
			t.external, err = newExternal(entries)
		}
	} else if err == nil && list != 0 {
		if hasRaw && len(t.Raw) > 0 {
			err = fmt.Errorf("it has elements both raw and as a list; the file is damaged")
		} else {
			err = readElements(d, b, list, t)
		}
	}
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return nil
}

// readElements fills Raw or Strings from the typed list in the given field.
func readElements(d decoder, b []byte, list protowire.Number, t *Tensor) error {
	wire, width, err := listWidth(list, t.Type)
	if err != nil {
		return err
	}
	if want := t.Type.size(t.Len()); want > 0 && want <= min(8*int64(len(b)), d.left.TensorBytes) {
		// A list element takes at least a byte in the file and at most eight
		// in memory: a larger claim is wrong, and Check will find it so.
		t.Raw = make([]byte, 0, want)
	}
	return walk(b, func(f field) error {
		if f.num != list {
			return nil
		}
		if list == 6 {
			if f.typ != protowire.BytesType {
				return f.fieldError()
			}
			if err := d.tensor(int64(len(f.data)) + 24); err != nil {
				return err
			}
			t.Strings = append(t.Strings, slices.Clone(f.data))
			return nil
		}
		return f.scalars(wire, func(v uint64) error {
			if err := d.tensor(int64(width)); err != nil {
				return err
			}
			var le [8]byte
			binary.LittleEndian.PutUint64(le[:], v)
			t.Raw = append(t.Raw, le[:width]...)
			return nil
		})
	})
}

// listWidth is the wire type of a typed list's elements and the bytes that one
// of them takes in Raw: the pairs (list, element type) that onnx.proto allows.
func listWidth(list protowire.Number, typ DataType) (protowire.Type, int, error) {
	ok := false
	wire, width := protowire.VarintType, max(1, typ.Bits()/8)
	switch list {
	case 4: // float_data; a complex number is two elements
		wire, width, ok = protowire.Fixed32Type, 4, typ == Float || typ == Complex64
	case 5: // int32_data; elements narrower than a byte come packed
		switch typ {
		case Int32, Int16, Int8, Uint16, Uint8, Bool, Float16, BFloat16,
			Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0,
			Uint4, Int4, Float4E2M1, Uint2, Int2:
			ok = true
		}
	case 6:
		wire, ok = protowire.BytesType, typ == String
	case 7:
		ok = typ == Int64
	case 10: // double_data; a complex number is two elements
		wire, width, ok = protowire.Fixed64Type, 8, typ == Double || typ == Complex128
	case 11:
		ok = typ == Uint32 || typ == Uint64
	}
	if !ok {
		return 0, 0, fmt.Errorf("its elements are %v but stand in the list of field %d; the file is damaged", typ, list)
	}
	return wire, width, nil
}

func newExternal(entries []Property) (*external, error) {
	e := &external{length: -1, entries: entries}
	for _, p := range entries {
		var err error
		switch p.Key {
		case "location":
			e.location = p.Value
		case "offset":
			e.offset, err = parseSize(p.Value)
		case "length":
			e.length, err = parseSize(p.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("external data has %s %q, want a number of bytes", p.Key, p.Value)
		}
	}
	if e.location == "" {
		return nil, fmt.Errorf("external data has no location; the file is damaged")
	}
	return e, nil
}
