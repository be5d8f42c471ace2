package table

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt/internal/damage"
)

// all reads a whole table.
func all(path string) (names []string, rows [][]string, err error) {
	r, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Names(), rows, nil
		}
		if err != nil {
			return nil, nil, err
		}
		var out []string
		for _, c := range row {
			out = append(out, string(c))
		}
		rows = append(rows, out)
	}
}

func file(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is written comes back, in every format, whatever the cells hold.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	for _, f := range Formats {
		t.Run(f.Ext, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				names := []string{"b", "a", "c,d"}[:rapid.IntRange(1, 3).Draw(t, "columns")]
				cell := rapid.OneOf(rapid.StringOf(rapid.RuneFrom([]rune(";,\t|\"\n\r aé"))), rapid.String())
				rows := rapid.SliceOf(rapid.SliceOfN(cell, len(names), len(names))).Draw(t, "rows")
				var b bytes.Buffer
				comma := rapid.SampledFrom([]byte(",;\t|")).Draw(t, "comma")
				if len(names) == 1 {
					comma = ',' // one name tells no separator
				}
				w, err := NewWriter(&b, f.Ext, names, comma)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rows {
					if err := w.Write(r); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, "t"+f.Ext)
				if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				gotNames, got, err := all(path)
				if err != nil {
					t.Fatalf("%v of %q", err, b.String())
				}
				for i, n := range names {
					at := slices.Index(gotNames, n)
					for k := range rows {
						if got[k][at] != rows[k][i] {
							t.Fatalf("row %d, %s: %q, want %q", k, n, got[k][at], rows[k][i])
						}
					}
				}
				if len(got) != len(rows) {
					t.Fatalf("%d rows, want %d", len(got), len(rows))
				}
			})
		})
	}
}

func TestReadsCSV(t *testing.T) {
	names, rows, err := all(file(t, "t.csv", "\xef\xbb\xbfa;\"b;c\"\r\n1;\"x\"\"y\"\r\n\r\n2;\"two\nlines\"\n3;"))
	if err != nil || !slices.Equal(names, []string{"a", "b;c"}) || len(rows) != 3 || rows[0][1] != `x"y` || rows[1][1] != "two\nlines" || rows[2][1] != "" {
		t.Errorf("%q %q %v", names, rows, err)
	}
}

func TestBadTables(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"t.csv", "", "the file is empty"},
		{"t.csv", "a,b\n1,2\n1\n", "line 3 has 1 fields, the line of names has 2"},
		{"t.csv", "a,b\n1,2,3\n", "line 2 has 3 fields"},
		{"t.csv", "a,a\n1,2\n", `two columns are called "a"`},
		{"t.csv", "a,\n1,2\n", "column 2 has no name"},
		{"t.csv", "a,b\n1,\xff\n", "line 2: it is not UTF-8"},
		{"t.csv", "\xff,b\n1,2\n", "not UTF-8"},
		{"t.csv", "a,b\n1,\"2\n", "the file ends inside quotes"},
		{"t.csv", "a,b\n1,2\"3\n", "a quote stands inside a field"},
		{"t.csv", "a,b\n1,\"2\"3\n", "text follows a closing quote"},
		{"t.csv", "a,b\n1," + strings.Repeat("x", 2<<20), "longer than 1048576 bytes"},
		{"t.csv", "a,b\n1,\"" + strings.Repeat("x\n", 1<<20), "longer than 1048576 bytes"},
		{"t.csv", "a" + strings.Repeat(",b", 5000) + "\n", "columns"},
		{"t.parquet", "PAR1 nonsense PAR1", "Parquet"},
		{"t.parquet", "PAR1\xff\xff\xff\xffPAR1", "footer claims 4294967295 bytes of the file's 12"},
		{"t.parquet", "", "too short"},
		{"t.xlsx", "", `no table format ends in ".xlsx"`},
	} {
		if _, _, err := all(file(t, c.name, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.30q: %v, want %q", c.name, c.text, err, c.want)
		}
	}
	if _, _, err := all(filepath.Join(t.TempDir(), "none.csv")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a;b\n1;2\n", "a,\"b\"\n\"1\n\",\"\"\"\"\n", "\xef\xbb\xbfa\n\n1", "a|b\r\n1|2\r", "\"", "a\tb\n1\t\"x\"y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &csvReader{r: bytes.NewReader(b), buf: make([]byte, 1<<12), line: 1}
		r, err := newCSV(c)
		if err != nil {
			return
		}
		for {
			row, err := r.Next()
			if err != nil {
				return
			}
			if len(row) != len(r.Names()) {
				t.Fatalf("%d fields for %d names", len(row), len(r.Names()))
			}
		}
	})
}

func TestUnsignedParquet(t *testing.T) {
	type row struct {
		A uint32 `parquet:"a"`
		B uint64 `parquet:"b"`
		C int32  `parquet:"c"`
	}
	var b bytes.Buffer
	if err := parquet.Write(&b, []row{{math.MaxUint32, math.MaxUint64, -1}}); err != nil {
		t.Fatal(err)
	}
	_, rows, err := all(file(t, "t.parquet", b.String()))
	if err != nil || len(rows) != 1 || !slices.Equal(rows[0], []string{"4294967295", "18446744073709551615", "-1"}) {
		t.Errorf("got %q, %v", rows, err)
	}
}

func FuzzParquet(f *testing.F) {
	var b bytes.Buffer
	w, err := NewWriter(&b, ".parquet", []string{"a", "b"}, 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range [][]string{{"1", "x"}, {"2", ""}} {
		if err := w.Write(row); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		all(file(t, "t.parquet", string(b))) // no panic
	})
}

// Parquet files with bytes changed, taken out and doubled end in rows or an error,
// in the memory of the file: the decoder underneath would set aside what a page
// states. The damage is the same in every run.
func TestDamagedParquet(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, ".parquet", []string{"a", "b"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range [][]string{{"1", "x"}, {"2", ""}} {
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, path := rand.New(rand.NewPCG(1, 2)), filepath.Join(t.TempDir(), "t.parquet")
	refused := 0
	for range 1500 {
		x := damage.Some(r, b.Bytes())
		if err := os.WriteFile(path, x, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := all(path); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}
