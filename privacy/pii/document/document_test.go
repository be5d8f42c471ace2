package document

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/parquet-go/parquet-go"
)

// keep returns every text as it is.
func keep(p Part) ([]byte, error) { return p.Text, nil }

func rewrite(t testing.TB, f Format, in string, replace func(Part) ([]byte, error)) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Rewrite(context.Background(), iotest.OneByteReader(strings.NewReader(in)), &out, Settings{Format: f}, replace)
	return out.String(), err
}

var samples = []struct {
	format Format
	in     string
}{
	{Text, "a\r\nb\x00\xff\n\nlast"},
	{Text, ""},
	{JSON, "{\"a\" : [1.50e3, -0,\t\"x\\u00e9\\n\\\"\", null,true],\"a\":{\"b\":\"\\ud83d\\ude00 \\ud800\"},\"\":\"\xff\"}\n"},
	{JSON, `"just a text"`},
	{JSON, "12"},
	{JSONLines, "{\"a\":1}\n\n{\"a\":\"b\"}\r\n[]"},
	{JSONLines, ""},
	{CSV, "name,mail\r\n\"a \"\"b\"\"\",x@y.org\r\n\"line\nbreak\",\r\n"},
	{CSV, "\ufeffa;b\n1;2\n\n3;4"},
	{CSV, "1,2\n3,4\n"},
	{CSV, ""},
	{TSV, "a\tb\nsays \"x\"\t2\n"},
}

// What is not replaced stays as it was, byte for byte.
func TestRewriteKeepsBytes(t *testing.T) {
	for _, s := range samples {
		if got, err := rewrite(t, s.format, s.in, keep); err != nil || got != s.in {
			t.Errorf("%s: %q became %q, %v", s.format.Name, s.in, got, err)
		}
	}
}

// Only what is replaced changes, and other people's decoders read it.
func TestRewriteReplaces(t *testing.T) {
	put := func(at, text string) func(Part) ([]byte, error) {
		return func(p Part) ([]byte, error) {
			if p.Name == at {
				return []byte(text), nil
			}
			return p.Text, nil
		}
	}
	const nasty = "q\"\\\n\u2028é\x01"
	for _, s := range []struct {
		format             Format
		in, at, text, want string
	}{
		{JSON, `{"a": [1, "x\u00e9"],"b":"y"}`, "$.a[1]", "né", `{"a": [1, "né"],"b":"y"}`},
		{JSON, `{"a": 4111111111111111}`, "$.a", "5500000000000004", `{"a": 5500000000000004}`},
		{JSON, `{"a": 4111111111111111}`, "$.a", "****1111", `{"a": "****1111"}`},
		{JSON, `{"bob@x.org":1}`, "$. (key)", "k", `{"k":1}`},
		{JSONLines, "{\"a\":1}\n{\"a\":2}\n", "line 2, $.a", "3", "{\"a\":1}\n{\"a\":3}\n"},
		{CSV, "n,m\na,b\n", "row 2, column m", "c,d", "n,m\na,\"c,d\"\n"},
		{CSV, "n;m\na;b\n", "row 2, column m", "c,d", "n;m\na;c,d\n"},
		{CSV, "n,m\n\"a\",b\n", "row 2, column n", "x\"y", "n,m\n\"x\"\"y\",b\n"},
		{Text, "some text", "", "other", "other"},
	} {
		if got, err := rewrite(t, s.format, s.in, put(s.at, s.text)); err != nil || got != s.want {
			t.Errorf("%s: %q with %q at %q became %q, %v, want %q", s.format.Name, s.in, s.text, s.at, got, err, s.want)
		}
	}
	out, err := rewrite(t, JSON, `["x"]`, put("$[0]", nasty))
	var list []string
	if err != nil || json.Unmarshal([]byte(out), &list) != nil || list[0] != nasty {
		t.Errorf("JSON: %q, %v: encoding/json reads %q", out, err, list)
	}
	out, err = rewrite(t, CSV, "n,m\na,b\n", put("row 2, column n", nasty))
	rows, bad := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || bad != nil || rows[1][0] != nasty {
		t.Errorf("CSV: %q, %v: encoding/csv reads %q, %v", out, err, rows, bad)
	}
}

