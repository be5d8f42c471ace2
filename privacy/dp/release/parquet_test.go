package release

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/redoubt-ml/redoubt/internal/damage"
)

// TestSameFromEveryType holds Parquet against CSV: the same whole numbers in every
// type that they can have, plain, as a dictionary and with some absent, over
// several row groups, pages and batches, must add up to the same.
func TestSameFromEveryType(t *testing.T) {
	decimal := func(n int) string { return fmt.Sprint(n) }
	padded := func(n int) string { return fmt.Sprintf("%08d", n) }
	everyLayout(t, "int32", decimal, func(n int) int32 { return int32(n) })
	everyLayout(t, "int64", decimal, func(n int) int64 { return int64(n) })
	everyLayout(t, "uint32", decimal, func(n int) uint32 { return uint32(n) })
	const big = 3_000_000_000 // more than int32 holds
	everyLayout(t, "large uint32", func(n int) string { return fmt.Sprint(n + big) }, func(n int) uint32 { return uint32(n + big) })
	everyLayout(t, "large uint64", func(n int) string { return fmt.Sprint(uint64(n) + 1<<63) }, func(n int) uint64 { return uint64(n) + 1<<63 })
	everyLayout(t, "float", decimal, func(n int) float32 { return float32(n) })
	everyLayout(t, "double", decimal, func(n int) float64 { return float64(n) })
	everyLayout(t, "text", decimal, func(n int) string { return fmt.Sprint(n) })
	everyLayout(t, "fixed", padded, func(n int) [8]byte { return [8]byte([]byte(padded(n))) })
}

type plainRow[T any] struct {
	Patient T `parquet:"patient"`
	Ward    T `parquet:"ward"`
	Cost    T `parquet:"cost"`
	Doctor  T `parquet:"doctor"`
}

type dictRow[T any] struct {
	Patient T `parquet:"patient,dict"`
	Ward    T `parquet:"ward,dict"`
	Cost    T `parquet:"cost,dict"`
	Doctor  T `parquet:"doctor,dict"`
}

type optionalRow[T any] struct {
	Patient *T `parquet:"patient,optional"`
	Ward    *T `parquet:"ward,optional"`
	Cost    *T `parquet:"cost,optional,dict"`
	Doctor  *T `parquet:"doctor,optional"`
}

func everyLayout[T any](t *testing.T, name string, text func(int) string, value func(int) T) {
	t.Run(name, func(t *testing.T) {
		const rows = 3*blockRows/2 + 7
		row := func(i int) [4]int { return [4]int{i / 2, i / 2 % 5, i % 7, i % 11} }
		var plain []plainRow[T]
		var dict []dictRow[T]
		var optional []optionalRow[T]
		var all, some [][]string
		for i := range rows {
			r := row(i)
			p := plainRow[T]{value(r[0]), value(r[1]), value(r[2]), value(r[3])}
			plain, dict = append(plain, p), append(dict, dictRow[T](p))
			fields := []string{text(r[0]), text(r[1]), text(r[2]), text(r[3])}
			all = append(all, fields)
			o := optionalRow[T]{&p.Patient, &p.Ward, &p.Cost, &p.Doctor}
			fields = slices.Clone(fields)
			for k, field := range []**T{&o.Patient, &o.Ward, &o.Cost, &o.Doctor} {
				if i%(13+k) == 0 {
					*field, fields[k] = nil, ""
				}
			}
			optional, some = append(optional, o), append(some, fields)
		}
		q := parse(t, everything)
		check := func(layout string, rows [][]string, write func(path string) error) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "v.parquet")
			if err := write(path); err != nil {
				t.Fatal(err)
			}
			for _, o := range []Options{{}, {Shard: 1, Shards: 3}, {Memory: 1, Workers: 3}} {
				want, err := aggregate(t, q, file(t, "v.csv", csvOf(rows)), o).MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				got, err := aggregate(t, q, path, o).MarshalBinary()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %+v: the sums differ from those of CSV (%v)", layout, o, err)
				}
			}
		}
		small := []parquet.WriterOption{parquet.MaxRowsPerRowGroup(blockRows + 100), parquet.PageBufferSize(1000)}
		check("plain", all, func(path string) error { return parquet.WriteFile(path, plain, small...) })
		check("dictionary", all, func(path string) error { return parquet.WriteFile(path, dict, small...) })
		check("optional", some, func(path string) error { return parquet.WriteFile(path, optional, small...) })
	})
}

