package release

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// visit is a row of made-up data.
type visit struct {
	Patient int64   `parquet:"patient"`
	Ward    string  `parquet:"ward,dict"`
	Cost    float64 `parquet:"cost"`
}

// visits are rows of so many patients: wards by a rank-size rule, a few visits
// each.
func visits(rows, patients, wards int) func() visit {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.2, 10, uint64(wards-1))
	return func() visit {
		return visit{rng.Int64N(int64(patients)), fmt.Sprintf("ward-%d", zipf.Uint64()), 1000 * rng.ExpFloat64()}
	}
}

func writeParquet(t testing.TB, rows, patients, wards int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "visits.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := parquet.NewGenericWriter[visit](bufio.NewWriterSize(f, 1<<20), parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(1<<20))
	next, buf := visits(rows, patients, wards), make([]visit, 0, 1<<14)
	for i := range rows {
		if buf = append(buf, next()); len(buf) == cap(buf) || i == rows-1 {
			if _, err := w.Write(buf); err != nil {
				t.Fatal(err)
			}
			buf = buf[:0]
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

const sumQuery = `
dataset: visits
unit: patient
person: patient
adjacency: add-remove
epsilon: 1
delta: 1e-6
group_by: [ward]
groups_per_person: 3
rows_per_group: 2
statistics:
  - {of: sum, column: cost, low: 0, high: 5000}
`

// BenchmarkGroupedSums is the measure of docs/benchmarks.md: rows a second, from
// the file to the sums that get noise.
func BenchmarkGroupedSums(b *testing.B) {
	const rows = 8 << 20
	path := writeParquet(b, rows, rows/4, 1000)
	q, err := Parse([]byte(sumQuery))
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		if _, err := Aggregate(b.Context(), q, path, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
