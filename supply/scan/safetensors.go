package scan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

var safetensorsFormat = Format{
	Name:  "safetensors",
	Doc:   "safetensors: a header of JSON and nothing but numbers",
	match: isSafetensors,
	scan:  scanSafetensors,
}

// maxHeader is the largest header that the reference implementation takes.
const maxHeader = 100_000_000

func isSafetensors(_ *scanner, src *source) bool {
	b, err := src.read(0, 9)
	return err == nil && b[8] == '{' && binary.LittleEndian.Uint64(b) < 1<<40
}

// safetensorsTypes are the bits of an element.
var safetensorsTypes = map[string]int64{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}

type safetensor struct {
	DType   string   `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

func scanSafetensors(_ *scanner, src *source, f *File) {
	if err := checkSafetensors(src); err != nil {
		f.unread("safetensors/invalid", 0, err)
	}
}

// checkSafetensors holds a file against the format: every byte belongs to the
// header or to exactly one tensor.
func checkSafetensors(src *source) error {
	b, err := src.read(0, 8)
	if err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint64(b))
	if n > maxHeader {
		return fmt.Errorf("a header of %d bytes: %w of %d", n, errLimit, maxHeader)
	}
	if b, err = src.read(8, n); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	keys, err := objectKeys(b)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b, &header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if len(keys) != len(header) {
		return errors.New("header: a name stands twice")
	}
	var tensors []safetensor
	for name, raw := range header {
		if name == "__metadata__" {
			var meta map[string]string
			if err := json.Unmarshal(raw, &meta); err != nil {
				return errors.New("header: the metadata are not text")
			}
			continue
		}
		var t safetensor
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&t); err != nil {
			return fmt.Errorf("tensor %q: %w", short(name), err)
		}
		bits, ok := safetensorsTypes[t.DType]
		if !ok {
			return fmt.Errorf("tensor %q: unknown element type %q", short(name), short(t.DType))
		}
		for _, s := range t.Shape {
			if s < 0 || s > 0 && bits > math.MaxInt64/s {
				return fmt.Errorf("tensor %q: its size overflows", short(name))
			}
			bits *= s
		}
		if bits%8 != 0 || t.Offsets[0] < 0 || t.Offsets[1]-t.Offsets[0] != bits/8 {
			return fmt.Errorf("tensor %q: it spans %d bytes, its shape needs %d", short(name), t.Offsets[1]-t.Offsets[0], bits/8)
		}
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(a, b safetensor) int {
		return int(min(max(a.Offsets[0]-b.Offsets[0], -1), 1))*2 + int(min(max(a.Offsets[1]-b.Offsets[1], -1), 1))
	})
	at := int64(0)
	for _, t := range tensors {
		if t.Offsets[0] != at {
			return fmt.Errorf("there is a hole or an overlap at byte %d of the data", min(at, t.Offsets[0]))
		}
		at = t.Offsets[1]
	}
	if 8+n+at != src.size {
		return fmt.Errorf("the tensors end at byte %d, the file at %d", 8+n+at, src.size)
	}
	return nil
}

// objectKeys lists the keys of a JSON object as they stand, doubles included.
func objectKeys(b []byte) (keys []string, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		keys = append(keys, t.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows after the JSON object")
	}
	return keys, nil
}
