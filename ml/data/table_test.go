package data

import (
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func crc(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// The same people, written by pandas in three ways, give the same samples.
func TestTable(t *testing.T) {
	for _, spec := range []string{
		"testdata/people.csv,testdata/people.schema.yaml",
		"testdata/people.parquet,testdata/parquet.schema.yaml",
		"testdata/people_zstd.parquet,testdata/parquet.schema.yaml",
	} {
		s, err := Open(spec, Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if want := []string{"age", "income", "job=clerk", "job=nurse", "married"}; !slices.Equal(s.Features, want) {
			t.Errorf("%s: features %q, want %q", spec, s.Features, want)
		}
		if want := []float32{
			0.02, 0.01, 0, 1, 1,
			0.13, 38.005, 1, 0, 0,
			0.46, -1.3975, 0, 1, 1,
		}; !slices.Equal(s.X.Data, want) {
			t.Errorf("%s: %v, want %v", spec, s.X.Data, want)
		}
		if !slices.Equal(s.Y, []int{0, 1, 0}) || !slices.Equal(s.Classes, []string{"good", "bad"}) {
			t.Errorf("%s: labels %v of %q", spec, s.Y, s.Classes)
		}
		lo, hi, known := s.Box()
		if !known || !slices.Equal(lo, []float32{0, -2, 0, 0, 0}) || !slices.Equal(hi, []float32{1, 98, 1, 1, 1}) {
			t.Errorf("%s: box %v to %v, %v", spec, lo, hi, known)
		}
		age, job, married := s.Columns[0], s.Columns[3], s.Columns[4]
		if age.Monotone != 1 || age.Kind != Integer || age.Offset+age.Scale*0.13 != 31 {
			t.Errorf("%s: age %+v", spec, age)
		}
		if job.Kind != OneHot || job.Group != s.Columns[2].Group || job.Source != "job" || !married.Immutable || married.Group != -1 {
			t.Errorf("%s: job %+v, married %+v", spec, job, married)
		}
	}
}

func TestParquetWithoutSchema(t *testing.T) {
	if _, err := Open("testdata/people.parquet", Options{}); err == nil || !strings.Contains(err.Error(), `"nurse" is not a number`) {
		t.Errorf("text without a schema: %v", err)
	}
	if _, err := Open("testdata/null.parquet", Options{Label: "risk"}); err == nil {
		t.Error("a missing value was accepted")
	}
}

func TestSchemaMismatch(t *testing.T) {
	base, err := os.ReadFile("testdata/people.schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"{name: age,", "{name: years,", `column "years" is not in the file`},
		{"  - {name: married, type: binary, categories: [\"False\", \"True\"], immutable: true}\n", "", `file's column "married" is not in the schema`},
		{"[clerk, nurse]", "[clerk, driver]", `"nurse" is none of`},
		{"max: 5000", "max: 500", `line 3, column "income": 2000.25 is outside`},
		{"type: numeric", "type: integer", "100.5 is not an integer"},
		{"immutable: true", "immutible: true", "immutible"},
		{"type: label", "type: ordinal", "0 columns of type label"},
		{"min: 0, max: 5000, ", "", "min and max are missing"},
		{"std: 50", "std: -50", "std must be positive"},
		{"unit: true", "unit: true, std: 3", "two scales"},
		{"max: 5000", "max: 1e300", "in the model's float32"},
		{"min: 0, max: 5000", "min: .nan, max: 5000", "not an interval"},
		{"type: categorical", "type: category", `type "category"`},
		{"[clerk, nurse]", "[nurse, nurse]", "listed twice"},
		{"names: [good, bad]", "names: [good]", "1 names for 2"},
		{"monotone: increasing", "monotone: up", `monotone "up"`},
		{"[clerk, nurse]}", "[clerk, nurse], encode: hot}", `encode "hot"`},
		{"columns:", "headerless: true\ncolumns:", "is not a number"},
		{"{name: income,", "{name: age,", `name "age"`},
	} {
		text := strings.Replace(string(base), c.old, c.new, 1)
		if text == string(base) {
			t.Fatalf("%q is not in the schema", c.old)
		}
		path := write(t, "schema.yaml", []byte(text))
		if _, err := Open("testdata/people.csv", Options{Schema: path}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: got %v, want an error with %q", c.old, c.new, err, c.want)
		}
	}
}

// What would keep the YAML parser busy, or make it recurse without end, is
// refused before it. A hundred thousand brackets take it half a minute.
func TestSchemaBombs(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":  strings.Repeat("[", 100_000),
		"braces":    strings.Repeat("{a:\n", 100_000),
		"dashes":    strings.Repeat("- ", 100_000),
		"anchors":   strings.Repeat("&a ", 100_000),
		"indented":  "columns:\n" + strings.Repeat(" ", 100) + "- {name: a}\n",
		"many rows": strings.Repeat("- a\n", 1<<20),
	} {
		start := time.Now()
		if _, err := ParseSchema([]byte(text)); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: refused after %v", name, took)
		}
	}
}

// A schema's mistakes are found by line.
func TestSchemaLine(t *testing.T) {
	_, err := ParseSchema([]byte("columns:\n  - name: a\n    typo: numeric\n"))
	if err == nil || !strings.Contains(err.Error(), "[3:5]") {
		t.Errorf("got %v, want the place [3:5]", err)
	}
}

func TestHeaderlessGroups(t *testing.T) {
	schema := "headerless: true\ncolumns:\n  - {name: a, type: binary, group: g}\n  - {name: b, type: binary, group: g}\n" +
		"  - {name: c, type: ordinal, categories: [low, high]}\n  - {name: y, type: label}\n"
	path := write(t, "s.yaml", []byte(schema))
	s, err := Open(write(t, "a.tsv", []byte("0\t1\thigh\t1\n1\t0\tlow\t0\n"))+","+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Data, []float32{0, 1, 1, 1, 0, 0}) || s.Columns[0].Group != 0 || s.Columns[1].Group != 0 || s.Columns[2].Group != -1 {
		t.Errorf("%v %+v", s.X.Data, s.Columns)
	}
	if _, err := Open(write(t, "a.tsv", []byte("1\t1\thigh\t1\n"))+","+path, Options{}); err == nil || !strings.Contains(err.Error(), "one-hot") {
		t.Errorf("two of a one-hot group: %v", err)
	}
}

func TestAdult(t *testing.T) {
	s, err := decodeCSV([]byte("\xef\xbb\xbf25, Private, <=50K.\n38, Local, >50K.\n"), ',', &Schema{Headerless: true, Columns: []Field{
		{Name: "age", Type: "integer", Min: new(0.0), Max: new(120.0)},
		{Name: "work", Type: "categorical", Categories: []string{"Private", "Local"}, Encode: "code"},
		{Name: "income", Type: "label", Categories: []string{"<=50K.", ">50K."}},
	}}, Options{Limits: Limits{}.orDefaults()})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Data, []float32{25, 0, 38, 1}) || !slices.Equal(s.Y, []int{0, 1}) {
		t.Errorf("%v %v", s.X.Data, s.Y)
	}
}

var small = Options{Limits: Limits{Bytes: 1 << 20, Elements: 1 << 14, Columns: 100, Files: 50, Pixels: 1 << 12}}

func seed(f *testing.F, names ...string) {
	f.Helper()
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func checked(t *testing.T, s *Set, err error) {
	t.Helper()
	if err == nil && s.check() == nil && len(s.Y) != s.X.Rows() {
		t.Fatalf("%d labels for %d rows passed the check", len(s.Y), s.X.Rows())
	}
}

func FuzzCSV(f *testing.F) {
	seed(f, "testdata/people.csv")
	f.Add([]byte("1,2,0\n3,4,1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeCSV(b, ',', nil, Options{Limits: small.Limits.orDefaults()})
		checked(t, s, err)
	})
}

func FuzzParquet(f *testing.F) {
	seed(f, "testdata/people.parquet", "testdata/people_zstd.parquet", "testdata/null.parquet")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeParquet(b, nil, Options{Limits: small.Limits.orDefaults()})
		checked(t, s, err)
	})
}

func FuzzSchema(f *testing.F) {
	seed(f, "testdata/people.schema.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSchema(b); err == nil {
			if _, err := newEncoder(s, nil, len(s.Columns), small.Limits.orDefaults()); err != nil && len(s.Columns) <= 100 {
				t.Logf("%v", err)
			}
		}
	})
}

func FuzzIDX(f *testing.F) {
	f.Add(idx(0x08, []uint32{2, 2, 2}, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(idx(0x0D, []uint32{1, 1}, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := decodeIDX(b, small.Limits.orDefaults()); err == nil {
			s, err := fromArrays(a, a)
			checked(t, s, err)
		}
	})
}

func FuzzCIFAR(f *testing.F) {
	f.Add(make([]byte, cifarRecord))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeCIFAR(b, small.Limits.orDefaults())
		checked(t, s, err)
	})
}

func FuzzImage(f *testing.F) {
	f.Add("a.png", []byte("\x89PNG\r\n\x1a\n"))
	f.Add("a.gif", []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"))
	f.Add("a.jpg", []byte("\xff\xd8\xff\xe0"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		batch := imageBatch{limits: small.Limits.orDefaults(), total: 1}
		if batch.add(name, b) == nil {
			x, _ := batch.tensor()
			for _, v := range x.Data {
				if !(v >= 0 && v <= 1) {
					t.Fatalf("pixel %v", v)
				}
			}
		}
	})
}
