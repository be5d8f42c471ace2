package oip_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// one is a request with one input, whose members are given.
func one(members string) string { return `{"inputs":[{"name":"x",` + members + `}]}` }

func code(err error) oip.Code {
	var e *oip.Error
	if !errors.As(err, &e) {
		return 255
	}
	return e.Code
}

// Requests that must be refused: the abuse list of the protocol's other
// servers, and what two parsers could read in two ways. Each is refused for the
// reason named.
func TestRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	int32s := `"datatype":"INT32","shape":[1],"data":[%s]`
	for _, c := range []struct{ name, body, why string }{
		{"nothing", ``, "expected {"},
		{"not an object", `[]`, "expected {"},
		{"two values", one(`"datatype":"INT32","shape":[1],"data":[1]`) + `{}`, "after the end"},
		{"byte order mark", "\ufeff" + one(`"datatype":"INT32","shape":[1],"data":[1]`), "expected {"},
		{"no inputs", `{"id":"1"}`, "no inputs"},
		{"no inputs in the list", `{"inputs":[]}`, "no inputs"},
		{"inputs null", `{"inputs":null}`, "expected ["},
		{"no name", `{"inputs":[{"datatype":"INT32","shape":[1],"data":[1]}]}`, "without a name"},
		{"no shape", one(`"datatype":"INT32","data":[1]`), "no shape"},
		{"no datatype", one(`"shape":[1],"data":[1]`), "not known"},
		{"no data", one(`"datatype":"INT32","shape":[1]`), "neither data"},
		{"datatype in lower case", one(`"datatype":"int32","shape":[1],"data":[1]`), "not known"},
		{"name in upper case", `{"inputs":[{"NAME":"y","name":"x","datatype":"INT32","shape":[1],"data":[1]}]}`, "other parsers"},
		{"Inputs beside inputs", `{"Inputs":[],"inputs":[{"name":"x","datatype":"INT32","shape":[1],"data":[1]}]}`, "other parsers"},
		{"name with a Kelvin sign", `{"inputs":[{"name":"x","datatype":"INT32","shape":[1],"data":[1]}],"\u0130d":1,"ıd":"a","ID":"b"}`, "other parsers"},
		{"data twice", one(`"datatype":"INT32","shape":[1],"data":[1],"data":[2]`), "twice"},
		{"inputs twice", `{"inputs":[],"inputs":[]}`, "twice"},
		{"escaped duplicate", one(`"datatype":"INT32","shape":[1],"data":[1],"d\u0061ta":[2]`), "twice"},
		{"unknown member twice", `{"a":1,"a":2,"inputs":[]}`, "twice"},
		{"parameter twice", `{"parameters":{"a":1,"a":2},"inputs":[]}`, "twice"},
		{"input twice", `{"inputs":[{"name":"x","datatype":"INT32","shape":[1],"data":[1]},{"name":"x","datatype":"INT32","shape":[1],"data":[1]}]}`, "given twice"},
		{"output twice", `{"inputs":[{"name":"x","datatype":"INT32","shape":[1],"data":[1]}],"outputs":[{"name":"y"},{"name":"y"}]}`, "asked for twice"},
		{"output without a name", `{"inputs":[{"name":"x","datatype":"INT32","shape":[1],"data":[1]}],"outputs":[{}]}`, "without a name"},
		{"negative dimension", one(`"datatype":"INT32","shape":[-1],"data":[1]`), "size of a dimension"},
		{"dimension with a point", one(`"datatype":"INT32","shape":[1.0],"data":[1]`), "size of a dimension"},
		{"dimension beyond int64", one(`"datatype":"INT32","shape":[9223372036854775808],"data":[1]`), "size of a dimension"},
		{"shape that overflows", one(`"datatype":"INT32","shape":[4611686018427387904,4],"data":[1]`), "no tensor has the shape"},
		{"shape that wraps to one", one(`"datatype":"INT8","shape":[4294967296,4294967296],"data":[]`), "no tensor has the shape"},
		{"size in bytes that overflows", one(`"datatype":"FP64","shape":[2305843009213693952],"data":[1]`), "no tensor has the shape"},
		{"shape far beyond the body", one(`"datatype":"FP64","shape":[1000000000],"data":[1]`), "too short"},
		{"more dimensions than any tensor", one(`"datatype":"INT8","shape":[` + strings.Repeat("1,", 99) + `1],"data":[1]`), "dimensions"},
		{"shape null", one(`"datatype":"INT32","shape":null,"data":[1]`), "expected ["},
		{"too few", one(`"datatype":"INT32","shape":[2],"data":[1]`), "takes 2 elements, 1 given"},
		{"too many", one(`"datatype":"INT32","shape":[1],"data":[1,2]`), "more elements"},
		{"more than none", one(`"datatype":"INT32","shape":[0],"data":[1]`), "more elements"},
		{"data not an array", one(`"datatype":"INT32","shape":[],"data":1`), "not an array"},
		{"data null", one(`"datatype":"INT32","shape":[1],"data":null`), "not an array"},
		{"ragged", one(`"datatype":"INT32","shape":[2,2],"data":[[1,2,3],[4]]`), "nested otherwise"},
		{"nested the other way", one(`"datatype":"INT32","shape":[2,1],"data":[[1,2]]`), "nested otherwise"},
		{"mixed depths", one(`"datatype":"INT32","shape":[2],"data":[1,[2]]`), "no INT32"},
		{"mixed depths, deep first", one(`"datatype":"INT32","shape":[2,1],"data":[[1],2]`), "not an array"},
		{"deeper than the shape", one(`"datatype":"INT32","shape":[1],"data":[[1]]`), "deeper than its shape"},
		{"deep data", one(`"datatype":"INT32","shape":[1],"data":` + deep(250_000)), "deeper than its shape"},
		{"deep data before its type", one(`"data":` + deep(250_000) + `,"datatype":"INT32","shape":[1]`), "deeper than 128"},
		{"deep unknown member", `{"other":` + deep(250_000) + `}`, "deeper than 128"},
		{"deep unknown objects", `{"other":` + strings.Repeat(`{"a":`, 250_000), "deeper than 128"},
		{"deep parameter", `{"parameters":{"a":` + deep(250_000) + `}}`, "not a string"},
		{"parameter null", `{"parameters":{"a":null}}`, "not a string"},
		{"parameter too large", `{"parameters":{"a":1e999}}`, "too large"},
		{"too many parameters", `{"parameters":{` + many(65) + `}}`, "too many parameters"},
		{"too many unknown members", `{` + many(65) + `}`, "more than 64"},
		{"INT32 with a point", one(fmt.Sprintf(int32s, "1.0")), "holds no"},
		{"INT32 with an exponent", one(fmt.Sprintf(int32s, "1e2")), "holds no"},
		{"INT32 beyond", one(fmt.Sprintf(int32s, "2147483648")), "holds no"},
		{"INT32 below", one(fmt.Sprintf(int32s, "-2147483649")), "holds no"},
		{"INT8 beyond", one(`"datatype":"INT8","shape":[1],"data":[128]`), "holds no"},
		{"UINT8 below", one(`"datatype":"UINT8","shape":[1],"data":[-1]`), "holds no"},
		{"UINT8 beyond", one(`"datatype":"UINT8","shape":[1],"data":[256]`), "holds no"},
		{"INT64 beyond", one(`"datatype":"INT64","shape":[1],"data":[9223372036854775808]`), "holds no"},
		{"UINT64 beyond", one(`"datatype":"UINT64","shape":[1],"data":[18446744073709551616]`), "holds no"},
		{"BOOL of two", one(`"datatype":"BOOL","shape":[1],"data":[2]`), "holds no"},
		{"FP32 beyond", one(`"datatype":"FP32","shape":[1],"data":[3.5e38]`), "holds no"},
		{"FP64 beyond", one(`"datatype":"FP64","shape":[1],"data":[1e309]`), "holds no"},
		{"NaN", one(`"datatype":"FP32","shape":[1],"data":[NaN]`), "no NaN"},
		{"Infinity", one(`"datatype":"FP32","shape":[1],"data":[Infinity]`), "no NaN"},
		{"-Infinity", one(`"datatype":"FP32","shape":[1],"data":[-Infinity]`), "no NaN"},
		{"null in floats", one(`"datatype":"FP32","shape":[1],"data":[null]`), "no FP32"},
		{"string in numbers", one(`"datatype":"FP32","shape":[1],"data":["1"]`), "no FP32"},
		{"number in strings", one(`"datatype":"BYTES","shape":[1],"data":[1]`), "no BYTES"},
		{"FP16 in JSON", one(`"datatype":"FP16","shape":[1],"data":[1]`), "no form in JSON"},
		{"BF16 in JSON", one(`"datatype":"BF16","shape":[1],"data":[1]`), "no form in JSON"},
		{"leading zero", one(fmt.Sprintf(int32s, "01")), "begins with 0"},
		{"leading plus", one(fmt.Sprintf(int32s, "+1")), "expected a number"},
		{"hexadecimal", one(fmt.Sprintf(int32s, "0x1")), "expected a comma"},
		{"no digits behind the point", one(`"datatype":"FP32","shape":[1],"data":[1.]`), "behind its point"},
		{"no digits in the exponent", one(`"datatype":"FP32","shape":[1],"data":[1e+]`), "in its exponent"},
		{"comma at the end", one(fmt.Sprintf(int32s, "1,")), "no INT32|expected a number|more elements"},
		{"comma at the end of members", `{"id":"a",}`, "a comma before"},
		{"no comma", one(`"datatype":"INT32" "shape":[1]`), "expected a comma"},
		{"comment", `{/* */"inputs":[]}`, "expected \""},
		{"single quotes", `{'inputs':[]}`, "expected \""},
		{"cut short", `{"inputs":[{"name":"x`, "does not end"},
		{"invalid UTF-8", one("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\xff\"]"), "not UTF-8"},
		{"overlong UTF-8", one("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\xc0\xaf\"]"), "not UTF-8"},
		{"lone surrogate", one(`"datatype":"BYTES","shape":[1],"data":["\ud800"]`), "surrogate"},
		{"surrogates the wrong way", one(`"datatype":"BYTES","shape":[1],"data":["\udc00\ud800"]`), "surrogate"},
		{"control character", one("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\n\"]"), "control character"},
		{"unknown escape", one(`"datatype":"BYTES","shape":[1],"data":["\x"]`), "escape"},
		{"long id", `{"id":"` + strings.Repeat("a", 1025) + `"}`, "longer than"},
		{"id a number", `{"id":1}`, "not a string"},
		{"binary without the header", one(`"datatype":"INT32","shape":[1],"parameters":{"binary_data_size":4}`), "0 bytes are left"},
		{"binary size negative", one(`"datatype":"INT32","shape":[1],"parameters":{"binary_data_size":-4}`), "not a number of bytes"},
		{"binary size a string", one(`"datatype":"INT32","shape":[1],"parameters":{"binary_data_size":"4"}`), "not a number of bytes"},
		{"data and binary", one(`"datatype":"INT32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}`), "both data"},
		{"binary_data a number", `{"parameters":{"binary_data_output":1},"inputs":[]}`, "not a boolean"},
	} {
		_, err := oip.DecodeRequest([]byte(c.body), nil)
		if code(err) != oip.BadInput || !containsAny(err.Error(), c.why) {
			t.Errorf("%s: error %v (%v), want bad input that says %q", c.name, err, code(err), c.why)
		}
	}
	_, err := oip.DecodeRequest([]byte(one(`"datatype":"INT32","shape":[1],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}`)), nil)
	if code(err) != oip.Unsupported {
		t.Errorf("shared memory: error %v, want unsupported", err)
	}
}