// Bad documents end with an error that says where.
func TestRefuses(t *testing.T) {
	for _, s := range []struct {
		format   Format
		in, want string
	}{
		{JSON, "{\"a\":\n  [1,]}", "line 2, column 6"},
		{JSON, `{"a":1`, "unexpected EOF"},
		{JSON, "", "unexpected EOF"},
		{JSON, `"a` + "\n" + `"`, "control character"},
		{JSON, `"\x"`, "bad escape"},
		{JSON, `01`, "is no number"},
		{JSON, `nul`, "is no value"},
		{JSON, `{} {}`, "say the format is jsonl"},
		{JSON, strings.Repeat("[", 5000), "nested more than 1000 deep"},
		{CSV, "a,b\n1,2,3\n", "line 2"},
		{CSV, "a,b\n1\n", "row 2 has 1 fields, the first has 2"},
		{CSV, "a,b\n\"x", "a quoted field has no end"},
		{CSV, "a,b\n\"x\"y,1\n", "line 2, column 4"},
		{CSV, "a,b\nx\"y,1\n", "a quote within a field"},
		{Parquet, "PAR1 and no more", "read Parquet"},
		{PDF, "%PDF-1.4 nothing", "no page in it"},
		{PDF, "%PDF-1.4 trailer << /Encrypt 5 0 R >>", "encrypted"},
		{Gzip, "\x1f\x8b\x08", "read gzip"},
		{Zip, "PK\x03\x04", "read zip"},
	} {
		err := Read(context.Background(), strings.NewReader(s.in), Settings{Format: s.format}, func(Part) error { return nil })
		if err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%s %.40q: got %v, want %q in it", s.format.Name, s.in, err, s.want)
		}
	}
}

// The limits hold before memory is taken.
func TestLimits(t *testing.T) {
	bomb := func(levels int) []byte {
		b := bytes.Repeat([]byte("a line of text\n"), 1<<17)
		for range levels {
			var out bytes.Buffer
			z := gzip.NewWriter(&out)
			z.Write(b)
			z.Close()
			b = out.Bytes()
		}
		return b
	}
	read := func(f Format, b []byte, l Limits) error {
		return Read(context.Background(), bytes.NewReader(b), Settings{Format: f, Limits: l}, func(Part) error { return nil })
	}
	for name, err := range map[string]error{
		"depth":    read(Gzip, bomb(5), Limits{Depth: 4}),
		"unpacked": read(Gzip, bomb(1), Limits{Unpacked: 1 << 20}),
		"string":   read(JSON, []byte(`"`+strings.Repeat("a", 2000)), Limits{String: 1000}),
		"field":    read(CSV, []byte(strings.Repeat("a", 2000)), Limits{String: 1000}),
		"message":  read(Mail, []byte("From: x\n\n"+strings.Repeat("a", 2000)), Limits{Message: 1000}),
		"html":     read(HTML, bytes.Repeat([]byte("a"), 2000), Limits{Message: 1000}),
	} {
		if !errors.Is(err, ErrLimit) {
			t.Errorf("%s: got %v, want the limit", name, err)
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, 32<<20))
	z.Close()
	err := Read(context.Background(), &b, Settings{Format: Gzip}, func(Part) error { return nil })
	if err != nil { // zeros are no text: they are skipped, unread
		t.Errorf("zeros: %v", err)
	}
}

