package serve

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// heapFor is what a function allocates, in bytes, with all that runs beside it.
func heapFor(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// framed is a message of gRPC.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// inputs is so many times a field of a message of gRPC, after the model's name.
func fields(field string, n int) string {
	return string(framed([]byte("\x0a\x06simple" + strings.Repeat(field, n))))
}

// The worst bodies that we know, of a megabyte each: an answer in the form of
// errors, with an id, and no more memory than a multiple of what was sent. What is
// measured is all that is allocated on the way, the client's part with it; the
// peak is lower.
func TestCostOfBadInput(t *testing.T) {
	s, token := started(t, nil)
	c := callerOf(t, s, token)
	transport := overHTTP2(c)
	t.Cleanup(transport.CloseIdleConnections)
	const size = 1 << 20
	many := func(part string) string { return strings.Repeat(part, size/len(part)) }
	packed := func(content string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, content)
		z.Close()
		return b.String()
	}
	tensor := func(data string) string {
		return `{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"INT32","data":` + data + `}]}`
	}
	const infer, predict = "/v2/models/simple/infer", "/api/v1/models/simple/predict"
	for name, r := range map[string]struct {
		path, body, coding string
		times              uint64 // what is allocated may be so many times the body
	}{
		"numbers":                  {infer, tensor("[" + many("1,") + "1]"), "", 40},
		"numbers with an exponent": {infer, tensor("[" + many("1e9,") + "1]"), "", 40},
		"lists in lists":           {infer, tensor(many("[")), "", 10},
		"empty lists":              {infer, tensor("[" + many("[],") + "[]]"), "", 40},
		"a long string":            {infer, tensor(`"` + many("a") + `"`), "", 10},
		"escapes":                  {infer, tensor(`["` + many(`\u0041`) + `"]`), "", 20},
		"empty strings":            {infer, tensor("[" + many(`"",`) + `""]`), "", 40},
		"a long name":              {infer, `{"` + many("a") + `":1}`, "", 10},
		"empty inputs":             {infer, `{"inputs":[` + many("{},") + "{}]}", "", 40},
		"named inputs":             {infer, `{"inputs":[` + many(`{"name":"a"},`) + "{}]}", "", 40},
		"many dimensions":          {infer, `{"inputs":[{"name":"INPUT0","shape":[` + many("1,") + `1],"datatype":"INT32","data":[1]}]}`, "", 40},
		"parameters":               {infer, `{"parameters":{` + many(`"a":1,`) + `"b":1}}`, "", 40},
		"a number without an end":  {infer, tensor("[" + many("1") + "]"), "", 10},
		"spaces":                   {infer, many(" "), "", 10},
		"zeros":                    {infer, many("\x00"), "", 10},
		"packed zeros":             {infer, packed(strings.Repeat(many("\x00"), 64)), "gzip", 1 << 10}, // of 64 KB
		"features":                 {predict, `{"features":[` + many(`{"a":1},`) + `{}]}`, "", 80},
		"empty features":           {predict, `{"features":[` + many(`{},`) + `{}]}`, "", 80},
		"values":                   {predict, `{"features":{"INPUT0":[` + many(`1,`) + `1]}}`, "", 80},
		"features in features":     {predict, `{"features":` + many("[") + "]}", "", 10},
		"texts":                    {predict, `{"text":[` + many(`"",`) + `""]}`, "", 80},
		"a text":                   {predict, `{"text":"` + many("a") + `"}`, "", 10},
		"gRPC: zeros":              {"", string(framed(make([]byte, size))), "", 10},
		"gRPC: empty inputs":       {"", fields("\x2a\x00", size/2), "", 40},
		"gRPC: empty outputs":      {"", fields("\x32\x00", size/2), "", 40},
		"gRPC: raw contents":       {"", fields("\x3a\x00", size/2), "", 40},
		"gRPC: parameters":         {"", fields("\x22\x03\x0a\x01a", size/5), "", 40},
		"gRPC: empty parameters":   {"", fields("\x22\x00", size/2), "", 40},
		"gRPC: dimensions":         {"", fields("\x2a\x08\x1a\x06\x01\x01\x01\x01\x01\x01", size/10), "", 40},
		"gRPC: unknown fields":     {"", fields("\xf8\x3f\x01", size/3), "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			path, listener, kind := r.path, "rest", "application/json"
			if path == "" {
				path, listener, kind = inferMethod, "grpc", "application/grpc"
			}
			q, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+s.Address(listener)+path, strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", kind)
			q.Header.Set("Authorization", "Bearer "+token)
			if r.coding != "" {
				q.Header.Set("Content-Encoding", r.coding)
			}
			var a *http.Response
			var body []byte
			took := heapFor(func() {
				if a, err = transport.RoundTrip(q); err == nil {
					body, err = io.ReadAll(a.Body)
					a.Body.Close()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if listener == "rest" {
				got := answered{a.StatusCode, a.Header, string(body)}
				got.shaped(t, name, "/v2")
				if a.StatusCode < 400 || a.StatusCode >= 500 {
					t.Errorf("answered %d %.100s", a.StatusCode, body)
				}
			} else if code := a.Header.Get("Grpc-Status") + a.Trailer.Get("Grpc-Status"); code == "" || code == "0" || a.Header.Get("X-Request-Id") == "" {
				t.Errorf("answered %v, %v", a.Header, a.Trailer)
			}
			t.Logf("%d bytes: %d allocated, %.1f times", len(r.body), took, float64(took)/float64(len(r.body)))
			if took > r.times*uint64(len(r.body))+1<<20 {
				t.Errorf("%d bytes took %d", len(r.body), took)
			}
		})
	}
}
