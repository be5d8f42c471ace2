package gateway

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// maxParts bounds the tensors, their contents and the parameters of a message
// together.
const maxParts = 10_000

// codec is that of protocol buffers, with a look at an inference before it is
// decoded: each empty tensor is two bytes on the way and a hundred and more in
// memory, so that a message within its size would take a hundred times that.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*oippb.ModelInferRequest); ok {
		whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer whole.Free()
		if _, err := fieldsOf(whole.ReadOnlyData(), true); err != nil {
			return err
		}
		return c.CodecV2.Unmarshal(mem.BufferSlice{whole}, v)
	}
	return c.CodecV2.Unmarshal(data, v)
}

// The fields of ModelInferRequest that hold messages with parameters.
const inputsField, outputsField = 5, 6

// fieldsOf counts the fields of a message, and those of the tensors in it.
func fieldsOf(b []byte, tensors bool) (n int, err error) {
	for len(b) > 0 {
		number, kind, head := protowire.ConsumeTag(b)
		if head < 0 {
			return n, errors.New("the message is cut short")
		}
		size := protowire.ConsumeFieldValue(number, kind, b[head:])
		if size < 0 {
			return n, errors.New("the message is cut short")
		}
		n++
		if tensors && kind == protowire.BytesType && (number == inputsField || number == outputsField) {
			inner, _ := protowire.ConsumeBytes(b[head:])
			more, err := fieldsOf(inner, false)
			if n += more; err != nil {
				return n, err
			}
		}
		if n > maxParts {
			return n, fmt.Errorf("the message has more than %d parts", maxParts)
		}
		b = b[head+size:]
	}
	return n, nil
}