// A table that another library wrote is written again with one cell changed.
func TestRewriteParquet(t *testing.T) {
	b, err := os.ReadFile("testdata/pyarrow.parquet")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Rewrite(context.Background(), bytes.NewReader(b), &out, Settings{Format: Parquet, Subject: "id"}, func(p Part) ([]byte, error) {
		switch {
		case p.Column == "email" && p.Subject == "1":
			return []byte("masked"), nil
		case p.Name == "row 2, column id":
			return []byte("22"), nil
		}
		return p.Text, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		ID    int64    `parquet:"id,optional"`
		Email *string  `parquet:"email,optional"`
		Tags  []string `parquet:"tags,list,optional"`
		Raw   []byte   `parquet:"raw,optional"`
		Score *float64 `parquet:"score,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || *rows[0].Email != "masked" || rows[1].Email != nil || *rows[2].Email != "bob@example.org" || rows[1].ID != 22 ||
		len(rows[2].Tags) != 2 || rows[2].Tags[0] != "call 541-714-1388" || string(rows[0].Raw) != "\xff\x00" || rows[2].Score != nil || *rows[1].Score != 1.5 {
		t.Errorf("got %+v", rows)
	}
	err = Rewrite(context.Background(), bytes.NewReader(b), io.Discard, Settings{Format: Parquet}, func(p Part) ([]byte, error) { return []byte("word"), nil })
	if err == nil || !strings.Contains(err.Error(), "row 1, column id") {
		t.Errorf("a word for a number: got %v", err)
	}
}

// Numbers without a sign are read and replaced as what they are, also where the
// highest bit is set.
func TestUnsignedParquet(t *testing.T) {
	type row struct {
		Phone uint64 `parquet:"phone"`
		Card  uint32 `parquet:"card"`
	}
	var in, out bytes.Buffer
	if err := parquet.Write(&in, []row{{1<<63 + 5, 4_000_000_000}, {7, 8}}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	err := Rewrite(context.Background(), &in, &out, Settings{Format: Parquet, Subject: "card"}, func(p Part) ([]byte, error) {
		seen = append(seen, p.Subject+" "+string(p.Text))
		switch string(p.Text) {
		case "9223372036854775813":
			return []byte("18446744073709551615"), nil
		case "4000000000":
			return []byte("4294967295"), nil
		}
		return p.Text, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"4000000000 9223372036854775813", "4000000000 4000000000", "8 7", "8 8"}; !slices.Equal(seen, want) {
		t.Errorf("read %q, want %q", seen, want)
	}
	rows, err := parquet.Read[row](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || !slices.Equal(rows, []row{{math.MaxUint64, math.MaxUint32}, {7, 8}}) {
		t.Errorf("wrote %+v, %v", rows, err)
	}
	for _, bad := range []string{"-1", "18446744073709551616", "1.5", ""} {
		in.Reset()
		if err := parquet.Write(&in, []row{{1, 2}}); err != nil {
			t.Fatal(err)
		}
		err := Rewrite(context.Background(), &in, io.Discard, Settings{Format: Parquet}, func(p Part) ([]byte, error) { return []byte(bad), nil })
		if err == nil || !strings.Contains(err.Error(), "64 bits") {
			t.Errorf("%q for a number: got %v", bad, err)
		}
	}
}

func TestGzipIsRewritten(t *testing.T) {
	var in bytes.Buffer
	z := gzip.NewWriter(&in)
	z.Name = "a.json"
	io.WriteString(z, `{"a":"b"}`)
	z.Close()
	var out bytes.Buffer
	err := Rewrite(context.Background(), &in, &out, Settings{Format: Gzip}, func(p Part) ([]byte, error) { return []byte("c"), nil })
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != `{"c":"c"}` {
		t.Errorf("got %q, %v", b, err)
	}
	err = Rewrite(context.Background(), strings.NewReader("<p>"), io.Discard, Settings{Format: HTML}, keep)
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("HTML: got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for i := range Formats {
		for _, s := range samples {
			f.Add(uint8(i), []byte(s.in))
		}
	}
	for _, name := range []string{"fpdf2.pdf", "reportlab.pdf", "pyarrow.parquet", "python.eml", "letter.docx"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		for i := range Formats {
			f.Add(uint8(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, format uint8, b []byte) {
		s := Settings{Format: Formats[int(format)%len(Formats)], Limits: Limits{Unpacked: 1 << 22, Message: 1 << 20, String: 1 << 16, Members: 100}}
		if err := Read(context.Background(), bytes.NewReader(b), s, func(Part) error { return nil }); err != nil {
			return
		}
		if s.Format.Name == "parquet" || s.Format.Name == "gzip" || !s.Format.writes {
			return
		}
		var out bytes.Buffer
		if err := Rewrite(context.Background(), bytes.NewReader(b), &out, s, keep); !errors.Is(err, ErrReadOnly) && (err != nil || !bytes.Equal(out.Bytes(), b)) {
			t.Errorf("%s: %q became %q, %v", s.Format.Name, b, out.Bytes(), err)
		}
	})
}
