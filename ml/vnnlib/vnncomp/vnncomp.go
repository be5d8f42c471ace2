// Package vnncomp lists, for tests, the instances of the VNN-COMP competitions
// that the shared test data holds.
//
//	for _, i := range vnncomp.Instances(t) {
//		m, err := onnx.Read(need.Data(t, i.Network), onnx.DefaultLimits)
//		p, err := vnnlib.Read(need.Data(t, i.Property))
//		...
//	}
package vnncomp

import (
	"encoding/csv"
	"os"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// Instance is a network and a property of it.
type Instance struct {
	ID                string // such as "acasxu/1_1_prop_1"
	Network, Property string // files of the test data
	// Expected is "sat" where a violation of the property is known, "unsat" where
	// there is none.
	Expected string
	// Easy violations were found by plain projected gradient descent.
	Easy bool
}

// Category is the competition's: the first part of the id.
func (i Instance) Category() string {
	c, _, _ := strings.Cut(i.ID, "/")
	return c
}

// Instances are all there are, in the order of the list.
func Instances(t testing.TB) []Instance {
	t.Helper()
	f, err := os.Open(need.Data(t, "vnncomp/instances.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []Instance
	for _, r := range rows[1:] {
		out = append(out, Instance{r[0], "vnncomp/" + r[3], "vnncomp/" + r[4], r[5], r[10] == "1"})
	}
	return out
}
