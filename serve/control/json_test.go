package control

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// What is read is what encoding/json reads; no object of it has a name twice.
func FuzzReadJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"A":2}`, `{"a":{"b":[{"a":1}]},"c":"x"}`, `[{"a":"a"},{"a":"a"}]`, `{"a":1}{}`, `"a"`, strings.Repeat("[", 40), `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want any
		err := readJSON(b, &got)
		wanted := json.Unmarshal(b, &want)
		if err == nil && (wanted != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("%q: read %v, want %v, %v", b, got, want, wanted)
		}
		if err != nil && wanted == nil && !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "nested") {
			t.Errorf("%q: %v", b, err)
		}
	})
}
