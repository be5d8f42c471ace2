// Package demodata holds the three small data sets that `redoubt demo` runs
// on, so that it needs neither files nor a network. They are ready as inputs:
// every value in [0,1], categories one-hot, with bounds and names.
//
//	digits, err := demodata.Digits()
//	train, test := digits.Split(0.8, 1)
//
// Sources, licences and what was changed are in LICENSE.md beside this file.
package demodata

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

var (
	//go:embed digits.csv.gz
	digitsCSV []byte
	//go:embed credit.csv.gz
	creditCSV []byte
	//go:embed credit.schema.yaml
	creditSchema []byte
	//go:embed tumours.csv.gz
	tumoursCSV []byte
	//go:embed tumours.schema.yaml
	tumoursSchema []byte
)

// Licence is the attribution that the sets' licences ask for, in Markdown.
//
//go:embed LICENSE.md
var Licence string

// Digits is 1,797 handwritten digits of 1x8x8 pixels in 17 grey levels, classes
// 0 to 9.
func Digits() (*data.Set, error) {
	text, err := unpack("digits", digitsCSV)
	if err != nil {
		return nil, err
	}
	set, err := data.ParseCSV(text, nil)
	if err != nil {
		return nil, fmt.Errorf("embedded digits: %w", err)
	}
	for i, v := range set.X.Data {
		set.X.Data[i] = v / 16
	}
	set.X = tensor.Of(set.X.Data, set.X.Rows(), 1, 8, 8)
	set.Features, set.Layout = nil, data.CHW
	set.Bounds, set.Bounded = [2]float32{0, 1}, true
	set.Path = "digits (embedded)"
	return set, nil
}

// Credit is 1,000 applications for credit in Germany, 1973 to 1975, 20 columns
// as 59 inputs; 700 are good risks (class 0) and 300 bad (class 1).
func Credit() (*data.Set, error) { return table("credit", creditCSV, creditSchema) }

// Tumours is 569 breast tumours by 30 measurements of their cells; 212 are
// malignant (class 0) and 357 benign (class 1).
func Tumours() (*data.Set, error) { return table("tumours", tumoursCSV, tumoursSchema) }

func table(name string, packed, schemaText []byte) (*data.Set, error) {
	text, err := unpack(name, packed)
	if err != nil {
		return nil, err
	}
	schema, err := data.ParseSchema(schemaText)
	if err != nil {
		return nil, fmt.Errorf("embedded schema of %s: %w", name, err)
	}
	set, err := data.ParseCSV(text, schema)
	if err != nil {
		return nil, fmt.Errorf("embedded %s: %w", name, err)
	}
	set.Path = name + " (embedded)"
	return set, nil
}

func unpack(name string, packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err == nil {
		var text []byte
		if text, err = io.ReadAll(r); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("unpack embedded %s: %w", name, err)
}
