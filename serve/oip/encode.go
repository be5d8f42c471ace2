package oip

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Message is a request or an answer as it travels over REST: JSON and behind it
// the tensors in binary form, if there are any.
type Message struct {
	JSON []byte
	// Binary holds the parts that follow, in order; nil if the message is JSON
	// alone. They may share memory with the tensors.
	Binary [][]byte
}

// Len is the number of bytes of the whole message.
func (m *Message) Len() int64 {
	n := int64(len(m.JSON))
	for _, b := range m.Binary {
		n += int64(len(b))
	}
	return n
}

// EncodeRequest writes a request, its tensors in binary form or as JSON. An
// error means that JSON cannot hold the elements: it is an [Error] of kind
// [BadInput] or [Unsupported].
func EncodeRequest(q *Request, binary bool) (*Message, error) {
	e := &encoder{b: make([]byte, 0, 256)}
	e.raw('{')
	if q.ID != "" {
		e.member("id", q.ID)
	}
	all := q.BinaryOutput && len(q.Outputs) == 0
	if params := len(q.Parameters) > 0; params || all {
		e.name("parameters")
		e.parameters(q.Parameters, "binary_data_output", all)
	}
	if err := e.tensors("inputs", q.Inputs, func(string) bool { return binary }); err != nil {
		return nil, err
	}
	if len(q.Outputs) > 0 {
		e.outputs(q.Outputs)
	}
	e.raw('}')
	return e.message(), nil
}

// EncodeResponse writes an answer in the form that the request asked for: the
// outputs asked for, in the order of the answer, each in binary form or as
// JSON. Floats that JSON cannot write become null, as other servers of the
// protocol write them. An error means that JSON cannot hold an output at all,
// and says how to ask for it.
func EncodeResponse(a *Response, q *Request) (*Message, error) {
	e := &encoder{b: make([]byte, 0, 512), answer: true}
	e.raw('{')
	e.member("model_name", a.ModelName)
	if a.ModelVersion != "" {
		e.member("model_version", a.ModelVersion)
	}
	if a.ID != "" {
		e.member("id", a.ID)
	}
	if len(a.Parameters) > 0 {
		e.name("parameters")
		e.parameters(a.Parameters, "", nil)
	}
	outputs := a.Outputs
	if len(q.Outputs) > 0 {
		outputs = slices.DeleteFunc(slices.Clone(outputs), func(t Tensor) bool {
			wanted, _ := q.Wants(t.Name)
			return !wanted
		})
	}
	err := e.tensors("outputs", outputs, func(name string) bool { _, binary := q.Wants(name); return binary })
	if err != nil {
		return nil, err
	}
	e.raw('}')
	return e.message(), nil
}

// encoder writes JSON and gathers what follows it.
type encoder struct {
	b      []byte
	tail   [][]byte
	binary bool // some tensor is in binary form, an empty one perhaps
	answer bool
}

func (e *encoder) message() *Message {
	m := &Message{JSON: e.b, Binary: e.tail}
	if e.binary && m.Binary == nil {
		m.Binary = [][]byte{}
	}
	return m
}

func (e *encoder) raw(c byte) { e.b = append(e.b, c) }

// name writes a member's name, and the comma in front if it is not the first.
func (e *encoder) name(s string) {
	if last := e.b[len(e.b)-1]; last != '{' {
		e.raw(',')
	}
	e.str([]byte(s))
	e.raw(':')
}

func (e *encoder) member(name, value string) {
	e.name(name)
	e.str([]byte(value))
}

