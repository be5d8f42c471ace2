package oip_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

const header = "Inference-Header-Content-Length"

// post makes a request of a body and pairs of header names and values.
func post(body []byte, h ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v2/models/m/infer", bytes.NewReader(body))
	for i := 0; i < len(h); i += 2 {
		r.Header.Add(h[i], h[i+1])
	}
	return r
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func TestBinaryFraming(t *testing.T) {
	const two = `{"inputs":[{"name":"a","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}},{"name":"b","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}}]}`
	tail := append([]byte{1, 0, 2, 0}, oip.AppendBytes(nil, [][]byte{[]byte("abc"), {}})...)
	whole := append([]byte(two), tail...)
	n := strconv.Itoa(len(two))
	for _, c := range []struct {
		name string
		r    *http.Request
	}{
		{"plain", post(whole, header, n)},
		{"header in lower case", post(whole, "inference-header-content-length", n)},
		{"gzip", post(gzipped(whole), header, n, "Content-Encoding", "gzip")},
		{"deflate", post(deflated(whole), header, n, "Content-Encoding", "Deflate")},
		{"identity", post(whole, header, n, "Content-Encoding", "identity", "Content-Type", "application/octet-stream")},
		{"byte by byte", httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(bytes.NewReader(whole)))},
	} {
		if c.name == "byte by byte" {
			c.r.Header.Set(header, n)
		}
		q, err := oip.ReadRequest(c.r, nil, oip.Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !bytes.Equal(q.Inputs[0].Raw, []byte{1, 0, 2, 0}) || !reflect.DeepEqual(q.Inputs[1].Strings, [][]byte{[]byte("abc"), {}}) {
			t.Errorf("%s: %v", c.name, q.Inputs)
		}
	}

	sized := func(tensor string, tail ...byte) *http.Request {
		head := `{"inputs":[` + tensor + `]}`
		return post(append([]byte(head), tail...), header, strconv.Itoa(len(head)))
	}
	const i32 = `{"name":"a","datatype":"INT32","shape":[1],"parameters":{"binary_data_size":4}}`
	const s1 = `{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}`
	for _, c := range []struct {
		name string
		r    *http.Request
		code oip.Code
		why  string
	}{
		{"one byte less", sized(i32, 1, 2, 3), oip.BadInput, "3 bytes are left"},
		{"one byte more", sized(i32, 1, 2, 3, 4, 5), oip.BadInput, "1 bytes of the body belong"},
		{"size other than the shape's", sized(strings.Replace(i32, `[1]`, `[2]`, 1), 1, 2, 3, 4), oip.BadInput, "takes 8 bytes"},
		{"BOOL of two", sized(`{"name":"a","datatype":"BOOL","shape":[1],"parameters":{"binary_data_size":1}}`, 2), oip.BadInput, "0 or 1"},
		{"size beyond int64", sized(strings.Replace(i32, `:4`, `:9223372036854775808`, 1), 1), oip.BadInput, "number of bytes"},
		{"element longer than the tensor", sized(s1, 2, 0, 0, 0, 'a'), oip.BadInput, "takes 2 bytes"},
		{"element of four gigabytes", sized(s1, 255, 255, 255, 255, 'a'), oip.BadInput, "takes 4294967295 bytes"},
		{"elements fewer than the shape's", sized(strings.Replace(s1, `[1]`, `[2]`, 1), 1, 0, 0, 0, 'a'), oip.BadInput, "cannot hold"},
		{"elements more than the shape's", sized(strings.Replace(s1, `:5`, `:9`, 1), 1, 0, 0, 0, 'a', 0, 0, 0, 0), oip.BadInput, "left behind"},
		{"shape of none and bytes", sized(strings.Replace(s1, `[1]`, `[0]`, 1), 1, 0, 0, 0, 'a'), oip.BadInput, "left behind"},
		{"header beyond the body", post(whole, header, "100000"), oip.BadInput, "the body has"},
		{"header beyond int64", post(whole, header, "9223372036854775808"), oip.BadInput, "not one number"},
		{"header negative", post(whole, header, "-1"), oip.BadInput, "not one number"},
		{"header with a sign", post(whole, header, "+1"), oip.BadInput, "not one number"},
		{"header in hexadecimal", post(whole, header, "0x10"), oip.BadInput, "not one number"},
		{"header empty", post(whole, header, ""), oip.BadInput, "not one number"},
		{"header twice", post(whole, header, n, header, n), oip.BadInput, "not one number"},
		{"header inside the JSON", post(whole, header, "10"), oip.BadInput, "JSON"},
		{"encoding unknown", post(whole, header, n, "Content-Encoding", "br"), oip.UnsupportedMedia, "encoding"},
		{"encodings stacked", post(gzipped(gzipped(whole)), header, n, "Content-Encoding", "gzip, gzip"), oip.UnsupportedMedia, "encoding"},
		{"encodings in two headers", post(gzipped(gzipped(whole)), header, n, "Content-Encoding", "gzip", "Content-Encoding", "gzip"), oip.UnsupportedMedia, "encoding"},
		{"not gzip", post(whole, header, n, "Content-Encoding", "gzip"), oip.BadInput, "not compressed"},
		{"gzip cut short", post(gzipped(whole)[:40], header, n, "Content-Encoding", "gzip"), oip.BadInput, "ends early"},
		{"gzip with a wrong sum", post(flip(gzipped(whole), 8), header, n, "Content-Encoding", "gzip"), oip.BadInput, "ends early"},
		{"something behind gzip", post(append(gzipped(whole), 0), header, n, "Content-Encoding", "gzip"), oip.BadInput, "follows"},
		{"two gzip members", post(append(gzipped(whole), gzipped(nil)...), header, n, "Content-Encoding", "gzip"), oip.BadInput, "follows"},
		{"form", post(whole, "Content-Type", "application/x-www-form-urlencoded"), oip.UnsupportedMedia, "content type"},
		{"two types", post(whole, "Content-Type", "application/json", "Content-Type", "text/plain"), oip.UnsupportedMedia, "content type"},
	} {
		_, err := oip.ReadRequest(c.r, nil, oip.Limits{})
		if code(err) != c.code || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: error %v (%v), want %v that says %q", c.name, err, code(err), c.code, c.why)
		}
	}
}

