package remote

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Limits on the size of answers, before they are read.
const (
	answerBase = 1 << 20  // whatever is asked
	answerRow  = 64 << 10 // more for each sample: 5,000 scores with all their digits
	mostAnswer = 64 << 20
)

func answerLimit(rows int) int64 {
	return min(answerBase+int64(rows)*answerRow, mostAnswer)
}

// headerLength is the header of the binary tensor extension: the length of the
// JSON part. It is sent in the spelling of the specification.
const headerLength = "Inference-Header-Content-Length"

// errAnswer marks an answer that is not what was asked for.
var errAnswer = errors.New("not the answer asked for")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errAnswer, fmt.Sprintf(format, args...))
}

// Parts of the protocol's documents. In parameters, a pointer tells absent from
// zero.
type (
	wireRequest struct {
		Inputs  []wireTensor `json:"inputs"`
		Outputs []wireTensor `json:"outputs,omitempty"`
	}
	wireTensor struct {
		Name       string          `json:"name"`
		Shape      []int64         `json:"shape,omitempty"`
		Datatype   string          `json:"datatype,omitempty"`
		Parameters *wireParameters `json:"parameters,omitempty"`
		Data       json.RawMessage `json:"data,omitempty"`
	}
	wireParameters struct {
		Binary *bool  `json:"binary_data,omitempty"`
		Size   *int64 `json:"binary_data_size,omitempty"`
	}
)

// call implements wire.
func (v *inference) call(x *tensor.Tensor) (*call, error) {
	in := wireTensor{Name: v.input.name, Datatype: v.input.kind.name}
	for _, d := range x.Shape {
		in.Shape = append(in.Shape, int64(d))
	}
	raw, err := v.input.encode(x, v.binary)
	if err != nil {
		return nil, err
	}
	out := wireTensor{Name: v.output.name}
	if v.binary {
		yes, size := true, int64(len(raw))
		in.Parameters, out.Parameters = &wireParameters{Size: &size}, &wireParameters{Binary: &yes}
	} else {
		in.Data = raw
	}
	request := wireRequest{Inputs: []wireTensor{in}}
	if out.Name != "" {
		request.Outputs = []wireTensor{out}
	}
	q := &call{method: http.MethodPost, url: v.url, rows: x.Rows(), limit: answerLimit(x.Rows())}
	if q.body, err = json.Marshal(request); err != nil {
		return nil, err
	}
	if !v.binary {
		q.header = map[string]string{"Content-Type": "application/json"}
		return q, nil
	}
	q.header = map[string]string{"Content-Type": "application/octet-stream", headerLength: strconv.Itoa(len(q.body))}
	q.body = append(q.body, raw...)
	return q, nil
}

// encode is a tensor in the form that the server takes.
func (p port) encode(x *tensor.Tensor, binary bool) ([]byte, error) {
	if err := finite(x); err != nil {
		return nil, err
	}
	var b []byte
	for i, v := range x.Data {
		switch {
		case binary:
			b = p.kind.appendBinary(b, v)
		case i == 0:
			b = p.kind.appendJSON(append(b, '['), v)
		default:
			b = p.kind.appendJSON(append(b, ','), v)
		}
	}
	if !binary {
		b = append(b, ']')
	}
	return b, nil
}

// finite refuses what JSON has no form for, and no model was made for.
func finite(x *tensor.Tensor) error {
	for _, v := range x.Data {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("a sample holds %v, which cannot be sent", v)
		}
	}
	return nil
}

// read implements wire.
func (v *inference) read(r *reply, n int) (*answer, error) {
	head, tail := r.body, []byte(nil)
	if s := r.header.Get(headerLength); s != "" {
		size, err := strconv.ParseInt(s, 10, 64)
		if err != nil || size < 0 || size > int64(len(r.body)) {
			return nil, malformed("the header %s is %q, the body has %d bytes", headerLength, excerpt(s), len(r.body))
		}
		head, tail = r.body[:size], r.body[size:]
	}
	var doc struct{ Outputs []wireTensor }
	if err := json.Unmarshal(head, &doc); err != nil {
		return nil, malformed("%v", err)
	}
	for _, t := range doc.Outputs {
		part, err := t.cut(&tail)
		if err != nil {
			return nil, err
		}
		if v.output.name == "" || t.Name == v.output.name {
			return t.answer(part, n)
		}
	}
	return nil, malformed("no output %q among %d outputs", v.output.name, len(doc.Outputs))
}

// cut takes the tensor's bytes, if it has any, off the binary part of an answer.
func (t *wireTensor) cut(tail *[]byte) ([]byte, error) {
	if t.Parameters == nil || t.Parameters.Size == nil {
		return nil, nil
	}
	size := *t.Parameters.Size
	if size < 0 || size > int64(len(*tail)) {
		return nil, malformed("output %q claims %d bytes, %d are left", excerpt(t.Name), size, len(*tail))
	}
	part := (*tail)[:size:size]
	*tail = (*tail)[size:]
	return part, nil
}

// answer checks the tensor against the samples that were asked about.
func (t *wireTensor) answer(raw []byte, n int) (*answer, error) {
	k, err := kindOf(t.Datatype)
	if err != nil {
		return nil, malformed("output %q: %v", excerpt(t.Name), err)
	}
	elements := int64(1)
	for _, d := range t.Shape {
		if d < 0 || d > mostAnswer || elements*d > mostAnswer {
			return nil, malformed("output %q has the shape %v", excerpt(t.Name), t.Shape)
		}
		elements *= d
	}
	if len(t.Shape) == 0 || t.Shape[0] != int64(n) {
		return nil, malformed("output %q has the shape %v for %d samples", excerpt(t.Name), t.Shape, n)
	}
	var v *values
	if raw != nil {
		v, err = k.split(raw)
	} else {
		v, err = flat(t.Data)
	}
	if err != nil {
		return nil, malformed("output %q: %v", excerpt(t.Name), err)
	}
	if got := int64(len(v.numbers) + len(v.words)); got != elements {
		return nil, malformed("output %q has the shape %v and %d elements", excerpt(t.Name), t.Shape, got)
	}
	v.fraction = !k.integer
	return v.answer(n)
}

// split reads the elements of a binary tensor.
func (k kind) split(raw []byte) (*values, error) {
	v := &values{}
	if k.size > 0 {
		if len(raw)%k.size != 0 {
			return nil, fmt.Errorf("%d bytes are no whole number of elements of %d", len(raw), k.size)
		}
		for part := range slices.Chunk(raw, k.size) {
			v.numbers = append(v.numbers, k.number(part))
		}
		return v, nil
	}
	for r := bytes.NewBuffer(raw); r.Len() > 0; {
		size := r.Next(4)
		if len(size) < 4 || int64(binary.LittleEndian.Uint32(size)) > int64(r.Len()) {
			return nil, errors.New("a word reaches beyond the end")
		}
		v.words = append(v.words, string(r.Next(int(binary.LittleEndian.Uint32(size)))))
	}
	return v, nil
}

// answer shares the values out among n samples.
func (v *values) answer(n int) (*answer, error) {
	if len(v.words) > 0 {
		if len(v.words) != n {
			return nil, malformed("%d words for %d samples", len(v.words), n)
		}
		return &answer{words: v.words}, nil
	}
	if len(v.numbers) == 0 || len(v.numbers)%n != 0 {
		return nil, malformed("%d numbers for %d samples", len(v.numbers), n)
	}
	return &answer{scores: tensor.Of(v.numbers, n, len(v.numbers)/n), whole: !v.fraction}, nil
}
