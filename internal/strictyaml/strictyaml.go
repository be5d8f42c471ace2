// Package strictyaml reads YAML that people have written: unknown keys are errors
// that name line and column, and a malformed text is an error too, where the parser
// underneath would panic.
package strictyaml

import (
	"errors"

	"github.com/goccy/go-yaml"
)

// Unmarshal reads a text into a struct or a map.
func Unmarshal(text []byte, into any) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed YAML: write lists and values plainly, without tags")
		}
	}()
	return yaml.UnmarshalWithOptions(text, into, yaml.Strict())
}