func many(n int) string {
	var b []string
	for i := range n {
		b = append(b, fmt.Sprintf(`"p%d":1`, i))
	}
	return strings.Join(b, ",")
}

func containsAny(s, alternatives string) bool {
	for a := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}

// What nobody reads may nest 128 levels deep, and no deeper.
func TestDepth(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		for n, ok := range map[int]bool{128: true, 129: false} {
			other := strings.Repeat(open, n) + "1" + strings.Repeat(map[string]string{"[": "]", `{"a":`: "}"}[open], n)
			_, err := oip.DecodeRequest([]byte(`{"other":`+other+`,"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}`), nil)
			if ok != (err == nil) {
				t.Errorf("%d levels of %s: error %v", n, open, err)
			}
		}
	}
}

// Every prefix of a request is refused and none panics.
func TestPrefixes(t *testing.T) {
	body := `{"id":"\u00e9\n","parameters":{"a":1.5e3,"b":true,"c":"d"},"other":[{"a":[null,false]}],"inputs":[{"name":"x","datatype":"FP32",` +
		`"shape":[2,2],"data":[[1.5,-2e-3],[0,4]]},{"data":["a","\ud83d\ude00"],"shape":[2],"datatype":"BYTES","name":"s"}],"outputs":[{"name":"y"}]}`
	if _, err := oip.DecodeRequest([]byte(body), nil); err != nil {
		t.Fatal(err)
	}
	for i := range body {
		if _, err := oip.DecodeRequest([]byte(body[:i]), nil); code(err) != oip.BadInput {
			t.Fatalf("%s: error %v, want bad input", body[:i], err)
		}
	}
}