// flip changes a byte, counted from the end.
func flip(b []byte, fromEnd int) []byte {
	b[len(b)-fromEnd] ^= 1
	return b
}

// endless gives zeros and counts what was taken of them.
type endless struct{ taken int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.taken += int64(len(p))
	return len(p), nil
}

// Bodies beyond the limits are refused before they are read, or as soon as they
// pass them.
func TestBodyLimits(t *testing.T) {
	zeros := make([]byte, 5_000_000)
	for _, c := range []struct {
		name     string
		body     []byte
		encoding string
		lim      oip.Limits
		code     oip.Code
	}{
		{"as large as allowed", zeros[:1000], "", oip.Limits{Body: 1000}, 255},
		{"one byte beyond", zeros[:1001], "", oip.Limits{Body: 1000}, oip.TooLarge},
		{"bomb beyond the size", gzipped(zeros), "gzip", oip.Limits{Body: 1_000_000, Ratio: 1 << 20}, oip.TooLarge},
		{"bomb beyond the ratio", gzipped(zeros), "gzip", oip.Limits{}, oip.TooLarge},
		{"bomb of zlib", deflated(zeros), "deflate", oip.Limits{}, oip.TooLarge},
		{"small and well compressed", gzipped(zeros[:60_000]), "gzip", oip.Limits{}, 255},
		{"ratio allowed", gzipped(zeros), "gzip", oip.Limits{Ratio: 2000}, 255},
	} {
		var encoding []string
		if c.encoding != "" {
			encoding = []string{c.encoding}
		}
		// The length is known, unknown, or a lie.
		for _, length := range []int64{int64(len(c.body)), -1, 10} {
			_, err := oip.ReadBody(bytes.NewReader(c.body), encoding, length, c.lim)
			if code(err) != c.code {
				t.Errorf("%s, length %d: error %v, want code %v", c.name, length, err, c.code)
			}
		}
	}
	e := &endless{}
	if _, err := oip.ReadBody(e, nil, -1, oip.Limits{Body: 100_000}); code(err) != oip.TooLarge || e.taken > 100_001 {
		t.Errorf("error %v after %d bytes, want too large after 100,001", err, e.taken)
	}
	e = &endless{}
	if _, err := oip.ReadBody(e, nil, 1<<40, oip.Limits{}); code(err) != oip.TooLarge || e.taken > 0 {
		t.Errorf("error %v after %d bytes, want too large before any is read", err, e.taken)
	}
	if _, err := oip.ReadBody(iotest.ErrReader(errors.New("gone")), nil, -1, oip.Limits{}); code(err) != oip.BadInput {
		t.Errorf("error %v, want bad input", err)
	}
}

