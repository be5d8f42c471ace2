package strictyaml

import (
	"strings"
	"testing"
)

type document struct {
	Columns []struct {
		Name string `yaml:"name"`
	} `yaml:"columns"`
	Rules []string `yaml:"rules"`
}

func TestUnmarshal(t *testing.T) {
	for text, want := range map[string]string{
		"columns: [{name: a}]":  "",
		"columns: !x\nrules: 1": "without tags",
		"colums: []":            "unknown field",
		"columns: [":            "",
	} {
		var d document
		err := Unmarshal([]byte(text), &d)
		if ok := text == "columns: [{name: a}]"; ok != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("columns: !x\nrules: 1"))
	f.Add([]byte("columns: [{name: a}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var d document
		Unmarshal(text, &d) // no panic
		m := map[string]any{}
		Unmarshal(text, &m)
	})
}