func TestDecodesEveryForm(t *testing.T) {
	for _, c := range []struct {
		body    string
		raw     []byte
		strings []string
	}{
		{`"datatype":"BOOL","shape":[4],"data":[true,false,1,0]`, []byte{1, 0, 1, 0}, nil},
		{`"datatype":"INT8","shape":[3],"data":[-128,127,-0]`, []byte{0x80, 0x7f, 0}, nil},
		{`"datatype":"UINT16","shape":[2],"data":[65535,1]`, []byte{0xff, 0xff, 1, 0}, nil},
		{`"datatype":"INT32","shape":[1],"data":[-2147483648]`, []byte{0, 0, 0, 0x80}, nil},
		{`"datatype":"INT64","shape":[2],"data":[-9223372036854775808,9223372036854775807]`, []byte{0, 0, 0, 0, 0, 0, 0, 0x80, 255, 255, 255, 255, 255, 255, 255, 0x7f}, nil},
		{`"datatype":"UINT64","shape":[1],"data":[18446744073709551615]`, bytes.Repeat([]byte{255}, 8), nil},
		{`"datatype":"FP32","shape":[2],"data":[1,-0.0]`, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x80}, nil},
		{`"datatype":"FP64","shape":[1],"data":[1e-400]`, make([]byte, 8), nil},
		{`"datatype":"UINT8","shape":[2,2],"data":[[1,2],[3,4]]`, []byte{1, 2, 3, 4}, nil},
		{`"datatype":"UINT8","shape":[2,2],"data":[1,2,3,4]`, []byte{1, 2, 3, 4}, nil},
		{`"datatype":"UINT8","shape":[1,2,1],"data":[ [ [1] , [2] ] ]`, []byte{1, 2}, nil},
		{`"data":[[1],[2]],"shape":[2,1],"datatype":"UINT8"`, []byte{1, 2}, nil},
		{`"datatype":"UINT8","shape":[],"data":[7]`, []byte{7}, nil},
		{`"datatype":"UINT8","shape":[2,0],"data":[[],[]]`, []byte{}, nil},
		{`"datatype":"UINT8","shape":[0],"data":[]`, []byte{}, nil},
		{`"datatype":"BYTES","shape":[3],"data":["","é","\u00e9\ud83d\ude00\n"]`, nil, []string{"", "é", "é😀\n"}},
		{`"datatype":"BYTES","shape":[3],"data":["\u0061\n","\u0062\n","c"]`, nil, []string{"a\n", "b\n", "c"}},
		{`"data":["a\tb","c"],"shape":[1,2],"datatype":"BYTES"`, nil, []string{"a\tb", "c"}},
	} {
		q, err := oip.DecodeRequest([]byte(one(c.body)), nil)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		var words []string
		for _, s := range q.Inputs[0].Strings {
			words = append(words, string(s))
		}
		if !bytes.Equal(q.Inputs[0].Raw, c.raw) || !reflect.DeepEqual(words, c.strings) {
			t.Errorf("%s: %x %q, want %x %q", c.body, q.Inputs[0].Raw, words, c.raw, c.strings)
		}
	}
}

