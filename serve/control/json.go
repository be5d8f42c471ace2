package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds how deep the JSON of a request is nested.
const maxDepth = 32

// readJSON decodes the body of a request, after it has refused what two programs
// may read in two ways: a name that stands twice in an object. Of such,
// encoding/json takes the last, and it takes names for the same that differ in
// case only.
func readJSON(b []byte, v any) error {
	if err := unambiguous(b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// unambiguous walks over a JSON value.
func unambiguous(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var within []map[string]bool // the names of each object that is open; nil for a list
	name := false                // comes next, if not the end
	for {
		t, err := d.Token()
		switch {
		case err == io.EOF && len(within) == 0:
			return nil
		case err != nil:
			return errors.New("the body is not JSON")
		}
		if text, ok := t.(string); ok && name {
			names := within[len(within)-1]
			folded := strings.ToLower(text)
			if names[folded] {
				return fmt.Errorf("the name %.40q stands twice in an object", text)
			}
			names[folded], name = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			within = append(within, map[string]bool{})
		case json.Delim('['):
			within = append(within, nil)
		case json.Delim('}'), json.Delim(']'):
			within = within[:len(within)-1]
		}
		if len(within) > maxDepth {
			return fmt.Errorf("the JSON is nested deeper than %d", maxDepth)
		}
		name = len(within) > 0 && within[len(within)-1] != nil
	}
}
