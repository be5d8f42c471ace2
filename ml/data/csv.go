package data

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

func openCSV(src *source, paths []string, opt Options) (*Set, error) {
	b, err := src.unpacked(paths[0])
	if err != nil {
		return nil, err
	}
	schema, err := schemaFor(src, paths, opt)
	if err != nil {
		return nil, err
	}
	comma := ','
	if strings.HasSuffix(stem(paths[0]), ".tsv") {
		comma = '\t'
	}
	return decodeCSV(b, comma, schema, opt)
}

// ParseCSV reads a table that is in memory already, such as an embedded one.
// Without a schema it is a table of numbers with the label in the last column.
// The digest is that of text.
func ParseCSV(text []byte, schema *Schema) (*Set, error) {
	set, err := decodeCSV(text, ',', schema, Options{Limits: Limits{}.orDefaults()})
	if err != nil {
		return nil, fmt.Errorf("parse CSV: %w", err)
	}
	set.Digest = redoubt.DigestBytes(text)
	if err := set.check(); err != nil {
		return nil, fmt.Errorf("parse CSV: %w", err)
	}
	return set, nil
}

// decodeCSV reads a table with a schema or, without one, a table of numbers.
func decodeCSV(b []byte, comma rune, schema *Schema, opt Options) (*Set, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	r.Comma, r.ReuseRecord = comma, true
	r.TrimLeadingSpace = comma == ',' // UCI files write "39, Private, ..."
	first, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, err
	}
	cells, header := len(first), []string(nil)
	if isHeader(schema, first) {
		header = make([]string, cells)
		for i, name := range first {
			header[i] = strings.TrimSpace(name)
		}
	}
	if schema == nil {
		if cells > opt.Limits.Columns {
			return nil, fmt.Errorf("%d columns exceed the limit of %d", cells, opt.Limits.Columns)
		}
		if schema, err = plainSchema(header, cells, opt.Label); err != nil {
			return nil, err
		}
	}
	return encodeCSV(r, first, header, schema, opt)
}

func encodeCSV(r *csv.Reader, row, header []string, schema *Schema, opt Options) (*Set, error) {
	e, err := newEncoder(schema, header, len(row), opt.Limits)
	if err != nil {
		return nil, err
	}
	for skip := header != nil; ; skip = false {
		if !skip {
			line, _ := r.FieldPos(0)
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			if err := e.add("line "+strconv.Itoa(line), row); err != nil {
				return nil, err
			}
		}
		row, err = r.Read()
		if errors.Is(err, io.EOF) {
			return e.finish()
		}
		if err != nil {
			return nil, err // names line and column itself
		}
	}
}

// isHeader tells names from values. Without a schema that says, a first line
// with any cell that is not a number is one of names.
func isHeader(schema *Schema, first []string) bool {
	if schema != nil {
		return !schema.Headerless
	}
	for _, cell := range first {
		if _, err := strconv.ParseFloat(strings.TrimSpace(cell), 64); err != nil {
			return true
		}
	}
	return false
}