// What is said of outputs and in parameters.
func TestWants(t *testing.T) {
	const in = `"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]`
	for _, c := range []struct {
		body           string
		wanted, binary bool
	}{
		{`{` + in + `}`, true, false},
		{`{` + in + `,"parameters":{"binary_data_output":true}}`, true, true},
		{`{` + in + `,"outputs":null,"parameters":null}`, true, false},
		{`{` + in + `,"outputs":[{"name":"z"}]}`, false, false},
		{`{` + in + `,"outputs":[{"name":"y"}]}`, true, false},
		{`{` + in + `,"outputs":[{"name":"y","parameters":{"binary_data":true}}]}`, true, true},
		{`{` + in + `,"outputs":[{"name":"y"}],"parameters":{"binary_data_output":true}}`, true, true},
		{`{"parameters":{"binary_data_output":true},` + in + `,"outputs":[{"name":"y","parameters":{"binary_data":false}}]}`, true, false},
	} {
		q, err := oip.DecodeRequest([]byte(c.body), nil)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if w, b := q.Wants("y"); w != c.wanted || b != c.binary {
			t.Errorf("%s: wanted %v in binary %v, want %v %v", c.body, w, b, c.wanted, c.binary)
		}
	}
	q, err := oip.DecodeRequest([]byte(`{`+in+`,"parameters":{"i":-1,"u":18446744073709551615,"f":0.5,"s":"t","b":false}}`), nil)
	want := oip.Parameters{"i": int64(-1), "u": uint64(math.MaxUint64), "f": 0.5, "s": "t", "b": false}
	if err != nil || !reflect.DeepEqual(q.Parameters, want) {
		t.Errorf("parameters %v %v, want %v", q.Parameters, err, want)
	}
}

