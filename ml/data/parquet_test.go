package data

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// Ours and the library's reader have to agree on a table of every number type
// and of several row groups and pages.
func TestParquetTypes(t *testing.T) {
	type row struct {
		I32 int32
		I64 int64
		U32 uint32
		U64 uint64
		F32 float32
		F64 float64
		Y   int64
	}
	var rows []row
	for i := range 500 {
		rows = append(rows, row{int32(-i), int64(i) << 20, math.MaxUint32 - uint32(i), 1<<63 + uint64(i)<<40, float32(i) / 7, float64(i) / 9, int64(i % 3)})
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.MaxRowsPerRowGroup(200), parquet.PageBufferSize(256), parquet.Compression(&parquet.Snappy))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(write(t, "a.parquet", b.Bytes()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Features, []string{"I32", "I64", "U32", "U64", "F32", "F64"}) || len(s.Y) != 500 {
		t.Fatalf("features %q, %d rows", s.Features, len(s.Y))
	}
	for i, r := range rows {
		if want := []float32{float32(r.I32), float32(r.I64), float32(r.U32), float32(r.U64), r.F32, float32(r.F64)}; !slices.Equal(s.X.Row(i), want) || s.Y[i] != int(r.Y) {
			t.Fatalf("row %d: %v %d, want %v %d", i, s.X.Row(i), s.Y[i], want, r.Y)
		}
	}
	_, err = Open(write(t, "a.parquet", b.Bytes()), Options{Limits: Limits{Elements: 300}})
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("500 rows behind a limit of 300 elements: %v", err)
	}
}

func TestParquetRefuses(t *testing.T) {
	type nested struct {
		A []int64
		Y int64
	}
	type dated struct {
		A int32 `parquet:"A,date"`
		Y int64
	}
	encode := func(w interface{ Close() error }, b *bytes.Buffer) []byte {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var a, b bytes.Buffer
	for _, c := range []struct {
		file []byte
		want string
	}{
		{encode(parquet.NewGenericWriter[nested](&a), &a), "nested"},
		{encode(parquet.NewGenericWriter[dated](&b), &b), "DATE"},
	} {
		if _, err := Open(write(t, "a.parquet", c.file), Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

// Whatever byte of a good file is damaged, the reader answers, does not panic
// and does not take memory that so small a file cannot need. Every third byte, to keep the test short; the fuzz target has the rest.
func TestParquetDamaged(t *testing.T) {
	good, err := os.ReadFile("testdata/people.parquet")
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Limits: Limits{Bytes: 1 << 20, Elements: 1 << 14}.orDefaults()}
	for i := 0; i < len(good); i += 3 {
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := decodeParquet(bad, nil, opt)
		runtime.ReadMemStats(&after)
		checked(t, s, err)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("with byte %d of %d inverted, decoding took %d MiB", i, len(good), used>>20)
		}
	}
	for n := 0; n < len(good); n += 17 {
		if _, err := decodeParquet(good[:n], nil, opt); err == nil {
			t.Errorf("the first %d of %d bytes were read as a table", n, len(good))
		}
	}
}