// A body without JSON is the only input's elements.
func TestRawBody(t *testing.T) {
	model := func(d oip.Datatype, shape ...int64) *oip.Metadata {
		return &oip.Metadata{Inputs: []oip.TensorMetadata{{Name: "x", Datatype: d, Shape: shape}}}
	}
	for _, c := range []struct {
		m     *oip.Metadata
		body  string
		shape []int64 // nil if it is refused
	}{
		{model(oip.FP32, 2), "12345678", []int64{2}},
		{model(oip.FP32, -1, 2), "12345678", []int64{1, 2}},
		{model(oip.FP32, -1, -1, 2), "1234567812345678", []int64{1, 2, 2}},
		{model(oip.FP32, -1), "12345678", []int64{2}},
		{model(oip.BYTES, 1), "text", []int64{1}},
		{model(oip.BYTES, -1, 1), "text", []int64{1, 1}},
		{model(oip.BYTES, -1, 2), "text", nil},
		{model(oip.FP32, 2), "1234567", nil},
		{model(oip.FP32, -1, 2), "1234", nil},
		{model(oip.FP32, -1, -1, -1), "1234", nil},
		{model(oip.FP32, -1, 0), "1234", nil},
		{model(oip.FP64, -1, 1<<62, 4), "1234", nil},
		{&oip.Metadata{Inputs: make([]oip.TensorMetadata, 2)}, "1234", nil},
		{nil, "1234", nil},
	} {
		q, err := oip.ReadRequest(post([]byte(c.body), header, "0"), c.m, oip.Limits{})
		switch {
		case c.shape == nil && code(err) != oip.BadInput:
			t.Errorf("%v: error %v, want bad input", c.m, err)
		case c.shape != nil && (err != nil || !reflect.DeepEqual(q.Inputs[0].Shape, c.shape) || !q.BinaryOutput):
			t.Errorf("%v: %v %v, want shape %v", c.m, err, q, c.shape)
		}
	}
}

// Answers come in the form asked for, compressed where the client takes it, and
// read back the same.
func TestWriteResponse(t *testing.T) {
	raw := bytes.Repeat([]byte{1, 2, 3, 4}, 1000)
	a := &oip.Response{ModelName: "m", ID: "1", Outputs: []oip.Tensor{
		{Name: "big", Datatype: oip.INT32, Shape: []int64{1000}, Raw: raw}, {Name: "small", Datatype: oip.UINT8, Shape: []int64{1}, Raw: []byte{5}}}}
	for _, c := range []struct {
		accept   string
		q        *oip.Request
		encoding string
		binary   bool
		outputs  int
	}{
		{"", &oip.Request{}, "", false, 2},
		{"gzip, deflate", &oip.Request{BinaryOutput: true}, "gzip", true, 2},
		{"deflate", &oip.Request{}, "deflate", false, 2},
		{"gzip;q=0, *", &oip.Request{}, "", false, 2},
		{"br;q=1.0, GZIP;q=0.5", &oip.Request{Outputs: []oip.Output{{Name: "big", Binary: true}}}, "gzip", true, 1},
		{"gzip", &oip.Request{Outputs: []oip.Output{{Name: "small"}}}, "", false, 1}, // too small to be worth it
	} {
		w := httptest.NewRecorder()
		if err := oip.WriteResponse(w, post(nil, "Accept-Encoding", c.accept), c.q, a); err != nil {
			t.Fatal(err)
		}
		r := w.Result()
		if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != c.encoding || (r.Header.Get(header) != "") != c.binary {
			t.Errorf("%q: %d %v", c.accept, r.StatusCode, r.Header)
		}
		back, err := oip.ReadResponse(r, oip.Limits{})
		if err != nil || len(back.Outputs) != c.outputs || c.outputs == 2 && !reflect.DeepEqual(back, a) {
			t.Errorf("%q: %v %v", c.accept, err, back)
		}
	}
}

