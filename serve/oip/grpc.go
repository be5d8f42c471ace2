package oip

import (
	"encoding/binary"
	"math"

	// Triton's client compresses if told to. A message is bounded by the
	// server's own limit after decompression too.
	_ "google.golang.org/grpc/encoding/gzip"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// RequestFromGRPC reads a request from its gRPC message, whose memory it
// shares. Tensors come all as raw bytes or all as typed contents; after raw
// bytes the answer is wanted as raw bytes too (BinaryOutput). Errors are of
// type [*Error].
func RequestFromGRPC(m *oippb.ModelInferRequest) (*Request, error) {
	q := &Request{Model: m.GetModelName(), Version: m.GetModelVersion(), ID: m.GetId()}
	if len(q.Model) > maxName || len(q.Version) > maxName || len(q.ID) > maxName {
		return nil, Errorf(BadInput, "a name or an id is longer than %d bytes", maxName)
	}
	if len(m.Inputs) > maxTensors || len(m.Outputs) > maxTensors {
		return nil, Errorf(BadInput, "more than %d tensors", maxTensors)
	}
	raw, err := rawContents(m.RawInputContents, len(m.Inputs))
	if err != nil {
		return nil, err
	}
	q.BinaryOutput = raw != nil
	if q.Parameters, err = fromParameters(m.Parameters); err != nil {
		return nil, err
	}
	q.Inputs = make([]Tensor, len(m.Inputs))
	for i, in := range m.Inputs {
		t := wireTensor{in.GetName(), in.GetDatatype(), in.GetShape(), in.GetParameters(), in.GetContents()}
		if q.Inputs[i], err = t.tensor(raw, i); err != nil {
			return nil, err
		}
	}
	for _, out := range m.Outputs {
		o := Output{Name: out.GetName(), Binary: q.BinaryOutput}
		if o.Parameters, err = fromParameters(out.GetParameters()); err != nil {
			return nil, err
		}
		q.Outputs = append(q.Outputs, o)
	}
	return q, q.Check()
}

// ResponseFromGRPC reads an answer from its gRPC message, whose memory it
// shares.
func ResponseFromGRPC(m *oippb.ModelInferResponse) (*Response, error) {
	a := &Response{ModelName: m.GetModelName(), ModelVersion: m.GetModelVersion(), ID: m.GetId()}
	raw, err := rawContents(m.RawOutputContents, len(m.Outputs))
	if err != nil {
		return nil, err
	}
	if a.Parameters, err = fromParameters(m.Parameters); err != nil {
		return nil, err
	}
	a.Outputs = make([]Tensor, len(m.Outputs))
	for i, out := range m.Outputs {
		t := wireTensor{out.GetName(), out.GetDatatype(), out.GetShape(), out.GetParameters(), out.GetContents()}
		if a.Outputs[i], err = t.tensor(raw, i); err != nil {
			return nil, err
		}
	}
	return a, a.Check()
}

// rawContents checks that raw bytes are given for all tensors or none.
func rawContents(raw [][]byte, tensors int) ([][]byte, error) {
	if len(raw) != 0 && len(raw) != tensors {
		return nil, Errorf(BadInput, "raw contents are given for %d tensors of %d: give them for all or none", len(raw), tensors)
	}
	if len(raw) == 0 {
		return nil, nil
	}
	return raw, nil
}

// wireTensor is what inputs and outputs have in common on the wire.
type wireTensor struct {
	name, datatype string
	shape          []int64
	parameters     map[string]*oippb.InferParameter
	contents       *oippb.InferTensorContents
}

func (w *wireTensor) tensor(raw [][]byte, i int) (Tensor, error) {
	t := Tensor{Name: w.name, Datatype: Datatype(w.datatype), Shape: w.shape}
	var err error
	if t.Parameters, err = fromParameters(w.parameters); err != nil {
		return t, err
	}
	if raw == nil {
		return t, t.fromContents(w.contents)
	}
	if filled(w.contents) > 0 {
		return t, Errorf(BadInput, "tensor %s has typed contents and raw contents", excerpt(t.Name))
	}
	return t, t.fill(raw[i])
}

// filled is how many elements contents hold in all their fields.
func filled(c *oippb.InferTensorContents) int {
	return len(c.GetBoolContents()) + len(c.GetIntContents()) + len(c.GetInt64Contents()) + len(c.GetUintContents()) +
		len(c.GetUint64Contents()) + len(c.GetFp32Contents()) + len(c.GetFp64Contents()) + len(c.GetBytesContents())
}

// fromContents packs the elements of the one field that belongs to the type.
// The small integers ride in 32 bits, and are refused where they do not fit.
func (t *Tensor) fromContents(c *oippb.InferTensorContents) error {
	n, err := t.count()
	if err != nil {
		return err
	}
	if t.Datatype.BinaryOnly() {
		return Errorf(BadInput, "tensor %s: %s travels in raw contents only", excerpt(t.Name), t.Datatype)
	}
	given := t.contentsLen(c)
	if other := filled(c); other != given {
		return Errorf(BadInput, "tensor %s: contents of another type than %s are given", excerpt(t.Name), t.Datatype)
	}
	if int64(given) != n {
		return t.wrongCount(int64(given), n)
	}
	if t.Datatype == BYTES {
		t.Strings = c.GetBytesContents()
		return nil
	}
	t.Raw = make([]byte, 0, given*t.Datatype.Size())
	switch t.Datatype {
	case BOOL:
		for _, v := range c.GetBoolContents() {
			b := byte(0)
			if v {
				b = 1
			}
			t.Raw = append(t.Raw, b)
		}
	case INT8, INT16, INT32:
		return t.packSigned(c.GetIntContents())
	case UINT8, UINT16, UINT32:
		return t.packUnsigned(c.GetUintContents())
	case INT64:
		for _, v := range c.GetInt64Contents() {
			t.Raw = binary.LittleEndian.AppendUint64(t.Raw, uint64(v))
		}
	case UINT64:
		for _, v := range c.GetUint64Contents() {
			t.Raw = binary.LittleEndian.AppendUint64(t.Raw, v)
		}
	case FP32:
		for _, v := range c.GetFp32Contents() {
			t.Raw = binary.LittleEndian.AppendUint32(t.Raw, math.Float32bits(v))
		}
	case FP64:
		for _, v := range c.GetFp64Contents() {
			t.Raw = binary.LittleEndian.AppendUint64(t.Raw, math.Float64bits(v))
		}
	}
	return nil
}

// contentsLen is the number of elements in the field that the type uses.
func (t *Tensor) contentsLen(c *oippb.InferTensorContents) int {
	switch t.Datatype {
	case BOOL:
		return len(c.GetBoolContents())
	case INT8, INT16, INT32:
		return len(c.GetIntContents())
	case INT64:
		return len(c.GetInt64Contents())
	case UINT8, UINT16, UINT32:
		return len(c.GetUintContents())
	case UINT64:
		return len(c.GetUint64Contents())
	case FP32:
		return len(c.GetFp32Contents())
	case FP64:
		return len(c.GetFp64Contents())
	}
	return len(c.GetBytesContents())
}

func (t *Tensor) packSigned(values []int32) error {
	size := t.Datatype.Size()
	most := int32(math.MaxInt32) >> (32 - 8*size)
	for _, v := range values {
		if v > most || v < -most-1 {
			return Errorf(BadInput, "tensor %s: %s holds no %d", excerpt(t.Name), t.Datatype, v)
		}
		t.Raw = appendLittle(t.Raw, uint64(v), size)
	}
	return nil
}

func (t *Tensor) packUnsigned(values []uint32) error {
	size := t.Datatype.Size()
	most := uint32(math.MaxUint32) >> (32 - 8*size)
	for _, v := range values {
		if v > most {
			return Errorf(BadInput, "tensor %s: %s holds no %d", excerpt(t.Name), t.Datatype, v)
		}
		t.Raw = appendLittle(t.Raw, uint64(v), size)
	}
	return nil
}

// appendLittle appends the lowest bytes of v, the lowest first.
func appendLittle(b []byte, v uint64, size int) []byte {
	for range size {
		b = append(b, byte(v))
		v >>= 8
	}
	return b
}

// fromParameters takes all five kinds. What frames binary tensors over REST
// means nothing here and is dropped; shared memory is refused.
func fromParameters(m map[string]*oippb.InferParameter) (Parameters, error) {
	if len(m) == 0 {
		return nil, nil
	}
	if len(m) > maxParameters {
		return nil, Errorf(BadInput, "more than %d parameters in one place", maxParameters)
	}
	p := make(Parameters, len(m))
	for name, v := range m {
		if name == "" || len(name) > maxName {
			return nil, Errorf(BadInput, "parameter %s is no name", excerpt(name))
		}
		switch v := v.GetParameterChoice().(type) {
		case *oippb.InferParameter_BoolParam:
			p[name] = v.BoolParam
		case *oippb.InferParameter_Int64Param:
			p[name] = v.Int64Param
		case *oippb.InferParameter_Uint64Param:
			p[name] = v.Uint64Param
		case *oippb.InferParameter_DoubleParam:
			if math.IsNaN(v.DoubleParam) || math.IsInf(v.DoubleParam, 0) {
				return nil, Errorf(BadInput, "parameter %s is not a finite number", excerpt(name))
			}
			p[name] = v.DoubleParam
		case *oippb.InferParameter_StringParam:
			p[name] = v.StringParam
		default:
			return nil, Errorf(BadInput, "parameter %s has no value", excerpt(name))
		}
		switch name {
		case "binary_data_size", "binary_data", "binary_data_output":
			delete(p, name)
		case "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size":
			return nil, errSharedMemory
		}
	}
	return p.orNil(), nil
}

// toParameters gives only the three kinds that every client knows: a double or
// a large unsigned integer goes as a string.
func toParameters(p Parameters) map[string]*oippb.InferParameter {
	if len(p) == 0 {
		return nil
	}
	out := make(map[string]*oippb.InferParameter, len(p))
	for name, v := range p {
		w := &oippb.InferParameter{}
		switch v := v.(type) {
		case bool:
			w.ParameterChoice = &oippb.InferParameter_BoolParam{BoolParam: v}
		case int64:
			w.ParameterChoice = &oippb.InferParameter_Int64Param{Int64Param: v}
		case string:
			w.ParameterChoice = &oippb.InferParameter_StringParam{StringParam: v}
		default:
			e := &encoder{}
			e.parameter(v)
			w.ParameterChoice = &oippb.InferParameter_StringParam{StringParam: string(e.b)}
		}
		out[name] = w
	}
	return out
}

// RequestToGRPC makes the gRPC message of a request, with raw contents. It
// shares the tensors' memory.
func RequestToGRPC(q *Request) *oippb.ModelInferRequest {
	m := &oippb.ModelInferRequest{ModelName: q.Model, ModelVersion: q.Version, Id: q.ID, Parameters: toParameters(q.Parameters)}
	for i := range q.Inputs {
		t := &q.Inputs[i]
		m.Inputs = append(m.Inputs, &oippb.ModelInferRequest_InferInputTensor{
			Name: t.Name, Datatype: string(t.Datatype), Shape: t.Shape, Parameters: toParameters(t.Parameters)})
		m.RawInputContents = append(m.RawInputContents, t.rawForm())
	}
	for _, o := range q.Outputs {
		m.Outputs = append(m.Outputs, &oippb.ModelInferRequest_InferRequestedOutputTensor{Name: o.Name, Parameters: toParameters(o.Parameters)})
	}
	return m
}

// rawForm is the binary form in one piece.
func (t *Tensor) rawForm() []byte {
	if t.Datatype == BYTES {
		return AppendBytes(make([]byte, 0, t.Size()), t.Strings)
	}
	return t.Raw
}

// ResponseToGRPC makes the gRPC message of an answer: of the outputs asked for,
// with raw contents if the request came with them or a type has no other form,
// and typed contents otherwise. It shares the tensors' memory.
func ResponseToGRPC(a *Response, q *Request) *oippb.ModelInferResponse {
	m := &oippb.ModelInferResponse{ModelName: a.ModelName, ModelVersion: a.ModelVersion, Id: a.ID, Parameters: toParameters(a.Parameters)}
	raw := q.BinaryOutput
	for i := range a.Outputs {
		wanted, _ := q.Wants(a.Outputs[i].Name)
		raw = raw || wanted && a.Outputs[i].Datatype.BinaryOnly()
	}
	for i := range a.Outputs {
		t := &a.Outputs[i]
		if wanted, _ := q.Wants(t.Name); !wanted {
			continue
		}
		out := &oippb.ModelInferResponse_InferOutputTensor{
			Name: t.Name, Datatype: string(t.Datatype), Shape: t.Shape, Parameters: toParameters(t.Parameters)}
		if raw {
			m.RawOutputContents = append(m.RawOutputContents, t.rawForm())
		} else {
			out.Contents = t.contents()
		}
		m.Outputs = append(m.Outputs, out)
	}
	return m
}

// contents puts the elements into the field that their type uses.
func (t *Tensor) contents() *oippb.InferTensorContents {
	c := &oippb.InferTensorContents{}
	little := binary.LittleEndian
	switch t.Datatype {
	case BYTES:
		c.BytesContents = t.Strings
	case BOOL:
		c.BoolContents = unpacked(t.Raw, 1, func(b []byte) bool { return b[0] != 0 })
	case INT8:
		c.IntContents = unpacked(t.Raw, 1, func(b []byte) int32 { return int32(int8(b[0])) })
	case INT16:
		c.IntContents = unpacked(t.Raw, 2, func(b []byte) int32 { return int32(int16(little.Uint16(b))) })
	case INT32:
		c.IntContents = unpacked(t.Raw, 4, func(b []byte) int32 { return int32(little.Uint32(b)) })
	case INT64:
		c.Int64Contents = unpacked(t.Raw, 8, func(b []byte) int64 { return int64(little.Uint64(b)) })
	case UINT8:
		c.UintContents = unpacked(t.Raw, 1, func(b []byte) uint32 { return uint32(b[0]) })
	case UINT16:
		c.UintContents = unpacked(t.Raw, 2, func(b []byte) uint32 { return uint32(little.Uint16(b)) })
	case UINT32:
		c.UintContents = unpacked(t.Raw, 4, little.Uint32)
	case UINT64:
		c.Uint64Contents = unpacked(t.Raw, 8, little.Uint64)
	case FP32:
		c.Fp32Contents = unpacked(t.Raw, 4, func(b []byte) float32 { return math.Float32frombits(little.Uint32(b)) })
	case FP64:
		c.Fp64Contents = unpacked(t.Raw, 8, func(b []byte) float64 { return math.Float64frombits(little.Uint64(b)) })
	}
	return c
}

func unpacked[T any](raw []byte, size int, element func([]byte) T) []T {
	out := make([]T, len(raw)/size)
	for i := range out {
		out[i] = element(raw[i*size:])
	}
	return out
}