// TestSameFromEveryCompression holds files in each compression that is read against
// CSV, of pages that shrink and pages that do not.
func TestSameFromEveryCompression(t *testing.T) {
	q, r := parse(t, everything), rand.New(rand.NewPCG(1, 2))
	var rows []plainRow[int64]
	var fields [][]string
	for i := range 20_000 {
		row := plainRow[int64]{int64(i / 2), int64(i / 2 % 5), 7, r.Int64() >> 2}
		rows, fields = append(rows, row), append(fields, []string{fmt.Sprint(row.Patient), fmt.Sprint(row.Ward), fmt.Sprint(row.Cost), fmt.Sprint(row.Doctor)})
	}
	want, err := aggregate(t, q, file(t, "v.csv", csvOf(fields)), Options{}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, codec := range compressions {
		path := filepath.Join(t.TempDir(), "v.parquet")
		if err := parquet.WriteFile(path, rows, parquet.Compression(codec)); err != nil {
			t.Fatal(err)
		}
		if got, err := aggregate(t, q, path, Options{}).MarshalBinary(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the sums differ from those of CSV (%v)", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "v.parquet")
	if err := parquet.WriteFile(path, rows, parquet.Compression(&parquet.Lz4Raw)); err != nil {
		t.Fatal(err)
	}
	if _, err := Aggregate(t.Context(), q, path, Options{}); err == nil || !strings.Contains(err.Error(), "LZ4_RAW is not read") {
		t.Errorf("LZ4: %v", err)
	}
}

var compressions = map[string]compress.Codec{"none": &parquet.Uncompressed, "snappy": &parquet.Snappy, "gzip": &parquet.Gzip,
	"zstd": &parquet.Zstd, "brotli": &parquet.Brotli}

// damaged is a small file in each compression.
func damaged(t testing.TB) map[string][]byte {
	files := map[string][]byte{}
	for name, codec := range compressions {
		var rows []optionalRow[string]
		for i := range 20 {
			s := fmt.Sprint(i % 7)
			rows = append(rows, optionalRow[string]{&s, &s, &s, nil})
		}
		var b bytes.Buffer
		if err := parquet.Write(&b, rows, parquet.Compression(codec)); err != nil {
			t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	return files
}

// Files with bytes changed, taken out and doubled end in sums or an error, in time and
// in little memory: the decoder underneath panics, and sets memory aside for whatever
// a page states. The damage is the same in every run.
func TestDamagedParquet(t *testing.T) {
	q := parse(t, everything)
	for name, whole := range damaged(t) {
		t.Run(name, func(t *testing.T) {
			r, path := rand.New(rand.NewPCG(1, 2)), filepath.Join(t.TempDir(), "v.parquet")
			refused := 0
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const times = 400
			for range times {
				x := damage.Some(r, whole)
				if err := os.WriteFile(path, x, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := Aggregate(t.Context(), q, path, Options{Workers: 2}); err != nil {
					refused++
				}
			}
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 32<<20 {
				t.Errorf("%d MiB a file of %d bytes", each>>20, len(whole))
			}
			if refused < times/4 {
				t.Errorf("of %d damaged files %d were refused", times, refused)
			}
		})
	}
}

// liar names a compression and writes what is none of it, with the right checksum.
type liar struct{ compress.Codec }

func (liar) Encode(dst, src []byte) ([]byte, error) {
	return append(dst[:0], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...), nil
}

// TestPagesOfNonsense end in an error. The decoder of LZ4 underneath would take all
// memory there is.
func TestPagesOfNonsense(t *testing.T) {
	q := parse(t, everything)
	for _, codec := range []compress.Codec{&parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli, &parquet.Lz4Raw} {
		var b bytes.Buffer
		if err := parquet.Write(&b, []plainRow[string]{{"1", "2", "3", "4"}}, parquet.Compression(liar{codec})); err != nil {
			t.Fatal(err)
		}
		if _, err := Aggregate(t.Context(), q, file(t, "v.parquet", b.String()), Options{}); err == nil || !strings.Contains(err.Error(), "column") {
			t.Errorf("%v: %v", codec, err)
		}
	}
}

func FuzzParquet(f *testing.F) {
	for _, b := range damaged(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		Aggregate(t.Context(), parse(t, everything), file(t, "v.parquet", string(b)), Options{Workers: 1}) // no panic
	})
}

// TestBooleans are words as groups and people, 0 and 1 as numbers.
func TestBooleans(t *testing.T) {
	type row struct {
		Patient int64 `parquet:"patient"`
		Smoker  bool  `parquet:"smoker"`
		Ill     *bool `parquet:"ill,optional"`
	}
	yes, no := true, false
	path := filepath.Join(t.TempDir(), "v.parquet")
	if err := parquet.WriteFile(path, []row{{1, true, &yes}, {2, true, &no}, {3, false, &no}, {4, true, &yes}, {5, false, nil}}); err != nil {
		t.Fatal(err)
	}
	q := parse(t, `
dataset: visits
unit: patient
person: patient
adjacency: add-remove
epsilon: 1
group_by: [smoker]
groups_per_person: 1
rows_per_group: 1
keys: [["true"], ["false"]]
statistics:
  - {of: sum, column: ill, low: 0, high: 1}
  - of: count
`)
	s := aggregate(t, q, path, Options{})
	grid := gridFor(1)
	for i, want := range map[string][2]float64{"false": {0, 2}, "true": {2, 3}} {
		k := slices.IndexFunc(s.keys, func(key []string) bool { return key[0] == i })
		if k < 0 {
			t.Fatalf("no group %q: %q", i, s.keys)
		}
		if sum, n := grid.Float(s.cells[2*k]), float64(s.cells[2*k+1]); sum != want[0] || n != want[1] {
			t.Errorf("%s: a sum of %v over %v rows, want %v", i, sum, n, want)
		}
	}
}