// A request of the clients' most common kind costs at most what the package
// comment promises, and so does one made to cost as much as it can.
func TestMemory(t *testing.T) {
	n := 300_000
	for name, body := range map[string]string{
		"small numbers":    one(`"datatype":"FP64","shape":[` + strconv.Itoa(n) + `],"data":[` + strings.Repeat("0,", n-1) + `0]`),
		"empty strings":    one(`"datatype":"BYTES","shape":[` + strconv.Itoa(n) + `],"data":[` + strings.Repeat(`"",`, n-1) + `""]`),
		"escaped strings":  one(`"datatype":"BYTES","shape":[` + strconv.Itoa(n) + `],"data":[` + strings.Repeat(`"\n",`, n-1) + `"\n"]`),
		"false shape":      one(`"datatype":"FP64","shape":[900000],"data":[` + strings.Repeat("0,", n) + `0]`),
		"many tensors":     `{"inputs":[` + strings.Repeat(`{"name":"","shape":[]},`, n) + `]}`,
		"many outputs":     `{"outputs":[` + strings.Repeat(`{},`, n) + `{}]}`,
		"nested in other":  `{"other":[` + strings.Repeat(`{},`, n) + `{}]}`,
		"binary strings":   "",
		"wrong everywhere": strings.Repeat("[", n),
	} {
		b, h := []byte(body), []string{}
		if name == "binary strings" {
			head := `{"inputs":[{"name":"x","datatype":"BYTES","shape":[` + strconv.Itoa(n) + `],"parameters":{"binary_data_size":` + strconv.Itoa(4*n) + `}}]}`
			b, h = append([]byte(head), make([]byte, 4*n)...), []string{header, strconv.Itoa(len(head))}
		}
		r := post(b, h...)
		got := allocated(func() { _, _ = oip.ReadRequest(r, nil, oip.Limits{}) })
		if got > 12*uint64(len(b))+64<<10 {
			t.Errorf("%s: %d bytes taken for a body of %d, promised is 12 times", name, got, len(b))
		}
	}
}

// allocated is how many bytes a call sets aside, in all.
func allocated(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(one(`"datatype":"FP32","shape":[2,1],"data":[[1.5],[-2e-3]]`)), []byte{})
	f.Add([]byte(one(`"data":["a","\u00e9"],"datatype":"BYTES","shape":[2]`)), []byte{})
	f.Add([]byte(one(`"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5,"p":1.5}`)), []byte{1, 0, 0, 0, 'a'})
	f.Add([]byte(one(`"datatype":"INT8","shape":[],"data":[1]`)+" "), []byte{})
	f.Fuzz(func(t *testing.T, json, tail []byte) {
		var q *oip.Request
		var err error
		taken := allocated(func() { q, err = oip.DecodeRequest(json, tail) })
		// The fuzzer's own goroutines allocate too, so the bound is generous.
		if n := uint64(len(json) + len(tail)); taken > 12*n+8<<20 {
			t.Fatalf("%d bytes taken for %d", taken, n)
		}
		if err != nil {
			if c := code(err); c != oip.BadInput && c != oip.Unsupported {
				t.Fatalf("error %v of kind %v", err, c)
			}
			return
		}
		again(t, q, true)
		again(t, q, false)
		over, err := oip.RequestFromGRPC(oip.RequestToGRPC(q))
		if err != nil || !same(over.Inputs, q.Inputs) {
			t.Fatalf("over gRPC: %v %v, want %v", err, over, q)
		}
	})
}

