package demodata

import (
	"bytes"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/data"
)

// The counts are those that the sets' documentation states.
func TestSets(t *testing.T) {
	for _, c := range []struct {
		name   string
		open   func() (*data.Set, error)
		shape  []int
		counts []int
		names  []string
	}{
		{"digits", Digits, []int{1797, 1, 8, 8}, []int{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}, nil},
		{"credit", Credit, []int{1000, 59}, []int{700, 300}, []string{"good", "bad"}},
		{"tumours", Tumours, []int{569, 30}, []int{212, 357}, []string{"malignant", "benign"}},
	} {
		s, err := c.open()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !slices.Equal(s.X.Shape, c.shape) || !slices.Equal(s.Classes, c.names) {
			t.Errorf("%s: shape %v, classes %q", c.name, s.X.Shape, s.Classes)
		}
		counts := make([]int, len(c.counts))
		for _, y := range s.Y {
			counts[y]++
		}
		if !slices.Equal(counts, c.counts) {
			t.Errorf("%s: class counts %v, want %v", c.name, counts, c.counts)
		}
		inBox(t, c.name, s)
		if !strings.Contains(Licence, c.name+".csv.gz") {
			t.Errorf("%s has no attribution", c.name)
		}
	}
}

// inBox checks that every value is in the bounds that the set states and that
// the bounds are [0,1] and reached.
func inBox(t *testing.T, name string, s *data.Set) {
	t.Helper()
	lo, hi, known := s.Box()
	if !known {
		t.Errorf("%s has no bounds", name)
		return
	}
	least, most := float32(math.Inf(1)), float32(math.Inf(-1))
	for i, v := range s.X.Data {
		j := i % len(lo)
		if v < lo[j] || v > hi[j] || lo[j] != 0 || hi[j] != 1 {
			t.Fatalf("%s: element %d of sample %d is %v, bounds %v to %v", name, j, i/len(lo), v, lo[j], hi[j])
		}
		least, most = min(least, v), max(most, v)
	}
	if least != 0 || most != 1 {
		t.Errorf("%s: values from %v to %v", name, least, most)
	}
}

// The first applicant is the one that the literature quotes: 67 years, 1,169
// DM over 6 months for a radio or television, a good risk.
func TestFirstApplicant(t *testing.T) {
	s, err := Credit()
	if err != nil {
		t.Fatal(err)
	}
	row := s.X.Row(0)
	at := func(name string) float64 { return float64(row[slices.Index(s.Features, name)]) }
	file := func(name string) float64 {
		c := s.Columns[slices.Index(s.Features, name)]
		return c.Offset + c.Scale*at(name)
	}
	if at("checking account=below 0 DM") != 1 || at("purpose=radio or television") != 1 || at("foreign worker") != 1 {
		t.Errorf("categories of the first applicant: %v", row)
	}
	for name, want := range map[string]float64{"age": 67, "amount in DM": 1169, "duration in months": 6} {
		if got := file(name); math.Abs(got-want) > 1e-2 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if c := s.Columns[slices.Index(s.Features, "age")]; !c.Immutable || c.Kind != data.Integer {
		t.Errorf("age %+v", c)
	}
}

func TestCreditIsUCIs(t *testing.T) {
	want, err := os.ReadFile(need.Data(t, "tabular/german.csv"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpack("credit", creditCSV)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the embedded credit data are not those of the shared copy")
	}
}
