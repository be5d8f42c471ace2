package oippb_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Every field, enum value and method of ours is the same as in the files that
// the clients of Triton and KServe are generated from, whose facts testdata
// holds (message, number, name, type), where they have it. KServe's own
// repository messages are known to differ, and ours are Triton's.
func TestAgreesWithClients(t *testing.T) {
	for _, c := range []struct {
		file string
		all  bool // everything of ours is there
	}{{"tritonclient-2.73.0.txt", true}, {"kserve-0.21.0.txt", false}} {
		theirs := facts(t, "testdata/"+c.file)
		for _, ours := range describe() {
			key, want := cut(ours)
			got, ok := theirs[key]
			switch {
			case !ok && !c.all:
			case strings.Contains(key, "Repository") && !c.all:
			case !ok:
				t.Errorf("%s: no %s", c.file, ours)
			case got != want:
				t.Errorf("%s: %s is %s, ours %s", c.file, key, got, want)
			}
		}
	}
}

// cut splits a fact into what it is about (message and number, or method) and
// what it says.
func cut(fact string) (key, value string) {
	words := strings.SplitN(fact, " ", 3)
	return words[0] + " " + words[1], words[2]
}

func facts(t *testing.T, path string) map[string]string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v := cut(strings.TrimSpace(line))
		out[k] = v
	}
	return out
}

func describe() []string {
	var out []string
	file := oippb.File_inference_proto
	for i := range file.Messages().Len() {
		out = append(out, fields(file.Messages().Get(i))...)
	}
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			out = append(out, fmt.Sprintf("%s %d %s value", e.FullName(), v.Number(), v.Name()))
		}
	}
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			out = append(out, fmt.Sprintf("rpc %s %s %s", m.FullName(), m.Input().FullName(), m.Output().FullName()))
		}
	}
	return out
}

func fields(m protoreflect.MessageDescriptor) []string {
	var out []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		kind := f.Kind().String()
		switch f.Kind() {
		case protoreflect.MessageKind:
			kind = string(f.Message().FullName())
		case protoreflect.EnumKind:
			kind = string(f.Enum().FullName())
		}
		if f.Cardinality() == protoreflect.Repeated {
			kind = "repeated " + kind
		}
		out = append(out, fmt.Sprintf("%s %d %s %s", m.FullName(), f.Number(), f.Name(), kind))
	}
	for i := range m.Messages().Len() {
		out = append(out, fields(m.Messages().Get(i))...)
	}
	return out
}
