package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
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
	if err := wholeSurrogates(b); err != nil {
		return nil, err
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

// wholeSurrogates refuses half a surrogate pair, of which the decoder would make another
// character: the model would see another text than the client sent.
func wholeSurrogates(b []byte) error {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return nil
		}
		b = b[i:]
		r, _ := escapedRune(b)
		size := 2 // of an escape that is none of those, if the decoder takes it
		if utf16.IsSurrogate(r) {
			size = 12
			if low, _ := escapedRune(b[6:]); utf16.DecodeRune(r, low) == utf8.RuneError {
				return errors.New("the JSON holds half a surrogate pair")
			}
		}
		b = b[min(size, len(b)):]
	}
}

// escapedRune reads the \uXXXX that b begins with.
func escapedRune(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
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