// again encodes a request, decodes it, and wants the same.
func again(t *testing.T, q *oip.Request, binary bool) {
	m, err := oip.EncodeRequest(q, binary)
	if err != nil {
		if code(err) != oip.Unsupported || binary {
			t.Fatalf("encode: %v", err)
		}
		return
	}
	back, err := oip.DecodeRequest(m.JSON, bytes.Join(m.Binary, nil))
	if err != nil {
		t.Fatalf("decode again: %v: %s", err, m.JSON)
	}
	if !same(back.Inputs, q.Inputs) || back.ID != q.ID || !reflect.DeepEqual(back.Outputs, q.Outputs) {
		t.Fatalf("encoded %+v, decoded %+v", q, back)
	}
}

// same compares tensors by what they say.
func same(a, b []oip.Tensor) bool {
	return len(a) == len(b) && reflect.DeepEqual(plain(a), plain(b))
}

func plain(tensors []oip.Tensor) []any {
	var out []any
	for _, t := range tensors {
		out = append(out, t.Name, t.Datatype, append([]int64{}, t.Shape...), string(t.Raw), string(oip.AppendBytes(nil, t.Strings)), len(t.Strings))
	}
	return out
}

func FuzzReadRequest(f *testing.F) {
	const head = `{"inputs":[{"name":"a","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}}]}`
	f.Add([]byte(head+"abcd"), strconv.Itoa(len(head)), "")
	f.Add(gzipped([]byte(head+"abcd")), strconv.Itoa(len(head)), "gzip")
	f.Add(deflated([]byte(one(`"datatype":"INT8","shape":[1],"data":[1]`))), "", "deflate")
	f.Add([]byte("abcd"), "0", "")
	m := &oip.Metadata{Inputs: []oip.TensorMetadata{{Name: "x", Datatype: oip.FP32, Shape: []int64{-1, -1, 1}}}}
	f.Fuzz(func(t *testing.T, body []byte, length, encoding string) {
		r := &http.Request{Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
		if length != "" {
			r.Header[header] = []string{length}
		}
		if encoding != "" {
			r.Header["Content-Encoding"] = []string{encoding}
		}
		q, err := oip.ReadRequest(r, m, oip.Limits{Body: 1 << 20})
		if err != nil {
			if code(err) == 255 || code(err) == oip.Internal {
				t.Fatalf("error %v is not the client's", err)
			}
			return
		}
		again(t, q, true)
	})
}

func FuzzBytes(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(oip.AppendBytes(nil, [][]byte{[]byte("a"), {}}), uint16(2))
	f.Fuzz(func(t *testing.T, raw []byte, n uint16) {
		head := `{"outputs":[{"name":"x","datatype":"BYTES","shape":[` + strconv.Itoa(int(n)) + `],"parameters":{"binary_data_size":` + strconv.Itoa(len(raw)) + `}}]}`
		a, err := oip.DecodeResponse([]byte(head), raw)
		if err == nil && !bytes.Equal(oip.AppendBytes([]byte{}, a.Outputs[0].Strings), append([]byte{}, raw...)) {
			t.Fatalf("%x decoded as %q", raw, a.Outputs[0].Strings)
		}
	})
}

// image is a request of 3x32x32 floats, in JSON as a client prints float64 or
// float32, and in binary form.
func image() (q *oip.Request) {
	raw := make([]byte, 0, 4*3*32*32)
	for i := range 3 * 32 * 32 {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(0x3f000000+i*2731))
	}
	return &oip.Request{Inputs: []oip.Tensor{{Name: "x", Datatype: oip.FP32, Shape: []int64{1, 3, 32, 32}, Raw: raw}}}
}

func BenchmarkDecode(b *testing.B) {
	for _, form := range []string{"json", "binary"} {
		m, err := oip.EncodeRequest(image(), form == "binary")
		if err != nil {
			b.Fatal(err)
		}
		tail := bytes.Join(m.Binary, nil)
		b.Run(form, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(m.Len())
			for b.Loop() {
				if _, err := oip.DecodeRequest(m.JSON, tail); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	q := image()
	a := &oip.Response{ModelName: "m", Outputs: q.Inputs}
	for _, form := range []string{"json", "binary"} {
		b.Run(form, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := oip.EncodeResponse(a, &oip.Request{BinaryOutput: form == "binary"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
