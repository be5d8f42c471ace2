package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const (
	maxDepth   = 16
	maxMembers = 100_000
)

// parseJSON reads one JSON value, strictly: no name twice in an object, nothing
// after the end, valid UTF-8, and bounds on depth and on the number of values.
// Numbers stay as they are written.
func parseJSON(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	left := maxMembers
	v, err := parseValue(d, 0, &left)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int, left *int) (any, error) {
	if *left--; depth > maxDepth || *left < 0 {
		return nil, fmt.Errorf("the JSON is nested deeper than %d or has more than %d values", maxDepth, maxMembers)
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("the body is not JSON")
	}
	switch t {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, errors.New("the body is not JSON")
			}
			key, ok := name.(string)
			if _, twice := object[key]; !ok || twice {
				return nil, fmt.Errorf("the name %.40q stands twice in an object", key)
			}
			if object[key], err = parseValue(d, depth+1, left); err != nil {
				return nil, err
			}
		}
		return object, closing(d)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1, left)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, closing(d)
	}
	return t, nil
}

// closing reads the end of an object or a list.
func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errors.New("the body is not JSON")
	}
	return nil
}