// str writes a string of valid UTF-8 (what is not becomes U+FFFD).
func (e *encoder) str(s []byte) {
	const hex = "0123456789abcdef"
	e.raw('"')
	for len(s) > 0 {
		plain := 0
		for plain < len(s) && s[plain] >= ' ' && s[plain] < utf8.RuneSelf && s[plain] != '"' && s[plain] != '\\' {
			plain++
		}
		e.b = append(e.b, s[:plain]...)
		if s = s[plain:]; len(s) == 0 {
			break
		}
		switch c := s[0]; {
		case c == '"' || c == '\\':
			e.b = append(e.b, '\\', c)
			s = s[1:]
		case c < ' ':
			e.b = append(e.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			s = s[1:]
		default:
			r, n := utf8.DecodeRune(s)
			e.b = utf8.AppendRune(e.b, r)
			s = s[n:]
		}
	}
	e.raw('"')
}

// parameters writes an object; one more member follows the others if extra is
// not "" and value not nil or false.
func (e *encoder) parameters(p Parameters, extra string, value any) {
	e.raw('{')
	for _, name := range p.names() {
		e.name(name)
		e.parameter(p[name])
	}
	if extra != "" && value != false {
		e.name(extra)
		e.parameter(value)
	}
	e.raw('}')
}

// names lists the parameters in order, so that the same message is always the
// same bytes.
func (p Parameters) names() []string {
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (e *encoder) parameter(v any) {
	switch v := v.(type) {
	case bool:
		e.b = strconv.AppendBool(e.b, v)
	case int64:
		e.b = strconv.AppendInt(e.b, v, 10)
	case uint64:
		e.b = strconv.AppendUint(e.b, v, 10)
	case float64:
		e.float(v, 64)
	case string:
		e.str([]byte(v))
	default:
		e.b = append(e.b, "null"...)
	}
}

func (e *encoder) outputs(outputs []Output) {
	e.name("outputs")
	e.raw('[')
	for i, o := range outputs {
		if i > 0 {
			e.raw(',')
		}
		e.raw('{')
		e.member("name", o.Name)
		if o.Binary || len(o.Parameters) > 0 {
			e.name("parameters")
			e.parameters(o.Parameters, "binary_data", o.Binary)
		}
		e.raw('}')
	}
	e.raw(']')
}

func (e *encoder) tensors(member string, tensors []Tensor, binary func(name string) bool) error {
	e.name(member)
	e.raw('[')
	for i := range tensors {
		if i > 0 {
			e.raw(',')
		}
		if err := e.tensor(&tensors[i], binary(tensors[i].Name)); err != nil {
			return err
		}
	}
	e.raw(']')
	return nil
}

func (e *encoder) tensor(t *Tensor, binary bool) error {
	e.raw('{')
	e.member("name", t.Name)
	e.member("datatype", string(t.Datatype))
	e.name("shape")
	e.raw('[')
	for i, d := range t.Shape {
		if i > 0 {
			e.raw(',')
		}
		e.b = strconv.AppendInt(e.b, d, 10)
	}
	e.raw(']')
	if binary {
		e.name("parameters")
		e.parameters(t.Parameters, "binary_data_size", t.Size())
		e.raw('}')
		e.binary = true
		e.tail = append(e.tail, t.packed()...)
		return nil
	}
	if len(t.Parameters) > 0 {
		e.name("parameters")
		e.parameters(t.Parameters, "", nil)
	}
	e.name("data")
	e.raw('[')
	if err := e.elements(t); err != nil {
		return err
	}
	e.b = append(e.b, "]}"...)
	return nil
}

// elements writes a tensor's elements, flat.
func (e *encoder) elements(t *Tensor) error {
	size := t.Datatype.Size()
	switch {
	case t.Datatype.BinaryOnly() && e.answer:
		return Errorf(BadInput, "output %s is %s, which has no form in JSON: ask for it with binary_data", excerpt(t.Name), t.Datatype)
	case t.Datatype.BinaryOnly():
		return Errorf(Unsupported, "input %s is %s, and the model's server takes JSON only, which cannot hold it", excerpt(t.Name), t.Datatype)
	case t.Datatype == BYTES:
		return e.words(t)
	case size == 0:
		return Errorf(BadInput, "tensor %s: datatype %s is not known", excerpt(t.Name), excerpt(string(t.Datatype)))
	}
	e.b = slices.Grow(e.b, 4*len(t.Raw)/size)
	for raw := t.Raw; len(raw) >= size; raw = raw[size:] {
		if len(raw) < len(t.Raw) {
			e.raw(',')
		}
		if err := e.element(t, raw); err != nil {
			return err
		}
	}
	return nil
}

// element writes the first element of raw.
func (e *encoder) element(t *Tensor, raw []byte) error {
	switch t.Datatype {
	case FP32, FP64:
		v, bits := 0.0, 32
		if t.Datatype == FP32 {
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		} else {
			v, bits = math.Float64frombits(binary.LittleEndian.Uint64(raw)), 64
		}
		if (math.IsNaN(v) || math.IsInf(v, 0)) && !e.answer {
			return Errorf(Unsupported, "input %s holds %v, and the model's server takes JSON only, which cannot hold it", excerpt(t.Name), v)
		}
		e.float(v, bits)
	case BOOL:
		e.b = strconv.AppendBool(e.b, raw[0] != 0)
	case UINT8:
		e.b = strconv.AppendUint(e.b, uint64(raw[0]), 10)
	case UINT16:
		e.b = strconv.AppendUint(e.b, uint64(binary.LittleEndian.Uint16(raw)), 10)
	case UINT32:
		e.b = strconv.AppendUint(e.b, uint64(binary.LittleEndian.Uint32(raw)), 10)
	case UINT64:
		e.b = strconv.AppendUint(e.b, binary.LittleEndian.Uint64(raw), 10)
	case INT8:
		e.b = strconv.AppendInt(e.b, int64(int8(raw[0])), 10)
	case INT16:
		e.b = strconv.AppendInt(e.b, int64(int16(binary.LittleEndian.Uint16(raw))), 10)
	case INT32:
		e.b = strconv.AppendInt(e.b, int64(int32(binary.LittleEndian.Uint32(raw))), 10)
	case INT64:
		e.b = strconv.AppendInt(e.b, int64(binary.LittleEndian.Uint64(raw)), 10)
	}
	return nil
}

// float writes the shortest digits that give the same float back, or null.
func (e *encoder) float(v float64, bits int) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		e.b = append(e.b, "null"...)
		return
	}
	e.b = strconv.AppendFloat(e.b, v, 'g', -1, bits)
}

func (e *encoder) words(t *Tensor) error {
	for i, s := range t.Strings {
		if i > 0 {
			e.raw(',')
		}
		if !utf8.Valid(s) {
			if e.answer {
				return Errorf(BadInput, "output %s holds bytes that are not text, which JSON cannot hold: ask for it with binary_data", excerpt(t.Name))
			}
			return Errorf(Unsupported, "input %s holds bytes that are not text, and the model's server takes JSON only, which cannot hold them", excerpt(t.Name))
		}
		e.str(s)
	}
	return nil
}
