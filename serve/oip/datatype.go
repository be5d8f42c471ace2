package oip

// Datatype is the type of a tensor's elements, by its name in the protocol.
type Datatype string

// The data types. FP16 and BF16 have no JSON form: they travel in binary only.
const (
	BOOL   Datatype = "BOOL"
	UINT8  Datatype = "UINT8"
	UINT16 Datatype = "UINT16"
	UINT32 Datatype = "UINT32"
	UINT64 Datatype = "UINT64"
	INT8   Datatype = "INT8"
	INT16  Datatype = "INT16"
	INT32  Datatype = "INT32"
	INT64  Datatype = "INT64"
	FP16   Datatype = "FP16"
	BF16   Datatype = "BF16"
	FP32   Datatype = "FP32"
	FP64   Datatype = "FP64"
	BYTES  Datatype = "BYTES"
)

// Datatypes lists them all.
var Datatypes = []Datatype{BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES}

// Size is the number of bytes of an element; 0 for BYTES, whose elements have
// each their own, and for types that are not known.
func (d Datatype) Size() int {
	switch d {
	case BOOL, UINT8, INT8:
		return 1
	case UINT16, INT16, FP16, BF16:
		return 2
	case UINT32, INT32, FP32:
		return 4
	case UINT64, INT64, FP64:
		return 8
	}
	return 0
}

// Known reports whether the protocol has such a type. Names are told apart by
// case.
func (d Datatype) Known() bool { return d == BYTES || d.Size() > 0 }

// BinaryOnly reports whether the protocol gives the type no JSON form.
func (d Datatype) BinaryOnly() bool { return d == FP16 || d == BF16 }
