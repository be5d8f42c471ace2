package beam

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"

	"github.com/redoubt-ml/redoubt/privacy/dp/release"
)

func TestMain(m *testing.M) { ptest.MainWithDefault(m, "prism") }

const query = `
dataset: visits
unit: patient
person: patient
adjacency: add-remove
epsilon: 1
delta: 1e-6
group_by: [ward]
groups_per_person: 2
rows_per_group: 2
statistics:
  - of: count
  - {of: sum, column: cost, low: 0, high: 100}
  - {of: distinct, column: doctor}
`

// TestPrism runs the pipeline and holds its state against that of the same shards
// added up one by one without Beam; with more shards than people, too.
func TestPrism(t *testing.T) {
	for _, shards := range []int{1, 3, 40} {
		var rows []Row
		for i := range 30 {
			who := fmt.Sprint(i % 15)
			rows = append(rows, Row{[]string{who, fmt.Sprintf("w%d", i%3), fmt.Sprint(i), fmt.Sprintf("d%d", i%7)}})
		}
		rows = append(rows, Row{}, Row{[]string{"", "w1", "5", "d"}})
		path := filepath.Join(t.TempDir(), "visits.state")
		p, s := beam.NewPipelineWithRoot()
		Write(s, Aggregate(s, query, beam.CreateList(s, rows), shards), path)
		ptest.RunAndValidate(t, p)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := alone(t, rows, shards); !bytes.Equal(got, want) {
			t.Errorf("%d shards: the pipeline's state differs from the one added up without it", shards)
		}
	}
}

func alone(t *testing.T, rows []Row, shards int) []byte {
	q, err := release.Parse([]byte(query))
	if err != nil {
		t.Fatal(err)
	}
	var sum *release.State
	for i := range shards {
		s, err := release.AggregateRows(t.Context(), q, func(yield func([]string) bool) {
			for _, r := range rows {
				if !yield(r.Fields) {
					return
				}
			}
		}, release.Options{Shard: i, Shards: shards})
		if err == nil && sum != nil {
			err = sum.Merge(s)
		} else if err == nil {
			sum = s
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := sum.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
