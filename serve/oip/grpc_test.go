package oip_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"google.golang.org/protobuf/proto"
)

// input is a request with one input named x.
func input(datatype string, shape []int64, c *oippb.InferTensorContents, raw ...[]byte) *oippb.ModelInferRequest {
	return &oippb.ModelInferRequest{ModelName: "m", RawInputContents: raw,
		Inputs: []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: datatype, Shape: shape, Contents: c}}}
}

func TestTypedContents(t *testing.T) {
	for _, c := range []struct {
		datatype string
		contents *oippb.InferTensorContents
		raw      []byte // nil if it is refused
	}{
		{"BOOL", &oippb.InferTensorContents{BoolContents: []bool{true, false}}, []byte{1, 0}},
		{"INT8", &oippb.InferTensorContents{IntContents: []int32{-128, 127}}, []byte{0x80, 0x7f}},
		{"INT8", &oippb.InferTensorContents{IntContents: []int32{128, 0}}, nil},
		{"INT8", &oippb.InferTensorContents{IntContents: []int32{-129, 0}}, nil},
		{"INT16", &oippb.InferTensorContents{IntContents: []int32{-32768, 32767}}, []byte{0, 0x80, 0xff, 0x7f}},
		{"INT16", &oippb.InferTensorContents{IntContents: []int32{32768, 0}}, nil},
		{"INT32", &oippb.InferTensorContents{IntContents: []int32{math.MinInt32, math.MaxInt32}}, []byte{0, 0, 0, 0x80, 255, 255, 255, 0x7f}},
		{"UINT8", &oippb.InferTensorContents{UintContents: []uint32{255, 0}}, []byte{255, 0}},
		{"UINT8", &oippb.InferTensorContents{UintContents: []uint32{256, 0}}, nil},
		{"UINT16", &oippb.InferTensorContents{UintContents: []uint32{65536, 0}}, nil},
		{"UINT32", &oippb.InferTensorContents{UintContents: []uint32{math.MaxUint32, 0}}, []byte{255, 255, 255, 255, 0, 0, 0, 0}},
		{"INT64", &oippb.InferTensorContents{Int64Contents: []int64{-1, 1}}, []byte{255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}},
		{"UINT64", &oippb.InferTensorContents{Uint64Contents: []uint64{1, 0}}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"FP32", &oippb.InferTensorContents{Fp32Contents: []float32{1, 2}}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}},
		{"FP64", &oippb.InferTensorContents{Fp64Contents: []float64{1, 2}}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40}},
		{"FP32", &oippb.InferTensorContents{Fp64Contents: []float64{1, 2}}, nil},
		{"FP32", &oippb.InferTensorContents{Fp32Contents: []float32{1, 2}, IntContents: []int32{1}}, nil},
		{"FP32", &oippb.InferTensorContents{Fp32Contents: []float32{1}}, nil},
		{"FP32", nil, nil},
		{"FP16", &oippb.InferTensorContents{Fp32Contents: []float32{1, 2}}, nil},
		{"fp32", &oippb.InferTensorContents{Fp32Contents: []float32{1, 2}}, nil},
	} {
		q, err := oip.RequestFromGRPC(input(c.datatype, []int64{2}, c.contents))
		switch {
		case c.raw == nil && code(err) != oip.BadInput:
			t.Errorf("%s %v: error %v, want bad input", c.datatype, c.contents, err)
		case c.raw != nil && (err != nil || !bytes.Equal(q.Inputs[0].Raw, c.raw) || q.BinaryOutput):
			t.Errorf("%s %v: %v %v, want %x", c.datatype, c.contents, err, q, c.raw)
		}
	}
}

func TestRawContents(t *testing.T) {
	two := input("INT8", []int64{1}, nil, []byte{1})
	two.Inputs = append(two.Inputs, two.Inputs[0])
	for _, c := range []struct {
		name string
		m    *oippb.ModelInferRequest
		why  string
	}{
		{"for one of two", two, "for all or none"},
		{"and typed", input("INT8", []int64{1}, &oippb.InferTensorContents{IntContents: []int32{1}}, []byte{1}), "typed contents and raw"},
		{"too short", input("INT16", []int64{1}, nil, []byte{1}), "takes 2 bytes"},
		{"negative shape", input("INT8", []int64{-1}, nil, []byte{1}), "no tensor has the shape"},
		{"overflowing shape", input("INT8", []int64{1 << 40, 1 << 40}, nil, []byte{1}), "no tensor has the shape"},
		{"none at all", &oippb.ModelInferRequest{}, "no inputs"},
		{"nil input", &oippb.ModelInferRequest{Inputs: []*oippb.ModelInferRequest_InferInputTensor{nil}}, "without a name"},
		{"BYTES cut short", input("BYTES", []int64{1}, nil, []byte{9, 0, 0, 0, 1}), "takes 9 bytes"},
	} {
		if _, err := oip.RequestFromGRPC(c.m); code(err) != oip.BadInput || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: error %v, want bad input that says %q", c.name, err, c.why)
		}
	}
	m := input("INT8", []int64{1}, nil, []byte{1})
	m.Inputs[0].Parameters = map[string]*oippb.InferParameter{"shared_memory_region": {ParameterChoice: &oippb.InferParameter_StringParam{StringParam: "r"}}}
	if _, err := oip.RequestFromGRPC(m); code(err) != oip.Unsupported {
		t.Errorf("shared memory: error %v, want unsupported", err)
	}
}

