package remote

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

func TestIntegersAreRoundedIntoTheirType(t *testing.T) {
	for name, want := range map[string][]int64{
		"INT8": {-128, -2, 2, 127, 127}, "UINT8": {0, 0, 2, 255, 255}, "INT64": {-1000, -2, 2, 1000, math.MaxInt64}, "BOOL": {0, 0, 1, 1, 1},
	} {
		k, err := kindOf(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range []float32{-1000, -1.6, 2.4, 1000, 1e30} {
			if got := k.whole(v); got != want[i] {
				t.Errorf("%v as %s is %d, want %d", v, name, got, want[i])
			}
		}
	}
}

func TestPaths(t *testing.T) {
	doc := []byte(`{"a":{"b":[[1,2],[3,4]]},"rows":[{"s":[5,6]},{"s":[7,8]}],"p":[{"q":9},{"q":10}]}`)
	for in, want := range map[string]string{
		"a.b": "[1,2] [3,4]", "$.a.b": "[1,2] [3,4]", "rows[*].s": "[5,6] [7,8]", "rows[*].s[1]": "6 8", "a.b[1]": "3 4",
		"p[*].q": "9 10", "rows[0].s": "5 6",
	} {
		p, err := parsePath(in)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := p.find(doc, false)
		var got []string
		for _, r := range rows {
			got = append(got, string(r))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"a.c": "no member", "a.b[7]": "has 2 elements", "a[*].b": "no array", "rows[*].t": "no member", "a": "no array", "rows.s": "no object",
	} {
		p, err := parsePath(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.find(doc, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", in, err, want)
		}
	}
	for _, in := range []string{"a..b", ".a", "a[", "a[x]", "a[-1]", "a[*][*]", "a]b", "a.", "$a", "a.$b"} {
		if p, err := parsePath(in); err == nil {
			t.Errorf("%s was taken for %s", in, p)
		}
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for _, request := range []string{`{"x": 1}`, `{"x": $x, "y": $x}`, `{"x": "$x"}`, `{"x": "of $x"}`, `{"x": $x`, `{$x: 1}x`, `{"x":$x,"y":$row}`} {
		u, err := checkAddress("https://h/p", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newTemplate(u, Config{Request: request, Response: "a"}); err == nil {
			t.Errorf("%s was taken", request)
		}
	}
}

// An answer in binary, put together by hand from the protocol's text: a JSON
// part, then the tensors in the order listed.
func TestBinaryAnswer(t *testing.T) {
	v := &inference{output: port{name: "s"}}
	head := `{"model_name":"m","outputs":[{"name":"other","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}},` +
		`{"name":"s","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}}]}`
	r := &reply{http.Header{headerLength: {"195"}}, []byte(head + "\x07\x08\x01\x00\x00\x00a\x02\x00\x00\x00bc")}
	if len(head) != 195 {
		t.Fatalf("the JSON part has %d bytes", len(head))
	}
	a, err := v.read(r, 2)
	if err != nil || !slices.Equal(a.words, []string{"a", "bc"}) {
		t.Fatalf("%+v, %v", a, err)
	}
	r.body = r.body[:len(r.body)-1]
	if _, err := v.read(r, 2); err == nil {
		t.Error("a body cut short was read")
	}
}

// Whatever a server sends, reading it ends, stays within what was asked, and
// gives an answer a sample or an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]}]}`), -1)
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"FP32","shape":[2,2],"data":[[1e400,null],[3,true]]}]}`), -1)
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"BYTES","shape":[2],"data":["a","\"b"]}]}`), -1)
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"FP16","shape":[2],"parameters":{"binary_data_size":4}}]}abcd`), 90)
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"FP32","shape":[4611686018427387904,4],"data":[]}]}`), -1)
	f.Add([]byte(`{"predictions":[{"scores":[0.1,0.9]},{"scores":[0.2,0.8]}]}`), -1)
	f.Add([]byte(`{"predictions":[["a"],["b"]]}`), -1)
	f.Add([]byte(strings.Repeat("[", 20000)), -1)
	var wires []wire
	wires = append(wires, &inference{output: port{name: "s"}}, &inference{})
	for _, p := range []string{"predictions", "predictions[*].scores", "$[*]", "outputs[0].data"} {
		path, err := parsePath(p)
		if err != nil {
			f.Fatal(err)
		}
		wires = append(wires, &template{path: path}, &template{path: path, row: true})
	}
	f.Fuzz(func(t *testing.T, body []byte, head int) {
		h := http.Header{}
		if head >= 0 {
			h.Set(headerLength, strconv.Itoa(head))
		}
		for _, w := range wires {
			n := 2
			if w.single() {
				n = 1
			}
			a, err := w.read(&reply{h, body}, n)
			if err != nil {
				continue
			}
			if a.rows() != n || a.scores != nil && tensor.Len(a.scores.Shape) != len(a.scores.Data) {
				t.Fatalf("%d answers for %d samples: %+v", a.rows(), n, a)
			}
			e := &Endpoint{answers: LabelOnly, classes: 3}
			if _, err := e.logits(a); err == nil && a.scores != nil && a.scores.RowLen() != 1 {
				t.Fatalf("labels made of %d numbers a sample", a.scores.RowLen())
			}
		}
	})
}
