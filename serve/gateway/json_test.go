package gateway

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"features":{"a":1,"b":[true,null,"x"]}}`, `{"a":1,"a":2}`, `[[[[]]]]`, `{"text":"\ud800"}`, ` 1 2`, `{"a":`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseJSON(b)
		if err != nil {
			return
		}
		// What is accepted means the same to the standard library.
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		var other any
		if err := d.Decode(&other); err != nil || !reflect.DeepEqual(v, other) {
			t.Errorf("%q is %v, to the standard library %v, %v", b, v, other, err)
		}
	})
}

func TestShapeFor(t *testing.T) {
	for _, c := range []struct {
		declared       []int64
		rows, elements int
		want           []int64
	}{
		{[]int64{-1}, 3, 1, []int64{3}},
		{[]int64{-1, 1}, 3, 1, []int64{3, 1}},
		{[]int64{-1, -1}, 3, 4, []int64{3, 4}},
		{[]int64{-1, 2, -1}, 3, 8, []int64{3, 2, 4}},
		{[]int64{1, 4}, 1, 4, []int64{1, 4}},
		{[]int64{4}, 1, 4, []int64{4}},
		{nil, 1, 1, nil},
	} {
		if got := shapeFor(c.declared, c.rows, c.elements); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d rows of %d in %v: %v, want %v", c.rows, c.elements, c.declared, got, c.want)
		}
	}
}
