package gateway

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// predict serves people without tensors:
//
//	{"features": {"age": 41, "job": "nurse"}}     one row, or a list of them
//	{"text": "how do I open an account?"}          one text, or a list of them
//
// Features are the columns of the model's feature schema; of a model without one,
// its inputs by name. The answer has for each row the predicted class, or the
// number predicted, and the outputs; beside a list, the outputs of all rows together.
func (t *transport) predict() error {
	c := t.call(Predict, policy.Invoke)
	single := true
	c.read = func(s *Served, lim oip.Limits) (q *oip.Request, err error) {
		t.hurry(c)
		q, single, err = t.readNamed(s, lim)
		return q, err
	}
	defer c.endTurn()
	a, err := t.g.infer(t.ctx, c)
	t.limited(c)
	if err != nil {
		return err
	}
	rows, whole := c.Served.predictions(c.Request, a)
	body := map[string]any{"model": c.Model, "model_version": c.Served.Version, "request_id": c.ID}
	if single && len(rows) == 1 {
		maps.Copy(body, rows[0])
	} else {
		body["predictions"] = rows
		if len(whole) > 0 {
			body["outputs"] = whole
		}
	}
	return t.write(body)
}

// readNamed makes tensors of named features or text.
func (t *transport) readNamed(s *Served, lim oip.Limits) (q *oip.Request, single bool, err error) {
	if kind := one(t.r.Header.Values("Content-Type")); !isJSON(kind) {
		return nil, false, oip.Errorf(oip.UnsupportedMedia, "content type %s is not read: send application/json", strconv.Quote(clip(kind)))
	}
	b, err := oip.ReadBody(t.r.Body, t.r.Header.Values("Content-Encoding"), t.r.ContentLength, lim)
	if err != nil {
		return nil, false, err
	}
	v, err := parseJSON(b)
	if err != nil {
		return nil, false, oip.Errorf(oip.BadInput, "%v", err)
	}
	body, ok := v.(map[string]any)
	if !ok || len(body) != 1 {
		return nil, false, oip.Errorf(oip.BadInput, `the body is not an object with either "features" or "text"`)
	}
	var given any
	for name, value := range body {
		if name != "features" && name != "text" {
			return nil, false, oip.Errorf(oip.BadInput, `%s is neither "features" nor "text"`, strconv.Quote(clip(name)))
		}
		given = value
	}
	if len(s.Metadata.Inputs) == 0 {
		return nil, false, oip.Errorf(oip.BadInput, "model '%s' does not say what it takes: send tensors", s.Model.Name)
	}
	list, many := given.([]any)
	if !many {
		list = []any{given}
	}
	if len(list) == 0 {
		return nil, false, oip.Errorf(oip.BadInput, "the list is empty")
	}
	if _, text := body["text"]; text {
		q, err = s.textRequest(list)
	} else {
		q, err = s.featureRequest(list)
	}
	return q, !many, err
}

// isJSON reports whether a content type is that of JSON, which is UTF-8: many clients
// say so.
func isJSON(media string) bool {
	kind, parameters, err := mime.ParseMediaType(media)
	charset, said := parameters["charset"]
	return err == nil && kind == "application/json" && (!said || strings.EqualFold(charset, "utf-8"))
}

// textRequest is a request for a model with one input of texts.
func (s *Served) textRequest(list []any) (*oip.Request, error) {
	in := s.Metadata.Inputs
	if len(in) != 1 || in[0].Datatype != oip.BYTES {
		return nil, oip.Errorf(oip.BadInput, "model '%s' does not take text: send features", s.Model.Name)
	}
	texts := make([][]byte, len(list))
	for i, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, oip.Errorf(oip.BadInput, "text %d is not a string", i)
		}
		texts[i] = []byte(text)
	}
	t := oip.Tensor{Name: in[0].Name, Datatype: oip.BYTES, Shape: shapeFor(in[0].Shape, len(list), 1), Strings: texts}
	return &oip.Request{Inputs: []oip.Tensor{t}, BinaryOutput: true}, nil
}

// featureRequest is a request from rows of named features.
func (s *Served) featureRequest(list []any) (*oip.Request, error) {
	rows := make([]map[string]any, len(list))
	for i, v := range list {
		row, ok := v.(map[string]any)
		if !ok {
			return nil, oip.Errorf(oip.BadInput, "row %d of features is not an object", i)
		}
		rows[i] = row
	}
	if s.Model.Settings.Rows == nil {
		return s.inputRequest(rows)
	}
	in, err := s.Model.Settings.table(s.Metadata)
	if err != nil {
		return nil, err
	}
	if len(s.Metadata.Inputs) != 1 {
		return nil, oip.Errorf(oip.BadInput, "model '%s' has inputs beside its features: send tensors", s.Model.Name)
	}
	var values []float64
	for i, row := range rows {
		if values, err = s.Model.Settings.Rows.Append(values, row); err != nil {
			return nil, oip.Errorf(oip.Unprocessable, "row %d: %v", i, err)
		}
	}
	t := oip.Tensor{Name: in.Name, Datatype: in.Datatype, Shape: []int64{int64(len(rows)), int64(s.Model.Settings.Rows.Width())}}
	for _, v := range values {
		if in.Datatype == oip.FP64 {
			t.Raw = binary.LittleEndian.AppendUint64(t.Raw, math.Float64bits(v))
		} else {
			t.Raw = binary.LittleEndian.AppendUint32(t.Raw, math.Float32bits(float32(v)))
		}
	}
	return &oip.Request{Inputs: []oip.Tensor{t}, BinaryOutput: true}, nil
}

