package data_test

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/data"
)

const loans = `
columns:
  - {name: age, type: integer, min: 18, max: 90}
  - {name: income, type: numeric, min: 0, max: 250000, mean: 41000, std: 9000}
  - {name: job, type: categorical, categories: [clerk, driver, nurse]}
  - {name: owner, type: binary}
  - {name: id, type: ignore}
  - {name: risk, type: label, categories: ["1", "2"], names: [good, bad]}
rules:
  - when job is clerk then income <= 60000
`

func TestRows(t *testing.T) {
	s, err := data.ParseSchema([]byte(loans))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.Rows()
	if err != nil {
		t.Fatal(err)
	}
	if got := rows.Columns(); !slices.Equal(got, []string{"age", "income", "job", "owner"}) {
		t.Errorf("columns %q", got)
	}
	if got := rows.Classes(); !slices.Equal(got, []string{"good", "bad"}) {
		t.Errorf("classes %q", got)
	}
	good := map[string]any{"age": json.Number("41"), "income": json.Number("50000"), "job": "driver", "owner": true}
	row, err := rows.Append([]float64{7}, good)
	if want := []float64{7, 41, 1, 0, 1, 0, 1}; err != nil || !slices.Equal(row, want) {
		t.Errorf("got %v, %v; want %v", row, err, want)
	}
	// The same row from a file is the same sample.
	set, err := data.ParseCSV([]byte("age,income,job,owner,id,risk\n41,50000,driver,yes,9,1\n"), s)
	if err != nil || !slices.EqualFunc(set.X.Row(0), row[1:], func(a float32, b float64) bool { return float64(a) == b }) {
		t.Errorf("from a file %v, %v; by name %v", set.X.Row(0), err, row[1:])
	}
	for _, c := range []struct {
		column string
		value  any // nil takes it away
		want   string
	}{
		{"age", nil, `"age" is missing`},
		{"age", json.Number("41.5"), "not an integer"},
		{"age", json.Number("17"), "outside the schema's bounds"},
		{"age", json.Number("1e999"), "feature \"age\""},
		{"age", "41", "a number is wanted"},
		{"age", []any{json.Number("41")}, "a number is wanted"},
		{"job", "king", "none of the categories"},
		{"job", map[string]any{}, "a word"},
		{"owner", json.Number("2"), "not 0 or 1"},
		{"id", json.Number("2"), "no feature"},
		{"risk", "1", "no feature"},
		{"job", "clerk", ""},
	} {
		values := maps.Clone(good)
		values[c.column] = c.value
		if c.value == nil {
			delete(values, c.column)
		}
		if _, err := rows.Append(nil, values); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s = %v: %v, want %q", c.column, c.value, err, c.want)
		}
	}
	// Money is not rounded to float32, which has no cents here.
	good["income"] = json.Number("123456.78")
	if row, err := rows.Append(nil, good); err != nil || math.Abs(row[1]*9000+41000-123456.78) > 1e-9 {
		t.Errorf("an income of 123456.78 became %v, %v", row, err)
	}
	good["job"], good["income"] = "clerk", json.Number("90000")
	if _, err := rows.Append(nil, good); err == nil || !strings.Contains(err.Error(), "rule") {
		t.Errorf("a row that breaks a rule: %v", err)
	}
	for _, row := range [][]float32{{41.5, 1, 0, 1, 0, 1}, {41, 1, 1, 1, 0, 1}, {41, 1, 0, .5, 0, 1}, {41, 1, 0, 1, 0}, {17, 1, 0, 1, 0, 1}} {
		if rows.Check(row) == nil {
			t.Errorf("%v was allowed", row)
		}
	}
}