// A request in raw bytes is answered in raw bytes, a typed one typed, and
// parameters are of the three kinds that every client knows.
func TestAnswersInKind(t *testing.T) {
	a := &oip.Response{ModelName: "m", Parameters: oip.Parameters{"d": 0.5, "u": uint64(math.MaxUint64), "i": int64(1)},
		Outputs: []oip.Tensor{{Name: "y", Datatype: oip.INT8, Shape: []int64{1}, Raw: []byte{0xff}}, {Name: "z", Datatype: oip.FP16, Shape: []int64{1}, Raw: []byte{1, 2}}}}
	y := []oip.Output{{Name: "y"}}
	if m := oip.ResponseToGRPC(a, &oip.Request{Outputs: y, BinaryOutput: true}); len(m.RawOutputContents) != 1 || m.Outputs[0].Contents != nil {
		t.Errorf("raw: %v", m)
	}
	m := oip.ResponseToGRPC(a, &oip.Request{Outputs: y})
	if len(m.RawOutputContents) != 0 || !reflect.DeepEqual(m.Outputs[0].Contents.IntContents, []int32{-1}) {
		t.Errorf("typed: %v", m)
	}
	if p := m.Parameters; p["d"].GetStringParam() != "0.5" || p["u"].GetStringParam() != "18446744073709551615" || p["i"].GetInt64Param() != 1 {
		t.Errorf("parameters: %v", p)
	}
	if m := oip.ResponseToGRPC(a, &oip.Request{}); len(m.RawOutputContents) != 2 {
		t.Errorf("FP16 has no typed form, and all or none are raw: %v", m)
	}
}

func TestConfig(t *testing.T) {
	m := &oip.Metadata{Name: "m", Platform: "p", Inputs: []oip.TensorMetadata{{Name: "x", Datatype: oip.BYTES, Shape: []int64{-1, 3}}}}
	for _, d := range oip.Datatypes {
		m.Outputs = append(m.Outputs, oip.TensorMetadata{Name: string(d), Datatype: d, Shape: []int64{-1}})
	}
	c := oip.ConfigOf(m, 8)
	if c.MaxBatch != 8 || !reflect.DeepEqual(c.Inputs, []oip.ConfigTensor{{Name: "x", Type: "TYPE_STRING", Dims: []int64{3}}}) {
		t.Errorf("%+v", c)
	}
	for _, out := range oip.ConfigToGRPC(c).Output {
		if out.DataType == oippb.DataType_TYPE_INVALID || len(out.Dims) != 0 {
			t.Errorf("%v", out)
		}
	}
	m.Outputs[3].Shape = []int64{1}
	if c := oip.ConfigOf(m, 8); c.MaxBatch != 0 || len(c.Inputs[0].Dims) != 2 {
		t.Errorf("an output without a free batch: %+v", c)
	}
}

func FuzzRequestFromGRPC(f *testing.F) {
	for _, m := range []*oippb.ModelInferRequest{
		input("INT8", []int64{2}, &oippb.InferTensorContents{IntContents: []int32{1, -1}}),
		input("BYTES", []int64{1}, nil, []byte{1, 0, 0, 0, 'a'}),
		input("FP64", []int64{1, 1}, nil, make([]byte, 8)),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &oippb.ModelInferRequest{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		q, err := oip.RequestFromGRPC(m)
		if err != nil {
			if c := code(err); c != oip.BadInput && c != oip.Unsupported {
				t.Fatalf("error %v of kind %v", err, c)
			}
			return
		}
		again(t, q, true)
		back, err := oip.ResponseFromGRPC(oip.ResponseToGRPC(&oip.Response{Outputs: q.Inputs}, &oip.Request{}))
		if err != nil || !same(back.Outputs, q.Inputs) {
			t.Fatalf("typed: %v %v, want %v", err, back, q)
		}
	})
}