// mostNames bounds the names in a message.
const mostNames = 8

// names are those of tensors, for a message.
func names(tensors []oip.TensorMetadata) string {
	out := ""
	for i, t := range tensors {
		if i == mostNames {
			return fmt.Sprintf("%s and %d more", out, len(tensors)-i)
		}
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%q (%s %v)", t.Name, t.Datatype, t.Shape)
	}
	return out
}

// inputRequest is a request in which each feature is an input of the model. It
// is written as the protocol's JSON and read by its decoder, so that numbers are
// held to the same rules.
func (s *Served) inputRequest(rows []map[string]any) (*oip.Request, error) {
	type tensor struct {
		Name     string       `json:"name"`
		Datatype oip.Datatype `json:"datatype"`
		Shape    []int64      `json:"shape"`
		Data     []any        `json:"data"`
	}
	for i, row := range rows {
		for name := range row {
			if described(s.Metadata.Inputs, name) == nil {
				return nil, oip.Errorf(oip.Unprocessable, "row %d: the model has no feature %s; it takes %s", i, strconv.Quote(clip(name)), names(s.Metadata.Inputs))
			}
		}
	}
	tensors := make([]tensor, len(s.Metadata.Inputs))
	for k, in := range s.Metadata.Inputs {
		data := []any{}
		for i, row := range rows {
			v, ok := row[in.Name]
			if !ok {
				return nil, oip.Errorf(oip.Unprocessable, "row %d: feature '%s' is missing", i, in.Name)
			}
			before := len(data)
			data = flatten(data, v)
			if err := kindOf(in.Datatype).check(data[before:]); err != nil {
				return nil, oip.Errorf(oip.Unprocessable, "row %d: feature '%s': %v", i, in.Name, err)
			}
			if (len(data)-before)*len(rows) != len(data)*len(rows)/(i+1) {
				return nil, oip.Errorf(oip.Unprocessable, "row %d: feature '%s' has another number of values than in the rows before", i, in.Name)
			}
		}
		datatype := in.Datatype
		if datatype.BinaryOnly() {
			datatype = oip.FP32 // and narrowed afterwards
		}
		shape := shapeFor(in.Shape, len(rows), len(data)/len(rows))
		if (&oip.Tensor{Shape: shape}).Len() != int64(len(data)) {
			return nil, oip.Errorf(oip.Unprocessable, "feature '%s': %d rows of %d values do not fit the model, which takes %v in a call", in.Name, len(rows), len(data)/len(rows), in.Shape)
		}
		tensors[k] = tensor{in.Name, datatype, shape, data}
	}
	text, err := json.Marshal(map[string]any{"inputs": tensors})
	if err != nil {
		return nil, fmt.Errorf("encode features: %w", err)
	}
	q, err := oip.DecodeRequest(text, nil)
	if err != nil {
		return nil, err
	}
	q.BinaryOutput = true
	for k, in := range s.Metadata.Inputs {
		if in.Datatype.BinaryOnly() {
			if err := narrow(&q.Inputs[k], in.Datatype); err != nil {
				return nil, err
			}
		}
	}
	return q, nil
}

// kind is what people call the values of an input.
type kind string

func kindOf(d oip.Datatype) kind {
	switch {
	case d == oip.BYTES:
		return "a text"
	case d == oip.BOOL:
		return "true or false"
	case floating(d):
		return "a number"
	}
	return "a whole number"
}

// check reports a value of another kind. Whether numbers are of the type is for the
// protocol's decoder.
func (k kind) check(values []any) error {
	for _, v := range values {
		ok := false
		switch v.(type) {
		case string:
			ok = k == "a text"
		case bool:
			ok = k == "true or false"
		case json.Number:
			ok = k != "a text"
		}
		if !ok {
			return fmt.Errorf("%s is wanted", k)
		}
	}
	return nil
}

// narrow makes a tensor of FP32 one of a type of two bytes, which has no form in the
// protocol's JSON.
func narrow(t *oip.Tensor, to oip.Datatype) error {
	wide := numbersOf(t)
	out := oip.Tensor{Name: t.Name, Datatype: to, Shape: t.Shape, Raw: make([]byte, 2*wide.n)}
	narrow := numbersOf(&out)
	for i := range wide.n {
		v := wide.at(i)
		if narrow.set(i, v); math.IsInf(narrow.at(i), 0) {
			return oip.Errorf(oip.BadInput, "tensor %q: %s holds no %v", clip(t.Name), to, v)
		}
	}
	*t = out
	return nil
}

// flatten appends the values of nested lists.
func flatten(data []any, v any) []any {
	list, ok := v.([]any)
	if !ok {
		return append(data, v)
	}
	for _, e := range list {
		data = flatten(data, e)
	}
	return data
}

// shapeFor fits rows of so many elements into a declared shape: the first free
// dimension is the number of rows, the next what is left of the elements. Where there
// is no other, a single row is a sequence.
func shapeFor(declared []int64, rows, elements int) []int64 {
	shape := slices.Clone(declared)
	if len(shape) == 1 && shape[0] < 0 && rows == 1 {
		rows = elements
	}
	left := int64(elements)
	if len(shape) > 0 && shape[0] < 0 {
		shape[0] = int64(rows)
	} else {
		left *= int64(rows)
	}
	free := -1
	for i, d := range shape {
		switch {
		case i == 0 && declared[0] < 0:
		case d < 0 && free < 0:
			free = i
		case d < 0:
			shape[i] = 1
		case d > 0 && left%d == 0:
			left /= d
		}
	}
	if free >= 0 {
		shape[free] = left
	}
	return shape
}