// Numbers are the ones that strconv reads, which is correctly rounded.
func TestNumbersAgreeWithStrconv(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	texts := []string{"0", "-0", "1", "16777217", "9007199254740993", "3.4028235e38", "3.4028236e38", "1.17549435e-38", "1e-45", "7e-46", "0.1", "123456789012345678901234567890",
		"5e-324", "2.2250738585072014e-308", "1.7976931348623157e308", "9999999999999999999", "18446744073709551616e-5", "0.000000000000000000000000000001", "8.41e21", "33554431.5", "33554430.999999999999999"}
	for range 40_000 {
		var v float64
		switch rng.IntN(4) {
		case 0:
			v = float64(math.Float32frombits(rng.Uint32()))
		case 1:
			v = math.Float64frombits(rng.Uint64())
		case 2: // in the middle between two float32, or next to it
			f := math.Float32frombits(rng.Uint32() & 0x7f7fffff)
			v = (float64(f) + float64(math.Nextafter32(f, math.MaxFloat32))) / 2
			v = math.Nextafter(v, v*[]float64{1, 0, 2}[rng.IntN(3)])
		case 3:
			v = rng.NormFloat64()
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		texts = append(texts, strconv.FormatFloat(v, "eg"[rng.IntN(2)], -1, 64), strconv.FormatFloat(v, 'g', 1+rng.IntN(24), 64))
	}
	for _, s := range texts {
		for _, bits := range []int{32, 64} {
			want, failed := strconv.ParseFloat(s, bits)
			q, err := oip.DecodeRequest([]byte(one(fmt.Sprintf(`"datatype":"FP%d","shape":[1],"data":[%s]`, bits, s))), nil)
			if (failed != nil) != (err != nil) {
				t.Fatalf("%s in %d bits: error %v, want %v", s, bits, err, failed)
			}
			if err == nil && !bytes.Equal(q.Inputs[0].Raw, little(want, bits)) {
				t.Fatalf("%s in %d bits: %x, want %x", s, bits, q.Inputs[0].Raw, little(want, bits))
			}
		}
	}
}

func little(v float64, bits int) []byte {
	u := math.Float64bits(v)
	if bits == 32 {
		u = uint64(math.Float32bits(float32(v)))
	}
	var b []byte
	for range bits / 8 {
		b = append(b, byte(u))
		u >>= 8
	}
	return b
}

// sample is a request with every datatype, binary forms among them.
func sample() *oip.Request {
	q := &oip.Request{ID: "i\"d", Parameters: oip.Parameters{"a": int64(1), "b": "c"}, Outputs: []oip.Output{{Name: "y", Binary: true}, {Name: "z"}}}
	for _, d := range oip.Datatypes {
		t := oip.Tensor{Name: "in " + string(d), Datatype: d, Shape: []int64{2, 1}}
		if d == oip.BYTES {
			t.Strings = [][]byte{[]byte("a\x00\u2028"), {}}
		} else {
			t.Raw = make([]byte, 2*d.Size())
			t.Raw[0] = 1
		}
		q.Inputs = append(q.Inputs, t)
	}
	return q
}

// What is encoded for a model is what was checked: encoding and decoding again
// gives the same request, in every form.
func TestRoundTrips(t *testing.T) {
	q := sample()
	m, err := oip.EncodeRequest(q, true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := oip.DecodeRequest(m.JSON, bytes.Join(m.Binary, nil))
	if err != nil || !reflect.DeepEqual(again, q) {
		t.Errorf("binary: %v %+v, want %+v", err, again, q)
	}
	if !json.Valid(m.JSON) {
		t.Errorf("not JSON: %s", m.JSON)
	}
	q.Model, q.Version = "m", "1"
	over, err := oip.RequestFromGRPC(oip.RequestToGRPC(q))
	if err != nil || !reflect.DeepEqual(over.Inputs, q.Inputs) || !reflect.DeepEqual(over.Parameters, q.Parameters) || over.Model != "m" || over.Version != "1" || over.ID != q.ID {
		t.Errorf("gRPC: %v %+v, want %+v", err, over, q)
	}

	q = sample()
	q.Inputs = append(q.Inputs[:9], q.Inputs[11:]...) // JSON has no FP16 and BF16
	m, err = oip.EncodeRequest(q, false)
	if err != nil || m.Binary != nil {
		t.Fatal(err, m.Binary)
	}
	again, err = oip.DecodeRequest(m.JSON, nil)
	if err != nil || !reflect.DeepEqual(again, q) {
		t.Errorf("JSON: %v %+v, want %+v", err, again, q)
	}

	a := &oip.Response{ModelName: "m", ModelVersion: "1", ID: "x", Outputs: q.Inputs, Parameters: q.Parameters}
	typed, err := oip.ResponseFromGRPC(oip.ResponseToGRPC(a, &oip.Request{}))
	if err != nil || !reflect.DeepEqual(typed, a) {
		t.Errorf("typed gRPC: %v %+v, want %+v", err, typed, a)
	}
	for _, binary := range []bool{false, true} {
		m, err := oip.EncodeResponse(a, &oip.Request{BinaryOutput: binary})
		if err != nil {
			t.Fatal(err)
		}
		back, err := oip.DecodeResponse(m.JSON, bytes.Join(m.Binary, nil))
		if err != nil || !reflect.DeepEqual(back, a) {
			t.Errorf("answer, binary %v: %v %+v, want %+v", binary, err, back, a)
		}
	}
}

// Floats that JSON cannot hold are null in answers, and refused in requests.
func TestNotANumber(t *testing.T) {
	x := oip.Tensor{Name: "y", Datatype: oip.FP32, Shape: []int64{3}, Raw: append(append(little(math.NaN(), 32), little(math.Inf(1), 32)...), little(1e21, 32)...)}
	m, err := oip.EncodeResponse(&oip.Response{Outputs: []oip.Tensor{x}}, &oip.Request{})
	if err != nil || !strings.Contains(string(m.JSON), `"data":[null,null,1e+21]`) {
		t.Fatalf("%v %s, want null for what JSON cannot hold", err, m.JSON)
	}
	back, err := oip.DecodeResponse(m.JSON, nil)
	if err != nil || !math.IsNaN(float64(math.Float32frombits(uint32(back.Outputs[0].Raw[0])|uint32(back.Outputs[0].Raw[1])<<8|uint32(back.Outputs[0].Raw[2])<<16|uint32(back.Outputs[0].Raw[3])<<24))) {
		t.Errorf("%v %v, want NaN for null", err, back)
	}
	if _, err := oip.EncodeRequest(&oip.Request{Inputs: []oip.Tensor{x}}, false); code(err) != oip.Unsupported {
		t.Errorf("error %v, want unsupported", err)
	}
	half := oip.Tensor{Name: "y", Datatype: oip.FP16, Shape: []int64{1}, Raw: []byte{0, 0}}
	if _, err := oip.EncodeResponse(&oip.Response{Outputs: []oip.Tensor{half}}, &oip.Request{}); code(err) != oip.BadInput {
		t.Errorf("error %v, want bad input that tells to ask for binary", err)
	}
}

// The errors' body, to the letter where clients depend on it.
func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{oip.Errorf(oip.NotFound, "Request for unknown model: 'm' is not found"), 404,
			`{"error":"Request for unknown model: 'm' is not found","type":"urn:redoubt:error:not-found","title":"not found","status":404,"instance":"r1"}`},
		{fmt.Errorf("wrapped: %w", &oip.Error{Code: oip.Unavailable, Message: "later", Err: errors.New("secret")}), 503,
			`{"error":"later","type":"urn:redoubt:error:unavailable","title":"unavailable","status":503,"instance":"r1"}`},
		{errors.New("secret"), 500, `{"error":"internal error","type":"urn:redoubt:error:internal","title":"internal","status":500,"instance":"r1"}`},
		{oip.Errorf(oip.BadInput, "a\r\nb\x1b[31m\u202e\xff"), 400,
			`{"error":"a  b [31m ` + "\ufffd" + `","type":"urn:redoubt:error:bad-input","title":"bad input","status":400,"instance":"r1"}`},
	} {
		w := httptest.NewRecorder()
		oip.WriteError(w, c.err, "r1")
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%v: %d %s %s, want %d %s", c.err, w.Code, w.Header().Get("Content-Type"), w.Body, c.status, c.body)
		}
		if s := oip.Classify(c.err).GRPCStatus(); strings.Contains(s.String(), "secret") || s.Code() != oip.Classify(c.err).Code.GRPC() {
			t.Errorf("%v: gRPC status %v", c.err, s)
		}
	}
	if http.StatusText(oip.Deadline.HTTPStatus()) != "Gateway Timeout" {
		t.Error("deadline is not 504")
	}
}
